//! Helpers for the end-to-end scenarios: a lab that is gone when its test is, whatever the test does.
//!
//! A scenario reads: [`Scenario::start`] with a [`LabSpec`], then [`Scenario::ping_all`], `break_link`, [`wait_until`] ...
//! When it fails, the logs of all its processes are kept and their folder is printed.

mod api;

pub use api::{Answer, Api};

use anyhow::{Context, Result, bail};
use pergola_lab::ping::{self, PingReport};
use pergola_lab::{Lab, LabSpec};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A lab of one test's own.
pub struct Scenario {
    lab: Option<Lab>,
    name: String,
}

impl Scenario {
    /// Builds the lab under a name that no other test has. Switch and controller addresses are inside the lab's namespace,
    /// so they never collide; forwards should listen on [`free_port`]s.
    pub fn start(mut spec: LabSpec) -> Result<Self> {
        spec.name = unique_name(&spec.name);
        Self::start_named(spec)
    }

    /// The same for a lab whose name is [`unique_name`]'s already.
    pub fn start_named(spec: LabSpec) -> Result<Self> {
        let name = spec.name.clone();
        let lab = Lab::up(spec).with_context(|| format!("lab {name} did not come up"))?;
        Ok(Self { lab: Some(lab), name })
    }

    /// Pings all pairs in both families until all have answered or `limit` is over; an error names the pairs that failed.
    pub fn ping_all(&self, limit: Duration) -> Result<PingReport> {
        let report = ping::ping_all(self, limit)?;
        if !report.all_answered() {
            bail!("{report}");
        }
        Ok(report)
    }

    /// Runs a command on a host and gives its output; an error when it fails.
    pub fn run(&self, host: &str, command: &str) -> Result<String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        let (program, args) = words.split_first().context("an empty command")?;
        let output = self.exec(host, program, args)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("`{command}` on {host}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(text)
    }

    /// Ends the lab now and checks that nothing of it is left.
    pub fn end(mut self) -> Result<()> {
        if let Some(lab) = self.lab.take() {
            lab.down()?;
        }
        match remains(&self.name) {
            left if left.is_empty() => Ok(()),
            left => bail!("left behind: {}", left.join(", ")),
        }
    }

    fn keep_logs(&self) {
        let Some(lab) = &self.lab else { return };
        let kept = std::env::temp_dir().join("pergola-scenarios").join(lab.name());
        if copy_folder(&lab.folder().join("logs"), &kept).is_ok() {
            eprintln!("logs of the failed scenario: {}", kept.display());
        }
    }
}

impl Deref for Scenario {
    type Target = Lab;
    #[allow(clippy::expect_used)] // Taken only by `end`, which consumes the scenario.
    fn deref(&self) -> &Lab {
        self.lab.as_ref().expect("a lab until its end")
    }
}

impl DerefMut for Scenario {
    #[allow(clippy::expect_used)] // As above.
    fn deref_mut(&mut self) -> &mut Lab {
        self.lab.as_mut().expect("a lab until its end")
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_logs();
        }
        if self.lab.take().is_some()
            && let Err(error) = pergola_lab::down(&self.name)
        {
            eprintln!("taking lab {} down: {error}", self.name);
        }
    }
}

/// `NAME-PID-N`, at most 32 characters.
pub fn unique_name(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let end = format!("-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let room = 32usize.saturating_sub(end.len());
    format!("{}{end}", &name[..name.len().min(room)])
}

/// Network namespaces, folders and processes that still bear a lab's name.
pub fn remains(lab: &str) -> Vec<String> {
    let namespaces = pergola_lab::sys::netns::list(|n| pergola_lab::layout::belongs(lab, n));
    let mut left: Vec<String> = namespaces.into_iter().map(|n| format!("namespace {n}")).collect();
    let folder = pergola_lab::folder(lab);
    if folder.exists() {
        left.push(format!("folder {}", folder.display()));
    }
    let marks = [format!("pergola.{lab}"), format!("pergola/{lab}/")];
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(line) = std::fs::read_to_string(entry.path().join("cmdline")) else { continue };
        if marks.iter().any(|m| line.contains(m)) {
            left.push(format!("process {} {}", entry.file_name().to_string_lossy(), line.replace('\0', " ")));
        }
    }
    left
}

/// Asks until the answer is there. For things that send no event; the pause grows from 5 to 100 ms.
pub fn wait_until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("not within {} ms: {what}", limit.as_millis());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Whether scenarios can run. Without root they do not, and the test says so.
pub fn is_root() -> bool {
    let root = pergola_lab::rootless::is_real_root();
    if !root {
        eprintln!("SKIPPED: not root, so no network namespaces (CI runs as root)");
    }
    root
}

/// A TCP port of this machine's loopback that was free just now.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A command of the lab, by the program given (`env!("CARGO_BIN_EXE_scenario-lab")` in a test).
pub fn lab_command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// Folder for a scenario's own files; gone with the value.
pub fn scratch() -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("pergola-scenario-").tempdir()?)
}

fn copy_folder(from: &Path, to: &PathBuf) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
