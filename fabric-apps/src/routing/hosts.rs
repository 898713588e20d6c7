//! Routes to hosts: on their own leaf the port and the address, elsewhere the leaf.

use pergola_model::{Host, Prefix, View};
use pergola_plan::Emitter;

use super::{Asked, To, answer, route};
use crate::bridging::host_cause;
use crate::office::{domain_of, live_locations, mac, next_id, port, vrf};

pub(super) fn plan(view: &View, host: &Host, out: &mut Emitter<'_>) {
    let cause = host_cause(host);
    let locations: Vec<_> = live_locations(view, host).collect();
    let homes: Vec<_> = locations.iter().filter_map(|p| view.switch(&p.switch)).collect();
    if homes.is_empty() {
        return;
    }
    let away = |vrf| match homes[..] {
        [a, b] if a.name != b.name => next_id::pair_in(vrf, a.node_label, b.node_label),
        _ => next_id::node_in(vrf, homes[0].node_label),
    };
    for ip in host.ips() {
        // Addresses nobody routes to, link-local ones among them.
        let Some(domain) = domain_of(view, host, ip) else { continue };
        let (vrf, prefix, vlan_id) = (vrf(&domain), Prefix::host(ip), host.vlan().get());
        for leaf in view.leaves() {
            let to = match locations.iter().find(|p| p.switch == leaf.name) {
                Some(at) => {
                    To::Host { port: port(at), vlan_id, eth_src: mac(view.gateway_mac(leaf)), eth_dst: mac(host.mac()) }
                }
                None => {
                    // Its neighbours in the VLAN reach it through the gateway.
                    out.emit(&leaf.name, answer(vlan_id, ip, view.gateway_mac(leaf), Asked::Host), &cause);
                    To::Next(away(vrf))
                }
            };
            out.emit(&leaf.name, route(vrf, &prefix, to), &cause);
        }
    }
}
