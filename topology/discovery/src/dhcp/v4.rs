//! The DHCPv4 relay (RFC 1542 §4, RFC 2131 §4.1, RFC 3046).

use super::Circuit;
use super::forward::Forward;
use crate::machine::{Alarm, AlarmKind, Input, Nanos, Output, PacketMachine, Punt, PuntAction, PuntTo};
use crate::net::{Gateway, Net, PortRef};
use crate::respond::flood;
use crate::wire::dhcp::{Dhcp4, OPT4_RELAY_INFO, RelayInfo};
use crate::wire::ip::{Ip, Link, udp};
use crate::wire::{ETH_IPV4, Frame, Mac, Tags};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

/// RFC 1542 §4.1.1.
const MAX_HOPS: u8 = 16;
/// Ports with an alarm for a rogue server, at most.
const ROGUES: usize = 256;

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    requests: u64,
    replies: u64,
    refused: u64,
    rogue: u64,
}

/// The DHCPv4 relay machine.
#[derive(Debug, Default)]
pub struct DhcpRelay4 {
    forward: Forward,
    rogues: HashSet<PortRef>,
    count: Count,
}

impl DhcpRelay4 {
    /// From a client, or from another relay behind an edge port.
    #[allow(clippy::too_many_arguments)]
    fn request(
        &mut self,
        at: &PortRef,
        vlan: u16,
        frame: &Frame<'_>,
        m: &Dhcp4<'_>,
        net: &dyn Net,
        now: Nanos,
        out: &mut Vec<Output>,
    ) {
        let servers = net.dhcp_relay(vlan).map(|r| r.v4_servers).unwrap_or_default();
        let gateway = match net.gateway(vlan, false) {
            Some(Gateway { ip: IpAddr::V4(ip), .. }) if !servers.is_empty() => ip,
            _ => {
                // No relay here: perhaps a server in the VLAN hears it.
                if frame.dst.is_group() {
                    flood(net, vlan, at, frame, out);
                }
                return;
            }
        };
        let relayed = if m.hops >= MAX_HOPS {
            None
        } else if m.giaddr.is_unspecified() {
            // RFC 3046 §2.1: a client has no business with option 82. A foreign hardware address is a spoofed one.
            let honest = m.option(OPT4_RELAY_INFO).is_none() && m.chaddr == frame.src && frame.src.is_host();
            let circuit = Circuit::new(at.clone(), vlan, frame.tags).to_string();
            let info = RelayInfo { circuit_id: circuit.as_bytes(), remote_id: at.device.as_bytes() };
            honest.then(|| m.relayed(gateway, Some(info)))
        } else {
            // Another relay's: its address stays. One that uses ours would get other people's answers.
            net.gateway_vlan(vlan, m.giaddr.into()).is_none().then(|| m.relayed(m.giaddr, None))
        };
        let Some(relayed) = relayed else {
            self.count.refused += 1;
            return;
        };
        self.count.requests += 1;
        for server in servers {
            self.forward.send(net, vlan, (gateway.into(), 67), (server.into(), 67), relayed.clone(), now, out);
        }
    }

    /// From a server, to the gateway address of the client's VLAN.
    fn reply(&mut self, at: &PortRef, near: u16, ip: &Ip<'_>, m: &Dhcp4<'_>, net: &dyn Net, out: &mut Vec<Output>) {
        let Some(vlan) = net.gateway_vlan(near, m.giaddr.into()) else {
            self.count.refused += 1;
            return;
        };
        let from_server = net.dhcp_relay(vlan).is_some_and(|r| ip.src4().is_some_and(|s| r.v4_servers.contains(&s)));
        if !from_server {
            self.count.rogue += 1;
            if self.rogues.len() < ROGUES && self.rogues.insert(at.clone()) {
                let (src, giaddr) = (ip.src, m.giaddr);
                let text = format!("{src} at {at} answers DHCP for {giaddr} and is no DHCP server of VLAN {vlan}");
                out.push(Alarm::raise(AlarmKind::RogueDhcp, at.to_string(), text));
            }
            return;
        }
        let Some(places) = self.places(vlan, m, net) else {
            self.count.refused += 1;
            return;
        };
        self.count.replies += 1;
        // RFC 2131 §4.1: to the address it is given, unless it asked for broadcast or is given none.
        let client = if m.yiaddr.is_unspecified() { m.ciaddr } else { m.yiaddr };
        let (mac, to) = if m.broadcast || client.is_unspecified() {
            (Mac::BROADCAST, Ipv4Addr::BROADCAST)
        } else {
            (m.chaddr, client)
        };
        let data = m.stripped();
        for (at, tags) in places {
            let Some(src) = net.router_mac(&at.device) else { continue };
            let link = Link { dst: mac, src, tags };
            if let Some(frame) = udp(link, (m.giaddr.into(), 67), (to.into(), 68), &data) {
                out.push(Output::PacketOut { at, frame });
            }
        }
    }

    /// Where the client is: by the circuit id; for servers that do not echo it by the host; else everywhere.
    /// `None` when the circuit id is not ours or names another VLAN.
    fn places(&self, vlan: u16, m: &Dhcp4<'_>, net: &dyn Net) -> Option<Vec<(PortRef, Tags)>> {
        if let Some(id) = m.circuit_id() {
            let circuit = Circuit::parse(id)?;
            let (found, tags) = circuit.resolve(net)?;
            return (found == vlan).then(|| vec![(circuit.at, tags)]);
        }
        let mut places = Vec::new();
        if let Some(host) = net.host(vlan, m.chaddr) {
            let place = host.locations.into_iter().find_map(|at| {
                let tags = net.port(&at)?.vlans.tags_for(vlan)?;
                Some((at, tags))
            });
            places.extend(place);
        }
        if places.is_empty() {
            net.visit_edge_ports(vlan, &mut |at, tags| places.push((at, tags)));
        }
        Some(places)
    }
}

impl PacketMachine for DhcpRelay4 {
    fn name(&self) -> &'static str {
        "dhcp-relay-v4"
    }

    fn wants(&self) -> Vec<Punt> {
        vec![
            Punt::udp(ETH_IPV4, 67, PuntTo::Group, PuntAction::Trap),
            Punt::udp(ETH_IPV4, 67, PuntTo::Gateways, PuntAction::Trap),
        ]
    }

    fn handle(&mut self, input: &Input<'_>, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        match input {
            Input::PacketIn { at, frame, .. } if frame.ether_type == ETH_IPV4 => {
                let Some(vlan) = net.classify(at, frame.tags) else { return };
                let Ok(ip) = Ip::parse(frame) else { return };
                let Ok(udp) = ip.udp() else { return };
                let to_us = net.gateway_vlan(vlan, ip.dst).is_some();
                let broadcast = ip.dst == IpAddr::V4(Ipv4Addr::BROADCAST) || frame.dst.is_group();
                if udp.dst != 67 || !(to_us || broadcast) || net.is_router_mac(frame.src) {
                    return;
                }
                match Dhcp4::parse(udp.data) {
                    Ok(m) if m.request => self.request(at, vlan, frame, &m, net, now, out),
                    Ok(m) if to_us => self.reply(at, vlan, &ip, &m, net, out),
                    _ => self.count.refused += 1,
                }
            }
            Input::Changed(change) => self.forward.changed(*change, net, out),
            Input::Port { at, up: false } if self.rogues.contains(*at) => {
                self.rogues.remove(*at);
                out.push(Alarm::clear(AlarmKind::RogueDhcp, at.to_string()));
            }
            Input::Tick => self.forward.tick(now),
            _ => {}
        }
    }

    fn next_timeout(&self) -> Option<Nanos> {
        self.forward.next_timeout()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let c = self.count;
        vec![
            ("requests", c.requests),
            ("replies", c.replies),
            ("refused", c.refused),
            ("rogue", c.rogue),
            ("sent", self.forward.sent),
            ("unreachable", self.forward.unreachable),
        ]
    }
}
