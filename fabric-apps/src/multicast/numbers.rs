//! Numbers of replication groups. They follow from what is replicated; where two things have one hash, the later takes the
//! next number.

use std::net::IpAddr;

use pergola_model::{MacAddr, VlanId, group_mac};

use crate::office::hash;

/// Something that is replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Replication {
    /// A group's packets from hosts, of one source or of any.
    Group { vlan: VlanId, group: IpAddr, source: Option<IpAddr> },
    /// What comes from the fabric.
    Arrival { vlan: VlanId, address: MacAddr },
}

/// Numbers below are the floods of VLANs.
const FIRST: u16 = 0x1000;
/// Numbers from here on BMv2 refuses.
const END: u16 = 0x8000;
/// So many things with one hash have numbers of their own.
const ROOM: u16 = 8;
const BUCKETS: u64 = ((END - FIRST) / ROOM) as u64;

impl Replication {
    pub fn is_of(&self, of_vlan: VlanId, of_group: IpAddr) -> bool {
        match self {
            Replication::Group { vlan, group, .. } => (*vlan, *group) == (of_vlan, of_group),
            Replication::Arrival { vlan, address } => (*vlan, *address) == (of_vlan, group_mac(of_group)),
        }
    }

    /// Whether the number of one depends on whether the other is there.
    pub fn meets(&self, other: &Replication) -> bool {
        self.bucket() == other.bucket()
    }

    fn bucket(&self) -> u16 {
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
        (hash(&name) % BUCKETS) as u16
    }
}

/// The number of one of `all`.
pub fn number(all: impl Iterator<Item = Replication>, of: &Replication) -> u16 {
    let bucket = of.bucket();
    let mut before: Vec<Replication> = all.filter(|r| r < of && r.bucket() == bucket).collect();
    before.sort_unstable();
    before.dedup();
    // More than eight of thousands is hardly ever so; then two share a number, and the planner reports it.
    FIRST + bucket * ROOM + (before.len() as u16).min(ROOM - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    #[test]
    fn a_thousand_groups_have_numbers_of_their_own() {
        let vlan = VlanId::new(10).unwrap();
        let all: Vec<Replication> = (0..1000u32)
            .map(|n| IpAddr::V4(Ipv4Addr::from_bits(0xef01_0000 + n)))
            .flat_map(|group| {
                let whole = Replication::Group { vlan, group, source: None };
                [whole, Replication::Arrival { vlan, address: group_mac(group) }]
            })
            .collect();
        let hashes: HashSet<u16> = all.iter().map(Replication::bucket).collect();
        assert!(hashes.len() < all.len(), "some meet");
        let numbers: HashSet<u16> = all.iter().map(|r| number(all.iter().copied(), r)).collect();
        assert_eq!(numbers.len(), all.len());
        assert!(numbers.iter().all(|n| (FIRST..END).contains(n)));
    }
}
