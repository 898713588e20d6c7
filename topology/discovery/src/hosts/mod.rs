//! Hosts: learned from ARP, NDP and DHCP, moved, probed before they are forgotten, kept apart from impostors.
//!
//! What an edge port says about a host is a *sighting*: VLAN, MAC address, port, and an IP address when the packet
//! claims one. [`sight`](self) turns packets into sightings and refuses spoofed ones; the table below takes them.
//!
//! - A host seen at another port has moved. On the paired leaf it may have two legs instead: the old port is probed,
//!   and if the host answers there too it has both.
//! - An IP address claimed by a second host is contested: its holder is probed, and keeps it when it answers.
//! - A host that was silent for the aging time is probed, and forgotten when it stays silent.

mod probe;
mod sight;
mod table;
#[cfg(test)]
mod tests;

use crate::machine::{
    Alarm, AlarmKind, Change, Host, Input, Learned, MILLIS, Nanos, Observation, Output, PacketMachine, Punt,
    PuntAction, PuntTo, SECONDS, Why,
};
use crate::net::{Net, PortRef};
use crate::timers::{Jitter, Timers};
use crate::wire::{ETH_ARP, ETH_IPV4, ETH_IPV6, Mac, Tags};
pub(crate) use probe::{ask, ask_everywhere};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct HostsConfig {
    /// An address silent for so long is probed.
    pub age: Nanos,
    /// Between probes of an aging host, and how many.
    pub probe_interval: Nanos,
    pub probes: u8,
    /// Between probes that decide a contest or a second leg; `probes` of them.
    pub verify_interval: Nanos,
    /// Hosts whose only port is down are forgotten after so long.
    pub down_hold: Nanos,
    pub hosts_per_port: usize,
    pub ips_per_host: usize,
    /// More moves than this within `flap_window` freeze the host where it is for `flap_hold`.
    pub flap_moves: u8,
    pub flap_window: Nanos,
    pub flap_hold: Nanos,
    /// Learn also from the source of any IP packet that is punted.
    pub learn_from_ip: bool,
    pub seed: u64,
}

impl Default for HostsConfig {
    fn default() -> Self {
        HostsConfig {
            age: 300 * SECONDS,
            probe_interval: SECONDS,
            probes: 3,
            verify_interval: 300 * MILLIS,
            down_hold: 60 * SECONDS,
            hosts_per_port: 1024,
            ips_per_host: 16,
            flap_moves: 5,
            flap_window: 10 * SECONDS,
            flap_hold: 30 * SECONDS,
            learn_from_ip: false,
            seed: 1,
        }
    }
}

type Key = (u16, Mac);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// Aging of a host.
    Age(Key),
    /// The next probe for a second leg.
    Leg(Key),
    /// The next probe of the holder of an address.
    Contest(u16, IpAddr),
    /// The next request for an address somebody needs.
    Want(u16, IpAddr),
    /// An alarm that is cleared when its cause did not come again.
    Calm(AlarmKind, Box<str>),
}

#[derive(Debug)]
struct Entry {
    tags: Tags,
    learned: Learned,
    /// Latest first; one or two, empty only for hosts of other controllers.
    locations: Vec<PortRef>,
    ips: Vec<(IpAddr, Nanos)>,
    seen: Nanos,
    due: Nanos,
    /// Probes sent in this round of aging.
    round: u8,
    // Few hosts have these, and there are hundreds of thousands.
    leg: Option<Box<Leg>>,
    flap: Option<Box<Flap>>,
    /// Addresses not seen since then are probed now, whatever their age: the port was down.
    recheck: Option<Nanos>,
    /// Since when its only port is down.
    down_since: Option<Nanos>,
}

/// How often a host has moved lately.
#[derive(Debug, Default)]
struct Flap {
    moves: u8,
    since: Nanos,
    frozen_until: Nanos,
}

/// The former port of a host that may have two.
#[derive(Debug)]
struct Leg {
    old: PortRef,
    tries: u8,
    due: Nanos,
}

#[derive(Debug)]
struct Contest {
    claimant: Mac,
    tries: u8,
    due: Nanos,
}

#[derive(Debug)]
struct Want {
    pause: Nanos,
    due: Nanos,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    sightings: u64,
    learned: u64,
    moved: u64,
    forgotten: u64,
    probes: u64,
    spoofed: u64,
    duplicates: u64,
    over_limit: u64,
    frozen: u64,
    off_subnet: u64,
    pinned_elsewhere: u64,
    no_vlan: u64,
}

/// The host machine.
pub struct Hosts {
    config: HostsConfig,
    table: HashMap<Key, Entry>,
    by_ip: HashMap<(u16, IpAddr), Mac>,
    by_port: HashMap<PortRef, HashSet<Key>>,
    contests: HashMap<(u16, IpAddr), Contest>,
    wants: BTreeMap<(u16, IpAddr), Want>,
    down: HashSet<PortRef>,
    connected: HashSet<Arc<str>>,
    /// Alarms raised and when their cause was last seen.
    alarms: HashMap<(AlarmKind, String), Nanos>,
    timers: Timers<Due>,
    jitter: Jitter,
    count: Count,
}

/// Alarms without an end of their own are cleared after so long.
const CALM_AFTER: Nanos = 60 * SECONDS;
const CONTESTS: usize = 1024;
const WANT_FIRST: Nanos = SECONDS;
const WANT_LAST: Nanos = 30 * SECONDS;

impl Hosts {
    pub fn new(config: HostsConfig) -> Self {
        let jitter = Jitter::new(config.seed);
        Hosts {
            config,
            table: HashMap::new(),
            by_ip: HashMap::new(),
            by_port: HashMap::new(),
            contests: HashMap::new(),
            wants: BTreeMap::new(),
            down: HashSet::new(),
            connected: HashSet::new(),
            alarms: HashMap::new(),
            timers: Timers::default(),
            jitter,
            count: Count::default(),
        }
    }

    /// Number of known hosts.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Raises an alarm, or notes that its cause is still there.
    fn alarm(
        &mut self,
        kind: AlarmKind,
        subject: String,
        now: Nanos,
        out: &mut Vec<Output>,
        text: impl FnOnce() -> String,
    ) {
        let key = (kind, subject);
        if let Some(last) = self.alarms.get_mut(&key) {
            *last = now;
            return;
        }
        out.push(Alarm::raise(kind, key.1.clone(), text()));
        self.timers.add(now + CALM_AFTER, Due::Calm(kind, key.1.as_str().into()));
        self.alarms.insert(key, now);
    }

    fn calm(&mut self, kind: AlarmKind, subject: String, now: Nanos, out: &mut Vec<Output>) {
        let key = (kind, subject);
        let Some(last) = self.alarms.get(&key) else { return };
        if now.saturating_sub(*last) >= CALM_AFTER {
            self.alarms.remove(&key);
            out.push(Alarm::clear(kind, key.1));
        } else {
            self.timers.add(*last + CALM_AFTER, Due::Calm(kind, key.1.into()));
        }
    }

    fn publish(&self, key: Key, out: &mut Vec<Output>) {
        let Some(e) = self.table.get(&key) else { return };
        let mut ips: Vec<IpAddr> = e.ips.iter().map(|(ip, _)| *ip).collect();
        ips.sort_unstable();
        let (locations, tags) = (e.locations.clone(), e.tags.to_vec());
        let host = Host { vlan: key.0, mac: key.1, ips, locations, tags, learned: e.learned };
        out.push(Output::Observe(Observation::Host(host)));
    }

    fn tick(&mut self, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        while let Some((due, what)) = self.timers.pop(now) {
            match what {
                Due::Age(key) => {
                    if self.table.get(&key).is_some_and(|e| e.due == due) {
                        self.age(key, net, now, out);
                    }
                }
                Due::Leg(key) => {
                    if self.table.get(&key).and_then(|e| e.leg.as_ref()).is_some_and(|l| l.due == due) {
                        self.verify_leg(key, net, now, out);
                    }
                }
                Due::Contest(vlan, ip) => {
                    if self.contests.get(&(vlan, ip)).is_some_and(|c| c.due == due) {
                        self.contest_round(vlan, ip, net, now, out);
                    }
                }
                Due::Want(vlan, ip) => {
                    if self.wants.get(&(vlan, ip)).is_some_and(|w| w.due == due) {
                        self.want_round(vlan, ip, net, now, out);
                    }
                }
                Due::Calm(kind, subject) => self.calm(kind, subject.into(), now, out),
            }
        }
    }

    /// Hosts that were known before we started, and the addresses that somebody needs.
    fn changed(&mut self, change: Change, net: &dyn Net, now: Nanos) {
        match change {
            Change::All => {
                net.visit_hosts(&mut |h| self.restore(h, now));
                self.rebuild_wants(net, now);
            }
            Change::Subnets | Change::Routes => self.rebuild_wants(net, now),
            Change::Topology => {}
            Change::Host { vlan, mac } => self.host_changed(vlan, mac, net),
        }
    }

    fn rebuild_wants(&mut self, net: &dyn Net, now: Nanos) {
        let mut wanted = BTreeMap::new();
        let mut old = std::mem::take(&mut self.wants);
        let timers = &mut self.timers;
        net.visit_wanted_neighbours(&mut |vlan, ip| {
            let want = old
                .remove(&(vlan, ip))
                .unwrap_or_else(|| Want { pause: WANT_FIRST, due: timers.add(now, Due::Want(vlan, ip)) });
            wanted.entry((vlan, ip)).or_insert(want);
        });
        self.wants = wanted;
    }
}

impl PacketMachine for Hosts {
    fn name(&self) -> &'static str {
        "hosts"
    }

    fn wants(&self) -> Vec<Punt> {
        let copy = PuntAction::Copy;
        let mut w = Vec::new();
        for to in [PuntTo::Group, PuntTo::Unicast] {
            w.push(Punt::ether(ETH_ARP, to, copy));
            for kind in [133, 135, 136] {
                w.push(Punt::icmp(ETH_IPV6, 58, kind, to, copy));
            }
        }
        w.push(Punt::icmp(ETH_IPV6, 58, 134, PuntTo::Group, copy));
        w.push(Punt::udp(ETH_IPV4, 67, PuntTo::Group, copy));
        w.push(Punt::udp(ETH_IPV4, 67, PuntTo::Gateways, copy));
        w.push(Punt::udp(ETH_IPV6, 547, PuntTo::Gateways, copy));
        w
    }

    fn handle(&mut self, input: &Input<'_>, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        match input {
            Input::PacketIn { at, frame, .. } => self.packet(at, frame, net, now, out),
            Input::Port { at, up } => self.port_state(at, *up, net, now, out),
            Input::Device { device, connected: true } => {
                self.connected.insert((*device).into());
            }
            Input::Device { device, connected: false } => {
                self.connected.remove(*device);
            }
            Input::Changed(change) => self.changed(*change, net, now),
            Input::Master { .. } => {}
            Input::Tick => self.tick(net, now, out),
        }
    }

    fn takes(&self, why: Why) -> bool {
        matches!(why, Why::Rule | Why::Answered)
    }

    fn next_timeout(&self) -> Option<Nanos> {
        self.timers.next()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let c = self.count;
        vec![
            ("hosts", self.table.len() as u64),
            ("sightings", c.sightings),
            ("learned", c.learned),
            ("moved", c.moved),
            ("forgotten", c.forgotten),
            ("probes", c.probes),
            ("spoofed", c.spoofed),
            ("duplicates", c.duplicates),
            ("over_limit", c.over_limit),
            ("frozen", c.frozen),
            ("off_subnet", c.off_subnet),
            ("pinned_elsewhere", c.pinned_elsewhere),
            ("no_vlan", c.no_vlan),
        ]
    }
}
