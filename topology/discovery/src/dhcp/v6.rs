//! The DHCPv6 relay (RFC 8415 §19), also behind other relays.

use super::Circuit;
use super::forward::Forward;
use crate::machine::{Input, Nanos, Output, PacketMachine, Punt, PuntAction, PuntTo};
use crate::net::{Gateway, Net, PortRef};
use crate::respond::flood;
use crate::wire::dhcp::{HOP_COUNT_LIMIT, RELAY_FORWARD, RELAY_REPLY, Relay6};
use crate::wire::ip::{Ip, Link, udp};
use crate::wire::{ALL_NODES, ETH_IPV6, Frame, Mac};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};

/// Client messages that a relay passes on (RFC 8415 §7.3).
const FROM_CLIENT: [u8; 8] = [1, 3, 4, 5, 6, 8, 9, 11];
/// Clients whose Ethernet address is remembered between question and answer.
const REMEMBERED: usize = 1024;

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    requests: u64,
    replies: u64,
    refused: u64,
}

/// The DHCPv6 relay machine.
#[derive(Debug, Default)]
pub struct DhcpRelay6 {
    forward: Forward,
    /// Link-local address to Ethernet address of the last clients. Without it (another controller, a restart) the host
    /// table and the address itself are asked.
    recent: VecDeque<(u16, Ipv6Addr, Mac)>,
    count: Count,
}

impl DhcpRelay6 {
    #[allow(clippy::too_many_arguments)]
    fn request(
        &mut self,
        at: &PortRef,
        vlan: u16,
        frame: &Frame<'_>,
        from: Ipv6Addr,
        data: &[u8],
        net: &dyn Net,
        now: Nanos,
        out: &mut Vec<Output>,
    ) {
        let servers = net.dhcp_relay(vlan).map(|r| r.v6_servers).unwrap_or_default();
        let gateway = match net.gateway(vlan, true) {
            Some(Gateway { ip: IpAddr::V6(ip), .. }) if !servers.is_empty() => ip,
            _ => {
                if frame.dst.is_group() {
                    flood(net, vlan, at, frame, out);
                }
                return;
            }
        };
        let kind = data.first().copied().unwrap_or(0);
        let nested = (kind == RELAY_FORWARD).then(|| Relay6::parse(data));
        let circuit = Circuit::new(at.clone(), vlan, frame.tags).to_string();
        let relayed = match nested {
            None if FROM_CLIENT.contains(&kind) && data.len() >= 4 => Some((0, gateway)),
            // §19.1.2: the inner relay tells the link already when it has a global address.
            Some(Ok(inner)) if inner.hop_count < HOP_COUNT_LIMIT => {
                let link = if from.is_unicast_link_local() { gateway } else { Ipv6Addr::UNSPECIFIED };
                Some((inner.hop_count + 1, link))
            }
            _ => None,
        };
        let (Some((hop_count, link)), true) =
            (relayed, frame.src.is_host() && !from.is_multicast() && !from.is_unspecified())
        else {
            self.count.refused += 1;
            return;
        };
        self.remember(vlan, from, frame.src);
        let message = Relay6 {
            kind: RELAY_FORWARD,
            hop_count,
            link,
            peer: from,
            interface_id: Some(circuit.as_bytes()),
            message: data,
        };
        let bytes = message.to_bytes((hop_count == 0).then_some(frame.src));
        self.count.requests += 1;
        for server in servers {
            self.forward.send(net, vlan, (gateway.into(), 547), (server.into(), 547), bytes.clone(), now, out);
        }
    }

    fn reply(&mut self, ip: &Ip<'_>, data: &[u8], net: &dyn Net, out: &mut Vec<Output>) {
        let sent = Relay6::parse(data).ok().and_then(|relay| {
            let circuit = relay.interface_id.and_then(Circuit::parse)?;
            let (vlan, tags) = circuit.resolve(net)?;
            let from_server =
                net.dhcp_relay(vlan).is_some_and(|r| ip.src6().is_some_and(|s| r.v6_servers.contains(&s)));
            let gateway = net.gateway(vlan, true)?.ip;
            if relay.kind != RELAY_REPLY || !from_server || ip.dst != gateway {
                return None;
            }
            let src_mac = net.router_mac(&circuit.at.device)?;
            // §19.2: to the peer; another relay listens on the server port.
            let port = if relay.message.first() == Some(&RELAY_REPLY) { 547 } else { 546 };
            let source = if relay.peer.is_unicast_link_local() { src_mac.link_local().into() } else { gateway };
            let link = Link { dst: self.mac_of(vlan, relay.peer, net), src: src_mac, tags };
            let frame = udp(link, (source, 547), (relay.peer.into(), port), relay.message)?;
            Some(Output::PacketOut { at: circuit.at, frame })
        });
        match sent {
            Some(packet) => {
                self.count.replies += 1;
                out.push(packet);
            }
            None => self.count.refused += 1,
        }
    }

    fn remember(&mut self, vlan: u16, ip: Ipv6Addr, mac: Mac) {
        self.recent.retain(|(v, i, _)| (*v, *i) != (vlan, ip));
        if self.recent.len() >= REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((vlan, ip, mac));
    }

    fn mac_of(&self, vlan: u16, ip: Ipv6Addr, net: &dyn Net) -> Mac {
        let recent = self.recent.iter().rev().find(|(v, i, _)| (*v, *i) == (vlan, ip)).map(|r| r.2);
        recent
            .or_else(|| net.host_by_ip(vlan, ip.into()).map(|h| h.mac))
            .or_else(|| Mac::from_eui64(ip))
            // All nodes take the frame, and only the owner of the address the packet.
            .unwrap_or_else(|| Mac::for_multicast6(ALL_NODES))
    }
}

impl PacketMachine for DhcpRelay6 {
    fn name(&self) -> &'static str {
        "dhcp-relay-v6"
    }

    fn wants(&self) -> Vec<Punt> {
        vec![
            Punt::udp(ETH_IPV6, 547, PuntTo::Group, PuntAction::Trap),
            Punt::udp(ETH_IPV6, 547, PuntTo::Gateways, PuntAction::Trap),
        ]
    }

    fn handle(&mut self, input: &Input<'_>, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        match input {
            Input::PacketIn { at, frame, .. } if frame.ether_type == ETH_IPV6 => {
                let Some(vlan) = net.classify(at, frame.tags) else { return };
                let Ok(ip) = Ip::parse(frame) else { return };
                let (Ok(udp), Some(from)) = (ip.udp(), ip.src6()) else { return };
                let to_us = net.gateway_vlan(vlan, ip.dst).is_some();
                if udp.dst != 547 || !(to_us || frame.dst.is_group()) || net.is_router_mac(frame.src) {
                    return;
                }
                match udp.data.first() {
                    Some(&RELAY_REPLY) if to_us => self.reply(&ip, udp.data, net, out),
                    Some(_) => self.request(at, vlan, frame, from, udp.data, net, now, out),
                    None => self.count.refused += 1,
                }
            }
            Input::Changed(change) => self.forward.changed(*change, net, out),
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
            ("sent", self.forward.sent),
            ("unreachable", self.forward.unreachable),
        ]
    }
}
