//! Segment routing: a node label for every switch, and ECMP over all shortest paths towards it.
//!
//! IP packets to a far leaf get its node label; the switch before the last takes it off, so a leaf sees plain IP. What a
//! switch holds towards node N:
//!
//! | | neighbour of N | elsewhere |
//! |---|---|---|
//! | `next_hashed[node(N)]`, for IP | to_neighbour | to_node, pushes label N |
//! | `next_hashed[transit(N)]`, for labelled | to_neighbour | to_neighbour |
//! | `mpls[N]` | pop_and_next transit(N) | keep_and_next transit(N) |
//!
//! Packets of a routing domain other than the default one carry a second label below, the domain's, by which the far leaf
//! knows where to route them: `next_mpls[node(domain, N)]` pushes it, `mpls[domain]` there takes it off. Spines know
//! nothing of domains.

use std::collections::BTreeSet;
use std::sync::Arc;

use pergola_graph::Fabric as Graph;
use pergola_model::{ChangedKey, DomainName, Key, Kind, Subnet, Switch, SwitchName, View};
use pergola_pipeline::table::one_shot;
use pergola_pipeline::tables::{mpls, next_hashed, next_mpls};
use pergola_plan::{App, Emitter, Unit, UnitId, UnitSet};

use crate::office::{domain_label, mac, next_id, port_number, unit, vrf};

/// A weighted way out with its watch port.
pub type Member = (next_hashed::Act, u32, Option<u16>);

pub struct Segments;

const NODE: &str = "node";
const PAIR: &str = "pair";
const DOMAIN: &str = "domain";

impl App for Segments {
    fn name(&self) -> &'static str {
        "segments"
    }

    fn units(&self, view: &View, out: &mut UnitSet) {
        for s in view.switches() {
            out.insert(unit(NODE, s.name.as_str()));
            if let Some((a, b)) = pair_of(view, s) {
                out.insert(Unit::names(PAIR, a.name.as_str(), b.name.as_str()));
            }
        }
        out.extend(view.subnets().filter_map(|s| domain_unit(s)));
    }

    fn affected(&self, old: &View, new: &View, change: &ChangedKey, out: &mut UnitSet) {
        if moves_paths(new, change) {
            self.units(old, out);
            self.units(new, out);
        } else if change.key.kind == Kind::Subnet
            && let Ok(name) = change.key.name.parse()
        {
            out.extend([old, new].into_iter().filter_map(|view| domain_unit(view.subnet(&name)?)));
        }
    }

    fn plan(&self, view: &View, unit: &Unit, out: &mut Emitter<'_>) {
        let paths = Graph::of(view);
        match &unit.id {
            UnitId::Name(name) if unit.kind == DOMAIN => {
                if let Ok(domain) = name.parse() {
                    plan_domain(view, &paths, &domain, out);
                }
            }
            UnitId::Name(name) => {
                let node = name.parse::<SwitchName>().ok().and_then(|n| view.switch(&n));
                if let Some(node) = node {
                    plan_node(view, &paths, node, out);
                }
            }
            UnitId::Names(a, b) => {
                let find = |n: &Arc<str>| n.parse::<SwitchName>().ok().and_then(|n| view.switch(&n));
                if let (Some(a), Some(b)) = (find(a), find(b)) {
                    plan_pair(view, &paths, a, b, out);
                }
            }
            _ => {}
        }
    }
}

/// Whether a change may lead packets another way through the fabric.
pub fn moves_paths(new: &View, change: &ChangedKey) -> bool {
    match change.key.kind {
        Kind::Site | Kind::Switch | Kind::Link | Kind::LinkState | Kind::CablingFault => true,
        Kind::Port | Kind::PortState => change.key.name.parse().is_ok_and(|id| new.is_fabric_port(&id)),
        _ => false,
    }
}

/// Both leaves of a pair, in name order, seen from either; `None` unless each names the other.
pub fn pair_of<'a>(view: &'a View, switch: &'a Arc<Switch>) -> Option<(&'a Arc<Switch>, &'a Arc<Switch>)> {
    let other = view.switch(switch.pair.as_ref()?)?;
    if other.pair.as_ref() != Some(&switch.name) {
        return None;
    }
    Some(if switch.name < other.name { (switch, other) } else { (other, switch) })
}

/// The ways from a switch to a node for IP packets.
pub fn members_to(view: &View, paths: &Graph, from: &Switch, node: &Switch) -> Vec<Member> {
    paths
        .next_hops(&from.name, &node.name)
        .iter()
        .filter_map(|hop| {
            let neighbour = view.switch(&hop.neighbour)?;
            let port = port_number(hop.port);
            let (eth_src, eth_dst) = (mac(from.router_mac), mac(neighbour.router_mac));
            let act = if neighbour.name == node.name {
                next_hashed::Act::ToNeighbourHashed { port, eth_src, eth_dst }
            } else {
                let label = node.node_label.get();
                next_hashed::Act::ToNodeHashed { port, eth_src, eth_dst, label }
            };
            Some((act, 1, Some(port)))
        })
        .collect()
}

fn plan_node(view: &View, paths: &Graph, node: &Switch, out: &mut Emitter<'_>) {
    let cause = Key::new(Kind::Switch, &node.name);
    let label = node.node_label;
    for from in view.switches() {
        let device = &from.name;
        if from.name == node.name {
            // Nobody sends us our own label while our neighbours take it off; one that does is understood.
            let act = mpls::Act::PopAndRoute { vrf: 0 };
            out.emit(device, mpls::entry(mpls_key(label.get()), act), &cause);
            continue;
        }
        let hops = paths.next_hops(&from.name, &node.name);
        if hops.is_empty() {
            continue;
        }
        // Spines carry labels only; for IP packets of their own nothing is needed.
        if from.is_leaf() {
            let key = next_hashed::Key { next_id: next_id::node(label), priority: 0 };
            out.emit(device, one_shot(&key, members_to(view, paths, from, node)), &cause);
        }
        let transit: Vec<Member> = hops
            .iter()
            .filter_map(|hop| {
                let neighbour = view.switch(&hop.neighbour)?;
                let port = port_number(hop.port);
                let act = next_hashed::Act::ToNeighbourHashed {
                    port,
                    eth_src: mac(from.router_mac),
                    eth_dst: mac(neighbour.router_mac),
                };
                Some((act, 1, Some(port)))
            })
            .collect();
        let key = next_hashed::Key { next_id: next_id::transit(label), priority: 0 };
        out.emit(device, one_shot(&key, transit), &cause);
        let next_id = next_id::transit(label);
        let act = if hops.iter().any(|hop| hop.neighbour == node.name) {
            mpls::Act::PopAndNext { next_id }
        } else {
            mpls::Act::KeepAndNext { next_id }
        };
        out.emit(device, mpls::entry(mpls_key(label.get()), act), &cause);
    }
}

fn mpls_key(label: u32) -> mpls::Key {
    mpls::Key { label, priority: 0 }
}

/// The unit of a subnet's routing domain, if that needs a label.
fn domain_unit(subnet: &Subnet) -> Option<Unit> {
    (!subnet.domain.is_default()).then(|| unit(DOMAIN, subnet.domain.as_str()))
}

/// A routing domain of its own: the ways to every leaf and pair with the domain's label, and what the label means there.
fn plan_domain(view: &View, paths: &Graph, domain: &DomainName, out: &mut Emitter<'_>) {
    let Some(subnet) = view.subnets().find(|s| s.domain == *domain) else { return };
    let (vrf, cause) = (vrf(domain), Key::new(Kind::Subnet, &subnet.name));
    let label = domain_label(vrf);
    let send = |from: &Switch, next_id: u32, members: Vec<Member>, out: &mut Emitter<'_>| {
        if !members.is_empty() {
            out.emit(&from.name, one_shot(&next_hashed::Key { next_id, priority: 0 }, members), &cause);
            let act = next_mpls::Act::SetService { label };
            out.emit(&from.name, next_mpls::entry(next_mpls::Key { next_id, priority: 0 }, act), &cause);
        }
    };
    let mut pairs: BTreeSet<(&SwitchName, &SwitchName)> = BTreeSet::new();
    for node in view.leaves() {
        out.emit(&node.name, mpls::entry(mpls_key(label), mpls::Act::PopAndRoute { vrf }), &cause);
        for from in view.leaves().filter(|from| from.name != node.name) {
            let members = members_to(view, paths, from, node);
            send(from, next_id::node_in(vrf, node.node_label), members, out);
        }
        let Some((a, b)) = pair_of(view, node).filter(|(a, b)| pairs.insert((&a.name, &b.name))) else { continue };
        for from in view.leaves().filter(|s| s.name != a.name && s.name != b.name) {
            let mut members = members_to(view, paths, from, a);
            members.extend(members_to(view, paths, from, b));
            send(from, next_id::pair_in(vrf, a.node_label, b.node_label), members, out);
        }
    }
}

/// Towards a dual-homed host: the paths to both leaves, whichever are there.
fn plan_pair(view: &View, paths: &Graph, a: &Switch, b: &Switch, out: &mut Emitter<'_>) {
    let cause = Key::new(Kind::Switch, &a.name);
    let key = next_hashed::Key { next_id: next_id::pair(a.node_label, b.node_label), priority: 0 };
    for from in view.leaves().filter(|s| s.name != a.name && s.name != b.name) {
        let mut members = members_to(view, paths, from, a);
        members.extend(members_to(view, paths, from, b));
        if !members.is_empty() {
            out.emit(&from.name, one_shot(&key, members), &cause);
        }
    }
}
