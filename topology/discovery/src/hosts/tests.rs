//! Hosts that speak, move, fall silent, lie and flood, on virtual time.

use super::*;
use crate::net::{DhcpRelay, PortVlans};
use crate::testnet::TestNet;
use crate::wire::arp::{Arp, Op};
use crate::wire::ip::{Ip, Link};
use crate::wire::ndp::Ndp;
use crate::wire::{Frame, solicited_node};
use std::net::Ipv4Addr;

fn p(device: &str, port: u32) -> PortRef {
    PortRef::new(device, port)
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 10, n])
}

/// A host as the world has it: where it really is and what it answers to.
struct Real {
    mac: Mac,
    ips: Vec<IpAddr>,
    at: Vec<PortRef>,
}

struct World {
    net: TestNet,
    machine: Hosts,
    hosts: Vec<Real>,
    now: Nanos,
    seen: Vec<Output>,
    asked: Vec<(PortRef, Vec<u8>)>,
}

impl World {
    fn new() -> World {
        let mut net = TestNet::default();
        net.switch("leaf1", 1).switch("leaf2", 2).switch("leaf3", 3);
        net.pairs.push(("leaf1".into(), "leaf2".into()));
        for leaf in ["leaf1", "leaf2", "leaf3"] {
            net.edge(leaf, 1, 10).edge(leaf, 2, 10).edge(leaf, 3, 10);
        }
        net.link(("leaf1", 9), ("spine1", 1));
        net.add_gateway(10, "10.0.10.1", 24).add_gateway(10, "2001:db8:10::1", 64);
        let machine = Hosts::new(HostsConfig::default());
        let mut w = World { net, machine, hosts: vec![], now: SECONDS, seen: vec![], asked: vec![] };
        for device in ["leaf1", "leaf2", "leaf3"] {
            w.input(&Input::Device { device, connected: true });
        }
        w
    }

    fn input(&mut self, input: &Input<'_>) {
        let mut out = Vec::new();
        self.machine.handle(input, &self.net, self.now, &mut out);
        self.route(out);
    }

    /// The world answers questions, the store keeps observations.
    fn route(&mut self, out: Vec<Output>) {
        self.net.observe(&out);
        for o in out {
            if let Output::PacketOut { at, frame } = &o {
                self.asked.push((at.clone(), frame.clone()));
                self.answer(at, frame);
            } else {
                self.seen.push(o);
            }
        }
    }

    fn answer(&mut self, at: &PortRef, bytes: &[u8]) {
        let q = Frame::parse(bytes).unwrap();
        let mut replies = Vec::new();
        for h in self.hosts.iter().filter(|h| h.at.contains(at)) {
            if !q.dst.is_group() && q.dst != h.mac {
                continue;
            }
            if let Ok(a) = Arp::parse(q.payload)
                && h.ips.contains(&a.target_ip.into())
            {
                let r = Arp {
                    op: Op::Reply,
                    sender_mac: h.mac,
                    sender_ip: a.target_ip,
                    target_mac: a.sender_mac,
                    target_ip: a.sender_ip,
                };
                replies.push(r.frame(q.src, h.mac, q.tags));
            } else if let Ok(parsed) = Ip::parse(&q)
                && let Ok(Ndp::NeighborSolicit { target, .. }) = Ndp::parse(&parsed)
                && h.ips.contains(&target.into())
            {
                let asker = parsed.src6().unwrap();
                replies.push(crate::wire::ndp::advertise(target, h.mac, false, true, (q.src, asker), h.mac, q.tags));
            }
        }
        for r in replies {
            self.arrive(at, &r);
        }
    }

    fn arrive(&mut self, at: &PortRef, bytes: &[u8]) {
        let frame = Frame::parse(bytes).unwrap();
        self.input(&Input::PacketIn { at, frame: &frame, why: Default::default() });
    }

    fn says(&mut self, at: &PortRef, mac: Mac, from: IpAddr, op: Op, target: IpAddr) {
        let (IpAddr::V4(s), IpAddr::V4(t)) = (from, target) else { panic!("ARP is IPv4") };
        let a = Arp { op, sender_mac: mac, sender_ip: s, target_mac: Mac::ZERO, target_ip: t };
        self.arrive(at, &a.frame(Mac::BROADCAST, mac, Tags::None));
    }

    fn announces(&mut self, at: &PortRef, mac: Mac, ip: IpAddr) {
        self.says(at, mac, ip, Op::Request, ip);
    }

    fn run(&mut self, time: Nanos) {
        let end = self.now + time;
        while let Some(t) = self.machine.next_timeout().filter(|t| *t <= end) {
            self.now = self.now.max(t);
            self.input(&Input::Tick);
        }
        self.now = end;
    }

    fn real(&mut self, n: u8, at: &[PortRef]) {
        self.hosts.push(Real { mac: mac(n), ips: vec![ip(n)], at: at.to_vec() });
    }

    fn known(&self, n: u8) -> Option<&Host> {
        self.net.hosts.get(&(10, mac(n)))
    }

    fn alarms(&self) -> Vec<(AlarmKind, &str, bool)> {
        let alarm = |o: &'_ Output| matches!(o, Output::Alarm(_));
        self.seen
            .iter()
            .filter(|o| alarm(o))
            .map(|o| match o {
                Output::Alarm(a) => (a.kind, a.subject.as_str(), a.raised),
                _ => unreachable!(),
            })
            .collect()
    }

    fn counter(&self, name: &str) -> u64 {
        self.machine.counters().iter().find(|c| c.0 == name).unwrap().1
    }
}

#[test]
fn learns_from_arp_once_and_says_nothing_new_twice() {
    let mut w = World::new();
    w.says(&p("leaf1", 1), mac(9), ip(9), Op::Request, ip(1));
    let want = Host {
        vlan: 10,
        mac: mac(9),
        ips: vec![ip(9)],
        locations: vec![p("leaf1", 1)],
        tags: vec![],
        learned: Learned::Arp,
    };
    assert_eq!(w.seen, [Output::Observe(Observation::Host(want))]);
    for _ in 0..100 {
        w.says(&p("leaf1", 1), mac(9), ip(9), Op::Request, ip(1));
    }
    assert_eq!(w.seen.len(), 1);
    // an ARP probe has no address yet
    w.says(&p("leaf1", 2), mac(8), Ipv4Addr::UNSPECIFIED.into(), Op::Request, ip(8));
    assert_eq!(w.known(8).unwrap().ips, Vec::<IpAddr>::new());
    w.announces(&p("leaf1", 2), mac(8), ip(8));
    assert_eq!(
        (w.known(8).unwrap().ips.as_slice(), w.known(8).unwrap().learned),
        (&[ip(8)][..], Learned::GratuitousArp)
    );
}

#[test]
fn fabric_ports_and_foreign_tags_teach_nothing() {
    let mut w = World::new();
    w.says(&p("leaf1", 9), mac(9), ip(9), Op::Request, ip(1));
    let a = Arp {
        op: Op::Request,
        sender_mac: mac(9),
        sender_ip: Ipv4Addr::new(10, 0, 10, 9),
        target_mac: Mac::ZERO,
        target_ip: Ipv4Addr::new(10, 0, 10, 1),
    };
    w.arrive(&p("leaf1", 1), &a.frame(Mac::BROADCAST, mac(9), Tags::One(77)));
    assert!(w.machine.is_empty());
    assert_eq!(w.counter("no_vlan"), 2);
    // an address of another subnet: the host is there, the address is not its
    w.announces(&p("leaf1", 1), mac(9), IpAddr::from([192, 168, 1, 1]));
    assert_eq!(w.known(9).unwrap().ips.len(), 0);
    assert_eq!(w.counter("off_subnet"), 1);
}

#[test]
fn ndp_learns_and_duplicate_address_detection_does_not_count() {
    let mut w = World::new();
    let target = "2001:db8:10::9".parse().unwrap();
    let group = solicited_node(target);
    let link = Link { dst: Mac::for_multicast6(group), src: mac(9), tags: Tags::None };
    let dad = Ndp::NeighborSolicit { target, lladdr: None }.frame(link, "::".parse().unwrap(), group);
    w.arrive(&p("leaf1", 1), &dad);
    assert!(w.known(9).unwrap().ips.is_empty());
    let mine = "fe80::9".parse().unwrap();
    let na = Ndp::NeighborAdvert { target, router: false, solicited: false, override_: true, lladdr: Some(mac(9)) };
    w.arrive(&p("leaf1", 1), &na.frame(link, target, group));
    let rs = Ndp::RouterSolicit { lladdr: Some(mac(9)) };
    w.arrive(&p("leaf1", 1), &rs.frame(link, mine, crate::wire::ALL_ROUTERS));
    assert_eq!(w.known(9).unwrap().ips, [IpAddr::V6(target), IpAddr::V6(mine)]);
    // an advertisement that names another link-layer address than its sender's
    let lie = Ndp::NeighborAdvert { target, router: false, solicited: false, override_: true, lladdr: Some(mac(66)) };
    w.arrive(&p("leaf1", 2), &lie.frame(link, target, group));
    assert_eq!(w.counter("spoofed"), 1);
}

#[test]
fn a_host_moves_and_is_found_at_its_new_port() {
    let mut w = World::new();
    w.announces(&p("leaf1", 1), mac(9), ip(9));
    w.announces(&p("leaf3", 2), mac(9), ip(9));
    assert_eq!(w.known(9).unwrap().locations, [p("leaf3", 2)]);
    assert_eq!(w.counter("moved"), 1);
    assert!(w.alarms().is_empty());
    // Neighbours on the leaf it has left hear that the way to it is the gateway now.
    let told: Vec<(String, Arp)> = w
        .asked
        .iter()
        .map(|(at, frame)| (at.to_string(), Arp::parse(Frame::parse(frame).unwrap().payload).unwrap()))
        .collect();
    let ports: Vec<&str> = told.iter().map(|(at, _)| at.as_str()).collect();
    assert_eq!(ports, ["leaf1/1", "leaf1/2", "leaf1/3"]);
    assert!(told.iter().all(|(_, arp)| arp.is_gratuitous() && IpAddr::V4(arp.sender_ip) == ip(9)));
    assert!(told.iter().all(|(_, arp)| arp.sender_mac == Mac([2, 0, 0, 0, 0xff, 1])));
}

#[test]
fn flapping_is_reported_and_stopped() {
    let mut w = World::new();
    for i in 0..20u32 {
        w.announces(&p(if i % 2 == 0 { "leaf1" } else { "leaf3" }, 1), mac(9), ip(9));
        w.run(100 * MILLIS);
    }
    assert_eq!(w.alarms(), [(AlarmKind::HostFlapping, "02:00:00:00:00:09/10", true)]);
    let told = w.seen.len();
    for i in 0..20u32 {
        w.announces(&p(if i % 2 == 0 { "leaf1" } else { "leaf3" }, 1), mac(9), ip(9));
    }
    assert_eq!(w.seen.len(), told, "held where it is");
    w.run(40 * SECONDS);
    w.announces(&p("leaf3", 3), mac(9), ip(9));
    assert_eq!(w.known(9).unwrap().locations, [p("leaf3", 3)], "free again");
    w.run(100 * SECONDS);
    assert_eq!(w.alarms().last().unwrap(), &(AlarmKind::HostFlapping, "02:00:00:00:00:09/10", false));
}

#[test]
fn silent_hosts_are_probed_and_kept_or_forgotten() {
    let mut w = World::new();
    w.real(9, &[p("leaf1", 1)]);
    w.announces(&p("leaf1", 1), mac(9), ip(9));
    w.announces(&p("leaf1", 2), mac(8), ip(8));
    w.run(299 * SECONDS);
    assert!(w.asked.is_empty());
    w.run(10 * SECONDS);
    assert!(w.known(9).is_some(), "it answered");
    assert!(w.known(8).is_none(), "it did not");
    let to8: Vec<_> = w.asked.iter().filter(|(at, _)| *at == p("leaf1", 2)).collect();
    assert_eq!(to8.len(), 3);
    let probe = Frame::parse(&to8[0].1).unwrap();
    let arp = Arp::parse(probe.payload).unwrap();
    assert_eq!(
        (probe.dst, arp.target_ip, arp.sender_ip),
        (mac(8), Ipv4Addr::new(10, 0, 10, 8), Ipv4Addr::new(10, 0, 10, 1)),
        "unicast, from the gateway"
    );
    w.run(3000 * SECONDS);
    assert!(w.known(9).is_some());
    assert!(w.seen.len() <= 4, "keeping a host alive writes nothing: {:?}", w.seen);
}

#[test]
fn nobody_is_forgotten_while_the_switch_cannot_be_asked() {
    let mut w = World::new();
    w.announces(&p("leaf1", 1), mac(9), ip(9));
    w.input(&Input::Device { device: "leaf1", connected: false });
    w.run(5000 * SECONDS);
    assert!(w.known(9).is_some());
    w.input(&Input::Device { device: "leaf1", connected: true });
    w.run(400 * SECONDS);
    assert!(w.known(9).is_none());
}

#[test]
fn one_lost_address_does_not_take_the_host() {
    let mut w = World::new();
    w.real(9, &[p("leaf1", 1)]);
    w.announces(&p("leaf1", 1), mac(9), ip(9));
    w.announces(&p("leaf1", 1), mac(9), ip(19));
    w.run(400 * SECONDS);
    assert_eq!(w.known(9).unwrap().ips, [ip(9)]);
}

#[test]
fn port_down_then_up_asks_who_is_there() {
    let mut w = World::new();
    w.real(9, &[p("leaf1", 1)]);
    w.announces(&p("leaf1", 1), mac(9), ip(9));
    let at = p("leaf1", 1);
    w.input(&Input::Port { at: &at, up: true });
    w.input(&Input::Port { at: &at, up: false });
    w.run(30 * SECONDS);
    assert!(w.known(9).is_some(), "a short break is no reason to forget");
    w.input(&Input::Port { at: &at, up: true });
    w.run(5 * SECONDS);
    assert!(w.known(9).is_some() && !w.asked.is_empty());
    // somebody else is plugged in
    w.hosts.clear();
    w.input(&Input::Port { at: &at, up: false });
    w.run(SECONDS);
    w.input(&Input::Port { at: &at, up: true });
    w.run(5 * SECONDS);
    assert!(w.known(9).is_none());
    // and one that stays down
    w.announces(&at, mac(7), ip(7));
    w.input(&Input::Port { at: &at, up: false });
    w.run(61 * SECONDS);
    assert!(w.known(7).is_none());
}

#[test]
fn two_legs_learned_on_paired_leaves() {
    let mut w = World::new();
    w.real(9, &[p("leaf1", 1), p("leaf2", 1)]);
    w.announces(&p("leaf1", 1), mac(9), ip(9));
    w.announces(&p("leaf2", 1), mac(9), ip(9));
    w.run(2 * SECONDS);
    let mut at = w.known(9).unwrap().locations.clone();
    at.sort();
    assert_eq!(at, [p("leaf1", 1), p("leaf2", 1)]);
    assert!(w.alarms().is_empty());
    // frames by either leg change nothing
    let told = w.seen.len();
    for i in 0..50 {
        w.announces(&p(if i % 2 == 0 { "leaf1" } else { "leaf2" }, 1), mac(9), ip(9));
    }
    assert_eq!(w.seen.len(), told);
    let leg = p("leaf1", 1);
    w.input(&Input::Port { at: &leg, up: false });
    assert_eq!(w.known(9).unwrap().locations, [p("leaf2", 1)]);
}

#[test]
fn a_move_to_the_paired_leaf_is_a_move() {
    let mut w = World::new();
    w.real(9, &[p("leaf2", 1)]);
    w.announces(&p("leaf1", 1), mac(9), ip(9));
    w.announces(&p("leaf2", 1), mac(9), ip(9));
    assert_eq!(w.known(9).unwrap().locations, [p("leaf2", 1)], "reachable at once");
    w.run(5 * SECONDS);
    assert_eq!(w.known(9).unwrap().locations, [p("leaf2", 1)]);
    // Three questions, then word for the neighbours there.
    assert_eq!(w.asked.iter().filter(|(at, _)| *at == p("leaf1", 1)).count(), 3 + 1);
    assert_eq!(w.asked.iter().filter(|(at, _)| *at == p("leaf1", 2)).count(), 1);
}

#[test]
fn declared_legs_count_at_once_and_come_back_with_their_port() {
    let mut w = World::new();
    let (a, b) = (p("leaf1", 1), p("leaf2", 1));
    w.net.ports.get_mut(&a).unwrap().twin = Some(b.clone());
    w.net.ports.get_mut(&b).unwrap().twin = Some(a.clone());
    w.announces(&a, mac(9), ip(9));
    assert_eq!(w.known(9).unwrap().locations, [a.clone(), b.clone()]);
    w.input(&Input::Port { at: &b, up: false });
    assert_eq!(w.known(9).unwrap().locations, std::slice::from_ref(&a));
    w.input(&Input::Port { at: &b, up: true });
    assert_eq!(w.known(9).unwrap().locations, [a, b]);
}

#[test]
fn gateway_spoofing_is_refused_and_reported() {
    let mut w = World::new();
    w.announces(&p("leaf1", 1), mac(9), ip(1));
    w.says(&p("leaf1", 2), Mac([2, 0, 0, 0, 0xff, 1]), ip(7), Op::Request, ip(8));
    assert!(w.machine.is_empty());
    assert_eq!(
        w.alarms(),
        [(AlarmKind::GatewaySpoofed, "leaf1/1", true), (AlarmKind::GatewaySpoofed, "leaf1/2", true)]
    );
    for _ in 0..50 {
        w.announces(&p("leaf1", 1), mac(9), ip(1));
    }
    assert_eq!((w.alarms().len(), w.counter("spoofed")), (2, 52));
    w.run(70 * SECONDS);
    assert_eq!(w.alarms().len(), 4, "cleared when it stopped");
    // sender in ARP and in Ethernet differ
    let a = Arp {
        op: Op::Reply,
        sender_mac: mac(5),
        sender_ip: Ipv4Addr::new(10, 0, 10, 5),
        target_mac: mac(1),
        target_ip: Ipv4Addr::new(10, 0, 10, 1),
    };
    w.arrive(&p("leaf1", 1), &a.frame(mac(1), mac(6), Tags::None));
    assert!(w.machine.is_empty());
}

#[test]
fn an_address_used_twice_stays_with_the_one_that_has_it() {
    let mut w = World::new();
    w.real(9, &[p("leaf1", 1)]);
    w.announces(&p("leaf1", 1), mac(9), ip(9));
    w.announces(&p("leaf3", 1), mac(66), ip(9));
    w.run(2 * SECONDS);
    assert_eq!(w.known(9).unwrap().ips, [ip(9)]);
    assert!(w.known(66).unwrap().ips.is_empty());
    assert_eq!(w.alarms(), [(AlarmKind::DuplicateIp, "10.0.10.9", true)]);
    for _ in 0..50 {
        w.announces(&p("leaf3", 1), mac(66), ip(9));
    }
    assert_eq!(w.alarms().len(), 1);
}

#[test]
fn an_address_whose_holder_is_gone_moves_on() {
    let mut w = World::new();
    w.announces(&p("leaf1", 1), mac(9), ip(9));
    w.announces(&p("leaf3", 1), mac(66), ip(9));
    w.run(2 * SECONDS);
    assert_eq!(w.known(66).unwrap().ips, [ip(9)]);
    assert!(w.known(9).unwrap().ips.is_empty());
    assert!(w.alarms().is_empty());
    // with the port down nobody needs to be asked
    let at = p("leaf3", 1);
    w.input(&Input::Port { at: &at, up: false });
    w.announces(&p("leaf1", 2), mac(67), ip(9));
    assert_eq!(w.known(67).unwrap().ips, [ip(9)]);
}

#[test]
fn a_port_learns_so_many_hosts_and_no_more() {
    let mut w = World::new();
    for i in 0..2000u16 {
        let m = Mac([2, 1, 0, 0, (i >> 8) as u8, i as u8]);
        w.says(&p("leaf1", 1), m, Ipv4Addr::UNSPECIFIED.into(), Op::Request, ip(9));
    }
    assert_eq!(w.machine.len(), 1024);
    assert_eq!(w.alarms(), [(AlarmKind::TooManyHosts, "leaf1/1", true)]);
    w.announces(&p("leaf1", 2), mac(9), ip(9));
    assert!(w.known(9).is_some(), "another port is not touched");
    for n in 0..40 {
        w.announces(&p("leaf1", 2), mac(9), ip(100 + n));
    }
    assert_eq!(w.known(9).unwrap().ips.len(), 16);
}

#[test]
fn restart_writes_nothing_and_checks_in_time() {
    let mut before = World::new();
    before.real(9, &[p("leaf1", 1)]);
    before.announces(&p("leaf1", 1), mac(9), ip(9));
    before.announces(&p("leaf1", 2), mac(8), ip(8));
    let mut w = World::new();
    w.net.hosts = before.net.hosts.clone();
    w.real(9, &[p("leaf1", 1)]);
    w.input(&Input::Changed(Change::All));
    w.announces(&p("leaf1", 1), mac(9), ip(9));
    assert!(w.seen.is_empty());
    w.run(310 * SECONDS);
    assert_eq!(w.seen, [Output::Observe(Observation::HostGone { vlan: 10, mac: mac(8) })]);
}

#[test]
fn hosts_of_other_controllers_are_let_go() {
    let mut w = World::new();
    w.announces(&p("leaf1", 1), mac(9), ip(9));
    w.input(&Input::Device { device: "leaf3", connected: false });
    w.net.hosts.get_mut(&(10, mac(9))).unwrap().locations = vec![p("leaf3", 1)];
    w.input(&Input::Changed(Change::Host { vlan: 10, mac: mac(9) }));
    assert!(w.machine.is_empty());
    w.run(1000 * SECONDS);
    assert!(w.known(9).is_some(), "it is not ours to forget");
}

#[test]
fn wanted_neighbours_are_asked_for_until_known() {
    let mut w = World::new();
    w.net.wanted.push((10, ip(50)));
    w.input(&Input::Changed(Change::Subnets));
    w.run(60 * SECONDS);
    let rounds = w.asked.len() / 9;
    assert!((5..8).contains(&rounds), "{rounds} rounds on 9 ports, further and further apart");
    w.real(50, &[p("leaf2", 2)]);
    w.run(40 * SECONDS);
    assert_eq!(w.known(50).unwrap().locations, [p("leaf2", 2)]);
    let asked = w.asked.len();
    w.run(60 * SECONDS);
    assert_eq!(w.asked.len(), asked, "known: no more questions");
}

#[test]
fn tagged_and_double_tagged_hosts_are_probed_with_their_tags() {
    let mut w = World::new();
    let vlans = PortVlans { untagged: None, tagged: vec![10], double: vec![(100, 7, 10)] };
    w.net.add_port("leaf1", 1, crate::net::PortRole::Edge, vlans);
    for (n, tags) in [(9, Tags::One(10)), (8, Tags::Two(100, 7))] {
        let IpAddr::V4(own) = ip(n) else { unreachable!() };
        let a = Arp { op: Op::Request, sender_mac: mac(n), sender_ip: own, target_mac: Mac::ZERO, target_ip: own };
        w.arrive(&p("leaf1", 1), &a.frame(Mac::BROADCAST, mac(n), tags));
    }
    assert_eq!(w.known(8).unwrap().tags, [100, 7]);
    w.run(301 * SECONDS);
    let tags: HashSet<Tags> = w.asked.iter().map(|(_, f)| Frame::parse(f).unwrap().tags).collect();
    assert_eq!(tags, HashSet::from([Tags::One(10), Tags::Two(100, 7)]));
}

#[test]
fn an_acknowledged_lease_places_the_client() {
    use dhcproto::{Encodable, v4};
    let mut w = World::new();
    let server = Ipv4Addr::new(10, 0, 20, 2);
    w.net.relays.insert(10, DhcpRelay { v4_servers: vec![server], v6_servers: vec![] });
    let ack = |circuit: &str| {
        let mut m = v4::Message::default();
        m.set_opcode(v4::Opcode::BootReply).set_chaddr(&mac(9).0).set_yiaddr(Ipv4Addr::new(10, 0, 10, 9));
        m.opts_mut().insert(v4::DhcpOption::MessageType(v4::MessageType::Ack));
        let mut info = v4::relay::RelayAgentInformation::default();
        info.insert(v4::relay::RelayInfo::AgentCircuitId(circuit.as_bytes().to_vec()));
        m.opts_mut().insert(v4::DhcpOption::RelayAgentInformation(info));
        m.to_vec().unwrap()
    };
    let packet = |from: Ipv4Addr, data: &[u8]| {
        let link = Link { dst: Mac([2, 0, 0, 0, 0xff, 3]), src: mac(200), tags: Tags::None };
        crate::wire::ip::udp(link, (from.into(), 67), (ip(1), 67), data).unwrap()
    };
    w.arrive(&p("leaf3", 1), &packet(Ipv4Addr::new(10, 0, 66, 6), &ack("leaf1/2:10")));
    w.arrive(&p("leaf3", 1), &packet(server, &ack("leaf1/2:99")));
    assert!(w.machine.is_empty(), "neither from a stranger nor for a VLAN that is not there");
    w.arrive(&p("leaf3", 1), &packet(server, &ack("leaf1/2:10")));
    let h = w.known(9).unwrap();
    assert_eq!(
        (h.locations.as_slice(), h.ips.as_slice(), h.learned),
        (&[p("leaf1", 2)][..], &[ip(9)][..], Learned::Dhcp)
    );
}

#[test]
fn ten_thousand_hosts_age_without_a_storm() {
    let mut w = World::new();
    for port in 0..20u32 {
        w.net.edge("leaf1", 100 + port, 10);
    }
    w.net.gateways.clear();
    w.net.add_gateway(10, "10.0.0.1", 8);
    let start = std::time::Instant::now();
    for i in 0..10_000u32 {
        let m = Mac([2, 1, 0, 0, (i >> 8) as u8, i as u8]);
        let own = IpAddr::from([10, 1, (i >> 8) as u8, i as u8]);
        w.announces(&p("leaf1", 100 + i % 20), m, own);
    }
    let learned = start.elapsed();
    assert_eq!(w.machine.len(), 10_000);
    w.run(400 * SECONDS);
    assert_eq!((w.machine.len(), w.asked.len()), (0, 30_000));
    assert!(learned < std::time::Duration::from_secs(2), "learning 10,000 hosts took {learned:?}");
    eprintln!("10,000 hosts learned in {learned:?}");
}
