//! Probing: aging hosts, second legs, contested addresses, and addresses that somebody needs.

use super::{Due, Hosts, Key, WANT_FIRST, WANT_LAST};
use crate::machine::{Nanos, Output};
use crate::net::{Net, PortRef};
use crate::wire::{Mac, Tags, arp, ndp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An ARP request or neighbour solicitation for `ip` out of `at`: to `owner` alone, or to everybody.
/// The source is the gateway of the VLAN, or nobody where it has none (RFC 5227 §2.1.1).
pub(crate) fn ask(
    net: &dyn Net,
    at: &PortRef,
    vlan: u16,
    tags: Tags,
    ip: IpAddr,
    owner: Option<Mac>,
) -> Option<Output> {
    let mac = net.router_mac(&at.device)?;
    let frame = match ip {
        IpAddr::V4(ip) => {
            let from = match net.gateway_for(vlan, ip.into()).map(|g| g.ip) {
                Some(IpAddr::V4(g)) => g,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            arp::request(mac, from, ip, owner.unwrap_or(Mac::BROADCAST), tags)
        }
        IpAddr::V6(ip) => ndp::solicit(mac, mac.link_local(), ip, owner, tags),
    };
    Some(Output::PacketOut { at: at.clone(), frame })
}

/// Asks for `ip` on every edge port of a VLAN.
pub(crate) fn ask_everywhere(net: &dyn Net, vlan: u16, ip: IpAddr, out: &mut Vec<Output>) {
    let mut ports = Vec::new();
    net.visit_edge_ports(vlan, &mut |at, tags| ports.push((at, tags)));
    out.extend(ports.iter().filter_map(|(at, tags)| ask(net, at, vlan, *tags, ip, None)));
}

/// Tells the neighbours on a leaf which a host has left that it is reached through the gateway now: an ARP announcement
/// (RFC 5227 §2.3) and an unsolicited advertisement (RFC 4861 §7.2.6) in its name. Addresses that are not routed are left
/// out.
pub(super) fn announce_gone(net: &dyn Net, device: &str, vlan: u16, ips: &[IpAddr], out: &mut Vec<Output>) {
    let Some(mac) = net.router_mac(device) else { return };
    let mut ports = Vec::new();
    net.visit_edge_ports(vlan, &mut |at, tags| {
        if *at.device == *device {
            ports.push((at, tags));
        }
    });
    for ip in ips.iter().filter(|ip| net.gateway_for(vlan, **ip).is_some()) {
        for (at, tags) in &ports {
            let frame = match ip {
                IpAddr::V4(ip) => arp::request(mac, *ip, *ip, Mac::BROADCAST, *tags),
                IpAddr::V6(ip) => ndp::advertise(*ip, mac, false, true, (Mac::ZERO, Ipv6Addr::UNSPECIFIED), mac, *tags),
            };
            out.push(Output::PacketOut { at: at.clone(), frame });
        }
    }
}

impl Hosts {
    /// [`announce_gone`] for a host that has no port on the old one's switch any more.
    pub(super) fn announce_moved(&self, key: Key, old: &PortRef, net: &dyn Net, out: &mut Vec<Output>) {
        let Some(e) = self.table.get(&key) else { return };
        if !e.locations.is_empty() && !e.locations.iter().any(|l| l.device == old.device) {
            let ips: Vec<IpAddr> = e.ips.iter().map(|(ip, _)| *ip).collect();
            announce_gone(net, &old.device, key.0, &ips, out);
        }
    }

    /// A round of aging.
    pub(super) fn age(&mut self, key: Key, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let c = &self.config;
        let Some(e) = self.table.get_mut(&key) else { return };
        if let Some(since) = e.down_since {
            let end = since + c.down_hold;
            if now >= end {
                self.forget(key, out);
            } else {
                e.due = self.timers.add(end, Due::Age(key));
            }
            return;
        }
        if !e.locations.iter().any(|l| self.connected.contains(&l.device)) {
            // Nobody can be asked, so silence says nothing.
            e.due = self.timers.add(now + c.age / 4, Due::Age(key));
            return;
        }
        let old = |seen: Nanos| now.saturating_sub(seen) >= c.age;
        let due = |seen: Nanos| old(seen) || e.recheck.is_some_and(|t| seen < t);
        let stale: Vec<IpAddr> = e.ips.iter().filter(|(_, seen)| due(*seen)).map(|(ip, _)| *ip).collect();
        let oldest = e.ips.iter().map(|(_, seen)| *seen).min();
        if stale.is_empty() && !(e.ips.is_empty() && old(e.seen)) {
            e.round = 0;
            e.recheck = None;
            e.due = self.timers.add(oldest.unwrap_or(e.seen) + c.age, Due::Age(key));
        } else if e.round < c.probes && !stale.is_empty() {
            e.round += 1;
            e.due = self.timers.add(now + c.probe_interval, Due::Age(key));
            for at in &e.locations {
                for ip in &stale {
                    self.count.probes += 1;
                    out.extend(ask(net, at, key.0, e.tags, *ip, Some(key.1)));
                }
            }
        } else {
            e.ips.retain(|(ip, _)| !stale.contains(ip));
            for ip in stale {
                self.by_ip.remove(&(key.0, ip));
            }
            if e.ips.is_empty() {
                self.forget(key, out);
                return;
            }
            e.round = 0;
            let oldest = e.ips.iter().map(|(_, seen)| *seen).min().unwrap_or(now);
            e.due = self.timers.add(oldest + c.age, Due::Age(key));
            self.publish(key, out);
        }
    }

    /// Asks at the former port whether the host is there too.
    pub(super) fn verify_leg(&mut self, key: Key, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let Some(e) = self.table.get_mut(&key) else { return };
        let Some(leg) = &mut e.leg else { return };
        if leg.tries >= self.config.probes || self.down.contains(&leg.old) {
            let old = leg.old.clone();
            e.leg = None;
            self.count.moved += 1;
            self.announce_moved(key, &old, net, out);
            return;
        }
        leg.tries += 1;
        leg.due = self.timers.add(now + self.config.verify_interval, Due::Leg(key));
        for (ip, _) in &e.ips {
            self.count.probes += 1;
            out.extend(ask(net, &leg.old, key.0, e.tags, *ip, Some(key.1)));
        }
    }

    /// Asks the holder of a contested address, or gives the address away after the last question.
    pub(super) fn contest_round(&mut self, vlan: u16, ip: IpAddr, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let Some(contest) = self.contests.get_mut(&(vlan, ip)) else { return };
        let claimant = contest.claimant;
        let Some(holder) = self.by_ip.get(&(vlan, ip)).copied() else {
            // The holder was forgotten meanwhile.
            self.contests.remove(&(vlan, ip));
            return;
        };
        if contest.tries >= self.config.probes {
            self.contests.remove(&(vlan, ip));
            if self.table.contains_key(&(vlan, claimant)) && self.take_over(vlan, ip, holder, claimant, now, out) {
                self.publish((vlan, claimant), out);
            }
            return;
        }
        contest.tries += 1;
        contest.due = self.timers.add(now + self.config.verify_interval, Due::Contest(vlan, ip));
        let Some(h) = self.table.get(&(vlan, holder)) else { return };
        for at in &h.locations {
            self.count.probes += 1;
            out.extend(ask(net, at, vlan, h.tags, ip, Some(holder)));
        }
    }

    /// Asks for an address that somebody needs, ever less often, until it is known.
    pub(super) fn want_round(&mut self, vlan: u16, ip: IpAddr, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let Some(want) = self.wants.get_mut(&(vlan, ip)) else { return };
        let known = self.by_ip.contains_key(&(vlan, ip)) || net.host_by_ip(vlan, ip).is_some();
        if known {
            want.pause = WANT_FIRST;
            want.due = self.timers.add(now + 5 * WANT_FIRST, Due::Want(vlan, ip));
            return;
        }
        want.due = self.timers.add(now + want.pause, Due::Want(vlan, ip));
        want.pause = (want.pause * 2).min(WANT_LAST);
        self.count.probes += 1;
        ask_everywhere(net, vlan, ip, out);
    }
}
