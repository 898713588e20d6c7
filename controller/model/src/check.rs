//! What one resource must not say given all others: references that lead nowhere, and things used twice. Each check looks at
//! one resource and what the View's indexes find for it, so checking one change costs that change.

mod edge;
mod fabric;
mod routing;

use crate::ids::PortId;
use crate::resource::{Key, Kind};
use crate::switch::Switch;
use crate::value::ValueError;
use crate::view::{ChangedKey, View};

/// The pipeline numbers ports with 9 bits, and 511 is where it sends what it drops.
const HIGHEST_PORT: u32 = 510;

/// Something wrong with a resource, in the context of the others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The resource.
    pub key: Key,
    /// The field in its body: `gateways[0]`, `rules[2].match.ip_src`. Empty for the whole.
    pub field: String,
    pub kind: ViolationKind,
    pub found: String,
    pub allowed: String,
}

/// What kind of wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ViolationKind {
    /// The value can never be right.
    Invalid,
    /// It names something that is not there.
    Missing,
    /// Something else has it already.
    Conflict,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Violation { key, field, found, allowed, .. } = self;
        let dot = if field.is_empty() { "" } else { " " };
        write!(f, "{key}{dot}{field}: found `{found}`, allowed: {allowed}")
    }
}

/// Collects the violations of one resource.
struct Findings<'a> {
    view: &'a View,
    key: Key,
    /// Whether a conflict is reported at either of the two resources, or only at the later one.
    either: bool,
    out: Vec<Violation>,
}

impl Findings<'_> {
    fn add(&mut self, kind: ViolationKind, field: impl Into<String>, found: impl ToString, allowed: impl Into<String>) {
        self.out.push(Violation {
            key: self.key.clone(),
            field: field.into(),
            kind,
            found: found.to_string(),
            allowed: allowed.into(),
        });
    }

    fn invalid(&mut self, field: impl Into<String>, found: impl ToString, allowed: impl Into<String>) {
        self.add(ViolationKind::Invalid, field, found, allowed);
    }

    fn missing(&mut self, field: impl Into<String>, found: impl ToString, allowed: impl Into<String>) {
        self.add(ViolationKind::Missing, field, found, allowed);
    }

    fn conflict(&mut self, field: impl Into<String>, found: impl ToString, allowed: impl Into<String>) {
        self.add(ViolationKind::Conflict, field, found, allowed);
    }

    fn value(&mut self, field: String, error: ValueError) {
        self.add(ViolationKind::Invalid, field, error.found, error.allowed);
    }

    /// Whether a conflict with `other` is reported at `own`.
    fn meets<T: Ord>(&self, other: &T, own: &T) -> bool {
        other < own || (self.either && other != own)
    }

    /// A port that should be an edge port: on a leaf that exists, no end of a link, not the CPU port.
    fn edge_port(&mut self, field: &str, port: &PortId) {
        match self.view.switch(&port.switch) {
            None => self.missing(field, port, "a port of a switch of the site"),
            Some(switch) if !switch.is_leaf() => self.invalid(field, port, "a port of a leaf"),
            Some(switch) => {
                if self.front_port(field, port, switch)
                    && let Some(link) = self.view.link_at(port)
                {
                    self.conflict(field, port, format!("a port that is no end of link {}", link.id));
                }
            }
        }
    }

    /// A port that a cable goes into. True when it is one.
    fn front_port(&mut self, field: &str, port: &PortId, switch: &Switch) -> bool {
        let cpu = switch.cpu_port() == port.port;
        if cpu {
            self.conflict(field, port, "a port that is not the switch's CPU port");
        } else if port.port.get() > HIGHEST_PORT {
            self.invalid(field, port, format!("a port number of 1 to {HIGHEST_PORT}"));
            return false;
        }
        !cpu
    }

    /// Each item that came before in the list.
    fn repeated<T: PartialEq + ToString>(&mut self, field: &str, items: &[T]) {
        for (i, item) in items.iter().enumerate() {
            if items[..i].contains(item) {
                self.conflict(format!("{field}[{i}]"), item.to_string(), "each one once");
            }
        }
    }
}

impl View {
    /// Checks every intent. Empty when all is well; otherwise in key order. A conflict of two intents is reported once, at
    /// the later one.
    pub fn check(&self) -> Vec<Violation> {
        let mut out = Vec::new();
        for kind in Kind::ALL.iter().filter(|kind| kind.is_intent()) {
            for resource in self.all(*kind) {
                out.extend(self.findings(&resource.key(), false));
            }
        }
        out
    }

    /// Checks one intent; nothing when it is not there or is an observation. A conflict with another intent is reported
    /// whichever of the two is asked for.
    pub fn check_resource(&self, key: &Key) -> Vec<Violation> {
        self.findings(key, true)
    }

    fn findings(&self, key: &Key, either: bool) -> Vec<Violation> {
        let mut findings = Findings { view: self, key: key.clone(), either, out: Vec::new() };
        findings.resource();
        findings.out
    }

    /// Checks what changed, and what refers to it: enough to say that a view that was right still is.
    pub fn check_changed(&self, changed: &[ChangedKey]) -> Vec<Violation> {
        let mut keys: Vec<Key> = Vec::new();
        for change in changed.iter().filter(|c| c.key.kind.is_intent()) {
            keys.push(change.key.clone());
            self.dependents(&change.key, &mut keys);
        }
        keys.sort();
        keys.dedup();
        keys.iter().flat_map(|key| self.check_resource(key)).collect()
    }

    /// The intents whose checks look at another one.
    fn dependents(&self, key: &Key, out: &mut Vec<Key>) {
        let name = &*key.name;
        let users_of_port = |port: &PortId, out: &mut Vec<Key>| {
            out.push(Key::new(Kind::Port, port));
            out.extend(self.users_of(port).cloned());
            out.extend(self.links_at(port).map(|l| Key::new(Kind::Link, &l.id)));
        };
        match key.kind {
            Kind::Switch => {
                let Ok(switch) = name.parse() else { return };
                out.extend(self.ports_of(&switch).map(|p| Key::new(Kind::Port, &p.id)));
                out.extend(self.links_of(&switch).map(|l| Key::new(Kind::Link, &l.id)));
                let paired = self.switches().filter(|s| s.pair.as_ref() == Some(&switch));
                out.extend(paired.map(|s| Key::new(Kind::Switch, &s.name)));
                out.extend(self.users_on(&switch).cloned());
                out.extend(self.policies().map(|p| Key::new(Kind::Policy, &p.name)));
            }
            Kind::Port => {
                if let Ok(port) = name.parse() {
                    users_of_port(&port, out);
                }
            }
            Kind::Link => {
                if let Ok(link) = name.parse::<crate::ids::LinkId>() {
                    for end in link.ends() {
                        users_of_port(end, out);
                    }
                }
            }
            Kind::Subnet => {
                let named = |group: &&std::sync::Arc<crate::MulticastGroup>| group.subnet == *name;
                let groups = self.multicast_groups().filter(named);
                out.extend(groups.map(|g| Key::new(Kind::Multicast, &g.name)));
                let Ok(subnet) = name.parse() else { return };
                // What was in a subnet that is gone, or moved, is found by what is now without one.
                if let Some(subnet) = self.subnet(&subnet) {
                    let hosts = self.hosts_in_vlan(subnet.vlan).filter_map(|h| h.declared.as_ref());
                    out.extend(hosts.map(|d| Key::new(Kind::Host, &d.name)));
                }
                out.extend(self.routes().map(|r| Key::new(Kind::Route, r.id())));
            }
            _ => {}
        }
    }
}
