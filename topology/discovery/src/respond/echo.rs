//! Ping answers for gateway addresses, IPv4 and IPv6.

use crate::machine::{Input, Nanos, Output, PacketMachine, Punt, PuntAction, PuntTo};
use crate::net::Net;
use crate::wire::icmp::{ECHO_REQUEST, ECHO6_REQUEST, echo_reply, message};
use crate::wire::ip::{Ip, Link, PROTO_ICMP, PROTO_ICMP6, ipv4, ipv6};
use crate::wire::{ETH_IPV4, ETH_IPV6};
use std::net::IpAddr;

/// The echo responder.
#[derive(Debug, Default)]
pub struct Echo {
    answered: u64,
    ignored: u64,
}

impl PacketMachine for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn wants(&self) -> Vec<Punt> {
        vec![
            Punt::icmp(ETH_IPV4, PROTO_ICMP, ECHO_REQUEST, PuntTo::Gateways, PuntAction::Trap),
            Punt::icmp(ETH_IPV6, PROTO_ICMP6, ECHO6_REQUEST, PuntTo::Gateways, PuntAction::Trap),
        ]
    }

    fn handle(&mut self, input: &Input<'_>, net: &dyn Net, _now: Nanos, out: &mut Vec<Output>) {
        let Input::PacketIn { at, frame, .. } = input else { return };
        let Ok(ip) = Ip::parse(frame) else { return };
        let Ok(request) = message(&ip) else { return };
        if !matches!(request[0], ECHO_REQUEST | ECHO6_REQUEST) {
            return;
        }
        self.ignored += 1;
        // On an edge port, sent to the gateway as seen from there, by somebody who can be answered.
        let (Some(vlan), Some(mac)) = (net.classify(at, frame.tags), net.router_mac(&at.device)) else { return };
        let gateway = net.gateway_vlan(vlan, ip.dst).is_some() || ip.dst == IpAddr::V6(mac.link_local());
        let from_one =
            frame.src.is_host() && !net.is_router_mac(frame.src) && !ip.src.is_unspecified() && !ip.src.is_multicast();
        if !net.is_router_mac(frame.dst) || !gateway || !from_one {
            return;
        }
        let Some(reply) = echo_reply(request, ip.dst, ip.src) else { return };
        let link = Link { dst: frame.src, src: mac, tags: frame.tags };
        let frame = match (ip.dst, ip.src) {
            (IpAddr::V4(from), IpAddr::V4(to)) if !to.is_broadcast() => {
                ipv4(link, from, to, PROTO_ICMP, 64, &[], &reply)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => ipv6(link, from, to, PROTO_ICMP6, 64, &reply),
            _ => return,
        };
        self.ignored -= 1;
        self.answered += 1;
        out.push(Output::PacketOut { at: (*at).clone(), frame });
    }

    fn next_timeout(&self) -> Option<Nanos> {
        None
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("answered", self.answered), ("ignored", self.ignored)]
    }
}
