//! What the fabric answers to hosts in the name of its gateways and of hosts elsewhere.

mod echo;
mod neighbor;
mod router_advert;
#[cfg(test)]
mod tests;
mod unreachable;
#[cfg(test)]
mod unreachable_tests;

pub use echo::Echo;
pub use neighbor::{NeighborConfig, Neighbors};
pub use router_advert::RouterAdverts;
pub use unreachable::Unreachable;

use crate::machine::Output;
use crate::net::{Net, PortRef};
use crate::wire::{Frame, ethernet};

/// Sends a trapped frame on to the other edge ports of its VLAN, tagged as each port wants it, as the switch would
/// have done.
pub(crate) fn flood(net: &dyn Net, vlan: u16, from: &PortRef, frame: &Frame<'_>, out: &mut Vec<Output>) {
    net.visit_edge_ports(vlan, &mut |at, tags| {
        if at != *from {
            out.push(Output::PacketOut {
                at,
                frame: ethernet(frame.dst, frame.src, tags, frame.ether_type, frame.payload),
            });
        }
    });
}

/// Sends a trapped frame to the ports of one host.
pub(crate) fn pass_to(net: &dyn Net, vlan: u16, ports: &[PortRef], frame: &Frame<'_>, out: &mut Vec<Output>) {
    if let Some((at, tags)) = ports.iter().find_map(|at| Some((at, net.port(at)?.vlans.tags_for(vlan)?))) {
        let frame = ethernet(frame.dst, frame.src, tags, frame.ether_type, frame.payload);
        out.push(Output::PacketOut { at: at.clone(), frame });
    }
}
