//! Servers and hosts that are declared, and the one notion of a host that joins declared and learned.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{PortId, VlanId};
use crate::mac::MacAddr;
use crate::names::HostName;
use crate::observed::HostLocation;
use crate::resource::{Kind, Resource};
use crate::site::is_default;
use crate::value::{ValueError, string_form};

/// A server or host as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostIntent {
    pub name: HostName,
    pub mac: MacAddr,
    pub vlan: VlanId,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpAddr>,
    /// One port, or two on the two leaves of a pair.
    pub attachments: Vec<PortId>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub binding: HostBinding,
    /// The host asks for its addresses by DHCP.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dhcp: DhcpClient,
}

impl Resource for HostIntent {
    const KIND: Kind = Kind::Host;

    fn name(&self) -> String {
        self.name.to_string()
    }
}

/// How much a declaration counts against what is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostBinding {
    /// The host is where it is declared until it is seen elsewhere, then it is where it was seen.
    #[default]
    Expected,
    /// The host is where it is declared and nowhere else, with the declared addresses and no others.
    Pinned,
    /// The declaration describes the host for people and the lab; the fabric believes only what it learns.
    Learned,
}

/// Which families a host asks DHCP for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DhcpClient {
    #[default]
    No,
    V4,
    V6,
    Both,
}

/// What tells hosts apart: the Ethernet address within a VLAN. Written `02:00:00:00:00:01/10`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostKey {
    // First, so that the hosts of one VLAN are neighbours in ordered maps.
    pub vlan: VlanId,
    pub mac: MacAddr,
}

impl HostKey {
    pub fn new(mac: MacAddr, vlan: VlanId) -> Self {
        HostKey { mac, vlan }
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.mac, self.vlan)
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for HostKey {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let Some((mac, vlan)) = text.split_once('/') else {
            return Err(ValueError::new("host", text, "MAC/VLAN, such as 02:00:00:00:00:01/10"));
        };
        Ok(HostKey { mac: mac.parse()?, vlan: vlan.parse()? })
    }
}

string_form!(
    HostKey,
    "HostKey",
    "a host: MAC/VLAN, such as 02:00:00:00:00:01/10",
    "^[0-9a-f]{2}(:[0-9a-f]{2}){5}/[1-9][0-9]{0,3}$"
);

/// A host as the fabric treats it: what is declared of it and what is learned, joined by [`HostBinding`].
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    pub key: HostKey,
    pub declared: Option<Arc<HostIntent>>,
    pub learned: Option<Arc<HostLocation>>,
}

impl Host {
    pub fn mac(&self) -> MacAddr {
        self.key.mac
    }

    pub fn vlan(&self) -> VlanId {
        self.key.vlan
    }

    /// The declared name.
    pub fn name(&self) -> Option<&HostName> {
        self.declared.as_ref().map(|d| &d.name)
    }

    fn binding(&self) -> Option<(HostBinding, &HostIntent)> {
        self.declared.as_deref().map(|d| (d.binding, d))
    }

    /// Whether the declared attachments hold, given what was learned.
    fn declared_holds(&self) -> Option<&HostIntent> {
        match (self.binding()?, self.learned.as_deref()) {
            ((HostBinding::Learned, _), _) => None,
            ((HostBinding::Pinned, declared), _) => Some(declared),
            ((HostBinding::Expected, declared), None) => Some(declared),
            ((HostBinding::Expected, declared), Some(learned)) => {
                learned.ports.iter().all(|p| declared.attachments.contains(p)).then_some(declared)
            }
        }
    }

    /// The ports the host is reached through: one, or two when it is dual-homed. Sorted as declared or learned.
    pub fn locations(&self) -> &[PortId] {
        match (self.declared_holds(), &self.learned) {
            (Some(declared), _) => &declared.attachments,
            (None, Some(learned)) => &learned.ports,
            (None, None) => &[],
        }
    }

    /// The host's addresses, each once: declared ones first, then learned ones.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let (declared, only) = match self.binding() {
            Some((HostBinding::Learned, _)) | None => (&[][..], false),
            Some((binding, d)) => (&d.ips[..], binding == HostBinding::Pinned),
        };
        let learned = match &self.learned {
            Some(l) if !only => &l.ips[..],
            _ => &[],
        };
        declared.iter().chain(learned.iter().filter(move |ip| !declared.contains(ip))).copied()
    }

    pub fn is_dual_homed(&self) -> bool {
        self.locations().len() > 1
    }
}
