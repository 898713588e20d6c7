//! The switch as a process: a program, ports, the forwarding loop, and one server for P4Runtime and gNMI.
//!
//! ```text
//!  main thread: tokio (gRPC, signals)      forward-N: frames          link-watch: netlink events
//!        │  write state, inject ───────────────►│                            │
//!        │◄────────── packet-in, digests ───────┘     port bits, gNMI ◄──────┘
//! ```

use crate::cli::{Config, LogTarget, Tls};
use crate::forward::ProgramForwarder;
use crate::gnmi::GnmiService;
use crate::ports::{PortManager, PortNo, PortOptions, PortSpec};
use crate::program::Program;
use crate::runtime::{Forwarder, Runtime, RuntimeOptions};
use crate::switch::{Switch, SwitchOptions};
use anyhow::{Context, Result};
use p4runtime_proto::gnmi::g_nmi_server::GNmiServer;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tracing_subscriber::fmt;

/// Runs the switch until SIGTERM or SIGINT.
///
/// # Errors
/// What could not be read, opened or bound; then nothing runs.
pub fn run(config: Config) -> Result<()> {
    log_to(&config)?;
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(serve(config));
    // Streams that are still open must not hold up the end.
    runtime.shutdown_background();
    outcome
}

fn log_to(config: &Config) -> Result<()> {
    let builder = fmt().with_max_level(config.level).with_target(false);
    match &config.log {
        LogTarget::Quiet => builder.with_writer(std::io::stderr).init(),
        LogTarget::Console => builder.with_writer(std::io::stdout).init(),
        LogTarget::File(path) => {
            let file = std::fs::File::create(path).with_context(|| format!("log file {}", path.display()))?;
            builder.with_ansi(false).with_writer(std::sync::Mutex::new(file)).init();
        }
    }
    Ok(())
}

async fn serve(config: Config) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = bind(&config.address)?;
    let program = config.program.as_deref().map(load).transpose()?;
    let options = SwitchOptions {
        cpu_port: config.cpu_port,
        drop_port: config.drop_port,
        priority_queues: config.priority_queues,
        workers: config.workers,
    };
    let switch = Switch::new(program, options).context("program")?;
    let forwarders = (0..config.workers).map(|_| Box::new(ProgramForwarder::new(&switch)) as Box<dyn Forwarder>);
    let loop_options = RuntimeOptions { spin: config.spin, ..RuntimeOptions::default() };
    let runtime = Arc::new(Runtime::start(forwarders.collect(), None, &loop_options)?);
    let bits = Arc::clone(&switch);
    let ports = PortManager::new(runtime, move |no, up| bits.set_port_up(no, up));
    add_ports(&ports, config.ports, config.input_delay)?;

    let mut server = Server::builder().tcp_nodelay(true);
    if let Some(tls) = &config.tls {
        server = server.tls_config(tls_config(tls)?).context("TLS")?;
    }
    let router = server.add_service(GNmiServer::new(GnmiService::new(ports.clone())));
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
    tracing::info!(address = config.address, device = config.device_id, "serving P4Runtime and gNMI");
    tokio::select! {
        ended = router.serve_with_incoming(incoming) => ended.context("server")?,
        _ = terminate.recv() => tracing::info!("SIGTERM"),
        _ = interrupt.recv() => tracing::info!("SIGINT"),
    }
    ports.runtime().stop();
    Ok(())
}

fn load(path: &Path) -> Result<Arc<Program>> {
    let json = std::fs::read(path).with_context(|| format!("program {}", path.display()))?;
    Program::load(&json).with_context(|| format!("program {}", path.display()))
}

/// Binds the first address of HOST:PORT that works.
fn bind(address: &str) -> Result<TcpListener> {
    let what = || format!("--grpc-server-addr {address}");
    let addresses: Vec<_> = address.to_socket_addrs().with_context(what)?.collect();
    let listener = TcpListener::bind(&addresses[..]).with_context(what)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
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

fn tls_config(tls: &Tls) -> Result<ServerTlsConfig> {
    let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    let config = ServerTlsConfig::new().identity(Identity::from_pem(read(&tls.certificate)?, read(&tls.key)?));
    Ok(match &tls.client_ca {
        Some(ca) => config.client_ca_root(Certificate::from_pem(read(ca)?)),
        None => config,
    })
}
