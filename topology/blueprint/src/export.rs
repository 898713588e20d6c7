//! From intents to a file that means the same. What follows from names is left out.

use std::fmt::Write;

use pergola_model::*;

use crate::defaults::{self, Numbered};
use crate::words::{Speed, Word};

/// Writes a view's intents as a blueprint. Reading it gives the same intents again.
pub fn export(view: &View) -> String {
    let mut out = Yaml::default();
    site(&mut out, view.site().map(|s| &**s));
    out.section("switches", view.switches(), |out, s| switch(out, s));
    let links: Vec<_> = view.links().collect();
    if !links.is_empty() {
        out.line("links:");
        out.indented(|out| {
            for link in links {
                out.line(&format!("- [{}, {}]", link.id.a(), link.id.b()));
            }
        });
    }
    out.section("subnets", view.subnets(), |out, s| subnet(out, s));
    out.section("ports", view.ports(), |out, p| port(out, p));
    out.section("hosts", view.host_intents(), |out, h| host(out, h));
    let routes: Vec<_> = view.routes().collect();
    if !routes.is_empty() {
        out.line("routes:");
        out.indented(|out| routes.iter().for_each(|r| route(out, r)));
    }
    out.section("policies", view.policies(), |out, p| policy(out, p));
    out.section("multicast", view.multicast_groups(), |out, g| {
        out.entry(&g.name, |out| {
            out.field("subnet", &g.subnet);
            out.field("group", g.group);
            out.list("receivers", &g.receivers);
        });
    });
    out.section("access", view.access_devices(), |out, d| {
        out.entry(&d.name, |out| {
            out.field("kind", d.kind.word());
            out.list("ports", &d.ports);
            out.maybe("address", d.address);
            out.maybe("mac", d.mac);
            out.maybe("management", d.management.as_ref());
        });
    });
    out.text
}

/// The text so far and how deep it is.
#[derive(Default)]
struct Yaml {
    text: String,
    depth: usize,
}

impl Yaml {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{:1$}{line}", "", self.depth * 2);
    }

    fn indented(&mut self, write: impl FnOnce(&mut Self)) {
        self.depth += 1;
        write(self);
        self.depth -= 1;
    }

    fn section<T>(&mut self, name: &str, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        let mut items = items.peekable();
        if items.peek().is_some() {
            self.line(&format!("{name}:"));
            self.indented(|out| items.for_each(|item| write(out, item)));
        }
    }

    /// A named map; an empty one is written `{}`.
    fn entry(&mut self, name: impl ToString, write: impl FnOnce(&mut Self)) {
        let mut inner = Yaml { text: String::new(), depth: self.depth + 1 };
        write(&mut inner);
        let name = quoted(&name.to_string());
        if inner.text.is_empty() {
            self.line(&format!("{name}: {{}}"));
        } else {
            self.line(&format!("{name}:"));
            self.text.push_str(&inner.text);
        }
    }

    fn field(&mut self, name: &str, value: impl ToString) {
        self.line(&format!("{name}: {}", quoted(&value.to_string())));
    }

    fn maybe(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    fn list<T: ToString>(&mut self, name: &str, items: &[T]) {
        let items: Vec<String> = items.iter().map(|item| quoted(&item.to_string())).collect();
        self.line(&format!("{name}: [{}]", items.join(", ")));
    }

    fn list_unless_empty<T: ToString>(&mut self, name: &str, items: &[T]) {
        if !items.is_empty() {
            self.list(name, items);
        }
    }

    /// A value that a default would take the place of: written when it differs, `none` when there is to be none.
    fn against<T: ToString + PartialEq>(&mut self, name: &str, value: Option<T>, usual: Option<T>) {
        match value {
            _ if value == usual => {}
            Some(value) => self.field(name, value),
            None => self.field(name, "none"),
        }
    }

    fn word<T: Word + Default + PartialEq>(&mut self, name: &str, value: &T) {
        if *value != T::default() {
            self.field(name, value.word());
        }
    }
}

/// A scalar as YAML, in quotes where it would be taken for something else.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"./_-:".contains(&b))
        && !text.ends_with(':')
        && !["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&text);
    // A JSON string is a double-quoted YAML scalar (YAML 1.2.2, 1.2).
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn site(out: &mut Yaml, site: Option<&Site>) {
    out.line("site:");
    out.indented(|out| {
        let Some(site) = site else {
            out.field("name", "site");
            return;
        };
        out.field("name", &site.name);
        out.against("anycast_mac", site.anycast_mac, Some(defaults::ANYCAST_MAC));
        out.maybe("lldp_key", site.lldp_key.as_ref());
        let (t, usual) = (&site.timers, Timers::default());
        if *t != usual {
            out.line("timers:");
            out.indented(|out| {
                for (name, value, usual) in [
                    ("lldp_interval_ms", t.lldp_interval_ms, usual.lldp_interval_ms),
                    ("lldp_lost", t.lldp_lost, usual.lldp_lost),
                    ("host_idle_ms", t.host_idle_ms, usual.host_idle_ms),
                    ("host_probe_ms", t.host_probe_ms, usual.host_probe_ms),
                    ("host_probes", t.host_probes, usual.host_probes),
                    ("audit_interval_ms", t.audit_interval_ms, usual.audit_interval_ms),
                    ("reconnect_max_ms", t.reconnect_max_ms, usual.reconnect_max_ms),
                ] {
                    if value != usual {
                        out.field(name, value);
                    }
                }
            });
        }
    });
}

fn switch(out: &mut Yaml, s: &Switch) {
    out.entry(&s.name, |out| {
        if defaults::role(&s.name) != Some(s.role) {
            out.field("role", s.role.word());
        }
        let numbered = Numbered::of(&s.name, s.role);
        out.against("device_id", Some(s.device_id), numbered.map(|n| n.device_id()));
        out.maybe("p4runtime", s.p4runtime.as_ref());
        out.maybe("gnmi", s.gnmi.as_ref());
        match &s.security {
            Security::Plaintext(reason) => out.field("plaintext", reason.word()),
            Security::Tls(files) if *files == TlsFiles::default() => {}
            Security::Tls(files) => {
                out.line("tls:");
                out.indented(|out| {
                    out.maybe("ca_file", files.ca_file.as_ref());
                    out.maybe("cert_file", files.cert_file.as_ref());
                    out.maybe("key_file", files.key_file.as_ref());
                    out.maybe("server_name", files.server_name.as_ref());
                });
            }
        }
        out.against("node_label", Some(s.node_label), numbered.and_then(|n| n.node_label()));
        out.against("loopback_v4", s.loopback_v4, numbered.and_then(|n| n.loopback_v4()));
        out.against("loopback_v6", s.loopback_v6, numbered.and_then(|n| n.loopback_v6()));
        out.against("router_mac", Some(s.router_mac), numbered.map(|n| n.router_mac()));
        out.maybe("pair", s.pair.as_ref());
        out.word("target", &s.target);
        out.maybe("cpu_port", s.cpu_port);
        out.word("admin", &s.admin);
    });
}

fn subnet(out: &mut Yaml, s: &Subnet) {
    out.entry(&s.name, |out| {
        out.field("vlan", s.vlan);
        out.list_unless_empty("gateways", &s.gateways);
        out.list_unless_empty("prefixes", &s.prefixes);
        let v4 = s.dhcp_relay.v4.iter().map(|a| a.to_string());
        let servers: Vec<String> = v4.chain(s.dhcp_relay.v6.iter().map(|a| a.to_string())).collect();
        out.list_unless_empty("dhcp_relay", &servers);
        let (ra, usual) = (&s.router_advertisement, RouterAdvertisement::default());
        if *ra != usual {
            out.line("router_advertisement:");
            out.indented(|out| {
                for (name, value, usual) in [
                    ("enabled", ra.enabled, usual.enabled),
                    ("managed", ra.managed, usual.managed),
                    ("other_config", ra.other_config, usual.other_config),
                    ("autonomous", ra.autonomous, usual.autonomous),
                ] {
                    if value != usual {
                        out.field(name, value);
                    }
                }
                for (name, value, usual) in [
                    ("interval_s", ra.interval_s.into(), usual.interval_s.into()),
                    ("lifetime_s", ra.lifetime_s.into(), usual.lifetime_s.into()),
                    ("preferred_s", ra.preferred_s, usual.preferred_s),
                    ("valid_s", ra.valid_s, usual.valid_s),
                ] {
                    let (value, usual): (u32, u32) = (value, usual);
                    if value != usual {
                        out.field(name, value);
                    }
                }
                out.maybe("mtu", ra.mtu);
                out.list_unless_empty("dns", &ra.dns);
            });
        }
        if !s.domain.is_default() {
            out.field("domain", &s.domain);
        }
    });
}

fn port(out: &mut Yaml, p: &Port) {
    out.entry(&p.id, |out| {
        if !p.enabled {
            out.field("enabled", "false");
        }
        out.maybe("speed", p.speed_bps.map(Speed));
        match &p.mode {
            PortMode::None => {}
            PortMode::Untagged { vlan } => out.field("untagged", vlan),
            PortMode::Tagged { vlans } => out.list("tagged", vlans),
            PortMode::Native { native, tagged } => {
                out.field("native", native);
                out.list("tagged", tagged);
            }
            PortMode::Qinq { services } => {
                out.line("qinq:");
                out.indented(|out| {
                    for QinqService { outer, inner, vlan } in services {
                        out.line(&format!("- {{outer: {outer}, inner: {inner}, vlan: {vlan}}}"));
                    }
                });
            }
        }
    });
}

fn host(out: &mut Yaml, h: &HostIntent) {
    out.entry(&h.name, |out| {
        match &h.attachments[..] {
            [one] => out.field("port", one),
            more => out.list("port", more),
        }
        out.field("vlan", h.vlan);
        if h.mac != defaults::host_mac(h.name.as_str()) {
            out.field("mac", h.mac);
        }
        out.list_unless_empty("ips", &h.ips);
        out.word("binding", &h.binding);
        out.word("dhcp", &h.dhcp);
    });
}

fn route(out: &mut Yaml, r: &Route) {
    let mut fields = vec![format!("to: {}", quoted(&r.prefix.to_string()))];
    match &r.target {
        RouteTarget::Blackhole => fields.push("blackhole: true".into()),
        RouteTarget::NextHops(hops) => {
            let hops: Vec<String> = hops.iter().map(|hop| quoted(&hop.to_string())).collect();
            fields.push(format!("via: [{}]", hops.join(", ")));
        }
    }
    if !r.domain.is_default() {
        fields.push(format!("domain: {}", quoted(r.domain.as_str())));
    }
    out.line(&format!("- {{{}}}", fields.join(", ")));
}

fn policy(out: &mut Yaml, p: &Policy) {
    out.entry(&p.name, |out| {
        if p.rules.is_empty() {
            out.line("rules: []");
            return;
        }
        out.line("rules:");
        out.indented(|out| {
            for rule in &p.rules {
                out.line(&format!("- priority: {}", rule.priority));
                out.indented(|out| {
                    out.maybe("description", rule.description.as_ref());
                    matches(out, &rule.matches);
                    match &rule.action {
                        RuleAction::Permit => out.field("action", "permit"),
                        RuleAction::Deny => out.field("action", "deny"),
                        RuleAction::MirrorToController => {
                            out.field("action", "mirror_to_controller");
                        }
                        RuleAction::RedirectPort(port) => {
                            out.line(&format!("action: {{redirect_port: {port}}}"));
                        }
                        RuleAction::RedirectNextHop(hop) => {
                            let hop = quoted(&hop.to_string());
                            out.line(&format!("action: {{redirect_next_hop: {hop}}}"));
                        }
                        RuleAction::Police(Police { rate_bps, burst_bytes }) => {
                            out.line(&format!(
                                "action: {{police: {{rate_bps: {rate_bps}, burst_bytes: {burst_bytes}}}}}"
                            ));
                        }
                    }
                });
            }
        });
    });
}

fn matches(out: &mut Yaml, m: &RuleMatch) {
    if *m == RuleMatch::default() {
        return;
    }
    out.line("match:");
    out.indented(|out| {
        out.list_unless_empty("in_ports", &m.in_ports);
        out.maybe("eth_src", m.eth_src);
        out.maybe("eth_dst", m.eth_dst);
        out.maybe("eth_type", m.eth_type);
        out.maybe("vlan", m.vlan);
        out.maybe("ip_src", m.ip_src);
        out.maybe("ip_dst", m.ip_dst);
        out.maybe("ip_proto", m.ip_proto);
        out.maybe("dscp", m.dscp);
        out.maybe("l4_src", m.l4_src);
        out.maybe("l4_dst", m.l4_dst);
        out.maybe("icmp_type", m.icmp_type);
        out.maybe("icmp_code", m.icmp_code);
        out.maybe("tcp_flags", m.tcp_flags);
    });
}
