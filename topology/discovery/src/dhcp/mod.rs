//! DHCP relays. They keep no state of clients: port and VLAN travel in the circuit id (DHCPv4 option 82) or the
//! interface id (DHCPv6 option 18) and come back with the answer, also to another controller.

mod forward;
#[cfg(test)]
mod tests;
mod v4;
mod v6;

pub use v4::DhcpRelay4;
pub use v6::DhcpRelay6;

use crate::net::{Net, PortRef};
use crate::wire::Tags;
use std::fmt;

/// Where a client is: `leaf1/3:100`, or `leaf1/3:10.20` where its frames carry two tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circuit {
    pub at: PortRef,
    pub line: Line,
}

/// What tells lines of one port apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Vlan(u16),
    Double(u16, u16),
}

impl Circuit {
    pub fn new(at: PortRef, vlan: u16, tags: Tags) -> Circuit {
        let line = match tags {
            Tags::Two(outer, inner) => Line::Double(outer, inner),
            _ => Line::Vlan(vlan),
        };
        Circuit { at, line }
    }

    pub fn parse(text: &[u8]) -> Option<Circuit> {
        let (at, line) = std::str::from_utf8(text).ok()?.rsplit_once(':')?;
        let id = |s: &str| s.parse().ok().filter(|v| (1..4095).contains(v));
        let line = match line.split_once('.') {
            Some((outer, inner)) => Line::Double(id(outer)?, id(inner)?),
            None => Line::Vlan(id(line)?),
        };
        Some(Circuit { at: PortRef::parse(at)?, line })
    }

    /// VLAN and tags on the port as it is configured now; `None` when it is not an edge port with that VLAN any more.
    pub fn resolve(&self, net: &dyn Net) -> Option<(u16, Tags)> {
        match self.line {
            Line::Vlan(vlan) => {
                let port = net.port(&self.at)?;
                let tags = port.vlans.tags_for(vlan)?;
                (net.classify(&self.at, tags) == Some(vlan)).then_some((vlan, tags))
            }
            Line::Double(outer, inner) => {
                let tags = Tags::Two(outer, inner);
                Some((net.classify(&self.at, tags)?, tags))
            }
        }
    }
}

impl fmt::Display for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Line::Vlan(vlan) => write!(f, "{}:{vlan}", self.at),
            Line::Double(outer, inner) => write!(f, "{}:{outer}.{inner}", self.at),
        }
    }
}
