//! How a group crosses the fabric: which spine brings it to which leaf.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use pergola_graph::Fabric as Graph;
use pergola_model::{AdminState, PortNo, SwitchName, View, VlanId, stable_hash};

/// One link of the tree, seen from a leaf.
#[derive(Debug, Clone)]
pub struct UpLink {
    pub spine: SwitchName,
    /// The leaf's port.
    pub near: PortNo,
    /// The spine's port.
    pub far: PortNo,
}

/// The leaves a group may be sent or received on, and the spines between them.
#[derive(Debug, Default)]
pub struct Tree {
    /// Links to spines in use, one to each, by leaf.
    ups: BTreeMap<SwitchName, Vec<UpLink>>,
    /// Leaves with receivers and the spine that has them in its charge.
    charges: BTreeMap<SwitchName, SwitchName>,
}

impl Tree {
    /// Of the spines that can reach a leaf with receivers, the one that the most leaves can reach has it in its charge; among
    /// equals it is another one for each group.
    pub fn of<'a>(view: &View, vlan: VlanId, group: IpAddr, receiving: impl Iterator<Item = &'a SwitchName>) -> Tree {
        let graph = Graph::of(view);
        let receiving: BTreeSet<&SwitchName> = receiving.collect();
        let edges = view.ports_in_vlan(vlan).filter(|p| p.enabled && !view.is_fabric_port(&p.id));
        let leaves: BTreeSet<&SwitchName> = edges
            .map(|p| &p.id.switch)
            .filter(|name| view.switch(name).is_some_and(|s| s.is_leaf()))
            .chain(receiving.iter().copied())
            .collect();
        let salt = stable_hash(format!("{vlan}/{group}").as_bytes());
        let mut reach: BTreeMap<&SwitchName, Vec<UpLink>> = BTreeMap::new();
        let mut counts: BTreeMap<SwitchName, usize> = BTreeMap::new();
        for leaf in &leaves {
            let links = links(view, &graph, leaf, salt);
            for link in &links {
                *counts.entry(link.spine.clone()).or_default() += 1;
            }
            reach.insert(leaf, links);
        }
        let rank = |spine: &SwitchName| {
            let own = stable_hash(&[&salt.to_be_bytes()[..], spine.as_str().as_bytes()].concat());
            (counts.get(spine).copied().unwrap_or_default(), own)
        };
        let charges: BTreeMap<SwitchName, SwitchName> = receiving
            .iter()
            .filter_map(|leaf| {
                let best = reach.get(leaf)?.iter().max_by_key(|link| rank(&link.spine))?;
                Some(((*leaf).clone(), best.spine.clone()))
            })
            .collect();
        let used = |leaf: &SwitchName, link: &UpLink| {
            charges.iter().any(|(to, spine)| *spine == link.spine && to != leaf)
                || charges.get(leaf) == Some(&link.spine)
        };
        let ups = reach
            .into_iter()
            .map(|(leaf, links)| (leaf.clone(), links.into_iter().filter(|link| used(leaf, link)).collect()))
            .collect();
        Tree { ups, charges }
    }

    /// Every leaf that the group may be sent or received on.
    pub fn leaves(&self) -> impl Iterator<Item = &SwitchName> {
        self.ups.keys()
    }

    /// Where a leaf sends copies for other leaves.
    pub fn ways_up<'a>(&'a self, leaf: &'a SwitchName) -> impl Iterator<Item = &'a UpLink> {
        let others = move |link: &&UpLink| self.charges.iter().any(|(to, spine)| *spine == link.spine && to != leaf);
        self.ups.get(leaf).into_iter().flatten().filter(others)
    }

    /// Where copies from other leaves come from.
    pub fn way_down(&self, leaf: &SwitchName) -> Option<&UpLink> {
        let spine = self.charges.get(leaf).filter(|_| self.ups.len() > 1)?;
        self.ups.get(leaf)?.iter().find(|link| link.spine == *spine)
    }

    /// Each spine in use and the ports of the leaves in its charge.
    pub fn charges(&self) -> impl Iterator<Item = (&SwitchName, impl Iterator<Item = PortNo>)> {
        let spines: BTreeSet<&SwitchName> = self.charges.values().collect();
        let several = self.ups.len() > 1;
        spines.into_iter().filter(move |_| several).map(move |spine| {
            let own = self.charges.iter().filter(move |(_, of)| *of == spine);
            (spine, own.filter_map(move |(leaf, _)| Some(self.way_down(leaf)?.far)))
        })
    }
}

/// A leaf's usable links to spines, one to each: of several side by side both directions take the same, so that a copy never
/// comes back by the other.
fn links(view: &View, graph: &Graph, leaf: &SwitchName, salt: u64) -> Vec<UpLink> {
    let mut by_spine: BTreeMap<SwitchName, Vec<UpLink>> = BTreeMap::new();
    for hop in graph.uplinks(leaf) {
        if view.switch(&hop.neighbour).is_some_and(|s| s.admin != AdminState::Locked) {
            let link = UpLink { spine: hop.neighbour.clone(), near: hop.port, far: hop.neighbour_port };
            by_spine.entry(hop.neighbour).or_default().push(link);
        }
    }
    by_spine.into_values().filter_map(|mut l| (!l.is_empty()).then(|| l.swap_remove(salt as usize % l.len()))).collect()
}
