//! Observations: what the network shows. Times are milliseconds since the Unix epoch.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::host::HostKey;
use crate::ids::{LinkId, PortId, VlanId};
use crate::mac::MacAddr;
use crate::names::SwitchName;
use crate::resource::{Kind, Resource};

/// How the controller stands with a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceState {
    pub switch: SwitchName,
    /// A P4Runtime session is open.
    pub connected: bool,
    pub mastership: Mastership,
    /// The cookie of the pipeline it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_cookie: Option<u64>,
    /// Entities wanted on it, those it has of them, and those the last writes could not put there.
    #[serde(default)]
    pub wanted: u64,
    #[serde(default)]
    pub installed: u64,
    #[serde(default)]
    pub failed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When `connected` or `mastership` last changed.
    #[serde(default)]
    pub changed_ms: u64,
}

impl Resource for DeviceState {
    const KIND: Kind = Kind::DeviceState;

    fn name(&self) -> String {
        self.switch.to_string()
    }
}

/// Who may write to a switch (P4Runtime 1.4 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mastership {
    #[default]
    None,
    /// This site's controller is the primary.
    Primary,
    /// Another controller is.
    Backup,
}

/// What a port is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortState {
    pub port: PortId,
    pub oper_up: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_bps: Option<u64>,
    #[serde(default)]
    pub changed_ms: u64,
}

impl Resource for PortState {
    const KIND: Kind = Kind::PortState;

    fn name(&self) -> String {
        self.port.to_string()
    }
}

/// A link that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkState {
    pub id: LinkId,
    pub up: bool,
    /// What the state was concluded from.
    pub source: LinkSource,
    #[serde(default)]
    pub changed_ms: u64,
}

impl Resource for LinkState {
    const KIND: Kind = Kind::LinkState;

    fn name(&self) -> String {
        self.id.to_string()
    }
}

/// What a link's state was concluded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkSource {
    /// LLDP frames that arrived, or did not.
    Lldp,
    /// The state of one of its ports.
    Port,
}

/// Where a host was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostLocation {
    pub mac: MacAddr,
    pub vlan: VlanId,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpAddr>,
    /// One port, or two on the two leaves of a pair, sorted.
    pub ports: Vec<PortId>,
    pub learned_from: LearnedFrom,
    /// When it last appeared or moved.
    #[serde(default)]
    pub moved_ms: u64,
}

impl HostLocation {
    pub fn host_key(&self) -> HostKey {
        HostKey { mac: self.mac, vlan: self.vlan }
    }
}

impl Resource for HostLocation {
    const KIND: Kind = Kind::HostLocation;

    fn name(&self) -> String {
        self.host_key().to_string()
    }
}

/// The packet that told of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LearnedFrom {
    Arp,
    GratuitousArp,
    Ndp,
    Dhcp,
    Dhcpv6,
    /// Any other frame: the Ethernet address and the port only.
    Frame,
}

/// A cable that is not where the site wants it. Such a link is reported and not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CablingFault {
    /// The port on which it was noticed.
    pub port: PortId,
    /// The far end the site wants; none when nothing should be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<PortId>,
    /// The far end that was seen.
    pub found: PortId,
    #[serde(default)]
    pub since_ms: u64,
}

impl Resource for CablingFault {
    const KIND: Kind = Kind::CablingFault;

    fn name(&self) -> String {
        self.port.to_string()
    }
}
