//! `pergola lab ...`: the commands, for any binary that mounts [`LabCommand`] and the hidden [`AgentCommand`].
#![allow(clippy::print_stdout)] // This is the command line.

use crate::agent;
use crate::error::{Doing, LabError};
use crate::lab::{Kill, Lab};
use crate::ping;
use crate::probe::{Probe, ProbeKind, ProbeReport, ProbeSpec};
use crate::rootless;
use crate::spec::{ControllerSpec, Forward, LabSpec, Target};
use crate::state::{self, Cut};
use crate::{down, layout};
use clap::{Args, Subcommand, ValueEnum};
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Emulate an office on this machine.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Build a lab from a blueprint (YAML) or a lab description (JSON).
    Up(Up),
    /// End a lab and remove everything of it, also after a crash.
    Down(Down),
    /// Names of the labs on this machine.
    List,
    /// What runs and which cables are whole.
    Status(StatusArgs),
    /// Run a command on a host: `lab exec h1 -- ping 10.0.0.4`. Switches and `controller` share one namespace.
    Exec(Exec),
    /// Cut a cable: `lab break leaf1-spine1`.
    Break(Break),
    /// Mend a cut cable.
    Heal(Named),
    /// Plug a host's cable into another port: `lab move h1 leaf2/3`.
    Move(MoveArgs),
    /// End a switch or the `controller`.
    Kill(KillArgs),
    /// Start again what was killed or has died.
    Restart(Named),
    /// Measure loss between two hosts with numbered packets.
    Probe(ProbeArgs),
    /// Ping between all hosts, IPv4 and IPv6.
    PingAll(PingAll),
}

#[derive(Debug, Args)]
pub struct Up {
    /// The site's blueprint, or a lab description when the name ends in `.json`.
    file: PathBuf,
    /// Another name than the site's.
    #[arg(long)]
    name: Option<String>,
    /// Program that plays the switches.
    #[arg(long, value_enum)]
    target: Option<TargetArg>,
    /// Return when the lab is up, and leave it running.
    #[arg(long, short)]
    detach: bool,
    /// Start no controller.
    #[arg(long)]
    no_controller: bool,
    /// Where the controller's REST interface is reached on this machine.
    #[arg(long, default_value = "127.0.0.1:8181")]
    listen: SocketAddr,
}

/// What a controller has to know that runs in the lab of a blueprint.
#[derive(Clone, Debug)]
pub struct UpContext {
    /// The site's blueprint, every switch with an address; there when the controller starts.
    pub blueprint: PathBuf,
    /// A folder of the lab's own, which goes with it; not there yet.
    pub data: PathBuf,
    /// Where it should serve REST inside the lab; the same address on this machine leads there.
    pub listen: SocketAddr,
}

/// The completed blueprint's name in the lab's folder.
const BLUEPRINT: &str = "blueprint.yaml";

/// Says how the controller of a blueprint's lab is started.
pub type ControllerOf<'a> = &'a dyn Fn(&UpContext) -> Option<ControllerSpec>;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TargetArg {
    P4switch,
    Bmv2,
    None,
}

#[derive(Debug, Args)]
pub struct Down {
    /// Needed when several are up.
    lab: Option<String>,
    /// All labs on this machine.
    #[arg(long)]
    all: bool,
}

/// Which lab a command means.
#[derive(Debug, Args)]
pub struct Which {
    /// Needed when several are up.
    #[arg(long)]
    lab: Option<String>,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    which: Which,
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub struct Exec {
    #[command(flatten)]
    which: Which,
    node: String,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Break {
    #[command(flatten)]
    which: Which,
    /// `leaf1-spine1`, or exactly `leaf1/1-spine1/1`.
    link: String,
    /// The ends stay lit; packets are lost.
    #[arg(long)]
    silent: bool,
}

#[derive(Debug, Args)]
pub struct Named {
    #[command(flatten)]
    which: Which,
    name: String,
}

#[derive(Debug, Args)]
pub struct MoveArgs {
    #[command(flatten)]
    which: Which,
    host: String,
    /// SWITCH/PORT, without a cable.
    to: String,
    /// Which of the host's cables.
    #[arg(long, default_value_t = 0)]
    cable: usize,
}

#[derive(Debug, Args)]
pub struct KillArgs {
    #[command(flatten)]
    which: Which,
    name: String,
    /// The ports of the switch stay lit, as if only its program had died: neighbours notice by silence alone.
    #[arg(long)]
    lit: bool,
    /// SIGTERM in place of SIGKILL.
    #[arg(long, conflicts_with = "lit")]
    stop: bool,
}

#[derive(Debug, Args)]
pub struct ProbeArgs {
    #[command(flatten)]
    which: Which,
    from: String,
    /// A host; with --echo also an address.
    to: String,
    #[arg(long, short = '6')]
    v6: bool,
    /// Echo requests there and back in place of UDP one way.
    #[arg(long)]
    echo: bool,
    /// Packets a second.
    #[arg(long, default_value_t = 10_000)]
    rate: u32,
    /// Payload in bytes.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// UDP source ports used in turn.
    #[arg(long, default_value_t = 8)]
    flows: u16,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Cut this cable a third of the way through, and mend it at two thirds.
    #[arg(long = "break")]
    link: Option<String>,
    /// With --break: the ends stay lit.
    #[arg(long, requires = "link")]
    silent: bool,
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Debug, Args)]
pub struct PingAll {
    #[command(flatten)]
    which: Which,
    /// Keep asking so long.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

/// A helper process of a lab.
#[derive(Debug, Args)]
pub struct AgentCommand {
    kind: String,
    config: String,
}

impl AgentCommand {
    pub fn run(&self) -> ExitCode {
        match agent::run(&self.kind, &self.config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        }
    }
}

impl LabCommand {
    /// Runs the command to its end, blueprints without a controller; errors go to standard error.
    pub fn run(&self) -> ExitCode {
        self.run_with(&|_| None)
    }

    /// Runs the command to its end; errors go to standard error.
    pub fn run_with(&self, controller: ControllerOf<'_>) -> ExitCode {
        match self.try_run(controller) {
            Ok(code) => code,
            Err(error) => fail(&error),
        }
    }

    /// The same with the error handed back.
    pub fn try_run(&self, controller: ControllerOf<'_>) -> Result<ExitCode, LabError> {
        if rootless::needed()
            && let Some(status) = self.through_user_namespace(controller)?
        {
            return Ok(exit_code(status));
        }
        match self {
            Self::Up(args) => args.run(controller),
            Self::Move(args) => {
                args.which.open()?.move_host(&args.host, args.cable, &args.to).map(|()| ExitCode::SUCCESS)
            }
            Self::Down(args) => args.run(),
            Self::List => list(),
            Self::Status(args) => args.run(),
            Self::Exec(args) => args.run(),
            Self::Break(args) => {
                let cut = if args.silent { Cut::Silent } else { Cut::Loud };
                args.which.open()?.break_link(&args.link, cut).map(|()| ExitCode::SUCCESS)
            }
            Self::Heal(args) => args.which.open()?.heal_link(&args.name).map(|()| ExitCode::SUCCESS),
            Self::Kill(args) => {
                let how = match (args.lit, args.stop) {
                    (true, _) => Kill::Crash,
                    (_, true) => Kill::Stop,
                    _ => Kill::PowerOff,
                };
                args.which.open()?.kill(&args.name, how).map(|()| ExitCode::SUCCESS)
            }
            Self::Restart(args) => args.which.open()?.restart(&args.name).map(|()| ExitCode::SUCCESS),
            Self::Probe(args) => args.run(),
            Self::PingAll(args) => args.run(),
        }
    }

    /// Without root, everything that touches a lab runs inside its user namespace. `None` when there is nothing to enter.
    fn through_user_namespace(&self, controller: ControllerOf<'_>) -> Result<Option<ExitStatus>, LabError> {
        let lab = match self {
            Self::List => return Ok(None),
            Self::Up(args) => {
                let spec = args.spec(controller)?;
                eprintln!("not root: lab `{}` runs inside an unprivileged user namespace", spec.name);
                let listen: Vec<_> = spec.forwards.iter().map(|f| f.listen).collect();
                return rootless::enter(&listen).map(Some);
            }
            Self::Down(args) => args.lab.clone(),
            Self::Status(args) => args.which.lab.clone(),
            Self::Exec(args) => args.which.lab.clone(),
            Self::Break(args) => args.which.lab.clone(),
            Self::Heal(args) | Self::Restart(args) => args.which.lab.clone(),
            Self::Kill(args) => args.which.lab.clone(),
            Self::Move(args) => args.which.lab.clone(),
            Self::Probe(args) => args.which.lab.clone(),
            Self::PingAll(args) => args.which.lab.clone(),
        };
        let lab = Which { lab }.name()?;
        if matches!(self, Self::Down(_)) {
            // Its namespaces end with its processes; what stays visible out here is the folder.
            if let Ok(status) = rootless::join(&lab) {
                return Ok(Some(status));
            }
            return Ok(None);
        }
        rootless::join(&lab).map(Some)
    }
}

impl Up {
    fn spec(&self, controller: ControllerOf<'_>) -> Result<LabSpec, LabError> {
        let text = std::fs::read_to_string(&self.file).doing(|| format!("reading {}", self.file.display()))?;
        let (mut spec, blueprint) = match self.file.extension().is_some_and(|e| e == "json") {
            true => (LabSpec::from_json(&text)?, None),
            false => self.spec_of_blueprint(&text).map(|(spec, text)| (spec, Some(text)))?,
        };
        if let Some(name) = &self.name {
            spec.name.clone_from(name);
        }
        spec.check()?;
        if let Some(text) = blueprint {
            let folder = state::folder(&spec.name);
            let context =
                UpContext { blueprint: folder.join(BLUEPRINT), data: folder.join("controller"), listen: self.listen };
            spec.controller = controller(&context);
            if let Some(controller) = spec.controller.as_mut().filter(|_| !self.no_controller) {
                controller.files.insert(BLUEPRINT.to_owned(), text);
                spec.forwards.push(Forward { listen: self.listen, to: self.listen });
            }
        }
        if let Some(target) = self.target {
            spec.target = match target {
                TargetArg::P4switch => Target::P4switch,
                TargetArg::Bmv2 => Target::Bmv2,
                TargetArg::None => Target::None,
            };
            spec.switches.iter_mut().for_each(|s| s.target = None);
        }
        if self.no_controller {
            spec.controller = None;
        }
        Ok(spec)
    }

    /// The lab, named after the site as far as a lab's name can be as long, and the blueprint completed for it.
    fn spec_of_blueprint(&self, text: &str) -> Result<(LabSpec, String), LabError> {
        let blueprint = pergola_blueprint::parse(text)
            .map_err(|problems| LabError::Blueprint(format!("{}: {problems}", self.file.display())))?;
        let mut view = crate::intents::with_endpoints(&blueprint);
        if matches!(self.target, Some(TargetArg::Bmv2)) {
            crate::intents::play_by_bmv2(&mut view);
        }
        let name = match (&self.name, view.site()) {
            (Some(name), _) => name.clone(),
            (None, Some(site)) => site.name.to_string().chars().take(32).collect(),
            (None, None) => "lab".to_owned(),
        };
        Ok((LabSpec::from_view(&name, &view)?, pergola_blueprint::export(&view)))
    }

    fn run(&self, controller: ControllerOf<'_>) -> Result<ExitCode, LabError> {
        let spec = self.spec(controller)?;
        if self.detach {
            let lab = Lab::up(spec)?;
            println!("{}", lab.status()?.line());
            return Ok(ExitCode::SUCCESS);
        }
        // The runtime for signals is our own: on a thread of its own it may be started from inside another.
        let done = std::thread::scope(|s| s.spawn(|| foreground(spec)).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Builds the lab, shows its state while it lives, and takes it down on Ctrl-C.
fn foreground(spec: LabSpec) -> Result<ExitCode, LabError> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.doing(|| "starting a runtime".into())?;
    let cancelled = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(tokio::sync::Notify::new());
    {
        let _inside = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).doing(|| "waiting for signals".into())?;
        let mut terminate = signal(SignalKind::terminate()).doing(|| "waiting for signals".into())?;
        let (cancelled, ended) = (Arc::clone(&cancelled), Arc::clone(&ended));
        runtime.spawn(async move {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            cancelled.store(true, Ordering::Release);
            ended.notify_one();
        });
    }
    let name = Lab::up_unless(spec, &cancelled)?.name().to_owned();
    runtime.block_on(async {
        let mut shown = String::new();
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! { _ = ended.notified() => return, _ = tick.tick() => {} }
            // `lab down` in another terminal has removed it.
            let Ok(status) = Lab::open(&name).and_then(|l| l.status()) else { return };
            let line = status.line();
            if line != shown {
                show(&line);
                shown = line;
            }
        }
    });
    if io::stdout().is_terminal() {
        println!();
    }
    down::down(&name)?;
    Ok(ExitCode::SUCCESS)
}

/// One line that renews itself on a terminal; elsewhere, a line a change.
fn show(line: &str) {
    let mut out = io::stdout();
    let _ = match out.is_terminal() {
        true => write!(out, "\r\x1b[K{line} (Ctrl-C ends the lab)"),
        false => writeln!(out, "{line}"),
    };
    let _ = out.flush();
}

impl Down {
    fn run(&self) -> Result<ExitCode, LabError> {
        let names = match self.all {
            true => down::known(),
            false => vec![Which { lab: self.lab.clone() }.name()?],
        };
        for name in names {
            let removed = down::down(&name)?;
            println!("{name}: {} processes ended, {} namespaces removed", removed.processes, removed.namespaces);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list() -> Result<ExitCode, LabError> {
    for name in down::known() {
        match Lab::open(&name) {
            Ok(lab) if lab.state().alive() => println!("{name}\tup"),
            _ => println!("{name}\tremains (`lab down {name}` clears them)"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Which {
    fn name(&self) -> Result<String, LabError> {
        if let Some(name) = &self.lab {
            return Ok(name.clone());
        }
        match &down::known()[..] {
            [one] => Ok(one.clone()),
            [] => Err(LabError::NotFound { name: "-".into(), known: "none is up".into() }),
            many => Err(LabError::NotFound {
                name: "-".into(),
                known: format!("say which with --lab: {}", many.join(", ")),
            }),
        }
    }

    fn open(&self) -> Result<Lab, LabError> {
        Lab::open(&self.name()?)
    }
}

impl StatusArgs {
    fn run(&self) -> Result<ExitCode, LabError> {
        let status = self.which.open()?.status()?;
        match self.output {
            Output::Table => println!("{status}"),
            Output::Json => println!("{}", serde_json::to_string_pretty(&status).unwrap_or_default()),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Exec {
    fn run(&self) -> Result<ExitCode, LabError> {
        let lab = self.which.open()?;
        let Some((program, args)) = self.command.split_first() else { return Ok(ExitCode::FAILURE) };
        // On success this process becomes the command: signals and terminal are its own.
        let error = lab.command(&self.node, program)?.args(args).exec();
        Err(LabError::Io {
            what: format!("running {program} in {}", layout::fabric_namespace(lab.name())),
            source: error,
        })
    }
}

impl ProbeArgs {
    fn run(&self) -> Result<ExitCode, LabError> {
        let mut lab = self.which.open()?;
        let spec = ProbeSpec {
            v6: self.v6,
            kind: if self.echo { ProbeKind::Echo } else { ProbeKind::Udp },
            rate_pps: self.rate,
            size_bytes: self.size,
            flows: self.flows,
            ..ProbeSpec::new(&self.from, &self.to)
        };
        let report = self.measure(&mut lab, &spec)?;
        match self.output {
            Output::Table => println!("{report}"),
            Output::Json => println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default()),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn measure(&self, lab: &mut Lab, spec: &ProbeSpec) -> Result<ProbeReport, LabError> {
        let third = Duration::try_from_secs_f64(self.seconds / 3.0)
            .map_err(|e| LabError::spec("seconds", e, "a positive number"))?;
        let probe = Probe::start(lab, spec)?;
        // The probe's length is what was asked for: these pauses are the measurement.
        std::thread::sleep(third);
        if let Some(link) = &self.link {
            lab.break_link(link, if self.silent { Cut::Silent } else { Cut::Loud })?;
        }
        std::thread::sleep(third);
        if let Some(link) = &self.link {
            lab.heal_link(link)?;
        }
        std::thread::sleep(third);
        probe.stop()
    }
}

impl PingAll {
    fn run(&self) -> Result<ExitCode, LabError> {
        let lab = self.which.open()?;
        let limit =
            Duration::try_from_secs_f64(self.seconds).map_err(|e| LabError::spec("seconds", e, "a positive number"))?;
        let report = ping::ping_all(&lab, limit)?;
        println!("{report}");
        Ok(if report.all_answered() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    status.code().and_then(|c| u8::try_from(c).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
