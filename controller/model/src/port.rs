//! A switch's port: whether it is on, and which VLANs it carries how.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{PortId, VlanId};
use crate::resource::{Kind, Resource};
use crate::site::is_default;

/// A port of a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    pub id: PortId,
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// Bits a second; without it, what the switch has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_bps: Option<u64>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: PortMode,
}

pub(crate) fn yes() -> bool {
    true
}

pub(crate) fn is_yes(value: &bool) -> bool {
    *value
}

impl Resource for Port {
    const KIND: Kind = Kind::Port;

    fn name(&self) -> String {
        self.id.to_string()
    }
}

/// How an edge port carries VLANs. A fabric port has none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PortMode {
    /// No VLAN: a fabric port, or an edge port not in use.
    #[default]
    None,
    /// One VLAN, without tags.
    Untagged { vlan: VlanId },
    /// Several VLANs, each with its tag; frames without a tag are dropped.
    Tagged { vlans: Vec<VlanId> },
    /// One VLAN without tags and several with.
    Native { native: VlanId, tagged: Vec<VlanId> },
    /// Two tags a frame; each pair of tags is one VLAN of the fabric.
    Qinq { services: Vec<QinqService> },
}

/// A pair of tags and the fabric's VLAN it stands for, on one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QinqService {
    pub outer: VlanId,
    pub inner: VlanId,
    pub vlan: VlanId,
}

/// The tags that frames of one VLAN have on one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tagging {
    Untagged,
    Tagged(VlanId),
    Double { outer: VlanId, inner: VlanId },
}

impl PortMode {
    /// Every VLAN the port carries with the tags it has there, in the order they are written.
    pub fn memberships(&self) -> Vec<(VlanId, Tagging)> {
        match self {
            PortMode::None => Vec::new(),
            PortMode::Untagged { vlan } => vec![(*vlan, Tagging::Untagged)],
            PortMode::Tagged { vlans } => vlans.iter().map(|vlan| (*vlan, Tagging::Tagged(*vlan))).collect(),
            PortMode::Native { native, tagged } => std::iter::once((*native, Tagging::Untagged))
                .chain(tagged.iter().map(|vlan| (*vlan, Tagging::Tagged(*vlan))))
                .collect(),
            PortMode::Qinq { services } => {
                services.iter().map(|s| (s.vlan, Tagging::Double { outer: s.outer, inner: s.inner })).collect()
            }
        }
    }

    /// The tags frames of `vlan` have on this port; `None` when it does not carry the VLAN.
    pub fn tagging(&self, vlan: VlanId) -> Option<Tagging> {
        self.memberships().into_iter().find(|(v, _)| *v == vlan).map(|(_, tagging)| tagging)
    }

    /// The VLAN of frames that came in with these tags; `None` when the port refuses them.
    pub fn vlan_of(&self, tagging: Tagging) -> Option<VlanId> {
        self.memberships().into_iter().find(|(_, t)| *t == tagging).map(|(vlan, _)| vlan)
    }

    pub fn is_none(&self) -> bool {
        matches!(self, PortMode::None)
    }
}
