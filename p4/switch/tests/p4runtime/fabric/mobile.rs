//! The mobile user plane: tunnels end and begin, applications, QFI, meters.

use pergola_pipeline::table::{Lpm, is};
use pergola_pipeline::tables::{
    applications, chain_classifier, chain_hop, downlink_session, downlink_session_v6, downlink_termination,
    downlink_termination_v6, interfaces, interfaces_v6, ipv4_unicast, ipv6_unicast, next_simple, tunnel_peers,
    uplink_session, uplink_termination, uplink_termination_v6,
};
use pergola_pipeline::{Entity, reserved};

use super::frames::{V4, eth, gtpu, udp, v4, v6};
use super::{HOST, Office, PEER, ROUTER, bare, next, to_router, trunk, untagged};

pub const BASE: [u8; 4] = [192, 168, 1, 2];
pub const CORE: [u8; 4] = [192, 168, 0, 1];
pub const UE: [u8; 4] = [17, 0, 0, 5];
pub const FAR: [u8; 4] = [8, 8, 8, 8];
pub const UE6: [u16; 8] = [0x2001, 0xdb8, 17, 5, 0, 0, 0, 1];
pub const FAR6: [u16; 8] = [0x2001, 0xdb8, 8, 0, 0, 0, 0, 8];
pub const UE6_PREFIX: u64 = 0x2001_0db8_0011_0005;
pub const SLICE: u8 = 3;
pub const VIDEO: u8 = 20;

fn up(app_id: u8, act: uplink_termination::Act) -> Entity {
    uplink_termination::entry(uplink_termination::Key { ue_address: UE.into(), app_id, priority: 0 }, act)
}

fn down(app_id: u8, act: downlink_termination::Act) -> Entity {
    downlink_termination::entry(downlink_termination::Key { ue_address: UE.into(), app_id, priority: 0 }, act)
}

/// A base station on port 1, the world on port 2, one user with an IPv4 address and an IPv6 prefix.
pub fn entries() -> Vec<Entity> {
    let route = |value: [u8; 4], prefix_len, next_id| {
        let key = ipv4_unicast::Key { vrf: 1, ipv4_dst: Lpm { value: value.into(), prefix_len }, priority: 0 };
        ipv4_unicast::entry(key, ipv4_unicast::Act::RouteV4 { next_id })
    };
    let interface = |value: [u8; 4], prefix_len, gtpu_is_valid, act| {
        let ipv4_dst = Lpm { value: value.into(), prefix_len };
        interfaces::entry(interfaces::Key { vrf: 1, ipv4_dst, gtpu_is_valid, priority: 0 }, act)
    };
    let everywhere6 = Lpm { value: [0u16; 8].into(), prefix_len: 0 };
    let attached = |port, vlan_id, eth_dst| next_simple::Act::ToAttached { port, vlan_id, eth_src: ROUTER, eth_dst };
    let video = applications::Key {
        slice: SLICE,
        ipv4_address: is(FAR.into()),
        l4_port: Some((5000, 5999)),
        ip_proto: is(17),
        priority: 1,
    };
    let pool6 = interfaces_v6::Key {
        vrf: 1,
        ipv6_dst: Lpm { value: [0x2001u16, 0xdb8, 17, 0, 0, 0, 0, 0].into(), prefix_len: 48 },
        priority: 0,
    };
    vec![
        untagged(1, 10, 1),
        untagged(2, 20, 1),
        bare(10, 1),
        bare(20, 2),
        to_router(0x0800, reserved::FWD_IPV4),
        to_router(0x86dd, reserved::FWD_IPV6),
        route([0; 4], 0, 2),
        route(BASE, 32, 1),
        ipv6_unicast::entry(
            ipv6_unicast::Key { vrf: 1, ipv6_dst: everywhere6, priority: 0 },
            ipv6_unicast::Act::RouteV6 { next_id: 2 },
        ),
        next(1, attached(1, 10, HOST)),
        next(2, attached(2, 20, PEER)),
        interface(CORE, 32, 1, interfaces::Act::AccessSide { slice: SLICE }),
        interface([17, 0, 0, 0], 8, 0, interfaces::Act::CoreSide { slice: SLICE }),
        interfaces_v6::entry(pool6, interfaces_v6::Act::CoreSideV6 { slice: SLICE }),
        uplink_session::entry(
            uplink_session::Key { tunnel_dst: CORE.into(), teid: 0x1001, priority: 0 },
            uplink_session::Act::SetUplinkSession { session_index: 5 },
        ),
        downlink_session::entry(
            downlink_session::Key { ue_address: UE.into(), priority: 0 },
            downlink_session::Act::SetDownlinkSession { session_index: 6, tunnel_peer: 4 },
        ),
        downlink_session_v6::entry(
            downlink_session_v6::Key { ue_prefix: UE6_PREFIX, priority: 0 },
            downlink_session_v6::Act::SetDownlinkSessionV6 { session_index: 6, tunnel_peer: 4 },
        ),
        tunnel_peers::entry(
            tunnel_peers::Key { tunnel_peer: 4, priority: 0 },
            tunnel_peers::Act::ToTunnel { src: CORE.into(), dst: BASE.into(), sport: 2152 },
        ),
        applications::entry(video, applications::Act::SetApplication { app_id: VIDEO }),
        up(0, uplink_termination::Act::UplinkForward { tc: 1 }),
        up(VIDEO, uplink_termination::Act::UplinkDrop {}),
        down(0, downlink_termination::Act::DownlinkForward { teid: 0x2001, qfi: 9, tc: 1 }),
        down(VIDEO, downlink_termination::Act::DownlinkForward { teid: 0x2002, qfi: 0, tc: 2 }),
        uplink_termination_v6::entry(
            uplink_termination_v6::Key { ue_prefix: UE6_PREFIX, app_id: 0, priority: 0 },
            uplink_termination_v6::Act::UplinkForwardV6 { tc: 0 },
        ),
        downlink_termination_v6::entry(
            downlink_termination_v6::Key { ue_prefix: UE6_PREFIX, app_id: 0, priority: 0 },
            downlink_termination_v6::Act::DownlinkForwardV6 { teid: 0x2003, qfi: 5, tc: 0 },
        ),
    ]
}

/// A user's packet as the base station sends it.
pub fn tunneled(teid: u32, container: Option<(u8, u8)>, payload: &[u8]) -> Vec<u8> {
    in_tunnel(V4 { dscp: 46, ..v4(BASE, CORE) }, &gtpu(teid, container, payload))
}

/// A base station's frame with any GTP-U message.
pub fn in_tunnel(outer: V4, message: &[u8]) -> Vec<u8> {
    eth(ROUTER, HOST, &[], 0x0800, &outer.with(&udp(2152, 2152, message)))
}

/// A user's packet as it goes to the base station.
pub fn to_base(dscp: u8, ttl: u8, teid: u32, container: Option<(u8, u8)>, payload: &[u8]) -> Vec<u8> {
    let mut outer = v4(CORE, BASE);
    (outer.dscp, outer.ttl) = (dscp, ttl);
    eth(HOST, ROUTER, &[], 0x0800, &outer.with(&udp(2152, 2152, &gtpu(teid, container, payload))))
}

#[test]
fn uplink_tunnels_end_here() {
    let mut office = Office::new(entries());
    let mut packet = v4(UE, FAR);
    // The user's own class, not that of the tunnel.
    packet.dscp = 10;
    let body = udp(7000, 443, b"up");
    let wanted = eth(PEER, ROUTER, &[], 0x0800, &packet.hop().with(&body));
    for container in [None, Some((1, 9))] {
        assert_eq!(office.send(1, &tunneled(0x1001, container, &packet.with(&body))), [(2, wanted.clone())]);
    }
    assert_eq!(office.packets(&up(0, uplink_termination::Act::UplinkForward { tc: 1 })), 2);
    // An unknown tunnel, a filtered application, a foreign user address.
    assert_eq!(office.send(1, &tunneled(0x1002, None, &packet.with(&body))), []);
    assert_eq!(office.send(1, &tunneled(0x1001, None, &packet.with(&udp(7000, 5004, b"video")))), []);
    assert_eq!(office.packets(&up(VIDEO, uplink_termination::Act::UplinkDrop {})), 1);
    assert_eq!(office.send(1, &tunneled(0x1001, None, &v4([17, 0, 0, 6], FAR).with(&body))), []);
    // Ports beside the range, and without ports.
    assert_eq!(office.send(1, &tunneled(0x1001, None, &packet.with(&udp(7000, 6000, b"other")))).len(), 1);
    let mut ping = packet;
    ping.proto = 1;
    let echo = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    let wanted = eth(PEER, ROUTER, &[], 0x0800, &ping.hop().with(&echo));
    assert_eq!(office.send(1, &tunneled(0x1001, Some((1, 9)), &ping.with(&echo))), [(2, wanted)]);
    // IPv6 inside.
    let six = |hops| v6(UE6, FAR6, 17, hops, &body);
    let wanted = eth(PEER, ROUTER, &[], 0x86dd, &six(63));
    assert_eq!(office.send(1, &tunneled(0x1001, None, &six(64))), [(2, wanted)]);
}

#[test]
fn downlink_tunnels_begin_here() {
    let mut office = Office::new(entries());
    let packet = v4(FAR, UE);
    let answer = |ip: &[u8]| eth(ROUTER, PEER, &[], 0x0800, ip);
    let body = udp(443, 7000, b"down");
    let wanted = to_base(0, 64, 0x2001, Some((0, 9)), &packet.hop().with(&body));
    assert_eq!(office.send(2, &answer(&packet.with(&body))), [(1, wanted)]);
    // An application's own tunnel, of a kind without flows (4G).
    let body = udp(5004, 7000, b"video");
    let wanted = to_base(0, 64, 0x2002, None, &packet.hop().with(&body));
    assert_eq!(office.send(2, &answer(&packet.with(&body))), [(1, wanted)]);
    assert_eq!(office.send(2, &answer(&v4(FAR, [17, 0, 0, 6]).with(&body))), []);
    let six = |hops| v6(FAR6, UE6, 17, hops, &body);
    let wanted = to_base(0, 64, 0x2003, Some((0, 5)), &six(63));
    assert_eq!(office.send(2, &eth(ROUTER, PEER, &[], 0x86dd, &six(64))), [(1, wanted)]);
    // Within a VLAN nobody ends tunnels.
    assert_eq!(office.send(2, &eth(HOST, PEER, &[], 0x0800, &packet.with(&body))), []);
}

#[test]
fn an_idle_user_is_paged_first() {
    let idle = downlink_session::Key { ue_address: [17u8, 0, 0, 9].into(), priority: 0 };
    let mut office = Office::new(entries());
    office.insert([downlink_session::entry(idle, downlink_session::Act::PuntDownlinkSession { punt_id: 77 })]);
    let sent = eth(ROUTER, PEER, &[], 0x0800, &v4(FAR, [17, 0, 0, 9]).with(&udp(1, 2, b"wake")));
    let copy = [&[1, 0, 0, 77][..], sent.as_slice()].concat();
    assert_eq!(office.send(2, &sent), [(reserved::CPU_PORT, copy)]);
}

#[test]
fn a_session_has_its_meter() {
    let sent = eth(ROUTER, PEER, &[], 0x0800, &v4(FAR, UE).with(&udp(443, 7000, &[0; 60])));
    let mut office = Office::new(entries());
    office.limit("session_meter", 6, sent.len() as u64);
    assert_eq!([office.send(2, &sent).len(), office.send(2, &sent).len()], [1, 0]);
    // The way up is another session.
    let up = tunneled(0x1001, None, &v4(UE, FAR).with(&udp(1, 443, b"up")));
    assert_eq!([office.send(1, &up).len(), office.send(1, &up).len()], [1, 1]);
}

#[test]
fn a_chain_sees_users_packets_without_their_tunnel() {
    let mut office = Office::new(entries());
    let any = chain_classifier::Key { slice: is(SLICE), ..chain_classifier::ANY };
    let enter = chain_classifier::Act::EnterChain { chain_id: 1, position: 1 };
    let instance = chain_hop::Act::ToInstance { port: 3, vlan_id: 300, eth_src: ROUTER, eth_dst: PEER };
    let hop = chain_hop::Key { chain_id: 1, position: 1, priority: 0 };
    let hop = pergola_pipeline::table::one_shot(&hop, [(instance, 1, None)]);
    office.insert([chain_classifier::entry(any, enter), hop, trunk(300, 3)]);
    let (up, down) = (v4(UE, FAR), v4(FAR, UE));
    let (asks, answers) = (udp(7000, 443, b"up"), udp(443, 7000, b"down"));
    let tunnel = tunneled(0x1001, Some((1, 9)), &up.with(&asks));
    assert_eq!(office.send(1, &tunnel), [(3, eth(PEER, ROUTER, &[300], 0x0800, &up.with(&asks)))]);
    let sent = eth(ROUTER, PEER, &[], 0x0800, &down.with(&answers));
    assert_eq!(office.send(2, &sent), [(3, eth(PEER, ROUTER, &[300], 0x0800, &down.with(&answers)))]);
}
