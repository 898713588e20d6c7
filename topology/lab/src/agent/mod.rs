//! The lab's own helper processes, started as `PROGRAM lab-agent KIND JSON`. Each prints `ready` and goes on until it is
//! ended.

mod frame;
mod proxy;
mod shim;
mod user_hosts;

pub use user_hosts::{Ask, Counters, Reply, ask};

use crate::spec::{Forward, UserHost};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::PathBuf;

/// Joins TAPs to cables: pushes and pops tags, spreads flows over several cables.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShimConfig {
    /// Interfaces of the host's cables.
    pub cables: Vec<String>,
    pub taps: Vec<TapConfig>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TapConfig {
    pub name: String,
    /// Indexes into [`ShimConfig::cables`].
    pub cables: Vec<usize>,
    pub tags: Vec<u16>,
    pub outer_tpid: u16,
}

/// Plays many hosts on one interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserHostsConfig {
    pub interface: String,
    /// Unix socket for [`ask`].
    pub control: PathBuf,
    pub hosts: Vec<UserHost>,
}

/// Carries TCP connections into the lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProxyConfig {
    pub namespace: String,
    /// Listened on outside, connected inside.
    pub forwards: Vec<Forward>,
    /// Both inside.
    #[serde(default)]
    pub inside: Vec<Forward>,
}

/// Runs a helper; returns only on an error.
pub fn run(kind: &str, config: &str) -> io::Result<()> {
    match kind {
        "shim" => shim::run(&parse(config)?),
        "user-hosts" => user_hosts::run(parse(config)?),
        "proxy" => proxy::run(&parse(config)?),
        _ => Err(invalid(format!("lab-agent `{kind}`: allowed are shim, user-hosts, proxy"))),
    }
}

fn parse<'a, T: Deserialize<'a>>(config: &'a str) -> io::Result<T> {
    serde_json::from_str(config).map_err(|e| invalid(format!("lab-agent configuration: {e}")))
}

pub(crate) fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Tells the lab that started us.
fn ready() -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(b"ready\n")?;
    out.flush()
}
