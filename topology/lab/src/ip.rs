//! iproute2 in batches: one process for a whole namespace.

use crate::error::{Doing, LabError};
use crate::sys::netns::NetNs;
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs the lines in a namespace (or here), stopping at the first that fails; the error quotes it.
pub fn batch(namespace: Option<&NetNs>, lines: &[String]) -> Result<(), LabError> {
    if lines.is_empty() {
        return Ok(());
    }
    let run = || -> std::io::Result<std::process::Output> {
        let mut command = Command::new("ip");
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            let text = lines.join("\n") + "\n";
            // A broken pipe means that `ip` ended early; its own words say why.
            let _ = input.write_all(text.as_bytes());
        }
        child.wait_with_output()
    };
    let output = match namespace {
        Some(ns) => ns.run(run).doing(|| "entering a namespace".into())?,
        None => run(),
    };
    let output = output.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            LabError::Program { name: "ip".into(), looked: "PATH; Debian's package is iproute2".into() }
        }
        _ => LabError::Io { what: "starting `ip`".into(), source: error },
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let failed = said.lines().find_map(|l| l.strip_prefix("Command failed -:")?.trim().parse::<usize>().ok());
    let line = failed.and_then(|n| lines.get(n.wrapping_sub(1)).cloned()).unwrap_or_else(|| "-batch".into());
    let words: Vec<&str> = said.lines().filter(|l| !l.starts_with("Command failed")).collect();
    Err(LabError::Ip { line, message: words.join("; ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failing_line_is_named() {
        let lines = ["link show lo".to_owned(), "link set no-such-if up".to_owned()];
        match batch(None, &lines) {
            Err(LabError::Ip { line, message }) => {
                assert_eq!(line, "link set no-such-if up");
                assert!(message.contains("no-such-if"), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
}
