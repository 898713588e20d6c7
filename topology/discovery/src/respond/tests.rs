//! Answers and refusals, byte by byte where it matters.

use super::*;
use crate::machine::{Change, Host, Input, Learned, Nanos, PacketMachine, SECONDS};
use crate::net::{PortVlans, RouterAdvert};
use crate::testnet::TestNet;
use crate::wire::arp::{Arp, Op};
use crate::wire::ip::{Ip, Link};
use crate::wire::ndp::Ndp;
use crate::wire::{ALL_NODES, ALL_ROUTERS, Mac, Tags, icmp, ip, solicited_node};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ROUTER: Mac = Mac([2, 0, 0, 0, 0xff, 1]);
const ROUTER2: Mac = Mac([2, 0, 0, 0, 0xff, 2]);

fn p(device: &str, port: u32) -> PortRef {
    PortRef::new(device, port)
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

fn a4(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 10, n)
}

fn a6(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, n)
}

/// VLAN 10 on leaf1/1 (untagged), leaf1/2 (tagged), leaf2/1 (double-tagged 100.7); h9 is at leaf2/1.
fn net() -> TestNet {
    let mut n = TestNet::default();
    n.switch("leaf1", 1).switch("leaf2", 2);
    n.edge("leaf1", 1, 10);
    n.add_port("leaf1", 2, crate::net::PortRole::Edge, PortVlans { tagged: vec![10], ..Default::default() });
    n.add_port("leaf2", 1, crate::net::PortRole::Edge, PortVlans { double: vec![(100, 7, 10)], ..Default::default() });
    n.edge("leaf2", 2, 20);
    n.add_gateway(10, "10.0.10.1", 24).add_gateway(10, "2001:db8:10::1", 64).add_gateway(20, "10.0.20.1", 24);
    let h9 = Host {
        vlan: 10,
        mac: mac(9),
        ips: vec![a4(9).into(), a6(9).into()],
        locations: vec![p("leaf2", 1)],
        tags: vec![100, 7],
        learned: Learned::Arp,
    };
    n.hosts.insert((10, mac(9)), h9);
    n
}

fn packets(out: Vec<Output>) -> Vec<(PortRef, Vec<u8>)> {
    out.into_iter()
        .map(|o| match o {
            Output::PacketOut { at, frame } => (at, frame),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn give(m: &mut dyn PacketMachine, net: &TestNet, at: &PortRef, bytes: &[u8], now: Nanos) -> Vec<(PortRef, Vec<u8>)> {
    let frame = Frame::parse(bytes).unwrap();
    let mut out = Vec::new();
    m.handle(&Input::PacketIn { at, frame: &frame, why: Default::default() }, net, now, &mut out);
    packets(out)
}

fn who_has(from: u8, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    Arp { op: Op::Request, sender_mac: mac(from), sender_ip: sender, target_mac: Mac::ZERO, target_ip: target }.frame(
        Mac::BROADCAST,
        mac(from),
        Tags::None,
    )
}

#[test]
fn gateway_arp_byte_by_byte() {
    let out = give(&mut Neighbors::default(), &net(), &p("leaf1", 1), &who_has(5, a4(5), a4(1)), 0);
    let mut want = vec![2, 0, 0, 0, 0, 5, 2, 0, 0, 0, 0xff, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2];
    want.extend_from_slice(&[2, 0, 0, 0, 0xff, 1, 10, 0, 10, 1, 2, 0, 0, 0, 0, 5, 10, 0, 10, 5]);
    want.resize(60, 0);
    assert_eq!(out, [(p("leaf1", 1), want)]);
}

#[test]
fn known_hosts_are_answered_for_and_unknown_ones_flooded_with_each_ports_tags() {
    let mut m = Neighbors::default();
    let out = give(&mut m, &net(), &p("leaf1", 1), &who_has(5, a4(5), a4(9)), 0);
    let reply = Frame::parse(&out[0].1).unwrap();
    assert_eq!((out.len(), out[0].0.clone(), reply.src), (1, p("leaf1", 1), ROUTER));
    assert_eq!(Arp::parse(reply.payload).unwrap().sender_mac, mac(9));

    let out = give(&mut m, &net(), &p("leaf1", 1), &who_has(5, a4(5), a4(77)), 0);
    let where_to: Vec<_> = out.iter().map(|(at, f)| (at.clone(), Frame::parse(f).unwrap().tags)).collect();
    assert_eq!(where_to, [(p("leaf1", 2), Tags::One(10)), (p("leaf2", 1), Tags::Two(100, 7))]);
    // On the other leaf the gateway asks: the asker is reached through it from there.
    let asks = |n: usize| {
        let frame = Frame::parse(&out[n].1).unwrap();
        let arp = Arp::parse(frame.payload).unwrap();
        (frame.src, arp.sender_mac, arp.sender_ip, arp.target_ip)
    };
    assert_eq!(asks(0), (mac(5), mac(5), a4(5), a4(77)));
    assert_eq!(asks(1), (ROUTER2, ROUTER2, a4(1), a4(77)));
}

#[test]
fn announcements_name_the_gateway_on_other_leaves() {
    let mut m = Neighbors::default();
    let said = |m: &mut Neighbors, bytes: &[u8]| -> Vec<(PortRef, Mac, Vec<u8>)> {
        let out = give(m, &net(), &p("leaf1", 1), bytes, 0);
        out.into_iter().map(|(at, f)| (at, Frame::parse(&f).unwrap().src, f)).collect()
    };
    let out = said(&mut m, &who_has(5, a4(5), a4(5)));
    let heard: Vec<_> = out.iter().map(|(at, src, _)| (at.clone(), *src)).collect();
    assert_eq!(heard, [(p("leaf1", 2), mac(5)), (p("leaf2", 1), ROUTER2)]);
    let arp = Arp::parse(Frame::parse(&out[1].2).unwrap().payload).unwrap();
    assert!(arp.is_gratuitous() && arp.sender_mac == ROUTER2 && arp.sender_ip == a4(5));

    let all = Link { dst: Mac::for_multicast6(ALL_NODES), src: mac(5), tags: Tags::None };
    let na =
        Ndp::NeighborAdvert { target: a6(5), router: false, solicited: false, override_: true, lladdr: Some(mac(5)) };
    let out = said(&mut m, &na.frame(all, a6(5), ALL_NODES));
    let heard: Vec<_> = out.iter().map(|(at, src, _)| (at.clone(), *src)).collect();
    assert_eq!(heard, [(p("leaf1", 2), mac(5)), (p("leaf2", 1), ROUTER2)]);
    let (_, _, told) = ndp_of(&out[1].2);
    assert!(matches!(told, Ndp::NeighborAdvert { target, lladdr: Some(ROUTER2), .. } if target == a6(5)));
}

#[test]
fn a_host_behind_a_dead_port_is_asked_for() {
    let (mut m, n) = (Neighbors::default(), net());
    let at = p("leaf2", 1);
    for (up, answers) in [(false, false), (true, true)] {
        let mut out = Vec::new();
        m.handle(&Input::Port { at: &at, up }, &n, 0, &mut out);
        let out = give(&mut m, &n, &p("leaf1", 1), &who_has(5, a4(5), a4(9)), 0);
        assert_eq!(out.iter().any(|(to, _)| *to == p("leaf1", 1)), answers, "port up: {up}");
    }
}

#[test]
fn probes_for_a_taken_address_reach_its_owner_alone() {
    let out = give(&mut Neighbors::default(), &net(), &p("leaf1", 1), &who_has(5, Ipv4Addr::UNSPECIFIED, a4(9)), 0);
    assert_eq!((out.len(), out[0].0.clone()), (1, p("leaf2", 1)));
    let f = Frame::parse(&out[0].1).unwrap();
    assert_eq!((f.tags, Arp::parse(f.payload).unwrap().is_probe()), (Tags::Two(100, 7), true));
}

#[test]
fn what_is_not_answered() {
    let mut m = Neighbors::default();
    let n = net();
    let at = p("leaf1", 1);
    // outside of the subnet, another VLAN's gateway, a spoofed gateway, a forged sender
    assert!(give(&mut m, &n, &at, &who_has(5, a4(5), Ipv4Addr::new(192, 168, 0, 1)), 0).is_empty());
    assert!(give(&mut m, &n, &at, &who_has(5, a4(5), Ipv4Addr::new(10, 0, 20, 1)), 0).is_empty());
    assert!(give(&mut m, &n, &at, &who_has(5, a4(1), a4(9)), 0).is_empty());
    let forged =
        Arp { op: Op::Request, sender_mac: mac(66), sender_ip: a4(5), target_mac: Mac::ZERO, target_ip: a4(1) };
    assert!(give(&mut m, &n, &at, &forged.frame(Mac::BROADCAST, mac(5), Tags::None), 0).is_empty());
    // a question straight to a host is the switch's to forward; one to the gateway is ours
    let to9 = Arp { op: Op::Request, sender_mac: mac(5), sender_ip: a4(5), target_mac: mac(9), target_ip: a4(9) };
    assert!(give(&mut m, &n, &at, &to9.frame(mac(9), mac(5), Tags::None), 0).is_empty());
    let to1 = Arp { target_ip: a4(1), ..to9 };
    assert_eq!(give(&mut m, &n, &at, &to1.frame(ROUTER, mac(5), Tags::None), 0).len(), 1);
    // gratuitous ARP goes round
    assert_eq!(give(&mut m, &n, &at, &who_has(5, a4(5), a4(5)), 0).len(), 2);
    // and nothing is flooded where the switches do it
    let mut quiet = Neighbors::new(NeighborConfig { proxy: false });
    assert!(give(&mut quiet, &n, &at, &who_has(5, a4(5), a4(77)), 0).is_empty());
    assert_eq!(give(&mut quiet, &n, &at, &who_has(5, a4(5), a4(1)), 0).len(), 1);
}

fn solicit(from: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node(target);
    let lladdr = (!from.is_unspecified()).then_some(mac(5));
    let link = Link { dst: Mac::for_multicast6(group), src: mac(5), tags: Tags::None };
    Ndp::NeighborSolicit { target, lladdr }.frame(link, from, group)
}

fn ndp_of(bytes: &[u8]) -> (Mac, Ipv6Addr, Ndp) {
    let f = Frame::parse(bytes).unwrap();
    let ip = Ip::parse(&f).unwrap();
    (f.dst, ip.dst6().unwrap(), Ndp::parse(&ip).unwrap())
}

#[test]
fn gateway_and_proxy_neighbour_advertisements() {
    let mut m = Neighbors::default();
    let at = p("leaf1", 1);
    for target in [a6(1), ROUTER.link_local()] {
        let out = give(&mut m, &net(), &at, &solicit(a6(5), target), 0);
        let na = Ndp::NeighborAdvert { target, router: true, solicited: true, override_: true, lladdr: Some(ROUTER) };
        assert_eq!(ndp_of(&out[0].1), (mac(5), a6(5), na));
    }
    let out = give(&mut m, &net(), &at, &solicit(a6(5), a6(9)), 0);
    let na =
        Ndp::NeighborAdvert { target: a6(9), router: false, solicited: true, override_: false, lladdr: Some(mac(9)) };
    assert_eq!(ndp_of(&out[0].1), (mac(5), a6(5), na));
    // somebody wants the gateway's address: defended to all nodes
    let out = give(&mut m, &net(), &at, &solicit(Ipv6Addr::UNSPECIFIED, a6(1)), 0);
    let na =
        Ndp::NeighborAdvert { target: a6(1), router: true, solicited: false, override_: true, lladdr: Some(ROUTER) };
    assert_eq!(ndp_of(&out[0].1), (Mac([0x33, 0x33, 0, 0, 0, 1]), ALL_NODES, na));
    // somebody wants h9's: h9 hears of it
    let out = give(&mut m, &net(), &at, &solicit(Ipv6Addr::UNSPECIFIED, a6(9)), 0);
    assert_eq!((out.len(), out[0].0.clone()), (1, p("leaf2", 1)));
    // unknown: flooded
    assert_eq!(give(&mut m, &net(), &at, &solicit(a6(5), a6(77)), 0).len(), 2);
}

#[test]
fn pings_of_gateways_are_answered() {
    let n = net();
    let mut m = Echo::default();
    let at = p("leaf1", 1);
    let ping = |dst: IpAddr, to: Mac, tags: Tags| {
        let src: IpAddr = if dst.is_ipv4() { a4(5).into() } else { a6(5).into() };
        let mut req = vec![if dst.is_ipv4() { 8 } else { 128 }, 0, 0, 0, 1, 2, 0, 7];
        req.extend_from_slice(&[0xab; 40]);
        icmp::fill_checksum(&mut req, src, dst);
        let link = Link { dst: to, src: mac(5), tags };
        match (src, dst) {
            (IpAddr::V4(s), IpAddr::V4(d)) => ip::ipv4(link, s, d, 1, 64, &[], &req),
            (IpAddr::V6(s), IpAddr::V6(d)) => ip::ipv6(link, s, d, 58, 64, &req),
            _ => unreachable!(),
        }
    };
    for dst in [IpAddr::from(a4(1)), [10, 0, 20, 1].into(), a6(1).into(), ROUTER.link_local().into()] {
        let out = give(&mut m, &n, &at, &ping(dst, ROUTER, Tags::None), 0);
        let f = Frame::parse(&out[0].1).unwrap();
        let reply = Ip::parse(&f).unwrap();
        let body = icmp::message(&reply).unwrap();
        assert_eq!((f.dst, f.src, reply.src, reply.ttl), (mac(5), ROUTER, dst, 64));
        assert_eq!((body[0], &body[4..8]), (if dst.is_ipv4() { 0 } else { 129 }, &[1, 2, 0, 7][..]));
    }
    assert_eq!(give(&mut m, &n, &p("leaf1", 2), &ping(a4(1).into(), ROUTER, Tags::One(10)), 0).len(), 1);
    // a host, not the gateway; not to the router MAC; tags that the port does not have
    assert!(give(&mut m, &n, &at, &ping(a4(9).into(), ROUTER, Tags::None), 0).is_empty());
    assert!(give(&mut m, &n, &at, &ping(a4(1).into(), mac(77), Tags::None), 0).is_empty());
    assert!(give(&mut m, &n, &at, &ping(a4(1).into(), ROUTER, Tags::One(10)), 0).is_empty());
    let mut broken = ping(a4(1).into(), ROUTER, Tags::None);
    broken[50] ^= 1;
    assert!(give(&mut m, &n, &at, &broken, 0).is_empty());
}

struct Ra {
    net: TestNet,
    m: RouterAdverts,
    now: Nanos,
}

impl Ra {
    fn input(&mut self, input: &Input<'_>) -> Vec<(PortRef, Vec<u8>)> {
        let mut out = Vec::new();
        self.m.handle(input, &self.net, self.now, &mut out);
        packets(out)
    }

    fn run(&mut self, time: Nanos) -> Vec<(Nanos, PortRef, Vec<u8>)> {
        let end = self.now + time;
        let mut all = Vec::new();
        while let Some(t) = self.m.next_timeout().filter(|t| *t <= end) {
            self.now = self.now.max(t);
            let now = self.now;
            all.extend(self.input(&Input::Tick).into_iter().map(|(at, f)| (now, at, f)));
        }
        self.now = end;
        all
    }
}

#[test]
fn router_advertisements_periodic_solicited_and_the_last_one() {
    let mut net = net();
    net.adverts.insert(10, RouterAdvert { interval_s: 60, dns: vec![a6(53)], ..Default::default() });
    let mut w = Ra { net, m: RouterAdverts::new(7), now: SECONDS };
    assert!(w.input(&Input::Changed(Change::All)).is_empty());
    let first = w.run(SECONDS);
    assert_eq!(first.len(), 3, "one for each edge port of the VLAN");
    let (dst, ip, ra) = ndp_of(&first.iter().find(|(_, at, _)| *at == p("leaf2", 1)).unwrap().2);
    assert_eq!((dst, ip), (Mac([0x33, 0x33, 0, 0, 0, 1]), ALL_NODES));
    let Ndp::RouterAdvert(ra) = ra else { panic!() };
    assert_eq!((ra.lifetime_s, ra.lladdr, ra.dns.as_slice()), (1800, Some(Mac([2, 0, 0, 0, 0xff, 2])), &[a6(53)][..]));
    assert_eq!((ra.prefixes[0].addr, ra.prefixes[0].len, ra.prefixes[0].autonomous), (a6(0), 64, true));

    let later: Vec<Nanos> = w.run(600 * SECONDS).into_iter().filter(|x| x.1 == p("leaf1", 1)).map(|x| x.0).collect();
    assert!(later.windows(2).all(|t| t[1] - t[0] <= 61 * SECONDS && t[1] - t[0] >= 3 * SECONDS), "{later:?}");
    assert!((11..32).contains(&later.len()), "{}", later.len());

    // solicited with an address: straight back; without: to all, soon
    let link = Link { dst: Mac::for_multicast6(ALL_ROUTERS), src: mac(5), tags: Tags::None };
    let at = p("leaf1", 1);
    let rs = Ndp::RouterSolicit { lladdr: Some(mac(5)) }.frame(link, mac(5).link_local(), ALL_ROUTERS);
    let out = give(&mut w.m, &w.net, &at, &rs, w.now);
    assert_eq!((out.len(), ndp_of(&out[0].1).1), (1, mac(5).link_local()));
    let rs = Ndp::RouterSolicit { lladdr: None }.frame(link, Ipv6Addr::UNSPECIFIED, ALL_ROUTERS);
    for _ in 0..20 {
        assert!(give(&mut w.m, &w.net, &at, &rs, w.now).is_empty());
    }
    let soon: Vec<_> = w.run(3600 * crate::machine::MILLIS).into_iter().filter(|x| x.1 == at).collect();
    assert_eq!(soon.len(), 1, "twenty questions, one answer to all");

    // the prefix goes away: a last one that says so
    w.net.adverts.clear();
    let last = w.input(&Input::Changed(Change::Subnets));
    assert_eq!(last.len(), 3);
    assert!(last.iter().all(|(_, f)| matches!(ndp_of(f).2, Ndp::RouterAdvert(ra) if ra.lifetime_s == 0)));
    assert!(w.run(1000 * SECONDS).is_empty());
    // a solicitation where the fabric is no router reaches the others
    assert_eq!(give(&mut w.m, &w.net, &at, &rs, w.now).len(), 2);
}
