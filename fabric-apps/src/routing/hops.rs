//! Groups of next hops: what the prefixes of many routes share.

use pergola_graph::Fabric as Graph;
use pergola_model::{HopSet, Key, Kind, View};
use pergola_pipeline::table::one_shot;
use pergola_pipeline::tables::{next_hashed, next_mpls};
use pergola_plan::Emitter;

use crate::office::{domain_label, live_locations, mac, next_id, port, vrf};
use crate::segments::{Member, members_to};

/// On every leaf, the ways to those of the next hops that are known. With none known the group is empty and what points
/// at it is dropped until one appears. A leaf with next hops of its own uses only those: the leaf that a packet goes to
/// routes it again, and must not send it back.
pub(super) fn plan(view: &View, paths: &Graph, set: &HopSet, out: &mut Emitter<'_>) {
    // The group stands as long as a route leads through these hops.
    let Some(route) = view.routes_of(set).next() else { return };
    let cause = Key::new(Kind::Route, route);
    let known: Vec<_> = set
        .hops()
        .iter()
        .filter_map(|ip| {
            let host = view.host_with_ip(set.domain(), *ip);
            if host.is_none() {
                out.problem(&cause, format!("next hop {ip} is not known yet"));
            }
            host
        })
        .collect();
    let (next_id, vrf) = (next_id::hops(set), vrf(set.domain()));
    let key = next_hashed::Key { next_id, priority: 0 };
    for leaf in view.leaves() {
        let mut members: Vec<Member> = Vec::new();
        for host in &known {
            let here = live_locations(view, host).find(|p| p.switch == leaf.name);
            if let Some(at) = here {
                let act = next_hashed::Act::ToAttachedHashed {
                    port: port(at),
                    vlan_id: host.vlan().get(),
                    eth_src: mac(view.gateway_mac(leaf)),
                    eth_dst: mac(host.mac()),
                };
                members.push((act, 1, Some(port(at))));
            }
        }
        let away = members.is_empty();
        if away {
            let homes = known.iter().flat_map(|host| live_locations(view, host));
            members.extend(homes.filter_map(|p| view.switch(&p.switch)).flat_map(|h| members_to(view, paths, leaf, h)));
        }
        // Two next hops behind one leaf give the same way twice: a weight, not a second member.
        members.sort_unstable_by_key(|m| format!("{m:?}"));
        let mut merged: Vec<Member> = Vec::new();
        for member in members {
            match merged.last_mut() {
                Some(last) if last.0 == member.0 => last.1 += 1,
                _ => merged.push(member),
            }
        }
        if !merged.is_empty() {
            out.emit(&leaf.name, one_shot(&key, merged), &cause);
            if away && vrf != 0 {
                let act = next_mpls::Act::SetService { label: domain_label(vrf) };
                out.emit(&leaf.name, next_mpls::entry(next_mpls::Key { next_id, priority: 0 }, act), &cause);
            }
        }
    }
}
