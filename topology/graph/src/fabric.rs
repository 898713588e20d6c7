//! The graph, and the shortest paths on it. A locked switch is a destination and not a way through.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use pergola_model::{AdminState, LinkId, PortNo, Role, SwitchName, View};
use petgraph::graph::{NodeIndex, UnGraph};
use petgraph::visit::EdgeRef;

use crate::health::LinkHealth;

/// A link the site wants, both of whose switches exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FabricLink {
    pub id: LinkId,
    pub health: LinkHealth,
}

/// One way out of a switch towards another: the port it leaves by, and what is at the far end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    pub port: PortNo,
    pub neighbour: SwitchName,
    /// The port by which it enters the neighbour.
    pub neighbour_port: PortNo,
}

struct Node {
    name: SwitchName,
    role: Role,
    locked: bool,
    pair: Option<SwitchName>,
}

/// The switches and the links between them at one moment, with the distances between all pairs.
pub struct Fabric {
    graph: UnGraph<Node, FabricLink>,
    nodes: BTreeMap<SwitchName, NodeIndex>,
    /// Hops by destination and then source, both by node index.
    hops: Vec<Vec<Option<u16>>>,
}

impl Fabric {
    /// The graph of a View, built when no View with the same topology has built it before.
    pub fn of(view: &View) -> Arc<Fabric> {
        view.topology(Fabric::build)
    }

    fn build(view: &View) -> Fabric {
        let mut graph = UnGraph::default();
        let mut nodes = BTreeMap::new();
        for switch in view.switches() {
            let node = Node {
                name: switch.name.clone(),
                role: switch.role,
                locked: switch.admin == AdminState::Locked,
                pair: switch.pair.clone(),
            };
            nodes.insert(switch.name.clone(), graph.add_node(node));
        }
        for link in view.links() {
            let [a, b] = link.id.ends().map(|end| nodes.get(&end.switch).copied());
            if let (Some(a), Some(b)) = (a, b)
                && a != b
            {
                let health = LinkHealth::of(view, link);
                graph.add_edge(a, b, FabricLink { id: link.id.clone(), health });
            }
        }
        let mut fabric = Fabric { graph, nodes, hops: Vec::new() };
        fabric.hops = fabric.graph.node_indices().map(|to| fabric.distances(to)).collect();
        fabric
    }

    /// Hops from every switch to one, breadth first.
    fn distances(&self, to: NodeIndex) -> Vec<Option<u16>> {
        let mut hops = vec![None; self.graph.node_count()];
        hops[to.index()] = Some(0);
        let mut queue = VecDeque::from([(to, 0u16)]);
        while let Some((at, so_far)) = queue.pop_front() {
            if at != to && self.graph[at].locked {
                continue;
            }
            for edge in self.graph.edges(at).filter(|e| e.weight().health.is_usable()) {
                let next = edge.target();
                if hops[next.index()].is_none() {
                    hops[next.index()] = Some(so_far + 1);
                    queue.push_back((next, so_far + 1));
                }
            }
        }
        hops
    }

    /// Every switch, by name.
    pub fn switches(&self) -> impl Iterator<Item = &SwitchName> {
        self.nodes.keys()
    }

    /// Every link, by id.
    pub fn links(&self) -> impl Iterator<Item = &FabricLink> {
        self.graph.edge_weights()
    }

    /// The number of links on a shortest path; 0 to itself, `None` when there is no path.
    pub fn distance(&self, from: &SwitchName, to: &SwitchName) -> Option<u16> {
        let (from, to) = (self.nodes.get(from)?, self.nodes.get(to)?);
        self.hops[to.index()][from.index()]
    }

    /// The ways out of `from` on all shortest paths to `to`, by port. Empty when there is no path, and to itself.
    pub fn next_hops(&self, from: &SwitchName, to: &SwitchName) -> Vec<NextHop> {
        let (Some(&start), Some(&end)) = (self.nodes.get(from), self.nodes.get(to)) else {
            return Vec::new();
        };
        let hops = &self.hops[end.index()];
        let Some(length) = hops[start.index()] else { return Vec::new() };
        self.ways_out(start, |link, next| {
            link.health.is_usable()
                && hops[next.index()].is_some_and(|rest| rest + 1 == length)
                && (next == end || !self.graph[next].locked)
        })
    }

    /// A leaf's usable links to spines, by port.
    pub fn uplinks(&self, leaf: &SwitchName) -> Vec<NextHop> {
        match self.nodes.get(leaf) {
            Some(&node) => {
                self.ways_out(node, |link, next| link.health.is_usable() && self.graph[next].role == Role::Spine)
            }
            None => Vec::new(),
        }
    }

    /// A leaf's links to spines as the site wants them, usable or not, by port.
    pub fn wanted_uplinks(&self, leaf: &SwitchName) -> Vec<NextHop> {
        match self.nodes.get(leaf) {
            Some(&node) => self.ways_out(node, |_, next| self.graph[next].role == Role::Spine),
            None => Vec::new(),
        }
    }

    /// A leaf's usable links to the other leaf of its pair, by port.
    pub fn pair_links(&self, leaf: &SwitchName) -> Vec<NextHop> {
        match self.nodes.get(leaf) {
            Some(&node) => self.ways_out(node, |link, next| {
                link.health.is_usable() && self.graph[node].pair.as_ref() == Some(&self.graph[next].name)
            }),
            None => Vec::new(),
        }
    }

    /// The usable links of a switch, by port.
    pub fn neighbours(&self, switch: &SwitchName) -> Vec<NextHop> {
        match self.nodes.get(switch) {
            Some(&node) => self.ways_out(node, |link, _| link.health.is_usable()),
            None => Vec::new(),
        }
    }

    /// Whether a leaf that should have uplinks has lost them all. A leaf that is to have none is not isolated.
    pub fn is_isolated(&self, leaf: &SwitchName) -> bool {
        let is_leaf = self.nodes.get(leaf).is_some_and(|n| self.graph[*n].role == Role::Leaf);
        is_leaf && !self.wanted_uplinks(leaf).is_empty() && self.uplinks(leaf).is_empty()
    }

    /// Every isolated leaf, by name.
    pub fn isolated_leaves(&self) -> impl Iterator<Item = &SwitchName> {
        self.switches().filter(|name| self.is_isolated(name))
    }

    /// One shortest path as the switches passed, both ends included: always the first by port.
    pub fn path(&self, from: &SwitchName, to: &SwitchName) -> Option<Vec<SwitchName>> {
        self.distance(from, to)?;
        let mut path = vec![from.clone()];
        while path.last() != Some(to) {
            let hop = self.next_hops(path.last()?, to).into_iter().next()?;
            path.push(hop.neighbour);
        }
        Some(path)
    }

    /// The pairs (from, to) whose next hops differ between two graphs, in order: what a change of topology makes anew.
    pub fn differences(&self, other: &Fabric) -> Vec<(SwitchName, SwitchName)> {
        let mut names: Vec<&SwitchName> = self.switches().chain(other.switches()).collect();
        names.sort();
        names.dedup();
        let mut pairs = Vec::new();
        for from in &names {
            for to in &names {
                if self.next_hops(from, to) != other.next_hops(from, to) {
                    pairs.push(((*from).clone(), (*to).clone()));
                }
            }
        }
        pairs
    }

    fn ways_out(&self, node: NodeIndex, wanted: impl Fn(&FabricLink, NodeIndex) -> bool) -> Vec<NextHop> {
        let name = &self.graph[node].name;
        let mut out: Vec<NextHop> = self
            .graph
            .edges(node)
            .filter(|edge| wanted(edge.weight(), edge.target()))
            .filter_map(|edge| {
                let (near, far) = edge.weight().id.seen_from(name)?;
                Some(NextHop { port: near.port, neighbour: far.switch.clone(), neighbour_port: far.port })
            })
            .collect();
        out.sort();
        out
    }
}

impl std::fmt::Debug for Fabric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.links()).finish()
    }
}
