//! Service chains: into a chain, from hop to hop across the fabric, out again.

use std::collections::BTreeMap;

use pergola_pipeline::table::{Lpm, is, one_shot};
use pergola_pipeline::tables::{
    chain_classifier, chain_classifier_v6, chain_hop, chain_return, ipv4_unicast, mpls as labels, next_simple,
};
use pergola_pipeline::{Entity, reserved};

use super::frames::{V4, eth, mpls, udp, v4, v6};
use super::{HOST, Office, PEER, ROUTER, bare, next, tagged, to_router, trunk, untagged};

const CHAIN: u16 = 9;
const ONE: [u8; 6] = [2, 0, 0, 0, 1, 1];
const SPINE: [u8; 6] = [2, 0, 0, 0, 2, 2];

fn hop(position: u8, members: Vec<(chain_hop::Act, u32, Option<u16>)>) -> Entity {
    one_shot(&chain_hop::Key { chain_id: CHAIN, position, priority: 0 }, members)
}

fn to_instance(port: u16, vlan_id: u16) -> chain_hop::Act {
    chain_hop::Act::ToInstance { port, vlan_id, eth_src: ROUTER, eth_dst: ONE }
}

fn returns(ig_port: u16, vlan_id: u16, position: u8) -> Entity {
    let key = chain_return::Key { ig_port, vlan_id, priority: 0 };
    chain_return::entry(key, chain_return::Act::ChainContinue { chain_id: CHAIN, position, vrf: 1 })
}

/// Users on port 1, the world on port 2; what goes to or comes from 10/8 takes the chain.
fn entries() -> Vec<Entity> {
    let any = chain_classifier::ANY;
    let enter = chain_classifier::Act::EnterChain { chain_id: CHAIN, position: 1 };
    let (from_users, to_users) =
        (chain_classifier::Key { ig_port: is(1), ..any }, chain_classifier::Key { ig_port: is(2), ..any });
    let dns = chain_classifier::Key { l4_dport: is(53), priority: 2, ..any };
    let route = |value: [u8; 4], prefix_len, next_id| {
        let key = ipv4_unicast::Key { vrf: 1, ipv4_dst: Lpm { value: value.into(), prefix_len }, priority: 0 };
        ipv4_unicast::entry(key, ipv4_unicast::Act::RouteV4 { next_id })
    };
    let attached = |port, vlan_id, eth_dst| next_simple::Act::ToAttached { port, vlan_id, eth_src: ROUTER, eth_dst };
    vec![
        untagged(1, 10, 1),
        untagged(2, 20, 1),
        bare(10, 1),
        bare(20, 2),
        to_router(0x0800, reserved::FWD_IPV4),
        chain_classifier::entry(from_users, enter),
        chain_classifier::entry(to_users, enter),
        chain_classifier::entry(dns, chain_classifier::Act::NoChain {}),
        route([0; 4], 0, 2),
        route([10, 0, 0, 0], 8, 1),
        next(1, attached(1, 10, HOST)),
        next(2, attached(2, 20, PEER)),
    ]
}

#[test]
fn hop_by_hop_here_and_on_another_leaf_and_out() {
    let mut office = Office::new(entries());
    let remote = chain_hop::Act::ToRemoteInstance { next_id: 30, service_label: 7001 };
    let spine = next_simple::Act::ToNode { port: 8, eth_src: ROUTER, eth_dst: SPINE, label: 102 };
    office.insert([
        hop(1, vec![(to_instance(3, 300), 1, None)]),
        hop(2, vec![(remote, 1, None)]),
        hop(3, vec![(chain_hop::Act::LeaveChain {}, 1, None)]),
        trunk(300, 3),
        tagged(3, 301, 0),
        returns(3, 301, 2),
        next(30, spine),
    ]);
    let packet = v4([10, 0, 0, 5], [8, 8, 8, 8]);
    let body = udp(1000, 80, b"request");
    let entering = eth(ROUTER, HOST, &[], 0x0800, &packet.with(&body));
    // To the instance as it came but for the addresses of the link: no hop is counted.
    assert_eq!(office.send(1, &entering), [(3, eth(ONE, ROUTER, &[300], 0x0800, &packet.with(&body)))]);
    // Back from it: to the second instance, by the labels of its leaf and of itself.
    let under = mpls(102, false, 64, &mpls(7001, true, 64, &packet.with(&body)));
    let back = eth(ROUTER, ONE, &[301], 0x0800, &packet.with(&body));
    assert_eq!(office.send(3, &back), [(8, eth(SPINE, ROUTER, &[], 0x8847, &under))]);
    // What no chain is for goes straight.
    let dns = udp(1000, 53, b"request");
    let straight = eth(PEER, ROUTER, &[], 0x0800, &packet.hop().with(&dns));
    assert_eq!(office.send(1, &eth(ROUTER, HOST, &[], 0x0800, &packet.with(&dns))), [(2, straight)]);

    // The other leaf: its label is off by then, the service label names the instance.
    let instance = labels::Act::PopToInstance { port: 5, vlan_id: 400, eth_src: ROUTER, eth_dst: ONE };
    let mut far = Office::new(entries());
    far.insert([
        untagged(8, 4094, 0),
        to_router(0x8847, reserved::FWD_MPLS),
        labels::entry(labels::Key { label: 7001, priority: 0 }, instance),
        trunk(400, 5),
        tagged(5, 401, 0),
        returns(5, 401, 3),
        hop(3, vec![(chain_hop::Act::LeaveChain {}, 1, None)]),
    ]);
    let arriving = eth(ROUTER, SPINE, &[], 0x8847, &mpls(7001, true, 63, &packet.with(&body)));
    assert_eq!(far.send(8, &arriving), [(5, eth(ONE, ROUTER, &[400], 0x0800, &packet.with(&body)))]);
    // The last position: routed as without a chain.
    let back = eth(ROUTER, ONE, &[401], 0x0800, &packet.with(&body));
    assert_eq!(far.send(5, &back), [(2, eth(PEER, ROUTER, &[], 0x0800, &packet.hop().with(&body)))]);
    // An instance cannot make packets enter where it does not return.
    assert_eq!(far.send(5, &eth(ROUTER, ONE, &[402], 0x0800, &packet.with(&body))), []);
}

#[test]
fn both_directions_of_a_flow_meet_the_same_instance() {
    let mut office = Office::new(entries());
    let instances: Vec<_> = (3..7).map(|port| (to_instance(port, 300), 1, Some(port))).collect();
    office.insert([hop(1, instances)]);
    office.insert((3..7).map(|port| trunk(300, port)));
    let flow = |office: &mut Office, n: u8| {
        let (user, far) = ([10, 0, 0, n], [8, 8, n, 8]);
        let (ports, body) = ((1000 + u16::from(n), 80), [n; 4]);
        let up = v4(user, far).with(&udp(ports.0, ports.1, &body));
        let down = v4(far, user).with(&udp(ports.1, ports.0, &body));
        let up = office.send(1, &eth(ROUTER, HOST, &[], 0x0800, &up));
        let down = office.send(2, &eth(ROUTER, PEER, &[], 0x0800, &down));
        assert_eq!((up.len(), down.len()), (1, 1));
        assert_eq!(up[0].0, down[0].0, "flow {n}");
        up[0].0
    };
    // Pieces of a packet have no ports to tell them apart by.
    for n in 0..16 {
        let (user, far) = ([10, 0, 0, n], [8, 8, n, 8]);
        let whole = udp(1000, 80, &[n; 40]);
        let ways =
            [(0x2000, user, far), (2, user, far), (0x2000, far, user), (2, far, user)].map(|(fragment, src, dst)| {
                let part = if fragment == 2 { &whole[16..] } else { &whole[..16] };
                let piece = V4 { fragment, ..v4(src, dst) }.with(part);
                office.send(if src == user { 1 } else { 2 }, &eth(ROUTER, HOST, &[], 0x0800, &piece))[0].0
            });
        assert_eq!(ways, [ways[0]; 4], "{n}");
    }
    let mut load = BTreeMap::new();
    let first: Vec<_> = (0..=99).map(|n| flow(&mut office, n)).collect();
    first.iter().for_each(|port| *load.entry(*port).or_insert(0) += 1);
    assert_eq!(load.keys().copied().collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert!(load.values().all(|flows| *flows >= 10), "{load:?}");
    // An instance's port goes down: both directions of its flows move together, and come back.
    office.set_port_up(4, false);
    let moved: Vec<_> = (0..=99).map(|n| flow(&mut office, n)).collect();
    assert!(!moved.contains(&4));
    office.set_port_up(4, true);
    assert_eq!((0..=99).map(|n| flow(&mut office, n)).collect::<Vec<_>>(), first);
}

#[test]
fn without_an_instance_packets_are_dropped_or_go_on() {
    let mut office = Office::new(entries());
    let sent = eth(ROUTER, HOST, &[], 0x0800, &v4([10, 0, 0, 5], [8, 8, 8, 8]).with(&udp(1, 80, b"x")));
    // A position that nobody programmed: normal forwarding.
    assert_eq!(office.send(1, &sent)[0].0, 2);
    let drop = hop(1, vec![(chain_hop::Act::ChainDrop {}, 1, None)]);
    office.insert([drop]);
    assert_eq!(office.send(1, &sent), []);
}

#[test]
fn both_directions_of_ipv6_meet_the_same_instance() {
    let any = chain_classifier_v6::Key {
        line_id: None,
        slice: None,
        ig_port: None,
        vlan_id: None,
        ipv6_src: None,
        ipv6_dst: None,
        ip_proto: None,
        l4_sport: None,
        l4_dport: None,
        priority: 1,
    };
    let enter = chain_classifier_v6::Act::EnterChainV6 { chain_id: CHAIN, position: 1 };
    let instances: Vec<_> = (3..7).map(|port| (to_instance(port, 300), 1, Some(port))).collect();
    let mut office = Office::new(entries());
    office.insert([chain_classifier_v6::entry(any, enter), hop(1, instances), to_router(0x86dd, reserved::FWD_IPV6)]);
    office.insert((3..7).map(|port| trunk(300, port)));
    let mut met = BTreeMap::new();
    for n in 0..100u16 {
        let (user, far) = ([0x2001, 0xdb8, 1, n, 0, 0, 0, 5], [0x2001, 0xdb8, 2, 0, 0, 0, 0, 8]);
        let up = v6(user, far, 17, 64, &udp(1000 + n, 80, b"asks"));
        let down = v6(far, user, 17, 64, &udp(80, 1000 + n, b"answers"));
        let ways = [(1, up), (2, down)].map(|(port, ip)| office.send(port, &eth(ROUTER, HOST, &[], 0x86dd, &ip))[0].0);
        assert_eq!(ways[0], ways[1], "{n}");
        *met.entry(ways[0]).or_insert(0) += 1;
    }
    assert!(met.len() == 4 && met.values().all(|flows| *flows >= 10), "{met:?}");
}
