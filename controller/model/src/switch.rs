//! A switch: its place in the fabric, its identity, how it is reached.

use std::net::{Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{DeviceId, NodeLabel, PortNo};
use crate::ip::Endpoint;
use crate::mac::MacAddr;
use crate::names::SwitchName;
use crate::resource::{Kind, Resource};
use crate::site::is_default;

/// A switch of the fabric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    pub name: SwitchName,
    pub role: Role,
    /// The device id P4Runtime calls it by.
    pub device_id: DeviceId,
    /// Where it serves P4Runtime. Without it the controller plans the switch and does not call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p4runtime: Option<Endpoint>,
    /// Where it serves gNMI. Without it ports count as up and links are judged by LLDP loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gnmi: Option<Endpoint>,
    /// How both are protected.
    #[serde(default, skip_serializing_if = "is_default")]
    pub security: Security,
    /// The MPLS label that stands for it, unique in the site.
    pub node_label: NodeLabel,
    /// Source of what it sends itself, ICMP errors and DHCP relay among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loopback_v4: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loopback_v6: Option<Ipv6Addr>,
    /// Its own Ethernet address towards other switches; also the gateways' when the site has no anycast address.
    pub router_mac: MacAddr,
    /// The other leaf of a pair that servers may attach to with one leg each. Both name one another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<SwitchName>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub target: Target,
    /// The port on which packets come from and go to the controller; without it, what the target usually has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_port: Option<PortNo>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub admin: AdminState,
}

impl Resource for Switch {
    const KIND: Kind = Kind::Switch;

    fn name(&self) -> String {
        self.name.to_string()
    }
}

impl Switch {
    pub fn is_leaf(&self) -> bool {
        self.role == Role::Leaf
    }

    pub fn is_spine(&self) -> bool {
        self.role == Role::Spine
    }

    /// The CPU port as configured, or as the target usually has it: 255.
    pub fn cpu_port(&self) -> PortNo {
        const USUAL: u64 = 255;
        self.cpu_port.unwrap_or_else(|| PortNo::try_from(USUAL).unwrap_or(PortNo::MAX))
    }
}

/// The place in the fabric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Hosts, servers and access devices attach to it.
    Leaf,
    /// It carries labels between leaves.
    Spine,
}

/// What kind of switch it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Pergola's own software switch.
    #[default]
    Pergola,
    /// BMv2's `simple_switch_grpc`.
    Bmv2,
    /// Another P4Runtime switch that runs the pipeline.
    Other,
}

/// Whether a switch carries traffic, as people want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdminState {
    /// In service.
    #[default]
    Unlocked,
    /// Kept programmed, and paths lead around it.
    Locked,
}

/// How sessions to a switch are protected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// TLS 1.2 or 1.3.
    Tls(TlsFiles),
    /// None at all, which only a lab may do and has to say.
    Plaintext(PlaintextReason),
}

impl Default for Security {
    fn default() -> Self {
        Security::Tls(TlsFiles::default())
    }
}

/// The one reason for which a session may be plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlaintextReason {
    Lab,
}

/// PEM files on the controller's machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate authority; without it, the machine's own list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The controller's certificate, with its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// The name in the switch's certificate when it is not the endpoint's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}
