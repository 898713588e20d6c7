//! Numbers of replication groups. They follow from what is replicated; where two things have one hash, the later takes the
//! next number.

use std::ops::RangeInclusive;

use pergola_model::{Replication, View};

/// Numbers below are the floods of VLANs.
const FIRST: u16 = 0x1000;
/// Numbers from here on BMv2 refuses.
const END: u16 = 0x8000;
/// So many things with one hash have numbers of their own.
const ROOM: u16 = 8;
const BUCKETS: u64 = ((END - FIRST) / ROOM) as u64;

fn bucket(what: &Replication) -> u64 {
    (u64::from(what.hash()) * BUCKETS) >> 32
}

/// The hashes whose numbers depend on one another.
fn hashes(bucket: u64) -> RangeInclusive<u32> {
    let first = |bucket: u64| (bucket << 32).div_ceil(BUCKETS);
    first(bucket) as u32..=(first(bucket + 1) - 1) as u32
}

/// What is replicated whose number depends on whether `what` is.
pub fn near<'a>(view: &'a View, what: &Replication) -> impl Iterator<Item = Replication> + 'a + use<'a> {
    view.replications_in(hashes(bucket(what)))
}

/// The number of something that is replicated.
pub fn number(view: &View, what: &Replication) -> u16 {
    let before = near(view, what).take_while(|other| other != what).count();
    // More than eight of thousands is hardly ever so; then two share a number, and the planner reports it.
    FIRST + bucket(what) as u16 * ROOM + (before as u16).min(ROOM - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pergola_model::{AnyResource, GroupMembers, VlanId};
    use std::collections::HashSet;
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn a_thousand_groups_have_numbers_of_their_own() {
        let members = |n: u32| GroupMembers {
            switch: "leaf1".parse().unwrap(),
            vlan: VlanId::new(10).unwrap(),
            group: IpAddr::V4(Ipv4Addr::from_bits(0xef01_0000 + n)),
            any: vec!["leaf1/1".parse().unwrap()],
            sources: Vec::new(),
        };
        let view = View::from_resources((0..1000).map(|n| AnyResource::GroupMembers(members(n))));
        let all: Vec<Replication> = view.replications().collect();
        assert_eq!(all.len(), 2000);
        let buckets: HashSet<u64> = all.iter().map(bucket).collect();
        assert!(buckets.len() < all.len(), "some meet");
        let numbers: HashSet<u16> = all.iter().map(|what| number(&view, what)).collect();
        assert_eq!(numbers.len(), all.len());
        assert!(numbers.iter().all(|n| (FIRST..END).contains(n)));
    }

    #[test]
    fn every_hash_is_in_its_bucket() {
        assert_eq!(*hashes(0).start(), 0);
        assert_eq!(*hashes(BUCKETS - 1).end(), u32::MAX);
        for at in 1..BUCKETS {
            assert_eq!(*hashes(at - 1).end() + 1, *hashes(at).start());
            assert_eq!((u64::from(*hashes(at).start()) * BUCKETS) >> 32, at);
        }
    }
}
