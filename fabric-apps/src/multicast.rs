//! Multicast groups with configured receivers: within the group's VLAN, to the receivers and nobody else.

use std::net::IpAddr;

use pergola_model::{ChangedKey, Key, Kind, MulticastGroup, PortId, SwitchName, View};
use pergola_pipeline::tables::{ipv4_multicast, ipv6_multicast};
use pergola_pipeline::{Entity, Replica};
use pergola_plan::{App, Emitter, Unit, UnitSet};

use crate::office::{hash, port, unit};

pub struct Multicast;

const GROUP: &str = "group";

impl App for Multicast {
    fn name(&self) -> &'static str {
        "multicast"
    }

    fn units(&self, view: &View, out: &mut UnitSet) {
        out.extend(view.multicast_groups().map(|g| unit(GROUP, g.name.as_str())));
    }

    fn affected(&self, old: &View, new: &View, change: &ChangedKey, out: &mut UnitSet) {
        match change.key.kind {
            Kind::Multicast => out.insert(unit(GROUP, &change.key.name)),
            // Few groups, seldom touched: a subnet's VLAN or a port's mode may matter to any of them.
            Kind::Subnet | Kind::Port | Kind::Switch => {
                self.units(old, out);
                self.units(new, out);
            }
            _ => {}
        }
    }

    fn plan(&self, view: &View, unit: &Unit, out: &mut Emitter<'_>) {
        let name = unit.as_name().and_then(|n| n.parse().ok());
        if let Some(group) = name.and_then(|n| view.multicast_group(&n)) {
            plan_group(view, group, out);
        }
    }
}

fn plan_group(view: &View, group: &MulticastGroup, out: &mut Emitter<'_>) {
    let cause = Key::new(Kind::Multicast, &group.name);
    let Some(subnet) = view.subnet(&group.subnet) else {
        out.problem(&cause, format!("subnet {} does not exist", group.subnet));
        return;
    };
    let vlan_id = subnet.vlan.get();
    let mut receivers: Vec<&PortId> = Vec::new();
    for id in &group.receivers {
        match view.port(id) {
            Some(p) if p.mode.tagging(subnet.vlan).is_some() => receivers.push(id),
            _ => out.problem(&cause, format!("{id} does not carry VLAN {}", subnet.vlan)),
        }
    }
    receivers.sort();
    let mut switches: Vec<&SwitchName> = receivers.iter().map(|id| &id.switch).collect();
    switches.dedup();
    // Group numbers below 4096 are the floods of VLANs.
    let number = 0x1000 + (hash(group.name.as_str().as_bytes()) % 0xe000) as u16;
    for switch in switches {
        let replicas =
            receivers.iter().filter(|id| id.switch == *switch).map(|id| Replica { port: port(id).into(), instance: 1 });
        out.emit(switch, Entity::multicast_group(number.into(), replicas), &cause);
        let entity = match group.group {
            IpAddr::V4(ipv4_dst) => ipv4_multicast::entry(
                ipv4_multicast::Key { vlan_id, ipv4_dst, ipv4_src: None, priority: 10 },
                ipv4_multicast::Act::SnoopedV4 { group: number },
            ),
            IpAddr::V6(ipv6_dst) => ipv6_multicast::entry(
                ipv6_multicast::Key { vlan_id, ipv6_dst, ipv6_src: None, priority: 10 },
                ipv6_multicast::Act::SnoopedV6 { group: number },
            ),
        };
        out.emit(switch, entity, &cause);
    }
}
