//! Both relays from the client's first word to the server and back, with dhcproto as client and server.

use super::*;
use crate::machine::{AlarmKind, Change, Host, Input, Learned, Nanos, Output, PacketMachine, SECONDS};
use crate::net::{DhcpRelay, Gateway, PortVlans};
use crate::testnet::TestNet;
use crate::wire::arp::Arp;
use crate::wire::dhcp::{Dhcp4, RELAY_FORWARD, RELAY_REPLY, Relay6};
use crate::wire::ip::{Ip, Link, udp};
use crate::wire::{ETH_ARP, Frame, Mac};
use dhcproto::{Decodable, Encodable, v4, v6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 9]);
const SERVER: Mac = Mac([2, 0, 0, 0, 0, 200]);
const ROUTER1: Mac = Mac([2, 0, 0, 0, 0xff, 1]);
const ROUTER2: Mac = Mac([2, 0, 0, 0, 0xff, 2]);

fn p(device: &str, port: u32) -> PortRef {
    PortRef::new(device, port)
}

fn v4a(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6a(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn host(vlan: u16, mac: Mac, ips: &[&str], at: PortRef) -> Host {
    let ips = ips.iter().map(|i| i.parse().unwrap()).collect();
    Host { vlan, mac, ips, locations: vec![at], tags: vec![], learned: Learned::Arp }
}

/// Clients in VLAN 10 at leaf1/1 (untagged) and leaf1/2 (double-tagged 100.7); servers 10.0.20.2 (direct, VLAN 20 at
/// leaf2/1, tagged) and 172.16.0.2 (behind the router 10.0.20.254 at leaf2/2); the same in IPv6.
fn net() -> TestNet {
    let mut n = TestNet::default();
    n.switch("leaf1", 1).switch("leaf2", 2);
    n.edge("leaf1", 1, 10);
    n.add_port("leaf1", 2, crate::net::PortRole::Edge, PortVlans { double: vec![(100, 7, 10)], ..Default::default() });
    n.add_port("leaf2", 1, crate::net::PortRole::Edge, PortVlans { tagged: vec![20], ..Default::default() });
    n.edge("leaf2", 2, 20).edge("leaf1", 3, 30).edge("leaf2", 3, 30);
    n.add_gateway(10, "10.0.10.1", 24).add_gateway(20, "10.0.20.1", 24);
    n.add_gateway(10, "2001:db8:10::1", 64).add_gateway(20, "2001:db8:20::1", 64);
    n.routes.push((Gateway { vlan: 20, ip: v4a("172.16.0.0").into(), prefix_len: 16 }, 20, v4a("10.0.20.254").into()));
    n.relays.insert(
        10,
        DhcpRelay { v4_servers: vec![v4a("10.0.20.2"), v4a("172.16.0.2")], v6_servers: vec![v6a("2001:db8:20::2")] },
    );
    n.hosts.insert((20, SERVER), host(20, SERVER, &["10.0.20.2", "2001:db8:20::2"], p("leaf2", 1)));
    let router = Mac([2, 0, 0, 0, 0, 254]);
    n.hosts.insert((20, router), host(20, router, &["10.0.20.254"], p("leaf2", 2)));
    n
}

fn discover(broadcast: bool) -> v4::Message {
    let mut m = v4::Message::default();
    m.set_opcode(v4::Opcode::BootRequest).set_chaddr(&CLIENT.0).set_xid(7);
    if broadcast {
        m.set_flags(v4::Flags::default().set_broadcast());
    }
    m.opts_mut().insert(v4::DhcpOption::MessageType(v4::MessageType::Discover));
    m
}

fn from_client(data: &[u8], tags: Tags) -> Vec<u8> {
    let link = Link { dst: Mac::BROADCAST, src: CLIENT, tags };
    udp(link, (Ipv4Addr::UNSPECIFIED.into(), 68), (Ipv4Addr::BROADCAST.into(), 67), data).unwrap()
}

fn give(m: &mut dyn PacketMachine, net: &TestNet, at: &PortRef, bytes: &[u8], now: Nanos) -> Vec<Output> {
    let frame = Frame::parse(bytes).unwrap();
    let mut out = Vec::new();
    m.handle(&Input::PacketIn { at, frame: &frame, why: Default::default() }, net, now, &mut out);
    out
}

/// Port, tags, link addresses, IP addresses, ports and data of a sent UDP packet.
#[derive(Debug, PartialEq)]
struct Sent {
    at: PortRef,
    tags: Tags,
    src: Mac,
    dst: Mac,
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    data: Vec<u8>,
}

fn sent(out: &Output) -> Sent {
    let Output::PacketOut { at, frame } = out else { panic!("{out:?}") };
    let f = Frame::parse(frame).unwrap();
    let ip = Ip::parse(&f).unwrap();
    let u = ip.udp().unwrap();
    Sent {
        at: at.clone(),
        tags: f.tags,
        src: f.src,
        dst: f.dst,
        from: (ip.src, u.src),
        to: (ip.dst, u.dst),
        data: u.data.to_vec(),
    }
}

/// What the server answers to a relayed message, as a frame at its leaf.
fn offer(relayed: &[u8], from: &str, keep_82: bool) -> Vec<u8> {
    let asked = v4::Message::from_bytes(relayed).unwrap();
    let mut m = v4::Message::default();
    m.set_opcode(v4::Opcode::BootReply).set_chaddr(&CLIENT.0).set_xid(asked.xid()).set_flags(asked.flags());
    m.set_giaddr(asked.giaddr()).set_yiaddr(v4a("10.0.10.50"));
    m.opts_mut().insert(v4::DhcpOption::MessageType(v4::MessageType::Offer));
    if keep_82 && let Some(o) = asked.opts().get(v4::OptionCode::RelayAgentInformation) {
        m.opts_mut().insert(o.clone());
    }
    let link = Link { dst: ROUTER2, src: SERVER, tags: Tags::One(20) };
    udp(link, (v4a(from).into(), 67), (asked.giaddr().into(), 67), &m.to_vec().unwrap()).unwrap()
}

#[test]
fn discover_goes_to_every_server_and_the_offer_to_the_clients_port() {
    let n = net();
    let mut m = DhcpRelay4::default();
    let out = give(&mut m, &n, &p("leaf1", 1), &from_client(&discover(false).to_vec().unwrap(), Tags::None), 0);
    assert_eq!(out.len(), 2);
    let (direct, routed) = (sent(&out[0]), sent(&out[1]));
    assert_eq!(
        (direct.at.clone(), direct.tags, direct.src, direct.dst),
        (p("leaf2", 1), Tags::One(20), ROUTER2, SERVER)
    );
    assert_eq!((direct.from, direct.to), ((v4a("10.0.10.1").into(), 67), (v4a("10.0.20.2").into(), 67)));
    assert_eq!(
        (routed.at.clone(), routed.dst, routed.to.0),
        (p("leaf2", 2), Mac([2, 0, 0, 0, 0, 254]), v4a("172.16.0.2").into())
    );
    let seen = v4::Message::from_bytes(&direct.data).unwrap();
    assert_eq!((seen.giaddr(), seen.hops(), seen.xid()), (v4a("10.0.10.1"), 1, 7));
    assert_eq!(Dhcp4::parse(&direct.data).unwrap().circuit_id(), Some(&b"leaf1/1:10"[..]));

    let out = give(&mut m, &n, &p("leaf2", 1), &offer(&direct.data, "10.0.20.2", true), 0);
    let back = sent(&out[0]);
    assert_eq!((out.len(), back.at, back.tags, back.src, back.dst), (1, p("leaf1", 1), Tags::None, ROUTER1, CLIENT));
    assert_eq!((back.from, back.to), ((v4a("10.0.10.1").into(), 67), (v4a("10.0.10.50").into(), 68)));
    let seen = v4::Message::from_bytes(&back.data).unwrap();
    assert!(seen.opts().get(v4::OptionCode::RelayAgentInformation).is_none());
    assert_eq!(seen.opts().msg_type(), Some(v4::MessageType::Offer));
}

#[test]
fn broadcast_flag_and_double_tags_are_kept() {
    let n = net();
    let mut m = DhcpRelay4::default();
    let out = give(&mut m, &n, &p("leaf1", 2), &from_client(&discover(true).to_vec().unwrap(), Tags::Two(100, 7)), 0);
    let direct = sent(&out[0]);
    assert_eq!(Dhcp4::parse(&direct.data).unwrap().circuit_id(), Some(&b"leaf1/2:100.7"[..]));
    let back = sent(&give(&mut m, &n, &p("leaf2", 1), &offer(&direct.data, "10.0.20.2", true), 0)[0]);
    assert_eq!(
        (back.at, back.tags, back.dst, back.to.0),
        (p("leaf1", 2), Tags::Two(100, 7), Mac::BROADCAST, Ipv4Addr::BROADCAST.into())
    );
}

#[test]
fn a_server_without_option_82_reaches_the_client_by_its_host_or_everywhere() {
    let mut n = net();
    let mut m = DhcpRelay4::default();
    let out = give(&mut m, &n, &p("leaf1", 1), &from_client(&discover(false).to_vec().unwrap(), Tags::None), 0);
    let reply = offer(&sent(&out[0]).data, "10.0.20.2", false);
    let out = give(&mut m, &n, &p("leaf2", 1), &reply, 0);
    assert_eq!(out.iter().map(|o| sent(o).at).collect::<Vec<_>>(), [p("leaf1", 1), p("leaf1", 2)]);
    n.hosts.insert((10, CLIENT), host(10, CLIENT, &[], p("leaf1", 2)));
    let out = give(&mut m, &n, &p("leaf2", 1), &reply, 0);
    assert_eq!(out.iter().map(|o| sent(o).at).collect::<Vec<_>>(), [p("leaf1", 2)]);
}

#[test]
fn an_answer_finds_its_way_at_another_controller() {
    let n = net();
    let out = give(
        &mut DhcpRelay4::default(),
        &n,
        &p("leaf1", 1),
        &from_client(&discover(false).to_vec().unwrap(), Tags::None),
        0,
    );
    let reply = offer(&sent(&out[0]).data, "10.0.20.2", true);
    assert_eq!(sent(&give(&mut DhcpRelay4::default(), &n, &p("leaf2", 1), &reply, 0)[0]).at, p("leaf1", 1));
}

#[test]
fn what_the_v4_relay_refuses() {
    let n = net();
    let mut m = DhcpRelay4::default();
    let at = p("leaf1", 1);
    let mut refused = |data: Vec<u8>| {
        let out = give(&mut m, &n, &at, &from_client(&data, Tags::None), 0);
        assert!(out.is_empty(), "{out:?}");
    };
    let mut far = discover(false);
    far.set_hops(16);
    refused(far.to_vec().unwrap());
    let mut ours = discover(false);
    ours.set_giaddr(v4a("10.0.20.1"));
    refused(ours.to_vec().unwrap());
    let mut other = discover(false);
    other.set_chaddr(&[2, 0, 0, 0, 0, 66]);
    refused(other.to_vec().unwrap());
    let with_82 = {
        let d = discover(false).to_vec().unwrap();
        let info = crate::wire::dhcp::RelayInfo { circuit_id: b"leaf2/1:20", remote_id: b"" };
        let mut b = Dhcp4::parse(&d).unwrap().relayed(Ipv4Addr::UNSPECIFIED, Some(info));
        b[3] = 0;
        b
    };
    refused(with_82);
    refused(vec![1; 300]);
    assert!(m.counters().contains(&("refused", 5)));

    // a stranger answers: reported once, and never passed on
    let out = give(&mut m, &n, &at, &from_client(&discover(false).to_vec().unwrap(), Tags::None), 0);
    let data = sent(&out[0]).data;
    for round in 0..3 {
        let out = give(
            &mut m,
            &n,
            &p("leaf2", 2),
            &{
                let mut f = offer(&data, "10.0.20.66", true);
                f.drain(12..16); // without tag on this port
                f
            },
            0,
        );
        assert_eq!(out.len(), usize::from(round == 0), "{out:?}");
        if let Some(Output::Alarm(a)) = out.first() {
            assert_eq!((a.kind, a.subject.as_str()), (AlarmKind::RogueDhcp, "leaf2/2"));
        }
    }
    // a circuit id that names a VLAN the port does not have
    let moved = {
        let d = discover(false).to_vec().unwrap();
        let info = crate::wire::dhcp::RelayInfo { circuit_id: b"leaf2/1:20", remote_id: b"" };
        Dhcp4::parse(&d).unwrap().relayed(v4a("10.0.10.1"), Some(info))
    };
    assert!(give(&mut m, &n, &p("leaf2", 1), &offer(&moved, "10.0.20.2", true), 0).is_empty());
}

#[test]
fn behind_another_relay_giaddr_stays_and_no_option_82_is_added() {
    let n = net();
    let mut m = DhcpRelay4::default();
    let mut d = discover(false);
    d.set_giaddr(v4a("192.168.5.1")).set_hops(1);
    let link = Link { dst: ROUTER1, src: Mac([2, 0, 0, 0, 0, 77]), tags: Tags::None };
    let frame = udp(link, (v4a("10.0.10.77").into(), 67), (v4a("10.0.10.1").into(), 67), &d.to_vec().unwrap()).unwrap();
    let out = give(&mut m, &n, &p("leaf1", 1), &frame, 0);
    let seen = v4::Message::from_bytes(&sent(&out[0]).data).unwrap();
    assert_eq!((seen.giaddr(), seen.hops()), (v4a("192.168.5.1"), 2));
    assert!(seen.opts().get(v4::OptionCode::RelayAgentInformation).is_none());
}

#[test]
fn an_unknown_server_is_asked_for_and_the_packet_waits_a_moment() {
    let mut n = net();
    let known = n.hosts.clone();
    n.hosts.clear();
    let mut m = DhcpRelay4::default();
    let out = give(&mut m, &n, &p("leaf1", 1), &from_client(&discover(false).to_vec().unwrap(), Tags::None), SECONDS);
    let asked: Vec<Ipv4Addr> = out
        .iter()
        .map(|o| {
            let Output::PacketOut { frame, .. } = o else { panic!() };
            let f = Frame::parse(frame).unwrap();
            assert_eq!(f.ether_type, ETH_ARP);
            Arp::parse(f.payload).unwrap().target_ip
        })
        .collect();
    assert_eq!(asked, [v4a("10.0.20.2"), v4a("10.0.20.2"), v4a("10.0.20.254"), v4a("10.0.20.254")]);
    n.hosts = known;
    let mut out = Vec::new();
    m.handle(&Input::Changed(Change::Host { vlan: 20, mac: SERVER }), &n, SECONDS, &mut out);
    assert_eq!(out.iter().map(|o| sent(o).at).collect::<Vec<_>>(), [p("leaf2", 1), p("leaf2", 2)]);
    assert_eq!(m.next_timeout(), None);
    // one that never comes up is given up
    n.hosts.clear();
    give(&mut m, &n, &p("leaf1", 1), &from_client(&discover(false).to_vec().unwrap(), Tags::None), SECONDS);
    m.handle(&Input::Tick, &n, m.next_timeout().unwrap(), &mut out);
    assert_eq!(m.next_timeout(), None);
    assert!(m.counters().contains(&("unreachable", 2)));
}

#[test]
fn without_a_relay_the_vlan_hears_it() {
    let n = net();
    let out = give(
        &mut DhcpRelay4::default(),
        &n,
        &p("leaf1", 3),
        &from_client(&discover(false).to_vec().unwrap(), Tags::None),
        0,
    );
    assert_eq!(out.iter().map(|o| sent(o).at).collect::<Vec<_>>(), [p("leaf2", 3)]);
}

const GROUP: &str = "ff02::1:2";

fn v6_frame(from: &str, to: &str, dst: Mac, src: Mac, tags: Tags, data: &[u8]) -> Vec<u8> {
    let port = if data[0] == RELAY_REPLY { 547 } else { 546 };
    udp(Link { dst, src, tags }, (v6a(from).into(), port), (v6a(to).into(), 547), data).unwrap()
}

#[test]
fn v6_solicit_to_the_server_and_the_answer_back() {
    let n = net();
    let mut m = DhcpRelay6::default();
    let solicit = v6::Message::new(v6::MessageType::Solicit).to_vec().unwrap();
    let group = Mac::for_multicast6(v6a(GROUP));
    let out =
        give(&mut m, &n, &p("leaf1", 2), &v6_frame("fe80::9", GROUP, group, CLIENT, Tags::Two(100, 7), &solicit), 0);
    let to_server = sent(&out[0]);
    assert_eq!(
        (out.len(), to_server.at.clone(), to_server.tags, to_server.dst),
        (1, p("leaf2", 1), Tags::One(20), SERVER)
    );
    assert_eq!(
        (to_server.from, to_server.to),
        ((v6a("2001:db8:10::1").into(), 547), (v6a("2001:db8:20::2").into(), 547))
    );
    let relay = Relay6::parse(&to_server.data).unwrap();
    assert_eq!(
        (relay.kind, relay.hop_count, relay.link, relay.peer),
        (RELAY_FORWARD, 0, v6a("2001:db8:10::1"), v6a("fe80::9"))
    );
    assert_eq!((relay.interface_id, relay.message), (Some(&b"leaf1/2:100.7"[..]), &solicit[..]));
    // RFC 6939
    let lladdr = [0u8, 79, 0, 8, 0, 1, 2, 0, 0, 0, 0, 9];
    assert!(to_server.data.windows(12).any(|w| w == lladdr));

    let advertise = v6::Message::new(v6::MessageType::Advertise).to_vec().unwrap();
    let reply = Relay6 { kind: RELAY_REPLY, message: &advertise, ..relay }.to_bytes(None);
    let out = give(
        &mut m,
        &n,
        &p("leaf2", 1),
        &v6_frame("2001:db8:20::2", "2001:db8:10::1", ROUTER2, SERVER, Tags::One(20), &reply),
        0,
    );
    let back = sent(&out[0]);
    assert_eq!((back.at, back.tags, back.dst), (p("leaf1", 2), Tags::Two(100, 7), CLIENT));
    assert_eq!((back.from, back.to), ((ROUTER1.link_local().into(), 547), (v6a("fe80::9").into(), 546)));
    assert_eq!(back.data, advertise);

    // after a restart nobody remembers the Ethernet address of fe80::9: all nodes take the frame
    let out = give(
        &mut DhcpRelay6::default(),
        &n,
        &p("leaf2", 1),
        &v6_frame("2001:db8:20::2", "2001:db8:10::1", ROUTER2, SERVER, Tags::One(20), &reply),
        0,
    );
    assert_eq!(sent(&out[0]).dst, Mac([0x33, 0x33, 0, 0, 0, 1]));
    // from somebody who is no server
    let out = give(
        &mut m,
        &n,
        &p("leaf2", 1),
        &v6_frame("2001:db8:20::66", "2001:db8:10::1", ROUTER2, SERVER, Tags::One(20), &reply),
        0,
    );
    assert!(out.is_empty());
}

#[test]
fn v6_nested_relays() {
    let n = net();
    let mut m = DhcpRelay6::default();
    let solicit = v6::Message::new(v6::MessageType::Solicit).to_vec().unwrap();
    let inner = |hop_count| {
        let link = v6a("2001:db8:77::1");
        Relay6 {
            kind: RELAY_FORWARD,
            hop_count,
            link,
            peer: v6a("fe80::5"),
            interface_id: Some(b"eth1"),
            message: &solicit,
        }
        .to_bytes(None)
    };
    let group = Mac::for_multicast6(v6a(GROUP));
    let relay_mac = Mac([2, 0, 0, 0, 0, 77]);
    for (from, link) in [("2001:db8:10::77", "::"), ("fe80::77", "2001:db8:10::1")] {
        let out = give(&mut m, &n, &p("leaf1", 1), &v6_frame(from, GROUP, group, relay_mac, Tags::None, &inner(3)), 0);
        let data = sent(&out[0]).data;
        let outer = Relay6::parse(&data).unwrap();
        assert_eq!((outer.hop_count, outer.link, outer.peer), (4, v6a(link), v6a(from)));
        assert_eq!(Relay6::parse(outer.message).unwrap().interface_id, Some(&b"eth1"[..]));
        // the answer goes to the other relay's server port
        let answer = Relay6 { kind: RELAY_REPLY, ..Relay6::parse(outer.message).unwrap() }.to_bytes(None);
        let reply = Relay6 { kind: RELAY_REPLY, message: &answer, ..outer }.to_bytes(None);
        let out = give(
            &mut m,
            &n,
            &p("leaf2", 1),
            &v6_frame("2001:db8:20::2", "2001:db8:10::1", ROUTER2, SERVER, Tags::One(20), &reply),
            0,
        );
        let back = sent(&out[0]);
        assert_eq!((back.at, back.dst, back.to), (p("leaf1", 1), relay_mac, (v6a(from).into(), 547)));
        assert_eq!(back.data, answer);
    }
    let out =
        give(&mut m, &n, &p("leaf1", 1), &v6_frame("fe80::77", GROUP, group, relay_mac, Tags::None, &inner(8)), 0);
    assert!(out.is_empty(), "too many hops");
}

#[test]
fn circuits_read_back() {
    for (tags, text) in [(Tags::None, "leaf1/1:10"), (Tags::One(10), "leaf1/1:10"), (Tags::Two(5, 6), "leaf1/1:5.6")] {
        let c = Circuit::new(p("leaf1", 1), 10, tags);
        assert_eq!(c.to_string(), text);
        assert_eq!(Circuit::parse(text.as_bytes()), Some(c));
    }
    for bad in
        ["", "leaf1/1", "leaf1:10", "leaf1/1:0", "leaf1/1:4095", "leaf1/x:10", "leaf1/1:5.", "/1:10", "leaf1/1:5.6.7"]
    {
        assert_eq!(Circuit::parse(bad.as_bytes()), None, "{bad}");
    }
}
