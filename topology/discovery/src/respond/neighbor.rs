//! ARP and NDP: answers for gateways and known hosts, floods the rest (RFC 826, RFC 4861 §7.2, RFC 4389 in spirit).
//!
//! Questions to a group address are trapped, so exactly one of these happens to each:
//!
//! | question | what happens |
//! |---|---|
//! | for a gateway address | answered with the router MAC of the leaf |
//! | for a known host | answered with that host's address; not for the asker itself |
//! | is this address free? (ARP probe, DAD) for a known host | passed to that host, which defends itself |
//! | for an address outside of the VLAN's subnets | dropped |
//! | anything else, gratuitous ARP, unsolicited NA | flooded in the VLAN |
//!
//! A flood is the frame itself on the leaf it came from. Hosts on other leaves reach its sender through the gateway and must
//! not learn the sender's own address, so there the gateway asks, or announces the sender's IP address as its own.

use super::{flood, pass_to};
use crate::hosts::ask;
use crate::machine::{Host, Input, Nanos, Output, PacketMachine, Punt, PuntAction, PuntTo};
use crate::net::{Net, PortRef};
use crate::wire::arp::{Arp, Op};
use crate::wire::ip::Ip;
use crate::wire::ndp::{Ndp, advertise};
use crate::wire::{ETH_ARP, ETH_IPV6, Frame, Mac, Tags, ethernet};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

#[derive(Clone, Copy, Debug)]
pub struct NeighborConfig {
    /// Trap questions to groups and flood what nobody answers here. Without it the switches flood, and only gateways
    /// are answered for.
    pub proxy: bool,
}

impl Default for NeighborConfig {
    fn default() -> Self {
        NeighborConfig { proxy: true }
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    gateway: u64,
    proxied: u64,
    passed: u64,
    flooded: u64,
    dropped: u64,
}

/// The ARP and NDP responder.
#[derive(Debug, Default)]
pub struct Neighbors {
    config: NeighborConfig,
    /// Ports that are down by their switch's word: a host there is not to be answered for.
    down: HashSet<PortRef>,
    count: Count,
}

enum Answer {
    Gateway(Mac),
    Proxy(Mac),
    /// Passed on, flooded or dropped already.
    Done,
}

impl Neighbors {
    pub fn new(config: NeighborConfig) -> Self {
        Neighbors { config, ..Neighbors::default() }
    }

    /// Who answers a question for `target` that came in at `at`. `dad`: the asker wants to use the address itself.
    #[allow(clippy::too_many_arguments)]
    fn answer(
        &mut self,
        at: &PortRef,
        vlan: u16,
        frame: &Frame<'_>,
        target: IpAddr,
        dad: bool,
        net: &dyn Net,
        out: &mut Vec<Output>,
    ) -> Answer {
        let router = net.router_mac(&at.device);
        let own = |mac: Mac| target == IpAddr::V6(mac.link_local()) && net.gateway(vlan, true).is_some();
        if let Some(mac) = router
            && (own(mac)
                || net.gateway_for(vlan, target).is_some_and(|g| g.ip == target)
                || net.gateway_vlan(vlan, target) == Some(vlan))
        {
            self.count.gateway += 1;
            return Answer::Gateway(mac);
        }
        // What is not trapped, or addressed to one host, the switch forwards.
        if !self.config.proxy || !frame.dst.is_group() {
            return Answer::Done;
        }
        let bridged_only = net.gateway(vlan, target.is_ipv6()).is_none();
        if !bridged_only && !net.in_subnet(vlan, target) {
            self.count.dropped += 1;
            return Answer::Done;
        }
        let down = |host: &Host| !host.locations.is_empty() && host.locations.iter().all(|at| self.down.contains(at));
        match net.host_by_ip(vlan, target).filter(|host| !down(host)) {
            Some(host) if host.mac == frame.src => {
                // Nobody but itself has it: others may want to hear that, and a duplicate may answer.
                self.question(at, vlan, frame, target, dad, net, out);
                Answer::Done
            }
            Some(host) if dad && !host.locations.is_empty() => {
                self.count.passed += 1;
                pass_to(net, vlan, &host.locations, frame, out);
                Answer::Done
            }
            // Behind the same port they talk without us.
            Some(host) if host.locations.contains(at) => Answer::Done,
            Some(host) if !host.locations.is_empty() => {
                self.count.proxied += 1;
                Answer::Proxy(net.proxy_mac(at, &host))
            }
            _ => {
                self.question(at, vlan, frame, target, dad, net, out);
                Answer::Done
            }
        }
    }

    /// Asks everybody in the VLAN.
    #[allow(clippy::too_many_arguments)]
    fn question(
        &mut self,
        at: &PortRef,
        vlan: u16,
        frame: &Frame<'_>,
        target: IpAddr,
        dad: bool,
        net: &dyn Net,
        out: &mut Vec<Output>,
    ) {
        self.count.flooded += 1;
        // Who only tries an address says nothing of itself that could be learned.
        if dad || net.gateway(vlan, target.is_ipv6()).is_none() {
            flood(net, vlan, at, frame, out);
            return;
        }
        spread(net, vlan, at, frame, &|at, tags| ask(net, at, vlan, tags, target, None), out);
    }

    /// Tells everybody in the VLAN; `elsewhere` is what hosts on other leaves are told, with the router address there.
    #[allow(clippy::too_many_arguments)]
    fn announce(
        &mut self,
        at: &PortRef,
        vlan: u16,
        frame: &Frame<'_>,
        v6: bool,
        elsewhere: &dyn Fn(Mac, Tags) -> Vec<u8>,
        net: &dyn Net,
        out: &mut Vec<Output>,
    ) {
        self.count.flooded += 1;
        if net.gateway(vlan, v6).is_none() {
            flood(net, vlan, at, frame, out);
            return;
        }
        let tell = |at: &PortRef, tags| {
            Some(Output::PacketOut { at: at.clone(), frame: elsewhere(net.router_mac(&at.device)?, tags) })
        };
        spread(net, vlan, at, frame, &tell, out);
    }

    fn arp(&mut self, at: &PortRef, vlan: u16, frame: &Frame<'_>, net: &dyn Net, out: &mut Vec<Output>) {
        let Ok(arp) = Arp::parse(frame.payload) else { return };
        let forged = arp.sender_mac != frame.src || !frame.src.is_host() || net.is_router_mac(frame.src);
        let claims_gateway =
            net.gateway_for(vlan, arp.sender_ip.into()).is_some_and(|g| g.ip == IpAddr::V4(arp.sender_ip));
        if forged || (claims_gateway && !arp.is_probe()) {
            self.count.dropped += 1;
            return;
        }
        if arp.op == Op::Reply || arp.is_gratuitous() {
            if frame.dst.is_group() && self.config.proxy {
                let elsewhere = |mac: Mac, tags| {
                    let target_mac = if arp.target_mac == arp.sender_mac { mac } else { arp.target_mac };
                    Arp { sender_mac: mac, target_mac, ..arp }.frame(frame.dst, mac, tags)
                };
                self.announce(at, vlan, frame, false, &elsewhere, net, out);
            }
            return;
        }
        let target = IpAddr::V4(arp.target_ip);
        let mac = match self.answer(at, vlan, frame, target, arp.is_probe(), net, out) {
            Answer::Gateway(mac) | Answer::Proxy(mac) => mac,
            Answer::Done => return,
        };
        let src = net.router_mac(&at.device).unwrap_or(mac);
        let reply = Arp {
            op: Op::Reply,
            sender_mac: mac,
            sender_ip: arp.target_ip,
            target_mac: frame.src,
            target_ip: arp.sender_ip,
        };
        out.push(Output::PacketOut { at: at.clone(), frame: reply.frame(frame.src, src, frame.tags) });
    }

    fn ndp(&mut self, at: &PortRef, vlan: u16, frame: &Frame<'_>, net: &dyn Net, out: &mut Vec<Output>) {
        let Ok(ip) = Ip::parse(frame) else { return };
        let (Ok(message), Some(from)) = (Ndp::parse(&ip), ip.src6()) else { return };
        if !frame.src.is_host() || net.is_router_mac(frame.src) {
            self.count.dropped += 1;
            return;
        }
        match message {
            Ndp::NeighborSolicit { target, lladdr } => {
                if lladdr.is_some_and(|l| l != frame.src) {
                    self.count.dropped += 1;
                    return;
                }
                self.solicited(at, vlan, frame, from, target, net, out);
            }
            Ndp::NeighborAdvert { target, override_, .. } => {
                let gateway = net.gateway_vlan(vlan, target.into()) == Some(vlan);
                if gateway {
                    self.count.dropped += 1;
                } else if frame.dst.is_group() && self.config.proxy {
                    let all = (Mac::ZERO, Ipv6Addr::UNSPECIFIED);
                    let elsewhere = |mac, tags| advertise(target, mac, false, override_, all, mac, tags);
                    self.announce(at, vlan, frame, true, &elsewhere, net, out);
                }
            }
            _ => {}
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn solicited(
        &mut self,
        at: &PortRef,
        vlan: u16,
        frame: &Frame<'_>,
        from: Ipv6Addr,
        target: Ipv6Addr,
        net: &dyn Net,
        out: &mut Vec<Output>,
    ) {
        let dad = from.is_unspecified();
        // RFC 4861 §7.2.4: a proxy's answer does not override.
        let (mac, router) = match self.answer(at, vlan, frame, target.into(), dad, net, out) {
            Answer::Gateway(mac) => (mac, true),
            Answer::Proxy(mac) => (mac, false),
            Answer::Done => return,
        };
        let src = net.router_mac(&at.device).unwrap_or(mac);
        let frame = advertise(target, mac, router, router, (frame.src, from), src, frame.tags);
        out.push(Output::PacketOut { at: at.clone(), frame });
    }
}

/// Passes a frame on to the VLAN's other ports of the same leaf as it is, and sends to those of other leaves what
/// `elsewhere` makes of it.
fn spread(
    net: &dyn Net,
    vlan: u16,
    from: &PortRef,
    frame: &Frame<'_>,
    elsewhere: &dyn Fn(&PortRef, Tags) -> Option<Output>,
    out: &mut Vec<Output>,
) {
    net.visit_edge_ports(vlan, &mut |at, tags| {
        if at.device != from.device {
            out.extend(elsewhere(&at, tags));
        } else if at != *from {
            let frame = ethernet(frame.dst, frame.src, tags, frame.ether_type, frame.payload);
            out.push(Output::PacketOut { at, frame });
        }
    });
}

impl PacketMachine for Neighbors {
    fn name(&self) -> &'static str {
        "neighbors"
    }

    fn wants(&self) -> Vec<Punt> {
        let group = if self.config.proxy { PuntAction::Trap } else { PuntAction::Copy };
        vec![
            Punt::ether(ETH_ARP, PuntTo::Group, group),
            Punt::ether(ETH_ARP, PuntTo::Unicast, PuntAction::Copy),
            Punt::icmp(ETH_IPV6, 58, 135, PuntTo::Group, group),
            Punt::icmp(ETH_IPV6, 58, 135, PuntTo::Unicast, PuntAction::Copy),
            Punt::icmp(ETH_IPV6, 58, 136, PuntTo::Group, group),
        ]
    }

    fn handle(&mut self, input: &Input<'_>, net: &dyn Net, _now: Nanos, out: &mut Vec<Output>) {
        let (at, frame) = match input {
            Input::PacketIn { at, frame, .. } => (at, frame),
            Input::Port { at, up: true } => {
                self.down.remove(at);
                return;
            }
            Input::Port { at, up: false } => {
                self.down.insert((*at).clone());
                return;
            }
            _ => return,
        };
        let Some(vlan) = net.classify(at, frame.tags) else { return };
        match frame.ether_type {
            ETH_ARP => self.arp(at, vlan, frame, net, out),
            ETH_IPV6 => self.ndp(at, vlan, frame, net, out),
            _ => {}
        }
    }

    fn next_timeout(&self) -> Option<Nanos> {
        None
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let c = self.count;
        vec![
            ("gateway", c.gateway),
            ("proxied", c.proxied),
            ("passed", c.passed),
            ("flooded", c.flooded),
            ("dropped", c.dropped),
        ]
    }
}
