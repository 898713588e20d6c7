//! Connected prefixes: a host that is not known yet is asked for. Leaves answer ARP and NDP for gateways, the controller
//! the rest of what they are asked.

use std::net::{IpAddr, Ipv6Addr};

use pergola_model::{Key, Kind, MacAddr, Prefix, Subnet, View};
use pergola_pipeline::reserved;
use pergola_plan::Emitter;

use super::{Asked, To, answer, refuse_claims, route};
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
            let (vlan_id, mac) = (subnet.vlan.get(), view.gateway_mac(leaf));
            out.emit(&leaf.name, answer(vlan_id, gateway.address(), mac, Asked::Gateway), &cause);
            if let IpAddr::V6(own) = gateway.address() {
                let local = link_local(mac);
                out.emit(&leaf.name, answer(vlan_id, local.into(), mac, Asked::Gateway), &cause);
                for address in [own, local] {
                    out.emit(&leaf.name, refuse_claims(vlan_id, address), &cause);
                }
                out.emit(&leaf.name, punt::icmpv6_to(local).entity(), &cause);
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

/// The link-local address that a gateway's MAC address gives (RFC 4291 2.5.6, appendix A): routers are known by it.
fn link_local(mac: MacAddr) -> Ipv6Addr {
    let m = mac.0;
    let id = [m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]];
    Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(u64::from_be_bytes(id)))
}

/// What the controller answers for a gateway: ARP, echo, relayed DHCP that comes back.
fn gateway_rules(address: IpAddr) -> Vec<Rule> {
    match address {
        IpAddr::V4(a) => {
            vec![punt::arp_for(a), punt::arp_from(a), punt::icmp_to(a), punt::dhcp_v4_to(a)]
        }
        IpAddr::V6(a) => vec![punt::icmpv6_to(a), punt::dhcp_v6_to(a)],
    }
}
