//! The site: what holds for all of it. There is one.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mac::MacAddr;
use crate::names::SiteName;
use crate::resource::{Kind, Resource};
use crate::value::{ValueError, string_form};

/// The site as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Site {
    pub name: SiteName,
    /// One gateway address for all leaves, so that a host that moves keeps its gateway. Without it every leaf answers
    /// with its own router address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anycast_mac: Option<MacAddr>,
    /// Where the key is that authenticates LLDP frames. Without it the controller makes one for itself at start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lldp_key: Option<SecretRef>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub timers: Timers,
}

impl Resource for Site {
    const KIND: Kind = Kind::Site;

    /// Always `site`: there is one, and renaming it is a change and not another site.
    fn name(&self) -> String {
        "site".into()
    }
}

/// How often and how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timers {
    /// Between two LLDP frames on a port.
    #[schemars(range(min = 10, max = 3_600_000))]
    pub lldp_interval_ms: u32,
    /// After so many frames in a row are lost, the link is down.
    #[schemars(range(min = 1, max = 100))]
    pub lldp_lost: u32,
    /// A host silent for so long is probed.
    #[schemars(range(min = 1_000, max = 86_400_000))]
    pub host_idle_ms: u32,
    /// Between two probes of a silent host.
    #[schemars(range(min = 100, max = 600_000))]
    pub host_probe_ms: u32,
    /// After so many unanswered probes a host is forgotten.
    #[schemars(range(min = 1, max = 100))]
    pub host_probes: u32,
    /// Between two comparisons of a switch's entries with the wanted ones.
    #[schemars(range(min = 100, max = 86_400_000))]
    pub audit_interval_ms: u32,
    /// The longest wait before a lost switch is called again.
    #[schemars(range(min = 10, max = 600_000))]
    pub reconnect_max_ms: u32,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            lldp_interval_ms: 1_000,
            lldp_lost: 3,
            host_idle_ms: 300_000,
            host_probe_ms: 2_000,
            host_probes: 3,
            audit_interval_ms: 10_000,
            reconnect_max_ms: 5_000,
        }
    }
}

impl Timers {
    /// Each timer that is out of range: its field, what was found, what is allowed.
    pub fn check(&self) -> Vec<ValueError> {
        let ranges = [
            ("lldp_interval_ms", self.lldp_interval_ms, 10, 3_600_000),
            ("lldp_lost", self.lldp_lost, 1, 100),
            ("host_idle_ms", self.host_idle_ms, 1_000, 86_400_000),
            ("host_probe_ms", self.host_probe_ms, 100, 600_000),
            ("host_probes", self.host_probes, 1, 100),
            ("audit_interval_ms", self.audit_interval_ms, 100, 86_400_000),
            ("reconnect_max_ms", self.reconnect_max_ms, 10, 600_000),
        ];
        ranges
            .into_iter()
            .filter(|(_, found, min, max)| found < min || found > max)
            .map(|(what, found, min, max)| ValueError::new(what, found, format!("{min} to {max}")))
            .collect()
    }
}

/// Where a secret is kept; the secret itself is never in the store: `file:/etc/pergola/lldp.key`, `env:PERGOLA_LLDP_KEY`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretRef {
    File(String),
    Env(String),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::File(path) => write!(f, "file:{path}"),
            SecretRef::Env(name) => write!(f, "env:{name}"),
        }
    }
}

impl FromStr for SecretRef {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.split_once(':') {
            Some(("file", path)) if path.starts_with('/') => Ok(SecretRef::File(path.into())),
            Some(("env", name)) if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => {
                Ok(SecretRef::Env(name.into()))
            }
            // What was found is not repeated: somebody may have written the secret itself.
            _ => Err(ValueError::new(
                "secret reference",
                format!("{} characters", text.chars().count()),
                "file:/ABSOLUTE/PATH or env:NAME",
            )),
        }
    }
}

string_form!(
    SecretRef,
    "SecretRef",
    "where a secret is kept: file:/ABSOLUTE/PATH or env:NAME",
    "^(file:/.+|env:[A-Za-z0-9_]+)$"
);

/// For `skip_serializing_if`: a value that says nothing more than its default is not written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
