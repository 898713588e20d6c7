//! The columns of each kind.

use std::collections::{BTreeMap, HashMap};

use pergola_model::{
    AccessDevice, CablingFault, DeviceState, GroupMembers, HostIntent, HostKey, HostLocation, Kind, Link, LinkState,
    MulticastGroup, Policy, Port, PortMode, PortState, Route, RouteTarget, Rule, RuleAction, Site, Subnet, Switch,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::entries::plain;
use super::table::{ago, list, or_dash, speed, table, yes_no};

/// A resource as the controller lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub kind: Kind,
    pub name: String,
    pub revision: u64,
    pub body: Value,
}

impl Item {
    /// The items of a listing's answer.
    pub fn list(kind: Kind, answer: &Value) -> Vec<Item> {
        let items = answer.get("items").and_then(Value::as_array);
        let items = items.map(Vec::as_slice).unwrap_or_default();
        items
            .iter()
            .map(|item| Item {
                kind,
                name: item.get("name").map(plain).unwrap_or_default(),
                revision: item.get("revision").and_then(Value::as_u64).unwrap_or_default(),
                body: item.get("body").cloned().unwrap_or_default(),
            })
            .collect()
    }

    /// As programs get it, and as `apply -f` takes it.
    pub fn to_json(&self) -> Value {
        serde_json::json!({ "kind": self.kind.as_str(), "name": self.name,
                            "revision": self.revision, "body": self.body })
    }

    /// The body; `None` when the controller is of another version and its bodies differ.
    fn typed<T: DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(&self.body).ok()
    }
}

/// The observations that belong beside a kind.
pub fn beside(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::Port => &[Kind::PortState],
        Kind::Link => &[Kind::LinkState, Kind::CablingFault],
        Kind::Host => &[Kind::HostLocation],
        _ => &[],
    }
}

/// A table of items: those of `kind` and of the kinds beside it. Times are shown against `now_ms`.
pub fn render(kind: Kind, items: &[Item], now_ms: u64) -> String {
    let of = |kind: Kind| items.iter().filter(move |item| item.kind == kind);
    let (header, rows): (&[&str], Vec<Vec<String>>) = match kind {
        Kind::Site => (&["NAME", "ANYCAST MAC", "LLDP KEY"], each(of(kind), site)),
        Kind::Switch => (
            &["NAME", "ROLE", "DEVICE", "LABEL", "P4RUNTIME", "GNMI", "PAIR", "TARGET", "ADMIN"],
            each(of(kind), switch),
        ),
        Kind::Subnet => (&["NAME", "VLAN", "GATEWAYS", "PREFIXES", "DHCP SERVERS", "DOMAIN"], each(of(kind), subnet)),
        Kind::Port => {
            (&["PORT", "MODE", "VLANS", "STATE", "SPEED", "SINCE"], ports(of(Kind::Port), of(Kind::PortState), now_ms))
        }
        Kind::Link => (&["END", "END", "WANTED", "STATE", "JUDGED BY", "SINCE"], links(items, now_ms)),
        Kind::Host => (
            &["NAME", "MAC", "VLAN", "IPS", "WHERE", "LEARNED FROM", "SINCE"],
            hosts(of(Kind::Host), of(Kind::HostLocation), now_ms),
        ),
        Kind::Route => (&["PREFIX", "VIA", "DOMAIN"], each(of(kind), route)),
        Kind::Policy => {
            let mut rows = Vec::new();
            for item in of(kind) {
                match item.typed::<Policy>() {
                    Some(policy) if policy.rules.is_empty() => {
                        rows.push(vec![item.name.clone(), "-".into(), "-".into(), "-".into(), "no rules".into()]);
                    }
                    Some(policy) => rows.extend(policy.rules.iter().map(|r| rule(&policy, r))),
                    None => rows.push(unreadable(item)),
                }
            }
            (&["POLICY", "PRIORITY", "MATCH", "ACTION", "FOR"], rows)
        }
        Kind::Multicast => (&["NAME", "SUBNET", "GROUP", "RECEIVERS"], each(of(kind), multicast)),
        Kind::AccessDevice => {
            (&["NAME", "KIND", "PORTS", "ADDRESS", "MAC", "MANAGEMENT"], each(of(kind), access_device))
        }
        Kind::DeviceState => (
            &["SWITCH", "CONNECTED", "MASTERSHIP", "WANTED", "INSTALLED", "FAILED", "SINCE", "LAST ERROR"],
            each(of(kind), |d: DeviceState| {
                vec![
                    d.switch.to_string(),
                    yes_no(d.connected),
                    word(&d.mastership),
                    d.wanted.to_string(),
                    d.installed.to_string(),
                    d.failed.to_string(),
                    ago(now_ms, d.changed_ms),
                    or_dash(d.last_error),
                ]
            }),
        ),
        Kind::PortState => (
            &["PORT", "STATE", "SPEED", "SINCE"],
            each(of(kind), |s: PortState| {
                vec![s.port.to_string(), up(s.oper_up), or_dash(s.speed_bps.map(speed)), ago(now_ms, s.changed_ms)]
            }),
        ),
        Kind::LinkState => (
            &["LINK", "STATE", "JUDGED BY", "SINCE"],
            each(of(kind), |s: LinkState| vec![s.id.to_string(), up(s.up), word(&s.source), ago(now_ms, s.changed_ms)]),
        ),
        Kind::HostLocation => (
            &["MAC", "VLAN", "IPS", "WHERE", "LEARNED FROM", "SINCE"],
            each(of(kind), |h: HostLocation| {
                let mut row = vec![h.mac.to_string(), h.vlan.to_string(), list(&h.ips), list(&h.ports)];
                row.extend([word(&h.learned_from), ago(now_ms, h.moved_ms)]);
                row
            }),
        ),
        Kind::CablingFault => (
            &["PORT", "EXPECTED", "FOUND", "SINCE"],
            each(of(kind), |f: CablingFault| {
                let expected = f.expected.map_or_else(|| "nothing".into(), |p| p.to_string());
                vec![f.port.to_string(), expected, f.found.to_string(), ago(now_ms, f.since_ms)]
            }),
        ),
        Kind::GroupMembers => (&["SWITCH", "VLAN", "GROUP", "PORTS", "ONLY FROM"], each(of(kind), members)),
    };
    table(header, rows)
}

fn each<'a, T: DeserializeOwned>(
    items: impl Iterator<Item = &'a Item>,
    row: impl Fn(T) -> Vec<String>,
) -> Vec<Vec<String>> {
    items.map(|item| item.typed().map_or_else(|| unreadable(item), &row)).collect()
}

fn unreadable(item: &Item) -> Vec<String> {
    vec![item.name.clone(), "(another version's; see -o json)".into()]
}

/// An enum's variant as JSON writes it.
fn word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).map(|v| plain(&v)).unwrap_or_default()
}

fn up(up: bool) -> String {
    if up { "up" } else { "down" }.into()
}

fn site(s: Site) -> Vec<String> {
    vec![s.name.to_string(), or_dash(s.anycast_mac), or_dash(s.lldp_key)]
}

fn switch(s: Switch) -> Vec<String> {
    vec![
        s.name.to_string(),
        word(&s.role),
        s.device_id.to_string(),
        s.node_label.to_string(),
        or_dash(s.p4runtime),
        or_dash(s.gnmi),
        or_dash(s.pair),
        word(&s.target),
        word(&s.admin),
    ]
}

fn subnet(s: Subnet) -> Vec<String> {
    let servers = s.dhcp_relay.v4.iter().map(ToString::to_string);
    let servers = servers.chain(s.dhcp_relay.v6.iter().map(ToString::to_string));
    vec![
        s.name.to_string(),
        s.vlan.to_string(),
        list(&s.gateways),
        list(&s.prefixes),
        list(servers),
        s.domain.to_string(),
    ]
}

fn route(r: Route) -> Vec<String> {
    let via = match &r.target {
        RouteTarget::NextHops(hops) => list(hops),
        RouteTarget::Blackhole => "blackhole".into(),
    };
    vec![r.prefix.to_string(), via, r.domain.to_string()]
}

fn multicast(m: MulticastGroup) -> Vec<String> {
    vec![m.name.to_string(), m.subnet.to_string(), m.group.to_string(), list(&m.receivers)]
}

fn members(m: GroupMembers) -> Vec<String> {
    let sources = m.sources.iter().map(|s| format!("{} to {}", s.source, list(&s.ports)));
    vec![m.switch.to_string(), m.vlan.to_string(), m.group.to_string(), list(&m.any), list(sources)]
}

fn access_device(a: AccessDevice) -> Vec<String> {
    vec![a.name.to_string(), word(&a.kind), list(&a.ports), or_dash(a.address), or_dash(a.mac), or_dash(a.management)]
}

/// A mode by name, and its VLANs with their tags.
pub fn mode(mode: &PortMode) -> (&'static str, String) {
    match mode {
        PortMode::None => ("-", "-".into()),
        PortMode::Untagged { vlan } => ("untagged", vlan.to_string()),
        PortMode::Tagged { vlans } => ("tagged", list(vlans)),
        PortMode::Native { native, tagged } => ("native", format!("{native} untagged, {}", list(tagged))),
        PortMode::Qinq { services } => {
            let each = services.iter().map(|s| format!("{}.{} as {}", s.outer, s.inner, s.vlan));
            ("qinq", list(each))
        }
    }
}

fn ports<'a>(
    declared: impl Iterator<Item = &'a Item>,
    seen: impl Iterator<Item = &'a Item>,
    now_ms: u64,
) -> Vec<Vec<String>> {
    let mut all = BTreeMap::new();
    let mut strange = Vec::new();
    for item in declared {
        match item.typed::<Port>() {
            Some(port) => drop(all.insert(port.id.clone(), (Some(port), None))),
            None => strange.push(unreadable(item)),
        }
    }
    for state in seen.filter_map(Item::typed::<PortState>) {
        let (_, seen) = all.entry(state.port.clone()).or_insert((None, None));
        *seen = Some(state);
    }
    let rows = all.into_iter().map(|(id, (port, state))| {
        let (name, vlans) = mode(port.as_ref().map_or(&PortMode::None, |p| &p.mode));
        let shut = port.as_ref().is_some_and(|p| !p.enabled);
        let operates = match (&state, shut) {
            (_, true) => "disabled".into(),
            (Some(state), false) => up(state.oper_up),
            (None, false) => "-".into(),
        };
        let seen = state.as_ref().and_then(|s| s.speed_bps);
        let bps = seen.or(port.and_then(|p| p.speed_bps));
        let since = ago(now_ms, state.map_or(0, |s| s.changed_ms));
        vec![id.to_string(), name.into(), vlans, operates, or_dash(bps.map(speed)), since]
    });
    rows.chain(strange).collect()
}

fn links(items: &[Item], now_ms: u64) -> Vec<Vec<String>> {
    let mut all = BTreeMap::new();
    let mut others = Vec::new();
    for item in items {
        match item.kind {
            Kind::Link => match item.typed::<Link>() {
                Some(link) => all.entry(link.id).or_insert((false, None)).0 = true,
                None => others.push(unreadable(item)),
            },
            Kind::LinkState => {
                if let Some(state) = item.typed::<LinkState>() {
                    let (_, seen) = all.entry(state.id.clone()).or_insert((false, None));
                    *seen = Some(state);
                }
            }
            Kind::CablingFault => {
                if let Some(fault) = item.typed::<CablingFault>() {
                    let wanted = fault.expected.map_or_else(|| "nothing".into(), |p| p.to_string());
                    others.push(vec![
                        fault.port.to_string(),
                        fault.found.to_string(),
                        "no".into(),
                        format!("wrong cable, wanted: {wanted}"),
                        "lldp".into(),
                        ago(now_ms, fault.since_ms),
                    ]);
                }
            }
            _ => {}
        }
    }
    let rows = all.into_iter().map(|(id, (wanted, state))| {
        let (state, source, since) = match state {
            Some(s) => (up(s.up), word(&s.source), ago(now_ms, s.changed_ms)),
            None => ("unseen".into(), "-".into(), "-".into()),
        };
        vec![id.a().to_string(), id.b().to_string(), yes_no(wanted), state, source, since]
    });
    rows.chain(others).collect()
}

fn hosts<'a>(
    declared: impl Iterator<Item = &'a Item>,
    seen: impl Iterator<Item = &'a Item>,
    now_ms: u64,
) -> Vec<Vec<String>> {
    let mut learned: HashMap<HostKey, HostLocation> =
        seen.filter_map(Item::typed::<HostLocation>).map(|h| (h.host_key(), h)).collect();
    let mut rows = Vec::new();
    for item in declared {
        let Some(host) = item.typed::<HostIntent>() else {
            rows.push(unreadable(item));
            continue;
        };
        let at = learned.remove(&HostKey::new(host.mac, host.vlan));
        let host = pergola_model::Host {
            key: HostKey::new(host.mac, host.vlan),
            declared: Some(host.into()),
            learned: at.map(Into::into),
        };
        rows.push(host_row(&host, now_ms));
    }
    let mut rest: Vec<_> = learned.into_iter().collect();
    rest.sort_by_key(|(key, _)| *key);
    rows.extend(rest.into_iter().map(|(key, location)| {
        let host = pergola_model::Host { key, declared: None, learned: Some(location.into()) };
        host_row(&host, now_ms)
    }));
    rows
}

fn host_row(host: &pergola_model::Host, now_ms: u64) -> Vec<String> {
    let (from, since) = match &host.learned {
        Some(l) => (word(&l.learned_from), ago(now_ms, l.moved_ms)),
        None => ("not seen".into(), "-".into()),
    };
    vec![
        or_dash(host.name()),
        host.mac().to_string(),
        host.vlan().to_string(),
        list(host.ips()),
        list(host.locations()),
        from,
        since,
    ]
}

fn rule(policy: &Policy, rule: &Rule) -> Vec<String> {
    let matches = match serde_json::to_value(&rule.matches) {
        Ok(Value::Object(fields)) if !fields.is_empty() => {
            let words: Vec<String> = fields
                .iter()
                .map(|(name, value)| match value {
                    Value::Array(items) => {
                        let items: Vec<String> = items.iter().map(plain).collect();
                        format!("{name}={}", items.join(","))
                    }
                    value => format!("{name}={}", plain(value)),
                })
                .collect();
            words.join(" ")
        }
        _ => "everything".into(),
    };
    let action = match &rule.action {
        RuleAction::Permit => "permit".into(),
        RuleAction::Deny => "deny".into(),
        RuleAction::RedirectPort(port) => format!("redirect to port {port}"),
        RuleAction::RedirectNextHop(ip) => format!("redirect to {ip}"),
        RuleAction::MirrorToController => "mirror to the controller".into(),
        RuleAction::Police(p) => {
            format!("police to {}bit/s, burst {} bytes", speed(p.rate_bps.get()), p.burst_bytes)
        }
    };
    vec![policy.name.to_string(), rule.priority.to_string(), matches, action, or_dash(rule.description.clone())]
}

/// How the controller stands with switches.
pub fn devices(answer: &[Value]) -> String {
    let rows = answer
        .iter()
        .map(|d| {
            let field = |name: &str| d.get(name).map_or_else(|| "-".into(), plain);
            let says = |name: &str| or_dash(d.get(name).and_then(Value::as_bool).map(yes_no));
            let mut row = vec![field("name"), field("role"), says("connected"), field("mastership")];
            row.push(says("in_sync"));
            row.extend(["wanted", "installed", "pending", "failed", "last_error"].map(field));
            row
        })
        .collect();
    let header = [
        "NAME",
        "ROLE",
        "CONNECTED",
        "MASTERSHIP",
        "IN SYNC",
        "WANTED",
        "INSTALLED",
        "PENDING",
        "FAILED",
        "LAST ERROR",
    ];
    table(&header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(kind: Kind, name: &str, body: Value) -> Item {
        Item { kind, name: name.into(), revision: 3, body }
    }

    #[test]
    fn ports_with_their_state() {
        let items = [
            item(Kind::Port, "leaf1/10", json!({ "id": "leaf1/10", "enabled": false })),
            item(Kind::Port, "leaf1/3", json!({ "id": "leaf1/3", "mode": { "untagged": { "vlan": 10 } } })),
            item(
                Kind::Port,
                "leaf1/4",
                json!({ "id": "leaf1/4", "speed_bps": 25_000_000_000u64,
                "mode": { "native": { "native": 20, "tagged": [30, 40] } } }),
            ),
            item(
                Kind::Port,
                "leaf1/5",
                json!({ "id": "leaf1/5",
                "mode": { "qinq": { "services": [{ "outer": 100, "inner": 7, "vlan": 30 }] } } }),
            ),
            item(Kind::PortState, "leaf1/1", json!({ "port": "leaf1/1", "oper_up": true, "changed_ms": 1_000 })),
            item(
                Kind::PortState,
                "leaf1/3",
                json!({ "port": "leaf1/3", "oper_up": false, "speed_bps": 10_000_000_000u64 }),
            ),
        ];
        assert_eq!(
            render(Kind::Port, &items, 6_000),
            "PORT      MODE      VLANS                STATE     SPEED  SINCE\n\
             leaf1/1   -         -                    up        -      5s\n\
             leaf1/3   untagged  10                   down      10G    -\n\
             leaf1/4   native    20 untagged, 30, 40  -         25G    -\n\
             leaf1/5   qinq      100.7 as 30          -         -      -\n\
             leaf1/10  -         -                    disabled  -      -\n"
        );
    }

    #[test]
    fn links_wanted_seen_and_wrong() {
        let items = [
            item(Kind::Link, "a", json!({ "id": "leaf1/1~spine1/1" })),
            item(Kind::Link, "b", json!({ "id": "leaf1/2~spine2/1" })),
            item(Kind::LinkState, "a", json!({ "id": "leaf1/1~spine1/1", "up": true, "source": "lldp" })),
            item(
                Kind::CablingFault,
                "leaf1/2",
                json!({ "port": "leaf1/2", "expected": "spine2/1", "found": "spine1/7" }),
            ),
        ];
        assert_eq!(
            render(Kind::Link, &items, 0),
            "END      END       WANTED  STATE                          JUDGED BY  SINCE\n\
             leaf1/1  spine1/1  yes     up                             lldp       -\n\
             leaf1/2  spine2/1  yes     unseen                         -          -\n\
             leaf1/2  spine1/7  no      wrong cable, wanted: spine2/1  lldp       -\n"
        );
    }

    #[test]
    fn hosts_declared_and_learned_are_one() {
        let declared = json!({ "name": "h1", "mac": "02:00:00:00:00:01", "vlan": 10,
            "ips": ["10.0.10.11"], "attachments": ["leaf1/3"] });
        let idle = json!({ "name": "h2", "mac": "02:00:00:00:00:02", "vlan": 10, "attachments": ["leaf1/4"] });
        let items = [
            item(Kind::Host, "h1", declared),
            item(Kind::Host, "h2", idle),
            item(
                Kind::HostLocation,
                "02:00:00:00:00:01/10",
                json!({ "mac": "02:00:00:00:00:01", "vlan": 10,
                "ips": ["2001:db8::1"], "ports": ["leaf2/9"], "learned_from": "ndp", "moved_ms": 1_000 }),
            ),
            item(
                Kind::HostLocation,
                "02:00:00:00:00:09/20",
                json!({ "mac": "02:00:00:00:00:09", "vlan": 20,
                "ports": ["leaf1/7"], "learned_from": "frame" }),
            ),
        ];
        assert_eq!(
            render(Kind::Host, &items, 61_000),
            "NAME  MAC                VLAN  IPS                      WHERE    LEARNED FROM  SINCE\n\
             h1    02:00:00:00:00:01    10  10.0.10.11, 2001:db8::1  leaf2/9  ndp           1m00s\n\
             h2    02:00:00:00:00:02    10  -                        leaf1/4  not seen      -\n\
             -     02:00:00:00:00:09    20  -                        leaf1/7  frame         -\n"
        );
    }

    #[test]
    fn rules_of_policies_one_by_one() {
        let body = json!({ "name": "guests", "rules": [
            { "priority": 70, "action": "deny", "description": "no telnet",
              "match": { "ip_proto": "tcp", "l4_dst": "23", "in_ports": ["leaf1/3", "leaf1/4"] } },
            { "priority": 1, "action": { "police": { "rate_bps": 10_000_000, "burst_bytes": 9000 } } }] });
        let text = render(Kind::Policy, &[item(Kind::Policy, "guests", body)], 0);
        let lines: Vec<String> = text.lines().map(squeeze).collect();
        assert_eq!(
            lines,
            [
                "POLICY PRIORITY MATCH ACTION FOR",
                "guests 70 in_ports=leaf1/3,leaf1/4 ip_proto=tcp l4_dst=23 deny no telnet",
                "guests 1 everything police to 10Mbit/s, burst 9000 bytes -",
            ]
        );
    }

    /// A line of a wide table with one space between its words.
    fn squeeze(line: &str) -> String {
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn bodies_of_another_version_do_not_hide_the_rest() {
        let items = [
            item(
                Kind::Route,
                "10.9.0.0/16",
                json!({ "prefix": "10.9.0.0/16", "target": { "next_hops": ["10.0.10.11", "10.0.10.12"] } }),
            ),
            item(Kind::Route, "10.8.0.0/16", json!({ "prefix": "10.8.0.0/16", "target": "blackhole" })),
            item(Kind::Route, "10.7.0.0/16", json!({ "prefix": "10.7.0.0/16", "way": "new" })),
        ];
        let text = render(Kind::Route, &items, 0);
        let lines: Vec<String> = text.lines().map(squeeze).collect();
        assert_eq!(
            lines,
            [
                "PREFIX VIA DOMAIN",
                "10.9.0.0/16 10.0.10.11, 10.0.10.12 default",
                "10.8.0.0/16 blackhole default",
                "10.7.0.0/16 (another version's; see -o json)",
            ]
        );
    }

    #[test]
    fn devices_and_what_is_wrong_with_them() {
        let d = json!({ "name": "leaf1", "role": "leaf", "connected": false, "mastership": "none",
            "in_sync": false, "wanted": 90, "installed": 12, "pending": 78, "failed": 0,
            "last_error": "connection refused" });
        let text = devices(&[d]);
        let line = squeeze(text.lines().nth(1).unwrap());
        assert_eq!(line, "leaf1 leaf no none no 90 12 78 0 connection refused");
    }

    #[test]
    fn every_kind_has_columns_for_what_it_holds() {
        let blueprint = include_str!("../../../../topology/blueprint/examples/2x2.yaml");
        let intents = pergola_blueprint::parse(blueprint).unwrap().into_intents();
        for kind in Kind::ALL.iter().filter(|kind| kind.is_intent()) {
            let of_kind = intents.iter().filter(|r| r.kind() == *kind);
            let items: Vec<Item> = of_kind.map(|r| item(*kind, &r.name(), r.to_json())).collect();
            let text = render(*kind, &items, 0);
            assert!(!text.contains("another version"), "{text}");
            let least = if items.is_empty() { 1 } else { items.len() + 1 };
            assert!(text.lines().count() >= least, "{text}");
        }
    }
}
