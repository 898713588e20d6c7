//! Connected prefixes: a host that is not known yet is asked for, and gateways answer through the controller.

use std::net::IpAddr;

use pergola_model::{Key, Kind, Prefix, Subnet, View};
use pergola_pipeline::reserved;
use pergola_plan::Emitter;

use super::{To, route};
use crate::office::vrf;
use crate::punt::{self, Rule};

pub(super) fn plan(view: &View, subnet: &Subnet, out: &mut Emitter<'_>) {
    let cause = Key::new(Kind::Subnet, &subnet.name);
    let vrf = vrf(&subnet.domain);
    for gateway in &subnet.gateways {
        let glean = route(vrf, &gateway.prefix(), To::Glean(reserved::PUNT_GLEAN));
        // A packet to a gateway is for the controller, by the rules below: it must not be asked for.
        let own = route(vrf, &Prefix::host(gateway.address()), To::Drop);
        let rules = gateway_rules(gateway.address());
        for leaf in view.leaves() {
            out.emit(&leaf.name, glean.clone(), &cause);
            if gateway.prefix() != Prefix::host(gateway.address()) {
                out.emit(&leaf.name, own.clone(), &cause);
            }
            for rule in &rules {
                out.emit(&leaf.name, rule.entity(), &cause);
            }
        }
    }
    if !subnet.dhcp_relay.v4.is_empty() || !subnet.dhcp_relay.v6.is_empty() {
        for leaf in view.leaves() {
            if !subnet.dhcp_relay.v4.is_empty() {
                out.emit(&leaf.name, punt::dhcp_v4_in_vlan(subnet.vlan).entity(), &cause);
            }
            if !subnet.dhcp_relay.v6.is_empty() {
                out.emit(&leaf.name, punt::dhcp_v6_in_vlan(subnet.vlan).entity(), &cause);
            }
        }
    }
}

/// What the controller answers for a gateway: ARP, echo, relayed DHCP that comes back.
fn gateway_rules(address: IpAddr) -> Vec<Rule> {
    match address {
        IpAddr::V4(a) => {
            vec![punt::arp_for(a), punt::icmp_to(a), punt::dhcp_v4_to(a)]
        }
        IpAddr::V6(a) => vec![punt::icmpv6_to(a), punt::dhcp_v6_to(a)],
    }
}
