//! Multicast groups with fixed receivers.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::PortId;
use crate::names::{GroupName, SubnetName};
use crate::resource::{Kind, Resource};

/// A group whose receivers are configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MulticastGroup {
    pub name: GroupName,
    /// The subnet in which it is received.
    pub subnet: SubnetName,
    /// A multicast address, v4 or v6.
    pub group: IpAddr,
    /// Edge ports that carry the subnet's VLAN.
    pub receivers: Vec<PortId>,
}

impl Resource for MulticastGroup {
    const KIND: Kind = Kind::Multicast;

    fn name(&self) -> String {
        self.name.to_string()
    }
}
