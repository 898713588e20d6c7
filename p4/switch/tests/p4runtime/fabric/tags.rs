//! VLANs and circuits: tags put on, taken off, translated, left alone.

use pergola_pipeline::table::{is, masked, one_shot};
use pergola_pipeline::tables::{
    acl, acl_ipv6, bridging, chain_classifier, chain_hop, dscp_rewriter, egress_vlan, ingress_port_vlan, line_up,
    next_vlan, xconnect,
};
use pergola_pipeline::{Entity, Replica, reserved};

use super::frames::{V4, eth, mpls, pppoe, udp, v4, v6};
use super::{HOST, Office, PEER, ROUTER, bare, tagged, to_router, trunk, untagged};

const SPINE: [u8; 6] = [2, 0, 0, 0, 2, 2];
const FAR: [u8; 4] = [8, 8, 8, 8];
const USER: [u8; 4] = [10, 0, 0, 5];

fn replica(port: u16, instance: u16) -> Replica {
    Replica { port: port.into(), instance: instance.into() }
}

#[test]
fn a_vlan_over_access_and_trunk_ports() {
    let known = |mac, act| bridging::entry(bridging::Key { vlan_id: 10, eth_dst: is(mac), priority: 10 }, act);
    let flood = bridging::Key { vlan_id: 10, eth_dst: masked([1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]), priority: 1 };
    let mut office = Office::new([
        untagged(1, 10, 0),
        tagged(2, 10, 0),
        tagged(3, 10, 0),
        bare(10, 1),
        trunk(10, 2),
        known(PEER, bridging::Act::BridgeToPort { port: 2 }),
        known(HOST, bridging::Act::BridgeToPort { port: 1 }),
        bridging::entry(flood, bridging::Act::Flood { group: 5 }),
        Entity::multicast_group(5, [replica(1, 1), replica(2, 1), replica(3, 1)]),
    ]);
    let body = b"frame";
    let on = |dst, src, tags: &[u16]| eth(dst, src, tags, 0x1234, body);
    assert_eq!(office.send(1, &on(PEER, HOST, &[])), [(2, on(PEER, HOST, &[10]))]);
    assert_eq!(office.send(2, &on(HOST, PEER, &[10])), [(1, on(HOST, PEER, &[]))]);
    // A tag inside stays with the frame.
    assert_eq!(office.send(1, &on(PEER, HOST, &[])).len(), 1);
    assert_eq!(office.send(2, &on(HOST, PEER, &[10, 77])), [(1, on(HOST, PEER, &[77]))]);
    // Never back where it came from, and not by a port that does not carry the VLAN.
    let everyone = [0xff; 6];
    assert_eq!(office.send(1, &on(everyone, HOST, &[])), [(2, on(everyone, HOST, &[10]))]);
    assert_eq!(office.send(2, &on(PEER, HOST, &[10])), []);
    assert_eq!(
        office.send(3, &on(everyone, PEER, &[10])),
        [(1, on(everyone, PEER, &[])), (2, on(everyone, PEER, &[10]))]
    );
    // Other tags, other ports, unknown addresses: nothing enters, nothing is guessed.
    for (port, frame) in
        [(1, on(PEER, HOST, &[10])), (2, on(HOST, PEER, &[])), (2, on(HOST, PEER, &[11])), (4, on(PEER, HOST, &[]))]
    {
        assert_eq!(office.send(port, &frame), [], "{port}");
    }
    assert_eq!(office.send(1, &on(SPINE, HOST, &[])), []);
}

#[test]
fn priorities_pass_with_and_without_a_vlan() {
    let known = |mac, port| {
        let key = bridging::Key { vlan_id: 10, eth_dst: is(mac), priority: 10 };
        bridging::entry(key, bridging::Act::BridgeToPort { port })
    };
    // Tagged with VLAN 0 is untagged with a priority (802.1Q 6.9.1).
    let priority = ingress_port_vlan::Key {
        ig_port: 1,
        vlan_is_valid: 1,
        vlan_id: is(0),
        inner_vlan_is_valid: None,
        inner_vlan_id: None,
        priority: 1,
    };
    let mut office = Office::new([
        untagged(1, 10, 0),
        ingress_port_vlan::entry(priority, ingress_port_vlan::Act::PermitWithVlan { vlan_id: 10, vrf: 0 }),
        tagged(2, 10, 0),
        bare(10, 1),
        trunk(10, 2),
        known(PEER, 2),
        known(HOST, 1),
    ]);
    // Three bits of priority, and one that says what may be dropped.
    for bits in 0..16u16 {
        let frame = |dst, src, vid| eth(dst, src, &[bits << 12 | vid], 0x1234, b"frame");
        assert_eq!(office.send(1, &frame(PEER, HOST, 0)), [(2, frame(PEER, HOST, 10))]);
        let bare = eth(HOST, PEER, &[], 0x1234, b"frame");
        assert_eq!(office.send(2, &frame(HOST, PEER, 10)), [(1, bare)]);
    }
    // Not where no rule says so.
    assert_eq!(office.send(2, &eth(HOST, PEER, &[0], 0x1234, b"frame")), []);
}

#[test]
fn double_tags_are_put_on_and_taken_off() {
    let both = ingress_port_vlan::Key {
        ig_port: 2,
        vlan_is_valid: 1,
        vlan_id: is(500),
        inner_vlan_is_valid: is(1),
        inner_vlan_id: is(20),
        priority: 9,
    };
    let to = |vlan_id, mac, port| {
        let key = bridging::Key { vlan_id, eth_dst: is(mac), priority: 1 };
        bridging::entry(key, bridging::Act::BridgeToPort { port })
    };
    let out = egress_vlan::Key { vlan_id: 30, eg_port: 2, priority: 0 };
    let mut office = Office::new([
        untagged(1, 30, 0),
        bare(30, 1),
        ingress_port_vlan::entry(both, ingress_port_vlan::Act::PermitDouble { vlan_id: 30, vrf: 0 }),
        egress_vlan::entry(out, egress_vlan::Act::SendDouble { outer: 500, inner: 20 }),
        to(30, PEER, 2),
        to(30, HOST, 1),
    ]);
    let (there, back) = (eth(PEER, HOST, &[], 0x1234, b"x"), eth(HOST, PEER, &[500, 20], 0x1234, b"x"));
    assert_eq!(office.send(1, &there), [(2, eth(PEER, HOST, &[500, 20], 0x1234, b"x"))]);
    assert_eq!(office.send(2, &back), [(1, eth(HOST, PEER, &[], 0x1234, b"x"))]);
}

#[test]
fn a_circuit_carries_everything_as_it_is() {
    let end = |port| {
        let key = ingress_port_vlan::Key {
            ig_port: port,
            vlan_is_valid: 1,
            vlan_id: is(700),
            inner_vlan_is_valid: None,
            inner_vlan_id: None,
            priority: 1,
        };
        ingress_port_vlan::entry(key, ingress_port_vlan::Act::PermitAsIs { next_id: 70 })
    };
    let cross = |ig_port, port| {
        xconnect::entry(xconnect::Key { ig_port, next_id: 70, priority: 0 }, xconnect::Act::CrossConnect { port })
    };
    let retagged = next_vlan::Key { next_id: 71, priority: 0 };
    let other = ingress_port_vlan::Key {
        ig_port: 3,
        vlan_is_valid: 1,
        vlan_id: is(701),
        inner_vlan_is_valid: None,
        inner_vlan_id: None,
        priority: 1,
    };
    let any = chain_classifier::ANY;
    let line = line_up::Key { ig_port: 1, s_tag: 700, c_tag: 5, priority: 0 };
    let cleared =
        |eg_port| dscp_rewriter::entry(dscp_rewriter::Key { eg_port, priority: 0 }, dscp_rewriter::Act::ClearDscp {});
    let mut office = Office::new([
        end(1),
        end(2),
        cross(1, 2),
        cross(2, 1),
        to_router(0x0800, reserved::FWD_IPV4),
        ingress_port_vlan::entry(other, ingress_port_vlan::Act::PermitAsIs { next_id: 71 }),
        next_vlan::entry(retagged, next_vlan::Act::SetDoubleVlan { outer: 800, inner: 801 }),
        xconnect::entry(
            xconnect::Key { ig_port: 3, next_id: 71, priority: 0 },
            xconnect::Act::CrossConnect { port: 4 },
        ),
        // None of these is about circuits.
        acl::entry(acl::Key { priority: 1, ..acl::ANY }, acl::Act::AclDrop {}),
        acl_ipv6::entry(acl_ipv6::Key { priority: 1, ..acl_ipv6::ANY }, acl_ipv6::Act::AclPuntV6 { punt_id: 1 }),
        chain_classifier::entry(any, chain_classifier::Act::EnterChain { chain_id: 1, position: 1 }),
        one_shot(&chain_hop::Key { chain_id: 1, position: 1, priority: 0 }, [(chain_hop::Act::ChainDrop {}, 1, None)]),
        line_up::entry(line, line_up::Act::SetLine { line_id: 1, vrf: 1, slice: 1, tc: 1 }),
        cleared(1),
        cleared(2),
    ]);
    // Also what has a router's address, and provider tags.
    let packet = V4 { dscp: 46, ttl: 0, ..v4(USER, FAR) }.with(&udp(1, 2, b"x"));
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &PEER, &USER, &[0; 6], &FAR].concat();
    // And what is cut short or has a wrong checksum.
    let short = v4(USER, FAR).with(b"....");
    let mut wrong = packet.clone();
    wrong[10] ^= 1;
    for frame in [
        eth(HOST, PEER, &[700], 0x0800, &short),
        eth(HOST, PEER, &[700], 0x0800, &wrong),
        eth(HOST, PEER, &[700], 0x1234, b"frame"),
        eth(HOST, PEER, &[700, 5], 0x1234, b"frame"),
        eth(ROUTER, PEER, &[700], 0x0800, &packet),
        eth(ROUTER, PEER, &[700, 5], 0x0800, &packet),
        eth(ROUTER, PEER, &[700, 5, 6, 7], 0x0800, &packet),
        eth(ROUTER, PEER, &[700], 0x86dd, &v6([1; 8], [2; 8], 17, 0, &udp(1, 2, b"x"))),
        eth(ROUTER, PEER, &[700], 0x8847, &mpls(5, true, 1, &packet)),
        eth(ROUTER, PEER, &[700, 5], 0x8864, &pppoe(1, 0x21, &packet)),
        eth(ROUTER, PEER, &[700], 0x8864, &pppoe(1, 0xc021, &[1, 1, 0, 4])),
        eth([0xff; 6], PEER, &[700], 0x0806, &arp),
        eth([1, 0x80, 0xc2, 0, 0, 0xe], PEER, &[700], 0x88cc, b"lldp"),
        [&HOST[..], &PEER, &[0x88, 0xa8, 0x02, 0xbc, 0x81, 0, 0, 5, 0x12, 0x34, 1, 2]].concat(),
    ] {
        assert_eq!(office.send(1, &frame), [(2, frame.clone())]);
        assert_eq!(office.send(2, &frame), [(1, frame.clone())]);
    }
    assert_eq!(office.send(1, &eth(HOST, PEER, &[702], 0x1234, b"frame")), []);
    // New tags on the way.
    let wanted = eth(HOST, PEER, &[800, 801], 0x1234, b"frame");
    assert_eq!(office.send(3, &eth(HOST, PEER, &[701], 0x1234, b"frame")), [(4, wanted)]);
}

#[test]
fn a_port_may_have_another_tag_for_a_vlan() {
    let enters = ingress_port_vlan::Key {
        ig_port: 2,
        vlan_is_valid: 1,
        vlan_id: is(77),
        inner_vlan_is_valid: None,
        inner_vlan_id: None,
        priority: 1,
    };
    let to = |mac, port| {
        let key = bridging::Key { vlan_id: 10, eth_dst: is(mac), priority: 1 };
        bridging::entry(key, bridging::Act::BridgeToPort { port })
    };
    let out = egress_vlan::Key { vlan_id: 10, eg_port: 2, priority: 0 };
    let mut office = Office::new([
        tagged(1, 10, 0),
        trunk(10, 1),
        ingress_port_vlan::entry(enters, ingress_port_vlan::Act::PermitWithVlan { vlan_id: 10, vrf: 0 }),
        egress_vlan::entry(out, egress_vlan::Act::SendTranslated { tag: 77 }),
        to(PEER, 2),
        to(HOST, 1),
    ]);
    // With its priority, and over whatever tag is inside.
    for inner in [&[][..], &[5]] {
        let frame = |dst, src, tag: u16| eth(dst, src, &[&[0x7000 | tag], inner].concat(), 0x1234, b"frame");
        assert_eq!(office.send(1, &frame(PEER, HOST, 10)), [(2, frame(PEER, HOST, 77))]);
        assert_eq!(office.send(2, &frame(HOST, PEER, 77)), [(1, frame(HOST, PEER, 10))]);
    }
    assert_eq!(office.send(2, &eth(HOST, PEER, &[10], 0x1234, b"frame")), []);
}
