//! Edge ports in every mode, and bridging inside a leaf.
//!
//! A VLAN is bridged among the ports of one leaf. Between leaves its hosts reach one another by routing, with the
//! controller answering ARP and NDP for hosts elsewhere, so there is no loop that a protocol would have to break, and
//! a dual-homed host never gets a flood twice.

use pergola_model::{ChangedKey, FLOODED, Host, HostKey, Key, Kind, Port, PortId, SwitchName, Tagging, View, VlanId};
use pergola_pipeline::table::{is, masked};
use pergola_pipeline::tables::{bridging, egress_vlan, ingress_port_vlan};
use pergola_pipeline::{Entity, Replica};
use pergola_plan::{App, Emitter, Unit, UnitId, UnitSet};

use crate::office::{V4_GROUPS, V6_GROUPS, mac, port, unit, vrf_of_vlan};

pub struct Bridging;

const PORT: &str = "port";
const FLOOD: &str = "flood";
const HOST: &str = "host";

impl App for Bridging {
    fn name(&self) -> &'static str {
        "bridging"
    }

    fn units(&self, view: &View, out: &mut UnitSet) {
        for p in view.ports() {
            port_units(p, out);
        }
        out.extend(view.hosts().map(|h| Unit::host(HOST, h.key)));
    }

    fn affected(&self, old: &View, new: &View, change: &ChangedKey, out: &mut UnitSet) {
        let name = &*change.key.name;
        match change.key.kind {
            Kind::Port => {
                let Ok(id) = name.parse::<PortId>() else { return };
                for view in [old, new] {
                    if let Some(p) = view.port(&id) {
                        port_units(p, out);
                    }
                    out.extend(view.hosts_at(&id).map(|h| Unit::host(HOST, h.key)));
                }
            }
            // A port that becomes a fabric port, or stops being one.
            Kind::Link => {
                let Ok(id) = name.parse::<pergola_model::LinkId>() else { return };
                for view in [old, new] {
                    for p in id.ends().into_iter().filter_map(|end| view.port(end)) {
                        port_units(p, out);
                    }
                }
            }
            // The routing domain is written where frames enter; with a gateway, groups are only for those who listen.
            Kind::Subnet => {
                let Ok(name) = name.parse() else { return };
                for view in [old, new] {
                    if let Some(subnet) = view.subnet(&name) {
                        view.ports_in_vlan(subnet.vlan).for_each(|p| port_units(p, out));
                    }
                }
            }
            Kind::Host => {
                let Ok(name) = name.parse() else { return };
                for view in [old, new] {
                    if let Some(h) = view.host_intent(&name) {
                        out.insert(Unit::host(HOST, HostKey::new(h.mac, h.vlan)));
                    }
                }
            }
            Kind::HostLocation => out.extend(name.parse().ok().map(|key| Unit::host(HOST, key))),
            Kind::PortState => {
                let Ok(id) = name.parse::<PortId>() else { return };
                out.extend(new.hosts_at(&id).map(|h| Unit::host(HOST, h.key)));
            }
            Kind::Switch => {
                let Ok(name) = name.parse::<SwitchName>() else { return };
                for view in [old, new] {
                    for p in view.ports_of(&name) {
                        port_units(p, out);
                    }
                    for (_, h) in view.hosts_on(&name) {
                        out.insert(Unit::host(HOST, h.key));
                    }
                }
            }
            _ => {}
        }
    }

    fn plan(&self, view: &View, unit: &Unit, out: &mut Emitter<'_>) {
        match (unit.kind, &unit.id) {
            (PORT, UnitId::Name(name)) => {
                if let Some(p) = name.parse().ok().and_then(|id| view.port(&id)) {
                    plan_port(view, p, out);
                }
            }
            (FLOOD, UnitId::NameNumber(switch, vlan)) => {
                let vlan = u16::try_from(*vlan).ok().and_then(|v| VlanId::try_from(u64::from(v)).ok());
                if let (Ok(switch), Some(vlan)) = (switch.parse::<SwitchName>(), vlan) {
                    plan_flood(view, &switch, vlan, out);
                }
            }
            (HOST, UnitId::Host(key)) => {
                if let Some(h) = view.host(key) {
                    plan_host(view, h, out);
                }
            }
            _ => {}
        }
    }
}

/// A port and the floods it takes part in.
fn port_units(p: &Port, out: &mut UnitSet) {
    out.insert(unit(PORT, &p.id.to_string()));
    for (vlan, _) in p.mode.memberships() {
        out.insert(Unit::name_number(FLOOD, p.id.switch.as_str(), u64::from(vlan.get())));
    }
}

/// In use as an edge port: switched on, and no cable of the fabric is planned for it.
fn is_edge(view: &View, p: &Port) -> bool {
    p.enabled && !view.is_fabric_port(&p.id) && view.switch(&p.id.switch).is_some()
}

fn plan_port(view: &View, p: &Port, out: &mut Emitter<'_>) {
    let cause = Key::new(Kind::Port, &p.id);
    if view.is_fabric_port(&p.id) && !p.mode.is_none() {
        out.problem(&cause, format!("{} is a fabric port: its VLANs are not used", p.id));
        return;
    }
    if !is_edge(view, p) {
        return;
    }
    let device = &p.id.switch;
    let ig_port = port(&p.id);
    for (vlan, tagging) in p.mode.memberships() {
        let vrf = vrf_of_vlan(view, vlan);
        let vlan_id = vlan.get();
        let mut key = ingress_port_vlan::Key {
            ig_port,
            vlan_is_valid: 0,
            vlan_id: None,
            inner_vlan_is_valid: None,
            inner_vlan_id: None,
            priority: 10,
        };
        let eg = egress_vlan::Key { vlan_id, eg_port: ig_port, priority: 0 };
        match tagging {
            Tagging::Untagged => {
                let act = ingress_port_vlan::Act::PermitWithVlan { vlan_id, vrf };
                out.emit(device, ingress_port_vlan::entry(key, act), &cause);
                // A tag with VLAN 0 carries a priority and no VLAN (IEEE 802.1Q 9.6).
                key.vlan_is_valid = 1;
                key.vlan_id = masked(0, 0xfff);
                out.emit(device, ingress_port_vlan::entry(key, act), &cause);
                out.emit(device, egress_vlan::entry(eg, egress_vlan::Act::SendUntagged {}), &cause);
            }
            Tagging::Tagged(tag) => {
                key.vlan_is_valid = 1;
                key.vlan_id = is(tag.get());
                let act = if tag == vlan {
                    ingress_port_vlan::Act::Permit { vrf }
                } else {
                    ingress_port_vlan::Act::PermitWithVlan { vlan_id, vrf }
                };
                out.emit(device, ingress_port_vlan::entry(key, act), &cause);
                out.emit(device, egress_vlan::entry(eg, egress_vlan::Act::SendTagged {}), &cause);
            }
            Tagging::Double { outer, inner } => {
                key.vlan_is_valid = 1;
                key.vlan_id = is(outer.get());
                key.inner_vlan_is_valid = masked(1, 1);
                key.inner_vlan_id = is(inner.get());
                key.priority = 20;
                let act = ingress_port_vlan::Act::PermitDouble { vlan_id, vrf };
                out.emit(device, ingress_port_vlan::entry(key, act), &cause);
                let act = egress_vlan::Act::SendDouble { outer: outer.get(), inner: inner.get() };
                out.emit(device, egress_vlan::entry(eg, act), &cause);
            }
        }
    }
}

/// Broadcast and unknown addresses go to every port of the VLAN on the switch; the pipeline leaves out the one they
/// came from.
fn plan_flood(view: &View, switch: &SwitchName, vlan: VlanId, out: &mut Emitter<'_>) {
    let ports: Vec<&Port> =
        view.ports_of(switch).filter(|p| is_edge(view, p) && p.mode.tagging(vlan).is_some()).map(|p| &**p).collect();
    let Some(first) = ports.first() else { return };
    let cause = match view.subnet_of_vlan(vlan) {
        Some(subnet) => Key::new(Kind::Subnet, &subnet.name),
        None => Key::new(Kind::Port, &first.id),
    };
    let replicas = ports.iter().map(|p| Replica { port: port(&p.id).into(), instance: 1 });
    out.emit(switch, Entity::multicast_group(u32::from(vlan.get()), replicas), &cause);
    let key = bridging::Key { vlan_id: vlan.get(), eth_dst: None, priority: 1 };
    out.emit(switch, bridging::entry(key, bridging::Act::Flood { group: vlan.get() }), &cause);

    // Where the fabric asks who listens, a group that nobody listens to goes nowhere; those of the link are flooded.
    for v6 in [false, true] {
        let gateways = view.subnets_of_vlan(vlan).flat_map(|s| &s.gateways);
        if !gateways.map(|g| g.address().is_ipv6()).any(|found| found == v6) {
            continue;
        }
        let (all, mask) = if v6 { V6_GROUPS } else { V4_GROUPS };
        let key = |value, mask, priority| bridging::Key {
            vlan_id: vlan.get(),
            eth_dst: masked(mac(value), mac(mask)),
            priority,
        };
        out.emit(switch, bridging::entry(key(all, mask, 2), bridging::Act::BridgeDrop {}), &cause);
        for (value, within) in FLOODED.iter().filter(|(value, _)| value.to_u64() & mask.to_u64() == all.to_u64()) {
            out.emit(
                switch,
                bridging::entry(key(*value, *within, 3), bridging::Act::Flood { group: vlan.get() }),
                &cause,
            );
        }
    }
}

fn plan_host(view: &View, host: &Host, out: &mut Emitter<'_>) {
    let cause = host_cause(host);
    for location in crate::office::live_locations(view, host) {
        let carries = view.port(location).is_some_and(|p| is_edge(view, p) && p.mode.tagging(host.vlan()).is_some());
        if !carries {
            out.problem(&cause, format!("{location} does not carry VLAN {}", host.vlan()));
            continue;
        }
        let key = bridging::Key { vlan_id: host.vlan().get(), eth_dst: is(mac(host.mac())), priority: 10 };
        let act = bridging::Act::BridgeToPort { port: port(location) };
        out.emit(&location.switch, bridging::entry(key, act), &cause);
    }
}

/// The resource that a host's entries are because of: its declaration, or what was learned.
pub fn host_cause(host: &Host) -> Key {
    match host.name() {
        Some(name) => Key::new(Kind::Host, name),
        None => Key::new(Kind::HostLocation, host.key),
    }
}
