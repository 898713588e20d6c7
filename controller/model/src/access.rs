//! Access devices: OLTs and base stations, where they attach and how they are managed.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::PortId;
use crate::ip::Endpoint;
use crate::mac::MacAddr;
use crate::names::AccessName;
use crate::resource::{Kind, Resource};

/// An OLT or a base station.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessDevice {
    pub name: AccessName,
    pub kind: AccessKind,
    /// The leaf ports its uplinks are on.
    pub ports: Vec<PortId>,
    /// Its address in the fabric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Where its management agent listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management: Option<Endpoint>,
}

impl Resource for AccessDevice {
    const KIND: Kind = Kind::AccessDevice;

    fn name(&self) -> String {
        self.name.to_string()
    }
}

/// What an access device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessKind {
    /// An optical line terminal.
    Olt,
    /// An LTE base station.
    Enb,
    /// A 5G base station.
    Gnb,
}
