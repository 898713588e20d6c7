//! Tunnels on the wire: optional fields, lengths, congestion, fragments, and what only looks like a tunnel.

use pergola_pipeline::table::is;
use pergola_pipeline::tables::{
    acl, applications_v6, downlink_session_v6, downlink_termination_v6, mpls as labels, uplink_termination_v6,
};
use pergola_pipeline::{Entity, reserved};

use super::frames::{V4, eth, gtp, gtpu, mpls, tcp, udp, v4, v6};
use super::mobile::{BASE, CORE, FAR, FAR6, SLICE, UE, UE6, UE6_PREFIX, VIDEO, entries, in_tunnel, to_base, tunneled};
use super::{HOST, Office, PEER, ROUTER, to_router, untagged};

/// A user's packet as it leaves for the world.
fn out(ip: &[u8]) -> Vec<(u16, Vec<u8>)> {
    vec![(2, eth(PEER, ROUTER, &[], 0x0800, ip))]
}

#[test]
fn optional_fields_are_stepped_over_or_the_packet_is_dropped() {
    let mut office = Office::new(entries());
    let (packet, body) = (v4(UE, FAR), udp(7000, 443, b"up"));
    let inner = packet.with(&body);
    let wanted = out(&packet.hop().with(&body));
    let send = |office: &mut Office, flags, optional: &[u8]| {
        office.send(1, &in_tunnel(v4(BASE, CORE), &gtp(flags, 255, 0x1001, optional, &inner)))
    };
    // A sequence number, an N-PDU number, a spare bit, and a PDU session container behind a sequence number.
    assert_eq!(send(&mut office, 0x32, &[0x45, 0x45, 0, 0]), wanted);
    assert_eq!(send(&mut office, 0x31, &[0, 0, 0x45, 0]), wanted);
    assert_eq!(send(&mut office, 0x38, &[]), wanted);
    assert_eq!(send(&mut office, 0x36, &[0x12, 0x34, 0, 0x85, 1, 0x10, 9, 0]), wanted);
    // The octet of the next extension counts only with its flag (TS 29.281 5.1), and an empty list has none.
    assert_eq!(send(&mut office, 0x32, &[0x12, 0x34, 0, 0x85]), wanted);
    assert_eq!(send(&mut office, 0x34, &[0, 0, 0, 0]), wanted);
    // Extensions that are not read are never taken for users' packets, even where they look so.
    for optional in [
        &[0, 0, 0, 0xc0, 1, 0x45, 0x45, 0][..],
        &[0, 0, 0, 0x85, 2, 0x10, 9, 0, 0x45, 0x45, 0x45, 0],
        &[0, 0, 0, 0x85, 1, 0x10, 9, 0xc0, 1, 0x45, 0x45, 0],
        &[0, 0, 0, 0x40, 1, 0x08, 0x68, 0],
    ] {
        assert_eq!(send(&mut office, 0x34, optional), [], "{optional:02x?}");
    }
    // Version 2, GTP', and what carries no IP packet.
    for (flags, payload) in [(0x50, &inner[..]), (0x20, &inner), (0x30, &[0xff; 40])] {
        let frame = in_tunnel(v4(BASE, CORE), &gtp(flags, 255, 0x1001, &[], payload));
        assert_ne!(office.send(1, &frame), wanted);
    }
}

#[test]
fn options_and_checksums_of_the_user_are_the_users() {
    let mut office = Office::new(entries());
    let packet = v4(UE, FAR);
    let (alert, body) = ([0x94, 4, 0, 0, 1, 1, 1, 0], udp(7000, 443, b"up"));
    let inner = packet.with_options(&alert, &body);
    for container in [None, Some((1, 9))] {
        let wanted = out(&packet.hop().with_options(&alert, &body));
        assert_eq!(office.send(1, &tunneled(0x1001, container, &inner)), wanted);
    }
    // The port behind the options is the one that is filtered.
    let video = packet.with_options(&alert, &udp(7000, 5004, b"video"));
    assert_eq!(office.send(1, &tunneled(0x1001, None, &video)), []);
    // What was wrong stays so, and does not leave with a right checksum.
    for (mut wrong, at) in [(packet.with(&body), 10), (inner, 22)] {
        wrong[at] ^= 1;
        assert_eq!(office.send(1, &tunneled(0x1001, None, &wrong)), []);
    }
    // The tunnel's own header may have options too.
    let outer = v4(BASE, CORE).with_options(&alert, &udp(2152, 2152, &gtpu(0x1001, None, &packet.with(&body))));
    assert_eq!(office.send(1, &eth(ROUTER, HOST, &[], 0x0800, &outer)), out(&packet.hop().with(&body)));
}

#[test]
fn congestion_of_the_tunnel_is_told_to_the_user() {
    let mut office = Office::new(entries());
    let body = udp(7000, 443, b"up");
    let mut send = |outer_ecn, ecn| {
        let outer = V4 { ecn: outer_ecn, ..v4(BASE, CORE) };
        let left = office.send(1, &in_tunnel(outer, &gtpu(0x1001, None, &V4 { ecn, ..v4(UE, FAR) }.with(&body))));
        left.first().map(|(_, frame)| frame[15] & 3)
    };
    // RFC 6040 figure 4: the rows are the user's.
    for (ecn, wanted) in [(0, [Some(0), None]), (2, [Some(2), Some(3)]), (1, [Some(1), Some(3)]), (3, [Some(3); 2])] {
        assert_eq!([send(0, ecn), send(3, ecn)], wanted, "{ecn}");
    }
}

#[test]
fn lengths_are_those_of_packets_and_not_of_frames() {
    let mut office = Office::new(entries());
    let packet = v4(FAR, UE);
    for length in [0, 1, 2, 3, 17, 18, 19, 501] {
        let body = udp(443, 7000, &vec![7; length]);
        let sent = eth(ROUTER, PEER, &[], 0x0800, &packet.with(&body));
        let padding = vec![0; 60usize.saturating_sub(sent.len())];
        let wanted = [to_base(0, 64, 0x2001, Some((0, 9)), &packet.hop().with(&body)), padding.clone()].concat();
        assert_eq!(office.send(2, &[sent, padding].concat()), [(1, wanted)], "{length}");
        let six = |hops| v6(FAR6, UE6, 17, hops, &body);
        let wanted = to_base(0, 64, 0x2003, Some((0, 5)), &six(63));
        assert_eq!(office.send(2, &eth(ROUTER, PEER, &[], 0x86dd, &six(64))), [(1, wanted)], "{length}");
    }
    // A user's packets may have options, and come in pieces.
    let (alert, odd) = ([0x94, 4, 0, 0], V4 { proto: 50, ..packet });
    let wanted = to_base(0, 64, 0x2001, Some((0, 9)), &odd.hop().with_options(&alert, b"sealed"));
    assert_eq!(office.send(2, &eth(ROUTER, PEER, &[], 0x0800, &odd.with_options(&alert, b"sealed"))), [(1, wanted)]);
    let piece = V4 { fragment: 100, ..packet };
    let wanted = to_base(0, 64, 0x2001, Some((0, 9)), &piece.hop().with(b"rest"));
    assert_eq!(office.send(2, &eth(ROUTER, PEER, &[], 0x0800, &piece.with(b"rest"))), [(1, wanted)]);
}

#[test]
fn what_is_no_tunnel_of_ours_goes_its_way() {
    let echo = acl::Key { ipv4_dst: is(CORE.into()), ip_proto: is(17), l4_dport: is(2152), priority: 5, ..acl::ANY };
    let mut office = Office::new(entries());
    office.insert([acl::entry(echo, acl::Act::AclPunt { punt_id: 9 })]);
    // Echo requests and error indications are the controller's; users' packets are not, whatever their tunnel.
    for (kind, optional) in [(1, &[0, 1, 0, 0][..]), (26, &[16, 0, 0, 0, 1])] {
        let sent = in_tunnel(v4(BASE, CORE), &gtp(0x32, kind, 0, optional, b""));
        let copy = [&[0, 0x80, 0, 9][..], sent.as_slice()].concat();
        assert_eq!(office.send(1, &sent), [(reserved::CPU_PORT, copy)]);
    }
    let body = udp(7000, 443, b"up");
    assert_eq!(office.send(1, &tunneled(0x1001, None, &v4(UE, FAR).with(&body)))[0].0, 2);
    // The port as a client's own: little or nothing in it is no error.
    let packet = v4([10, 0, 0, 5], FAR);
    for payload in [&b""[..], b"0", &[0x30, 0xff], &[0x30, 0xff, 0x45], &[0x30; 20], b"any other protocol, quite long"]
    {
        let body = udp(53, 2152, payload);
        let sent = eth(ROUTER, HOST, &[], 0x0800, &packet.with(&body));
        assert_eq!(office.send(1, &sent), out(&packet.hop().with(&body)), "{payload:02x?}");
    }
    // Somebody else's tunnel, and TCP.
    let body = udp(2152, 2152, &gtpu(0x1001, None, &v4(UE, FAR).with(&body)));
    let sent = eth(ROUTER, HOST, &[], 0x0800, &packet.with(&body));
    assert_eq!(office.send(1, &sent), out(&packet.hop().with(&body)));
    let packet = V4 { proto: 6, ..packet };
    let body = tcp(1, 2152, &gtpu(0x1001, None, &v4(UE, FAR).with(b"")));
    let sent = eth(ROUTER, HOST, &[], 0x0800, &packet.with(&body));
    assert_eq!(office.send(1, &sent), out(&packet.hop().with(&body)));
}

#[test]
fn pieces_of_a_tunnel_are_not_taken_out_of_it() {
    let mut office = Office::new(entries());
    let inner = v4(UE, FAR).with(&udp(7000, 443, &[7; 64]));
    let whole = udp(2152, 2152, &gtpu(0x1001, None, &inner));
    for (fragment, part) in [(0x2000, &whole[..80]), (10, &whole[80..])] {
        let outer = V4 { fragment, ..v4(BASE, CORE) };
        let left = office.send(1, &eth(ROUTER, HOST, &[], 0x0800, &outer.with(part)));
        assert_eq!(left, out(&outer.hop().with(part)), "{fragment:x}");
    }
}

#[test]
fn rules_see_the_user_and_not_the_tunnel() {
    let rule = |key: acl::Key| acl::entry(acl::Key { priority: 5, ..key }, acl::Act::AclDrop {});
    let body = udp(443, 7000, b"down");
    let down = eth(ROUTER, PEER, &[], 0x0800, &v4(FAR, UE).with(&body));
    for (key, left) in [
        (acl::Key { ipv4_dst: is(UE.into()), ..acl::ANY }, 0),
        (acl::Key { ipv4_src: is(FAR.into()), l4_sport: is(443), ..acl::ANY }, 0),
        (acl::Key { ipv4_dst: is(BASE.into()), ..acl::ANY }, 1),
    ] {
        let mut office = Office::new(entries());
        office.insert([rule(key)]);
        assert_eq!(office.send(2, &down).len(), left, "{key:?}");
        assert_eq!(office.send(1, &tunneled(0x1001, None, &v4(UE, FAR).with(&udp(7000, 443, b"up")))).len(), 1);
    }
}

#[test]
fn tunnels_of_a_routed_network_come_under_its_label() {
    let label = labels::entry(labels::Key { label: 500, priority: 0 }, labels::Act::PopAndRoute { vrf: 1 });
    let mut office = Office::new(entries());
    office.insert([untagged(8, 4094, 0), to_router(0x8847, reserved::FWD_MPLS), label]);
    let under = |ip: &[u8]| eth(ROUTER, HOST, &[], 0x8847, &mpls(500, true, 64, ip));
    let (packet, body) = (v4(UE, FAR), udp(7000, 443, b"up"));
    let tunnel = v4(BASE, CORE).with(&udp(2152, 2152, &gtpu(0x1001, Some((1, 9)), &packet.with(&body))));
    assert_eq!(office.send(8, &under(&tunnel)), out(&packet.hop().with(&body)));
    let (packet, body) = (v4(FAR, UE), udp(443, 7000, b"down"));
    let wanted = to_base(0, 64, 0x2001, Some((0, 9)), &packet.hop().with(&body));
    assert_eq!(office.send(8, &under(&packet.with(&body))), [(1, wanted)]);
}

#[test]
fn users_of_ipv6_have_applications_and_are_paged() {
    let video = |ipv6_address| applications_v6::Key {
        slice: SLICE,
        ipv6_address,
        l4_port: Some((5000, 5999)),
        ip_proto: is(17),
        priority: 1,
    };
    let key = uplink_termination_v6::Key { ue_prefix: UE6_PREFIX, app_id: VIDEO, priority: 0 };
    let up = uplink_termination_v6::entry(key, uplink_termination_v6::Act::UplinkDropV6 {});
    let key = downlink_termination_v6::Key { ue_prefix: UE6_PREFIX, app_id: VIDEO, priority: 0 };
    let down = downlink_termination_v6::Act::DownlinkForwardV6 { teid: 0x2004, qfi: 0, tc: 2 };
    let idle = downlink_session_v6::Key { ue_prefix: UE6_PREFIX + 1, priority: 0 };
    let mut office = Office::new(entries());
    let rule: [Entity; 4] = [
        applications_v6::entry(video(is(FAR6.into())), applications_v6::Act::SetApplicationV6 { app_id: VIDEO }),
        up.clone(),
        downlink_termination_v6::entry(key, down),
        downlink_session_v6::entry(idle, downlink_session_v6::Act::PuntDownlinkSessionV6 { punt_id: 77 }),
    ];
    office.insert(rule);
    let asks = |dport| tunneled(0x1001, None, &v6(UE6, FAR6, 17, 64, &udp(7000, dport, b"up")));
    assert_eq!([5004, 443].map(|dport| office.send(1, &asks(dport)).len()), [0, 1]);
    assert_eq!(office.packets(&up), 1);
    let answer = |sport, hops| v6(FAR6, UE6, 17, hops, &udp(sport, 7000, b"down"));
    for (sport, teid, container) in [(5004, 0x2004, None), (443, 0x2003, Some((0, 5)))] {
        let wanted = to_base(0, 64, teid, container, &answer(sport, 63));
        assert_eq!(office.send(2, &eth(ROUTER, PEER, &[], 0x86dd, &answer(sport, 64))), [(1, wanted)]);
    }
    let mut asleep = UE6;
    asleep[3] += 1;
    let sent = eth(ROUTER, PEER, &[], 0x86dd, &v6(FAR6, asleep, 17, 64, &udp(1, 2, b"wake")));
    let copy = [&[1, 0, 0, 77][..], sent.as_slice()].concat();
    assert_eq!(office.send(2, &sent), [(reserved::CPU_PORT, copy)]);
}

#[test]
fn what_is_filtered_takes_nothing_of_the_rate() {
    let up = |dport| tunneled(0x1001, None, &v4(UE, FAR).with(&udp(7000, dport, &[0; 60])));
    let mut office = Office::new(entries());
    office.limit("session_meter", 5, up(443).len() as u64);
    let left: Vec<usize> = [5004, 5005, 443, 443].map(|dport| office.send(1, &up(dport)).len()).into();
    assert_eq!(left, [0, 0, 1, 0]);
}
