//! Routing: hosts, subnets, static routes and the groups of next hops they share.
//!
//! A prefix points to a next id, and only the group behind it knows hosts and ports. A next hop that moves or dies costs
//! one group a leaf, however many prefixes lead there.

mod hops;
mod hosts;
mod subnets;

use std::net::{IpAddr, Ipv6Addr};

use pergola_graph::Fabric as Graph;
use pergola_model::{
    ChangedKey, HopSet, HostKey, Key, Kind, MacAddr, PortId, Prefix, Route, RouteId, SwitchName, View,
};
use pergola_pipeline::table::Lpm;
use pergola_pipeline::tables::{arp_answers, ipv4_unicast, ipv6_unicast, ndp_answers};
use pergola_pipeline::{Entity, reserved};
use pergola_plan::{App, Emitter, Unit, UnitId, UnitSet};

use crate::office::{mac, next_id, unit, vrf};
use crate::segments::moves_paths;

pub struct Routing;

const HOST: &str = "host";
const SUBNET: &str = "subnet";
const ROUTE: &str = "route";
const HOPS: &str = "hops";

/// ICMPv6 types (RFC 4861 4.3, 4.4).
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// What a route does, for both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Next(u32),
    Host { port: u16, vlan_id: u16, eth_src: [u8; 6], eth_dst: [u8; 6] },
    Glean(u16),
    Drop,
}

/// One route in one routing domain.
pub(crate) fn route(vrf: u16, prefix: &Prefix, to: To) -> Entity {
    let prefix_len = u32::from(prefix.length());
    match prefix.network() {
        IpAddr::V4(value) => {
            let key = ipv4_unicast::Key { vrf, ipv4_dst: Lpm { value, prefix_len }, priority: 0 };
            let act = match to {
                To::Next(next_id) => ipv4_unicast::Act::RouteV4 { next_id },
                To::Host { port, vlan_id, eth_src, eth_dst } => {
                    ipv4_unicast::Act::ToHostV4 { port, vlan_id, eth_src, eth_dst }
                }
                To::Glean(punt_id) => ipv4_unicast::Act::GleanV4 { punt_id },
                To::Drop => ipv4_unicast::Act::DropV4 {},
            };
            ipv4_unicast::entry(key, act)
        }
        IpAddr::V6(value) => {
            let key = ipv6_unicast::Key { vrf, ipv6_dst: Lpm { value, prefix_len }, priority: 0 };
            let act = match to {
                To::Next(next_id) => ipv6_unicast::Act::RouteV6 { next_id },
                To::Host { port, vlan_id, eth_src, eth_dst } => {
                    ipv6_unicast::Act::ToHostV6 { port, vlan_id, eth_src, eth_dst }
                }
                To::Glean(punt_id) => ipv6_unicast::Act::GleanV6 { punt_id },
                To::Drop => ipv6_unicast::Act::DropV6 {},
            };
            ipv6_unicast::entry(key, act)
        }
    }
}

/// Whose address a leaf answers ARP and NDP for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Gateway,
    /// A host elsewhere, reached through the gateway: the answer does not override the host's own (RFC 4861 7.2.8).
    Host,
}

/// The answer of a leaf to questions for an address in a VLAN.
pub(crate) fn answer(vlan_id: u16, address: IpAddr, with: MacAddr, asked: Asked) -> Entity {
    let (mac, punt_id) = (mac(with), reserved::PUNT_ANSWERED);
    match address {
        IpAddr::V4(address) => {
            let key = arp_answers::Key { vlan_id, address, priority: 0 };
            arp_answers::entry(key, arp_answers::Act::AnswerArp { mac, punt_id })
        }
        IpAddr::V6(address) => {
            // RFC 4861 4.4: router, solicited, override.
            let flags = if asked == Asked::Gateway { 0xe0 } else { 0x40 };
            let key = ndp_answers::Key { vlan_id, address, message: SOLICITATION, priority: 0 };
            ndp_answers::entry(key, ndp_answers::Act::AnswerNdp { mac, flags, punt_id })
        }
    }
}

/// Hosts that claim a gateway's address are not heard by others. For IPv4 a rule of the ACL does the same.
pub(crate) fn refuse_claims(vlan_id: u16, address: Ipv6Addr) -> Entity {
    let key = ndp_answers::Key { vlan_id, address, message: ADVERTISEMENT, priority: 0 };
    ndp_answers::entry(key, ndp_answers::Act::RefuseNdp { punt_id: reserved::PUNT_PROTOCOL })
}

impl App for Routing {
    fn name(&self) -> &'static str {
        "routing"
    }

    fn units(&self, view: &View, out: &mut UnitSet) {
        out.extend(view.hosts().map(|h| host_unit(&h.key)));
        out.extend(view.subnets().map(|s| unit(SUBNET, s.name.as_str())));
        for r in view.routes() {
            route_units(r, out);
        }
    }

    fn affected(&self, old: &View, new: &View, change: &ChangedKey, out: &mut UnitSet) {
        let name = &*change.key.name;
        if moves_paths(new, change) {
            // Groups of next hops name ports of the fabric; hosts and prefixes only point at next ids.
            for view in [old, new] {
                out.extend(view.hop_sets().map(hops_unit));
            }
        }
        match change.key.kind {
            Kind::Site => {
                self.units(old, out);
                self.units(new, out);
            }
            Kind::Switch => {
                // A leaf needs every prefix, and what it is called by is in every host's route.
                self.units(old, out);
                self.units(new, out);
            }
            Kind::Host => {
                let Ok(name) = name.parse() else { return };
                for view in [old, new] {
                    if let Some(h) = view.host_intent(&name) {
                        host_units(old, new, &HostKey::new(h.mac, h.vlan), out);
                    }
                }
            }
            Kind::HostLocation => {
                if let Ok(key) = name.parse() {
                    host_units(old, new, &key, out);
                }
            }
            Kind::Port | Kind::PortState => {
                let Ok(id) = name.parse::<PortId>() else { return };
                for view in [old, new] {
                    for h in view.hosts_at(&id) {
                        host_units(old, new, &h.key, out);
                    }
                }
            }
            Kind::Subnet => {
                out.insert(unit(SUBNET, name));
                let Ok(name) = name.parse() else { return };
                for view in [old, new] {
                    if let Some(subnet) = view.subnet(&name) {
                        for h in view.hosts_in_vlan(subnet.vlan) {
                            host_units(old, new, &h.key, out);
                        }
                    }
                }
            }
            Kind::Route => {
                let Ok(id) = name.parse::<RouteId>() else { return };
                for view in [old, new] {
                    if let Some(r) = view.route(&id) {
                        route_units(r, out);
                    }
                }
            }
            _ => {}
        }
    }

    fn plan(&self, view: &View, unit: &Unit, out: &mut Emitter<'_>) {
        match (unit.kind, &unit.id) {
            (HOST, UnitId::Host(key)) => {
                if let Some(h) = view.host(key) {
                    hosts::plan(view, h, out);
                }
            }
            (SUBNET, UnitId::Name(name)) => {
                if let Some(s) = name.parse().ok().and_then(|name| view.subnet(&name)) {
                    subnets::plan(view, s, out);
                }
            }
            (ROUTE, UnitId::NameNet(domain, net)) => {
                let (Ok(domain), Ok(prefix)) = (domain.parse(), Prefix::new(*net)) else { return };
                if let Some(r) = view.route(&RouteId { domain, prefix }) {
                    plan_route(view, r, out);
                }
            }
            (HOPS, UnitId::Names(domain, hops)) => {
                let Ok(domain) = domain.parse() else { return };
                let hops: Vec<IpAddr> = hops.split(',').filter_map(|ip| ip.parse().ok()).collect();
                if let Some(set) = HopSet::new(domain, &hops) {
                    hops::plan(view, &Graph::of(view), &set, out);
                }
            }
            _ => {}
        }
    }
}

fn host_unit(key: &HostKey) -> Unit {
    Unit::host(HOST, *key)
}

fn hops_unit(set: &HopSet) -> Unit {
    Unit::names(HOPS, set.domain().as_str(), set.to_string())
}

fn route_units(r: &Route, out: &mut UnitSet) {
    out.insert(Unit::name_net(ROUTE, r.domain.as_str(), r.prefix.net()));
    out.extend(r.hop_set().as_ref().map(hops_unit));
}

/// A host, and the groups of next hops that it is in.
fn host_units(old: &View, new: &View, key: &HostKey, out: &mut UnitSet) {
    out.insert(host_unit(key));
    for view in [old, new] {
        let Some(h) = view.host(key) else { continue };
        for ip in h.ips() {
            out.extend(view.hop_sets_via(ip).map(hops_unit));
        }
    }
}

fn plan_route(view: &View, r: &Route, out: &mut Emitter<'_>) {
    let cause = Key::new(Kind::Route, r.id());
    let to = match r.hop_set() {
        None => To::Drop,
        Some(set) => To::Next(next_id::hops(&set)),
    };
    let entity = route(vrf(&r.domain), &r.prefix, to);
    let leaves: Vec<&SwitchName> = view.leaves().map(|s| &s.name).collect();
    out.emit_on(leaves, &entity, &cause);
}
