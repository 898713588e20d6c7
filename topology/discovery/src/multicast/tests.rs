//! Listeners that come, stay, leave and vanish, on virtual time.

use super::*;
use crate::net::PortVlans;
use crate::testnet::TestNet;
use crate::wire::group::{IGMP3_ROUTERS, MLD2_ROUTERS};
use crate::wire::{Frame, Mac};

fn p(device: &str, port: u32) -> PortRef {
    PortRef::new(device, port)
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

const G: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 1, 2, 3));

struct World {
    net: TestNet,
    m: Multicast,
    now: Nanos,
    seen: Vec<Observation>,
    sent: Vec<(Nanos, PortRef, Membership)>,
}

impl World {
    fn new() -> World {
        let mut net = TestNet::default();
        net.switch("leaf1", 1).switch("leaf2", 2);
        net.edge("leaf1", 1, 10).edge("leaf2", 1, 10);
        net.add_port("leaf1", 2, PortRole::Edge, PortVlans { tagged: vec![10], ..Default::default() });
        net.add_gateway(10, "10.0.10.1", 24).add_gateway(10, "2001:db8:10::1", 64);
        let m = Multicast::new(MulticastConfig::default());
        let mut w = World { net, m, now: SECONDS, seen: vec![], sent: vec![] };
        w.input(&Input::Changed(Change::All));
        w
    }

    fn input(&mut self, input: &Input<'_>) {
        let mut out = Vec::new();
        self.m.handle(input, &self.net, self.now, &mut out);
        for o in out {
            match o {
                Output::Observe(seen) => self.seen.push(seen),
                Output::PacketOut { at, frame } => {
                    let f = Frame::parse(&frame).unwrap();
                    assert_eq!(f.tags, self.net.port(&at).unwrap().vlans.tags_for(10).unwrap());
                    self.sent.push((self.now, at, Membership::parse(&Ip::parse(&f).unwrap()).unwrap()));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn says(&mut self, at: &PortRef, n: u8, kind: RecordKind, group: IpAddr, sources: &[IpAddr]) {
        let report =
            Membership::Report { records: vec![Record { kind, group, sources: sources.to_vec() }], old: false };
        let (src, dst) = if group.is_ipv4() {
            (IpAddr::from([10, 0, 10, n]), IGMP3_ROUTERS.into())
        } else {
            (mac(n).link_local().into(), MLD2_ROUTERS.into())
        };
        let tags = self.net.port(at).unwrap().vlans.tags_for(10).unwrap();
        let bytes = report.frame(mac(n), tags, src, dst).unwrap();
        self.arrive(at, &bytes);
    }

    fn arrive(&mut self, at: &PortRef, bytes: &[u8]) {
        let frame = Frame::parse(bytes).unwrap();
        self.input(&Input::PacketIn { at, frame: &frame, why: Default::default() });
    }

    fn run(&mut self, time: Nanos) {
        let end = self.now + time;
        while let Some(t) = self.m.next_timeout().filter(|t| *t <= end) {
            self.now = self.now.max(t);
            self.input(&Input::Tick);
        }
        self.now = end;
    }

    fn members(&self, group: IpAddr) -> Vec<PortRef> {
        let mut last = BTreeMap::new();
        for seen in &self.seen {
            if let Observation::Members(m) = seen
                && m.group == group
            {
                last.insert(m.device.clone(), m.any.clone());
            }
        }
        last.into_values().flatten().collect()
    }
}

#[test]
fn queries_at_start_and_every_125_seconds() {
    let mut w = World::new();
    w.run(300 * SECONDS);
    let v4: Vec<u64> = w
        .sent
        .iter()
        .filter(|(_, at, m)| {
            *at == p("leaf1", 1) && matches!(m, Membership::Query(q) if q.interval_s == 125 && q.group.is_none())
        })
        .map(|(t, ..)| t / SECONDS)
        .collect();
    assert_eq!(v4, [1, 1, 32, 32, 157, 157, 282, 282], "both families; the second after a quarter of the interval");
}

#[test]
fn members_come_by_report_and_go_by_silence() {
    let mut w = World::new();
    w.says(&p("leaf1", 1), 5, RecordKind::ToExclude, G, &[]);
    w.says(&p("leaf2", 1), 6, RecordKind::IsExclude, G, &[]);
    assert_eq!(w.members(G), [p("leaf1", 1), p("leaf2", 1)]);
    let told = w.seen.len();
    for _ in 0..4 {
        w.run(100 * SECONDS);
        w.says(&p("leaf1", 1), 5, RecordKind::IsExclude, G, &[]);
    }
    assert_eq!(w.members(G), [p("leaf1", 1)], "the other fell silent for 260 s");
    assert_eq!(w.seen.len(), told + 1, "confirmations say nothing");
    w.run(261 * SECONDS);
    assert!(w.members(G).is_empty());
}

#[test]
fn a_leave_is_checked_with_the_others_behind_the_port() {
    let mut w = World::new();
    w.run(40 * SECONDS);
    w.sent.clear();
    w.says(&p("leaf1", 2), 5, RecordKind::ToExclude, G, &[]);
    w.says(&p("leaf1", 2), 6, RecordKind::ToExclude, G, &[]);
    w.says(&p("leaf1", 2), 5, RecordKind::ToInclude, G, &[]);
    assert!(
        matches!(&w.sent[..], [(_, at, Membership::Query(q))] if *at == p("leaf1", 2) && q.group == Some(G) && q.max_response_ms == 1000)
    );
    w.says(&p("leaf1", 2), 6, RecordKind::IsExclude, G, &[]);
    w.run(10 * SECONDS);
    assert_eq!(w.members(G), [p("leaf1", 2)], "the second listener answered");
    w.says(&p("leaf1", 2), 6, RecordKind::ToInclude, G, &[]);
    w.run(1900 * crate::machine::MILLIS);
    assert_eq!(w.members(G), [p("leaf1", 2)]);
    w.run(SECONDS);
    assert!(w.members(G).is_empty(), "two seconds after the last leave");
    assert_eq!(w.sent.len(), 4, "two queries a leave");
}

#[test]
fn listed_sources_and_their_end() {
    let mut w = World::new();
    let (g, s1, s2): (IpAddr, IpAddr, IpAddr) =
        ("ff3e::1".parse().unwrap(), "2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    w.says(&p("leaf1", 1), 5, RecordKind::Allow, g, &[s1, s2]);
    let at = vec![p("leaf1", 1)];
    let members =
        |sources| Observation::Members(Members { device: "leaf1".into(), vlan: 10, group: g, any: vec![], sources });
    assert_eq!(w.seen, [members(vec![(s1, at.clone()), (s2, at.clone())])]);
    w.says(&p("leaf1", 1), 5, RecordKind::Block, g, &[s1]);
    w.run(3 * SECONDS);
    assert_eq!(w.seen[1..], [members(vec![(s2, at)])]);
    w.run(300 * SECONDS);
    assert_eq!(w.seen[2..], [members(vec![])]);
}

#[test]
fn a_lower_querier_is_let_ask() {
    let mut w = World::new();
    w.net.gateways[0].ip = [10, 0, 10, 200].into();
    w.run(40 * SECONDS);
    w.sent.clear();
    let query = Query {
        group: None,
        sources: vec![],
        max_response_ms: 10_000,
        suppress: false,
        robustness: 2,
        interval_s: 125,
    };
    let other =
        Membership::Query(query).frame(mac(7), Tags::None, [10, 0, 10, 7].into(), [224, 0, 0, 1].into()).unwrap();
    let v4 =
        |w: &World| w.sent.iter().filter(|(_, _, m)| matches!(m, Membership::Query(q) if q.group.is_none())).count();
    let before = w.m.counters();
    w.arrive(&p("leaf1", 1), &other);
    assert_ne!(w.m.counters(), before);
    assert_eq!(v4(&w), 2, "its query goes on to the other ports");
    w.says(&p("leaf2", 1), 6, RecordKind::ToExclude, G, &[]);
    assert!(
        matches!(w.sent.last(), Some((_, at, Membership::Report { .. })) if *at == p("leaf1", 1)),
        "reports go to it"
    );
    w.run(250 * SECONDS);
    let quiet = v4(&w);
    assert_eq!(quiet, 2 + 6, "MLD only: two rounds on three ports");
    w.run(120 * SECONDS);
    assert_eq!(v4(&w), quiet + 6, "the other is gone: both families again");
}

#[test]
fn limits_scopes_ports_and_vlans() {
    let mut w = World::new();
    w.says(&p("leaf1", 1), 5, RecordKind::ToExclude, [224, 0, 0, 251].into(), &[]);
    w.says(&p("leaf1", 1), 5, RecordKind::ToExclude, "ff02::fb".parse().unwrap(), &[]);
    w.says(&p("leaf1", 1), 5, RecordKind::Block, G, &[[10, 0, 0, 1].into()]);
    assert!(w.seen.is_empty(), "link scope is flooded anyway; blocking nothing is nothing");
    for i in 0..300u16 {
        w.says(&p("leaf1", 1), 5, RecordKind::ToExclude, [239, 9, (i >> 8) as u8, i as u8].into(), &[]);
    }
    assert_eq!(w.seen.len(), 256);
    w.says(&p("leaf2", 1), 6, RecordKind::ToExclude, G, &[]);
    assert_eq!(w.members(G), [p("leaf2", 1)], "another port has its own limit");
    let at = p("leaf1", 1);
    w.input(&Input::Port { at: &at, up: false });
    assert_eq!(w.m.groups.len(), 1);
    w.net.edge("leaf2", 1, 20);
    w.input(&Input::Changed(Change::Topology));
    assert!(w.members(G).is_empty() && w.m.groups.is_empty() && w.m.per_port.is_empty());
}

#[test]
fn memberships_outlive_the_controller_and_end_like_others() {
    let mut before = World::new();
    before.says(&p("leaf1", 1), 5, RecordKind::ToExclude, G, &[]);
    before.says(&p("leaf2", 1), 6, RecordKind::ToExclude, G, &[]);
    let stored: Vec<Members> = before
        .seen
        .iter()
        .map(|o| match o {
            Observation::Members(m) => m.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(stored.len(), 2, "each switch on its own");

    let mut w = World::new();
    w.net.members = stored;
    w.input(&Input::Changed(Change::All));
    assert!(w.seen.is_empty(), "it is known already");
    w.run(200 * SECONDS);
    w.says(&p("leaf2", 1), 6, RecordKind::IsExclude, G, &[]);
    w.run(100 * SECONDS);
    let gone = Members { device: "leaf1".into(), vlan: 10, group: G, any: vec![], sources: vec![] };
    assert_eq!(w.seen, [Observation::Members(gone)], "it left while nobody heard");

    // A VLAN that is gone takes its members with it.
    w.net.members.clear();
    w.net.edge("leaf2", 1, 20);
    w.input(&Input::Changed(Change::Topology));
    assert_eq!(w.seen.len(), 2);
}

#[test]
fn switches_and_ports_that_come_are_asked_at_once() {
    let mut w = World::new();
    w.run(40 * SECONDS);
    w.sent.clear();
    w.input(&Input::Device { device: "leaf1", connected: true });
    let at: Vec<&PortRef> = w.sent.iter().map(|(_, at, _)| at).collect();
    assert_eq!(at, [&p("leaf1", 1), &p("leaf1", 1), &p("leaf1", 2), &p("leaf1", 2)], "in both families");
    w.sent.clear();
    w.net.edge("leaf2", 2, 10);
    w.input(&Input::Changed(Change::Topology));
    let at: Vec<&PortRef> = w.sent.iter().map(|(_, at, _)| at).collect();
    assert_eq!(at, [&p("leaf2", 2), &p("leaf2", 2)]);
}

#[test]
fn a_dual_homed_host_gets_one_copy() {
    let mut w = World::new();
    let (one, other) = (p("leaf1", 1), p("leaf2", 1));
    w.net.ports.get_mut(&one).unwrap().twin = Some(other.clone());
    w.net.ports.get_mut(&other).unwrap().twin = Some(one.clone());
    w.says(&one, 5, RecordKind::ToExclude, G, &[]);
    w.says(&other, 5, RecordKind::IsExclude, G, &[]);
    assert_eq!(w.members(G), std::slice::from_ref(&other), "it speaks through the other leg now");
    w.says(&one, 5, RecordKind::ToInclude, G, &[]);
    w.run(3 * SECONDS);
    assert!(w.members(G).is_empty(), "a leave counts whichever way it comes");
    w.says(&other, 5, RecordKind::ToExclude, G, &[]);
    w.sent.clear();
    w.input(&Input::Port { at: &other, up: false });
    assert!(w.members(G).is_empty() && w.sent.iter().all(|(_, at, _)| *at == one) && !w.sent.is_empty());
    assert_eq!(w.m.per_port.len(), 0);
}
