//! Which ports of a switch are to be on.

use std::collections::{BTreeMap, BTreeSet};

use pergola_model::{HostBinding, Key, Kind, PortId, PortNo, SwitchName, View};

use crate::Fabric;

/// Every port of a switch that the site knows, and whether it is to be on. Ports that it does not know are not named.
///
/// A leaf of a pair that has lost all its uplinks, while the other leaf has some, takes edge ports down: those of servers
/// declared with a leg on each leaf, which then use the other one; without a link between the two leaves all of them, since
/// whatever is sent there leads nowhere.
pub fn port_admin(view: &View, switch: &SwitchName) -> BTreeMap<PortNo, bool> {
    let cut_off = is_cut_off(view, switch);
    let alone = cut_off && Fabric::of(view).pair_links(switch).is_empty();
    let dual = if cut_off { dual_homed(view) } else { BTreeSet::new() };
    let described = view.ports_of(switch).map(|p| {
        let edge = !view.is_fabric_port(&p.id) && !p.mode.is_none();
        (p.id.port, p.enabled && !(edge && (alone || dual.contains(&p.id))))
    });
    let ends = view.links_of(switch).filter_map(|l| l.id.seen_from(switch).map(|(near, _)| (near.port, true)));
    // What is described counts.
    ends.chain(described).collect()
}

/// The switches of which a change may switch ports on or off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switched {
    /// Those with ports that the change names; most often one, or none.
    These(BTreeSet<SwitchName>),
    All,
}

impl Switched {
    /// None so far.
    pub fn none() -> Switched {
        Switched::These(BTreeSet::new())
    }

    pub fn concerns(&self, switch: &SwitchName) -> bool {
        match self {
            Switched::These(these) => these.contains(switch),
            Switched::All => true,
        }
    }

    /// Adds what a changed resource means for [`port_admin`]. Paths through the fabric matter to any switch, an edge port or a
    /// declared host to its own.
    pub fn add(&mut self, old: &View, new: &View, key: &Key) {
        let Switched::These(these) = self else { return };
        match key.kind {
            Kind::Switch | Kind::Link | Kind::LinkState | Kind::CablingFault => *self = Switched::All,
            Kind::Port | Kind::PortState => {
                let Ok(id) = key.name.parse::<PortId>() else { return };
                if old.is_fabric_port(&id) || new.is_fabric_port(&id) {
                    *self = Switched::All;
                } else if key.kind == Kind::Port {
                    these.insert(id.switch);
                }
            }
            Kind::Host => {
                let Ok(name) = key.name.parse() else { return };
                let declared = [old, new].into_iter().filter_map(|view| view.host_intent(&name));
                these.extend(declared.flat_map(|host| &host.attachments).map(|at| at.switch.clone()));
            }
            _ => {}
        }
    }
}

/// Whether a leaf's partner reaches the spines and the leaf does not.
fn is_cut_off(view: &View, leaf: &SwitchName) -> bool {
    let Some(other) = view.switch(leaf).and_then(|s| s.pair.as_ref()) else { return false };
    let fabric = Fabric::of(view);
    view.switch(other).is_some() && fabric.is_isolated(leaf) && !fabric.uplinks(other).is_empty()
}

/// The ports of servers declared with two legs. What was learned does not count: it changes when a port goes down.
fn dual_homed(view: &View) -> BTreeSet<&PortId> {
    let counted = view.host_intents().filter(|h| h.binding != HostBinding::Learned && h.attachments.len() == 2);
    counted.flat_map(|h| &h.attachments).collect()
}
