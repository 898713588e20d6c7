//! Checks of what attaches to the edge: hosts, access devices, multicast receivers, policies.

use std::sync::Arc;

use super::Findings;
use crate::access::AccessDevice;
use crate::host::{HostIntent, HostKey};
use crate::ids::{PortId, VlanId};
use crate::multicast::MulticastGroup;
use crate::names::DomainName;
use crate::policy::{Policy, Rule, RuleAction};
use crate::replication::Replication;

impl Findings<'_> {
    fn carries(&mut self, field: &str, port: &PortId, vlan: VlanId) {
        let carried = self.view.port(port).is_some_and(|p| p.mode.tagging(vlan).is_some());
        if !carried {
            self.missing(field, port, format!("a port that carries VLAN {vlan}"));
        }
    }

    pub(super) fn host(&mut self, host: &Arc<HostIntent>) {
        if !host.mac.is_unicast() {
            self.invalid("mac", host.mac, "a unicast Ethernet address");
        }
        if self.view.site().is_some_and(|s| s.anycast_mac == Some(host.mac)) {
            self.conflict("mac", host.mac, "not the site's anycast_mac");
        }
        if let Some(switch) = self.view.switches().find(|s| s.router_mac == host.mac) {
            let allowed = format!("an address of its own; it is the router MAC of {}", switch.name);
            self.conflict("mac", host.mac, allowed);
        }
        let key = HostKey::new(host.mac, host.vlan);
        let twin = self.view.host_intents_of(&key).find(|other| self.meets(&other.name, &host.name));
        if let Some(twin) = twin.map(|t| t.name.clone()) {
            let allowed = format!("one of its own in VLAN {}; {twin} has this one", host.vlan);
            self.conflict("mac", host.mac, allowed);
        }
        self.host_addresses(host);
        self.attachments(host);
    }

    fn host_addresses(&mut self, host: &HostIntent) {
        self.repeated("ips", &host.ips);
        let subnet = self.view.subnet_of_vlan(host.vlan);
        for (i, ip) in host.ips.iter().enumerate() {
            let field = format!("ips[{i}]");
            if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
                self.invalid(&field, ip, "a unicast address");
                continue;
            }
            if let Some(subnet) = subnet {
                // Link-local addresses belong to no subnet and to each (RFC 4291 2.5.6).
                let link_local = matches!(ip, std::net::IpAddr::V6(a) if a.is_unicast_link_local());
                let prefixes: Vec<String> = subnet.all_prefixes().map(|prefix| prefix.to_string()).collect();
                if !prefixes.is_empty() && !link_local && subnet.prefix_of(*ip).is_none() {
                    let allowed = format!("an address of subnet {}: {}", subnet.name, prefixes.join(", "));
                    self.invalid(&field, ip, allowed);
                }
                if subnet.gateways.iter().any(|gateway| gateway.address() == *ip) {
                    let allowed = format!("not the gateway of subnet {}", subnet.name);
                    self.conflict(&field, ip, allowed);
                }
            }
            let taken = self.view.hosts_by_ip(*ip).find_map(|other| {
                let declared = other.declared.as_ref()?;
                let same =
                    declared.vlan == host.vlan && self.meets(&declared.name, &host.name) && declared.ips.contains(ip);
                same.then(|| declared.name.clone())
            });
            if let Some(taken) = taken {
                self.conflict(&field, ip, format!("an address of its own; {taken} has this one"));
            }
        }
    }

    fn attachments(&mut self, host: &HostIntent) {
        if !(1..=2).contains(&host.attachments.len()) {
            let found = format!("{} ports", host.attachments.len());
            self.invalid("attachments", found, "1 port, or 2 on the two leaves of a pair");
        }
        for (i, port) in host.attachments.iter().enumerate() {
            let field = format!("attachments[{i}]");
            let before = self.out.len();
            self.edge_port(&field, port);
            if self.out.len() == before {
                self.carries(&field, port, host.vlan);
            }
        }
        if let [one, other] = &host.attachments[..] {
            let paired = self
                .view
                .switch(&one.switch)
                .is_some_and(|s| s.pair.as_ref() == Some(&other.switch) && one.switch != other.switch);
            if !paired {
                let found = format!("{one} and {other}");
                self.invalid("attachments", found, "two ports on the two leaves of a pair");
            }
        }
    }

    pub(super) fn multicast(&mut self, group: &Arc<MulticastGroup>) {
        if !group.group.is_multicast() {
            self.invalid("group", group.group, "a multicast address");
        }
        self.repeated("receivers", &group.receivers);
        let Some(subnet) = self.view.subnet(&group.subnet) else {
            self.missing("subnet", &group.subnet, "a subnet of the site");
            return;
        };
        let what = Replication::Group { vlan: subnet.vlan, group: group.group, source: None };
        let mut alike = self.view.groups_behind(&what);
        let twin = alike.find(|other| self.meets(&other.name, &group.name) && other.subnet == group.subnet);
        if let Some(twin) = twin.map(|t| t.name.clone()) {
            let allowed = format!("one of its own in subnet {}; {twin} has it", group.subnet);
            self.conflict("group", group.group, allowed);
        }
        let vlan = subnet.vlan;
        for (i, port) in group.receivers.iter().enumerate() {
            self.carries(&format!("receivers[{i}]"), port, vlan);
        }
    }

    pub(super) fn access_device(&mut self, device: &Arc<AccessDevice>) {
        if device.ports.is_empty() {
            self.invalid("ports", "none", "one port or more");
        }
        self.repeated("ports", &device.ports);
        for (i, port) in device.ports.iter().enumerate() {
            let field = format!("ports[{i}]");
            self.edge_port(&field, port);
            let other = self.view.access_devices_at(port).find(|other| self.meets(&other.name, &device.name));
            if let Some(other) = other.map(|o| o.name.clone()) {
                self.conflict(&field, port, format!("a port of its own; {other} has this one"));
            }
        }
        if let Some(mac) = device.mac
            && !mac.is_unicast()
        {
            self.invalid("mac", mac, "a unicast Ethernet address");
        }
        if let Some(address) = device.address
            && (address.is_multicast() || address.is_unspecified() || address.is_loopback())
        {
            self.invalid("address", address, "a unicast address");
        }
    }

    pub(super) fn policy(&mut self, policy: &Arc<Policy>) {
        for (i, rule) in policy.rules.iter().enumerate() {
            if policy.rules[..i].iter().any(|before| before.priority == rule.priority) {
                let allowed = "each priority once in a policy";
                self.conflict(format!("rules[{i}].priority"), rule.priority, allowed);
            }
            self.rule(&format!("rules[{i}]"), rule);
        }
    }

    fn rule(&mut self, at: &str, rule: &Rule) {
        for error in rule.matches.check() {
            self.value(format!("{at}.match.{}", error.what), error);
        }
        self.repeated(&format!("{at}.match.in_ports"), &rule.matches.in_ports);
        for (j, port) in rule.matches.in_ports.iter().enumerate() {
            if self.view.switch(&port.switch).is_none() {
                let field = format!("{at}.match.in_ports[{j}]");
                self.missing(field, port, "a port of a switch of the site");
            }
        }
        match &rule.action {
            RuleAction::RedirectPort(port) => {
                let field = format!("{at}.action.redirect_port");
                if self.view.switch(&port.switch).is_none() {
                    self.missing(&field, port, "a port of a switch of the site");
                }
                let elsewhere = rule.matches.in_ports.iter().find(|p| p.switch != port.switch);
                if let Some(elsewhere) = elsewhere {
                    let allowed = format!("a port of {}, where {elsewhere} is", elsewhere.switch);
                    self.invalid(&field, port, allowed);
                }
            }
            RuleAction::RedirectNextHop(hop) => {
                let field = format!("{at}.action.redirect_next_hop");
                if self.view.subnet_containing(&DomainName::default(), *hop).is_none() {
                    self.missing(&field, hop, "an address of a subnet of the site");
                }
                let family_is_v4 = rule.matches.family() == Some(crate::policy::Family::Ipv4);
                if rule.matches.family().is_some() && family_is_v4 != hop.is_ipv4() {
                    self.invalid(&field, hop, "an address of the family the rule matches");
                }
            }
            RuleAction::Permit | RuleAction::Deny | RuleAction::MirrorToController | RuleAction::Police(_) => {}
        }
    }
}
