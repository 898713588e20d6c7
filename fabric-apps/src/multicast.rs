//! Multicast within a VLAN: to those who asked for it (IGMP, MLD), to configured receivers, and to nobody else.
//!
//! | | what a host sends | what comes from the fabric |
//! |---|---|---|
//! | leaf | `ipv4_multicast`, `ipv6_multicast` by VLAN, group and source: receivers here, and a copy to each spine in use | `bridging` by VLAN and the group's Ethernet address: receivers here |
//! | spine | | `ipv4_multicast`, `ipv6_multicast` by VLAN and group: a copy to each leaf in its charge |
//!
//! Each leaf with receivers is in the charge of one spine, so nothing comes twice; and what comes from the fabric never goes
//! back there, so nothing goes round, however far switches are behind one another. On fabric links the packets carry the
//! VLAN's tag. On the far leaf groups with one Ethernet address are one (RFC 1112 6.4), and so are the sources of a group:
//! a host may get more than it asked for there, never less.

mod numbers;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use pergola_model::{
    ChangedKey, GroupMembers, Key, Kind, MacAddr, MembersKey, Replication, Resource, SwitchName, View, VlanId,
};
use pergola_pipeline::table::is;
use pergola_pipeline::tables::{bridging, egress_vlan, ingress_port_vlan, ipv4_multicast, ipv6_multicast};
use pergola_pipeline::{Entity, Replica};
use pergola_plan::{App, Emitter, Unit, UnitId, UnitSet};

use crate::office::{mac, port, port_number, vrf_of_vlan};
use crate::segments::moves_paths;
use numbers::{near, number};
use tree::Tree;

pub struct Multicast;

const GROUP: &str = "group";
const ARRIVAL: &str = "arrival";

impl App for Multicast {
    fn name(&self) -> &'static str {
        "multicast"
    }

    fn units(&self, view: &View, out: &mut UnitSet) {
        view.replications().for_each(|what| unit_of(what, out));
    }

    fn affected(&self, old: &View, new: &View, change: &ChangedKey, out: &mut UnitSet) {
        match change.key.kind {
            Kind::Multicast => {
                let Ok(name) = change.key.name.parse() else { return };
                for view in [old, new] {
                    let group = view.multicast_group(&name);
                    if let Some((vlan, group)) = group.and_then(|g| Some((view.subnet(&g.subnet)?.vlan, g.group))) {
                        touched(old, new, vlan, group, out);
                    }
                }
            }
            Kind::GroupMembers => {
                if let Ok(key) = change.key.name.parse::<MembersKey>() {
                    touched(old, new, key.vlan, key.group, out);
                }
            }
            // A port of the edge is in the trees of its VLANs, and matters to no other.
            Kind::Port if !moves_paths(old, change) && !moves_paths(new, change) => {
                let Ok(id) = change.key.name.parse() else { return };
                let ports = [old, new].into_iter().filter_map(|view| view.port(&id));
                let vlans: BTreeSet<VlanId> = ports.flat_map(|p| p.mode.memberships()).map(|(vlan, _)| vlan).collect();
                for (view, vlan) in [old, new].into_iter().flat_map(|view| vlans.iter().map(move |v| (view, *v))) {
                    groups_in(view, vlan).for_each(|group| units_of(vlan, group, out));
                }
            }
            // Few subnets change, and a VLAN may matter to any group.
            _ if change.key.kind == Kind::Subnet || moves_paths(old, change) || moves_paths(new, change) => {
                self.units(old, out);
                self.units(new, out);
            }
            _ => {}
        }
    }

    fn plan(&self, view: &View, unit: &Unit, out: &mut Emitter<'_>) {
        let UnitId::NameNumber(name, vlan) = &unit.id else { return };
        let Ok(vlan) = VlanId::try_from(*vlan) else { return };
        match unit.kind {
            GROUP => {
                if let Ok(group) = name.parse() {
                    plan_group(view, vlan, group, out);
                }
            }
            ARRIVAL => {
                if let Ok(address) = name.parse() {
                    plan_arrival(view, vlan, address, out);
                }
            }
            _ => {}
        }
    }
}

fn unit_of(what: Replication, out: &mut UnitSet) {
    out.insert(match what {
        // One unit has all sources.
        Replication::Group { vlan, group, .. } => Unit::name_number(GROUP, group.to_string(), vlan.get().into()),
        Replication::Arrival { vlan, address } => Unit::name_number(ARRIVAL, address.to_string(), vlan.get().into()),
    });
}

fn units_of(vlan: VlanId, group: IpAddr, out: &mut UnitSet) {
    Replication::of_group(vlan, group).into_iter().for_each(|what| unit_of(what, out));
}

/// A group that comes, goes or changes, and those whose numbers depend on whether it is there.
fn touched(old: &View, new: &View, vlan: VlanId, group: IpAddr, out: &mut UnitSet) {
    units_of(vlan, group, out);
    let sources = |view: &View| view.members_of(vlan, group).flat_map(|m| m.sources.iter().map(|s| s.source)).collect();
    let (before, after): (BTreeSet<IpAddr>, BTreeSet<IpAddr>) = (sources(old), sources(new));
    let sourced = before.union(&after).map(|source| Replication::Group { vlan, group, source: Some(*source) });
    let there = |view: &View, what: &Replication| view.replication_causes(what).next().is_some();
    for what in Replication::of_group(vlan, group).into_iter().chain(sourced) {
        if there(old, &what) != there(new, &what) {
            near(new, &what).for_each(|other| unit_of(other, out));
        }
    }
}

/// The groups of a VLAN that anybody is to receive.
fn groups_in(view: &View, vlan: VlanId) -> impl Iterator<Item = IpAddr> + '_ {
    let heard = view.members_in_vlan(vlan).map(|m| m.group);
    let configured = view.multicast_groups().filter(move |g| view.subnet(&g.subnet).is_some_and(|s| s.vlan == vlan));
    heard.chain(configured.map(|g| g.group))
}

/// The receivers of a group on one leaf.
struct Receivers {
    any: BTreeSet<u16>,
    sources: BTreeMap<IpAddr, BTreeSet<u16>>,
    cause: Key,
}

impl Receivers {
    fn new(cause: Key) -> Self {
        Receivers { any: BTreeSet::new(), sources: BTreeMap::new(), cause }
    }

    fn hear(&mut self, members: &GroupMembers) {
        self.any.extend(members.any.iter().map(port));
        for s in &members.sources {
            self.sources.entry(s.source).or_default().extend(s.ports.iter().map(port));
        }
    }

    fn all(&self) -> BTreeSet<u16> {
        self.sources.values().flatten().chain(&self.any).copied().collect()
    }
}

/// Who is to receive a group, leaf by leaf, configured or heard.
fn receivers(
    view: &View,
    vlan: VlanId,
    group: IpAddr,
    mut problem: impl FnMut(&Key, String),
) -> BTreeMap<SwitchName, Receivers> {
    let mut all: BTreeMap<SwitchName, Receivers> = BTreeMap::new();
    for configured in view.groups_behind(&Replication::Group { vlan, group, source: None }) {
        let cause = Key::new(Kind::Multicast, &configured.name);
        for id in &configured.receivers {
            if view.port(id).is_none_or(|p| p.mode.tagging(vlan).is_none()) {
                problem(&cause, format!("{id} does not carry VLAN {vlan}"));
                continue;
            }
            let at = all.entry(id.switch.clone()).or_insert_with(|| Receivers::new(cause.clone()));
            at.any.insert(port(id));
        }
    }
    for members in view.members_of(vlan, group).filter(|m| view.switch(&m.switch).is_some()) {
        all.entry(members.switch.clone()).or_insert_with(|| Receivers::new(members.key())).hear(members);
    }
    all
}

fn plan_group(view: &View, vlan: VlanId, group: IpAddr, out: &mut Emitter<'_>) {
    let mut problems = Vec::new();
    let here = receivers(view, vlan, group, |cause, text| problems.push((cause.clone(), text)));
    problems.into_iter().for_each(|(cause, text)| out.problem(&cause, text));
    let Some(first) = here.values().next().map(|r| r.cause.clone()) else { return };
    let tree = Tree::of(view, vlan, group, here.keys());
    for leaf in tree.leaves() {
        let known = here.get(leaf);
        let cause = known.map_or(&first, |r| &r.cause);
        let ups: BTreeSet<u16> = tree.ways_up(leaf).map(|link| port_number(link.near)).collect();
        for link in tree.ways_up(leaf).chain(tree.way_down(leaf)) {
            carry(view, leaf, port_number(link.near), vlan, cause, out);
            carry(view, &link.spine, port_number(link.far), vlan, cause, out);
        }
        let any: BTreeSet<u16> = known.map(|r| r.any.clone()).unwrap_or_default().union(&ups).copied().collect();
        for (source, ports) in known.into_iter().flat_map(|r| &r.sources) {
            let to: BTreeSet<u16> = ports.union(&any).copied().collect();
            replicate(view, leaf, vlan, group, Some(*source), &to, cause, out);
        }
        replicate(view, leaf, vlan, group, None, &any, cause, out);
    }
    for (spine, ports) in tree.charges() {
        let ports: BTreeSet<u16> = ports.map(port_number).collect();
        replicate(view, spine, vlan, group, None, &ports, &first, out);
    }
}

/// What comes from the fabric for any group that looks like this on Ethernet.
fn plan_arrival(view: &View, vlan: VlanId, address: MacAddr, out: &mut Emitter<'_>) {
    let mut all: BTreeMap<SwitchName, (BTreeSet<u16>, Key)> = BTreeMap::new();
    let what = Replication::Arrival { vlan, address };
    let heard = view.replication_causes(&what).filter(|cause| cause.kind == Kind::GroupMembers);
    let heard = heard.filter_map(|cause| Some(cause.name.parse::<MembersKey>().ok()?.group));
    let groups: BTreeSet<IpAddr> = heard.chain(view.groups_behind(&what).map(|g| g.group)).collect();
    for group in groups {
        for (leaf, here) in receivers(view, vlan, group, |_, _| {}) {
            let (ports, _) = all.entry(leaf).or_insert_with(|| (BTreeSet::new(), here.cause.clone()));
            ports.extend(here.all());
        }
    }
    let group = number(view, &what);
    for (leaf, (ports, cause)) in all {
        out.emit(&leaf, Entity::multicast_group(group.into(), replicas(&ports)), &cause);
        let key = bridging::Key { vlan_id: vlan.get(), eth_dst: is(mac(address)), priority: 10 };
        out.emit(&leaf, bridging::entry(key, bridging::Act::Flood { group }), &cause);
    }
}

fn replicas(ports: &BTreeSet<u16>) -> impl Iterator<Item = Replica> + '_ {
    ports.iter().map(|port| Replica { port: u32::from(*port), instance: 1 })
}

/// A group's packets, of one source or of any, to these ports of a switch.
#[allow(clippy::too_many_arguments)]
fn replicate(
    view: &View,
    switch: &SwitchName,
    vlan: VlanId,
    group: IpAddr,
    source: Option<IpAddr>,
    ports: &BTreeSet<u16>,
    cause: &Key,
    out: &mut Emitter<'_>,
) {
    let number = number(view, &Replication::Group { vlan, group, source });
    out.emit(switch, Entity::multicast_group(number.into(), replicas(ports)), cause);
    let (vlan_id, priority) = (vlan.get(), if source.is_some() { 20 } else { 10 });
    let entity = match (group, source) {
        (IpAddr::V4(ipv4_dst), None | Some(IpAddr::V4(_))) => {
            let ipv4_src = source.and_then(|s| if let IpAddr::V4(s) = s { is(s) } else { None });
            let key = ipv4_multicast::Key { vlan_id, ipv4_dst, ipv4_src, priority };
            ipv4_multicast::entry(key, ipv4_multicast::Act::SnoopedV4 { group: number })
        }
        (IpAddr::V6(ipv6_dst), None | Some(IpAddr::V6(_))) => {
            let ipv6_src = source.and_then(|s| if let IpAddr::V6(s) = s { is(s) } else { None });
            let key = ipv6_multicast::Key { vlan_id, ipv6_dst, ipv6_src, priority };
            ipv6_multicast::entry(key, ipv6_multicast::Act::SnoopedV6 { group: number })
        }
        // Reports do not mix families.
        _ => return,
    };
    out.emit(switch, entity, cause);
}

/// A fabric port carries the VLAN's groups, tagged.
fn carry(view: &View, switch: &SwitchName, port: u16, vlan: VlanId, cause: &Key, out: &mut Emitter<'_>) {
    let key = ingress_port_vlan::Key {
        ig_port: port,
        vlan_is_valid: 1,
        vlan_id: is(vlan.get()),
        inner_vlan_is_valid: None,
        inner_vlan_id: None,
        priority: 10,
    };
    let act = ingress_port_vlan::Act::Permit { vrf: vrf_of_vlan(view, vlan) };
    out.emit(switch, ingress_port_vlan::entry(key, act), cause);
    let key = egress_vlan::Key { vlan_id: vlan.get(), eg_port: port, priority: 0 };
    out.emit(switch, egress_vlan::entry(key, egress_vlan::Act::SendTagged {}), cause);
}
