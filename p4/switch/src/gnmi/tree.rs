//! The OpenConfig tree of the ports as a flat list of leaves, and paths with wildcards that select from it
//! (gNMI 0.8 §2.2.2, gNMI path conventions).

use crate::ports::PortInfo;
use p4runtime_proto::gnmi::{Path, PathElem};
use std::sync::Arc;

/// Value of a leaf, with the width that decides how JSON shows it (RFC 7951 §6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafValue {
    Text(String),
    Bool(bool),
    Uint32(u32),
    Uint64(u64),
}

/// What kind of data a leaf is, as in `GetRequest.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Config,
    /// State that mirrors a leaf of the configuration.
    Applied,
    /// State that has no such leaf.
    Operational,
}

/// One leaf of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub interface: Arc<str>,
    /// Another name by which clients may call the interface.
    pub alias: Option<Arc<str>>,
    /// Names below `/interfaces/interface[name]`.
    pub below: &'static [&'static str],
    pub value: LeafValue,
    pub class: Class,
}

macro_rules! below {
    ($($name:literal)/+) => { &[$($name),+] as &'static [&'static str] };
}

/// Paths of leaves that can be set.
pub const ENABLED: &[&str] = below!("config" / "enabled");
pub const PORT_SPEED: &[&str] = below!("ethernet" / "config" / "port-speed");
pub const CONFIG_NAME: &[&str] = below!("config" / "name");
pub const CONFIG_TYPE: &[&str] = below!("config" / "type");
pub const CONFIG_ID: &[&str] = below!("config" / "id");
pub const KEY_NAME: &[&str] = below!("name");
/// The model that has the root of the tree.
pub const MODULE: &str = "openconfig-interfaces";
/// The `type` of every interface.
pub const ETHERNET: &str = "iana-if-type:ethernetCsmacd";

const COUNTERS: &[(&str, &[&str])] = &[
    ("in-octets", below!("state" / "counters" / "in-octets")),
    ("in-pkts", below!("state" / "counters" / "in-pkts")),
    ("in-unicast-pkts", below!("state" / "counters" / "in-unicast-pkts")),
    ("in-broadcast-pkts", below!("state" / "counters" / "in-broadcast-pkts")),
    ("in-multicast-pkts", below!("state" / "counters" / "in-multicast-pkts")),
    ("in-discards", below!("state" / "counters" / "in-discards")),
    ("in-errors", below!("state" / "counters" / "in-errors")),
    ("out-octets", below!("state" / "counters" / "out-octets")),
    ("out-pkts", below!("state" / "counters" / "out-pkts")),
    ("out-unicast-pkts", below!("state" / "counters" / "out-unicast-pkts")),
    ("out-broadcast-pkts", below!("state" / "counters" / "out-broadcast-pkts")),
    ("out-multicast-pkts", below!("state" / "counters" / "out-multicast-pkts")),
    ("out-discards", below!("state" / "counters" / "out-discards")),
    ("out-errors", below!("state" / "counters" / "out-errors")),
    ("carrier-transitions", CARRIER_TRANSITIONS),
];
const CARRIER_TRANSITIONS: &[&str] = below!("state" / "counters" / "carrier-transitions");

const SPEEDS: &[(u64, &str)] = &[
    (10_000_000, "SPEED_10MB"),
    (100_000_000, "SPEED_100MB"),
    (1_000_000_000, "SPEED_1GB"),
    (2_500_000_000, "SPEED_2500MB"),
    (5_000_000_000, "SPEED_5GB"),
    (10_000_000_000, "SPEED_10GB"),
    (25_000_000_000, "SPEED_25GB"),
    (40_000_000_000, "SPEED_40GB"),
    (50_000_000_000, "SPEED_50GB"),
    (100_000_000_000, "SPEED_100GB"),
    (200_000_000_000, "SPEED_200GB"),
    (400_000_000_000, "SPEED_400GB"),
    (800_000_000_000, "SPEED_800GB"),
];
const SPEED_UNKNOWN: &str = "SPEED_UNKNOWN";

/// The identity of `openconfig-if-ethernet:ETHERNET_SPEED` for a speed.
pub fn speed_name(bps: u64) -> &'static str {
    SPEEDS.iter().find(|(b, _)| *b == bps).map_or(SPEED_UNKNOWN, |(_, name)| name)
}

/// The speed of an identity, with or without its module's name; 0 for SPEED_UNKNOWN.
pub fn speed_bps(name: &str) -> Option<u64> {
    let name = name.strip_prefix("openconfig-if-ethernet:").unwrap_or(name);
    if name == SPEED_UNKNOWN {
        return Some(0);
    }
    SPEEDS.iter().find(|(_, n)| *n == name).map(|(bps, _)| *bps)
}

/// Names of all speeds, for messages.
pub fn speed_names() -> String {
    SPEEDS.iter().map(|(_, name)| *name).chain([SPEED_UNKNOWN]).collect::<Vec<_>>().join(", ")
}

/// Every leaf of one port.
pub fn leaves(port: &PortInfo) -> Vec<Leaf> {
    use Class::{Applied, Config, Operational};
    let interface: Arc<str> = port.name.as_str().into();
    let alias: Option<Arc<str>> = port.alias.as_deref().map(Into::into);
    let text = |s: &str| LeafValue::Text(s.to_owned());
    let status = |up: bool| text(if up { "UP" } else { "DOWN" });
    let mut leaves: Vec<Leaf> = vec![
        (KEY_NAME, text(&port.name), Config),
        (CONFIG_NAME, text(&port.name), Config),
        (CONFIG_TYPE, text(ETHERNET), Config),
        (ENABLED, LeafValue::Bool(port.enabled), Config),
        (CONFIG_ID, LeafValue::Uint32(port.no), Config),
        (below!("state" / "name"), text(&port.name), Applied),
        (below!("state" / "type"), text(ETHERNET), Applied),
        (below!("state" / "enabled"), LeafValue::Bool(port.enabled), Applied),
        (below!("state" / "id"), LeafValue::Uint32(port.no), Applied),
        (below!("state" / "ifindex"), LeafValue::Uint32(port.ifindex), Operational),
        (below!("state" / "admin-status"), status(port.enabled), Operational),
        (below!("state" / "oper-status"), status(port.up), Operational),
        (below!("state" / "last-change"), LeafValue::Uint64(port.last_change_ns), Operational),
        (PORT_SPEED, text(speed_name(port.speed_bps)), Config),
        (below!("ethernet" / "state" / "port-speed"), text(speed_name(port.speed_bps)), Applied),
    ]
    .into_iter()
    .map(|(below, value, class)| Leaf { interface: Arc::clone(&interface), alias: alias.clone(), below, value, class })
    .collect();
    let values = port.counters.leaves();
    leaves.extend(COUNTERS.iter().map(|(name, below)| {
        let value = values.iter().find(|(n, _)| n == name).map_or(0, |(_, value)| *value);
        let (interface, alias) = (Arc::clone(&interface), alias.clone());
        Leaf { interface, alias, below, value: LeafValue::Uint64(value), class: Operational }
    }));
    leaves
}

impl Leaf {
    /// Whether the value changes with every frame.
    pub fn is_counter(&self) -> bool {
        self.below.len() == 3 && self.below[1] == "counters" && self.below != CARRIER_TRANSITIONS
    }

    /// Whether it belongs to the interface that a client calls `name`.
    pub fn is_of(&self, name: &str) -> bool {
        *self.interface == *name || self.alias.as_deref() == Some(name)
    }

    /// The whole path.
    pub fn path(&self) -> Path {
        self.node(2 + self.below.len())
    }

    /// The path's first `depth` elements.
    pub fn node(&self, depth: usize) -> Path {
        let elem = |name: &str| PathElem { name: name.to_owned(), ..PathElem::default() };
        let mut list = elem("interface");
        list.key.insert("name".into(), self.interface.to_string());
        let all = [elem("interfaces"), list].into_iter().chain(self.below.iter().map(|name| elem(name)));
        Path { elem: all.take(depth).collect(), ..Path::default() }
    }

    /// The name of the path's element at `depth`.
    pub fn name_at(&self, depth: usize) -> &'static str {
        match depth {
            0 => "interfaces",
            1 => "interface",
            _ => self.below[depth - 2],
        }
    }

    pub fn depth(&self) -> usize {
        2 + self.below.len()
    }
}

enum Step {
    Named {
        name: String,
        interface: Option<String>,
    },
    /// `*`: any one element.
    Any,
    /// `...`: any number of elements.
    Deep,
}

/// A path that selects leaves: a prefix and a path, joined.
pub struct Pattern {
    steps: Vec<Step>,
    text: String,
}

impl Pattern {
    /// Joins prefix and path.
    ///
    /// # Errors
    /// In words, when the path is none of this tree.
    pub fn new(prefix: Option<&Path>, path: Option<&Path>) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut text = String::new();
        for part in prefix.into_iter().chain(path) {
            // Some clients send the module of a path's first element as its origin (pygnmi, with `openconfig-interfaces:...`).
            if !["", "openconfig", MODULE].contains(&part.origin.as_str()) {
                return Err(format!("origin: {:?}; allowed are \"openconfig\", {MODULE:?} and none", part.origin));
            }
            for elem in &part.elem {
                text.push('/');
                text.push_str(&elem.name);
                for (key, value) in &elem.key {
                    text.push_str(&format!("[{key}={value}]"));
                }
                steps.push(step(elem).map_err(|what| format!("path {text}: {what}"))?);
            }
            if part.elem.is_empty() {
                // The form before gNMI 0.4: names only.
                #[allow(deprecated)]
                for name in &part.element {
                    text.push('/');
                    text.push_str(name);
                    steps.push(step(&PathElem { name: name.clone(), ..PathElem::default() })?);
                }
            }
        }
        if text.is_empty() {
            text.push('/');
        }
        let pattern = Self { steps, text };
        if schema().iter().any(|leaf| pattern.select_any_interface(leaf)) {
            Ok(pattern)
        } else {
            Err(format!(
                "path {}: not in the models openconfig-interfaces and openconfig-if-ethernet as supported here",
                pattern.text
            ))
        }
    }

    /// The path in words.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The one interface that it names.
    pub fn interface(&self) -> Option<&str> {
        self.steps.iter().find_map(|step| match step {
            Step::Named { interface, .. } => interface.as_deref(),
            Step::Any | Step::Deep => None,
        })
    }

    /// The depth of the nodes that it selects.
    pub fn depth(&self) -> usize {
        schema().iter().filter_map(|leaf| walk(&self.steps, leaf, 0, true)).min().unwrap_or(0)
    }

    /// A selected leaf under the name by which the pattern calls its interface.
    pub fn called(&self, leaf: &Leaf) -> Leaf {
        let mut leaf = leaf.clone();
        if let Some(name) = self.interface().filter(|name| **name != *leaf.interface) {
            leaf.interface = name.into();
            if leaf.below.last() == Some(&"name") {
                leaf.value = LeafValue::Text(name.to_owned());
            }
        }
        leaf
    }

    /// Whether it may select more than one node.
    pub fn has_wildcard(&self) -> bool {
        self.steps.iter().any(|step| match step {
            Step::Any | Step::Deep => true,
            Step::Named { name, interface } => name == "interface" && interface.is_none(),
        })
    }

    /// Whether it selects nothing but counters.
    pub fn only_counters(&self) -> bool {
        schema().iter().filter(|leaf| self.select_any_interface(leaf)).all(Leaf::is_counter)
    }

    /// Whether it selects any counter.
    pub fn any_counter(&self) -> bool {
        schema().iter().any(|leaf| leaf.is_counter() && self.select_any_interface(leaf))
    }

    /// When the pattern selects the leaf or a node above it: that node's depth.
    pub fn select(&self, leaf: &Leaf) -> Option<usize> {
        walk(&self.steps, leaf, 0, false)
    }

    fn select_any_interface(&self, leaf: &Leaf) -> bool {
        walk(&self.steps, leaf, 0, true).is_some()
    }
}

fn step(elem: &PathElem) -> Result<Step, String> {
    match elem.name.as_str() {
        "" => Err("an element without a name".into()),
        "*" => Ok(Step::Any),
        "..." => Ok(Step::Deep),
        name => {
            if let Some(key) = elem.key.keys().find(|key| name != "interface" || *key != "name") {
                return Err(format!("key {key:?} of element {name:?}; allowed is \"name\" of \"interface\""));
            }
            let interface = elem.key.get("name").filter(|name| *name != "*").cloned();
            // Names may carry their module.
            let name = name.rsplit(':').next().unwrap_or(name).to_owned();
            Ok(Step::Named { name, interface })
        }
    }
}

fn walk(steps: &[Step], leaf: &Leaf, depth: usize, any_interface: bool) -> Option<usize> {
    let Some((first, rest)) = steps.split_first() else { return Some(depth) };
    match first {
        Step::Deep => (depth..=leaf.depth()).find_map(|at| walk(rest, leaf, at, any_interface)),
        _ if depth >= leaf.depth() => None,
        Step::Any => walk(rest, leaf, depth + 1, any_interface),
        Step::Named { name, interface } => {
            let same = name == leaf.name_at(depth)
                && (any_interface || interface.as_ref().is_none_or(|wanted| leaf.is_of(wanted)));
            if same { walk(rest, leaf, depth + 1, any_interface) } else { None }
        }
    }
}

/// The leaves of a nameless port: what can be asked for at all.
fn schema() -> Vec<Leaf> {
    leaves(&PortInfo::default())
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// Parses `/a/b[name=c]` for tests.
    pub fn path(text: &str) -> Path {
        let elem = text
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (name, keys) = part.split_once('[').unwrap_or((part, ""));
                let key = keys.trim_end_matches(']').split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
                PathElem { name: name.to_owned(), key: key.into_iter().collect() }
            })
            .collect();
        Path { elem, ..Path::default() }
    }

    pub fn port(no: u32, name: &str, up: bool) -> PortInfo {
        PortInfo {
            no,
            name: name.into(),
            interface: name.into(),
            alias: Some(format!("1-{no}@{name}")),
            enabled: true,
            up,
            ifindex: no + 10,
            speed_bps: 10_000_000_000,
            last_change_ns: 5,
            counters: crate::ports::CountersSnapshot { in_octets: 123, ..Default::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{path, port};
    use super::*;

    fn count(text: &str) -> usize {
        let pattern = Pattern::new(None, Some(&path(text))).unwrap();
        let all: Vec<Leaf> = [port(1, "e1", true), port(2, "e2", true)].iter().flat_map(leaves).collect();
        all.iter().filter(|leaf| pattern.select(leaf).is_some()).count()
    }

    #[test]
    fn wildcards_select() {
        assert_eq!(count("/interfaces/interface[name=e1]/state/oper-status"), 1);
        assert_eq!(count("/interfaces/interface[name=*]/state/oper-status"), 2);
        assert_eq!(count("/interfaces/interface/state/oper-status"), 2);
        assert_eq!(count("/interfaces/interface[name=e3]/state/oper-status"), 0);
        assert_eq!(count("/interfaces/interface[name=e2]/*/enabled"), 2);
        assert_eq!(count("/interfaces/.../port-speed"), 4);
        assert_eq!(count("/interfaces/interface[name=e1]/state/counters"), COUNTERS.len());
        assert_eq!(count("/"), 2 * schema().len());
    }

    #[test]
    fn an_alias_selects_and_answers_in_its_own_name() {
        let called = path("/interfaces/interface[name=1-2@e2]/state");
        let pattern = Pattern::new(None, Some(&called)).unwrap();
        let all: Vec<Leaf> = [port(1, "e1", true), port(2, "e2", true)].iter().flat_map(leaves).collect();
        let found: Vec<Leaf> =
            all.iter().filter(|leaf| pattern.select(leaf).is_some()).map(|leaf| pattern.called(leaf)).collect();
        assert_eq!(found[0].path(), path("/interfaces/interface[name=1-2@e2]/state/name"));
        assert_eq!(found[0].value, LeafValue::Text("1-2@e2".into()));
        assert!(found.iter().all(|leaf| &*leaf.interface == "1-2@e2"));
        assert_eq!(count("/interfaces/interface[name=2-2@e2]/state/id"), 0);
    }

    #[test]
    fn paths_outside_the_tree_are_refused() {
        for (text, part) in [
            ("/interfaces/interface/state/colour", "not in the models"),
            ("/system", "not in the models"),
            ("/interfaces/interface[index=1]", "key \"index\""),
            ("/interfaces[name=x]", "key \"name\" of element \"interfaces\""),
        ] {
            let error = Pattern::new(None, Some(&path(text))).err().unwrap();
            assert!(error.contains(part), "{error}");
        }
        let of_model = Path { origin: MODULE.into(), ..path("/interfaces/interface[name=e1]/state/ifindex") };
        assert!(Pattern::new(None, Some(&of_model)).is_ok());
        let foreign = Path { origin: "cli".into(), ..path("/interfaces") };
        assert!(Pattern::new(Some(&foreign), None).err().unwrap().contains("origin"));
    }

    #[test]
    fn prefix_and_path_join() {
        let prefix = path("/interfaces/interface[name=e1]");
        let pattern = Pattern::new(Some(&prefix), Some(&path("/state/ifindex"))).unwrap();
        let found: Vec<Leaf> =
            leaves(&port(1, "e1", true)).into_iter().filter(|l| pattern.select(l).is_some()).collect();
        assert_eq!(found[0].value, LeafValue::Uint32(11));
        assert_eq!(found[0].path(), path("/interfaces/interface[name=e1]/state/ifindex"));
    }

    #[test]
    fn every_counter_is_a_leaf() {
        let names: Vec<&str> = crate::ports::CountersSnapshot::default().leaves().iter().map(|(n, _)| *n).collect();
        assert_eq!(names, COUNTERS.iter().map(|(n, _)| *n).collect::<Vec<_>>());
    }

    #[test]
    fn speeds_have_names() {
        for (bps, name) in SPEEDS {
            assert_eq!((speed_name(*bps), speed_bps(name)), (*name, Some(*bps)));
        }
        assert_eq!(speed_bps("openconfig-if-ethernet:SPEED_1GB"), Some(1_000_000_000));
        assert_eq!((speed_name(7), speed_bps("SPEED_7GB")), (SPEED_UNKNOWN, None));
    }
}
