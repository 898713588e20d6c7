//! Packets to neighbours that are not known, and packets without a hop left.

use super::Unreachable;
use crate::machine::{Change, Host, Input, Learned, Nanos, Output, PacketMachine, SECONDS, Why};
use crate::net::PortRef;
use crate::testnet::TestNet;
use crate::wire::arp::{Arp, Op};
use crate::wire::icmp::message;
use crate::wire::ip::{Ip, Link, PROTO_ICMP, ipv4, ipv6, udp};
use crate::wire::{ETH_ARP, Frame, Mac, Tags};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ROUTER: Mac = Mac([2, 0, 0, 0, 0xff, 1]);
const ASKER: Mac = Mac([2, 0, 0, 0, 0, 7]);
const SILENT: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn p(device: &str, port: u32) -> PortRef {
    PortRef::new(device, port)
}

fn host(vlan: u16, mac: Mac, ip: &str, at: PortRef) -> Host {
    Host { vlan, mac, ips: vec![ip.parse().unwrap()], locations: vec![at], tags: vec![], learned: Learned::Arp }
}

/// The asker in VLAN 10 on leaf1, VLAN 20 on leaf2 with nobody known.
fn net() -> TestNet {
    let mut n = TestNet::default();
    n.switch("leaf1", 1).switch("leaf2", 2);
    n.edge("leaf1", 3, 10).edge("leaf2", 4, 20).edge("leaf2", 5, 20);
    n.link(("leaf2", 1), ("spine1", 2));
    for (vlan, v4, v6) in [(10, "10.0.10.1", "2001:db8:10::1"), (20, "10.0.20.1", "2001:db8:20::1")] {
        n.add_gateway(vlan, v4, 24).add_gateway(vlan, v6, 64);
    }
    n.hosts.insert((10, ASKER), host(10, ASKER, "10.0.10.7", p("leaf1", 3)));
    n
}

fn link() -> Link {
    Link { dst: ROUTER, src: ASKER, tags: Tags::None }
}

fn datagram(ttl: u8, to: [u8; 4]) -> Vec<u8> {
    let frame = udp(link(), (IpAddr::from([10, 0, 10, 7]), 5000), (to.into(), 33434), b"hello").unwrap();
    let payload = frame[34..34 + 8 + 5].to_vec();
    ipv4(link(), Ipv4Addr::new(10, 0, 10, 7), to.into(), 17, ttl, &[], &payload)
}

fn give(
    m: &mut Unreachable,
    net: &TestNet,
    at: &PortRef,
    bytes: &[u8],
    why: Why,
    now: Nanos,
) -> Vec<(PortRef, Vec<u8>)> {
    let frame = Frame::parse(bytes).unwrap();
    let mut out = Vec::new();
    m.handle(&Input::PacketIn { at, frame: &frame, why }, net, now, &mut out);
    packets(out)
}

fn packets(out: Vec<Output>) -> Vec<(PortRef, Vec<u8>)> {
    let packet = |o| match o {
        Output::PacketOut { at, frame } => (at, frame),
        other => panic!("{other:?}"),
    };
    out.into_iter().map(packet).collect()
}

fn tick(m: &mut Unreachable, net: &TestNet, now: Nanos) -> Vec<(PortRef, Vec<u8>)> {
    let mut out = Vec::new();
    m.handle(&Input::Tick, net, now, &mut out);
    packets(out)
}

#[test]
fn a_silent_host_is_asked_for_and_gets_the_packet_that_waited() {
    let (mut m, mut n) = (Unreachable::default(), net());
    let asked = give(&mut m, &n, &p("leaf1", 3), &datagram(64, [10, 0, 20, 9]), Why::Unknown, 0);
    let ports: Vec<&PortRef> = asked.iter().map(|(at, _)| at).collect();
    assert_eq!(ports, [&p("leaf2", 4), &p("leaf2", 5)], "every port of its VLAN");
    let arp = Arp::parse(Frame::parse(&asked[0].1).unwrap().payload).unwrap();
    assert_eq!((arp.op, arp.target_ip, arp.sender_ip), (Op::Request, [10, 0, 20, 9].into(), [10, 0, 20, 1].into()));
    // A second packet asks nobody again.
    assert!(give(&mut m, &n, &p("leaf1", 3), &datagram(64, [10, 0, 20, 9]), Why::Unknown, 1).is_empty());

    n.hosts.insert((20, SILENT), host(20, SILENT, "10.0.20.9", p("leaf2", 5)));
    let mut out = Vec::new();
    m.handle(&Input::Changed(Change::Host { vlan: 20, mac: SILENT }), &n, 2, &mut out);
    let sent = packets(out);
    assert_eq!(sent.len(), 2);
    let frame = Frame::parse(&sent[0].1).unwrap();
    assert_eq!((&sent[0].0, frame.dst, frame.src), (&p("leaf2", 5), SILENT, Mac([2, 0, 0, 0, 0xff, 2])));
    let ip = Ip::parse(&frame).unwrap();
    assert_eq!((ip.ttl, ip.udp().unwrap().data), (63, &b"hello"[..]));
    assert_eq!(m.next_timeout(), None);
}

#[test]
fn nobody_answers() {
    let (mut m, n) = (Unreachable::default(), net());
    let packet = datagram(64, [10, 0, 20, 9]);
    give(&mut m, &n, &p("leaf1", 3), &packet, Why::Unknown, 0);
    for second in 1..=2 {
        assert_eq!(m.next_timeout(), Some(second * SECONDS));
        let again = tick(&mut m, &n, second * SECONDS);
        assert!(again.iter().all(|(_, f)| Frame::parse(f).unwrap().ether_type == ETH_ARP) && again.len() == 2);
    }
    let told = tick(&mut m, &n, 3 * SECONDS);
    assert_eq!((told.len(), &told[0].0), (1, &p("leaf1", 3)));
    let frame = Frame::parse(&told[0].1).unwrap();
    let ip = Ip::parse(&frame).unwrap();
    assert_eq!((frame.dst, ip.src, ip.dst), (ASKER, [10, 0, 10, 1].into(), [10, 0, 10, 7].into()));
    let icmp = message(&ip).unwrap();
    assert_eq!(&icmp[..2], [3, 1]);
    assert_eq!(&icmp[8..], &packet[14..14 + 33], "the packet, without padding");
    assert_eq!(m.next_timeout(), None);
}

#[test]
fn the_last_hop_is_told_of_in_both_families() {
    let (mut m, n) = (Unreachable::default(), net());
    let told = give(&mut m, &n, &p("leaf1", 3), &datagram(1, [10, 0, 20, 9]), Why::Expired, 0);
    let frame = Frame::parse(&told[0].1).unwrap();
    let ip = Ip::parse(&frame).unwrap();
    assert_eq!((ip.src, &message(&ip).unwrap()[..2]), ([10, 0, 10, 1].into(), &[11, 0][..]));

    let (from, to): (Ipv6Addr, Ipv6Addr) = ("2001:db8:10::7".parse().unwrap(), "2001:db8:20::9".parse().unwrap());
    let told = give(&mut m, &n, &p("leaf1", 3), &ipv6(link(), from, to, 17, 1, &[0; 2000]), Why::Expired, 0);
    assert!(told[0].1.len() <= 14 + 1280, "fits the least MTU");
    let frame = Frame::parse(&told[0].1).unwrap();
    let ip = Ip::parse(&frame).unwrap();
    let gateway: IpAddr = "2001:db8:10::1".parse().unwrap();
    assert_eq!((ip.src, ip.dst, &message(&ip).unwrap()[..2]), (gateway, from.into(), &[3, 0][..]));
}

#[test]
fn a_far_leaf_speaks_as_the_gateway_there_and_reaches_the_sender() {
    let (mut m, n) = (Unreachable::default(), net());
    let mut packet = datagram(1, [10, 0, 20, 9]);
    packet[6..12].copy_from_slice(&ROUTER.0);
    let told = give(&mut m, &n, &p("leaf2", 1), &packet, Why::Expired, 0);
    let frame = Frame::parse(&told[0].1).unwrap();
    assert_eq!((&told[0].0, frame.dst, frame.src), (&p("leaf1", 3), ASKER, ROUTER));
    assert_eq!(Ip::parse(&frame).unwrap().src, IpAddr::from([10, 0, 20, 1]));
}

#[test]
fn errors_are_few_and_never_about_errors() {
    let (mut m, n) = (Unreachable::default(), net());
    let send = |m: &mut Unreachable, bytes: &[u8], now| give(m, &n, &p("leaf1", 3), bytes, Why::Expired, now).len();
    let about = |kind: u8, to: [u8; 4]| {
        ipv4(link(), Ipv4Addr::new(10, 0, 10, 7), to.into(), PROTO_ICMP, 1, &[], &[kind, 0, 0, 0, 0, 0, 0, 0])
    };
    assert_eq!(send(&mut m, &about(8, [10, 0, 20, 9]), 0), 1);
    assert_eq!(send(&mut m, &about(3, [10, 0, 20, 9]), 0), 0, "about an error");
    assert_eq!(send(&mut m, &about(8, [224, 0, 0, 5]), 0), 0, "about a packet to many");
    let mut forged = about(8, [10, 0, 20, 9]);
    forged[6..12].copy_from_slice(&ROUTER.0);
    assert_eq!(send(&mut m, &forged, 0), 0, "a router's address on an edge port");
    let sent: usize = (0..1000u64).map(|ms| send(&mut m, &datagram(1, [10, 0, 20, 9]), ms * SECONDS / 1000)).sum();
    assert!((100..=150).contains(&sent), "{sent} in a second");
}
