//! The switch as a process: a program, ports, the forwarding loop, and one server for P4Runtime and gNMI.
//!
//! ```text
//!  main thread: tokio (gRPC, signals)      forward-N: frames          link-watch: netlink events
//!        │  write state, inject ───────────────►│                            │
//!        │◄────────── packet-in, digests ───────┘     port bits, gNMI ◄──────┘
//! ```
//! With `--dp-grpc-server-addr` packets come and go by gRPC, and there are neither ports nor frames for the loop.

use crate::cli::{Config, LogTarget};
use crate::dataplane::Dataplane;
use crate::forward::ProgramForwarder;
use crate::gnmi::{GnmiService, site::Site};
use crate::p4runtime::{self, Events, plane::Host};
use crate::ports::{PortManager, PortNo, PortOptions, PortSpec};
use crate::program::Program;
use crate::runtime::{CpuPort, Forwarder, Runtime, RuntimeOptions};
use crate::switch::{Engine, Switch, SwitchOptions};
use crate::tls::{self, TlsFiles};
use anyhow::{Context, Result};
use p4runtime_proto::gnmi::g_nmi_server::GNmiServer;
use p4runtime_proto::p4::config::v1::P4Info;
use p4runtime_proto::p4::v1::ForwardingPipelineConfig;
use prost::Message;
use std::io::IsTerminal;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::{Server, server::TcpIncoming};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{self, writer::BoxMakeWriter};
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

/// Runs the switch until SIGTERM or SIGINT.
///
/// # Errors
/// What could not be read, opened or bound; then nothing runs.
pub fn run(config: Config) -> Result<()> {
    log_to(&config)?;
    if config.level == LevelFilter::INFO {
        // simple_switch_grpc would trace now: whoever waits for that learns how to have it.
        tracing::info!("to have packets traced, start with -L trace");
    }
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(serve(config));
    // Streams that are still open must not hold up the end.
    runtime.shutdown_background();
    outcome
}

/// Sends the log where it is wanted; colours only to terminals. The compiler writes every function it makes at level info: of
/// it, warnings are enough.
fn log_to(config: &Config) -> Result<()> {
    let (writer, ansi) = match &config.log {
        LogTarget::Quiet => (BoxMakeWriter::new(std::io::stderr), std::io::stderr().is_terminal()),
        LogTarget::Console => (BoxMakeWriter::new(std::io::stdout), std::io::stdout().is_terminal()),
        LogTarget::File(path) => {
            let file = std::fs::File::create(path).with_context(|| format!("log file {}", path.display()))?;
            (BoxMakeWriter::new(std::sync::Mutex::new(file)), false)
        }
    };
    let levels = Targets::new()
        .with_default(config.level.min(LevelFilter::INFO))
        .with_target("p4switch", config.level)
        .with_targets(["cranelift", "regalloc2"].map(|target| (target, config.level.min(LevelFilter::WARN))));
    let lines = fmt::layer().with_target(false).with_ansi(ansi).with_writer(writer);
    tracing_subscriber::registry().with(lines).with(levels).init();
    Ok(())
}

async fn serve(config: Config) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let socket = bind("--grpc-server-addr", &config.address)?;
    let options = SwitchOptions {
        cpu_port: config.cpu_port,
        drop_port: config.drop_port,
        priority_queues: config.priority_queues,
        workers: config.workers,
        // What happens to packets is told by the interpreter.
        engine: match config.interpret || config.level == LevelFilter::TRACE {
            true => Engine::Interpreter,
            false => Engine::default(),
        },
    };
    // With P4Info the P4Runtime server runs the program, so that controllers find its pipeline.
    let (program, pipeline) = match (&config.program, &config.p4info) {
        (Some(program), Some(info)) => (None, Some(pipeline(program, info)?)),
        (Some(program), None) => (Some(load(program)?), None),
        (None, _) => (None, None),
    };
    let switch = Switch::new(program, options).context("program")?;
    let forwarders = (0..config.workers).map(|_| Box::new(ProgramForwarder::new(&switch)) as Box<dyn Forwarder>);
    let loop_options = RuntimeOptions { spin: config.spin, ..RuntimeOptions::default() };
    // The ways between data plane and server, closed when the server is made.
    let events: Arc<OnceLock<Events>> = Arc::default();
    let cpu = config.cpu_port.map(|no| {
        let events = Arc::clone(&events);
        let take = move |frame: &[u8]| {
            // A full queue drops the frame, as a busy controller's would.
            let _ = events.get().is_some_and(|events| events.packet_in(frame.to_vec()));
        };
        CpuPort { no, take: Arc::new(take) }
    });
    let runtime = Arc::new(Runtime::start(forwarders.collect(), cpu, &loop_options)?);
    let (bits, told) = (Arc::clone(&switch), Arc::clone(&events));
    let ports = PortManager::new(runtime, move |no, up| {
        bits.set_port_up(no, up);
        if let Some(events) = told.get() {
            events.port_changed(no);
        }
    });
    let dataplane = match &config.dataplane {
        Some(address) => {
            let plane = Dataplane::new(config.device_id, &switch, ports.clone(), config.cpu_port, Arc::clone(&events));
            Some((bind("--dp-grpc-server-addr", address)?, plane))
        }
        None => None,
    };
    let host: Arc<dyn Host> = match &dataplane {
        Some((_, plane)) => Arc::new(plane.clone()),
        None => Arc::new(PortHost { ports: ports.clone(), cpu: config.cpu_port }),
    };
    let (p4runtime, sender) = p4runtime::Server::new(config.device_id, Arc::clone(&switch), host);
    let _ = events.set(sender);
    if let Some((socket, plane)) = dataplane {
        plane.serve(socket.listen(BACKLOG).context("--dp-grpc-server-addr")?.into_std()?)?;
    }
    if let Some(pipeline) = pipeline {
        p4runtime.start(pipeline).context("pipeline")?;
    }
    for (no, spec, _) in &config.ports {
        p4runtime.name_port(&spec.name(), *no);
    }
    add_ports(&ports, config.ports, config.input_delay)?;
    let registry = p4runtime.clone();
    let reserved = [config.cpu_port.map(|no| (no, "the CPU port")), Some((config.drop_port, "the drop port"))];
    let site = Site {
        device_id: config.device_id,
        reserved: reserved.into_iter().flatten().collect(),
        options: config.port_options,
        remote: config.dataplane.is_some(),
        named: Box::new(move |name, no| registry.name_port(name, no)),
    };

    let tls = config.tls.as_ref().map(TlsFiles::load).transpose().context("TLS")?;
    let gnmi = GNmiServer::new(GnmiService::new(ports.clone(), site));
    let router = Server::builder().add_service(p4runtime.service()).add_service(gnmi);
    // Whoever is let in finds the ports there.
    let listener = socket.listen(BACKLOG).with_context(|| format!("--grpc-server-addr {}", config.address))?;
    let incoming = incoming(listener);
    tracing::info!(address = config.address, device = config.device_id, "serving P4Runtime and gNMI");
    let served = async {
        match tls {
            Some(tls) => router.serve_with_incoming(tls::accept(incoming, tls)).await,
            None => router.serve_with_incoming(incoming).await,
        }
    };
    tokio::select! {
        ended = served => ended.context("server")?,
        _ = terminate.recv() => tracing::info!("SIGTERM"),
        _ = interrupt.recv() => tracing::info!("SIGINT"),
    }
    ports.runtime().stop();
    Ok(())
}

/// The ports as the P4Runtime server sees them.
struct PortHost {
    ports: PortManager,
    cpu: Option<PortNo>,
}

impl Host for PortHost {
    fn has_port(&self, port: u32) -> bool {
        self.cpu == Some(port) || self.ports.get(port).is_some()
    }

    fn packet_out(&self, frame: Vec<u8>) {
        if let Some(cpu) = self.cpu {
            self.ports.runtime().inject(cpu, frame);
        }
    }
}

/// Program and P4Info as a controller would push them. P4Info may be text or binary.
fn pipeline(program: &Path, info: &Path) -> Result<ForwardingPipelineConfig> {
    let device_config = std::fs::read(program).with_context(|| format!("program {}", program.display()))?;
    let bytes = std::fs::read(info).with_context(|| format!("P4Info {}", info.display()))?;
    let text = std::str::from_utf8(&bytes).ok().map(p4runtime_proto::text::parse_p4info);
    let info = match text {
        Some(Ok(info)) => info,
        text => P4Info::decode(&bytes[..]).map_err(|binary| {
            let why = text.and_then(Result::err).map_or_else(|| binary.to_string(), |text| text.to_string());
            anyhow::anyhow!("P4Info {}: {why}", info.display())
        })?,
    };
    Ok(ForwardingPipelineConfig { p4info: Some(info), p4_device_config: device_config.into(), cookie: None })
}

fn load(path: &Path) -> Result<Arc<Program>> {
    let json = std::fs::read(path).with_context(|| format!("program {}", path.display()))?;
    Program::load(&json).with_context(|| format!("program {}", path.display()))
}

/// Connections whose answers leave at once: otherwise a short answer behind a window update waits up to 40 ms for the client to
/// acknowledge that. The builder's `tcp_nodelay` is about listeners that it opens itself.
fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Binds the first address of HOST:PORT that works. Nobody can connect before it listens.
fn bind(flag: &str, address: &str) -> Result<TcpSocket> {
    let what = || format!("{flag} {address}");
    let mut failed = anyhow::anyhow!("no address");
    for at in address.to_socket_addrs().with_context(what)? {
        let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        match socket.bind(at) {
            Ok(()) => return Ok(socket),
            Err(error) => failed = error.into(),
        }
    }
    Err(failed).with_context(what)
}

/// Adds the ports; those that read capture files wait `delay`, so that what they are sent to is there.
fn add_ports(ports: &PortManager, all: Vec<(PortNo, PortSpec, PortOptions)>, delay: Duration) -> Result<()> {
    let mut late = Vec::new();
    for (no, spec, options) in all {
        if matches!(spec, PortSpec::Pcap { input: Some(_), .. }) && !delay.is_zero() {
            late.push((no, spec, options));
        } else {
            ports.add(no, spec, &options)?;
        }
    }
    if !late.is_empty() {
        let ports = ports.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            for (no, spec, options) in late {
                if let Err(error) = ports.add(no, spec, &options) {
                    tracing::error!(%error, "port");
                }
            }
        });
    }
    Ok(())
}
