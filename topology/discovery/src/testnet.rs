//! An in-memory [`Net`] that tests fill by hand.

use crate::machine::{Host, Observation, Output};
use crate::net::{DhcpRelay, Gateway, Members, Net, Port, PortRef, PortRole, PortVlans, RouterAdvert};
use crate::wire::{Mac, Tags};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct TestNet {
    pub ports: BTreeMap<PortRef, Port>,
    /// Intended links.
    pub intended: Vec<(PortRef, PortRef)>,
    pub router_macs: BTreeMap<String, Mac>,
    pub pairs: Vec<(String, String)>,
    pub gateways: Vec<Gateway>,
    /// Prefix, VLAN of the next hop, next hop.
    pub routes: Vec<(Gateway, u16, IpAddr)>,
    pub hosts: BTreeMap<(u16, Mac), Host>,
    pub links: Vec<(PortRef, PortRef)>,
    pub relays: BTreeMap<u16, DhcpRelay>,
    pub adverts: BTreeMap<u16, RouterAdvert>,
    pub wanted: Vec<(u16, IpAddr)>,
    pub members: Vec<Members>,
}

impl TestNet {
    pub fn switch(&mut self, name: &str, number: u8) -> &mut Self {
        self.router_macs.insert(name.into(), Mac([2, 0, 0, 0, 0xff, number]));
        self
    }

    pub fn add_port(&mut self, device: &str, port: u32, role: PortRole, vlans: PortVlans) -> &mut Self {
        self.ports.insert(PortRef::new(device, port), Port { role, enabled: true, vlans, twin: None });
        self
    }

    /// An edge port without tags.
    pub fn edge(&mut self, device: &str, port: u32, vlan: u16) -> &mut Self {
        self.add_port(device, port, PortRole::Edge, PortVlans { untagged: Some(vlan), ..Default::default() })
    }

    /// Two fabric ports and the intended link between them.
    pub fn link(&mut self, a: (&str, u32), b: (&str, u32)) -> &mut Self {
        self.add_port(a.0, a.1, PortRole::Infra, PortVlans::default());
        self.add_port(b.0, b.1, PortRole::Infra, PortVlans::default());
        self.intended.push((PortRef::new(a.0, a.1), PortRef::new(b.0, b.1)));
        self
    }

    pub fn add_gateway(&mut self, vlan: u16, ip: &str, prefix_len: u8) -> &mut Self {
        self.gateways.extend(ip.parse().map(|ip| Gateway { vlan, ip, prefix_len }));
        self
    }

    /// What the store and the View do with observations.
    pub fn observe(&mut self, out: &[Output]) {
        for o in out {
            match o {
                Output::Observe(Observation::Host(h)) => {
                    self.hosts.insert((h.vlan, h.mac), h.clone());
                }
                Output::Observe(Observation::HostGone { vlan, mac }) => {
                    self.hosts.remove(&(*vlan, *mac));
                }
                Output::Observe(Observation::LinkUp { a, b }) => self.links.push((a.clone(), b.clone())),
                Output::Observe(Observation::LinkDown { a, b, .. }) => {
                    self.links.retain(|l| l.0 != *a || l.1 != *b);
                }
                _ => {}
            }
        }
    }
}

impl Net for TestNet {
    fn port(&self, at: &PortRef) -> Option<Port> {
        self.ports.get(at).cloned()
    }

    fn visit_ports(&self, visit: &mut dyn FnMut(PortRef, Port)) {
        self.ports.iter().for_each(|(at, p)| visit(at.clone(), p.clone()));
    }

    fn intended_peer(&self, at: &PortRef) -> Option<PortRef> {
        self.intended.iter().find_map(|(a, b)| match () {
            () if a == at => Some(b.clone()),
            () if b == at => Some(a.clone()),
            () => None,
        })
    }

    fn router_mac(&self, device: &str) -> Option<Mac> {
        self.router_macs.get(device).copied()
    }

    fn echo_label(&self, near: &str, far: &str) -> Option<u32> {
        let number = self.router_macs.get(near)?.0[5];
        (near.starts_with("leaf") && far.starts_with("spine")).then(|| u32::from(number))
    }

    fn is_router_mac(&self, mac: Mac) -> bool {
        self.router_macs.values().any(|m| *m == mac)
    }

    fn paired_leaf(&self, device: &str) -> Option<Arc<str>> {
        self.pairs.iter().find_map(|(a, b)| match () {
            () if a == device => Some(b.as_str().into()),
            () if b == device => Some(a.as_str().into()),
            () => None,
        })
    }

    fn visit_gateways(&self, vlan: u16, visit: &mut dyn FnMut(Gateway)) {
        self.gateways.iter().filter(|g| g.vlan == vlan).for_each(|g| visit(*g));
    }

    fn gateway_vlan(&self, _near: u16, ip: IpAddr) -> Option<u16> {
        self.gateways.iter().find(|g| g.ip == ip).map(|g| g.vlan)
    }

    fn next_hop(&self, _near: u16, ip: IpAddr) -> Option<(u16, IpAddr)> {
        if let Some(g) = self.gateways.iter().find(|g| g.contains(ip)) {
            return Some((g.vlan, ip));
        }
        self.routes.iter().find(|r| r.0.contains(ip)).map(|r| (r.1, r.2))
    }

    fn host(&self, vlan: u16, mac: Mac) -> Option<Host> {
        self.hosts.get(&(vlan, mac)).cloned()
    }

    fn host_by_ip(&self, vlan: u16, ip: IpAddr) -> Option<Host> {
        self.hosts.values().find(|h| h.vlan == vlan && h.ips.contains(&ip)).cloned()
    }

    fn visit_hosts(&self, visit: &mut dyn FnMut(Host)) {
        self.hosts.values().for_each(|h| visit(h.clone()));
    }

    fn visit_links(&self, visit: &mut dyn FnMut(PortRef, PortRef)) {
        self.links.iter().for_each(|(a, b)| visit(a.clone(), b.clone()));
    }

    fn visit_members(&self, visit: &mut dyn FnMut(Members)) {
        self.members.iter().for_each(|m| visit(m.clone()));
    }

    fn visit_edge_ports(&self, vlan: u16, visit: &mut dyn FnMut(PortRef, Tags)) {
        for (at, p) in &self.ports {
            if let (PortRole::Edge, true, Some(tags)) = (p.role, p.enabled, p.vlans.tags_for(vlan)) {
                visit(at.clone(), tags);
            }
        }
    }

    fn visit_wanted_neighbours(&self, visit: &mut dyn FnMut(u16, IpAddr)) {
        self.wanted.iter().for_each(|(v, ip)| visit(*v, *ip));
    }

    fn dhcp_relay(&self, vlan: u16) -> Option<DhcpRelay> {
        self.relays.get(&vlan).cloned()
    }

    fn router_advert(&self, vlan: u16) -> Option<RouterAdvert> {
        self.adverts.get(&vlan).cloned()
    }
}
