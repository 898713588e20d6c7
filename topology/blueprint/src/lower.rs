//! From what the file says to the model's resources, remembering where each field came from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use pergola_model::*;

use crate::defaults::{self, Numbered};
use crate::form::*;
use crate::node::Mark;
use crate::problem::Problem;
use crate::read::{At, Entries, Many, OrNone};
use crate::words::VlanRef;

/// The model's field, the file's, and where it stands.
type Fields = Vec<(String, String, Mark)>;

/// Where a resource and its fields stand in the file.
#[derive(Debug, Clone, Default)]
struct Origin {
    path: String,
    at: Mark,
    fields: Fields,
}

impl Origin {
    fn new(path: String, at: Mark) -> Self {
        Origin { path, at, fields: Vec::new() }
    }

    fn note(&mut self, field: &str, written: &str, at: Mark) {
        self.fields.push((field.to_owned(), written.to_owned(), at));
    }

    fn note_may<T>(&mut self, field: &str, written: &str, value: &Option<At<T>>) {
        if let Some(value) = value {
            self.note(field, written, value.at);
        }
    }

    /// Each item of a list, and the list itself.
    fn note_many<T>(&mut self, field: &str, written: &str, many: &At<Many<T>>) {
        self.note(field, written, many.at);
        for (i, item) in many.items.iter().enumerate() {
            let written = if many.list { format!("{written}[{i}]") } else { written.to_owned() };
            self.note(&format!("{field}[{i}]"), &written, item.at);
        }
    }
}

/// The resources of a file and everything wrong with it.
#[derive(Default)]
pub(crate) struct Lowered {
    resources: BTreeMap<Key, (AnyResource, Origin)>,
    pub problems: Vec<Problem>,
    /// Keys of entries that are in the file and could not be read: references to them are not to blame.
    unread: BTreeSet<Key>,
    vlans: BTreeMap<SubnetName, VlanId>,
    /// Subnets as they are written, also those that could not be read.
    subnets: BTreeSet<String>,
}

impl Lowered {
    pub fn of(form: &BlueprintForm) -> Self {
        let subnets = form.subnets.iter().flat_map(|s| s.names.iter().cloned()).collect();
        let mut out = Lowered { subnets, ..Lowered::default() };
        out.site(&form.site);
        each(&form.switches, |name, switch| out.switch(&form.site, name, switch));
        each(&form.subnets, |name, subnet| out.subnet(name, subnet));
        each(&form.ports, |span, port| {
            if let Some((mode, fields)) = out.mode(&format!("ports.{}", written(span)), span.at, port) {
                for id in span.ports() {
                    let mut origin = Origin::new(format!("ports.{}", written(span)), span.at);
                    origin.fields.clone_from(&fields);
                    origin.note_may("speed_bps", "speed", &port.speed);
                    let port = Port {
                        id,
                        enabled: port.enabled.as_ref().is_none_or(|e| e.value),
                        speed_bps: port.speed.as_ref().map(|s| s.0),
                        mode: mode.clone(),
                    };
                    out.add(port, origin);
                }
            }
        });
        for (i, link) in form.links.iter().flat_map(|l| &l.0).enumerate() {
            out.link(i, link);
        }
        each(&form.hosts, |name, host| out.host(name, host));
        for (i, route) in form.routes.iter().flat_map(|l| &l.0).enumerate() {
            out.route(i, route);
        }
        each(&form.policies, |name, policy| out.policy(name, policy));
        each(&form.multicast, |name, group| out.multicast(name, group));
        each(&form.access, |name, device| out.access(name, device));
        out.note_unread(form);
        out
    }

    /// The checked intents, or nothing when a problem was found.
    pub fn finish(mut self) -> (Vec<AnyResource>, Vec<Problem>) {
        let view = View::from_resources(self.resources.values().map(|(r, _)| r.clone()));
        for violation in view.check() {
            if violation.kind == ViolationKind::Missing && self.blames_unread(&violation) {
                continue;
            }
            self.locate(violation);
        }
        (self.resources.into_values().map(|(r, _)| r).collect(), self.problems)
    }

    fn note_unread(&mut self, form: &BlueprintForm) {
        fn names<K, V>(kind: Kind, entries: &Option<At<Entries<K, V>>>) -> Vec<Key> {
            let names = entries.iter().flat_map(|e| &e.names);
            names.map(|name| Key::new(kind, name)).collect()
        }
        let mut all = names(Kind::Switch, &form.switches);
        all.extend(names(Kind::Subnet, &form.subnets));
        all.extend(names(Kind::Port, &form.ports));
        self.unread = all.into_iter().filter(|key| !self.resources.contains_key(key)).collect();
    }

    /// Whether something is only missing because its own entry is wrong.
    fn blames_unread(&self, violation: &Violation) -> bool {
        let found = &violation.found;
        let switch = found.split('/').next().unwrap_or(found);
        let names_unread = [(Kind::Switch, switch), (Kind::Switch, found), (Kind::Subnet, found), (Kind::Port, found)];
        names_unread.iter().any(|(kind, name)| self.unread.contains(&Key::new(*kind, name)))
            // An address in a subnet that could not be read.
            || (found.parse::<IpAddr>().is_ok() && self.unread.iter().any(|k| k.kind == Kind::Subnet))
    }

    /// Says a violation in the words and the place of the file.
    fn locate(&mut self, violation: Violation) {
        let empty = Origin::default();
        let origin = self.resources.get(&violation.key).map_or(&empty, |(_, origin)| origin);
        let field = violation.field.as_str();
        let holds =
            |noted: &str| field.strip_prefix(noted).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        let noted = origin.fields.iter().filter(|(noted, _, _)| holds(noted)).max_by_key(|(noted, _, _)| noted.len());
        let (path, at) = match noted {
            Some((noted, written, at)) => {
                let rest = &field[noted.len()..];
                (format!("{}.{written}{rest}", origin.path), *at)
            }
            None if field.is_empty() || field == "id" => (origin.path.clone(), origin.at),
            None => (format!("{}.{field}", origin.path), origin.at),
        };
        let Violation { found, allowed, .. } = violation;
        self.problems.push(Problem { at, path, found, allowed });
    }

    fn add(&mut self, resource: impl Into<AnyResource>, origin: Origin) {
        let resource = resource.into();
        let key = resource.key();
        if let Some((_, first)) = self.resources.get(&key) {
            let allowed = format!("each once; it is also in line {}", first.at.line);
            self.wrong(origin.at, &origin.path, &key.name, allowed);
            return;
        }
        self.resources.insert(key, (resource, origin));
    }

    fn wrong(&mut self, at: Mark, path: &str, found: impl ToString, allowed: impl Into<String>) {
        let (path, found, allowed) = (path.to_owned(), found.to_string(), allowed.into());
        self.problems.push(Problem { at, path, found, allowed });
    }

    fn site(&mut self, form: &At<SiteForm>) {
        let mut origin = Origin::new("site".into(), form.at);
        origin.note_may("anycast_mac", "anycast_mac", &form.anycast_mac);
        let mut timers = Timers::default();
        if let Some(given) = &form.timers {
            let mut take = |name: &str, from: &Option<At<u32>>, to: &mut u32| {
                if let Some(value) = from {
                    *to = value.value;
                    let field = format!("timers.{name}");
                    origin.note(&field, &field, value.at);
                }
            };
            take("lldp_interval_ms", &given.lldp_interval_ms, &mut timers.lldp_interval_ms);
            take("lldp_lost", &given.lldp_lost, &mut timers.lldp_lost);
            take("host_idle_ms", &given.host_idle_ms, &mut timers.host_idle_ms);
            take("host_probe_ms", &given.host_probe_ms, &mut timers.host_probe_ms);
            take("host_probes", &given.host_probes, &mut timers.host_probes);
            take("audit_interval_ms", &given.audit_interval_ms, &mut timers.audit_interval_ms);
            take("reconnect_max_ms", &given.reconnect_max_ms, &mut timers.reconnect_max_ms);
        }
        let anycast_mac = match form.anycast_mac.as_ref().map(|m| &m.value) {
            None => Some(defaults::ANYCAST_MAC),
            Some(OrNone::None) => None,
            Some(OrNone::Some(mac)) => Some(*mac),
        };
        let site = Site {
            name: form.name.value.clone(),
            anycast_mac,
            lldp_key: form.lldp_key.as_ref().map(|k| k.value.clone()),
            timers,
        };
        self.security("site", &form.plaintext, &form.tls);
        self.add(site, origin);
    }

    fn security(
        &mut self,
        path: &str,
        plaintext: &Option<At<PlaintextReason>>,
        tls: &Option<At<TlsForm>>,
    ) -> Option<Security> {
        match (plaintext, tls) {
            (Some(plaintext), Some(tls)) => {
                let at = plaintext.at.max(tls.at);
                self.wrong(at, path, "plaintext and tls", "one of the two");
                None
            }
            (Some(plaintext), None) => Some(Security::Plaintext(plaintext.value)),
            (None, Some(tls)) => {
                let own = |field: &Option<At<String>>| field.as_ref().map(|f| f.value.clone());
                let files = TlsFiles {
                    ca_file: own(&tls.ca_file),
                    cert_file: own(&tls.cert_file),
                    key_file: own(&tls.key_file),
                    server_name: own(&tls.server_name),
                };
                if files.cert_file.is_some() != files.key_file.is_some() {
                    let allowed = "cert_file and key_file, or neither";
                    self.wrong(tls.at, &format!("{path}.tls"), "one of them", allowed);
                }
                Some(Security::Tls(files))
            }
            (None, None) => None,
        }
    }

    fn switch(&mut self, site: &SiteForm, name: &At<SwitchName>, form: &SwitchForm) {
        let path = format!("switches.{}", name.value);
        let mut origin = Origin::new(path.clone(), name.at);
        let given = form.role.as_ref().map(|r| r.value);
        let Some(role) = given.or_else(|| defaults::role(name)) else {
            let allowed = "leaf or spine, or a name that begins with one of them";
            self.wrong(name.at, &format!("{path}.role"), "nothing", allowed);
            return;
        };
        let numbered = Numbered::of(name, role);
        let mut must = |field: &str, missing: bool| {
            if missing {
                let allowed = "a value, or a name that ends in a number from 1 to 999";
                self.wrong(name.at, &format!("{path}.{field}"), "nothing", allowed);
            }
        };
        let device_id = form.device_id.as_ref().map(|d| d.value).or(numbered.map(|n| n.device_id()));
        let node_label = form.node_label.as_ref().map(|l| l.value).or(numbered.and_then(|n| n.node_label()));
        let router_mac = form.router_mac.as_ref().map(|m| m.value).or(numbered.map(|n| n.router_mac()));
        must("device_id", device_id.is_none());
        must("node_label", node_label.is_none());
        must("router_mac", router_mac.is_none());
        origin.note_may("device_id", "device_id", &form.device_id);
        origin.note_may("node_label", "node_label", &form.node_label);
        origin.note_may("router_mac", "router_mac", &form.router_mac);
        origin.note_may("p4runtime", "p4runtime", &form.p4runtime);
        origin.note_may("gnmi", "gnmi", &form.gnmi);
        origin.note_may("pair", "pair", &form.pair);
        origin.note_may("loopback_v4", "loopback_v4", &form.loopback_v4);
        origin.note_may("loopback_v6", "loopback_v6", &form.loopback_v6);
        let security = match self.security(&path, &form.plaintext, &form.tls) {
            Some(own) => own,
            // The site's was checked where it stands.
            None => Lowered::default().security("site", &site.plaintext, &site.tls).unwrap_or_default(),
        };
        let loopback_v4 = match form.loopback_v4.as_ref().map(|l| &l.value) {
            None => numbered.and_then(|n| n.loopback_v4()),
            Some(OrNone::None) => None,
            Some(OrNone::Some(address)) => Some(*address),
        };
        let loopback_v6 = match form.loopback_v6.as_ref().map(|l| &l.value) {
            None => numbered.and_then(|n| n.loopback_v6()),
            Some(OrNone::None) => None,
            Some(OrNone::Some(address)) => Some(*address),
        };
        let (Some(device_id), Some(node_label), Some(router_mac)) = (device_id, node_label, router_mac) else {
            return;
        };
        let target = form.target.as_ref().or(site.target.as_ref());
        let switch = Switch {
            name: name.value.clone(),
            role,
            device_id,
            p4runtime: form.p4runtime.as_ref().map(|e| e.value.clone()),
            gnmi: form.gnmi.as_ref().map(|e| e.value.clone()),
            security,
            node_label,
            loopback_v4,
            loopback_v6,
            router_mac,
            pair: form.pair.as_ref().map(|p| p.value.clone()),
            target: target.map(|t| t.value).unwrap_or_default(),
            cpu_port: form.cpu_port.as_ref().map(|p| p.value),
            admin: form.admin.as_ref().map(|a| a.value).unwrap_or_default(),
        };
        self.add(switch, origin);
    }

    fn link(&mut self, i: usize, link: &At<LinkForm>) {
        let path = format!("links[{i}]");
        let LinkForm(a, b) = &link.value;
        match LinkId::new(a.value.clone(), b.value.clone()) {
            Ok(id) => self.add(Link { id }, Origin::new(path, link.at)),
            Err(error) => self.wrong(link.at, &path, error.found, error.allowed),
        }
    }

    fn subnet(&mut self, name: &At<SubnetName>, form: &SubnetForm) {
        let mut origin = Origin::new(format!("subnets.{}", name.value), name.at);
        origin.note("vlan", "vlan", form.vlan.at);
        form.gateways.iter().for_each(|m| origin.note_many("gateways", "gateways", m));
        form.prefixes.iter().for_each(|m| origin.note_many("prefixes", "prefixes", m));
        let mut relay = DhcpRelay::default();
        if let Some(servers) = &form.dhcp_relay {
            origin.note_many("dhcp_relay", "dhcp_relay", servers);
            for (i, server) in servers.items.iter().enumerate() {
                let written = format!("dhcp_relay[{i}]");
                match server.value {
                    IpAddr::V4(address) => {
                        origin.note(&format!("dhcp_relay.v4[{}]", relay.v4.len()), &written, server.at);
                        relay.v4.push(address);
                    }
                    IpAddr::V6(address) => {
                        origin.note(&format!("dhcp_relay.v6[{}]", relay.v6.len()), &written, server.at);
                        relay.v6.push(address);
                    }
                }
            }
        }
        let mut ra = RouterAdvertisement::default();
        if let Some(given) = &form.router_advertisement {
            fn take<T: Copy>(origin: &mut Origin, name: &str, from: &Option<At<T>>, to: &mut T) {
                if let Some(value) = from {
                    *to = value.value;
                    let field = format!("router_advertisement.{name}");
                    origin.note(&field, &field, value.at);
                }
            }
            let o = &mut origin;
            take(o, "enabled", &given.enabled, &mut ra.enabled);
            take(o, "managed", &given.managed, &mut ra.managed);
            take(o, "other_config", &given.other_config, &mut ra.other_config);
            take(o, "autonomous", &given.autonomous, &mut ra.autonomous);
            take(o, "interval_s", &given.interval_s, &mut ra.interval_s);
            take(o, "lifetime_s", &given.lifetime_s, &mut ra.lifetime_s);
            take(o, "preferred_s", &given.preferred_s, &mut ra.preferred_s);
            take(o, "valid_s", &given.valid_s, &mut ra.valid_s);
            o.note_may("router_advertisement.mtu", "router_advertisement.mtu", &given.mtu);
            ra.mtu = given.mtu.as_ref().map(|m| m.value);
            ra.dns = given.dns.as_ref().map(|d| d.values()).unwrap_or_default();
        }
        self.vlans.insert(name.value.clone(), form.vlan.value);
        let subnet = Subnet {
            name: name.value.clone(),
            vlan: form.vlan.value,
            gateways: form.gateways.as_ref().map(|g| g.values()).unwrap_or_default(),
            prefixes: form.prefixes.as_ref().map(|p| p.values()).unwrap_or_default(),
            dhcp_relay: relay,
            router_advertisement: ra,
            domain: form.domain.as_ref().map(|d| d.value.clone()).unwrap_or_default(),
        };
        self.add(subnet, origin);
    }

    /// The VLAN a reference means; notes a subnet that is not there.
    fn vlan(&mut self, path: &str, reference: &At<VlanRef>) -> Option<VlanId> {
        match &reference.value {
            VlanRef::Id(id) => Some(*id),
            VlanRef::Subnet(name) => match self.vlans.get(name) {
                Some(vlan) => Some(*vlan),
                // What is wrong with it is said where it stands.
                None if self.subnets.contains(name.as_str()) => None,
                None => {
                    let known: Vec<&str> = self.vlans.keys().map(|n| n.as_str()).collect();
                    let allowed = format!("a VLAN id or one of the subnets: {}", known.join(", "));
                    self.wrong(reference.at, path, name, allowed);
                    None
                }
            },
        }
    }

    /// A port's mode from the fields given, and where the fields stand.
    fn mode(&mut self, path: &str, at: Mark, form: &PortForm) -> Option<(PortMode, Fields)> {
        let mut origin = Origin::default();
        let mut tagged = Vec::new();
        let field = if form.native.is_some() { "mode.native.tagged" } else { "mode.tagged.vlans" };
        for list in form.tagged.iter() {
            origin.note_many(field, "tagged", list);
            for (i, item) in list.items.iter().enumerate() {
                let step = if list.list { format!("{path}.tagged[{i}]") } else { format!("{path}.tagged") };
                tagged.push(self.vlan(&step, item)?);
            }
        }
        let mut one = |r: &Option<At<VlanRef>>, name: &str| match r {
            Some(reference) => self.vlan(&format!("{path}.{name}"), reference).map(Some),
            None => Some(None),
        };
        let untagged = one(&form.untagged, "untagged")?;
        let native = one(&form.native, "native")?;
        let mut services = Vec::new();
        for list in form.qinq.iter() {
            origin.note_many("mode.qinq.services", "qinq", list);
            for (i, item) in list.items.iter().enumerate() {
                let vlan = self.vlan(&format!("{path}.qinq[{i}].vlan"), &item.vlan)?;
                let (outer, inner) = (item.outer.value, item.inner.value);
                services.push(QinqService { outer, inner, vlan });
            }
        }
        let given = (untagged, form.tagged.is_some(), native, form.qinq.is_some());
        let mode = match given {
            (None, false, None, false) => PortMode::None,
            (Some(vlan), false, None, false) => PortMode::Untagged { vlan },
            (None, true, None, false) => PortMode::Tagged { vlans: tagged },
            (None, true, Some(native), false) => PortMode::Native { native, tagged },
            (None, false, None, true) => PortMode::Qinq { services },
            (untagged, tags, native, qinq) => {
                let named =
                    [("untagged", untagged.is_some()), ("tagged", tags), ("native", native.is_some()), ("qinq", qinq)];
                let named: Vec<&str> = named.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
                let allowed = "one of untagged, tagged, native with tagged, qinq";
                self.wrong(at, path, named.join(" with "), allowed);
                return None;
            }
        };
        let written = match &mode {
            PortMode::Untagged { .. } => form.untagged.as_ref().map(|r| ("untagged", r.at)),
            PortMode::Tagged { .. } => form.tagged.as_ref().map(|r| ("tagged", r.at)),
            PortMode::Native { .. } => form.native.as_ref().map(|r| ("native", r.at)),
            PortMode::Qinq { .. } => form.qinq.as_ref().map(|r| ("qinq", r.at)),
            PortMode::None => None,
        };
        if let Some((name, at)) = written {
            origin.note("mode", name, at);
        }
        Some((mode, origin.fields))
    }

    fn host(&mut self, name: &At<HostName>, form: &HostForm) {
        let path = format!("hosts.{}", name.value);
        let mut origin = Origin::new(path.clone(), name.at);
        origin.note_many("attachments", "port", &form.port);
        form.ips.iter().for_each(|ips| origin.note_many("ips", "ips", ips));
        origin.note_may("mac", "mac", &form.mac);
        let attachments = form.port.values();
        let ips = form.ips.as_ref().map(|ips| ips.values()).unwrap_or_default();
        let vlan = match &form.vlan {
            Some(reference) => match self.vlan(&format!("{path}.vlan"), reference) {
                Some(vlan) => vlan,
                None => return,
            },
            None => match self.usual_vlan(attachments.first(), &ips) {
                Some(vlan) => vlan,
                None => {
                    let blameless = attachments.iter().any(|p| !self.is_known(p));
                    if !blameless {
                        let allowed = "a VLAN, because neither the port nor the first address says which";
                        self.wrong(name.at, &format!("{path}.vlan"), "nothing", allowed);
                    }
                    return;
                }
            },
        };
        for (i, port) in attachments.iter().enumerate() {
            let key = Key::new(Kind::Port, port);
            self.resources.entry(key).or_insert_with(|| {
                let at = form.port.items[i].at;
                let implied =
                    Port { id: port.clone(), enabled: true, speed_bps: None, mode: PortMode::Untagged { vlan } };
                // Faults of a port nobody wrote are reported where the host names it.
                let implied_origin = Origin::new(format!("{path}.port"), at);
                (implied.into(), implied_origin)
            });
        }
        let host = HostIntent {
            name: name.value.clone(),
            mac: form.mac.as_ref().map_or_else(|| defaults::host_mac(name.as_str()), |m| m.value),
            vlan,
            ips,
            attachments,
            binding: form.binding.as_ref().map(|b| b.value).unwrap_or_default(),
            dhcp: form.dhcp.as_ref().map(|d| d.value).unwrap_or_default(),
        };
        self.add(host, origin);
    }

    fn is_known(&self, port: &PortId) -> bool {
        self.resources.contains_key(&Key::new(Kind::Switch, &port.switch))
    }

    /// The VLAN of a host that names none.
    fn usual_vlan(&self, port: Option<&PortId>, ips: &[IpAddr]) -> Option<VlanId> {
        let mode = match self.resources.get(&Key::new(Kind::Port, port?)) {
            Some((AnyResource::Port(port), _)) => &port.mode,
            _ => &PortMode::None,
        };
        match (mode, &mode.memberships()[..]) {
            (PortMode::Untagged { vlan } | PortMode::Native { native: vlan, .. }, _) => Some(*vlan),
            (_, [(vlan, _)]) => Some(*vlan),
            (PortMode::None, _) => {
                let ip = *ips.first()?;
                self.resources.values().find_map(|(resource, _)| match resource {
                    AnyResource::Subnet(subnet) => subnet.prefix_of(ip).map(|_| subnet.vlan),
                    _ => None,
                })
            }
            _ => None,
        }
    }

    fn route(&mut self, i: usize, form: &At<RouteForm>) {
        let path = format!("routes[{i}]");
        let mut origin = Origin::new(path.clone(), form.at);
        origin.note("prefix", "to", form.to.at);
        let blackhole = form.blackhole.as_ref().is_some_and(|b| b.value);
        let target = match (&form.via, blackhole) {
            (Some(via), false) => {
                origin.note_many("target.next_hops", "via", via);
                RouteTarget::NextHops(via.values())
            }
            (None, true) => RouteTarget::Blackhole,
            (via, _) => {
                let found = if via.is_some() { "both" } else { "neither" };
                self.wrong(form.at, &path, found, "one of via and `blackhole: true`");
                return;
            }
        };
        let domain = form.domain.as_ref().map(|d| d.value.clone()).unwrap_or_default();
        self.add(Route { prefix: form.to.value, domain, target }, origin);
    }

    fn policy(&mut self, name: &At<PolicyName>, form: &PolicyForm) {
        let path = format!("policies.{}", name.value);
        let mut origin = Origin::new(path.clone(), name.at);
        let mut rules = Vec::new();
        for (i, rule) in form.rules.0.iter().enumerate() {
            let at = format!("rules[{i}]");
            origin.note(&at, &at, rule.at);
            origin.note(&format!("{at}.priority"), &format!("{at}.priority"), rule.priority.at);
            origin.note(&format!("{at}.action"), &format!("{at}.action"), rule.action.at);
            let Some(matches) = self.matches(&path, &at, &mut origin, rule) else { return };
            rules.push(Rule {
                priority: rule.priority.value,
                description: rule.description.as_ref().map(|d| d.value.clone()),
                matches,
                action: match &rule.action.value {
                    ActionForm::Permit => RuleAction::Permit,
                    ActionForm::Deny => RuleAction::Deny,
                    ActionForm::MirrorToController => RuleAction::MirrorToController,
                    ActionForm::RedirectPort(port) => RuleAction::RedirectPort(port.value.clone()),
                    ActionForm::RedirectNextHop(hop) => RuleAction::RedirectNextHop(hop.value),
                    ActionForm::Police(police) => RuleAction::Police(Police {
                        rate_bps: police.rate_bps.value,
                        burst_bytes: police.burst_bytes.value,
                    }),
                },
            });
        }
        self.add(Policy { name: name.value.clone(), rules }, origin);
    }

    fn matches(&mut self, path: &str, at: &str, origin: &mut Origin, rule: &RuleForm) -> Option<RuleMatch> {
        let Some(form) = &rule.matches else { return Some(RuleMatch::default()) };
        let m = format!("{at}.match");
        origin.note(&m, &m, form.at);
        let mut note = |name: &str, at: Option<Mark>| {
            if let Some(at) = at {
                let field = format!("{m}.{name}");
                origin.note(&field, &field, at);
            }
        };
        note("eth_type", form.eth_type.as_ref().map(|f| f.at));
        note("ip_src", form.ip_src.as_ref().map(|f| f.at));
        note("ip_dst", form.ip_dst.as_ref().map(|f| f.at));
        note("ip_proto", form.ip_proto.as_ref().map(|f| f.at));
        if let Some(ports) = &form.in_ports {
            let field = format!("{m}.in_ports");
            origin.note_many(&field, &field, ports);
        }
        fn own<T: Clone>(field: &Option<At<T>>) -> Option<T> {
            field.as_ref().map(|f| f.value.clone())
        }
        let vlan = match &form.vlan {
            Some(reference) => Some(self.vlan(&format!("{path}.{m}.vlan"), reference)?),
            None => None,
        };
        Some(RuleMatch {
            in_ports: form.in_ports.as_ref().map(|p| p.values()).unwrap_or_default(),
            eth_src: own(&form.eth_src),
            eth_dst: own(&form.eth_dst),
            eth_type: own(&form.eth_type),
            vlan,
            ip_src: own(&form.ip_src),
            ip_dst: own(&form.ip_dst),
            ip_proto: own(&form.ip_proto),
            dscp: own(&form.dscp),
            l4_src: own(&form.l4_src),
            l4_dst: own(&form.l4_dst),
            icmp_type: own(&form.icmp_type),
            icmp_code: own(&form.icmp_code),
            tcp_flags: own(&form.tcp_flags),
        })
    }

    fn multicast(&mut self, name: &At<GroupName>, form: &MulticastForm) {
        let mut origin = Origin::new(format!("multicast.{}", name.value), name.at);
        origin.note("subnet", "subnet", form.subnet.at);
        origin.note("group", "group", form.group.at);
        form.receivers.iter().for_each(|m| origin.note_many("receivers", "receivers", m));
        let group = MulticastGroup {
            name: name.value.clone(),
            subnet: form.subnet.value.clone(),
            group: form.group.value,
            receivers: form.receivers.as_ref().map(|r| r.values()).unwrap_or_default(),
        };
        self.add(group, origin);
    }

    fn access(&mut self, name: &At<AccessName>, form: &AccessForm) {
        let mut origin = Origin::new(format!("access.{}", name.value), name.at);
        origin.note_many("ports", "ports", &form.ports);
        origin.note_may("mac", "mac", &form.mac);
        origin.note_may("address", "address", &form.address);
        let device = AccessDevice {
            name: name.value.clone(),
            kind: form.kind.value,
            ports: form.ports.values(),
            address: form.address.as_ref().map(|a| a.value),
            mac: form.mac.as_ref().map(|m| m.value),
            management: form.management.as_ref().map(|m| m.value.clone()),
        };
        self.add(device, origin);
    }
}

fn each<K, V>(entries: &Option<At<Entries<K, V>>>, mut lower: impl FnMut(&At<K>, &V)) {
    for (name, value) in entries.iter().flat_map(|e| &e.entries) {
        lower(name, value);
    }
}

fn written(span: &crate::words::PortSpan) -> String {
    let mut ports = span.ports();
    match (ports.next(), ports.last()) {
        (Some(first), Some(last)) => format!("{first}-{}", last.port),
        (Some(only), None) => only.to_string(),
        _ => String::new(),
    }
}
