//! What an engine is started with, and how a switch of the site becomes something to call.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pergola_discovery::Machines;
use pergola_model::{Security, Switch, Timers};
use pergola_plan::App;
use pergola_southbound::{Pipeline, Transport, TransportError};
use pergola_store::Store;
use pergola_store::mastership::Timing;
use tonic::transport::Endpoint;

use crate::clock::Clock;
use crate::reconcile::ReconcileConfig;

/// The program a switch shall run.
pub type PipelineOf = Arc<dyn Fn(&Switch) -> Arc<Pipeline> + Send + Sync>;

/// Settings and parts of an engine.
pub struct EngineConfig {
    pub store: Arc<dyn Store>,
    /// In order of precedence: of two that want different values under one key, the first wins.
    pub apps: Vec<Arc<dyn App>>,
    pub pipeline_of: PipelineOf,
    pub machines: Machines,
    /// Must be the clock that the machines were configured with.
    pub clock: Clock,
    /// The lab flag: without it, switches that ask for plain text are not called.
    pub allow_plaintext: bool,
    /// This controller's name in its cluster; no two that run may have the same.
    pub node: Arc<str>,
    /// How fast mastership moves.
    pub mastership: Timing,
    pub reconcile: ReconcileConfig,
    /// Folder in which every input is recorded.
    pub record: Option<PathBuf>,
}

/// Why a switch cannot be called. Shown as the device's last error.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("security is plaintext, which only a lab may do: start with the lab flag, or give the switch tls")]
    PlaintextNotAllowed,
    #[error("{field}: {path}: {source}")]
    File { field: &'static str, path: String, source: std::io::Error },
    #[error("{given} is given without {missing}; mutual TLS needs both")]
    HalfIdentity { given: &'static str, missing: &'static str },
    #[error("ca_file is missing; it names the authority that signed the switch's certificate")]
    NoAuthority,
    #[error("{0}")]
    Transport(#[from] TransportError),
    #[error("device id {device_id} at {address} is also claimed by {other}; one of the two has to change")]
    ClaimedTwice { device_id: u64, address: String, other: String },
}

fn file(field: &'static str, path: &str) -> Result<Vec<u8>, CallError> {
    std::fs::read(path).map_err(|source| CallError::File { field, path: path.to_owned(), source })
}

/// How sessions to a switch are protected.
pub fn transport(security: &Security, allow_plaintext: bool) -> Result<Transport, CallError> {
    let files = match security {
        Security::Plaintext(_) if allow_plaintext => return Ok(Transport::PlaintextLab),
        Security::Plaintext(_) => return Err(CallError::PlaintextNotAllowed),
        Security::Tls(files) => files,
    };
    let ca = match &files.ca_file {
        Some(path) => file("ca_file", path)?,
        None => return Err(CallError::NoAuthority),
    };
    let identity = match (&files.cert_file, &files.key_file) {
        (Some(cert), Some(key)) => Some((file("cert_file", cert)?, file("key_file", key)?)),
        (None, None) => None,
        (Some(_), None) => {
            return Err(CallError::HalfIdentity { given: "cert_file", missing: "key_file" });
        }
        (None, Some(_)) => {
            return Err(CallError::HalfIdentity { given: "key_file", missing: "cert_file" });
        }
    };
    Ok(Transport::Tls { ca, identity, server_name: files.server_name.clone() })
}

/// Everything needed to call a switch.
pub struct Calls {
    pub p4runtime: Endpoint,
    pub gnmi: Option<Endpoint>,
}

/// The endpoints of a switch; `None` when it has none.
pub fn calls(switch: &Switch, allow_plaintext: bool, connect_timeout: Duration) -> Result<Option<Calls>, CallError> {
    let Some(address) = &switch.p4runtime else { return Ok(None) };
    let transport = transport(&switch.security, allow_plaintext)?;
    let p4runtime = transport.endpoint(&address.to_string(), connect_timeout)?;
    let gnmi = match &switch.gnmi {
        Some(address) => Some(transport.endpoint(&address.to_string(), connect_timeout)?),
        None => None,
    };
    Ok(Some(Calls { p4runtime, gnmi }))
}

/// The site's timers as the reconciler takes them.
pub(crate) fn reconcile_config(base: &ReconcileConfig, timers: &Timers) -> ReconcileConfig {
    ReconcileConfig { audit_interval: Duration::from_millis(timers.audit_interval_ms.into()), ..base.clone() }
}
