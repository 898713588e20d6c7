//! The way to one host, whatever a packet's own destination is.
//!
//! On the host's leaf that is its port. Elsewhere the packet goes to the leaf under a second label, which names the host
//! there: a route look-up on that leaf would lead it to its own destination again.
//!
//! | | `next_simple` | `next_hashed` | `next_mpls` | `mpls` |
//! |---|---|---|---|---|
//! | the host's leaf | to_attached | | | label: pop_to_instance |
//! | elsewhere | | the ways to the leaf | set_service label | |

use pergola_graph::Fabric as Graph;
use pergola_model::{Host, Key, Switch, View};
use pergola_pipeline::table::one_shot;
use pergola_pipeline::tables::{mpls, next_hashed, next_mpls, next_simple};
use pergola_plan::Emitter;

use crate::office::{live_locations, mac, next_id, port, service_label};
use crate::segments::{Member, members_to};

/// Emits what the leaves of a host need to take in packets for it from elsewhere. Once for all that redirect there.
pub fn plan_home(view: &View, host: &Host, cause: &Key, out: &mut Emitter<'_>) {
    for at in live_locations(view, host) {
        let Some(leaf) = view.switch(&at.switch) else { continue };
        let key = mpls::Key { label: service_label(&host.key), priority: 0 };
        let act = mpls::Act::PopToInstance {
            port: port(at),
            vlan_id: host.vlan().get(),
            eth_src: mac(view.gateway_mac(leaf)),
            eth_dst: mac(host.mac()),
        };
        out.emit(&leaf.name, mpls::entry(key, act), cause);
    }
}

/// Emits what a leaf needs to send packets to a host, and gives the next id of that; `None` when there is no way.
pub fn plan(view: &View, leaf: &Switch, host: &Host, cause: &Key, out: &mut Emitter<'_>) -> Option<u32> {
    let next_id = next_id::host(&host.key);
    if let Some(at) = live_locations(view, host).find(|p| p.switch == leaf.name) {
        let (port, vlan_id) = (port(at), host.vlan().get());
        let (eth_src, eth_dst) = (mac(view.gateway_mac(leaf)), mac(host.mac()));
        let act = next_simple::Act::ToAttached { port, vlan_id, eth_src, eth_dst };
        out.emit(&leaf.name, next_simple::entry(next_simple::Key { next_id, priority: 0 }, act), cause);
        return Some(next_id);
    }
    let paths = Graph::of(view);
    let homes = live_locations(view, host).filter_map(|p| view.switch(&p.switch));
    let members: Vec<Member> = homes.flat_map(|home| members_to(view, &paths, leaf, home)).collect();
    if members.is_empty() {
        return None;
    }
    out.emit(&leaf.name, one_shot(&next_hashed::Key { next_id, priority: 0 }, members), cause);
    let act = next_mpls::Act::SetService { label: service_label(&host.key) };
    out.emit(&leaf.name, next_mpls::entry(next_mpls::Key { next_id, priority: 0 }, act), cause);
    Some(next_id)
}
