//! What every switch needs: the session that copies packets to the controller, the addresses it routes for, its fabric
//! ports.

use std::collections::BTreeSet;

use pergola_model::{ChangedKey, Key, Kind, LinkId, MacAddr, Switch, SwitchName, View};
use pergola_pipeline::table::{Ternary, is};
use pergola_pipeline::tables::{fwd_classifier, ingress_port_vlan};
use pergola_pipeline::{Entity, Replica, reserved};
use pergola_plan::{App, Emitter, Unit, UnitSet};

use crate::office::{FABRIC_VLAN, V4_GROUPS, V6_GROUPS, mac, port, unit};

pub struct Base;

const SWITCH: &str = "switch";
const LINK: &str = "link";

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const MPLS: u16 = 0x8847;

impl App for Base {
    fn name(&self) -> &'static str {
        "base"
    }

    fn units(&self, view: &View, out: &mut UnitSet) {
        out.extend(view.switches().map(|s| unit(SWITCH, s.name.as_str())));
        out.extend(view.links().map(|l| unit(LINK, &l.id.to_string())));
    }

    fn affected(&self, old: &View, new: &View, change: &ChangedKey, out: &mut UnitSet) {
        match change.key.kind {
            Kind::Site => {
                self.units(old, out);
                self.units(new, out);
            }
            Kind::Switch => {
                out.insert(unit(SWITCH, &change.key.name));
                if let Ok(name) = change.key.name.parse::<SwitchName>() {
                    for view in [old, new] {
                        out.extend(view.links_of(&name).map(|l| unit(LINK, &l.id.to_string())));
                    }
                }
            }
            Kind::Link => out.insert(unit(LINK, &change.key.name)),
            _ => {}
        }
    }

    fn plan(&self, view: &View, unit: &Unit, out: &mut Emitter<'_>) {
        let Some(name) = unit.as_name() else { return };
        if unit.kind == SWITCH {
            let switch = name.parse::<SwitchName>().ok().and_then(|n| view.switch(&n).cloned());
            if let Some(switch) = switch {
                plan_switch(view, &switch, out);
            }
        } else if let Ok(id) = name.parse::<LinkId>()
            && view.link(&id).is_some()
        {
            plan_link(view, &id, out);
        }
    }
}

fn plan_switch(view: &View, switch: &Switch, out: &mut Emitter<'_>) {
    let device = &switch.name;
    let cause = Key::new(Kind::Switch, device);
    let cpu = Replica { port: reserved::CPU_PORT.into(), instance: 1 };
    out.emit(device, Entity::clone_session(reserved::CPU_CLONE_SESSION, [cpu], 0, 0), &cause);

    // What the controller sends through the tables enters here.
    let key = ingress_port_vlan::Key {
        ig_port: reserved::CPU_PORT,
        vlan_is_valid: 0,
        vlan_id: None,
        inner_vlan_is_valid: None,
        inner_vlan_id: None,
        priority: 1,
    };
    let act = ingress_port_vlan::Act::PermitWithVlan { vlan_id: FABRIC_VLAN, vrf: 0 };
    out.emit(device, ingress_port_vlan::entry(key, act), &cause);

    for address in own_addresses(view, switch) {
        for (eth_type, fwd) in [(IPV4, reserved::FWD_IPV4), (IPV6, reserved::FWD_IPV6)] {
            out.emit(device, classify(address, MacAddr::BROADCAST, eth_type, fwd, 20), &cause);
        }
    }
    out.emit(device, classify(V4_GROUPS.0, V4_GROUPS.1, IPV4, reserved::FWD_IPV4_MULTICAST, 10), &cause);
    out.emit(device, classify(V6_GROUPS.0, V6_GROUPS.1, IPV6, reserved::FWD_IPV6_MULTICAST, 10), &cause);
}

/// The addresses that a switch routes for: its own, and the gateways'.
fn own_addresses(view: &View, switch: &Switch) -> BTreeSet<MacAddr> {
    [switch.router_mac, view.gateway_mac(switch)].into()
}

fn classify(value: MacAddr, mask: MacAddr, eth_type: u16, fwd: u8, priority: u32) -> Entity {
    classify_from(None, value, mask, eth_type, fwd, priority)
}

fn classify_from(
    ig_port: Ternary<u16>,
    value: MacAddr,
    mask: MacAddr,
    eth_type: u16,
    fwd: u8,
    priority: u32,
) -> Entity {
    let key = fwd_classifier::Key {
        ig_port,
        eth_dst: pergola_pipeline::table::masked(mac(value), mac(mask)),
        eth_type,
        priority,
    };
    fwd_classifier::entry(key, fwd_classifier::Act::SetForwarding { fwd })
}

/// Fabric links carry frames without tags, labelled or routed to the switch itself; and groups of a VLAN with its tag. Labels are
/// taken from nowhere else: a host could reach networks that are not its own by them.
fn plan_link(view: &View, id: &LinkId, out: &mut Emitter<'_>) {
    let cause = Key::new(Kind::Link, id);
    for end in id.ends() {
        let Some(switch) = view.switch(&end.switch) else { continue };
        let key = ingress_port_vlan::Key {
            ig_port: port(end),
            vlan_is_valid: 0,
            vlan_id: None,
            inner_vlan_is_valid: None,
            inner_vlan_id: None,
            priority: 1,
        };
        let act = ingress_port_vlan::Act::PermitWithVlan { vlan_id: FABRIC_VLAN, vrf: 0 };
        out.emit(&end.switch, ingress_port_vlan::entry(key, act), &cause);
        for to in own_addresses(view, switch) {
            let labels = classify_from(is(port(end)), to, MacAddr::BROADCAST, MPLS, reserved::FWD_MPLS, 20);
            out.emit(&end.switch, labels, &cause);
        }
        // What a leaf gets of a group from the fabric is for its own receivers, and never goes back.
        if switch.is_leaf() {
            for ((value, mask), eth_type) in [(V4_GROUPS, IPV4), (V6_GROUPS, IPV6)] {
                let rule = classify_from(is(port(end)), value, mask, eth_type, reserved::FWD_BRIDGING, 30);
                out.emit(&end.switch, rule, &cause);
            }
        }
    }
}
