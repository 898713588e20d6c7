//! Rules of the ACL, slices, classes and meters.

use pergola_pipeline::table::{Lpm, is, masked, metered};
use pergola_pipeline::tables::{
    acl, acl_ipv6, dscp_rewriter, ipv4_unicast, ipv6_unicast, line_down, next_simple, queues, slice_tc,
};
use pergola_pipeline::{Entity, MeterConfig, reserved};

use super::frames::{eth, udp, v4, v6};
use super::{HOST, Office, PEER, ROUTER, bare, next, to_router, untagged};

const USER: [u8; 4] = [10, 0, 0, 5];
const FAR: [u8; 4] = [8, 8, 8, 8];
const SIX: [[u16; 8]; 2] = [[0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], [0x2001, 0xdb8, 1, 0, 0, 0, 0, 2]];

/// Port 1 to port 2 by a route; next id 3 leads out of port 3.
fn entries() -> Vec<Entity> {
    let attached = |port, vlan_id| next_simple::Act::ToAttached { port, vlan_id, eth_src: ROUTER, eth_dst: PEER };
    let all = ipv4_unicast::Key { vrf: 1, ipv4_dst: Lpm { value: [0; 4].into(), prefix_len: 0 }, priority: 0 };
    let six = ipv6_unicast::Key { vrf: 1, ipv6_dst: Lpm { value: [0u16; 8].into(), prefix_len: 0 }, priority: 0 };
    let subscriber =
        ipv4_unicast::Key { vrf: 1, ipv4_dst: Lpm { value: [10u8, 7, 0, 1].into(), prefix_len: 32 }, priority: 0 };
    let down = line_down::Act::ToLineIpoe { port: 5, s_tag: 100, c_tag: 200, eth_src: ROUTER, eth_dst: HOST };
    vec![
        untagged(1, 10, 1),
        to_router(0x0800, reserved::FWD_IPV4),
        to_router(0x86dd, reserved::FWD_IPV6),
        ipv4_unicast::entry(all, ipv4_unicast::Act::RouteV4 { next_id: 2 }),
        ipv6_unicast::entry(six, ipv6_unicast::Act::RouteV6 { next_id: 2 }),
        ipv4_unicast::entry(subscriber, ipv4_unicast::Act::ToLineV4 { line_id: 7 }),
        line_down::entry(line_down::Key { line_id: 7, priority: 0 }, down),
        next(2, attached(2, 20)),
        next(3, attached(3, 30)),
        bare(20, 2),
        bare(30, 3),
        bare(10, 4),
        bare(20, 4),
    ]
}

fn to(dst: [u8; 4], dport: u16) -> Vec<u8> {
    eth(ROUTER, HOST, &[], 0x0800, &v4(USER, dst).with(&udp(1000, dport, b"payload")))
}

fn ports(out: &[(u16, Vec<u8>)]) -> Vec<u16> {
    out.iter().map(|(port, _)| *port).collect()
}

#[test]
fn every_action_of_a_rule() {
    let rule = |dport, act| acl::entry(acl::Key { l4_dport: is(dport), priority: 10, ..acl::ANY }, act);
    let burst = to(FAR, 7).len() as u64;
    let meter = MeterConfig { cir: 1, cburst: burst, pir: 1, pburst: burst };
    let policed = acl::Key { l4_dport: is(7), priority: 10, ..acl::ANY };
    let permit = acl::Key { l4_dport: is(2), ipv4_src: is(USER.into()), priority: 20, ..acl::ANY };
    let drop = rule(2, acl::Act::AclDrop {});
    let mut office = Office::new(entries());
    office.insert([
        rule(1, acl::Act::AclDrop {}),
        drop.clone(),
        acl::entry(permit, acl::Act::AclPermit {}),
        rule(3, acl::Act::AclPunt { punt_id: 33 }),
        rule(4, acl::Act::AclCopy { punt_id: 44 }),
        rule(5, acl::Act::AclRedirect { next_id: 3 }),
        rule(6, acl::Act::AclSetPort { port: 4 }),
        metered(&policed, &acl::Act::AclPolice {}, meter),
    ]);
    let copy = |punt_id, frame: &[u8]| [&[0, 0x80, 0, punt_id][..], frame].concat();
    assert_eq!(ports(&office.send(1, &to(FAR, 9))), [2]);
    assert!(ports(&office.send(1, &to(FAR, 1))).is_empty());
    // The rule that counts more.
    assert_eq!(ports(&office.send(1, &to(FAR, 2))), [2]);
    assert_eq!(office.packets(&drop), 0);
    // To the controller as it came; alone, and beside its way.
    assert_eq!(office.send(1, &to(FAR, 3)), [(reserved::CPU_PORT, copy(33, &to(FAR, 3)))]);
    let out = office.send(1, &to(FAR, 4));
    assert_eq!(ports(&out), [2, reserved::CPU_PORT]);
    assert_eq!(out[1].1, copy(44, &to(FAR, 4)));
    assert_eq!(ports(&office.send(1, &to(FAR, 5))), [3]);
    assert_eq!(ports(&office.send(1, &to(FAR, 6))), [4]);
    assert_eq!([1, 2].map(|_| office.send(1, &to(FAR, 7)).len()), [1, 0]);
    // Redirected from a subscriber's line: without its tags.
    assert_eq!(ports(&office.send(1, &to([10, 7, 0, 1], 9))), [5]);
    let out = office.send(1, &to([10, 7, 0, 1], 5));
    let wanted = eth(PEER, ROUTER, &[], 0x0800, &v4(USER, [10, 7, 0, 1]).hop().with(&udp(1000, 5, b"payload")));
    assert_eq!(out, [(3, wanted)]);
    // A packet that would die anyway is seen by the controller all the same.
    let mut spoofed = to(FAR, 4);
    spoofed[..6].copy_from_slice(&PEER);
    assert_eq!(ports(&office.send(1, &spoofed)), [reserved::CPU_PORT]);
}

#[test]
fn rules_by_protocol_class_flags_and_port() {
    let mut office = Office::new(entries());
    let any = acl::ANY;
    let rule = |key: acl::Key, punt_id| acl::entry(acl::Key { priority: 5, ..key }, acl::Act::AclPunt { punt_id });
    office.insert([
        rule(acl::Key { eth_type: is(0x0806), ..any }, 1),
        rule(acl::Key { ip_proto: is(1), icmp_type: is(8), ..any }, 2),
        rule(acl::Key { ip_proto: is(6), tcp_flags: masked(2, 0x12), ..any }, 3),
        rule(acl::Key { dscp: is(46), ..any }, 4),
        rule(acl::Key { ipv4_dst: masked([9u8, 0, 0, 0].into(), [255u8, 0, 0, 0].into()), ..any }, 5),
        rule(acl::Key { ip_proto: is(2), ..any }, 6),
    ]);
    let ip = |proto, dscp, dst, body: &[u8]| {
        let packet = super::frames::V4 { proto, dscp, ..v4(USER, dst) };
        eth(ROUTER, HOST, &[], 0x0800, &packet.with(body))
    };
    let tcp = |flags| [&[0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0][..], b"x"].concat();
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &HOST, &USER, &[0; 6], &FAR].concat();
    let cases = [
        (eth([0xff; 6], HOST, &[], 0x0806, &arp), Some(1)),
        (ip(1, 0, FAR, &[8, 0, 0, 0, 0, 0, 0, 0]), Some(2)),
        (ip(1, 0, FAR, &[0, 0, 0, 0, 0, 0, 0, 0]), None),
        (ip(6, 0, FAR, &tcp(2)), Some(3)),
        (ip(6, 0, FAR, &tcp(0x12)), None),
        (ip(17, 46, FAR, &udp(1, 2, b"x")), Some(4)),
        (ip(17, 0, [9, 1, 2, 3], &udp(1, 2, b"x")), Some(5)),
        (ip(2, 0, FAR, &[0x16, 0, 0, 0, 239, 1, 1, 1]), Some(6)),
    ];
    for (frame, punt) in cases {
        let out = office.send(1, &frame);
        match punt {
            Some(id) => assert_eq!(out, [(reserved::CPU_PORT, [&[0, 0x80, 0, id][..], frame.as_slice()].concat())]),
            None => assert_eq!(ports(&out), [2]),
        }
    }
}

#[test]
fn rules_for_ipv6() {
    let mut office = Office::new(entries());
    let rule = |dport, act| acl_ipv6::entry(acl_ipv6::Key { l4_dport: is(dport), priority: 5, ..acl_ipv6::ANY }, act);
    let hosts = masked(SIX[1].into(), [0xffffu16, 0xffff, 0xffff, 0, 0, 0, 0, 0].into());
    let network = acl_ipv6::Key { ipv6_dst: hosts, ip_proto: is(58), priority: 6, ..acl_ipv6::ANY };
    office.insert([
        rule(1, acl_ipv6::Act::AclDropV6 {}),
        rule(2, acl_ipv6::Act::AclPuntV6 { punt_id: 9 }),
        rule(3, acl_ipv6::Act::AclCopyV6 { punt_id: 9 }),
        rule(4, acl_ipv6::Act::AclRedirectV6 { next_id: 3 }),
        acl_ipv6::entry(network, acl_ipv6::Act::AclDropV6 {}),
    ]);
    let frame = |proto, body: &[u8]| eth(ROUTER, HOST, &[], 0x86dd, &v6(SIX[0], SIX[1], proto, 64, body));
    let sent = |office: &mut Office, dport| ports(&office.send(1, &frame(17, &udp(1, dport, b"x"))));
    let cpu = reserved::CPU_PORT;
    assert_eq!(
        [0, 1, 2, 3, 4].map(|dport| sent(&mut office, dport)),
        [vec![2], vec![], vec![cpu], vec![2, cpu], vec![3]]
    );
    assert_eq!(office.send(1, &frame(58, &[128, 0, 0, 0])), []);
}

#[test]
fn slices_have_classes_meters_and_marks() {
    let any = slice_tc::ANY;
    let gold = slice_tc::Key { l4_dport: is(80), priority: 5, ..any };
    let trusted = slice_tc::Key { l4_dport: is(81), priority: 5, ..any };
    let red = queues::Key { slice: 5, tc: 2, color: is(2), priority: 1 };
    let mut office = Office::new(entries());
    office.insert([
        slice_tc::entry(gold, slice_tc::Act::SetSliceTc { slice: 5, tc: 2 }),
        slice_tc::entry(trusted, slice_tc::Act::TrustDscp {}),
        dscp_rewriter::entry(dscp_rewriter::Key { eg_port: 2, priority: 0 }, dscp_rewriter::Act::RewriteDscp {}),
        dscp_rewriter::entry(dscp_rewriter::Key { eg_port: 3, priority: 0 }, dscp_rewriter::Act::ClearDscp {}),
        acl::entry(
            acl::Key { ipv4_dst: is([9u8, 9, 9, 9].into()), priority: 5, ..acl::ANY },
            acl::Act::AclRedirect { next_id: 3 },
        ),
        queues::entry(red, queues::Act::PoliceDrop {}),
    ]);
    let packet = |dst, dport, dscp| {
        let packet = super::frames::V4 { dscp, ..v4(USER, dst) };
        eth(ROUTER, HOST, &[], 0x0800, &packet.with(&udp(1, dport, b"payload")))
    };
    let mark = |out: &[(u16, Vec<u8>)]| out.iter().map(|(port, frame)| (*port, frame[15] >> 2)).collect::<Vec<_>>();
    // Slice and class as four and two bits; what nobody classified has neither.
    assert_eq!(mark(&office.send(1, &packet(FAR, 80, 46))), [(2, 5 << 2 | 2)]);
    assert_eq!(mark(&office.send(1, &packet(FAR, 81, 0b001101))), [(2, 0b001101)]);
    assert_eq!(mark(&office.send(1, &packet(FAR, 82, 46))), [(2, 0)]);
    assert_eq!(mark(&office.send(1, &packet([9, 9, 9, 9], 80, 46))), [(3, 0)]);
    // The class's meter: what is beyond it is dropped where the queue's rule says so.
    office.limit("slice_tc_meter", 5 * 4 + 2, packet(FAR, 80, 0).len() as u64);
    assert_eq!([1, 2].map(|_| office.send(1, &packet(FAR, 80, 0)).len()), [1, 0]);
    assert_eq!([1, 2].map(|_| office.send(1, &packet(FAR, 81, 0)).len()), [1, 1]);
}

#[test]
fn rules_lead_where_no_route_does_and_deny_before_anybody_is_asked_for() {
    let rule = |dport, act| acl::entry(acl::Key { l4_dport: is(dport), priority: 10, ..acl::ANY }, act);
    let rule6 = |dport, act| acl_ipv6::entry(acl_ipv6::Key { l4_dport: is(dport), priority: 10, ..acl_ipv6::ANY }, act);
    let glean = |vrf, dst: [u8; 4]| {
        let key = ipv4_unicast::Key { vrf, ipv4_dst: Lpm { value: dst.into(), prefix_len: 24 }, priority: 0 };
        ipv4_unicast::entry(key, ipv4_unicast::Act::GleanV4 { punt_id: reserved::PUNT_GLEAN })
    };
    let mut office = Office::new(entries());
    // A routing domain without routes but one whose host is not known.
    office.insert([
        untagged(6, 60, 6),
        bare(60, 4),
        glean(6, [10, 6, 0, 0]),
        rule(1, acl::Act::AclDrop {}),
        rule(3, acl::Act::AclPunt { punt_id: 33 }),
        rule(4, acl::Act::AclCopy { punt_id: 44 }),
        rule(7, acl::Act::AclCopy { punt_id: reserved::PUNT_POLICY }),
        rule(5, acl::Act::AclRedirect { next_id: 3 }),
        rule(6, acl::Act::AclSetPort { port: 4 }),
        rule6(5, acl_ipv6::Act::AclRedirectV6 { next_id: 3 }),
        rule6(6, acl_ipv6::Act::AclSetPortV6 { port: 4 }),
    ]);
    let cpu = reserved::CPU_PORT;
    let mut sent = |dst, dport| {
        let out = office.send(6, &to(dst, dport));
        let reason = out.iter().find(|(port, _)| *port == cpu).map(|(_, copy)| copy[3]);
        (ports(&out), reason)
    };
    let nowhere = [0, 1, 3, 4, 5, 6].map(|dport| sent(FAR, dport));
    let wanted = [(vec![], None), (vec![], None), (vec![cpu], Some(33)), (vec![cpu], Some(44)), (vec![3], None)];
    assert_eq!(nowhere[..5], wanted);
    assert_eq!(nowhere[5], (vec![4], None));
    // What is denied or goes elsewhere asks for nobody; what an operator only looks at does all the same.
    let unknown = [0, 1, 3, 4, 5, 6].map(|dport| sent([10, 6, 0, 9], dport));
    let glean = Some(reserved::PUNT_GLEAN as u8);
    let wanted = [(vec![cpu], glean), (vec![], None), (vec![cpu], Some(33)), (vec![cpu], Some(44)), (vec![3], None)];
    assert_eq!(unknown[..5], wanted);
    assert_eq!(unknown[5], (vec![4], None));
    assert_eq!(sent([10, 6, 0, 9], 7), (vec![cpu], glean));
    // It is routed: a hop is counted, and IPv6 does the same.
    let frame = &office.send(6, &to(FAR, 5))[0].1;
    assert_eq!(frame[22], 63);
    let six = |dport| eth(ROUTER, HOST, &[], 0x86dd, &v6(SIX[0], SIX[1], 17, 64, &udp(1, dport, b"x")));
    assert_eq!([0, 5, 6].map(|dport| ports(&office.send(6, &six(dport)))), [vec![], vec![3], vec![4]]);
    // What may not enter does not get anywhere by a rule.
    assert_eq!([1, 3, 5, 6].map(|dport| ports(&office.send(7, &to(FAR, dport)))), [vec![], vec![cpu], vec![], vec![]]);
}

#[test]
fn dropped_packets_take_nothing_of_a_share() {
    let key = slice_tc::Key { ig_port: is(1), ..slice_tc::ANY };
    let mut office = Office::new(entries());
    office.insert([
        slice_tc::entry(key, slice_tc::Act::SetSliceTc { slice: 5, tc: 2 }),
        queues::entry(queues::Key { slice: 5, tc: 2, color: is(2), priority: 1 }, queues::Act::PoliceDrop {}),
        acl::entry(acl::Key { l4_dport: is(1), priority: 1, ..acl::ANY }, acl::Act::AclDrop {}),
    ]);
    office.limit("slice_tc_meter", 5 * 4 + 2, to(FAR, 80).len() as u64);
    assert_eq!([1, 1, 80, 80].map(|dport| office.send(1, &to(FAR, dport)).len()), [0, 0, 1, 0]);
}
