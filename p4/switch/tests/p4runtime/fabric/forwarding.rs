//! Labels, routes, multicast.

use std::collections::BTreeSet;

use pergola_pipeline::table::{Lpm, masked, one_shot};
use pergola_pipeline::tables::{
    dscp_rewriter, ipv4_multicast, ipv4_unicast, mpls as labels, next_hashed, next_mpls, next_multicast, next_simple,
    replicas,
};
use pergola_pipeline::{Entity, Replica, reserved};

use super::frames::{V4, eth, gtpu, mpls, udp, v4};
use super::{HOST, Office, PEER, ROUTER, bare, next, to_router, trunk, untagged};

const SPINE: [u8; 6] = [2, 0, 0, 0, 2, 2];
const FAR: [u8; 4] = [8, 8, 8, 8];
const USER: [u8; 4] = [10, 0, 0, 5];

fn route(vrf: u16, value: [u8; 4], prefix_len: u32, act: ipv4_unicast::Act) -> Entity {
    ipv4_unicast::entry(ipv4_unicast::Key { vrf, ipv4_dst: Lpm { value: value.into(), prefix_len }, priority: 0 }, act)
}

fn replica(port: u16, instance: u16) -> Replica {
    Replica { port: port.into(), instance: instance.into() }
}

#[test]
fn labels_from_leaf_to_leaf() {
    let to_node = next_simple::Act::ToNode { port: 8, eth_src: ROUTER, eth_dst: SPINE, label: 102 };
    let neighbour = |port| next_simple::Act::ToNeighbour { port, eth_src: ROUTER, eth_dst: SPINE };
    let service = next_mpls::Key { next_id: 31, priority: 0 };
    let members = [8, 9].map(|port| {
        let act = next_hashed::Act::ToNeighbourHashed { port, eth_src: ROUTER, eth_dst: SPINE };
        (act, 1, Some(port))
    });
    let label = |label, act| labels::entry(labels::Key { label, priority: 0 }, act);
    let attached = next_simple::Act::ToAttached { port: 2, vlan_id: 20, eth_src: ROUTER, eth_dst: PEER };
    let mut office = Office::new([
        untagged(1, 10, 1),
        untagged(8, 4094, 0),
        bare(20, 2),
        to_router(0x0800, reserved::FWD_IPV4),
        to_router(0x8847, reserved::FWD_MPLS),
        route(1, [10, 1, 0, 0], 16, ipv4_unicast::Act::RouteV4 { next_id: 30 }),
        route(1, [10, 2, 0, 0], 16, ipv4_unicast::Act::RouteV4 { next_id: 31 }),
        next(30, to_node),
        next_mpls::entry(service, next_mpls::Act::SetLabel { label: 103 }),
        one_shot(&next_hashed::Key { next_id: 31, priority: 0 }, members),
        label(200, labels::Act::KeepAndNext { next_id: 40 }),
        label(201, labels::Act::PopAndNext { next_id: 40 }),
        label(202, labels::Act::PopAndRoute { vrf: 2 }),
        next(40, neighbour(9)),
        route(2, [0; 4], 0, ipv4_unicast::Act::RouteV4 { next_id: 50 }),
        next(50, attached),
    ]);
    let body = udp(1, 2, b"payload");
    let to = |dst| v4(USER, dst);
    let routed = |office: &mut Office, dst| office.send(1, &eth(ROUTER, HOST, &[], 0x0800, &to(dst).with(&body)));
    let under = |label, ttl, packet: &[u8]| eth(SPINE, ROUTER, &[], 0x8847, &mpls(label, true, ttl, packet));
    let first = to([10, 1, 0, 1]);
    assert_eq!(routed(&mut office, first.dst), [(8, under(102, 64, &first.hop().with(&body)))]);
    // One label for every member of a group; flows spread.
    let mut ports = BTreeSet::new();
    for n in 0..32 {
        let packet = to([10, 2, 0, n]);
        let out = routed(&mut office, packet.dst);
        assert_eq!(out, [(out[0].0, under(103, 64, &packet.hop().with(&body)))]);
        ports.insert(out[0].0);
    }
    assert_eq!(ports, BTreeSet::from([8, 9]));
    // In transit the packet under the label is not touched.
    let packet = to(FAR).with(&body);
    let sent = |label, ttl| eth(ROUTER, SPINE, &[], 0x8847, &mpls(label, true, ttl, &packet));
    assert_eq!(office.send(8, &sent(200, 9)), [(9, under(200, 8, &packet))]);
    assert_eq!(office.send(8, &sent(201, 9)), [(9, eth(SPINE, ROUTER, &[], 0x0800, &packet))]);
    let two = mpls(201, false, 9, &mpls(300, true, 64, &packet));
    assert_eq!(
        office.send(8, &eth(ROUTER, SPINE, &[], 0x8847, &two)),
        [(9, eth(SPINE, ROUTER, &[], 0x8847, &mpls(300, true, 64, &packet)))]
    );
    assert_eq!(office.send(8, &sent(202, 9)), [(2, eth(PEER, ROUTER, &[], 0x0800, &to(FAR).hop().with(&body)))]);
    // A label nobody knows, and the end of a loop.
    assert_eq!(office.send(8, &sent(999, 9)), []);
    assert_eq!(office.send(8, &sent(200, 1)), []);
}

#[test]
fn three_labels_and_no_more_are_read() {
    let label = |label, act| labels::entry(labels::Key { label, priority: 0 }, act);
    let to_node = next_simple::Act::ToNode { port: 9, eth_src: ROUTER, eth_dst: SPINE, label: 102 };
    let on = next_simple::Act::ToNeighbour { port: 9, eth_src: ROUTER, eth_dst: SPINE };
    let attached = next_simple::Act::ToAttached { port: 2, vlan_id: 20, eth_src: ROUTER, eth_dst: PEER };
    let mut office = Office::new([
        untagged(8, 4094, 0),
        bare(20, 2),
        to_router(0x8847, reserved::FWD_MPLS),
        label(200, labels::Act::KeepAndNext { next_id: 40 }),
        label(201, labels::Act::PopAndNext { next_id: 40 }),
        label(202, labels::Act::PopAndRoute { vrf: 2 }),
        label(203, labels::Act::KeepAndNext { next_id: 41 }),
        next(40, on),
        next(41, to_node),
        next(50, attached),
        route(2, [0; 4], 0, ipv4_unicast::Act::RouteV4 { next_id: 50 }),
        dscp_rewriter::entry(dscp_rewriter::Key { eg_port: 9, priority: 0 }, dscp_rewriter::Act::ClearDscp {}),
    ]);
    let packet = V4 { dscp: 46, ..v4(USER, FAR) };
    let body = udp(1, 2, b"payload");
    // A first label over `n` others.
    let stack = |first: u32, ttl, n: u32| {
        let under = (0..n).fold(packet.with(&body), |inner, at| mpls(300 + at, at == 0, 64, &inner));
        mpls(first, n == 0, ttl, &under)
    };
    let sent = |stack: &[u8]| eth(ROUTER, SPINE, &[], 0x8847, stack);
    let left = |stack: &[u8]| vec![(9, eth(SPINE, ROUTER, &[], 0x8847, stack))];
    for n in 0..6 {
        assert_eq!(office.send(8, &sent(&stack(200, 9, n))), left(&stack(200, 8, n)), "{n}");
        let popped = match n {
            0 => vec![(9, eth(SPINE, ROUTER, &[], 0x0800, &packet.with(&body)))],
            _ => left(&stack(299 + n, 64, n - 1)),
        };
        assert_eq!(office.send(8, &sent(&stack(201, 9, n))), popped, "{n}");
        // Nothing is routed from under a label that is left, and nothing pushed off the end of the stack.
        assert_eq!(office.send(8, &sent(&stack(202, 9, n))).len(), usize::from(n == 0), "{n}");
        let pushed = if n < 2 { left(&mpls(102, false, 64, &stack(203, 8, n))) } else { vec![] };
        assert_eq!(office.send(8, &sent(&stack(203, 9, n))), pushed, "{n}");
    }
    // What is under the last label is nobody's if it is no IP packet, and stays as it is while a label is on it.
    for payload in [&b"\x00\x00frame"[..], &packet.with(&body)[..19]] {
        assert_eq!(office.send(8, &sent(&mpls(200, true, 9, payload))), left(&mpls(200, true, 8, payload)));
        for label in [201, 202] {
            assert_eq!(office.send(8, &sent(&mpls(label, true, 9, payload))), []);
        }
    }
    let mut wrong = packet.with(&body);
    wrong[10] ^= 1;
    assert_eq!(office.send(8, &sent(&mpls(200, true, 9, &wrong))), left(&mpls(200, true, 8, &wrong)));
    assert_eq!(office.send(8, &sent(&mpls(202, true, 9, &wrong))), []);
}

#[test]
fn hashing_looks_under_labels_and_tunnels() {
    let members = [2, 3, 4, 5].map(|port| {
        let act = next_hashed::Act::ToNeighbourHashed { port, eth_src: ROUTER, eth_dst: SPINE };
        (act, 1, Some(port))
    });
    let mut office = Office::new([
        untagged(1, 10, 1),
        to_router(0x0800, reserved::FWD_IPV4),
        to_router(0x8847, reserved::FWD_MPLS),
        route(1, [0; 4], 0, ipv4_unicast::Act::RouteV4 { next_id: 30 }),
        labels::entry(labels::Key { label: 200, priority: 0 }, labels::Act::KeepAndNext { next_id: 30 }),
        one_shot(&next_hashed::Key { next_id: 30, priority: 0 }, members),
    ]);
    let inner = |n: u8| v4([17, 0, 0, n], FAR).with(&udp(1000, 80, b"x"));
    // One tunnel, one label: what tells packets apart is the user inside.
    let tunneled = |n| eth(ROUTER, HOST, &[], 0x0800, &v4(USER, FAR).with(&udp(2152, 2152, &gtpu(1, None, &inner(n)))));
    let labelled = |n| eth(ROUTER, HOST, &[], 0x8847, &mpls(200, true, 64, &inner(n)));
    let spread = |office: &mut Office, frame: &dyn Fn(u8) -> Vec<u8>| -> Vec<u16> {
        (0..64).map(|n| office.send(1, &frame(n))[0].0).collect()
    };
    let (tunnels, labels) = (spread(&mut office, &tunneled), spread(&mut office, &labelled));
    for ports in [&tunnels, &labels] {
        assert_eq!(ports.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([2, 3, 4, 5]));
    }
    // A flow stays where it is, and the second choice is not the first again.
    assert_eq!(spread(&mut office, &tunneled), tunnels);
    assert_ne!(tunnels, labels);
    // A port that is down is left at once.
    office.set_port_up(3, false);
    assert!(!spread(&mut office, &tunneled).contains(&3));
}

#[test]
fn multicast_is_routed_between_vlans_and_snooped_within() {
    let group = [239, 1, 1, 1];
    let key = |vlan_id| ipv4_multicast::Key { vlan_id, ipv4_dst: group.into(), ipv4_src: None, priority: 1 };
    let out = |instance, eg_port, vlan_id| {
        let act = replicas::Act::SetReplicaVlan { vlan_id, eth_src: ROUTER };
        replicas::entry(replicas::Key { instance, eg_port, priority: 0 }, act)
    };
    let mac = [1, 0, 0x5e, 1, 1, 1];
    let classify = pergola_pipeline::tables::fwd_classifier::Key {
        ig_port: None,
        eth_dst: masked([1, 0, 0x5e, 0, 0, 0], [0xff, 0xff, 0xff, 0x80, 0, 0]),
        eth_type: 0x0800,
        priority: 1,
    };
    let fwd = pergola_pipeline::tables::fwd_classifier::Act::SetForwarding { fwd: reserved::FWD_IPV4_MULTICAST };
    let mut office = Office::new([
        untagged(1, 10, 1),
        untagged(2, 20, 1),
        pergola_pipeline::tables::fwd_classifier::entry(classify, fwd),
        ipv4_multicast::entry(key(10), ipv4_multicast::Act::MulticastV4 { group: 6 }),
        ipv4_multicast::entry(key(20), ipv4_multicast::Act::SnoopedV4 { group: 7 }),
        Entity::multicast_group(6, [replica(1, 2), replica(3, 2), replica(4, 3)]),
        Entity::multicast_group(7, [replica(2, 1), replica(5, 1)]),
        out(2, 1, 30),
        out(2, 3, 30),
        out(3, 4, 31),
        bare(30, 1),
        trunk(30, 3),
        bare(31, 4),
        trunk(20, 5),
    ]);
    let packet = v4(USER, group);
    let body = udp(1, 2, b"tv");
    let sent = eth(mac, HOST, &[], 0x0800, &packet.with(&body));
    let copy = |tags: &[u16]| eth(mac, ROUTER, tags, 0x0800, &packet.hop().with(&body));
    assert_eq!(office.send(1, &sent), [(1, copy(&[])), (3, copy(&[30])), (4, copy(&[]))]);
    let snooped = eth(mac, HOST, &[20], 0x0800, &packet.with(&body));
    assert_eq!(office.send(2, &sent), [(5, snooped)]);
}

#[test]
fn hosts_gleaning_blackholes_and_multicast_next_ids() {
    let host = ipv4_unicast::Act::ToHostV4 { port: 2, vlan_id: 20, eth_src: ROUTER, eth_dst: PEER };
    let many = next_multicast::Key { next_id: 60, priority: 0 };
    let mut office = Office::new([
        untagged(1, 10, 1),
        to_router(0x0800, reserved::FWD_IPV4),
        trunk(20, 2),
        bare(10, 3),
        route(1, [10, 0, 0, 0], 24, ipv4_unicast::Act::GleanV4 { punt_id: reserved::PUNT_GLEAN }),
        route(1, [10, 0, 0, 9], 32, host),
        route(1, [10, 9, 0, 0], 16, ipv4_unicast::Act::DropV4 {}),
        route(1, [10, 8, 0, 0], 16, ipv4_unicast::Act::RouteV4 { next_id: 60 }),
        route(1, [10, 7, 0, 0], 16, ipv4_unicast::Act::RouteV4 { next_id: 61 }),
        next_multicast::entry(many, next_multicast::Act::Replicate { group: 8 }),
        Entity::multicast_group(8, [replica(3, 1)]),
    ]);
    let body = udp(1, 2, b"payload");
    let frame = |dst| eth(ROUTER, HOST, &[], 0x0800, &v4(USER, dst).with(&body));
    let wanted = eth(PEER, ROUTER, &[20], 0x0800, &v4(USER, [10, 0, 0, 9]).hop().with(&body));
    assert_eq!(office.send(1, &frame([10, 0, 0, 9])), [(2, wanted)]);
    // The controller gets the frame as it came, with its port and the reason.
    let sent = frame([10, 0, 0, 8]);
    let copy = [&[0, 0x80, 0, reserved::PUNT_GLEAN as u8][..], sent.as_slice()].concat();
    assert_eq!(office.send(1, &sent), [(reserved::CPU_PORT, copy)]);
    assert_eq!(office.send(1, &frame([10, 9, 0, 1])), []);
    assert_eq!(office.send(1, &frame([10, 8, 0, 1])).len(), 1);
    // A next id that leads nowhere, no route, a time to live that ends here.
    assert_eq!(office.send(1, &frame([10, 7, 0, 1])), []);
    assert_eq!(office.send(1, &frame([11, 0, 0, 1])), []);
    let mut last = v4(USER, [10, 0, 0, 9]);
    last.ttl = 1;
    let expired = eth(ROUTER, HOST, &[], 0x0800, &last.with(&body));
    let copy = [&[0, 0x80, 0, 5][..], expired.as_slice()].concat();
    assert_eq!(office.send(1, &expired), [(reserved::CPU_PORT, copy)]);
    // A wrong checksum, a packet cut short.
    let mut broken = frame([10, 0, 0, 9]);
    broken[24] ^= 1;
    assert_eq!(office.send(1, &broken), []);
    assert_eq!(office.send(1, &frame([10, 0, 0, 9])[..38]), []);
}

#[test]
fn options_of_ipv4_keep_a_right_checksum() {
    let host = ipv4_unicast::Act::ToHostV4 { port: 2, vlan_id: 20, eth_src: ROUTER, eth_dst: PEER };
    let mut office = Office::new([
        untagged(1, 10, 1),
        to_router(0x0800, reserved::FWD_IPV4),
        bare(20, 2),
        route(1, [10, 0, 0, 9], 32, host),
    ]);
    let packet = v4(USER, [10, 0, 0, 9]);
    let (alert, body) = ([0x94, 4, 0, 0, 1, 1, 1, 0], udp(1, 2, b"payload"));
    let sent = eth(ROUTER, HOST, &[], 0x0800, &packet.with_options(&alert, &body));
    let wanted = eth(PEER, ROUTER, &[], 0x0800, &packet.hop().with_options(&alert, &body));
    assert_eq!(office.send(1, &sent), [(2, wanted)]);
    let mut broken = sent;
    broken[36] ^= 1;
    assert_eq!(office.send(1, &broken), []);
}
