//! Checks of the site, its switches, their ports and links.

use std::net::IpAddr;
use std::sync::Arc;

use super::Findings;
use crate::ids::{LinkId, PortId};
use crate::names::SwitchName;
use crate::port::PortMode;
use crate::resource::Kind;
use crate::switch::Switch;

impl Findings<'_> {
    pub(super) fn resource(&mut self) {
        let name = self.key.name.clone();
        match self.key.kind {
            Kind::Site => self.site(),
            Kind::Switch => {
                if let Some(switch) = name.parse().ok().and_then(|n| self.view.switch(&n)) {
                    self.switch(switch);
                }
            }
            Kind::Port => {
                if let Some(port) = name.parse().ok().and_then(|n| self.view.port(&n)) {
                    self.port(&port.id, &port.mode, port.speed_bps);
                }
            }
            Kind::Link => {
                if let Some(link) = name.parse().ok().and_then(|n| self.view.link(&n)) {
                    self.link(&link.id);
                }
            }
            Kind::Subnet => {
                if let Some(subnet) = name.parse().ok().and_then(|n| self.view.subnet(&n)) {
                    self.subnet(subnet);
                }
            }
            Kind::Host => {
                if let Some(host) = name.parse().ok().and_then(|n| self.view.host_intent(&n)) {
                    self.host(host);
                }
            }
            Kind::Route => {
                if let Some(route) = name.parse().ok().and_then(|n| self.view.route(&n)) {
                    self.route(route);
                }
            }
            Kind::Policy => {
                if let Some(policy) = name.parse().ok().and_then(|n| self.view.policy(&n)) {
                    self.policy(policy);
                }
            }
            Kind::Multicast => {
                if let Some(group) = name.parse().ok().and_then(|n| self.view.multicast_group(&n)) {
                    self.multicast(group);
                }
            }
            Kind::AccessDevice => {
                if let Some(device) = name.parse().ok().and_then(|n| self.view.access_device(&n)) {
                    self.access_device(device);
                }
            }
            Kind::DeviceState
            | Kind::PortState
            | Kind::LinkState
            | Kind::HostLocation
            | Kind::CablingFault
            | Kind::GroupMembers => {}
        }
    }

    fn site(&mut self) {
        let Some(site) = self.view.site() else { return };
        if let Some(mac) = site.anycast_mac
            && !mac.is_unicast()
        {
            self.invalid("anycast_mac", mac, "a unicast Ethernet address");
        }
        for error in site.timers.check() {
            self.value(format!("timers.{}", error.what), error);
        }
    }

    fn switch(&mut self, switch: &Arc<Switch>) {
        if !switch.router_mac.is_unicast() {
            self.invalid("router_mac", switch.router_mac, "a unicast Ethernet address");
        }
        let gateway = self.view.site().and_then(|s| s.anycast_mac);
        if gateway == Some(switch.router_mac) {
            self.conflict("router_mac", switch.router_mac, "not the site's anycast_mac");
        }
        for other in self.view.switches().filter(|o| o.name != switch.name) {
            let taken = |what| format!("a {what} of its own; {} has this one", other.name);
            if other.device_id == switch.device_id {
                self.conflict("device_id", switch.device_id, taken("device id"));
            }
            if other.node_label == switch.node_label {
                self.conflict("node_label", switch.node_label, taken("node label"));
            }
            if other.router_mac == switch.router_mac {
                self.conflict("router_mac", switch.router_mac, taken("router MAC"));
            }
            if let Some(address) = switch.loopback_v4.filter(|a| Some(*a) == other.loopback_v4) {
                self.conflict("loopback_v4", address, taken("loopback"));
            }
            if let Some(address) = switch.loopback_v6.filter(|a| Some(*a) == other.loopback_v6) {
                self.conflict("loopback_v6", address, taken("loopback"));
            }
            let same = |field: &Option<crate::ip::Endpoint>, theirs: &Option<crate::ip::Endpoint>| {
                field.clone().filter(|f| Some(f) == theirs.as_ref())
            };
            if let Some(endpoint) = same(&switch.p4runtime, &other.p4runtime) {
                self.conflict("p4runtime", endpoint, taken("endpoint"));
            }
            if let Some(endpoint) = same(&switch.gnmi, &other.gnmi) {
                self.conflict("gnmi", endpoint, taken("endpoint"));
            }
        }
        let v4 = switch.loopback_v4.map(|a| ("loopback_v4", IpAddr::V4(a)));
        let v6 = switch.loopback_v6.map(|a| ("loopback_v6", IpAddr::V6(a)));
        for (field, address) in v4.into_iter().chain(v6) {
            if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
                self.invalid(field, address, "a unicast address");
            }
            if let Some(subnet) = self.view.subnet_containing(&Default::default(), address) {
                self.conflict(field, address, format!("an address outside subnet {}", subnet.name));
            }
        }
        if let Some(pair) = &switch.pair {
            self.pair(switch, pair);
        }
    }

    fn pair(&mut self, switch: &Switch, pair: &SwitchName) {
        if !switch.is_leaf() {
            self.invalid("pair", pair, "none: only leaves are paired");
            return;
        }
        match self.view.switch(pair) {
            _ if *pair == switch.name => self.invalid("pair", pair, "another leaf"),
            None => self.missing("pair", pair, "a leaf of the site"),
            Some(other) if !other.is_leaf() => self.invalid("pair", pair, "a leaf"),
            Some(other) => match &other.pair {
                Some(back) if *back == switch.name => {}
                Some(third) => {
                    let allowed = format!("a leaf that names {} too; it names {third}", switch.name);
                    self.conflict("pair", pair, allowed);
                }
                None => {
                    let allowed = format!("a leaf that names {} too; it names none", switch.name);
                    self.missing("pair", pair, allowed);
                }
            },
        }
    }

    fn port(&mut self, id: &PortId, mode: &PortMode, speed_bps: Option<u64>) {
        let Some(switch) = self.view.switch(&id.switch) else {
            self.missing("id", id, "a port of a switch of the site");
            return;
        };
        self.front_port("id", id, switch);
        if speed_bps == Some(0) {
            self.invalid("speed_bps", 0, "1 or more");
        }
        if mode.is_none() {
            return;
        }
        if !switch.is_leaf() {
            self.invalid("mode", id, "no VLANs: they are on ports of leaves");
        }
        if let Some(link) = self.view.link_at(id) {
            self.conflict("mode", id, format!("no VLANs: link {} uses the port", link.id));
        }
        match mode {
            PortMode::None | PortMode::Untagged { .. } => {}
            PortMode::Tagged { vlans } => {
                if vlans.is_empty() {
                    self.invalid("mode.tagged.vlans", "none", "one VLAN or more");
                }
                self.repeated("mode.tagged.vlans", vlans);
            }
            PortMode::Native { native, tagged } => {
                if tagged.is_empty() {
                    self.invalid("mode.native.tagged", "none", "one VLAN or more, or mode untagged");
                }
                self.repeated("mode.native.tagged", tagged);
                if let Some(i) = tagged.iter().position(|vlan| vlan == native) {
                    let allowed = "a VLAN that is not the port's native one";
                    self.conflict(format!("mode.native.tagged[{i}]"), native, allowed);
                }
            }
            PortMode::Qinq { services } => {
                if services.is_empty() {
                    self.invalid("mode.qinq.services", "none", "one service or more");
                }
                for (i, service) in services.iter().enumerate() {
                    let before = &services[..i];
                    let field = format!("mode.qinq.services[{i}]");
                    let tags = (service.outer, service.inner);
                    if before.iter().any(|b| (b.outer, b.inner) == tags) {
                        let found = format!("{}.{}", service.outer, service.inner);
                        self.conflict(&field, found, "each pair of tags once on a port");
                    }
                    if before.iter().any(|b| b.vlan == service.vlan) {
                        let allowed = "each VLAN once on a port";
                        self.conflict(format!("{field}.vlan"), service.vlan, allowed);
                    }
                }
            }
        }
    }

    fn link(&mut self, id: &LinkId) {
        if id.a().switch == id.b().switch {
            self.invalid("id", id, "a link between two switches");
        }
        for end in id.ends() {
            match self.view.switch(&end.switch) {
                None => self.missing("id", end, "a port of a switch of the site"),
                Some(switch) => {
                    self.front_port("id", end, switch);
                }
            }
            // The later of two links is the one reported.
            let others = self.view.links_at(end).filter(|l| self.meets(&l.id, id));
            let others: Vec<String> = others.map(|l| l.id.to_string()).collect();
            for other in others {
                self.conflict("id", end, format!("a port no other link uses; {other} does"));
            }
        }
    }
}
