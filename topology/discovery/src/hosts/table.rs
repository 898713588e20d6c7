//! The host table: where a sighting leads.

use super::sight::Sighting;
use super::{CONTESTS, Contest, Due, Entry, Hosts, Key, Leg};
use crate::machine::{AlarmKind, Host, Learned, Nanos, Observation, Output};
use crate::net::{Net, PortRef};
use crate::wire::{Mac, Tags};
use std::net::IpAddr;

impl Hosts {
    pub(super) fn take(&mut self, s: Sighting<'_>, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let key = (s.vlan, s.mac);
        let mut changed = false;
        if !self.table.contains_key(&key) {
            if !self.room(s.at, now, out) {
                return;
            }
            let mut locations = vec![s.at.clone()];
            locations.extend(self.twin(s.at, net));
            let due = now + self.config.age;
            self.insert(key, locations, s.tags, s.learned, now, due);
            self.count.learned += 1;
            changed = true;
        } else if !self.locate(key, s.at, net, now, out, &mut changed) {
            return;
        }
        let age = self.config.age;
        if let Some(e) = self.table.get_mut(&key) {
            e.seen = now;
            e.round = 0;
            e.down_since = None;
            if e.tags != s.tags {
                e.tags = s.tags;
                changed = true;
            }
            if e.due > now + age {
                e.due = self.timers.add(now + age, Due::Age(key));
            }
        }
        if let Some(ip) = s.ip {
            changed |= self.claim(key, ip, net, now, out);
        }
        if changed {
            if let Some(e) = self.table.get_mut(&key) {
                e.learned = s.learned;
            }
            self.publish(key, out);
        }
    }

    /// Takes a host in that is looked at again at `due`.
    fn insert(&mut self, key: Key, locations: Vec<PortRef>, tags: Tags, learned: Learned, seen: Nanos, due: Nanos) {
        let due = self.timers.add(due, Due::Age(key));
        for at in &locations {
            self.by_port.entry(at.clone()).or_default().insert(key);
        }
        let entry = Entry {
            tags,
            learned,
            locations,
            ips: Vec::new(),
            seen,
            due,
            round: 0,
            leg: None,
            flap: None,
            recheck: None,
            down_since: None,
        };
        self.table.insert(key, entry);
    }

    /// Whether another host may be learned at a port.
    fn room(&mut self, at: &PortRef, now: Nanos, out: &mut Vec<Output>) -> bool {
        let have = self.by_port.get(at).map_or(0, |s| s.len());
        let limit = self.config.hosts_per_port;
        if have < limit {
            return true;
        }
        self.count.over_limit += 1;
        self.alarm(AlarmKind::TooManyHosts, at.to_string(), now, out, || {
            format!("{at} has {have} hosts, allowed are {limit}; more are not learned")
        });
        false
    }

    /// The declared second port of a dual-homed host, unless it is down.
    fn twin(&self, at: &PortRef, net: &dyn Net) -> Option<PortRef> {
        net.port(at)?.twin.filter(|t| t != at && !self.down.contains(t))
    }

    /// Places a known host at the port it was seen at. False when the sighting is not believed.
    fn locate(
        &mut self,
        key: Key,
        at: &PortRef,
        net: &dyn Net,
        now: Nanos,
        out: &mut Vec<Output>,
        changed: &mut bool,
    ) -> bool {
        let Some(e) = self.table.get(&key) else { return false };
        // The old leg speaks: the host has both.
        if e.leg.as_ref().is_some_and(|l| l.old == *at) {
            let mut locations = vec![at.clone()];
            locations.extend(e.locations.first().cloned());
            if let Some(e) = self.table.get_mut(&key) {
                e.leg = None;
            }
            self.relocate(key, locations);
            *changed = true;
            return true;
        }
        if e.locations.contains(at) {
            return true;
        }
        if e.locations.is_empty() {
            self.relocate(key, vec![at.clone()]);
            *changed = true;
            return true;
        }
        if e.flap.as_ref().is_some_and(|f| now < f.frozen_until) {
            self.count.frozen += 1;
            return false;
        }
        if !self.room(at, now, out) {
            return false;
        }
        let Some(e) = self.table.get(&key) else { return false };
        let old = e.locations[0].clone();
        let gone = self.down.contains(&old);
        if let Some(twin) = self.twin(at, net) {
            // Declared as one pair of ports: both at once.
            if !e.locations.contains(&twin) {
                self.count_move(key, &old, at, now, out);
            }
            self.relocate(key, vec![at.clone(), twin]);
        } else if e.locations.len() == 1 && !gone && net.paired_leaf(&old.device).is_some_and(|p| p == at.device) {
            self.relocate(key, vec![at.clone()]);
            let due = self.timers.add(now, Due::Leg(key));
            if let Some(e) = self.table.get_mut(&key) {
                e.leg = Some(Box::new(Leg { old, tries: 0, due }));
            }
        } else {
            if !gone && !self.count_move(key, &old, at, now, out) {
                return false;
            }
            self.count.moved += u64::from(gone);
            if let Some(e) = self.table.get_mut(&key) {
                e.leg = None;
            }
            self.relocate(key, vec![at.clone()]);
            self.announce_moved(key, &old, net, out);
        }
        *changed = true;
        true
    }

    /// Counts a move between two live ports; false when the host moves too often and is held where it is.
    fn count_move(&mut self, key: Key, old: &PortRef, at: &PortRef, now: Nanos, out: &mut Vec<Output>) -> bool {
        let c = &self.config;
        let Some(e) = self.table.get_mut(&key) else { return false };
        let flap = e.flap.get_or_insert_default();
        if now.saturating_sub(flap.since) > c.flap_window {
            flap.since = now;
            flap.moves = 0;
        }
        flap.moves += 1;
        if flap.moves <= c.flap_moves {
            self.count.moved += 1;
            return true;
        }
        flap.frozen_until = now + c.flap_hold;
        flap.moves = 0;
        self.count.frozen += 1;
        let ((vlan, mac), hold) = (key, c.flap_hold / crate::machine::SECONDS);
        self.alarm(AlarmKind::HostFlapping, format!("{mac}/{vlan}"), now, out, || {
            format!("{mac} in VLAN {vlan} moves between {old} and {at}: a loop outside of the fabric or one address used twice; it stays at {old} for {hold} s")
        });
        false
    }

    fn relocate(&mut self, key: Key, locations: Vec<PortRef>) {
        let Some(e) = self.table.get_mut(&key) else { return };
        for at in &e.locations {
            if let Some(set) = self.by_port.get_mut(at) {
                set.remove(&key);
                if set.is_empty() {
                    self.by_port.remove(at);
                }
            }
        }
        for at in &locations {
            self.by_port.entry(at.clone()).or_default().insert(key);
        }
        e.locations = locations;
    }

    /// A host says that an address is its own. True when its list of addresses changed.
    fn claim(&mut self, key: Key, ip: IpAddr, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) -> bool {
        let (vlan, mac) = key;
        match self.by_ip.get(&(vlan, ip)).copied() {
            Some(holder) if holder == mac => {
                if let Some(e) = self.table.get_mut(&key)
                    && let Some(seen) = e.ips.iter_mut().find(|(i, _)| *i == ip)
                {
                    seen.1 = now;
                }
                if let Some(contest) = self.contests.remove(&(vlan, ip)) {
                    self.duplicate(vlan, ip, mac, contest.claimant, now, out);
                }
                false
            }
            Some(holder) => {
                let alive =
                    self.table.get(&(vlan, holder)).is_some_and(|h| h.locations.iter().any(|l| !self.down.contains(l)));
                if !alive {
                    return self.take_over(vlan, ip, holder, mac, now, out);
                }
                if self.alarms.contains_key(&(AlarmKind::DuplicateIp, ip.to_string())) {
                    // Decided a moment ago; ask again only when the alarm is over.
                    self.count.duplicates += 1;
                    let known =
                        self.table.get(&(vlan, holder)).is_some_and(|h| now.saturating_sub(h.seen) < self.config.age);
                    if known {
                        self.duplicate(vlan, ip, holder, mac, now, out);
                        return false;
                    }
                }
                if self.contests.len() < CONTESTS && !self.contests.contains_key(&(vlan, ip)) {
                    let due = self.timers.add(now, Due::Contest(vlan, ip));
                    self.contests.insert((vlan, ip), Contest { claimant: mac, tries: 0, due });
                    self.contest_round(vlan, ip, net, now, out);
                }
                false
            }
            None => self.give(key, ip, now),
        }
    }

    fn give(&mut self, key: Key, ip: IpAddr, now: Nanos) -> bool {
        let limit = self.config.ips_per_host;
        let Some(e) = self.table.get_mut(&key) else { return false };
        if e.ips.len() >= limit {
            self.count.over_limit += 1;
            return false;
        }
        // Most have one, and never more than a few.
        e.ips.reserve_exact(1);
        e.ips.push((ip, now));
        self.by_ip.insert((key.0, ip), key.1);
        true
    }

    /// The holder of an address is gone; the claimant gets it. True when the claimant changed.
    pub(super) fn take_over(
        &mut self,
        vlan: u16,
        ip: IpAddr,
        holder: Mac,
        mac: Mac,
        now: Nanos,
        out: &mut Vec<Output>,
    ) -> bool {
        if let Some(h) = self.table.get_mut(&(vlan, holder)) {
            h.ips.retain(|(i, _)| *i != ip);
            self.publish((vlan, holder), out);
        }
        self.by_ip.remove(&(vlan, ip));
        self.give((vlan, mac), ip, now)
    }

    fn duplicate(&mut self, vlan: u16, ip: IpAddr, holder: Mac, claimant: Mac, now: Nanos, out: &mut Vec<Output>) {
        self.count.duplicates += 1;
        let place = |mac| {
            let at = self.table.get(&(vlan, mac)).and_then(|e| e.locations.first());
            at.map_or_else(|| "an unknown port".to_owned(), ToString::to_string)
        };
        let (first, second) = (place(holder), place(claimant));
        self.alarm(AlarmKind::DuplicateIp, ip.to_string(), now, out, || {
            format!(
                "{ip} in VLAN {vlan} is used by {holder} at {first} and by {claimant} at {second}; {holder} keeps it"
            )
        });
    }

    pub(super) fn forget(&mut self, key: Key, out: &mut Vec<Output>) {
        self.relocate(key, Vec::new());
        let Some(e) = self.table.remove(&key) else { return };
        for (ip, _) in e.ips {
            self.by_ip.remove(&(key.0, ip));
        }
        self.count.forgotten += 1;
        out.push(Output::Observe(Observation::HostGone { vlan: key.0, mac: key.1 }));
    }

    /// A port went up or down by its switch's word.
    pub(super) fn port_state(&mut self, at: &PortRef, up: bool, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let changed = if up { self.down.remove(at) } else { self.down.insert(at.clone()) };
        if !changed {
            return;
        }
        let mut here: Vec<Key> = self.by_port.get(at).into_iter().flatten().copied().collect();
        here.sort_unstable();
        for key in here {
            let Some(e) = self.table.get_mut(&key) else { continue };
            if up {
                // Perhaps another host is there now: ask.
                e.down_since = None;
                e.recheck = Some(now);
                e.round = 0;
                e.due = self.timers.add(now, Due::Age(key));
            } else if e.locations.len() > 1 {
                let rest = e.locations.iter().filter(|l| *l != at).cloned().collect();
                self.relocate(key, rest);
                self.publish(key, out);
            } else {
                e.down_since = Some(now);
                e.due = self.timers.add(now + self.config.down_hold, Due::Age(key));
            }
        }
        if up && let Some(twin) = net.port(at).and_then(|p| p.twin) {
            let mut there: Vec<Key> = self.by_port.get(&twin).into_iter().flatten().copied().collect();
            there.sort_unstable();
            for key in there {
                let Some(e) = self.table.get(&key) else { continue };
                if e.locations.len() == 1 {
                    self.relocate(key, vec![twin.clone(), at.clone()]);
                    self.publish(key, out);
                }
            }
        }
    }

    /// A host known from before we started. It is probed within half the aging time.
    pub(super) fn restore(&mut self, host: Host, now: Nanos) {
        let key = (host.vlan, host.mac);
        if self.table.contains_key(&key) || host.locations.is_empty() {
            return;
        }
        let tags = match host.tags[..] {
            [] => Tags::None,
            [a] => Tags::One(a),
            [a, b, ..] => Tags::Two(a, b),
        };
        // As if seen between half the aging time ago and now, so that not all are probed at once.
        let half = self.config.age / 2;
        let rest = half + self.jitter.below(half);
        let seen = (now + rest).saturating_sub(self.config.age);
        self.insert(key, host.locations, tags, host.learned, seen, now + rest);
        for ip in host.ips {
            if !self.by_ip.contains_key(&(key.0, ip)) {
                self.give(key, ip, seen);
            }
        }
    }

    /// Somebody else put or deleted a host: another controller whose switch sees it now, or an operator.
    pub(super) fn host_changed(&mut self, vlan: u16, mac: Mac, net: &dyn Net) {
        let key = (vlan, mac);
        let Some(e) = self.table.get(&key) else { return };
        let ours = |at: &PortRef| self.connected.contains(&at.device);
        let keep = match net.host(vlan, mac) {
            // Our own words come back here too: only what cannot be ours counts.
            Some(h) => h.locations.is_empty() || h.locations.iter().any(|l| ours(l) || e.locations.contains(l)),
            None => false,
        };
        if !keep {
            self.relocate(key, Vec::new());
            if let Some(e) = self.table.remove(&key) {
                for (ip, _) in e.ips {
                    self.by_ip.remove(&(vlan, ip));
                }
            }
        }
    }
}
