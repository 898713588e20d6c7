//! Links by signed LLDP: sends out of every fabric port, learns directed links, merges them, reports wrong cabling.
//!
//! A port *hears* another port while signed frames of it arrive. A link is up when both ends hear one another, neither
//! end is down by its switch's word, and it is intended. It goes down when an end goes down, when one hears another
//! port, or when frames stay away that were sent: a controller that lost a switch, or stood still itself, learns nothing
//! from silence. Where the far end has another master its own frames tell whether it hears ours. Of a spine without a
//! session the leaves ask whether it still forwards (see [`echo`]).
//!
//! ```text
//!            signed frame            both hear, intended, not down
//!  silent ───────────────► hearing ─────────────────────────────────► up
//!     ▲                      │  ▲                                      │
//!     └──── N intervals ─────┘  └──── port down / recabled / silent ───┘
//! ```

pub mod echo;
mod port;
mod receive;
#[cfg(test)]
mod tests;

use crate::machine::{
    Alarm, AlarmKind, Change, Input, LinkLoss, MILLIS, Nanos, Observation, Output, PacketMachine, Punt, PuntAction,
    PuntTo, SECONDS,
};
use crate::net::{Net, PortRef};
use crate::timers::{Jitter, Timers};
use crate::wire::lldp::{Key, NEAREST_BRIDGE};
use crate::wire::{ETH_IPV4, ETH_LLDP, Mac};
use port::{Slot, SlotId};
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct LinksConfig {
    /// Between two frames out of a port.
    pub interval: Nanos,
    /// Each interval is shortened by up to so many percent, so that ports do not send in step.
    pub jitter_percent: u8,
    /// A neighbour is lost after so many frames that did not arrive, and as many intervals.
    pub missed: u32,
    /// Frames sent at a tenth of the interval after a port came up.
    pub fast_count: u8,
    /// Signed time and ours may differ by so much; older frames are replays.
    pub window: Nanos,
    /// Unix time, in nanoseconds, of the caller's time 0.
    pub epoch_unix_ns: u64,
    /// The first signs, all verify: so a key can be changed without losing a link. Empty: nothing is sent or believed.
    pub keys: Vec<Key>,
    /// Believe in links between two ports of which neither has an intended link.
    pub accept_undeclared: bool,
    pub seed: u64,
}

impl LinksConfig {
    pub fn new(keys: Vec<Key>, epoch_unix_ns: u64) -> Self {
        LinksConfig {
            interval: SECONDS,
            jitter_percent: 10,
            missed: 3,
            fast_count: 4,
            window: 5 * SECONDS,
            epoch_unix_ns,
            keys,
            accept_undeclared: false,
            seed: epoch_unix_ns,
        }
    }

    fn hold(&self) -> Nanos {
        self.interval * u64::from(self.missed.max(1)) + self.interval / 2
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Due {
    /// Send a frame.
    Send,
    /// Look whether the neighbour is still heard.
    Expire,
    /// Look whether forged frames stopped.
    Calm,
}

#[derive(Debug, Default)]
struct Device {
    connected: bool,
    /// When our mastership of it began, as the store counts.
    term: u64,
    /// It reports port states itself.
    reports: bool,
    router_mac: Option<Mac>,
    ports: Vec<SlotId>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    sent: u64,
    received: u64,
    unsigned: u64,
    forged: u64,
    replayed: u64,
    malformed: u64,
    echoed: u64,
}

/// The LLDP machine.
pub struct Links {
    config: LinksConfig,
    devices: HashMap<Arc<str>, Device>,
    by_port: HashMap<PortRef, SlotId>,
    slots: Vec<Slot>,
    timers: Timers<(Due, SlotId)>,
    jitter: Jitter,
    count: Count,
}

impl Links {
    pub fn new(config: LinksConfig) -> Self {
        let jitter = Jitter::new(config.seed);
        Links {
            config,
            devices: HashMap::new(),
            by_port: HashMap::new(),
            slots: Vec::new(),
            timers: Timers::default(),
            jitter,
            count: Count::default(),
        }
    }

    /// Links that are up, each once, `a < b`.
    pub fn up(&self) -> impl Iterator<Item = (&PortRef, &PortRef)> {
        self.slots.iter().filter_map(|s| {
            let peer = &self.slots[s.link?].at;
            (s.at < *peer).then_some((&s.at, peer))
        })
    }

    fn device(&mut self, name: &Arc<str>) -> &mut Device {
        if !self.devices.contains_key(name) {
            self.devices.insert(name.clone(), Device::default());
        }
        self.devices.entry(name.clone()).or_default()
    }

    /// The slot of a port, made when it is new.
    fn slot(&mut self, at: &PortRef) -> SlotId {
        if let Some(id) = self.by_port.get(at) {
            return *id;
        }
        let id = self.slots.len();
        self.slots.push(Slot::new(at.clone()));
        self.by_port.insert(at.clone(), id);
        self.device(&at.device).ports.push(id);
        id
    }

    fn reports(&self, id: SlotId) -> bool {
        self.devices.get(&self.slots[id].at.device).is_some_and(|d| d.reports) && self.slots[id].oper == Some(true)
    }

    /// Ports, roles or intended links changed.
    fn rebuild(&mut self, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        for s in &mut self.slots {
            s.present = false;
            s.sends = false;
        }
        let mut stagger = 0;
        net.visit_ports(&mut |at, port| {
            let id = self.slot(&at);
            let s = &mut self.slots[id];
            s.present = true;
            s.sends = port.enabled && port.role != crate::net::PortRole::Edge;
            s.intended = None;
        });
        for id in 0..self.slots.len() {
            let at = self.slots[id].at.clone();
            if self.slots[id].present
                && let Some(peer) = net.intended_peer(&at)
            {
                let peer = self.slot(&peer);
                self.slots[id].intended = Some(peer);
                self.slots[id].echo_label = net.echo_label(&at.device, &self.slots[peer].at.device);
            }
            if self.slots[id].sends && !self.slots[id].sending {
                // 2,000 ports start within 100 ms and not all at once.
                stagger += 50_000;
                self.send_soon(id, now + stagger);
            }
        }
        for (name, device) in &mut self.devices {
            device.router_mac = net.router_mac(name);
        }
        for id in 0..self.slots.len() {
            if let Some(peer) = self.slots[id].link
                && !self.wanted(id, peer)
            {
                self.link_down(id, LinkLoss::Removed, out);
            }
            match self.slots[id].heard {
                Some(_) if !self.slots[id].present => {
                    self.slots[id].heard = None;
                    self.judge_cabling(id, out);
                }
                Some(h) => {
                    self.judge_cabling(id, out);
                    self.try_up(id, h.from, now, out);
                }
                None => {}
            }
        }
    }

    /// Whether a link between two ports may be used.
    fn wanted(&self, a: SlotId, b: SlotId) -> bool {
        let (x, y) = (&self.slots[a], &self.slots[b]);
        let allowed = match (x.intended, y.intended) {
            (None, None) => self.config.accept_undeclared,
            (i, j) => i == Some(b) && j == Some(a),
        };
        allowed && a != b && x.sends && y.sends
    }

    /// Links that were up before we started are up until shown otherwise.
    fn restore(&mut self, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let mut faults = Vec::new();
        net.visit_cabling_faults(&mut |at| faults.push(at));
        for at in faults {
            let id = self.slot(&at);
            if self.slots[id].fault.is_none() {
                // Equal to no fault that can be found, so that whatever is found is said.
                self.slots[id].fault = Some((SlotId::MAX, None));
                self.slots[id].expiring = Some(self.timers.add(now + self.config.hold(), (Due::Expire, id)));
            }
        }
        let mut known = Vec::new();
        net.visit_links(&mut |a, b| known.push((a, b)));
        for (a, b) in known {
            let (x, y) = (self.slot(&a), self.slot(&b));
            if self.slots[x].link.is_some() || self.slots[y].link.is_some() {
                continue;
            }
            if self.wanted(x, y) {
                for (here, there) in [(x, y), (y, x)] {
                    self.slots[here].link = Some(there);
                    self.hear(here, there, now);
                }
            } else {
                let (a, b) = if a < b { (a, b) } else { (b, a) };
                out.push(Output::Observe(Observation::LinkDown { a, b, why: LinkLoss::Removed }));
            }
        }
    }

    fn port_state(&mut self, at: &PortRef, up: bool, now: Nanos, out: &mut Vec<Output>) {
        let id = self.slot(at);
        self.device(&at.device).reports = true;
        let before = self.slots[id].oper.replace(up);
        if up {
            if before != Some(true) {
                self.slots[id].fast = self.config.fast_count;
                self.send_soon(id, now);
            }
            return;
        }
        // Both directions must be heard again before the link is used again.
        let peers = [self.slots[id].link, self.slots[id].heard.map(|h| h.from)];
        self.link_down(id, LinkLoss::PortDown, out);
        self.set_alarm(id, AlarmKind::LldpSilent, None, out);
        self.slots[id].heard = None;
        self.slots[id].told = None;
        self.judge_cabling(id, out);
        for peer in peers.into_iter().flatten() {
            self.set_alarm(peer, AlarmKind::LldpSilent, None, out);
            self.slots[peer].told = None;
            if self.slots[peer].heard.is_some_and(|h| h.from == id) {
                self.slots[peer].heard = None;
                self.judge_cabling(peer, out);
            }
        }
    }

    fn device_state(&mut self, name: &str, connected: bool, now: Nanos) {
        let name: Arc<str> = name.into();
        let device = self.device(&name);
        if device.connected == connected {
            return;
        }
        device.connected = connected;
        for id in device.ports.clone() {
            if connected {
                self.slots[id].fast = self.config.fast_count;
                self.send_soon(id, now);
            }
            // What was sent from here on counts, in both directions.
            let far = self.slots[id].heard.map(|h| h.from).or(self.slots[id].link);
            for end in [Some(id), far].into_iter().flatten() {
                let s = &mut self.slots[end];
                (s.unheard, s.unechoed) = (0, 0);
                if let Some(h) = &mut s.heard {
                    h.at = now;
                }
            }
        }
    }

    fn try_up(&mut self, id: SlotId, peer: SlotId, now: Nanos, out: &mut Vec<Output>) {
        if self.slots[id].link == Some(peer) || !self.wanted(id, peer) {
            return;
        }
        let down = |s: &Slot| s.oper == Some(false);
        if down(&self.slots[id]) || down(&self.slots[peer]) {
            return;
        }
        if self.hears(peer, id) {
            self.link_down(id, LinkLoss::Recabled, out);
            self.link_down(peer, LinkLoss::Recabled, out);
            self.slots[id].link = Some(peer);
            self.slots[peer].link = Some(id);
            for end in [id, peer] {
                self.set_alarm(end, AlarmKind::OneWay, None, out);
                self.set_alarm(end, AlarmKind::LldpSilent, None, out);
            }
            let (a, b) = self.ends(id, peer);
            out.push(Output::Observe(Observation::LinkUp { a, b }));
            if !self.is_ours(peer) {
                // Its master waits for our word.
                self.send_soon(id, now);
            }
            return;
        }
        // The far end has not heard us yet: do not let it wait for the interval.
        self.send_soon(id, now);
        let since = self.slots[id].heard.map_or(now, |h| h.since);
        let far = &self.slots[peer].at;
        if self.is_ours(peer) && now.saturating_sub(since) > self.config.hold() {
            let text = format!("{} hears {far}, but {far} does not hear {}", self.slots[id].at, self.slots[id].at);
            self.set_alarm(id, AlarmKind::OneWay, Some(text), out);
        }
    }

    /// Whether we have the session to a port's switch.
    fn is_ours(&self, id: SlotId) -> bool {
        self.devices.get(&self.slots[id].at.device).is_some_and(|d| d.connected)
    }

    /// Whether frames of `from` arrive at `at`: as we see it, or as `at` tells where another controller is master.
    fn hears(&self, at: SlotId, from: SlotId) -> bool {
        let s = &self.slots[at];
        s.heard.is_some_and(|h| h.from == from) || (s.told == Some(from) && !self.is_ours(at))
    }

    fn ends(&self, a: SlotId, b: SlotId) -> (PortRef, PortRef) {
        let (a, b) = (self.slots[a].at.clone(), self.slots[b].at.clone());
        if a < b { (a, b) } else { (b, a) }
    }

    fn link_down(&mut self, id: SlotId, why: LinkLoss, out: &mut Vec<Output>) {
        let Some(peer) = self.slots[id].link.take() else { return };
        self.slots[peer].link = None;
        for end in [id, peer] {
            self.set_alarm(end, AlarmKind::LldpSilent, None, out);
        }
        let (a, b) = self.ends(id, peer);
        out.push(Output::Observe(Observation::LinkDown { a, b, why }));
    }

    /// Whether frames of `from` should have arrived at `id` and did not.
    fn is_lost(&self, id: SlotId, from: SlotId) -> bool {
        let (here, there) = (&self.slots[id], &self.slots[from]);
        if !there.present || !there.sends || there.oper == Some(false) {
            return true;
        }
        let missed = self.config.missed.max(1);
        match (self.is_ours(id), self.is_ours(from)) {
            (true, true) => there.unheard >= missed,
            (true, false) => here.link == Some(from) && here.unechoed >= missed,
            _ => false,
        }
    }

    /// The neighbour of `id` was not heard for long.
    fn expire(&mut self, id: SlotId, now: Nanos, out: &mut Vec<Output>) {
        self.slots[id].expiring = None;
        let Some(heard) = self.slots[id].heard else {
            self.judge_cabling(id, out);
            return;
        };
        let deadline = heard.at + self.config.hold();
        if deadline > now || !self.is_lost(id, heard.from) {
            let again = deadline.max(now + self.config.interval / 2);
            self.slots[id].expiring = Some(self.timers.add(again, (Due::Expire, id)));
            return;
        }
        self.slots[id].heard = None;
        if self.slots[id].link == Some(heard.from) {
            // Both ends have to be heard again.
            self.slots[heard.from].heard = None;
            self.slots[heard.from].told = None;
            self.link_down(id, LinkLoss::Silent, out);
            if self.reports(id) && self.reports(heard.from) {
                let text = format!(
                    "nothing passes from {from} to {to}; their switches say both ports are up; the link is not used",
                    from = self.slots[heard.from].at,
                    to = self.slots[id].at
                );
                self.set_alarm(id, AlarmKind::LldpSilent, Some(text), out);
            }
        }
        self.set_alarm(id, AlarmKind::OneWay, None, out);
        self.set_alarm(id, AlarmKind::SharedSegment, None, out);
        self.judge_cabling(id, out);
    }

    /// Raises, changes or clears one alarm of a port.
    fn set_alarm(&mut self, id: SlotId, kind: AlarmKind, text: Option<String>, out: &mut Vec<Output>) {
        let s = &mut self.slots[id];
        let at = s.alarms.iter().position(|(k, _)| *k == kind);
        match (at, text) {
            (None, Some(text)) => {
                out.push(Alarm::raise(kind, s.at.to_string(), text.clone()));
                s.alarms.push((kind, text));
            }
            (Some(i), Some(text)) if s.alarms[i].1 != text => {
                out.push(Alarm::raise(kind, s.at.to_string(), text.clone()));
                s.alarms[i].1 = text;
            }
            (Some(i), None) => {
                s.alarms.swap_remove(i);
                out.push(Alarm::clear(kind, s.at.to_string()));
            }
            _ => {}
        }
    }

    fn tick(&mut self, now: Nanos, out: &mut Vec<Output>) {
        while let Some((due, (what, id))) = self.timers.pop(now) {
            match what {
                Due::Send if self.slots[id].next_send == Some(due) => self.send(id, now, out),
                Due::Expire if self.slots[id].expiring == Some(due) => self.expire(id, now, out),
                Due::Calm => self.calm(id, now, out),
                _ => {}
            }
        }
    }
}

impl PacketMachine for Links {
    fn name(&self) -> &'static str {
        "lldp"
    }

    fn wants(&self) -> Vec<Punt> {
        vec![
            Punt::ether(ETH_LLDP, PuntTo::Mac(NEAREST_BRIDGE), PuntAction::Trap),
            Punt::udp(ETH_IPV4, echo::ECHO_PORT, PuntTo::Unicast, PuntAction::Trap),
        ]
    }

    fn handle(&mut self, input: &Input<'_>, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        match input {
            Input::PacketIn { at, frame, .. } if frame.ether_type == ETH_LLDP => self.receive(at, frame, now, out),
            Input::PacketIn { at, frame, .. } if frame.ether_type == ETH_IPV4 => self.echoed(at, frame, now),
            Input::PacketIn { .. } => {}
            Input::Port { at, up } => self.port_state(at, *up, now, out),
            Input::Device { device, connected } => self.device_state(device, *connected, now),
            Input::Master { device, term } => self.device(&Arc::from(*device)).term = *term,
            Input::Changed(Change::All) => {
                self.rebuild(net, now, out);
                self.restore(net, now, out);
            }
            Input::Changed(Change::Topology) => self.rebuild(net, now, out),
            Input::Changed(_) => {}
            Input::Tick => self.tick(now, out),
        }
    }

    fn next_timeout(&self) -> Option<Nanos> {
        self.timers.next()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let c = self.count;
        vec![
            ("sent", c.sent),
            ("received", c.received),
            ("unsigned", c.unsigned),
            ("forged", c.forged),
            ("replayed", c.replayed),
            ("malformed", c.malformed),
            ("echoed", c.echoed),
        ]
    }
}

/// How long after the last forged frame its alarm is cleared.
const CALM_AFTER: Nanos = 60 * SECONDS;
/// Between two frames of one port at least.
const SEND_GAP: Nanos = 20 * MILLIS;
