//! From packets to sightings; spoofed ones stop here.

use super::Hosts;
use crate::dhcp::Circuit;
use crate::machine::{AlarmKind, Learned, Nanos, Output};
use crate::net::{Net, PortRef};
use crate::wire::arp::Arp;
use crate::wire::dhcp::{ACK, Dhcp4, RELAY_REPLY, Relay6, leased6};
use crate::wire::ip::{Ip, PROTO_ICMP6, PROTO_UDP};
use crate::wire::ndp::Ndp;
use crate::wire::{ETH_ARP, ETH_IPV4, ETH_IPV6, Frame, Mac, Tags};
use std::net::{IpAddr, Ipv6Addr};

/// One host at one port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting<'a> {
    pub vlan: u16,
    pub mac: Mac,
    pub at: &'a PortRef,
    pub tags: Tags,
    pub ip: Option<IpAddr>,
    pub learned: Learned,
}

impl Hosts {
    pub(super) fn packet(&mut self, at: &PortRef, frame: &Frame<'_>, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let Some(vlan) = net.classify(at, frame.tags) else {
            self.count.no_vlan += 1;
            return;
        };
        // `None`: nothing to learn; `Some(None)`: the MAC address only.
        let claim: Option<(Option<IpAddr>, Learned)> = match frame.ether_type {
            ETH_ARP => match Arp::parse(frame.payload) {
                Ok(arp) if arp.sender_mac != frame.src => {
                    self.count.spoofed += 1;
                    None
                }
                Ok(arp) => {
                    let how = if arp.is_gratuitous() { Learned::GratuitousArp } else { Learned::Arp };
                    Some(((!arp.sender_ip.is_unspecified()).then_some(arp.sender_ip.into()), how))
                }
                Err(_) => None,
            },
            ETH_IPV4 | ETH_IPV6 => match Ip::parse(frame) {
                Ok(ip) => self.ip_claim(at, vlan, frame, &ip, net, now, out),
                Err(_) => None,
            },
            _ => None,
        };
        if let Some((ip, learned)) = claim {
            self.sighting(Sighting { vlan, mac: frame.src, at, tags: frame.tags, ip, learned }, net, now, out);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn ip_claim(
        &mut self,
        at: &PortRef,
        vlan: u16,
        frame: &Frame<'_>,
        ip: &Ip<'_>,
        net: &dyn Net,
        now: Nanos,
        out: &mut Vec<Output>,
    ) -> Option<(Option<IpAddr>, Learned)> {
        let source = |how| ((!ip.src.is_unspecified() && !ip.src.is_multicast()).then_some(ip.src), how);
        match ip.proto {
            PROTO_ICMP6 => {
                let Ok(message) = Ndp::parse(ip) else {
                    return self.config.learn_from_ip.then(|| source(Learned::Packet));
                };
                match message {
                    // From the unspecified address: the address is only tried (RFC 4862 §5.4.2).
                    Ndp::NeighborSolicit { .. } | Ndp::RouterSolicit { .. } => Some(source(Learned::Ndp)),
                    Ndp::NeighborAdvert { target, lladdr, .. } => {
                        if lladdr.is_some_and(|l| l != frame.src) {
                            self.count.spoofed += 1;
                            return None;
                        }
                        Some((Some(target.into()), Learned::Ndp))
                    }
                    Ndp::RouterAdvert(_) => {
                        if net.gateway(vlan, true).is_some() && !net.is_router_mac(frame.src) {
                            let (mac, port) = (frame.src, at.to_string());
                            self.alarm(AlarmKind::RogueRouter, port, now, out, || {
                                format!("{mac} at {at} sends router advertisements in VLAN {vlan}, which has a gateway of the fabric")
                            });
                        }
                        Some(source(Learned::Ndp))
                    }
                }
            }
            PROTO_UDP => {
                let Ok(udp) = ip.udp() else { return None };
                match (frame.ether_type, udp.dst) {
                    (ETH_IPV4, 67) => {
                        let Ok(m) = Dhcp4::parse(udp.data) else { return None };
                        if !m.request {
                            self.lease4(&m, ip, net, now, out);
                            return None;
                        }
                        // Behind another relay the source is the relay.
                        (m.giaddr.is_unspecified() && m.chaddr == frame.src).then(|| source(Learned::Dhcp))
                    }
                    (ETH_IPV6, 547) => {
                        if udp.data.first() == Some(&RELAY_REPLY) {
                            self.lease6(udp.data, ip, net, now, out);
                            return None;
                        }
                        Some(source(Learned::Dhcpv6))
                    }
                    _ => self.config.learn_from_ip.then(|| source(Learned::Packet)),
                }
            }
            _ => self.config.learn_from_ip.then(|| source(Learned::Packet)),
        }
    }

    /// An acknowledged DHCPv4 lease tells host, address and, by the circuit id, the port.
    fn lease4(&mut self, m: &Dhcp4<'_>, ip: &Ip<'_>, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let Some(circuit) = m.circuit_id().and_then(Circuit::parse) else { return };
        let Some((vlan, tags)) = circuit.resolve(net) else { return };
        let from_server = net.dhcp_relay(vlan).is_some_and(|r| ip.src4().is_some_and(|s| r.v4_servers.contains(&s)));
        if m.message_type() != ACK || !from_server || m.yiaddr.is_unspecified() {
            return;
        }
        self.sighting(
            Sighting { vlan, mac: m.chaddr, at: &circuit.at, tags, ip: Some(m.yiaddr.into()), learned: Learned::Dhcp },
            net,
            now,
            out,
        );
    }

    /// A DHCPv6 Reply names the client by its link-local address only; the host must have been seen before.
    fn lease6(&mut self, data: &[u8], ip: &Ip<'_>, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let Ok(relay) = Relay6::parse(data) else { return };
        let Some(circuit) = relay.interface_id.and_then(Circuit::parse) else { return };
        let Some((vlan, tags)) = circuit.resolve(net) else { return };
        let from_server = net.dhcp_relay(vlan).is_some_and(|r| ip.src6().is_some_and(|s| r.v6_servers.contains(&s)));
        let mac = self.by_ip.get(&(vlan, IpAddr::V6(relay.peer))).copied().or_else(|| Mac::from_eui64(relay.peer));
        let (true, Some(mac)) = (from_server, mac) else { return };
        let leased: Vec<Ipv6Addr> = leased6(relay.message);
        for ip in leased {
            self.sighting(
                Sighting { vlan, mac, at: &circuit.at, tags, ip: Some(ip.into()), learned: Learned::Dhcpv6 },
                net,
                now,
                out,
            );
        }
    }

    /// Checks a sighting and takes it into the table.
    fn sighting(&mut self, s: Sighting<'_>, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let Sighting { vlan, mac, at, ip, .. } = s;
        if !mac.is_host() {
            self.count.spoofed += 1;
            return;
        }
        let gateway_ip = ip.is_some_and(|ip| self.is_gateway(vlan, ip, at, net));
        if gateway_ip || net.is_router_mac(mac) {
            self.count.spoofed += 1;
            self.alarm(AlarmKind::GatewaySpoofed, at.to_string(), now, out, || match ip {
                Some(ip) if gateway_ip => format!("{mac} at {at} claims the gateway address {ip} of VLAN {vlan}"),
                _ => format!("{at} sends from the router MAC address {mac}"),
            });
            return;
        }
        if let Some(ports) = net.pinned(vlan, mac)
            && !ports.contains(at)
        {
            self.count.pinned_elsewhere += 1;
            return;
        }
        let ip = ip.filter(|ip| {
            let fits = net.in_subnet(vlan, *ip);
            self.count.off_subnet += u64::from(!fits);
            fits
        });
        self.count.sightings += 1;
        self.take(Sighting { ip, ..s }, net, now, out);
    }

    fn is_gateway(&self, vlan: u16, ip: IpAddr, at: &PortRef, net: &dyn Net) -> bool {
        let mut found = false;
        net.visit_gateways(vlan, &mut |g| found |= g.ip == ip);
        found || net.router_mac(&at.device).is_some_and(|m| ip == IpAddr::V6(m.link_local()))
    }
}
