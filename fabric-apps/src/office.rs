//! Small facts that several apps derive from the view.

use std::net::IpAddr;
use std::sync::Arc;

use pergola_model::{
    DomainName, HopSet, Host, HostKey, MacAddr, NodeLabel, PortId, PortNo, Prefix, View, VlanId, stable_hash,
};
use pergola_plan::Unit;

/// The VLAN number that stands for "none" inside a switch: fabric ports and what the controller injects.
pub const FABRIC_VLAN: u16 = 0;

/// How groups look on Ethernet, as address and mask (RFC 1112 6.4, RFC 2464 7).
pub const V4_GROUPS: (MacAddr, MacAddr) = (MacAddr([0x01, 0, 0x5e, 0, 0, 0]), MacAddr([0xff, 0xff, 0xff, 0x80, 0, 0]));
pub const V6_GROUPS: (MacAddr, MacAddr) = (MacAddr([0x33, 0x33, 0, 0, 0, 0]), MacAddr([0xff, 0xff, 0, 0, 0, 0]));

/// The routing domain's number in the pipeline. The default domain is 0; others follow from their name.
pub fn vrf(domain: &DomainName) -> u16 {
    if domain.is_default() { 0 } else { 1 + (stable_hash(domain.as_str().as_bytes()) % 0xfffe) as u16 }
}

/// The label under which a packet of a routing domain other than the default one goes to a leaf: it is routed in that
/// domain there. Below the labels of hosts; a clash with one of a switch's own is reported as a conflict.
pub fn domain_label(vrf: u16) -> u32 {
    0x7_0000 | u32::from(vrf)
}

/// The routing domain of a VLAN.
pub fn vrf_of_vlan(view: &View, vlan: VlanId) -> u16 {
    view.subnet_of_vlan(vlan).map_or(0, |subnet| vrf(&subnet.domain))
}

/// The domain a host's address is routed in; `None` when its VLAN has no gateway for it.
pub fn domain_of(view: &View, host: &Host, ip: IpAddr) -> Option<DomainName> {
    view.subnets_of_vlan(host.vlan()).find(|s| s.gateway_for(ip).is_some()).map(|s| s.domain.clone())
}

/// A host's ports that are not known to be down.
pub fn live_locations<'a>(view: &'a View, host: &'a Host) -> impl Iterator<Item = &'a PortId> {
    host.locations().iter().filter(|port| view.port_state(port).is_none_or(|s| s.oper_up))
}

/// Next ids: 32 bits, the top ones say of what kind. They follow from what they stand for, so every replica and every
/// restart gives the same.
pub mod next_id {
    use super::{HopSet, HostKey, NodeLabel, stable_hash};

    /// IP packets to a switch: labelled unless it is a neighbour.
    pub fn node(label: NodeLabel) -> u32 {
        label.get()
    }

    /// Labelled packets on their way to a switch.
    pub fn transit(label: NodeLabel) -> u32 {
        0x0010_0000 | label.get()
    }

    /// The two leaves of a pair.
    pub fn pair(a: NodeLabel, b: NodeLabel) -> u32 {
        let (a, b) = (a.get().min(b.get()), a.get().max(b.get()));
        0x2000_0000 | (stable_hash(&[a.to_be_bytes(), b.to_be_bytes()].concat()) as u32 & 0x0fff_ffff)
    }

    /// IP packets of a routing domain, as its number, to a switch.
    pub fn node_in(vrf: u16, label: NodeLabel) -> u32 {
        match vrf {
            0 => node(label),
            _ => in_domain(vrf, &[label.get()]),
        }
    }

    /// The same to the two leaves of a pair.
    pub fn pair_in(vrf: u16, a: NodeLabel, b: NodeLabel) -> u32 {
        match vrf {
            0 => pair(a, b),
            _ => in_domain(vrf, &[a.get().min(b.get()), a.get().max(b.get())]),
        }
    }

    fn in_domain(vrf: u16, labels: &[u32]) -> u32 {
        let bytes: Vec<u8> = vrf.to_be_bytes().into_iter().chain(labels.iter().flat_map(|l| l.to_be_bytes())).collect();
        0x1000_0000 | (stable_hash(&bytes) as u32 & 0x0fff_ffff)
    }

    /// One host, whatever a packet's own destination is.
    pub fn host(key: &HostKey) -> u32 {
        0x8000_0000 | (stable_hash(key.to_string().as_bytes()) as u32 & 0x7fff_ffff)
    }

    /// A set of next hops in its routing domain.
    pub fn hops(set: &HopSet) -> u32 {
        let name = format!("{}|{set}", set.domain().as_str());
        0x4000_0000 | (stable_hash(name.as_bytes()) as u32 & 0x3fff_ffff)
    }
}

/// The label that names a host on its leaf, from the upper half of the label space: node labels usually are small. A clash
/// with one of a switch's own is reported as a conflict.
pub fn service_label(key: &HostKey) -> u32 {
    0x8_0000 + (stable_hash(key.to_string().as_bytes()) % 0x8_0000) as u32
}

/// A port's number as the pipeline has it. Numbers beyond its 9 bits are refused by the checks of the model.
pub fn port(id: &PortId) -> u16 {
    port_number(id.port)
}

pub fn port_number(port: PortNo) -> u16 {
    port.get() as u16
}

pub fn mac(address: MacAddr) -> [u8; 6] {
    address.0
}

/// A prefix as address and length, as LPM keys want it.
pub fn split(prefix: &Prefix) -> (IpAddr, u32) {
    (prefix.network(), u32::from(prefix.length()))
}

/// A unit named after a resource.
pub fn unit(kind: &'static str, name: &str) -> Unit {
    Unit::name(kind, Arc::<str>::from(name))
}
