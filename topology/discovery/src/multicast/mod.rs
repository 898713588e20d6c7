//! IGMP and MLD: the fabric is the querier of its VLANs and learns who listens where (RFC 3376, RFC 3810, RFC 4541).
//!
//! Each edge port that listens to a group is in one of two modes, as the standards have it for an interface:
//! *exclude* (every source is wanted; source filters of this mode are taken as "every source", which sends a host at
//! most too much) or *include* (only listed sources). Timers end memberships nobody confirms; a leave is followed by
//! group-specific queries to that port, as others may listen behind it.

#[cfg(test)]
mod tests;

use crate::machine::{Change, Input, Nanos, Observation, Output, PacketMachine, Punt, PuntAction, PuntTo, SECONDS};
use crate::net::{Members, Net, PortRef, PortRole};
use crate::respond::{flood, pass_to};
use crate::timers::Timers;
use crate::wire::group::{
    MLD_DONE, MLD_QUERY, MLD_REPORT, MLD2_REPORT, Membership, Query, Record, RecordKind, query_destination,
};
use crate::wire::ip::{Ip, PROTO_ICMP6, PROTO_IGMP};
use crate::wire::{ETH_IPV4, ETH_IPV6, Tags};
use pergola_model::is_link_group;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Defaults are those of RFC 3376 §8 and RFC 3810 §9.
#[derive(Clone, Copy, Debug)]
pub struct MulticastConfig {
    pub query_interval: Nanos,
    pub query_response: Nanos,
    pub robustness: u8,
    pub last_member_interval: Nanos,
    pub groups_per_port: usize,
    pub sources_per_group: usize,
}

impl Default for MulticastConfig {
    fn default() -> Self {
        MulticastConfig {
            query_interval: 125 * SECONDS,
            query_response: 10 * SECONDS,
            robustness: 2,
            last_member_interval: SECONDS,
            groups_per_port: 256,
            sources_per_group: 64,
        }
    }
}

impl MulticastConfig {
    fn membership(&self) -> Nanos {
        self.query_interval * u64::from(self.robustness) + self.query_response
    }

    fn last_member(&self) -> Nanos {
        self.last_member_interval * u64::from(self.robustness)
    }

    fn other_querier(&self) -> Nanos {
        self.query_interval * u64::from(self.robustness) + self.query_response / 2
    }
}

type GroupKey = (u16, IpAddr);

/// What a port wants of a group.
#[derive(Debug, Default, PartialEq, Eq)]
struct Listener {
    /// Every source, until then.
    any: Option<Nanos>,
    sources: BTreeMap<IpAddr, Nanos>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A general query in a VLAN, of one family.
    Query { vlan: u16, v6: bool },
    /// The next group-specific query to a port.
    Specific { vlan: u16, group: IpAddr, at: PortRef, left: u8 },
    /// Something of a group may have ended.
    Expire(u16, IpAddr),
}

#[derive(Debug)]
struct Querier {
    due: Nanos,
    startup: u8,
    /// A better one is there until then, at this port.
    other: Option<(Nanos, PortRef)>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    reports: u64,
    queries_sent: u64,
    foreign_queries: u64,
    refused: u64,
}

/// The snooping querier.
#[derive(Debug)]
pub struct Multicast {
    config: MulticastConfig,
    groups: BTreeMap<GroupKey, HashMap<PortRef, Listener>>,
    /// What was observed last of each group on each switch.
    told: BTreeMap<(u16, IpAddr, Arc<str>), Members>,
    /// Where listeners have been asked for, or will be by the next round of their VLAN.
    asked: BTreeSet<(PortRef, u16)>,
    per_port: HashMap<PortRef, usize>,
    queriers: BTreeMap<(u16, bool), Querier>,
    timers: Timers<Due>,
    count: Count,
}

impl Multicast {
    pub fn new(config: MulticastConfig) -> Self {
        Multicast {
            config,
            groups: BTreeMap::new(),
            told: BTreeMap::new(),
            asked: BTreeSet::new(),
            per_port: HashMap::new(),
            queriers: BTreeMap::new(),
            timers: Timers::default(),
            count: Count::default(),
        }
    }

    /// VLANs and families with a gateway are queried, at once on ports that a VLAN is new on; memberships on ports that
    /// lost the VLAN end.
    fn rebuild(&mut self, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let mut carried = BTreeSet::new();
        net.visit_ports(&mut |at, port| {
            if port.role == PortRole::Edge && port.enabled {
                carried.extend(port.vlans.all().map(|vlan| (at.clone(), vlan)));
            }
        });
        for (at, vlan) in carried.difference(&std::mem::take(&mut self.asked)) {
            for v6 in [false, true] {
                if self.leads(*vlan, v6, now)
                    && let Some(tags) = carries(net, at, *vlan)
                {
                    self.send(*vlan, None, v6, at, tags, net, out);
                }
            }
        }
        let vlans: BTreeSet<u16> = carried.iter().map(|(_, vlan)| *vlan).collect();
        self.asked = carried;
        let wanted: BTreeSet<(u16, bool)> = vlans
            .into_iter()
            .flat_map(|vlan| [(vlan, false), (vlan, true)])
            .filter(|(vlan, v6)| net.gateway(*vlan, *v6).is_some())
            .collect();
        self.queriers.retain(|key, _| wanted.contains(key));
        for (vlan, v6) in wanted {
            if !self.queriers.contains_key(&(vlan, v6)) {
                let due = self.timers.add(now, Due::Query { vlan, v6 });
                self.queriers.insert((vlan, v6), Querier { due, startup: self.config.robustness, other: None });
            }
        }
        let keys: Vec<GroupKey> = self.groups.keys().copied().collect();
        for key in keys {
            let mut lost = Vec::new();
            if let Some(ports) = self.groups.get(&key) {
                lost.extend(ports.keys().filter(|at| carries(net, at, key.0).is_none()).cloned());
            }
            for at in lost {
                self.drop_listener(key, &at);
            }
            self.tell(key, out);
        }
    }

    /// What is known of switches that we have said nothing of: from before we started, or from their former masters. It
    /// holds as long as if it had been heard now.
    fn adopt(&mut self, net: &dyn Net, now: Nanos) {
        let until = now + self.config.membership();
        let mut known = Vec::new();
        net.visit_members(&mut |m| known.push(m));
        for m in known {
            let told = (m.vlan, m.group, m.device.clone());
            if self.told.contains_key(&told) {
                continue;
            }
            let any = m.any.iter().map(|at| (at, None));
            let some = m.sources.iter().flat_map(|(source, ports)| ports.iter().map(move |at| (at, Some(*source))));
            let ports = self.groups.entry((m.vlan, m.group)).or_default();
            for (at, source) in any.chain(some) {
                let listener = ports.entry(at.clone()).or_insert_with(|| {
                    *self.per_port.entry(at.clone()).or_default() += 1;
                    Listener::default()
                });
                match source {
                    None => listener.any = Some(until),
                    Some(source) => {
                        listener.sources.insert(source, until);
                    }
                }
            }
            self.timers.add(until, Due::Expire(m.vlan, m.group));
            self.told.insert(told, m);
        }
    }

    fn drop_listener(&mut self, key: GroupKey, at: &PortRef) {
        let Some(ports) = self.groups.get_mut(&key) else { return };
        let gone = ports.remove(at).is_some();
        if ports.is_empty() {
            self.groups.remove(&key);
        }
        if gone {
            self.forget_one(at);
        }
    }

    /// A dual-homed host speaks through one of its ports now, and gets one copy there.
    fn follow(&mut self, key: GroupKey, from: &PortRef, to: &PortRef) {
        let Some(listener) = self.groups.get_mut(&key).and_then(|ports| ports.remove(from)) else { return };
        self.forget_one(from);
        if self.groups.entry(key).or_default().insert(to.clone(), listener).is_none() {
            *self.per_port.entry(to.clone()).or_default() += 1;
        }
    }

    fn forget_one(&mut self, at: &PortRef) {
        if let Some(n) = self.per_port.get_mut(at) {
            *n -= 1;
            if *n == 0 {
                self.per_port.remove(at);
            }
        }
    }

    /// Says who listens to a group, of each switch where that changed.
    fn tell(&mut self, key: GroupKey, out: &mut Vec<Output>) {
        let (vlan, group) = key;
        /// Ports of one switch: of any source, and by source.
        type Seen = (BTreeSet<PortRef>, BTreeMap<IpAddr, BTreeSet<PortRef>>);
        let mut seen: BTreeMap<Arc<str>, Seen> = BTreeMap::new();
        for (at, listener) in self.groups.get(&key).into_iter().flatten() {
            let (any, sources) = seen.entry(at.device.clone()).or_default();
            if listener.any.is_some() {
                any.insert(at.clone());
                continue;
            }
            for source in listener.sources.keys() {
                sources.entry(*source).or_default().insert(at.clone());
            }
        }
        let first = (vlan, group, Arc::<str>::from(""));
        let before = self.told.range(first..).take_while(|(told, _)| (told.0, told.1) == key);
        for (_, _, device) in before.map(|(told, _)| told.clone()).collect::<Vec<_>>() {
            seen.entry(device).or_default();
        }
        for (device, (any, sources)) in seen {
            let told = (vlan, group, device.clone());
            let sources = sources.into_iter().map(|(s, at)| (s, at.into_iter().collect())).collect();
            let members = Members { device, vlan, group, any: any.into_iter().collect(), sources };
            if self.told.get(&told) == Some(&members) {
                continue;
            }
            if !members.any.is_empty() || !members.sources.is_empty() {
                self.told.insert(told, members.clone());
            } else if self.told.remove(&told).is_none() {
                continue;
            }
            out.push(Output::Observe(Observation::Members(members)));
        }
    }

    fn report(&mut self, at: &PortRef, vlan: u16, record: &Record, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let key = (vlan, record.group);
        if is_link_group(record.group) {
            return;
        }
        if let Some(twin) = net.port(at).and_then(|port| port.twin) {
            self.follow(key, &twin, at);
        }
        let c = self.config;
        let joins = match record.kind {
            RecordKind::IsExclude | RecordKind::ToExclude => true,
            RecordKind::IsInclude | RecordKind::Allow | RecordKind::ToInclude => !record.sources.is_empty(),
            RecordKind::Block => false,
        };
        let known = self.groups.get(&key).is_some_and(|ports| ports.contains_key(at));
        if !known {
            if !joins {
                return;
            }
            let count = self.per_port.entry(at.clone()).or_default();
            if *count >= c.groups_per_port {
                self.count.refused += 1;
                return;
            }
            *count += 1;
        }
        let listener = self.groups.entry(key).or_default().entry(at.clone()).or_default();
        let until = now + c.membership();
        let soon = now + c.last_member();
        let mut ask = false;
        match record.kind {
            RecordKind::IsExclude | RecordKind::ToExclude => listener.any = Some(until),
            RecordKind::IsInclude | RecordKind::Allow | RecordKind::ToInclude => {
                for source in &record.sources {
                    if listener.sources.len() < c.sources_per_group || listener.sources.contains_key(source) {
                        listener.sources.insert(*source, until);
                    } else {
                        self.count.refused += 1;
                    }
                }
                if record.kind == RecordKind::ToInclude {
                    // Leaves "every source", and the sources not listed (RFC 3376 §6.4.2).
                    if let Some(end) = &mut listener.any {
                        *end = soon.min(*end);
                        ask = true;
                    }
                    for (source, end) in &mut listener.sources {
                        if !record.sources.contains(source) {
                            *end = soon.min(*end);
                            ask = true;
                        }
                    }
                }
            }
            RecordKind::Block => {
                for source in &record.sources {
                    if let Some(end) = listener.sources.get_mut(source) {
                        *end = soon.min(*end);
                        ask = true;
                    }
                }
            }
        }
        self.timers.add(if ask { soon } else { until }, Due::Expire(vlan, record.group));
        if ask && self.leads(vlan, record.group.is_ipv6(), now) {
            self.ask_group(vlan, record.group, at, c.robustness, net, now, out);
        }
        self.tell(key, out);
    }

    /// Whether we are the querier, and not somebody better.
    fn leads(&self, vlan: u16, v6: bool, now: Nanos) -> bool {
        self.queriers.get(&(vlan, v6)).is_some_and(|q| q.other.as_ref().is_none_or(|(until, _)| now >= *until))
    }

    /// A group-specific query to one port, and more of them later.
    #[allow(clippy::too_many_arguments)]
    fn ask_group(
        &mut self,
        vlan: u16,
        group: IpAddr,
        at: &PortRef,
        left: u8,
        net: &dyn Net,
        now: Nanos,
        out: &mut Vec<Output>,
    ) {
        if let Some(tags) = carries(net, at, vlan) {
            self.send(vlan, Some(group), group.is_ipv6(), at, tags, net, out);
        }
        if left > 1 {
            let next = Due::Specific { vlan, group, at: at.clone(), left: left - 1 };
            self.timers.add(now + self.config.last_member_interval, next);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn send(
        &mut self,
        vlan: u16,
        group: Option<IpAddr>,
        v6: bool,
        at: &PortRef,
        tags: Tags,
        net: &dyn Net,
        out: &mut Vec<Output>,
    ) {
        let Some(mac) = net.router_mac(&at.device) else { return };
        let src: IpAddr = match net.gateway(vlan, false).map(|g| g.ip) {
            _ if v6 => mac.link_local().into(),
            Some(ip) => ip,
            // RFC 4541 §2.1.1: a snooping querier without an address.
            None => Ipv4Addr::UNSPECIFIED.into(),
        };
        let c = &self.config;
        let response = if group.is_some() { c.last_member_interval } else { c.query_response };
        let query = Membership::Query(Query {
            group,
            sources: Vec::new(),
            max_response_ms: u32::try_from(response / crate::machine::MILLIS).unwrap_or(u32::MAX),
            suppress: false,
            robustness: c.robustness,
            interval_s: u32::try_from(c.query_interval / SECONDS).unwrap_or(u32::MAX),
        });
        if let Some(frame) = query.frame(mac, tags, src, query_destination(group, v6)) {
            self.count.queries_sent += 1;
            out.push(Output::PacketOut { at: at.clone(), frame });
        }
    }

    fn general(&mut self, vlan: u16, v6: bool, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let c = self.config;
        let Some(q) = self.queriers.get_mut(&(vlan, v6)) else { return };
        if let Some((until, _)) = q.other.as_ref().filter(|(until, _)| now < *until) {
            q.due = self.timers.add(*until, Due::Query { vlan, v6 });
            return;
        }
        q.other = None;
        let startup = q.startup > 1;
        q.startup = q.startup.saturating_sub(1);
        // RFC 3376 §8.6: a quarter of the interval at first.
        let pause = if startup { c.query_interval / 4 } else { c.query_interval };
        q.due = self.timers.add(now + pause, Due::Query { vlan, v6 });
        let mut ports = Vec::new();
        net.visit_edge_ports(vlan, &mut |at, tags| ports.push((at, tags)));
        for (at, tags) in ports {
            self.send(vlan, None, v6, &at, tags, net, out);
        }
    }

    /// Another querier: the lower address wins (RFC 3376 §6.6.2, RFC 3810 §7.6.2). True when it does.
    fn foreign(&mut self, at: &PortRef, vlan: u16, ip: &Ip<'_>, net: &dyn Net, now: Nanos) -> bool {
        self.count.foreign_queries += 1;
        let v6 = ip.src.is_ipv6();
        let ours: Option<IpAddr> = if v6 {
            net.router_mac(&at.device).map(|m| m.link_local().into())
        } else {
            net.gateway(vlan, false).map(|g| g.ip)
        };
        let until = now + self.config.other_querier();
        if let Some(q) = self.queriers.get_mut(&(vlan, v6))
            && !ip.src.is_unspecified()
            && ours.is_none_or(|own| ip.src < own)
        {
            q.other = Some((until, at.clone()));
            return true;
        }
        false
    }

    fn packet(
        &mut self,
        at: &PortRef,
        frame: &crate::wire::Frame<'_>,
        net: &dyn Net,
        now: Nanos,
        out: &mut Vec<Output>,
    ) {
        let Some(vlan) = net.classify(at, frame.tags) else { return };
        let Ok(ip) = Ip::parse(frame) else { return };
        if !frame.src.is_host() || net.is_router_mac(frame.src) {
            return;
        }
        // Trapped packets go on as a snooping switch sends them (RFC 4541 §2.1.1): reports to the querier when it is
        // not us, its queries to everybody, and all of both where the fabric has no gateway.
        let ours = self.queriers.contains_key(&(vlan, ip.src.is_ipv6()));
        match Membership::parse(&ip) {
            Ok(Membership::Report { records, .. }) => {
                self.count.reports += 1;
                match self.queriers.get(&(vlan, ip.src.is_ipv6())).and_then(|q| q.other.as_ref()) {
                    _ if !ours => flood(net, vlan, at, frame, out),
                    Some((until, querier)) if now < *until && querier != at => {
                        pass_to(net, vlan, std::slice::from_ref(querier), frame, out);
                    }
                    _ => {}
                }
                for record in &records {
                    self.report(at, vlan, record, net, now, out);
                }
            }
            Ok(Membership::Query(_)) => {
                if self.foreign(at, vlan, &ip, net, now) || !ours {
                    flood(net, vlan, at, frame, out);
                }
            }
            Err(_) => self.count.refused += 1,
        }
    }

    fn expire(&mut self, key: GroupKey, now: Nanos, out: &mut Vec<Output>) {
        let Some(ports) = self.groups.get_mut(&key) else { return };
        let mut next: Option<Nanos> = None;
        let mut ended = Vec::new();
        for (at, l) in ports.iter_mut() {
            l.any = l.any.filter(|end| *end > now);
            l.sources.retain(|_, end| *end > now);
            let first = l.any.into_iter().chain(l.sources.values().copied()).min();
            match first {
                Some(end) => next = Some(next.map_or(end, |n| n.min(end))),
                None => ended.push(at.clone()),
            }
        }
        ended.sort();
        for at in &ended {
            self.drop_listener(key, at);
        }
        if let Some(next) = next {
            self.timers.add(next, Due::Expire(key.0, key.1));
        }
        self.tell(key, out);
    }

    fn tick(&mut self, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        while let Some((due, what)) = self.timers.pop(now) {
            match what {
                Due::Query { vlan, v6 } => {
                    if self.queriers.get(&(vlan, v6)).is_some_and(|q| q.due == due) {
                        self.general(vlan, v6, net, now, out);
                    }
                }
                Due::Specific { vlan, group, at, left } => {
                    if self.groups.get(&(vlan, group)).is_some_and(|g| g.contains_key(&at)) {
                        self.ask_group(vlan, group, &at, left, net, now, out);
                    }
                }
                Due::Expire(vlan, group) => self.expire((vlan, group), now, out),
            }
        }
    }

    /// General queries to one port, in every VLAN that it carries.
    fn ask(&mut self, at: &PortRef, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let vlans: Vec<(u16, bool)> = self.queriers.keys().copied().collect();
        for (vlan, v6) in vlans {
            if self.leads(vlan, v6, now)
                && let Some(tags) = carries(net, at, vlan)
            {
                self.send(vlan, None, v6, at, tags, net, out);
            }
        }
    }

    fn port_down(&mut self, at: &PortRef, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        if !self.per_port.contains_key(at) {
            return;
        }
        let keys: Vec<GroupKey> =
            self.groups.iter().filter(|(_, ports)| ports.contains_key(at)).map(|(k, _)| *k).collect();
        for key in keys {
            self.drop_listener(key, at);
            self.tell(key, out);
        }
        // A dual-homed host listens through its other port.
        if let Some(twin) = net.port(at).and_then(|port| port.twin) {
            self.ask(&twin, net, now, out);
        }
    }
}

/// The tags of a VLAN on an edge port.
fn carries(net: &dyn Net, at: &PortRef, vlan: u16) -> Option<Tags> {
    let port = net.port(at)?;
    (port.role == PortRole::Edge && port.enabled).then_some(())?;
    port.vlans.tags_for(vlan)
}

impl PacketMachine for Multicast {
    fn name(&self) -> &'static str {
        "multicast"
    }

    fn wants(&self) -> Vec<Punt> {
        let igmp = Punt { ip_proto: Some(PROTO_IGMP), ..Punt::ether(ETH_IPV4, PuntTo::Group, PuntAction::Trap) };
        let mld = [MLD_QUERY, MLD_REPORT, MLD_DONE, MLD2_REPORT];
        let mld = mld.map(|kind| Punt::icmp(ETH_IPV6, PROTO_ICMP6, kind, PuntTo::Group, PuntAction::Trap));
        [igmp].into_iter().chain(mld).collect()
    }

    fn handle(&mut self, input: &Input<'_>, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        match input {
            Input::PacketIn { at, frame, .. } => self.packet(at, frame, net, now, out),
            Input::Changed(change @ (Change::All | Change::Topology | Change::Subnets)) => {
                if *change == Change::All {
                    self.adopt(net, now);
                }
                self.rebuild(net, now, out);
            }
            Input::Port { at, up: false } => self.port_down(at, net, now, out),
            // Ask whoever is there now.
            Input::Port { at, up: true } => self.ask(at, net, now, out),
            Input::Device { device, connected: true } => {
                let ports: BTreeSet<PortRef> =
                    self.asked.iter().filter(|(at, _)| *at.device == **device).map(|(at, _)| at.clone()).collect();
                ports.iter().for_each(|at| self.ask(at, net, now, out));
            }
            Input::Tick => self.tick(net, now, out),
            _ => {}
        }
    }

    fn next_timeout(&self) -> Option<Nanos> {
        self.timers.next()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let c = self.count;
        vec![
            ("groups", self.groups.len() as u64),
            ("reports", c.reports),
            ("queries_sent", c.queries_sent),
            ("foreign_queries", c.foreign_queries),
            ("refused", c.refused),
        ]
    }
}
