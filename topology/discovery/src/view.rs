//! The [`Net`] over a [`View`], and observations as resources of the store.

use crate::machine::{Change, Host, Learned, LinkLoss, Observation};
use crate::net::{DhcpRelay, Gateway, Members, Net, Port, PortRef, PortRole, PortVlans, RouterAdvert};
use crate::wire::{Mac, Tags};
use pergola_model as model;
use pergola_model::{
    AnyResource, DomainName, HostBinding, HostKey, Key, Kind, LinkId, MacAddr, PortId, PortNo, PortState, Prefix,
    Resource, RouteId, SwitchName, Tagging, View, VlanId,
};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// A View as the machines read it.
#[derive(Clone, Copy)]
pub struct ViewNet<'a>(pub &'a View);

impl From<&PortId> for PortRef {
    fn from(id: &PortId) -> PortRef {
        PortRef::new(id.switch.shared(), id.port.get())
    }
}

impl PortRef {
    /// `None` when a switch cannot have such a name or port number.
    pub fn id(&self) -> Option<PortId> {
        Some(PortId::new(SwitchName::new(&self.device).ok()?, PortNo::new(self.port).ok()?))
    }
}

impl From<MacAddr> for Mac {
    fn from(mac: MacAddr) -> Mac {
        Mac(mac.octets())
    }
}

impl From<Mac> for MacAddr {
    fn from(mac: Mac) -> MacAddr {
        MacAddr(mac.0)
    }
}

/// The end of an intended link that is not described beyond that.
fn fabric_port() -> Port {
    Port { role: PortRole::Infra, enabled: true, vlans: PortVlans::default(), twin: None }
}

fn tags_of(tagging: Tagging) -> Tags {
    match tagging {
        Tagging::Untagged => Tags::None,
        Tagging::Tagged(vlan) => Tags::One(vlan.get()),
        Tagging::Double { outer, inner } => Tags::Two(outer.get(), inner.get()),
    }
}

fn key(vlan: u16, mac: Mac) -> Option<HostKey> {
    Some(HostKey::new(mac.into(), VlanId::new(vlan).ok()?))
}

impl ViewNet<'_> {
    fn to_port(self, port: &model::Port) -> Port {
        let mut vlans = PortVlans::default();
        for (vlan, tagging) in port.mode.memberships() {
            match tagging {
                Tagging::Untagged => vlans.untagged = Some(vlan.get()),
                Tagging::Tagged(_) => vlans.tagged.push(vlan.get()),
                Tagging::Double { outer, inner } => vlans.double.push((outer.get(), inner.get(), vlan.get())),
            }
        }
        // A declared host with two attachments makes them a pair.
        let mut counted = self.0.hosts_declared_at(&port.id).filter(|d| d.binding != HostBinding::Learned);
        let twin = counted.find_map(|declared| match &declared.attachments[..] {
            [a, b] if *a == port.id => Some(b.into()),
            [a, b] if *b == port.id => Some(a.into()),
            _ => None,
        });
        Port { role: self.role_of(port), enabled: port.enabled, vlans, twin }
    }

    fn role_of(self, port: &model::Port) -> PortRole {
        if self.0.is_fabric_port(&port.id) {
            PortRole::Infra
        } else if port.mode.is_none() {
            PortRole::Unknown
        } else {
            PortRole::Edge
        }
    }

    fn to_host(self, host: &model::Host) -> Host {
        let tags = host
            .locations()
            .first()
            .and_then(|at| self.0.port(at)?.mode.tagging(host.vlan()))
            .map(tags_of)
            .unwrap_or_default();
        let mut ips: Vec<IpAddr> = host.ips().collect();
        ips.sort_unstable();
        Host {
            vlan: host.vlan().get(),
            mac: host.mac().into(),
            ips,
            locations: host.locations().iter().map(PortRef::from).collect(),
            tags: tags.to_vec(),
            learned: host.learned.as_ref().map_or(Learned::Packet, |l| learned(l.learned_from)),
        }
    }

    fn subnet(&self, vlan: u16) -> Option<&Arc<model::Subnet>> {
        self.0.subnet_of_vlan(VlanId::new(vlan).ok()?)
    }

    fn domain(&self, vlan: u16) -> DomainName {
        self.subnet(vlan).map(|s| s.domain.clone()).unwrap_or_default()
    }

    fn hop(&self, domain: &DomainName, ip: IpAddr) -> Option<(u16, IpAddr)> {
        if let Some(subnet) = self.0.subnet_containing(domain, ip) {
            return Some((subnet.vlan.get(), ip));
        }
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        let route = (0..=longest).rev().find_map(|length| {
            let prefix = Prefix::containing(ip, length).ok()?;
            self.0.route(&RouteId { domain: domain.clone(), prefix })
        })?;
        let hops = route.next_hops().iter().filter_map(|hop| {
            let subnet = self.0.subnet_containing(domain, *hop)?;
            Some((subnet.vlan.get(), *hop))
        });
        let (known, unknown): (Vec<_>, Vec<_>) = hops.partition(|(vlan, hop)| self.host_by_ip(*vlan, *hop).is_some());
        known.into_iter().chain(unknown).next()
    }
}

impl Net for ViewNet<'_> {
    fn port(&self, at: &PortRef) -> Option<Port> {
        let id = at.id()?;
        match self.0.port(&id) {
            Some(port) => Some(self.to_port(port)),
            None => self.0.is_fabric_port(&id).then(fabric_port),
        }
    }

    fn visit_ports(&self, visit: &mut dyn FnMut(PortRef, Port)) {
        self.0.ports().for_each(|p| visit((&p.id).into(), self.to_port(p)));
        // A link's ends need no description of their own.
        let ends = self.0.links().flat_map(|l| l.id.ends()).filter(|end| self.0.port(end).is_none());
        ends.for_each(|end| visit(end.into(), fabric_port()));
    }

    fn intended_peer(&self, at: &PortRef) -> Option<PortRef> {
        let id = at.id()?;
        self.0.link_at(&id)?.id.other_end(&id).map(PortRef::from)
    }

    /// A VLAN is bridged within a leaf; between leaves its hosts are routed, so the way there is the gateway.
    fn proxy_mac(&self, asker: &PortRef, host: &Host) -> Mac {
        if host.locations.iter().any(|at| at.device == asker.device) {
            return host.mac;
        }
        self.router_mac(&asker.device).unwrap_or(host.mac)
    }

    fn router_mac(&self, device: &str) -> Option<Mac> {
        let switch = self.0.switch(&SwitchName::new(device).ok()?)?;
        Some(self.0.gateway_mac(switch).into())
    }

    fn echo_label(&self, near: &str, far: &str) -> Option<u32> {
        let switch = |name: &str| self.0.switch(&SwitchName::new(name).ok()?);
        let (near, far) = (switch(near)?, switch(far)?);
        (near.is_leaf() && !far.is_leaf()).then(|| near.node_label.get())
    }

    fn is_router_mac(&self, mac: Mac) -> bool {
        let mac = MacAddr::from(mac);
        self.0.site().is_some_and(|s| s.anycast_mac == Some(mac)) || self.0.switches().any(|s| s.router_mac == mac)
    }

    fn paired_leaf(&self, device: &str) -> Option<Arc<str>> {
        let pair = self.0.switch(&SwitchName::new(device).ok()?)?.pair.as_ref()?;
        Some(pair.as_str().into())
    }

    fn visit_gateways(&self, vlan: u16, visit: &mut dyn FnMut(Gateway)) {
        let Some(subnet) = self.subnet(vlan) else { return };
        for g in &subnet.gateways {
            visit(Gateway { vlan, ip: g.address(), prefix_len: g.length() });
        }
    }

    fn gateway_vlan(&self, near: u16, ip: IpAddr) -> Option<u16> {
        let subnet = self.0.subnet_containing(&self.domain(near), ip)?;
        subnet.gateways.iter().any(|g| g.address() == ip).then_some(subnet.vlan.get())
    }

    fn next_hop(&self, near: u16, ip: IpAddr) -> Option<(u16, IpAddr)> {
        self.hop(&self.domain(near), ip)
    }

    fn host(&self, vlan: u16, mac: Mac) -> Option<Host> {
        self.0.host(&key(vlan, mac)?).map(|h| self.to_host(h))
    }

    fn host_by_ip(&self, vlan: u16, ip: IpAddr) -> Option<Host> {
        let declared = |h: &model::Host| h.declared.as_ref().is_some_and(|d| d.ips.contains(&ip));
        let here = self.0.hosts_by_ip(ip).filter(|h| h.vlan().get() == vlan);
        here.min_by_key(|h| (!declared(h), h.key)).map(|h| self.to_host(h))
    }

    fn visit_hosts(&self, visit: &mut dyn FnMut(Host)) {
        for l in self.0.host_locations() {
            let tags = l.ports.first().and_then(|at| self.0.port(at)?.mode.tagging(l.vlan)).map(tags_of);
            visit(Host {
                vlan: l.vlan.get(),
                mac: l.mac.into(),
                ips: l.ips.clone(),
                locations: l.ports.iter().map(PortRef::from).collect(),
                tags: tags.unwrap_or_default().to_vec(),
                learned: learned(l.learned_from),
            });
        }
    }

    fn pinned(&self, vlan: u16, mac: Mac) -> Option<Vec<PortRef>> {
        let declared = self.0.host(&key(vlan, mac)?)?.declared.as_deref()?;
        (declared.binding == HostBinding::Pinned).then(|| declared.attachments.iter().map(PortRef::from).collect())
    }

    fn visit_links(&self, visit: &mut dyn FnMut(PortRef, PortRef)) {
        for l in self.0.link_states().filter(|l| l.up) {
            visit(l.id.a().into(), l.id.b().into());
        }
    }

    fn visit_cabling_faults(&self, visit: &mut dyn FnMut(PortRef)) {
        self.0.cabling_faults().for_each(|f| visit((&f.port).into()));
    }

    fn visit_members(&self, visit: &mut dyn FnMut(Members)) {
        let refs = |ports: &[PortId]| ports.iter().map(PortRef::from).collect();
        for m in self.0.group_members() {
            visit(Members {
                device: m.switch.as_str().into(),
                vlan: m.vlan.get(),
                group: m.group,
                any: refs(&m.any),
                sources: m.sources.iter().map(|s| (s.source, refs(&s.ports))).collect(),
            });
        }
    }

    fn visit_edge_ports(&self, vlan: u16, visit: &mut dyn FnMut(PortRef, Tags)) {
        let Ok(id) = VlanId::new(vlan) else { return };
        for port in self.0.ports_in_vlan(id) {
            if port.enabled
                && !self.0.is_fabric_port(&port.id)
                && let Some(tagging) = port.mode.tagging(id)
            {
                visit((&port.id).into(), tags_of(tagging));
            }
        }
    }

    fn visit_wanted_neighbours(&self, visit: &mut dyn FnMut(u16, IpAddr)) {
        let domains: BTreeSet<&DomainName> = self.0.subnets().map(|s| &s.domain).collect();
        for hop in self.0.next_hops() {
            for subnet in domains.iter().filter_map(|d| self.0.subnet_containing(d, hop)) {
                visit(subnet.vlan.get(), hop);
            }
        }
        for subnet in self.0.subnets() {
            let relay = &subnet.dhcp_relay;
            let servers = relay.v4.iter().map(|a| IpAddr::V4(*a)).chain(relay.v6.iter().map(|a| IpAddr::V6(*a)));
            for (vlan, ip) in servers.filter_map(|ip| self.hop(&subnet.domain, ip)) {
                visit(vlan, ip);
            }
        }
    }

    fn dhcp_relay(&self, vlan: u16) -> Option<DhcpRelay> {
        let relay = &self.subnet(vlan)?.dhcp_relay;
        let some = !relay.v4.is_empty() || !relay.v6.is_empty();
        some.then(|| DhcpRelay { v4_servers: relay.v4.clone(), v6_servers: relay.v6.clone() })
    }

    fn router_advert(&self, vlan: u16) -> Option<RouterAdvert> {
        let subnet = self.subnet(vlan)?;
        let ra = &subnet.router_advertisement;
        (ra.enabled && subnet.has_ipv6_gateway()).then(|| RouterAdvert {
            managed: ra.managed,
            other: ra.other_config,
            autonomous: ra.autonomous,
            lifetime_s: ra.lifetime_s,
            mtu_bytes: ra.mtu,
            interval_s: ra.interval_s,
            valid_s: ra.valid_s,
            preferred_s: ra.preferred_s,
            dns: ra.dns.clone(),
        })
    }

    // These two are asked for every packet, so they do without the hosts of the port.

    fn role(&self, at: &PortRef) -> Option<PortRole> {
        let id = at.id()?;
        match self.0.port(&id) {
            Some(port) => Some(self.role_of(port)),
            None => self.0.is_fabric_port(&id).then_some(PortRole::Infra),
        }
    }

    fn classify(&self, at: &PortRef, tags: Tags) -> Option<u16> {
        let port = self.0.port(&at.id()?).filter(|p| p.enabled && self.role_of(p) == PortRole::Edge)?;
        let tagging = match tags {
            Tags::None | Tags::One(0) => Tagging::Untagged,
            Tags::One(id) => Tagging::Tagged(VlanId::new(id).ok()?),
            Tags::Two(outer, inner) => {
                Tagging::Double { outer: VlanId::new(outer).ok()?, inner: VlanId::new(inner).ok()? }
            }
        };
        port.mode.vlan_of(tagging).map(VlanId::get)
    }

    fn in_subnet(&self, vlan: u16, ip: IpAddr) -> bool {
        matches!(ip, IpAddr::V6(a) if a.is_unicast_link_local())
            || self.subnet(vlan).is_some_and(|s| s.prefix_of(ip).is_some())
    }
}

fn learned(from: model::LearnedFrom) -> Learned {
    match from {
        model::LearnedFrom::Arp => Learned::Arp,
        model::LearnedFrom::GratuitousArp => Learned::GratuitousArp,
        model::LearnedFrom::Ndp => Learned::Ndp,
        model::LearnedFrom::Dhcp => Learned::Dhcp,
        model::LearnedFrom::Dhcpv6 => Learned::Dhcpv6,
        model::LearnedFrom::Frame => Learned::Packet,
    }
}

/// What a batch of changed resources means to the machines, folded: each change of everything once, hosts one by one.
pub fn changes<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Vec<Change> {
    let (mut topology, mut subnets, mut routes) = (false, false, false);
    let mut hosts = BTreeSet::new();
    for key in keys {
        match key.kind {
            Kind::Site => (topology, subnets) = (true, true),
            Kind::Switch | Kind::Port | Kind::Link => topology = true,
            Kind::Subnet => subnets = true,
            Kind::Route => routes = true,
            Kind::HostLocation => hosts.extend(key.name.parse::<HostKey>()),
            // Declared hosts and attachments are looked up when they matter; the rest is nothing to packets.
            _ => {}
        }
    }
    let mut all = Vec::new();
    all.extend(topology.then_some(Change::Topology));
    all.extend(subnets.then_some(Change::Subnets));
    all.extend(routes.then_some(Change::Routes));
    all.extend(hosts.into_iter().map(|h| Change::Host { vlan: h.vlan.get(), mac: h.mac.into() }));
    all
}

/// What an observation does to the store.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)] // it lives for the moment between a machine and the store
pub enum Write {
    Put(AnyResource),
    Delete(Key),
}

/// The write for an observation at a Unix time in milliseconds; `None` when it names what cannot exist.
pub fn write_of(seen: &Observation, now_ms: u64) -> Option<Write> {
    let link = |a: &PortRef, b: &PortRef| LinkId::new(a.id()?, b.id()?).ok();
    let put = |r: AnyResource| Some(Write::Put(r));
    match seen {
        Observation::LinkUp { a, b } => {
            let id = link(a, b)?;
            put(model::LinkState { id, up: true, source: model::LinkSource::Lldp, changed_ms: now_ms }.into())
        }
        Observation::LinkDown { a, b, why: LinkLoss::Removed } => {
            Some(Write::Delete(Key::new(Kind::LinkState, link(a, b)?)))
        }
        Observation::LinkDown { a, b, why } => {
            let source = if *why == LinkLoss::PortDown { model::LinkSource::Port } else { model::LinkSource::Lldp };
            put(model::LinkState { id: link(a, b)?, up: false, source, changed_ms: now_ms }.into())
        }
        Observation::Host(h) => {
            let from = match h.learned {
                Learned::Arp => model::LearnedFrom::Arp,
                Learned::GratuitousArp => model::LearnedFrom::GratuitousArp,
                Learned::Ndp => model::LearnedFrom::Ndp,
                Learned::Dhcp => model::LearnedFrom::Dhcp,
                Learned::Dhcpv6 => model::LearnedFrom::Dhcpv6,
                Learned::Packet => model::LearnedFrom::Frame,
            };
            let location = model::HostLocation {
                mac: h.mac.into(),
                vlan: VlanId::new(h.vlan).ok()?,
                ips: h.ips.clone(),
                ports: h.locations.iter().map(PortRef::id).collect::<Option<_>>()?,
                learned_from: from,
                moved_ms: now_ms,
            };
            put(location.into())
        }
        Observation::HostGone { vlan, mac } => Some(Write::Delete(Key::new(Kind::HostLocation, key(*vlan, *mac)?))),
        Observation::CablingFault { at, expected, found } => {
            let expected = match expected {
                Some(p) => Some(p.id()?),
                None => None,
            };
            put(model::CablingFault { port: at.id()?, expected, found: found.id()?, since_ms: now_ms }.into())
        }
        Observation::Members(m) => {
            let ids = |ports: &[PortRef]| ports.iter().map(PortRef::id).collect::<Option<Vec<_>>>();
            let mut sources = Vec::new();
            for (source, ports) in &m.sources {
                sources.push(model::SourceMembers { source: *source, ports: ids(ports)? });
            }
            let switch = SwitchName::new(&m.device).ok()?;
            let vlan = VlanId::new(m.vlan).ok()?;
            let members = model::GroupMembers { switch, vlan, group: m.group, any: ids(&m.any)?, sources };
            if members.ports().next().is_none() { Some(Write::Delete(members.key())) } else { put(members.into()) }
        }
        Observation::CablingRight { at } => Some(Write::Delete(Key::new(Kind::CablingFault, at.id()?))),
    }
}

/// Port states known before we started, as inputs to the machines after the first snapshot.
pub fn port_states(view: &View) -> impl Iterator<Item = (PortRef, bool)> + '_ {
    view.port_states().map(|s: &Arc<PortState>| ((&s.port).into(), s.oper_up))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn view(extra: Vec<(&str, Value)>) -> View {
        let mut all = vec![
            (
                "switch/leaf1",
                json!({"name": "leaf1", "role": "leaf", "device_id": 1, "node_label": 101, "router_mac": "02:00:00:00:ff:01", "pair": "leaf2"}),
            ),
            (
                "switch/leaf2",
                json!({"name": "leaf2", "role": "leaf", "device_id": 2, "node_label": 102, "router_mac": "02:00:00:00:ff:02", "pair": "leaf1"}),
            ),
            (
                "switch/spine1",
                json!({"name": "spine1", "role": "spine", "device_id": 3, "node_label": 103, "router_mac": "02:00:00:00:ff:03"}),
            ),
            ("link/leaf1/1~spine1/1", json!({"id": "leaf1/1~spine1/1"})),
            ("port/leaf1/1", json!({"id": "leaf1/1"})),
            ("port/spine1/9", json!({"id": "spine1/9"})),
            ("port/leaf1/3", json!({"id": "leaf1/3", "mode": {"native": {"native": 10, "tagged": [20]}}})),
            (
                "port/leaf2/3",
                json!({"id": "leaf2/3", "mode": {"qinq": {"services": [{"outer": 100, "inner": 7, "vlan": 10}]}}}),
            ),
            (
                "subnet/a",
                json!({"name": "a", "vlan": 10, "gateways": ["10.0.10.1/24", "2001:db8:10::1/64"], "dhcp_relay": {"v4": ["172.16.0.2"]}}),
            ),
            ("subnet/b", json!({"name": "b", "vlan": 20, "gateways": ["10.0.20.1/24"]})),
            ("route/172.16.0.0/16", json!({"prefix": "172.16.0.0/16", "target": {"next_hops": ["10.0.20.254"]}})),
            (
                "route/0.0.0.0/0",
                json!({"prefix": "0.0.0.0/0", "target": {"next_hops": ["10.0.20.253", "10.0.20.254"]}}),
            ),
            (
                "host/h1",
                json!({"name": "h1", "mac": "02:00:00:00:00:01", "vlan": 10, "ips": ["10.0.10.11"], "attachments": ["leaf1/3", "leaf2/3"]}),
            ),
        ];
        all.extend(extra);
        let read = |(key, value): (&str, Value)| {
            AnyResource::from_stored(key, &stored(&value)).unwrap_or_else(|e| panic!("{key}: {e}"))
        };
        View::from_resources(all.into_iter().map(read))
    }

    /// As the store keeps it.
    fn stored(body: &Value) -> Vec<u8> {
        serde_json::to_vec(&json!({"v": pergola_model::FORMAT_VERSION, "body": body})).unwrap()
    }

    fn p(text: &str) -> PortRef {
        PortRef::parse(text).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ports_roles_links_and_pairs() {
        let v = view(vec![]);
        let n = ViewNet(&v);
        let role = |at: &str| n.port(&p(at)).map(|p| p.role);
        assert_eq!((role("leaf1/1"), role("leaf1/3")), (Some(PortRole::Infra), Some(PortRole::Edge)));
        assert_eq!((role("spine1/9"), role("spine1/77")), (Some(PortRole::Unknown), None));
        // A link's end that nobody described beyond that.
        assert_eq!((role("spine1/1"), n.role(&p("spine1/1"))), (Some(PortRole::Infra), Some(PortRole::Infra)));
        let mut all = Vec::new();
        n.visit_ports(&mut |at, _| all.push(at));
        assert_eq!(all.iter().filter(|at| **at == p("spine1/1")).count(), 1);
        assert_eq!(n.intended_peer(&p("spine1/1")), Some(p("leaf1/1")));
        assert_eq!(n.paired_leaf("leaf2").as_deref(), Some("leaf1"));
        assert_eq!(n.router_mac("leaf2"), Some(Mac([2, 0, 0, 0, 0xff, 2])));
        let port = n.port(&p("leaf2/3")).unwrap();
        assert_eq!((port.twin, port.vlans.tags_for(10)), (Some(p("leaf1/3")), Some(Tags::Two(100, 7))));
        assert_eq!(n.classify(&p("leaf1/3"), Tags::None), Some(10));
        let mut edges = Vec::new();
        n.visit_edge_ports(10, &mut |at, tags| edges.push((at, tags)));
        assert_eq!(edges, [(p("leaf1/3"), Tags::None), (p("leaf2/3"), Tags::Two(100, 7))]);
    }

    #[test]
    fn next_hops_and_neighbours_that_are_wanted() {
        let v = view(vec![]);
        let n = ViewNet(&v);
        assert_eq!(n.next_hop(10, ip("10.0.20.7")), Some((20, ip("10.0.20.7"))));
        assert_eq!(n.next_hop(10, ip("172.16.0.2")), Some((20, ip("10.0.20.254"))));
        assert_eq!(n.next_hop(10, ip("8.8.8.8")), Some((20, ip("10.0.20.253"))));
        assert_eq!(n.next_hop(10, ip("2001:db8:99::1")), None);
        let mut wanted = BTreeSet::new();
        n.visit_wanted_neighbours(&mut |vlan, ip| {
            wanted.insert((vlan, ip));
        });
        assert_eq!(wanted.into_iter().collect::<Vec<_>>(), [(20, ip("10.0.20.253")), (20, ip("10.0.20.254"))]);
        // a next hop that is known comes before one that is not
        let known = json!({"mac": "02:00:00:00:00:fe", "vlan": 20, "ips": ["10.0.20.254"], "ports": ["leaf1/3"], "learned_from": "arp"});
        let v = view(vec![("host-location/02:00:00:00:00:fe/20", known)]);
        assert_eq!(ViewNet(&v).next_hop(10, ip("8.8.8.8")), Some((20, ip("10.0.20.254"))));
    }

    #[test]
    fn gateways_hosts_and_services() {
        let v = view(vec![]);
        let n = ViewNet(&v);
        assert_eq!(n.gateway_vlan(20, ip("10.0.10.1")), Some(10));
        assert_eq!(n.gateway_vlan(20, ip("10.0.10.2")), None);
        assert_eq!(n.gateway(10, true).map(|g| g.prefix_len), Some(64));
        let h = n.host_by_ip(10, ip("10.0.10.11")).unwrap();
        assert_eq!((h.mac, h.locations.as_slice()), (Mac([2, 0, 0, 0, 0, 1]), &[p("leaf1/3"), p("leaf2/3")][..]));
        assert_eq!(n.host_by_ip(20, ip("10.0.10.11")), None);
        assert!(n.router_advert(10).is_some() && n.router_advert(20).is_none());
        assert!(n.dhcp_relay(10).is_some() && n.dhcp_relay(20).is_none());
    }

    #[test]
    fn observations_become_resources_and_come_back() {
        let seen = [
            Observation::LinkUp { a: p("leaf1/1"), b: p("spine1/1") },
            Observation::CablingFault { at: p("leaf1/1"), expected: Some(p("spine1/1")), found: p("spine1/9") },
            Observation::Host(Host {
                vlan: 20,
                mac: Mac([2, 0, 0, 0, 0, 7]),
                ips: vec![ip("10.0.20.7")],
                locations: vec![p("leaf1/3")],
                tags: vec![20],
                learned: Learned::Dhcp,
            }),
            Observation::Members(Members {
                device: "leaf1".into(),
                vlan: 10,
                group: ip("239.1.2.3"),
                any: vec![p("leaf1/3")],
                sources: vec![(ip("10.0.10.9"), vec![p("leaf1/4")])],
            }),
        ];
        let mut v = view(vec![]);
        for o in &seen {
            let Some(Write::Put(resource)) = write_of(o, 5) else { panic!("{o:?}") };
            v.put(resource);
        }
        let n = ViewNet(&v);
        let mut links = Vec::new();
        n.visit_links(&mut |a, b| links.push((a, b)));
        assert_eq!(links, [(p("leaf1/1"), p("spine1/1"))]);
        let mut hosts = Vec::new();
        n.visit_hosts(&mut |h| hosts.push(Observation::Host(h)));
        assert_eq!(hosts, seen[2..3]);
        let mut members = Vec::new();
        n.visit_members(&mut |m| members.push(Observation::Members(m)));
        assert_eq!(members, seen[3..]);
        let Observation::Members(last) = &seen[3] else { panic!() };
        let nobody = Observation::Members(Members { any: vec![], sources: vec![], ..last.clone() });
        assert_eq!(write_of(&nobody, 6), Some(Write::Delete("group-members/leaf1/10/239.1.2.3".parse().unwrap())));
        let mut faults = Vec::new();
        n.visit_cabling_faults(&mut |at| faults.push(at));
        assert_eq!(faults, [p("leaf1/1")]);
        let gone = write_of(&Observation::HostGone { vlan: 20, mac: Mac([2, 0, 0, 0, 0, 7]) }, 6);
        let Some(Write::Delete(key)) = gone else { panic!("{gone:?}") };
        assert!(v.get(&key).is_some());
        let right = write_of(&Observation::CablingRight { at: p("leaf1/1") }, 6);
        assert_eq!(right, Some(Write::Delete("cabling-fault/leaf1/1".parse().unwrap())));
    }

    #[test]
    fn changes_are_folded() {
        let keys: Vec<Key> =
            ["port/leaf1/3", "port/leaf1/4", "subnet/a", "host-location/02:00:00:00:00:07/20", "policy/x"]
                .iter()
                .map(|k| k.parse().unwrap())
                .collect();
        let host = Change::Host { vlan: 20, mac: Mac([2, 0, 0, 0, 0, 7]) };
        assert_eq!(changes(&keys), [Change::Topology, Change::Subnets, host]);
    }
}
