//! What a view can be asked. Look-ups cost O(log n) and what they return.

use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use super::{PrefixLength, View};
use crate::access::AccessDevice;
use crate::host::{Host, HostIntent, HostKey};
use crate::ids::{DeviceId, LinkId, NodeLabel, PortId, PortNo, VlanId};
use crate::ip::Prefix;
use crate::link::Link;
use crate::mac::MacAddr;
use crate::multicast::{GroupMembers, MembersKey, MulticastGroup};
use crate::names::{AccessName, DomainName, GroupName, HostName, PolicyName, SubnetName, SwitchName};
use crate::observed::{CablingFault, DeviceState, HostLocation, LinkState, PortState};
use crate::policy::Policy;
use crate::port::Port;
use crate::resource::{AnyResource, DecodeError, Key, Kind};
use crate::route::{HopSet, Route, RouteId};
use crate::site::{Site, Timers};
use crate::subnet::Subnet;
use crate::switch::Switch;

impl View {
    /// The store's revision this view shows.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Keys of the store that hold no readable resource, and why.
    pub fn refused(&self) -> impl Iterator<Item = (&str, &DecodeError)> {
        self.refused.iter().map(|(key, error)| (&**key, error))
    }

    // The site and its switches.

    pub fn site(&self) -> Option<&Arc<Site>> {
        self.site.as_ref()
    }

    /// The site's timers, or the usual ones.
    pub fn timers(&self) -> Timers {
        self.site.as_ref().map(|s| s.timers.clone()).unwrap_or_default()
    }

    pub fn switch(&self, name: &SwitchName) -> Option<&Arc<Switch>> {
        self.switches.get(name)
    }

    pub fn switches(&self) -> impl Iterator<Item = &Arc<Switch>> {
        self.switches.values()
    }

    pub fn leaves(&self) -> impl Iterator<Item = &Arc<Switch>> {
        self.switches().filter(|s| s.is_leaf())
    }

    pub fn spines(&self) -> impl Iterator<Item = &Arc<Switch>> {
        self.switches().filter(|s| s.is_spine())
    }

    /// The switch with a device id; looks at every switch.
    pub fn switch_by_device_id(&self, id: DeviceId) -> Option<&Arc<Switch>> {
        self.switches().find(|s| s.device_id == id)
    }

    /// The switch with a node label; looks at every switch.
    pub fn switch_by_label(&self, label: NodeLabel) -> Option<&Arc<Switch>> {
        self.switches().find(|s| s.node_label == label)
    }

    /// The gateways' Ethernet address on a switch: the site's, or the switch's own.
    pub fn gateway_mac(&self, switch: &Switch) -> MacAddr {
        self.site.as_ref().and_then(|s| s.anycast_mac).unwrap_or(switch.router_mac)
    }

    // Ports.

    pub fn port(&self, id: &PortId) -> Option<&Arc<Port>> {
        self.ports.get(id)
    }

    pub fn ports(&self) -> impl Iterator<Item = &Arc<Port>> {
        self.ports.values()
    }

    pub fn ports_of(&self, switch: &SwitchName) -> impl Iterator<Item = &Arc<Port>> {
        self.ports.range(ports_range(switch)).map(|(_, port)| port)
    }

    /// The ports that carry a VLAN, in whatever mode.
    pub fn ports_in_vlan(&self, vlan: VlanId) -> impl Iterator<Item = &Arc<Port>> {
        self.vlan_ports.of(&vlan).filter_map(|id| self.ports.get(id))
    }

    /// Whether an intended link ends at the port.
    pub fn is_fabric_port(&self, id: &PortId) -> bool {
        self.link_at(id).is_some()
    }

    // Links, as wanted and as seen.

    pub fn link(&self, id: &LinkId) -> Option<&Arc<Link>> {
        self.links.get(id)
    }

    pub fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.links.values()
    }

    /// The intended link that ends at a port.
    pub fn link_at(&self, port: &PortId) -> Option<&Arc<Link>> {
        self.links_at(port).next()
    }

    /// All intended links that end at a port; checks refuse more than one.
    pub fn links_at(&self, port: &PortId) -> impl Iterator<Item = &Arc<Link>> {
        self.link_ends.of(port).filter_map(|id| self.links.get(id))
    }

    /// The intended links of a switch, by its own port.
    pub fn links_of(&self, switch: &SwitchName) -> impl Iterator<Item = &Arc<Link>> {
        let switch = switch.clone();
        self.link_ends
            .from(PortId::new(switch.clone(), PortNo::MIN))
            .take_while(move |(port, _)| port.switch == switch)
            .filter_map(|(_, id)| self.links.get(id))
    }

    pub fn link_state(&self, id: &LinkId) -> Option<&Arc<LinkState>> {
        self.link_states.get(id)
    }

    pub fn link_states(&self) -> impl Iterator<Item = &Arc<LinkState>> {
        self.link_states.values()
    }

    /// What was seen at a port; several when cables were moved.
    pub fn link_states_at(&self, port: &PortId) -> impl Iterator<Item = &Arc<LinkState>> {
        self.seen_link_ends.of(port).filter_map(|id| self.link_states.get(id))
    }

    pub fn port_state(&self, id: &PortId) -> Option<&Arc<PortState>> {
        self.port_states.get(id)
    }

    pub fn port_states(&self) -> impl Iterator<Item = &Arc<PortState>> {
        self.port_states.values()
    }

    pub fn cabling_fault(&self, port: &PortId) -> Option<&Arc<CablingFault>> {
        self.cabling_faults.get(port)
    }

    pub fn cabling_faults(&self) -> impl Iterator<Item = &Arc<CablingFault>> {
        self.cabling_faults.values()
    }

    pub fn device_state(&self, switch: &SwitchName) -> Option<&Arc<DeviceState>> {
        self.device_states.get(switch)
    }

    pub fn device_states(&self) -> impl Iterator<Item = &Arc<DeviceState>> {
        self.device_states.values()
    }

    // Subnets.

    pub fn subnet(&self, name: &SubnetName) -> Option<&Arc<Subnet>> {
        self.subnets.get(name)
    }

    pub fn subnets(&self) -> impl Iterator<Item = &Arc<Subnet>> {
        self.subnets.values()
    }

    /// The subnet of a VLAN.
    pub fn subnet_of_vlan(&self, vlan: VlanId) -> Option<&Arc<Subnet>> {
        self.subnets_of_vlan(vlan).next()
    }

    /// All subnets of a VLAN; checks refuse more than one.
    pub fn subnets_of_vlan(&self, vlan: VlanId) -> impl Iterator<Item = &Arc<Subnet>> {
        self.vlan_subnets.of(&vlan).filter_map(|name| self.subnets.get(name))
    }

    /// The subnets with exactly this prefix.
    pub fn subnets_with_prefix(&self, domain: &DomainName, prefix: Prefix) -> impl Iterator<Item = &Arc<Subnet>> {
        self.prefix_subnets.of(&(domain.clone(), prefix)).filter_map(|name| self.subnets.get(name))
    }

    /// The subnet of a domain that an address is in, by the longest prefix.
    pub fn subnet_containing(&self, domain: &DomainName, address: IpAddr) -> Option<&Arc<Subnet>> {
        let mut next = PrefixLength { v6: address.is_ipv6(), short: std::cmp::Reverse(u8::MAX) };
        loop {
            // Past every subnet with this length, to the next shorter one.
            let (_, length, _) = self
                .prefix_lengths
                .range((domain.clone(), next, lowest_name())..)
                .next()
                .filter(|(d, l, _)| d == domain && l.v6 == address.is_ipv6())?;
            let prefix = Prefix::containing(address, length.short.0).ok()?;
            if let Some(found) = self.subnets_with_prefix(domain, prefix).next() {
                return Some(found);
            }
            next.short = std::cmp::Reverse(length.short.0.checked_sub(1)?);
        }
    }

    // Hosts.

    /// A host, declared or learned.
    pub fn host(&self, key: &HostKey) -> Option<&Host> {
        self.hosts.get(key)
    }

    /// Every host, by VLAN and then Ethernet address.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    pub fn host_count(&self) -> usize {
        self.hosts.len()
    }

    pub fn hosts_in_vlan(&self, vlan: VlanId) -> impl Iterator<Item = &Host> {
        let low = HostKey { vlan, mac: MacAddr::ZERO };
        let high = HostKey { vlan, mac: MacAddr::BROADCAST };
        self.hosts.range(low..=high).map(|(_, host)| host)
    }

    /// Every host with an address, in whatever domain; more than one when domains reuse it or somebody spoofs it.
    pub fn hosts_by_ip(&self, address: IpAddr) -> impl Iterator<Item = &Host> {
        self.hosts_by_ip.of(&address).filter_map(|key| self.hosts.get(key))
    }

    /// The host with an address in the domain's subnet that contains it. Of several claims a declared one counts first.
    pub fn host_with_ip(&self, domain: &DomainName, address: IpAddr) -> Option<&Host> {
        let subnet = self.subnet_containing(domain, address)?;
        let claims = self.hosts_by_ip(address).filter(|host| host.vlan() == subnet.vlan);
        claims.min_by_key(|host| {
            let declared = host.declared.as_ref().is_some_and(|d| d.ips.contains(&address));
            (!declared, host.key)
        })
    }

    /// The hosts reached through a port.
    pub fn hosts_at(&self, port: &PortId) -> impl Iterator<Item = &Host> {
        self.hosts_by_port.of(port).filter_map(|key| self.hosts.get(key))
    }

    /// The intents that name a port: hosts attached there, groups received there, access devices behind it.
    pub fn users_of(&self, port: &PortId) -> impl Iterator<Item = &Key> {
        self.port_users.of(port)
    }

    /// The same for all ports of a switch.
    pub fn users_on(&self, switch: &SwitchName) -> impl Iterator<Item = &Key> {
        let switch = switch.clone();
        self.port_users
            .from(PortId::new(switch.clone(), PortNo::MIN))
            .take_while(move |(port, _)| port.switch == switch)
            .map(|(_, user)| user)
    }

    /// The hosts declared at a port, wherever they were seen.
    pub fn hosts_declared_at(&self, port: &PortId) -> impl Iterator<Item = &Arc<HostIntent>> {
        let names = self.users_of(port).filter(|user| user.kind == Kind::Host);
        names.filter_map(|user| self.host_intents.get(&user.name.parse::<HostName>().ok()?))
    }

    /// The hosts reached through a switch's ports, by port; a host at two of its ports comes twice.
    pub fn hosts_on(&self, switch: &SwitchName) -> impl Iterator<Item = (&PortId, &Host)> {
        let switch = switch.clone();
        self.hosts_by_port
            .from(PortId::new(switch.clone(), PortNo::MIN))
            .take_while(move |(port, _)| port.switch == switch)
            .filter_map(|(port, key)| Some((port, self.hosts.get(key)?)))
    }

    pub fn host_intent(&self, name: &HostName) -> Option<&Arc<HostIntent>> {
        self.host_intents.get(name)
    }

    pub fn host_intents(&self) -> impl Iterator<Item = &Arc<HostIntent>> {
        self.host_intents.values()
    }

    /// All declarations of one host; checks refuse more than one.
    pub fn host_intents_of(&self, key: &HostKey) -> impl Iterator<Item = &Arc<HostIntent>> {
        self.declared_hosts.of(key).filter_map(|name| self.host_intents.get(name))
    }

    pub fn host_location(&self, key: &HostKey) -> Option<&Arc<HostLocation>> {
        self.hosts.get(key).and_then(|h| h.learned.as_ref())
    }

    pub fn host_locations(&self) -> impl Iterator<Item = &Arc<HostLocation>> {
        self.hosts.values().filter_map(|h| h.learned.as_ref())
    }

    // Routes, policies and the rest.

    pub fn route(&self, id: &RouteId) -> Option<&Arc<Route>> {
        self.routes.get(id)
    }

    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values()
    }

    pub fn route_count(&self) -> usize {
        self.routes.len()
    }

    /// The routes that have an address among their next hops.
    pub fn routes_via(&self, next_hop: IpAddr) -> impl Iterator<Item = &Arc<Route>> {
        self.hop_sets_via(next_hop)
            .filter_map(|set| self.hop_sets.get(set))
            .flatten()
            .filter_map(|id| self.routes.get(id))
    }

    /// Every set of next hops that routes share, each once.
    pub fn hop_sets(&self) -> impl Iterator<Item = &HopSet> {
        self.hop_sets.keys()
    }

    /// The sets of next hops that an address is in.
    pub fn hop_sets_via(&self, next_hop: IpAddr) -> impl Iterator<Item = &HopSet> {
        self.next_hop_sets.of(&next_hop)
    }

    /// The routes that lead through exactly these next hops.
    pub fn routes_of(&self, set: &HopSet) -> impl Iterator<Item = &RouteId> {
        self.hop_sets.get(set).into_iter().flatten()
    }

    /// Every address that is the next hop of a route, each once, in order. Costs O(log n) an address, however many
    /// routes share it.
    pub fn next_hops(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let mut from = Some(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        std::iter::from_fn(move || {
            let found = *self.next_hop_sets.from(from?).next()?.0;
            from = match found {
                IpAddr::V4(ip) => Some(
                    u32::from(ip)
                        .checked_add(1)
                        .map_or(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), |next| IpAddr::V4(next.into())),
                ),
                IpAddr::V6(ip) => u128::from(ip).checked_add(1).map(|next| IpAddr::V6(next.into())),
            };
            Some(found)
        })
    }

    pub fn policy(&self, name: &PolicyName) -> Option<&Arc<Policy>> {
        self.policies.get(name)
    }

    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    pub fn multicast_group(&self, name: &GroupName) -> Option<&Arc<MulticastGroup>> {
        self.multicast.get(name)
    }

    pub fn multicast_groups(&self) -> impl Iterator<Item = &Arc<MulticastGroup>> {
        self.multicast.values()
    }

    /// Who was heard to listen, by VLAN, group and switch.
    pub fn group_members(&self) -> impl Iterator<Item = &Arc<GroupMembers>> {
        self.group_members.values()
    }

    /// Who was heard to listen to one group, switch by switch.
    pub fn members_of(&self, vlan: VlanId, group: IpAddr) -> impl Iterator<Item = &Arc<GroupMembers>> {
        let first = MembersKey { vlan, group, switch: SwitchName::lowest() };
        let of_group = self.group_members.range(first..);
        of_group.map(|(_, m)| m).take_while(move |m| m.vlan == vlan && m.group == group)
    }

    /// Who was heard to listen to any group of a VLAN.
    pub fn members_in_vlan(&self, vlan: VlanId) -> impl Iterator<Item = &Arc<GroupMembers>> {
        let group = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let first = MembersKey { vlan, group, switch: SwitchName::lowest() };
        self.group_members.range(first..).map(|(_, m)| m).take_while(move |m| m.vlan == vlan)
    }

    pub fn access_device(&self, name: &AccessName) -> Option<&Arc<AccessDevice>> {
        self.access_devices.get(name)
    }

    /// The access devices behind a port; checks refuse more than one.
    pub fn access_devices_at(&self, port: &PortId) -> impl Iterator<Item = &Arc<AccessDevice>> {
        let names = self.users_of(port).filter(|user| user.kind == Kind::AccessDevice);
        names.filter_map(|user| self.access_devices.get(&user.name.parse::<AccessName>().ok()?))
    }

    pub fn access_devices(&self) -> impl Iterator<Item = &Arc<AccessDevice>> {
        self.access_devices.values()
    }

    // Any resource.

    /// The resource at a key.
    pub fn get(&self, key: &Key) -> Option<AnyResource> {
        fn at<K: Ord + std::str::FromStr, T: Clone + Into<AnyResource>>(
            map: &imbl::OrdMap<K, Arc<T>>,
            name: &str,
        ) -> Option<AnyResource> {
            map.get(&name.parse::<K>().ok()?).map(|found| T::clone(found).into())
        }
        let name = &*key.name;
        match key.kind {
            Kind::Site => self.site.as_ref().filter(|_| name == "site").map(|s| Site::clone(s).into()),
            Kind::Switch => at(&self.switches, name),
            Kind::Port => at(&self.ports, name),
            Kind::Link => at(&self.links, name),
            Kind::Subnet => at(&self.subnets, name),
            Kind::Host => at(&self.host_intents, name),
            Kind::Route => at(&self.routes, name),
            Kind::Policy => at(&self.policies, name),
            Kind::Multicast => at(&self.multicast, name),
            Kind::AccessDevice => at(&self.access_devices, name),
            Kind::DeviceState => at(&self.device_states, name),
            Kind::PortState => at(&self.port_states, name),
            Kind::LinkState => at(&self.link_states, name),
            Kind::HostLocation => self.host_location(&name.parse().ok()?).map(|l| HostLocation::clone(l).into()),
            Kind::CablingFault => at(&self.cabling_faults, name),
            Kind::GroupMembers => at(&self.group_members, name),
        }
    }

    /// Every resource of a kind, in order.
    pub fn all(&self, kind: Kind) -> Vec<AnyResource> {
        fn every<'a, T: Clone + Into<AnyResource> + 'a>(values: impl Iterator<Item = &'a Arc<T>>) -> Vec<AnyResource> {
            values.map(|value| T::clone(value).into()).collect()
        }
        match kind {
            Kind::Site => every(self.site.iter()),
            Kind::Switch => every(self.switches()),
            Kind::Port => every(self.ports()),
            Kind::Link => every(self.links()),
            Kind::Subnet => every(self.subnets()),
            Kind::Host => every(self.host_intents()),
            Kind::Route => every(self.routes()),
            Kind::Policy => every(self.policies()),
            Kind::Multicast => every(self.multicast_groups()),
            Kind::AccessDevice => every(self.access_devices()),
            Kind::DeviceState => every(self.device_states()),
            Kind::PortState => every(self.port_states()),
            Kind::LinkState => every(self.link_states()),
            Kind::HostLocation => every(self.host_locations()),
            Kind::CablingFault => every(self.cabling_faults()),
            Kind::GroupMembers => every(self.group_members()),
        }
    }

    /// Every intent, kind by kind.
    pub fn intents(&self) -> Vec<AnyResource> {
        Kind::ALL.iter().filter(|kind| kind.is_intent()).flat_map(|kind| self.all(*kind)).collect()
    }
}

fn ports_range(switch: &SwitchName) -> (Bound<PortId>, Bound<PortId>) {
    let end = |port| Bound::Included(PortId::new(switch.clone(), port));
    (end(PortNo::MIN), end(PortNo::MAX))
}

/// A name no other sorts before.
fn lowest_name() -> SubnetName {
    static NAME: std::sync::OnceLock<SubnetName> = std::sync::OnceLock::new();
    NAME.get_or_init(SubnetName::lowest).clone()
}
