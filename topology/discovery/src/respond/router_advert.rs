//! Router advertisements, periodic and solicited (RFC 4861 §6.2), out of every edge port of VLANs that have them.

use super::flood;
use crate::machine::{Change, Input, MILLIS, Nanos, Output, PacketMachine, Punt, PuntAction, PuntTo, SECONDS};
use crate::net::{Net, PortRef, PortRole, RouterAdvert};
use crate::timers::{Jitter, Timers};
use crate::wire::ip::{Ip, Link};
use crate::wire::ndp::{Ndp, Prefix, ROUTER_SOLICIT, RouterAdvertMsg};
use crate::wire::{ALL_NODES, ETH_IPV6, Mac, Tags};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

/// RFC 4861 §10.
const MAX_INITIAL: u8 = 3;
const MAX_INITIAL_INTERVAL: Nanos = 16 * SECONDS;
const MIN_BETWEEN: Nanos = 3 * SECONDS;
const MAX_DELAY: Nanos = 500 * MILLIS;

type Place = (u16, PortRef);

#[derive(Debug)]
struct Slot {
    tags: Tags,
    due: Nanos,
    /// Of the first few, sent at short intervals.
    initial: u8,
    /// Last one to all nodes.
    sent: Option<Nanos>,
}

/// The router advertisement machine.
#[derive(Debug)]
pub struct RouterAdverts {
    slots: HashMap<Place, Slot>,
    /// What each VLAN is told; the prefixes with it.
    messages: BTreeMap<u16, (RouterAdvert, RouterAdvertMsg)>,
    timers: Timers<Place>,
    jitter: Jitter,
    periodic: u64,
    solicited: u64,
}

impl RouterAdverts {
    pub fn new(seed: u64) -> Self {
        RouterAdverts {
            slots: HashMap::new(),
            messages: BTreeMap::new(),
            timers: Timers::default(),
            jitter: Jitter::new(seed),
            periodic: 0,
            solicited: 0,
        }
    }

    fn rebuild(&mut self, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let mut messages = BTreeMap::new();
        let mut places = HashMap::new();
        net.visit_ports(&mut |at, port| {
            if port.role != PortRole::Edge || !port.enabled {
                return;
            }
            for vlan in port.vlans.all() {
                let message = messages.entry(vlan).or_insert_with(|| message(net, vlan));
                if message.is_some()
                    && let Some(tags) = port.vlans.tags_for(vlan)
                {
                    places.insert((vlan, at.clone()), tags);
                }
            }
        });
        // RFC 4861 §6.2.5: who stops advertising says so.
        let ended: Vec<Place> = self.slots.keys().filter(|p| !places.contains_key(*p)).cloned().collect();
        for place in ended {
            if let (Some(slot), Some((_, last))) = (self.slots.remove(&place), self.messages.get(&place.0)) {
                let last = RouterAdvertMsg { lifetime_s: 0, ..last.clone() };
                out.extend(send(net, &place.1, slot.tags, last, None));
            }
        }
        let messages: BTreeMap<u16, (RouterAdvert, RouterAdvertMsg)> =
            messages.into_iter().filter_map(|(vlan, m)| Some((vlan, m?))).collect();
        for (place, tags) in places {
            let changed = self.messages.get(&place.0) != messages.get(&place.0);
            match self.slots.get_mut(&place) {
                Some(slot) if !changed => slot.tags = tags,
                slot => {
                    // New, or something new to say: soon, and a few times. MIN_DELAY_BETWEEN_RAS holds for these too.
                    let sent = slot.and_then(|s| s.sent);
                    let soonest = now.max(sent.map_or(0, |t| t + MIN_BETWEEN));
                    let due = self.timers.add(soonest + self.jitter.below(MAX_DELAY), place.clone());
                    self.slots.insert(place, Slot { tags, due, initial: 0, sent });
                }
            }
        }
        self.messages = messages;
    }

    fn tick(&mut self, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        while let Some((due, place)) = self.timers.pop(now) {
            let Some(slot) = self.slots.get_mut(&place).filter(|s| s.due == due) else { continue };
            let Some((config, message)) = self.messages.get(&place.0) else { continue };
            let max = Nanos::from(config.interval_s.clamp(4, 1800)) * SECONDS;
            let min = (max / 3).max(3 * SECONDS);
            let mut pause = min + self.jitter.below(max.saturating_sub(min) + 1);
            if slot.initial < MAX_INITIAL {
                slot.initial += 1;
                pause = pause.min(MAX_INITIAL_INTERVAL);
            }
            slot.sent = Some(now);
            slot.due = self.timers.add(now + pause, place.clone());
            self.periodic += 1;
            out.extend(send(net, &place.1, slot.tags, message.clone(), None));
        }
    }

    fn solicit(
        &mut self,
        at: &PortRef,
        frame: &crate::wire::Frame<'_>,
        net: &dyn Net,
        now: Nanos,
        out: &mut Vec<Output>,
    ) {
        let Some(vlan) = net.classify(at, frame.tags) else { return };
        let Ok(ip) = Ip::parse(frame) else { return };
        let (Ok(Ndp::RouterSolicit { .. }), Some(from)) = (Ndp::parse(&ip), ip.src6()) else { return };
        let place = (vlan, at.clone());
        let (Some(slot), Some((_, message))) = (self.slots.get_mut(&place), self.messages.get(&vlan)) else {
            // The fabric is no router here; perhaps somebody else is.
            if frame.dst.is_group() {
                flood(net, vlan, at, frame, out);
            }
            return;
        };
        self.solicited += 1;
        if from.is_unspecified() {
            // To all nodes, delayed and not more often than every three seconds (§6.2.6).
            let soonest = now.max(slot.sent.map_or(0, |t| t + MIN_BETWEEN));
            let due = soonest + self.jitter.below(MAX_DELAY);
            if due < slot.due {
                slot.due = self.timers.add(due, place);
            }
        } else if frame.src.is_host() {
            out.extend(send(net, at, frame.tags, message.clone(), Some((frame.src, from))));
        }
    }
}

/// What a VLAN is told; `None` where the fabric does not advertise.
fn message(net: &dyn Net, vlan: u16) -> Option<(RouterAdvert, RouterAdvertMsg)> {
    let config = net.router_advert(vlan)?;
    let mut prefixes = Vec::new();
    net.visit_gateways(vlan, &mut |g| {
        if let IpAddr::V6(ip) = g.ip {
            let mask = u128::MAX.checked_shl(128 - u32::from(g.prefix_len.min(128))).unwrap_or(0);
            prefixes.push(Prefix {
                addr: Ipv6Addr::from(u128::from(ip) & mask),
                len: g.prefix_len.min(128),
                on_link: true,
                // RFC 4862 §5.5.3: interface identifiers have 64 bits.
                autonomous: config.autonomous && g.prefix_len == 64,
                valid_s: config.valid_s,
                preferred_s: config.preferred_s.min(config.valid_s),
            });
        }
    });
    if prefixes.is_empty() {
        return None;
    }
    let message = RouterAdvertMsg {
        hop_limit: 64,
        managed: config.managed,
        other: config.other,
        lifetime_s: config.lifetime_s.min(9000),
        mtu_bytes: config.mtu_bytes,
        prefixes,
        dns: config.dns.clone(),
        dns_lifetime_s: u32::from(config.interval_s) * 3,
        ..Default::default()
    };
    Some((config, message))
}

/// To one host, or to all nodes.
fn send(
    net: &dyn Net,
    at: &PortRef,
    tags: Tags,
    mut message: RouterAdvertMsg,
    to: Option<(Mac, Ipv6Addr)>,
) -> Option<Output> {
    let mac = net.router_mac(&at.device)?;
    message.lladdr = Some(mac);
    let (dst_mac, dst) = to.unwrap_or((Mac::for_multicast6(ALL_NODES), ALL_NODES));
    let frame = Ndp::RouterAdvert(message).frame(Link { dst: dst_mac, src: mac, tags }, mac.link_local(), dst);
    Some(Output::PacketOut { at: at.clone(), frame })
}

impl PacketMachine for RouterAdverts {
    fn name(&self) -> &'static str {
        "router-adverts"
    }

    fn wants(&self) -> Vec<Punt> {
        vec![Punt::icmp(ETH_IPV6, 58, ROUTER_SOLICIT, PuntTo::Group, PuntAction::Trap)]
    }

    fn handle(&mut self, input: &Input<'_>, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        match input {
            Input::PacketIn { at, frame, .. } => self.solicit(at, frame, net, now, out),
            Input::Changed(Change::All | Change::Topology | Change::Subnets) => self.rebuild(net, now, out),
            Input::Port { at, up: true } => {
                // Whoever is plugged in there now has not heard us.
                for vlan in self.messages.keys() {
                    let place = (*vlan, (*at).clone());
                    if let Some(slot) = self.slots.get_mut(&place) {
                        slot.initial = 0;
                        let soonest = now.max(slot.sent.map_or(0, |t| t + MIN_BETWEEN));
                        slot.due = self.timers.add(soonest + self.jitter.below(MAX_DELAY), place);
                    }
                }
            }
            Input::Tick => self.tick(net, now, out),
            _ => {}
        }
    }

    fn next_timeout(&self) -> Option<Nanos> {
        self.timers.next()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("periodic", self.periodic), ("solicited", self.solicited)]
    }
}
