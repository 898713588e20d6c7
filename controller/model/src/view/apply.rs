//! How a view moves to the next revision, and keeps its indexes while it does.

use std::sync::Arc;

use imbl::OrdMap;

use super::{PrefixLength, View};
use crate::access::AccessDevice;
use crate::host::{Host, HostIntent, HostKey};
use crate::ids::{LinkId, PortId};
use crate::link::Link;
use crate::names::{AccessName, SubnetName};
use crate::observed::{HostLocation, LinkState};
use crate::port::Port;
use crate::resource::{AnyResource, DecodeError, Key, Kind};
use crate::route::{Route, RouteId};
use crate::subnet::Subnet;

/// One change of the store: a key, and its new value or none when it was deleted.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    pub key: &'a str,
    pub value: Option<&'a [u8]>,
}

/// What happened to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    Created,
    Updated,
    Deleted,
}

/// A resource that differs from the view before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangedKey {
    pub key: Key,
    pub change: ChangeKind,
}

/// What came of a batch of changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Applied {
    /// In the order of the changes. A value equal to the one before is no change.
    pub changed: Vec<ChangedKey>,
    /// Keys and values that are no resources. The view holds nothing at such a key, whatever was there before, so that
    /// it depends on the store alone and not on the way it came about.
    pub refused: Vec<(String, DecodeError)>,
}

impl View {
    /// Moves to `revision`, which holds these changes.
    pub fn apply(&mut self, revision: u64, changes: &[Change<'_>]) -> Applied {
        self.revision = revision;
        let mut applied = Applied::default();
        for change in changes {
            let key = match change.key.parse::<Key>() {
                Ok(key) => key,
                Err(error) => {
                    let error = DecodeError::Key(error);
                    match change.value {
                        Some(_) => self.refuse(change.key, error, &mut applied),
                        None => drop(self.refused.remove(change.key)),
                    }
                    continue;
                }
            };
            let done = match change.value {
                None => {
                    self.refused.remove(change.key);
                    self.remove(&key)
                }
                Some(bytes) => match AnyResource::from_stored(change.key, bytes) {
                    Ok(resource) => {
                        if !self.refused.is_empty() {
                            self.refused.remove(change.key);
                        }
                        self.put(resource)
                    }
                    Err(error) => {
                        self.refuse(change.key, error, &mut applied);
                        self.remove(&key)
                    }
                },
            };
            if let Some(change) = done {
                applied.changed.push(ChangedKey { key, change });
            }
        }
        applied
    }

    fn refuse(&mut self, key: &str, error: DecodeError, applied: &mut Applied) {
        self.refused.insert(key.into(), error.clone());
        applied.refused.push((key.into(), error));
    }

    /// A view of these resources, at revision 1.
    pub fn from_resources(resources: impl IntoIterator<Item = AnyResource>) -> Self {
        let mut view = View { revision: 1, ..View::default() };
        for resource in resources {
            view.put(resource);
        }
        view
    }

    /// Creates or replaces one resource and keeps the revision. `None` when nothing changed.
    pub fn put(&mut self, resource: impl Into<AnyResource>) -> Option<ChangeKind> {
        let resource = resource.into();
        let shapes = match &resource {
            AnyResource::Port(r) => self.is_fabric_port(&r.id),
            AnyResource::PortState(r) => self.is_fabric_port(&r.port),
            other => shapes_topology(other.kind()),
        };
        let change = self.put_inner(resource)?;
        if shapes {
            self.topology = Default::default();
        }
        Some(change)
    }

    fn put_inner(&mut self, resource: AnyResource) -> Option<ChangeKind> {
        match resource {
            AnyResource::Site(new) => {
                let change = match self.site.as_deref() {
                    Some(old) if *old == new => return None,
                    Some(_) => ChangeKind::Updated,
                    None => ChangeKind::Created,
                };
                self.site = Some(Arc::new(new));
                Some(change)
            }
            AnyResource::Switch(new) => replace(&mut self.switches, new.name.clone(), Some(new)).map(|r| r.change),
            AnyResource::Port(new) => self.set_port(new.id.clone(), Some(new)),
            AnyResource::Link(new) => self.set_link(new.id.clone(), Some(new)),
            AnyResource::Subnet(new) => self.set_subnet(new.name.clone(), Some(new)),
            AnyResource::Host(new) => self.set_host_intent(new.name.clone(), Some(new)),
            AnyResource::Route(new) => self.set_route(new.id(), Some(new)),
            AnyResource::Policy(new) => replace(&mut self.policies, new.name.clone(), Some(new)).map(|r| r.change),
            AnyResource::Multicast(new) => self.set_multicast(new.name.clone(), Some(new)),
            AnyResource::AccessDevice(new) => self.set_access_device(new.name.clone(), Some(new)),
            AnyResource::DeviceState(new) => {
                replace(&mut self.device_states, new.switch.clone(), Some(new)).map(|r| r.change)
            }
            AnyResource::PortState(new) => {
                replace(&mut self.port_states, new.port.clone(), Some(new)).map(|r| r.change)
            }
            AnyResource::LinkState(new) => self.set_link_state(new.id.clone(), Some(new)),
            AnyResource::HostLocation(new) => self.set_host_location(new.host_key(), Some(new)),
            AnyResource::CablingFault(new) => {
                replace(&mut self.cabling_faults, new.port.clone(), Some(new)).map(|r| r.change)
            }
            AnyResource::GroupMembers(new) => self.set_group_members(new.members_key(), Some(new)),
        }
    }

    /// Removes one resource and keeps the revision. `None` when it was not there.
    pub fn remove(&mut self, key: &Key) -> Option<ChangeKind> {
        let shapes = match key.kind {
            Kind::Port | Kind::PortState => key.name.parse().is_ok_and(|port| self.is_fabric_port(&port)),
            kind => shapes_topology(kind),
        };
        let change = self.remove_inner(key)?;
        if shapes {
            self.topology = Default::default();
        }
        Some(change)
    }

    fn remove_inner(&mut self, key: &Key) -> Option<ChangeKind> {
        // A name that does not parse was never let in.
        match key.kind {
            Kind::Site if &*key.name == "site" => self.site.take().map(|_| ChangeKind::Deleted),
            Kind::Site => None,
            Kind::Switch => delete(&mut self.switches, key),
            Kind::Port => self.set_port(key.name.parse().ok()?, None),
            Kind::Link => self.set_link(key.name.parse().ok()?, None),
            Kind::Subnet => self.set_subnet(key.name.parse().ok()?, None),
            Kind::Host => self.set_host_intent(key.name.parse().ok()?, None),
            Kind::Route => self.set_route(key.name.parse().ok()?, None),
            Kind::Policy => delete(&mut self.policies, key),
            Kind::Multicast => self.set_multicast(key.name.parse().ok()?, None),
            Kind::AccessDevice => self.set_access_device(key.name.parse().ok()?, None),
            Kind::DeviceState => delete(&mut self.device_states, key),
            Kind::PortState => delete(&mut self.port_states, key),
            Kind::LinkState => self.set_link_state(key.name.parse().ok()?, None),
            Kind::HostLocation => self.set_host_location(key.name.parse().ok()?, None),
            Kind::CablingFault => delete(&mut self.cabling_faults, key),
            Kind::GroupMembers => self.set_group_members(key.name.parse().ok()?, None),
        }
    }

    fn set_port(&mut self, id: PortId, new: Option<Port>) -> Option<ChangeKind> {
        let done = replace(&mut self.ports, id.clone(), new)?;
        for (vlan, _) in done.old.iter().flat_map(|p| p.mode.memberships()) {
            self.vlan_ports.remove(vlan, id.clone());
        }
        for (vlan, _) in done.new.iter().flat_map(|p| p.mode.memberships()) {
            self.vlan_ports.insert(vlan, id.clone());
        }
        Some(done.change)
    }

    fn set_access_device(&mut self, name: AccessName, new: Option<AccessDevice>) -> Option<ChangeKind> {
        let done = replace(&mut self.access_devices, name.clone(), new)?;
        self.set_users(&Key::new(Kind::AccessDevice, &name), &done, |device| &device.ports);
        Some(done.change)
    }

    /// The ports that an intent names.
    pub(super) fn set_users<T>(&mut self, key: &Key, done: &Replaced<T>, ports: impl Fn(&T) -> &[PortId]) {
        for port in done.old.iter().flat_map(|old| ports(old)) {
            self.port_users.remove(port.clone(), key.clone());
        }
        for port in done.new.iter().flat_map(|new| ports(new)) {
            self.port_users.insert(port.clone(), key.clone());
        }
    }

    fn set_link(&mut self, id: LinkId, new: Option<Link>) -> Option<ChangeKind> {
        let done = replace(&mut self.links, id.clone(), new)?;
        for end in id.ends() {
            if done.new.is_some() {
                self.link_ends.insert(end.clone(), id.clone());
            } else {
                self.link_ends.remove(end.clone(), id.clone());
            }
        }
        Some(done.change)
    }

    fn set_link_state(&mut self, id: LinkId, new: Option<LinkState>) -> Option<ChangeKind> {
        let done = replace(&mut self.link_states, id.clone(), new)?;
        for end in id.ends() {
            if done.new.is_some() {
                self.seen_link_ends.insert(end.clone(), id.clone());
            } else {
                self.seen_link_ends.remove(end.clone(), id.clone());
            }
        }
        Some(done.change)
    }

    fn set_subnet(&mut self, name: SubnetName, new: Option<Subnet>) -> Option<ChangeKind> {
        let done = replace(&mut self.subnets, name.clone(), new)?;
        self.move_groups(&name, done.old.as_ref().map(|old| old.vlan), done.new.as_ref().map(|new| new.vlan));
        if let Some(old) = done.old {
            self.vlan_subnets.remove(old.vlan, name.clone());
            for prefix in old.all_prefixes() {
                self.prefix_subnets.remove((old.domain.clone(), prefix), name.clone());
                let length = PrefixLength::of(&prefix);
                self.prefix_lengths.remove(&(old.domain.clone(), length, name.clone()));
            }
        }
        if let Some(new) = done.new {
            self.vlan_subnets.insert(new.vlan, name.clone());
            for prefix in new.all_prefixes() {
                self.prefix_subnets.insert((new.domain.clone(), prefix), name.clone());
                let length = PrefixLength::of(&prefix);
                self.prefix_lengths.insert((new.domain.clone(), length, name.clone()));
            }
        }
        Some(done.change)
    }

    fn set_route(&mut self, id: RouteId, new: Option<Route>) -> Option<ChangeKind> {
        let done = replace(&mut self.routes, id.clone(), new)?;
        if let Some(set) = done.old.as_ref().and_then(|r| r.hop_set()) {
            let mut routes = self.hop_sets.get(&set).cloned().unwrap_or_default();
            routes.remove(&id);
            if routes.is_empty() {
                self.hop_sets.remove(&set);
                for hop in set.hops() {
                    self.next_hop_sets.remove(*hop, set.clone());
                }
            } else {
                self.hop_sets.insert(set, routes);
            }
        }
        if let Some(set) = done.new.as_ref().and_then(|r| r.hop_set()) {
            let mut routes = self.hop_sets.get(&set).cloned().unwrap_or_default();
            if routes.is_empty() {
                for hop in set.hops() {
                    self.next_hop_sets.insert(*hop, set.clone());
                }
            }
            routes.insert(id);
            self.hop_sets.insert(set, routes);
        }
        Some(done.change)
    }

    fn set_host_intent(&mut self, name: crate::names::HostName, new: Option<HostIntent>) -> Option<ChangeKind> {
        let done = replace(&mut self.host_intents, name.clone(), new)?;
        self.set_users(&Key::new(Kind::Host, &name), &done, |host| &host.attachments);
        let key = |host: &Arc<HostIntent>| HostKey::new(host.mac, host.vlan);
        let (old, new) = (done.old.as_ref().map(key), done.new.as_ref().map(key));
        if let Some(old) = old {
            self.declared_hosts.remove(old, name.clone());
        }
        if let Some(new) = new {
            self.declared_hosts.insert(new, name);
        }
        for key in old.into_iter().chain(new.filter(|new| old != Some(*new))) {
            let learned = self.hosts.get(&key).and_then(|h| h.learned.clone());
            self.join_host(key, learned);
        }
        Some(done.change)
    }

    fn set_host_location(&mut self, key: HostKey, new: Option<HostLocation>) -> Option<ChangeKind> {
        let old = self.hosts.get(&key).and_then(|h| h.learned.as_deref());
        let change = match (old, &new) {
            (None, None) => return None,
            (Some(old), Some(new)) if old == new => return None,
            (None, Some(_)) => ChangeKind::Created,
            (Some(_), Some(_)) => ChangeKind::Updated,
            (Some(_), None) => ChangeKind::Deleted,
        };
        let learned = new.map(|mut location| {
            for port in &mut location.ports {
                // Hundreds of thousands of hosts then share the few switch names.
                if let Some((name, _)) = self.switches.get_key_value(&port.switch) {
                    port.switch = name.clone();
                }
            }
            location.ports.shrink_to_fit();
            location.ips.shrink_to_fit();
            Arc::new(location)
        });
        self.join_host(key, learned);
        Some(change)
    }

    /// Puts a host together again from its declaration and what was learned. Of two declarations of one host, which
    /// checks refuse, the first by name counts.
    fn join_host(&mut self, key: HostKey, learned: Option<Arc<HostLocation>>) {
        if let Some(old) = self.hosts.get(&key) {
            for ip in old.ips() {
                self.hosts_by_ip.remove(ip, key);
            }
            for port in old.locations() {
                self.hosts_by_port.remove(port.clone(), key);
            }
        }
        let declared = self.declared_hosts.of(&key).next();
        let declared = declared.and_then(|name| self.host_intents.get(name)).cloned();
        if declared.is_none() && learned.is_none() {
            self.hosts.remove(&key);
            return;
        }
        let host = Host { key, declared, learned };
        for ip in host.ips() {
            self.hosts_by_ip.insert(ip, key);
        }
        for port in host.locations() {
            self.hosts_by_port.insert(port.clone(), key);
        }
        self.hosts.insert(key, host);
    }
}

/// Kinds that always count; ports count where links end.
fn shapes_topology(kind: Kind) -> bool {
    matches!(kind, Kind::Switch | Kind::Link | Kind::LinkState | Kind::CablingFault)
}

pub(super) struct Replaced<T> {
    pub change: ChangeKind,
    pub old: Option<Arc<T>>,
    pub new: Option<Arc<T>>,
}

/// Puts or removes one value; `None` when that changes nothing.
pub(super) fn replace<K: Ord + Clone, T: PartialEq>(
    map: &mut OrdMap<K, Arc<T>>,
    key: K,
    new: Option<T>,
) -> Option<Replaced<T>> {
    match new {
        Some(new) => {
            if map.get(&key).is_some_and(|old| **old == new) {
                return None;
            }
            let new = Arc::new(new);
            let old = map.insert(key, new.clone());
            let change = if old.is_some() { ChangeKind::Updated } else { ChangeKind::Created };
            Some(Replaced { change, old, new: Some(new) })
        }
        None => {
            let old = map.remove(&key)?;
            Some(Replaced { change: ChangeKind::Deleted, old: Some(old), new: None })
        }
    }
}

fn delete<K: Ord + Clone + std::str::FromStr, T: PartialEq>(
    map: &mut OrdMap<K, Arc<T>>,
    key: &Key,
) -> Option<ChangeKind> {
    replace(map, key.name.parse().ok()?, None::<T>).map(|r| r.change)
}
