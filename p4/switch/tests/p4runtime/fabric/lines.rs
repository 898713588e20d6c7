//! Subscriber lines: IPoE and PPPoE, source guard, counters and meters, tags downstream.

use pergola_pipeline::table::{Lpm, is, metered};
use pergola_pipeline::tables::{
    acl, bridging, guard_v4, guard_v6, ingress_port_vlan, ipv4_unicast, ipv6_unicast, line_down, line_up, next_simple,
    pppoe_session,
};
use pergola_pipeline::{Entity, MeterConfig, reserved};

use super::frames::{eth, pppoe, udp, v4, v6};
use super::{HOST, Office, PEER, ROUTER, bare, next, to_router, untagged};

const LINE: u32 = 7;
const USER: [u8; 4] = [10, 0, 0, 5];
const FAR: [u8; 4] = [8, 8, 8, 8];
const USER6: [u16; 8] = [0x2001, 0xdb8, 7, 0, 0, 0, 0, 5];
const FAR6: [u16; 8] = [0x2001, 0xdb8, 8, 0, 0, 0, 0, 8];

fn line(meter: Option<MeterConfig>) -> Entity {
    let key = line_up::Key { ig_port: 1, s_tag: 100, c_tag: 200, priority: 0 };
    let act = line_up::Act::SetLine { line_id: LINE, vrf: 1, slice: 0, tc: 0 };
    match meter {
        Some(meter) => metered(&key, &act, meter),
        None => line_up::entry(key, act),
    }
}

fn down(session: Option<u16>) -> Entity {
    let key = line_down::Key { line_id: LINE, priority: 0 };
    let (port, s_tag, c_tag, eth_src, eth_dst) = (1, 100, 200, ROUTER, HOST);
    line_down::entry(
        key,
        match session {
            None => line_down::Act::ToLineIpoe { port, s_tag, c_tag, eth_src, eth_dst },
            Some(session_id) => line_down::Act::ToLinePppoe { port, s_tag, c_tag, eth_src, eth_dst, session_id },
        },
    )
}

fn guard(mac: [u8; 6]) -> Entity {
    let key = guard_v4::Key {
        line_id: LINE,
        eth_src: mac,
        ipv4_src: Lpm { value: USER.into(), prefix_len: 32 },
        priority: 0,
    };
    guard_v4::entry(key, guard_v4::Act::GuardPassV4 {})
}

/// A line on port 1, tags 100 and 200, and the world behind port 2.
fn entries(up: Entity, down: Entity) -> Vec<Entity> {
    let both = ingress_port_vlan::Key {
        ig_port: 1,
        vlan_is_valid: 1,
        vlan_id: is(100),
        inner_vlan_is_valid: is(1),
        inner_vlan_id: is(200),
        priority: 5,
    };
    let attached = next_simple::Act::ToAttached { port: 2, vlan_id: 50, eth_src: ROUTER, eth_dst: PEER };
    let v4 = |value: [u8; 4], prefix_len, act| {
        let key = ipv4_unicast::Key { vrf: 1, ipv4_dst: Lpm { value: value.into(), prefix_len }, priority: 0 };
        ipv4_unicast::entry(key, act)
    };
    let v6 = |value: [u16; 8], prefix_len, act| {
        let key = ipv6_unicast::Key { vrf: 1, ipv6_dst: Lpm { value: value.into(), prefix_len }, priority: 0 };
        ipv6_unicast::entry(key, act)
    };
    vec![
        ingress_port_vlan::entry(both, ingress_port_vlan::Act::Permit { vrf: 0 }),
        untagged(2, 50, 1),
        bare(50, 2),
        to_router(0x0800, reserved::FWD_IPV4),
        to_router(0x86dd, reserved::FWD_IPV6),
        up,
        down,
        guard(HOST),
        next(10, attached),
        v4([0; 4], 0, ipv4_unicast::Act::RouteV4 { next_id: 10 }),
        v4(USER, 32, ipv4_unicast::Act::ToLineV4 { line_id: LINE }),
        v6([0; 8], 0, ipv6_unicast::Act::RouteV6 { next_id: 10 }),
        v6([0x2001, 0xdb8, 7, 0, 0, 0, 0, 0], 48, ipv6_unicast::Act::ToLineV6 { line_id: LINE }),
    ]
}

#[test]
fn ipoe_both_ways_with_source_guard_and_counters() {
    let (up, down) = (line(None), down(None));
    let mut office = Office::new(entries(up.clone(), down.clone()));
    let (out, back) = (v4(USER, FAR), v4(FAR, USER));
    let body = udp(1000, 53, b"question");
    let frame = |src: [u8; 6], tags: &[u16], ip: &[u8]| eth(ROUTER, src, tags, 0x0800, ip);
    let sent = frame(HOST, &[100, 200], &out.with(&body));
    assert_eq!(office.send(1, &sent), [(2, eth(PEER, ROUTER, &[], 0x0800, &out.hop().with(&body)))]);
    // Another's address, another's MAC, another's tags, another port.
    assert_eq!(office.send(1, &frame(HOST, &[100, 200], &v4([10, 0, 0, 6], FAR).with(&body))), []);
    assert_eq!(office.send(1, &frame(PEER, &[100, 200], &out.with(&body))), []);
    for tags in [&[100, 201][..], &[101, 200], &[100], &[]] {
        assert_eq!(office.send(1, &frame(HOST, tags, &out.with(&body))), [], "{tags:?}");
    }
    assert_eq!(office.send(3, &sent), []);
    // Three came by the line, one of them passed the guard.
    assert_eq!((office.packets(&up), office.packets(&guard(HOST))), (3, 1));

    let answer = eth(ROUTER, PEER, &[], 0x0800, &back.with(&body));
    let wanted = eth(HOST, ROUTER, &[100, 200], 0x0800, &back.hop().with(&body));
    assert_eq!(office.send(2, &answer), [(1, wanted)]);
    // Bytes as they came in, with all headers: the tags upstream, none yet downstream.
    let length = |frame: &[u8]| frame.len() as i64;
    assert_eq!(office.counted(&down), (1, length(&answer)));
    assert_eq!(office.counted(&up), (3, 3 * length(&sent)));
}

#[test]
fn ipv6_of_a_line() {
    let guarded = guard_v6::Key {
        line_id: LINE,
        eth_src: HOST,
        ipv6_src: Lpm { value: [0x2001u16, 0xdb8, 7, 0, 0, 0, 0, 0].into(), prefix_len: 48 },
        priority: 0,
    };
    let mut office = Office::new(entries(line(None), down(None)));
    office.insert([guard_v6::entry(guarded, guard_v6::Act::GuardPassV6 {})]);
    let body = udp(1, 2, b"six");
    let up = |src, hops| v6(src, FAR6, 17, hops, &body);
    let sent = |ip: Vec<u8>| eth(ROUTER, HOST, &[100, 200], 0x86dd, &ip);
    assert_eq!(office.send(1, &sent(up(USER6, 64))), [(2, eth(PEER, ROUTER, &[], 0x86dd, &up(USER6, 63)))]);
    assert_eq!(office.send(1, &sent(up([0x2001, 0xdb8, 9, 0, 0, 0, 0, 5], 64))), []);
    // No hop is left: the controller tells the sender.
    let told: Vec<_> = office.send(1, &sent(up(USER6, 1))).into_iter().map(|(port, _)| port).collect();
    assert_eq!(told, [reserved::CPU_PORT]);
    let back = |hops| v6(FAR6, USER6, 17, hops, &body);
    let wanted = eth(HOST, ROUTER, &[100, 200], 0x86dd, &back(63));
    assert_eq!(office.send(2, &eth(ROUTER, PEER, &[], 0x86dd, &back(64))), [(1, wanted)]);
}

#[test]
fn pppoe_sessions_end_and_begin_here() {
    let session = pppoe_session::Key { line_id: LINE, session_id: 0x1234, priority: 0 };
    let mut office = Office::new(entries(line(None), down(Some(0x1234))));
    office.insert([pppoe_session::entry(session, pppoe_session::Act::PppoeTerminate {})]);
    let (out, back) = (v4(USER, FAR), v4(FAR, USER));
    let body = udp(1000, 53, b"question");
    let sent = |session, ip: &[u8]| eth(ROUTER, HOST, &[100, 200], 0x8864, &pppoe(session, 0x0021, ip));
    let wanted = eth(PEER, ROUTER, &[], 0x0800, &out.hop().with(&body));
    assert_eq!(office.send(1, &sent(0x1234, &out.with(&body))), [(2, wanted)]);
    assert_eq!(office.send(1, &sent(0x1235, &out.with(&body))), []);
    assert_eq!(office.send(1, &sent(0x1234, &v4([10, 0, 0, 6], FAR).with(&body))), []);
    let inner = back.hop().with(&body);
    let wanted = eth(HOST, ROUTER, &[100, 200], 0x8864, &pppoe(0x1234, 0x0021, &inner));
    assert_eq!(office.send(2, &eth(ROUTER, PEER, &[], 0x0800, &back.with(&body))), [(1, wanted)]);
    let (from, to) = (v6(FAR6, USER6, 17, 9, &body), v6(FAR6, USER6, 17, 8, &body));
    let wanted = eth(HOST, ROUTER, &[100, 200], 0x8864, &pppoe(0x1234, 0x0057, &to));
    assert_eq!(office.send(2, &eth(ROUTER, PEER, &[], 0x86dd, &from)), [(1, wanted)]);
}

#[test]
fn a_line_sends_no_more_than_its_meter_allows() {
    let out = v4(USER, FAR);
    let sent = eth(ROUTER, HOST, &[100, 200], 0x0800, &out.with(&udp(1, 2, &[0; 100])));
    // Room for two frames and then a byte a second.
    let burst = sent.len() as u64 * 2;
    let meter = MeterConfig { cir: 1, cburst: burst, pir: 1, pburst: burst };
    let mut office = Office::new(entries(line(Some(meter)), down(None)));
    let passed: Vec<usize> = (0..4).map(|_| office.send(1, &sent).len()).collect();
    assert_eq!(passed, [1, 1, 0, 0]);
    assert_eq!(office.packets(&line(None)), 4);
}

#[test]
fn control_frames_and_first_questions_reach_the_controller() {
    let punt = |key: acl::Key| acl::entry(acl::Key { priority: 5, ..key }, acl::Act::AclPunt { punt_id: 9 });
    let dhcp = acl::Key { ip_proto: is(17), l4_dport: is(67), from_line: is(1), ..acl::ANY };
    let mut office = Office::new(entries(line(None), down(Some(0x1234))));
    office.insert([
        punt(acl::Key { eth_type: is(0x8863), ..acl::ANY }),
        punt(acl::Key { eth_type: is(0x8864), ..acl::ANY }),
        punt(dhcp),
    ]);
    let body = udp(68, 67, b"discover");
    let asks = v4([0; 4], [255; 4]).with(&body);
    let frame = |kind, payload: &[u8]| eth(ROUTER, HOST, &[100, 200], kind, payload);
    for sent in [
        // Discovery, then LCP, IPCP, IPv6CP, PAP and what nobody knows, before there is a session.
        frame(0x8863, &[0x11, 9, 0, 0, 0, 4, 1, 1, 0, 0]),
        frame(0x8864, &pppoe(7, 0xc021, &[1, 1, 0, 4])),
        frame(0x8864, &pppoe(7, 0x8021, &[1, 1, 0, 4])),
        frame(0x8864, &pppoe(7, 0x8057, &[1, 1, 0, 4])),
        frame(0x8864, &pppoe(7, 0xc023, &[1, 1, 0, 4])),
        frame(0x8864, &pppoe(7, 0x7777, &[])),
        // Who has no address yet does not pass the source guard, but is heard.
        eth([0xff; 6], HOST, &[100, 200], 0x0800, &asks),
    ] {
        let copy = [&[0, 0x80, 0, 9][..], sent.as_slice()].concat();
        assert_eq!(office.send(1, &sent), [(reserved::CPU_PORT, copy)]);
    }
    // Without a session its packets go nowhere, not even there.
    assert_eq!(office.send(1, &frame(0x8864, &pppoe(7, 0x21, &v4(USER, FAR).with(&udp(1, 53, b"x"))))), []);
}

#[test]
fn sessions_end_on_lines_only() {
    let mut office = Office::new(entries(line(None), down(None)));
    office.insert([untagged(3, 10, 1)]);
    let body = udp(1000, 53, b"question");
    let six = v6(USER6, FAR6, 17, 64, &body);
    for (proto, ip) in [(0x21, v4(USER, FAR).with(&body)), (0x57, six)] {
        let sent = eth(ROUTER, PEER, &[], 0x8864, &pppoe(0x1234, proto, &ip));
        assert_eq!([office.send(3, &sent), office.send(2, &sent)], [[], []]);
    }
    // Within a VLAN they pass to who ends them.
    let key = bridging::Key { vlan_id: 10, eth_dst: is(PEER), priority: 1 };
    office.insert([bare(10, 4), bridging::entry(key, bridging::Act::BridgeToPort { port: 4 })]);
    let sent = eth(PEER, HOST, &[], 0x8864, &pppoe(0x1234, 0x21, &v4(USER, FAR).with(&body)));
    assert_eq!(office.send(3, &sent), [(4, sent.clone())]);
}

#[test]
fn nobody_is_looked_for_on_behalf_of_what_the_guard_denies() {
    let gleaned =
        ipv4_unicast::Key { vrf: 1, ipv4_dst: Lpm { value: [9u8, 9, 9, 0].into(), prefix_len: 24 }, priority: 0 };
    let mut office = Office::new(entries(line(None), down(None)));
    office.insert([ipv4_unicast::entry(gleaned, ipv4_unicast::Act::GleanV4 { punt_id: reserved::PUNT_GLEAN })]);
    let sent = |src| eth(ROUTER, HOST, &[100, 200], 0x0800, &v4(src, [9, 9, 9, 9]).with(&udp(1, 2, b"x")));
    assert_eq!([USER, [10, 0, 0, 6]].map(|src| office.send(1, &sent(src)).len()), [1, 0]);
}
