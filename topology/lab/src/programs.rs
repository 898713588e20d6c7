//! Which programs play the parts, where they are found, and with what arguments.
//!
//! A program is looked for in its environment variable, beside our own binary, and in PATH, in this order:
//! `p4switch` (PERGOLA_P4SWITCH), `simple_switch_grpc` (PERGOLA_BMV2), `pergola` (PERGOLA_CONTROLLER), and ourselves as the
//! lab's agent (PERGOLA_LAB_AGENT).

use crate::error::{Doing, LabError};
use crate::layout;
use crate::spec::{LabSpec, SwitchSpec, Target};
use std::path::{Path, PathBuf};

/// Finds a program; `variable` wins over everything.
pub fn find(name: &str, variable: &str) -> Result<PathBuf, LabError> {
    if let Some(path) = std::env::var_os(variable).filter(|v| !v.is_empty()) {
        let path = PathBuf::from(path);
        if is_program(&path) {
            return Ok(path);
        }
        return Err(LabError::Program { name: name.into(), looked: format!("{variable}={}", path.display()) });
    }
    let beside = beside_us();
    let in_path = std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect::<Vec<_>>()).unwrap_or_default();
    let found = beside.iter().chain(&in_path).map(|d| d.join(name)).find(|p| is_program(p));
    found.ok_or_else(|| {
        let beside: Vec<String> = beside.iter().map(|d| d.display().to_string()).collect();
        LabError::Program { name: name.into(), looked: format!("${variable}, {}, PATH", beside.join(", ")) }
    })
}

/// The binary that has the `lab-agent` command: ourselves when we are it.
pub fn agent() -> Result<PathBuf, LabError> {
    const VARIABLE: &str = "PERGOLA_LAB_AGENT";
    if std::env::var_os(VARIABLE).is_none()
        && let Ok(own) = std::env::current_exe()
        && own.file_name().is_some_and(|n| n == "pergola")
    {
        return Ok(own);
    }
    find("pergola", VARIABLE)
}

/// The folder of our binary; for a test in `target/debug/deps`, also the one above.
fn beside_us() -> Vec<PathBuf> {
    let Some(folder) = std::env::current_exe().ok().and_then(|p| p.parent().map(Path::to_owned)) else {
        return Vec::new();
    };
    let above = folder.parent().filter(|_| folder.ends_with("deps")).map(Path::to_owned);
    std::iter::once(folder).chain(above).collect()
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// The program of a switch and its arguments; `None` when the lab has no switch processes. The arguments are those of
/// `simple_switch_grpc`, which ours takes too.
pub fn switch_command(spec: &LabSpec, switch: &SwitchSpec) -> Result<Option<(PathBuf, Vec<String>)>, LabError> {
    let target = switch.target.unwrap_or(spec.target);
    let program = match target {
        Target::None => return Ok(None),
        Target::P4switch => find("p4switch", "PERGOLA_P4SWITCH")?,
        Target::Bmv2 => find("simple_switch_grpc", "PERGOLA_BMV2")?,
    };
    let thrift = target == Target::Bmv2 && has_thrift(&program)?;
    Ok(Some((program, switch_arguments(spec, switch, target, thrift))))
}

/// Whether a BMv2 was built with Thrift, which it says in its help: a build without refuses the option.
fn has_thrift(program: &Path) -> Result<bool, LabError> {
    let output = std::process::Command::new(program).arg("--help").stdin(std::process::Stdio::null()).output();
    let output = output.doing(|| format!("running {} --help", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    Ok(text.windows(THRIFT.len()).any(|w| w == THRIFT.as_bytes()))
}

const THRIFT: &str = "--thrift-port";

fn switch_arguments(spec: &LabSpec, switch: &SwitchSpec, target: Target, thrift: bool) -> Vec<String> {
    let mut args = vec!["--device-id".to_owned(), switch.device_id.to_string()];
    for port in spec.ports_of(switch) {
        args.extend(["-i".to_owned(), format!("{port}@{}", layout::port_interface(spec, &switch.name, port))]);
    }
    args.push("--no-p4".to_owned());
    if target == Target::Bmv2 {
        args.extend(["--log-console", "-L", "warn"].map(str::to_owned));
    }
    if thrift {
        // All BMv2s of a lab share a loopback: each wants a port of its own.
        let position = spec.switches.iter().position(|s| s.name == switch.name).unwrap_or(0);
        args.extend([THRIFT.to_owned(), (9090 + position).to_string()]);
    }
    args.push("--".to_owned());
    args.extend(["--grpc-server-addr".to_owned(), switch.grpc.to_string()]);
    args.extend(["--cpu-port".to_owned(), switch.cpu_port.to_string()]);
    args.extend(switch.args.iter().cloned());
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_program_says_where_it_was_sought() {
        let error = find("no-such-program", "PERGOLA_NO_SUCH").unwrap_err().to_string();
        assert!(error.contains("no-such-program") && error.contains("PERGOLA_NO_SUCH"), "{error}");
        assert!(find("sh", "PERGOLA_NO_SUCH").is_ok());
    }
}
