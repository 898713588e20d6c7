//! What of multicast is replicated: groups with receivers, and what arrives for them from the fabric.

use std::net::IpAddr;

use crate::hash::stable_hash;
use crate::ids::VlanId;
use crate::mac::MacAddr;
use crate::multicast::{GroupMembers, group_mac};

/// Something that switches replicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Replication {
    /// A group's packets from hosts, of one source or of any.
    Group { vlan: VlanId, group: IpAddr, source: Option<IpAddr> },
    /// What comes from the fabric, by its Ethernet address.
    Arrival { vlan: VlanId, address: MacAddr },
}

impl Replication {
    /// A group of any source, and its arrival.
    pub fn of_group(vlan: VlanId, group: IpAddr) -> [Replication; 2] {
        [Replication::Group { vlan, group, source: None }, Replication::Arrival { vlan, address: group_mac(group) }]
    }

    /// All that comes of a group's members.
    pub(crate) fn of_members(members: &GroupMembers) -> impl Iterator<Item = Replication> + '_ {
        let (vlan, group) = (members.vlan, members.group);
        let sources = members.sources.iter();
        let sourced = sources.map(move |s| Replication::Group { vlan, group, source: Some(s.source) });
        Self::of_group(vlan, group).into_iter().chain(sourced)
    }

    /// Spreads what is replicated evenly; the same in every version and on every machine.
    pub fn hash(&self) -> u32 {
        let bytes = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => u128::from(ip.to_bits()).to_be_bytes(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let mut name = [0; 35];
        match self {
            Replication::Group { vlan, group, source } => {
                name[..2].copy_from_slice(&vlan.get().to_be_bytes());
                name[2..18].copy_from_slice(&bytes(group));
                if let Some(source) = source {
                    name[18..34].copy_from_slice(&bytes(source));
                }
            }
            Replication::Arrival { vlan, address } => {
                name[..2].copy_from_slice(&vlan.get().to_be_bytes());
                name[2..8].copy_from_slice(&address.octets());
                name[34] = 1;
            }
        }
        (stable_hash(&name) >> 32) as u32
    }
}
