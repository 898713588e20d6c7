//! Packets of unusual shapes: fragments, extension headers, padding, classes, ends of life, and those of the controller.

use std::collections::BTreeSet;

use pergola_pipeline::table::{Lpm, is, one_shot};
use pergola_pipeline::tables::{
    acl, acl_ipv6, bridging, dscp_rewriter, ingress_port_vlan, ipv4_unicast, ipv6_unicast, next_hashed, slice_tc,
    slice_tc_v6,
};
use pergola_pipeline::{Entity, reserved};

use super::frames::{V4, eth, tcp, udp, v4, v6};
use super::{HOST, Office, PEER, ROUTER, bare, to_router, untagged};

const USER: [u8; 4] = [10, 0, 0, 5];
const FAR: [u8; 4] = [8, 8, 8, 8];
const SIX: [[u16; 8]; 2] = [[0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], [0x2001, 0xdb8, 1, 0, 0, 0, 0, 2]];
const MORE: u16 = 0x2000;

/// Port 1 to ports 2 to 5 by an ECMP group, IPv4 and IPv6.
fn entries() -> Vec<Entity> {
    let members = [2, 3, 4, 5].map(|port| {
        let act = next_hashed::Act::ToNeighbourHashed { port, eth_src: ROUTER, eth_dst: PEER };
        (act, 1, Some(port))
    });
    let all = ipv4_unicast::Key { vrf: 1, ipv4_dst: Lpm { value: [0; 4].into(), prefix_len: 0 }, priority: 0 };
    let six = ipv6_unicast::Key { vrf: 1, ipv6_dst: Lpm { value: [0u16; 8].into(), prefix_len: 0 }, priority: 0 };
    vec![
        untagged(1, 10, 1),
        to_router(0x0800, reserved::FWD_IPV4),
        to_router(0x86dd, reserved::FWD_IPV6),
        ipv4_unicast::entry(all, ipv4_unicast::Act::RouteV4 { next_id: 30 }),
        ipv6_unicast::entry(six, ipv6_unicast::Act::RouteV6 { next_id: 30 }),
        one_shot(&next_hashed::Key { next_id: 30, priority: 0 }, members),
    ]
}

fn routed4(ip: &[u8]) -> Vec<u8> {
    eth(ROUTER, HOST, &[], 0x0800, ip)
}

fn routed6(ip: &[u8]) -> Vec<u8> {
    eth(ROUTER, HOST, &[], 0x86dd, ip)
}

/// The port by which a frame that came on port 1 leaves.
fn way(office: &mut Office, frame: &[u8]) -> u16 {
    let left = office.send(1, frame);
    assert_eq!(left.len(), 1, "{frame:02x?}");
    left[0].0
}

#[test]
fn the_pieces_of_a_packet_stay_together() {
    let mut office = Office::new(entries());
    let mut ways = BTreeSet::new();
    for proto in [6, 17] {
        for n in 0..16u8 {
            let body = if proto == 6 { tcp(n.into(), 80, &[n; 60]) } else { udp(n.into(), 80, &[n; 60]) };
            let packet = V4 { proto, ..v4(USER, [8, 8, 8, n]) };
            let first = V4 { fragment: MORE, ..packet }.with(&body[..40]);
            let middle = V4 { fragment: MORE | 5, ..packet }.with(&body[40..56]);
            let last = V4 { fragment: 7, ..packet }.with(&body[56..]);
            let all = [first, middle, last].map(|piece| way(&mut office, &routed4(&piece)));
            assert_eq!(all, [all[0]; 3], "{n}");
            ways.insert(all[0]);
        }
    }
    assert_eq!(ways, BTreeSet::from([2, 3, 4, 5]));
    // Whole packets spread by their ports, also those that must not be cut.
    for fragment in [0, 0x4000] {
        let mut send = |port| way(&mut office, &routed4(&V4 { fragment, ..v4(USER, FAR) }.with(&udp(port, 80, b"x"))));
        assert_eq!((0..32).map(&mut send).collect::<BTreeSet<_>>(), BTreeSet::from([2, 3, 4, 5]));
    }
}

#[test]
fn rules_about_ports_are_about_first_pieces() {
    let rule = |key: acl::Key| acl::entry(acl::Key { priority: 5, ..key }, acl::Act::AclDrop {});
    let mut office = Office::new(entries());
    let syn = acl::Key { ip_proto: is(6), tcp_flags: is(0x10), ..acl::ANY };
    office.insert([rule(acl::Key { l4_dport: is(53), ..acl::ANY }), rule(syn)]);
    // What looks like ports in a later piece is none.
    let body = udp(1, 53, b"payload");
    let left = [0, MORE, MORE | 1, 9]
        .map(|fragment| office.send(1, &routed4(&V4 { fragment, ..v4(USER, FAR) }.with(&body))).len());
    assert_eq!(left, [0, 0, 1, 1]);
    let body = tcp(1, 80, b"payload");
    let left = [0, MORE, 9]
        .map(|fragment| office.send(1, &routed4(&V4 { fragment, proto: 6, ..v4(USER, FAR) }.with(&body))).len());
    assert_eq!(left, [0, 0, 1]);
    // A first piece too short for its flags is dropped (RFC 1858).
    let tiny = V4 { fragment: MORE, proto: 6, ..v4(USER, FAR) }.with(&tcp(1, 80, b"")[..8]);
    assert_eq!(office.send(1, &routed4(&tiny)), []);
}

#[test]
fn extension_headers_pass_and_hide_what_follows() {
    let rule = |key| acl_ipv6::entry(key, acl_ipv6::Act::AclDropV6 {});
    let mut office = Office::new(entries());
    office.insert([rule(acl_ipv6::Key { l4_dport: is(53), priority: 5, ..acl_ipv6::ANY })]);
    let body = udp(1, 53, b"payload");
    assert_eq!(office.send(1, &routed6(&v6(SIX[0], SIX[1], 17, 64, &body))), []);
    // Hop-by-hop, routing, fragment, destination options: told by their own number, untouched, one way.
    let mut ways = BTreeSet::new();
    for header in [0, 43, 44, 60] {
        let chain = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &body].concat();
        let left = office.send(1, &routed6(&v6(SIX[0], SIX[1], header, 64, &chain)));
        assert_eq!(left, [(left[0].0, eth(PEER, ROUTER, &[], 0x86dd, &v6(SIX[0], SIX[1], header, 63, &chain)))]);
        let other = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &udp(99, 98, b"payload")].concat();
        assert_eq!(way(&mut office, &routed6(&v6(SIX[0], SIX[1], header, 64, &other))), left[0].0);
        ways.insert(left[0].0);
    }
    assert!(!ways.is_empty());
    office.insert([44, 60].map(|header| rule(acl_ipv6::Key { ip_proto: is(header), priority: 5, ..acl_ipv6::ANY })));
    let chain = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &body].concat();
    let left = [0, 43, 44, 60].map(|header| office.send(1, &routed6(&v6(SIX[0], SIX[1], header, 64, &chain))).len());
    assert_eq!(left, [1, 1, 0, 0]);
}

#[test]
fn what_is_no_ip_packet_is_not_routed() {
    let mut office = Office::new(entries());
    let good = v4(USER, FAR).with(&udp(1, 2, b"x"));
    // Other versions, and headers shorter than a header, with a right checksum.
    for first in [0x55, 0x65, 0x05, 0x44, 0x40] {
        let mut bad = good.clone();
        bad[0] = first;
        bad[10..12].copy_from_slice(&[0, 0]);
        let sum = super::frames::checksum(&bad[..20]);
        bad[10..12].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(office.send(1, &routed4(&bad)), [], "{first:x}");
    }
    let mut bad = v6(SIX[0], SIX[1], 17, 64, &udp(1, 2, b"x"));
    assert_eq!(office.send(1, &routed6(&bad)).len(), 1);
    bad[0] = 0x40;
    assert_eq!(office.send(1, &routed6(&bad)), []);
}

#[test]
fn padding_leaves_with_the_frame() {
    let mut office = Office::new(entries());
    let packet = v4(USER, FAR);
    let sent = [routed4(&packet.with(&udp(1, 2, b"x"))), vec![0; 17]].concat();
    assert_eq!(sent.len(), 60);
    let left = office.send(1, &sent);
    let wanted = eth(PEER, ROUTER, &[], 0x0800, &packet.hop().with(&udp(1, 2, b"x")));
    assert_eq!(left[0].1, [wanted, vec![0; 17]].concat());
    // A packet without payload: its padding is not its ports.
    let bare = [routed4(&V4 { proto: 99, ..packet }.with(b"")), vec![0; 26]].concat();
    assert_eq!(office.send(1, &bare)[0].1.len(), 60);
}

#[test]
fn lives_end_at_zero_and_one() {
    let mut office = Office::new(entries());
    let body = udp(1, 2, b"x");
    let six = |hops| routed6(&v6(SIX[0], SIX[1], 17, hops, &body));
    for life in [0, 1] {
        for sent in [routed4(&V4 { ttl: life, ..v4(USER, FAR) }.with(&body)), six(life)] {
            let copy = [&[0, 0x80, 0, reserved::PUNT_EXPIRED as u8][..], sent.as_slice()].concat();
            assert_eq!(office.send(1, &sent), [(reserved::CPU_PORT, copy)]);
        }
    }
    assert_eq!(office.send(1, &routed4(&V4 { ttl: 2, ..v4(USER, FAR) }.with(&body)))[0].1[22], 1);
    assert_eq!(office.send(1, &six(2))[0].1[21], 1);
    // Within a VLAN nobody counts.
    let key = bridging::Key { vlan_id: 10, eth_dst: is(PEER), priority: 1 };
    office.insert([bare(10, 2), bridging::entry(key, bridging::Act::BridgeToPort { port: 2 })]);
    let sent = eth(PEER, HOST, &[], 0x0800, &V4 { ttl: 0, ..v4(USER, FAR) }.with(&body));
    assert_eq!(office.send(1, &sent), [(2, sent.clone())]);
}

#[test]
fn classes_are_written_and_congestion_is_kept() {
    let all = |port| [dscp_rewriter::entry(dscp_rewriter::Key { eg_port: port, priority: 0 }, REWRITE)];
    const REWRITE: dscp_rewriter::Act = dscp_rewriter::Act::RewriteDscp {};
    let four = slice_tc::Key { ipv4_src: is(USER.into()), ..slice_tc::ANY };
    let six = slice_tc_v6::Key {
        ig_port: None,
        vlan_id: None,
        ipv6_src: None,
        ipv6_dst: is(SIX[1].into()),
        ip_proto: None,
        dscp: None,
        l4_sport: None,
        l4_dport: None,
        priority: 1,
    };
    let trusted = slice_tc_v6::Key { l4_dport: is(81), priority: 2, ..six };
    let mut office = Office::new(entries());
    office.insert((2..=5).flat_map(all));
    office.insert([
        slice_tc::entry(four, slice_tc::Act::SetSliceTc { slice: 5, tc: 2 }),
        slice_tc_v6::entry(six, slice_tc_v6::Act::SetSliceTcV6 { slice: 6, tc: 1 }),
        slice_tc_v6::entry(trusted, slice_tc_v6::Act::TrustDscpV6 {}),
    ]);
    let (packet, body) = (V4 { dscp: 46, ..v4(USER, FAR) }, udp(1, 80, b"x"));
    let marked = V4 { dscp: 5 << 2 | 2, ..packet };
    for ecn in 0..4 {
        let left = office.send(1, &routed4(&V4 { ecn, ..packet }.with_options(&[1; 4], &body)));
        let wanted = V4 { ecn, ..marked }.hop().with_options(&[1; 4], &body);
        assert_eq!(left[0].1, eth(PEER, ROUTER, &[], 0x0800, &wanted));
        for (dport, dst, dscp) in [(80, SIX[1], 6 << 2 | 1), (81, SIX[1], 46), (80, SIX[0], 0)] {
            let classed = |dscp: u8, hops| {
                let mut packet = v6(SIX[0], dst, 17, hops, &udp(1, dport, b"x"));
                let class = dscp << 2 | ecn;
                (packet[0], packet[1]) = (0x60 | class >> 4, class << 4 | 0xf);
                packet
            };
            let left = office.send(1, &routed6(&classed(46, 64)));
            assert_eq!(left[0].1, eth(PEER, ROUTER, &[], 0x86dd, &classed(dscp, 63)), "{dport} {ecn}");
        }
    }
}

#[test]
fn what_the_controller_sends() {
    let cpu = reserved::CPU_PORT;
    let enters = ingress_port_vlan::Key {
        ig_port: cpu,
        vlan_is_valid: 0,
        vlan_id: None,
        inner_vlan_is_valid: None,
        inner_vlan_id: None,
        priority: 1,
    };
    let mut office = Office::new(entries());
    office.insert([ingress_port_vlan::entry(enters, ingress_port_vlan::Act::PermitWithVlan { vlan_id: 10, vrf: 1 })]);
    let (packet, body) = (v4(USER, FAR), udp(1, 2, b"x"));
    let frame = routed4(&packet.with(&body));
    // Nine bits of port, one of `submit`, six of padding, which count for nothing.
    let header = |port: u16, submit: u16, pad: u16| (port << 7 | submit << 6 | pad).to_be_bytes();
    let send = |office: &mut Office, header: [u8; 2], frame: &[u8]| office.send(cpu, &[&header, frame].concat());
    for pad in [0, 63] {
        assert_eq!(send(&mut office, header(7, 0, pad), &frame), [(7, frame.clone())]);
        assert_eq!(send(&mut office, header(300, 0, pad), &frame), [(300, frame.clone())]);
        let left = send(&mut office, header(7, 1, pad), &frame);
        let wanted = eth(PEER, ROUTER, &[], 0x0800, &packet.hop().with(&body));
        assert_eq!(left, [(left[0].0, wanted)]);
        assert!((2..=5).contains(&left[0].0));
    }
    // As it is, whatever it is; through the tables only what may enter.
    for odd in [eth(PEER, HOST, &[10, 20], 0x1234, b"odd"), frame[..20].to_vec(), vec![0xff; 14]] {
        assert_eq!(send(&mut office, header(7, 0, 0), &odd), [(7, odd.clone())]);
        assert_eq!(send(&mut office, header(7, 1, 0), &odd), []);
    }
    // To itself: what comes in says where it came from.
    let copy = [&(cpu << 7).to_be_bytes()[..], &[0, 0], &frame].concat();
    assert_eq!(send(&mut office, header(cpu, 0, 0), &frame), [(cpu, copy)]);
    // A punted one of its own, without the header that it came with.
    let rule = acl::Key { ip_proto: is(17), priority: 1, ..acl::ANY };
    office.insert([acl::entry(rule, acl::Act::AclPunt { punt_id: 0xabcd })]);
    let copy = [&(cpu << 7).to_be_bytes()[..], &[0xab, 0xcd], &frame].concat();
    assert_eq!(send(&mut office, header(0, 1, 0), &frame), [(cpu, copy)]);
}
