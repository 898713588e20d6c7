//! Two or more controllers' worth of cables on virtual time.

use super::*;
use crate::net::{PortRole, PortVlans};
use crate::testnet::TestNet;
use crate::wire::lldp::{Id, Lldp};
use crate::wire::{Frame, lldp};
use std::collections::HashSet;

const EPOCH: u64 = 1_700_000_000 * SECONDS;

fn key() -> Key {
    Key::new(1, b"a key for this test").unwrap()
}

fn p(device: &str, port: u32) -> PortRef {
    PortRef::new(device, port)
}

struct World {
    net: TestNet,
    machine: Links,
    cables: HashMap<PortRef, PortRef>,
    /// Directions that lose everything.
    cut: HashSet<PortRef>,
    /// Switches that forward nothing.
    dead: HashSet<String>,
    now: Nanos,
    seen: Vec<Output>,
    sent: Vec<(PortRef, Vec<u8>)>,
    wakeups: u64,
}

impl World {
    fn new(net: TestNet) -> Self {
        let mut cables = HashMap::new();
        for (a, b) in &net.intended {
            cables.insert(a.clone(), b.clone());
            cables.insert(b.clone(), a.clone());
        }
        let machine = Links::new(LinksConfig::new(vec![key()], EPOCH));
        World {
            net,
            machine,
            cables,
            cut: HashSet::new(),
            dead: HashSet::new(),
            now: SECONDS,
            seen: vec![],
            sent: vec![],
            wakeups: 0,
        }
    }

    fn start(mut self) -> Self {
        self.input(&Input::Changed(Change::All));
        for d in self.net.router_macs.keys().cloned().collect::<Vec<_>>() {
            self.input(&Input::Device { device: &d, connected: true });
        }
        self
    }

    fn input(&mut self, input: &Input<'_>) {
        let mut out = Vec::new();
        self.machine.handle(input, &self.net, self.now, &mut out);
        self.route(out);
    }

    fn route(&mut self, mut out: Vec<Output>) {
        while let Some(o) = (!out.is_empty()).then(|| out.remove(0)) {
            match o {
                Output::PacketOut { at, frame } => {
                    self.sent.push((at.clone(), frame.clone()));
                    if let Some(to) = self.cables.get(&at).cloned()
                        && !self.cut.contains(&at)
                        && !self.dead.contains(&*to.device)
                    {
                        match reflected(&frame) {
                            Some(back) if !self.cut.contains(&to) => self.arrive(&at, &back, &mut out),
                            Some(_) => {}
                            None => self.arrive(&to, &frame, &mut out),
                        }
                    }
                }
                other => self.seen.push(other),
            }
        }
    }

    fn arrive(&mut self, to: &PortRef, bytes: &[u8], out: &mut Vec<Output>) {
        let frame = Frame::parse(bytes).unwrap();
        self.machine.handle(
            &Input::PacketIn { at: to, frame: &frame, why: Default::default() },
            &self.net,
            self.now,
            out,
        );
    }

    fn inject(&mut self, to: &PortRef, bytes: &[u8]) {
        let mut out = Vec::new();
        self.arrive(to, bytes, &mut out);
        self.route(out);
    }

    fn run(&mut self, time: Nanos) -> &mut Self {
        let end = self.now + time;
        while let Some(t) = self.machine.next_timeout().filter(|t| *t <= end) {
            self.now = self.now.max(t);
            self.wakeups += 1;
            self.input(&Input::Tick);
        }
        self.now = end;
        self
    }

    fn links(&self) -> Vec<String> {
        let mut l: Vec<String> = self.machine.up().map(|(a, b)| format!("{a}~{b}")).collect();
        l.sort();
        l
    }

    fn port(&mut self, at: &PortRef, up: bool) {
        self.input(&Input::Port { at, up });
    }

    fn alarms(&self) -> Vec<(AlarmKind, String, String)> {
        let mut live: Vec<(AlarmKind, String, String)> = Vec::new();
        for o in &self.seen {
            if let Output::Alarm(a) = o {
                live.retain(|l| (l.0, &l.1) != (a.kind, &a.subject));
                if a.raised {
                    live.push((a.kind, a.subject.clone(), a.text.clone()));
                }
            }
        }
        live.sort();
        live
    }

    fn downs(&self) -> Vec<LinkLoss> {
        let why = |o: &Output| match o {
            Output::Observe(Observation::LinkDown { why, .. }) => Some(*why),
            _ => None,
        };
        self.seen.iter().filter_map(why).collect()
    }
}

/// What a spine sends back to a leaf whose label a frame bears.
fn reflected(bytes: &[u8]) -> Option<Vec<u8>> {
    (bytes[12..14] == [0x88, 0x47]).then(|| {
        assert_eq!(bytes[16] & 1, 1, "one label");
        [&bytes[6..12], &bytes[..6], &[8, 0], &bytes[18..]].concat()
    })
}

fn two_by_two() -> TestNet {
    let mut n = TestNet::default();
    n.switch("leaf1", 1).switch("leaf2", 2).switch("spine1", 3).switch("spine2", 4);
    n.link(("leaf1", 1), ("spine1", 1)).link(("leaf1", 2), ("spine2", 1));
    n.link(("leaf2", 1), ("spine1", 2)).link(("leaf2", 2), ("spine2", 2));
    n.edge("leaf1", 3, 10);
    n
}

const ALL: [&str; 4] = ["leaf1/1~spine1/1", "leaf1/2~spine2/1", "leaf2/1~spine1/2", "leaf2/2~spine2/2"];

#[test]
fn finds_all_links_at_once_and_stays_quiet() {
    let mut w = World::new(two_by_two()).start();
    w.run(50 * MILLIS);
    assert_eq!(w.links(), ALL);
    w.run(60 * SECONDS);
    assert_eq!(w.seen.len(), 4, "nothing but four links came up: {:?}", w.seen);
    assert!(!w.sent.iter().any(|(at, _)| *at == p("leaf1", 3)), "edge ports get no LLDP");
}

#[test]
fn loss_without_gnmi_takes_the_link_down_and_its_return_up() {
    let mut w = World::new(two_by_two()).start();
    w.run(10 * SECONDS);
    w.cut.insert(p("spine1", 1));
    w.run(2 * SECONDS);
    assert_eq!(w.links().len(), 4, "two missed frames are no loss");
    w.run(3 * SECONDS);
    assert_eq!(w.links(), &ALL[1..]);
    assert_eq!(w.downs(), [LinkLoss::Silent]);
    w.run(5 * SECONDS);
    assert_eq!(w.alarms().iter().map(|a| (a.0, a.1.as_str())).collect::<Vec<_>>(), [(AlarmKind::OneWay, "spine1/1")]);
    w.cut.clear();
    w.run(1100 * MILLIS);
    assert_eq!(w.links(), ALL);
    assert!(w.alarms().is_empty());
}

#[test]
fn port_state_counts_at_once_and_needs_fresh_frames_to_return() {
    let mut w = World::new(two_by_two()).start();
    for at in [p("leaf1", 1), p("spine1", 1)] {
        w.port(&at, true);
    }
    w.run(10 * SECONDS);
    w.port(&p("leaf1", 1), false);
    assert_eq!(w.links(), &ALL[1..]);
    assert_eq!(w.downs(), [LinkLoss::PortDown]);
    w.run(2 * SECONDS);
    assert_eq!(w.links(), &ALL[1..]);
    w.port(&p("leaf1", 1), true);
    w.run(30 * MILLIS);
    assert_eq!(w.links(), ALL, "fast frames after the port came up");
    // flapping ends in the right state
    for i in 0..21 {
        w.port(&p("leaf1", 1), i % 2 == 1);
        w.run(MILLIS);
    }
    w.run(SECONDS);
    assert_eq!(w.links(), &ALL[1..]);
}

#[test]
fn a_silent_cut_takes_the_link_down_though_both_ports_are_up() {
    let mut w = World::new(two_by_two()).start();
    for at in [p("leaf1", 1), p("spine1", 1)] {
        w.port(&at, true);
    }
    w.run(10 * SECONDS);
    // One way only, the other way only, and both.
    for cut in [&[p("spine1", 1)][..], &[p("leaf1", 1)], &[p("leaf1", 1), p("spine1", 1)]] {
        w.seen.clear();
        w.cut.extend(cut.iter().cloned());
        w.run(2 * SECONDS);
        assert_eq!(w.links(), ALL, "{cut:?}");
        w.run(2 * SECONDS);
        assert_eq!(w.links(), &ALL[1..], "{cut:?}");
        assert_eq!(w.downs(), [LinkLoss::Silent]);
        let silent = w.alarms().into_iter().filter(|a| a.0 == AlarmKind::LldpSilent).collect::<Vec<_>>();
        assert!(!silent.is_empty() && silent[0].2.contains("is not used"), "{silent:?}");
        w.run(20 * SECONDS);
        assert_eq!(w.links(), &ALL[1..], "{cut:?}");
        w.cut.clear();
        w.run(1100 * MILLIS);
        assert_eq!(w.links(), ALL, "{cut:?}");
        assert!(w.alarms().is_empty(), "{:?}", w.alarms());
    }
}

#[test]
fn a_controller_that_stood_still_takes_nothing_down() {
    let mut w = World::new(two_by_two()).start();
    w.run(10 * SECONDS);
    w.now += 60 * SECONDS;
    w.run(10 * SECONDS);
    assert_eq!(w.links(), ALL);
    assert!(w.downs().is_empty());
}

#[test]
fn wrong_cabling_names_both_ends_and_is_not_used() {
    let mut net = two_by_two();
    net.add_port("spine1", 9, PortRole::Unknown, PortVlans::default());
    let mut w = World::new(net);
    // leaf1's two uplinks are swapped
    for (a, b) in [(p("leaf1", 1), p("spine2", 1)), (p("leaf1", 2), p("spine1", 1))] {
        w.cables.insert(a.clone(), b.clone());
        w.cables.insert(b, a);
    }
    let mut w = w.start();
    w.run(5 * SECONDS);
    assert_eq!(w.links(), &ALL[2..]);
    let alarms = w.alarms();
    assert_eq!(alarms.len(), 4);
    assert_eq!(alarms[0].2, "leaf1/1 is cabled to spine2/1, intended is spine1/1");
    // put right: the alarms go and the links come
    for (a, b) in [(p("leaf1", 1), p("spine1", 1)), (p("leaf1", 2), p("spine2", 1))] {
        w.cables.insert(a.clone(), b.clone());
        w.cables.insert(b, a);
    }
    w.run(5 * SECONDS);
    assert_eq!(w.links(), ALL);
    assert!(w.alarms().is_empty(), "{:?}", w.alarms());
}

#[test]
fn cable_to_an_edge_port_and_a_loop_are_faults() {
    let mut w = World::new(two_by_two());
    w.cables.insert(p("spine1", 1), p("leaf1", 3));
    w.cables.insert(p("leaf1", 1), p("leaf1", 1));
    let mut w = w.start();
    w.run(SECONDS);
    let texts: Vec<String> = w.alarms().into_iter().map(|a| a.2).collect();
    assert_eq!(
        texts,
        ["leaf1/1 hears itself: the cable is looped back", "leaf1/3 is cabled to spine1/1, no link is intended there"]
    );
    assert_eq!(w.links(), &ALL[1..]);
}

#[test]
fn moving_a_live_cable_is_seen_at_once() {
    let mut w = World::new(two_by_two()).start();
    w.run(10 * SECONDS);
    w.net.intended[0] = (p("leaf1", 1), p("spine1", 3));
    w.net.add_port("spine1", 3, PortRole::Infra, PortVlans::default());
    w.cables.insert(p("leaf1", 1), p("spine1", 3));
    w.cables.insert(p("spine1", 3), p("leaf1", 1));
    w.cables.remove(&p("spine1", 1));
    w.input(&Input::Changed(Change::Topology));
    assert_eq!(w.downs(), [LinkLoss::Removed], "an intent that changed takes the link out");
    w.run(1100 * MILLIS);
    assert!(w.links().contains(&"leaf1/1~spine1/3".to_string()), "{:?}", w.links());
}

#[test]
fn forged_frames_are_refused_counted_and_reported_once() {
    let mut w = World::new(two_by_two()).start();
    w.run(SECONDS);
    let claim = |port: &str| Lldp {
        chassis: Id::Local("spine9".into()),
        port: Id::Local(port.into()),
        ttl_s: 4,
        system_name: None,
        hears: None,
        signature: None,
    };
    let wrong = Key::new(1, b"not the key of the site").unwrap();
    let before = w.seen.len();
    for i in 0..50 {
        let unit = claim("1").signed(&wrong, EPOCH + w.now, 1000 + i);
        w.inject(&p("leaf1", 3), &lldp::frame(Mac([2; 6]), &unit));
    }
    let mut unsigned = claim("1");
    unsigned.chassis = Id::Local("spine1".into());
    w.inject(&p("leaf1", 1), &lldp::frame(Mac([2; 6]), &unsigned.to_bytes()));
    // an honest server with lldpd is no forger
    w.inject(&p("leaf1", 3), &lldp::frame(Mac([2; 6]), &claim("eth0").to_bytes()));
    assert_eq!(w.seen.len(), before + 2);
    assert_eq!(w.alarms()[1].2, "leaf1/3 got LLDP that claims to be spine9/1 and has a wrong signature");
    let count: HashMap<_, _> = w.machine.counters().into_iter().collect();
    assert_eq!((count["forged"], count["unsigned"]), (51, 2));
    assert_eq!(w.links(), ALL);
    w.run(70 * SECONDS);
    assert!(w.alarms().is_empty());
}

#[test]
fn replayed_and_stale_frames_are_refused() {
    let mut w = World::new(two_by_two()).start();
    w.run(10 * SECONDS);
    let (_, frame) = w.sent.iter().rev().find(|(at, _)| *at == p("spine1", 1)).unwrap().clone();
    w.inject(&p("leaf2", 1), &frame);
    let count: HashMap<_, _> = w.machine.counters().into_iter().collect();
    assert_eq!(count["replayed"], 1, "the same frame on another port");
    assert_eq!(w.links(), ALL);
    let old = w.sent[0].1.clone();
    // a machine that never saw it refuses it for its age
    let mut fresh = World::new(two_by_two());
    fresh.now = w.now;
    let mut fresh = fresh.start();
    fresh.inject(&p("spine1", 1), &old);
    let count: HashMap<_, _> = fresh.machine.counters().into_iter().collect();
    assert_eq!(count["replayed"], 1);
}

#[test]
fn second_key_verifies_so_that_keys_can_be_changed() {
    let mut w = World::new(two_by_two()).start();
    w.run(SECONDS);
    let new = Key::new(2, b"the key that comes next").unwrap();
    w.machine.config.keys = vec![new, key()];
    w.run(10 * SECONDS);
    assert_eq!(w.links(), ALL);
    assert!(w.downs().is_empty());
    assert_eq!(w.machine.counters().iter().find(|c| c.0 == "forged").unwrap().1, 0);
}

#[test]
fn restart_keeps_known_links_without_a_word() {
    let mut net = two_by_two();
    net.links = net.intended.clone();
    let mut w = World::new(net);
    w.input(&Input::Changed(Change::All));
    assert_eq!(w.links(), ALL, "believed before the first frame");
    let mut w = w.start();
    w.run(30 * SECONDS);
    assert!(w.seen.is_empty(), "{:?}", w.seen);
    // a link that died while we were away is found out
    let mut net = two_by_two();
    net.links = net.intended.clone();
    let mut w = World::new(net);
    w.cables.retain(|a, b| *a != p("leaf1", 1) && *b != p("leaf1", 1));
    let mut w = w.start();
    w.run(5 * SECONDS);
    assert_eq!(w.links(), &ALL[1..]);
}

#[test]
fn a_switch_without_session_keeps_its_links_as_long_as_it_forwards() {
    let mut w = World::new(two_by_two()).start();
    w.run(10 * SECONDS);
    w.input(&Input::Device { device: "spine1", connected: false });
    w.run(60 * SECONDS);
    assert_eq!(w.links(), ALL, "the spine sends back what the leaves send it");
    w.input(&Input::Device { device: "spine1", connected: true });
    w.run(10 * SECONDS);
    // A leaf sends nothing back: it is believed in.
    w.input(&Input::Device { device: "leaf1", connected: false });
    w.run(60 * SECONDS);
    assert_eq!(w.links(), ALL);
    // Nor does anything follow when all are lost, as at the start.
    for device in ["leaf2", "spine1", "spine2"] {
        w.input(&Input::Device { device, connected: false });
    }
    w.run(60 * SECONDS);
    assert_eq!(w.links(), ALL);
    for device in ["leaf1", "leaf2", "spine1", "spine2"] {
        w.input(&Input::Device { device, connected: true });
    }
    w.run(10 * SECONDS);
    assert!(w.downs().is_empty());
    // Its program dies with its ports lit.
    w.dead.insert("spine1".into());
    w.input(&Input::Device { device: "spine1", connected: false });
    w.run(4 * SECONDS);
    assert_eq!(w.links(), ["leaf1/2~spine2/1", "leaf2/2~spine2/2"]);
    w.run(20 * SECONDS);
    w.dead.clear();
    w.input(&Input::Device { device: "spine1", connected: true });
    w.run(100 * MILLIS);
    assert_eq!(w.links(), ALL);
}

#[test]
fn an_echo_that_nobody_signed_proves_nothing() {
    let mut w = World::new(two_by_two()).start();
    w.run(10 * SECONDS);
    w.dead.insert("spine1".into());
    w.input(&Input::Device { device: "spine1", connected: false });
    let wrong = Key::new(1, b"another key than ours").unwrap();
    for n in 0..8 {
        w.run(500 * MILLIS);
        let unit = w.machine.unit(w.machine.by_port[&p("leaf1", 1)]).signed(&wrong, EPOCH + w.now, 5000 + n);
        let link = crate::wire::ip::Link { dst: Mac([2; 6]), src: Mac([4; 6]), tags: crate::wire::Tags::None };
        let end = (std::net::IpAddr::V4(echo::ECHO_ADDRESS), echo::ECHO_PORT);
        w.inject(&p("leaf1", 1), &crate::wire::ip::udp(link, end, end, &unit).unwrap());
    }
    assert_eq!(w.links(), ["leaf1/2~spine2/1", "leaf2/2~spine2/2"]);
}

#[test]
fn two_thousand_ports_cost_little() {
    let mut net = TestNet::default();
    for leaf in 0..48u32 {
        net.switch(&format!("leaf{leaf}"), leaf as u8);
    }
    for spine in 0..16u32 {
        net.switch(&format!("spine{spine}"), 100 + spine as u8);
    }
    for leaf in 0..48u32 {
        for port in 0..21u32 {
            // 48 x 21 = 1,008 links, 2,016 ports
            let n = leaf * 21 + port;
            net.link((&format!("leaf{leaf}"), port + 1), (&format!("spine{}", n % 16), n / 16 + 1));
        }
    }
    let mut w = World::new(net);
    // Finding an intended peer is a look-up in the View; here it is a scan, so it is done once.
    let start = std::time::Instant::now();
    w = w.start();
    w.run(200 * MILLIS);
    assert_eq!(w.links().len(), 1008);
    let (sent, began) = (w.sent.len(), w.wakeups);
    w.sent.clear();
    let running = std::time::Instant::now();
    w.run(10 * SECONDS);
    let busy = running.elapsed();
    let frames = w.sent.len() as u64;
    assert!((20_000..25_000).contains(&frames), "{frames} frames in 10 s");
    assert!(w.wakeups - began <= 2_000, "{} wakeups in 10 s", w.wakeups - began);
    assert!(busy < std::time::Duration::from_secs(2), "10 s of LLDP for 2,016 ports took {busy:?}");
    eprintln!(
        "2,016 ports: {sent} frames to start in {:?}; then 10 s of LLDP (signed, sent, verified) took {busy:?}",
        running - start
    );
}

/// One fabric under two masters, each with a machine of its own.
struct TwoMasters {
    worlds: [World; 2],
    /// Directions that lose everything.
    cut: HashSet<PortRef>,
}

impl TwoMasters {
    /// The first is master of the switches whose names begin with `leaf`.
    fn start() -> Self {
        let worlds = [true, false].map(|leaves| Self::master(leaves, 7, World::new(two_by_two())));
        TwoMasters { worlds, cut: HashSet::new() }
    }

    /// A machine becomes the master of leaves or spines.
    fn master(leaves: bool, term: u64, mut world: World) -> World {
        world.cables.clear();
        world.input(&Input::Changed(Change::All));
        for d in world.net.router_macs.keys().cloned().collect::<Vec<_>>() {
            let ours = d.starts_with("leaf") == leaves;
            if ours {
                world.input(&Input::Master { device: &d, term });
            }
            world.input(&Input::Device { device: &d, connected: ours });
        }
        world
    }

    fn run(&mut self, time: Nanos) {
        let end = self.worlds[0].now + time;
        while self.worlds[0].now < end {
            for w in &mut self.worlds {
                w.run(10 * MILLIS);
            }
            let far = |at: &PortRef| {
                let ends = two_by_two().intended.into_iter().find(|(a, b)| a == at || b == at);
                ends.map(|(a, b)| if a == *at { b } else { a })
            };
            for (from, to) in [(0, 1), (1, 0)] {
                for (at, frame) in std::mem::take(&mut self.worlds[from].sent) {
                    if !self.cut.contains(&at)
                        && let Some(peer) = far(&at)
                        && Frame::parse(&frame).unwrap().ether_type == ETH_LLDP
                    {
                        self.worlds[to].inject(&peer, &frame);
                    }
                }
            }
        }
    }

    fn links(&self) -> [usize; 2] {
        [0, 1].map(|i| self.worlds[i].links().len())
    }
}

#[test]
fn links_between_switches_of_two_masters_are_seen_by_both() {
    let mut both = TwoMasters::start();
    both.run(300 * MILLIS);
    assert_eq!(both.links(), [4, 4]);
    both.run(20 * SECONDS);
    assert_eq!((both.links(), both.worlds[0].downs(), both.worlds[1].downs()), ([4, 4], vec![], vec![]));
    // One direction is cut. The spines' master still hears the leaf, which hears nothing: here only the silence of the
    // leaf's own frames about it tells.
    both.cut.insert(p("spine1", 1));
    both.worlds[0].port(&p("leaf1", 1), false);
    both.worlds[0].port(&p("leaf1", 1), true);
    both.run(10 * SECONDS);
    assert_eq!(both.links(), [3, 3]);
    assert_eq!(both.worlds[1].downs(), [LinkLoss::Silent]);
    both.cut.clear();
    both.run(2 * SECONDS);
    assert_eq!(both.links(), [4, 4]);
}

#[test]
fn a_new_master_whose_clock_is_behind_is_believed_at_once_and_the_old_one_no_more() {
    let mut both = TwoMasters::start();
    both.run(5 * SECONDS);
    assert_eq!(both.links(), [4, 4]);
    let mut behind = World::new(two_by_two());
    behind.machine = Links::new(LinksConfig::new(vec![key()], EPOCH - 4 * SECONDS));
    behind.now = both.worlds[0].now;
    let mut old = std::mem::replace(&mut both.worlds[1], TwoMasters::master(false, 9, behind));
    both.run(SECONDS);
    let replayed = |w: &World| w.machine.counters().into_iter().find(|(name, _)| *name == "replayed").unwrap().1;
    assert_eq!((both.links(), both.worlds[0].downs(), replayed(&both.worlds[0])), ([4, 4], vec![], 0));
    // What the old one still sends has the later time and is nevertheless of before.
    old.run(1100 * MILLIS);
    let (_, late) = old.sent.iter().rev().find(|(at, _)| *at == p("spine1", 1)).unwrap();
    both.worlds[0].inject(&p("leaf1", 1), late);
    assert_eq!(replayed(&both.worlds[0]), 1);
    both.run(10 * SECONDS);
    assert_eq!((both.links(), both.worlds[0].downs(), both.worlds[1].downs()), ([4, 4], vec![], vec![]));
}
