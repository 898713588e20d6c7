//! Checks of subnets and routes.

use std::sync::Arc;

use super::Findings;
use crate::route::{Route, RouteTarget};
use crate::subnet::Subnet;

impl Findings<'_> {
    pub(super) fn subnet(&mut self, subnet: &Arc<Subnet>) {
        let twin = self.view.subnets_of_vlan(subnet.vlan).find(|other| self.meets(&other.name, &subnet.name));
        if let Some(twin) = twin.map(|t| t.name.clone()) {
            self.conflict("vlan", subnet.vlan, format!("a VLAN of its own; {twin} has this one"));
        }
        let addresses: Vec<_> = subnet.gateways.iter().map(|g| g.address()).collect();
        self.repeated("gateways", &addresses);
        for (i, gateway) in subnet.gateways.iter().enumerate() {
            let field = format!("gateways[{i}]");
            let family: Vec<_> = subnet.prefixes.iter().filter(|p| p.is_ipv4() == gateway.is_ipv4()).collect();
            if !family.is_empty() && !family.contains(&&gateway.prefix()) {
                let list: Vec<String> = family.iter().map(|p| p.to_string()).collect();
                let allowed = format!("a gateway inside the subnet's prefix: {}", list.join(", "));
                self.invalid(&field, gateway, allowed);
            }
        }
        let own: Vec<_> = subnet.all_prefixes().collect();
        for (i, prefix) in own.iter().enumerate() {
            let field = match i.checked_sub(subnet.gateways.len()) {
                None => format!("gateways[{i}]"),
                Some(j) => format!("prefixes[{j}]"),
            };
            if let Some(inner) = own[..i].iter().find(|p| p.overlaps(prefix) && *p != prefix) {
                self.conflict(&field, prefix, format!("prefixes that do not overlap {inner}"));
            }
            // One subnet a VLAN: there are at most some thousands, and few prefixes each.
            let view = self.view;
            let overlapping = view
                .subnets()
                .filter(|o| self.meets(&o.name, &subnet.name) && o.domain == subnet.domain)
                .find_map(|o| Some((o, o.all_prefixes().find(|p| p.overlaps(prefix))?)));
            if let Some((other, theirs)) = overlapping {
                let allowed = format!("a prefix that does not overlap {theirs} of subnet {}", other.name);
                self.conflict(&field, prefix, allowed);
            }
        }
        self.relay(subnet);
        self.advertisement(subnet);
    }

    fn relay(&mut self, subnet: &Subnet) {
        let relay = &subnet.dhcp_relay;
        self.repeated("dhcp_relay.v4", &relay.v4);
        self.repeated("dhcp_relay.v6", &relay.v6);
        let allowed = "servers only where the subnet has a gateway of their family";
        if !relay.v4.is_empty() && !subnet.has_ipv4_gateway() {
            self.missing("dhcp_relay.v4", relay.v4[0], allowed);
        }
        if !relay.v6.is_empty() && !subnet.has_ipv6_gateway() {
            self.missing("dhcp_relay.v6", relay.v6[0], allowed);
        }
        let servers = relay.v4.iter().map(|a| std::net::IpAddr::V4(*a));
        let servers = servers.chain(relay.v6.iter().map(|a| std::net::IpAddr::V6(*a)));
        for server in servers {
            if server.is_multicast() || server.is_unspecified() || server.is_loopback() {
                self.invalid("dhcp_relay", server, "a unicast address");
            }
        }
    }

    fn advertisement(&mut self, subnet: &Subnet) {
        let ra = &subnet.router_advertisement;
        let at = |field: &str| format!("router_advertisement.{field}");
        if !(4..=1800).contains(&ra.interval_s) {
            self.invalid(at("interval_s"), ra.interval_s, "4 to 1800");
        }
        if ra.lifetime_s != 0 && !(ra.interval_s..=9000).contains(&ra.lifetime_s) {
            let allowed = format!("0, or interval_s ({}) to 9000", ra.interval_s);
            self.invalid(at("lifetime_s"), ra.lifetime_s, allowed);
        }
        if ra.preferred_s > ra.valid_s {
            let allowed = format!("at most valid_s ({})", ra.valid_s);
            self.invalid(at("preferred_s"), ra.preferred_s, allowed);
        }
        if let Some(mtu) = ra.mtu.filter(|mtu| *mtu < 1280) {
            self.invalid(at("mtu"), mtu, "1280 or more (RFC 8200 5)");
        }
    }

    pub(super) fn route(&mut self, route: &Arc<Route>) {
        if let Some(subnet) = self.view.subnets_with_prefix(&route.domain, route.prefix).next() {
            let allowed = format!("a prefix that is not subnet {}", subnet.name);
            self.conflict("prefix", route.prefix, allowed);
        }
        let RouteTarget::NextHops(hops) = &route.target else { return };
        if hops.is_empty() {
            self.invalid("target.next_hops", "none", "one next hop or more, or blackhole");
        }
        self.repeated("target.next_hops", hops);
        for (i, hop) in hops.iter().enumerate() {
            let field = format!("target.next_hops[{i}]");
            if hop.is_ipv4() != route.prefix.is_ipv4() {
                self.invalid(&field, hop, "an address of the prefix's family");
                continue;
            }
            match self.view.subnet_containing(&route.domain, *hop) {
                None => {
                    let allowed = format!("an address of a subnet of domain {}", route.domain);
                    self.missing(&field, hop, allowed);
                }
                Some(subnet) => {
                    if subnet.gateways.iter().any(|g| g.address() == *hop) {
                        let allowed = format!("not the fabric's own gateway of {}", subnet.name);
                        self.conflict(&field, hop, allowed);
                    } else if subnet.gateway_for(*hop).is_none() {
                        let allowed = "an address of a subnet with a gateway";
                        self.missing(&field, hop, allowed);
                    }
                }
            }
        }
    }
}
