//! The View against a plain rebuild: whatever the order of changes, indexes included.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use pergola_model::*;
use proptest::prelude::*;

fn vlan(n: u16) -> VlanId {
    VlanId::new(n).unwrap()
}

fn port(text: &str) -> PortId {
    text.parse().unwrap()
}

fn location(mac: u64, ips: &[&str], ports: &[&str]) -> HostLocation {
    HostLocation {
        mac: MacAddr::from_u64(mac),
        vlan: vlan(10),
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        ports: ports.iter().map(|p| port(p)).collect(),
        learned_from: LearnedFrom::Arp,
        moved_ms: 0,
    }
}

fn declared(name: &str, mac: u64, ip: &str, ports: &[&str], binding: HostBinding) -> HostIntent {
    HostIntent {
        name: name.parse().unwrap(),
        mac: MacAddr::from_u64(mac),
        vlan: vlan(10),
        ips: vec![ip.parse().unwrap()],
        attachments: ports.iter().map(|p| port(p)).collect(),
        binding,
        dhcp: DhcpClient::No,
    }
}

fn subnet(json: serde_json::Value) -> Subnet {
    serde_json::from_value(json).unwrap()
}

#[test]
fn a_clone_keeps_what_it_had() {
    let mut view = View::default();
    view.put(location(1, &["10.0.0.1"], &["leaf1/3"]));
    let before = view.clone();
    view.put(location(1, &["10.0.0.1"], &["leaf2/3"]));
    let key = HostKey::new(MacAddr::from_u64(1), vlan(10));
    assert_eq!(before.host(&key).unwrap().locations(), [port("leaf1/3")]);
    assert_eq!(view.host(&key).unwrap().locations(), [port("leaf2/3")]);
    assert_eq!(before.hosts_at(&port("leaf1/3")).count(), 1);
    assert_eq!(view.hosts_at(&port("leaf1/3")).count(), 0);
}

#[test]
fn apply_reports_changes_and_refuses_what_is_no_resource() {
    let mut view = View::default();
    let value = location(1, &[], &["leaf1/3"]).encode();
    let key = "host-location/00:00:00:00:00:01/10";
    let set = Change { key, value: Some(&value) };
    let applied = view.apply(7, &[set]);
    assert_eq!(view.revision(), 7);
    assert_eq!(applied.changed[0].change, ChangeKind::Created);
    assert_eq!(view.apply(8, &[set]), Applied::default(), "the same value again is no change");

    let bad = Change { key, value: Some(b"{}") };
    let applied = view.apply(9, &[bad, Change { key: "lease/x", value: Some(b"1") }]);
    assert_eq!(applied.changed[0].change, ChangeKind::Deleted);
    assert_eq!(applied.refused.len(), 2);
    assert_eq!(view.refused().map(|(key, _)| key).collect::<Vec<_>>(), [key, "lease/x"]);
    view.apply(10, &[set, Change { key: "lease/x", value: None }]);
    assert_eq!(view.refused().count(), 0);
    let applied = view.apply(11, &[Change { key, value: None }]);
    assert_eq!(applied.changed[0].change, ChangeKind::Deleted);
    assert_eq!(view.host_count(), 0);
}

#[test]
fn bindings_join_what_is_declared_and_what_is_learned() {
    let place = |binding, seen: &[&str]| {
        let mut view = View::default();
        view.put(declared("h1", 1, "10.0.0.1", &["leaf1/3", "leaf2/3"], binding));
        if !seen.is_empty() {
            view.put(location(1, &["10.0.0.9"], seen));
        }
        let host = view.hosts().next().unwrap().clone();
        let places: Vec<String> = host.locations().iter().map(|p| p.to_string()).collect();
        let ips: Vec<String> = host.ips().map(|ip| ip.to_string()).collect();
        (places.join(" "), ips.join(" "))
    };
    let both = "leaf1/3 leaf2/3".to_owned();
    use HostBinding::*;
    assert_eq!(place(Expected, &[]), (both.clone(), "10.0.0.1".into()));
    assert_eq!(place(Expected, &["leaf2/3"]), (both.clone(), "10.0.0.1 10.0.0.9".into()));
    assert_eq!(place(Expected, &["leaf3/1"]), ("leaf3/1".into(), "10.0.0.1 10.0.0.9".into()));
    assert_eq!(place(Pinned, &["leaf3/1"]), (both, "10.0.0.1".into()));
    assert_eq!(place(Learned, &[]), ("".into(), "".into()));
    assert_eq!(place(Learned, &["leaf3/1"]), ("leaf3/1".into(), "10.0.0.9".into()));
}

#[test]
fn subnets_are_found_by_the_longest_prefix_in_their_domain() {
    let mut view = View::default();
    view.put(subnet(serde_json::json!({"name": "wide", "vlan": 1, "gateways": ["10.0.0.1/8"]})));
    view.put(subnet(serde_json::json!({"name": "narrow", "vlan": 2, "gateways": ["10.1.0.1/16", "2001:db8::1/64"]})));
    view.put(subnet(serde_json::json!({"name": "other", "vlan": 3, "gateways": ["10.1.2.1/24"], "domain": "apart"})));
    let find = |domain: &str, ip: &str| {
        let ip: IpAddr = ip.parse().unwrap();
        view.subnet_containing(&domain.parse().unwrap(), ip).map(|s| s.name.to_string())
    };
    assert_eq!(find("default", "10.1.2.3").as_deref(), Some("narrow"));
    assert_eq!(find("default", "10.2.2.3").as_deref(), Some("wide"));
    assert_eq!(find("default", "11.0.0.1"), None);
    assert_eq!(find("default", "2001:db8::9").as_deref(), Some("narrow"));
    assert_eq!(find("default", "2001:db9::9"), None);
    assert_eq!(find("apart", "10.1.2.3").as_deref(), Some("other"));
    assert_eq!(find("apart", "10.2.2.3"), None);
    let mut view = view.clone();
    view.remove(&"subnet/narrow".parse().unwrap());
    let found = view.subnet_containing(&DomainName::default(), "10.1.2.3".parse().unwrap());
    assert_eq!(found.unwrap().name, "wide");
}

#[test]
fn the_declared_owner_of_an_address_comes_before_one_who_spoofs_it() {
    let mut view = View::default();
    view.put(subnet(serde_json::json!({"name": "red", "vlan": 10, "gateways": ["10.0.0.254/24"]})));
    view.put(location(1, &["10.0.0.1"], &["leaf1/1"]));
    view.put(declared("h9", 9, "10.0.0.1", &["leaf1/9"], HostBinding::Expected));
    let owner = view.host_with_ip(&DomainName::default(), "10.0.0.1".parse().unwrap()).unwrap();
    assert_eq!(owner.name().unwrap(), "h9");
    assert_eq!(view.hosts_by_ip("10.0.0.1".parse().unwrap()).count(), 2);
}

#[test]
fn a_change_is_checked_with_what_refers_to_it() {
    let mut view = View::default();
    view.put(
        serde_json::from_value::<Switch>(serde_json::json!({
            "name": "leaf1", "role": "leaf", "device_id": 1, "node_label": 101, "router_mac": "02:00:00:00:01:01",
        }))
        .unwrap(),
    );
    view.put(subnet(serde_json::json!({"name": "red", "vlan": 10, "gateways": ["10.0.0.254/24"]})));
    view.put(
        serde_json::from_value::<Port>(serde_json::json!({"id": "leaf1/3", "mode": {"untagged": {"vlan": 10}}}))
            .unwrap(),
    );
    view.put(declared("h1", 1, "10.0.0.1", &["leaf1/3"], HostBinding::Expected));
    view.put(
        serde_json::from_value::<Route>(
            serde_json::json!({"prefix": "10.9.0.0/16", "target": {"next_hops": ["10.0.0.1"]}}),
        )
        .unwrap(),
    );
    // Seen elsewhere, it is declared here all the same.
    view.put(location(1, &[], &["leaf1/8"]));
    let olt = serde_json::json!({"name": "olt1", "kind": "olt", "ports": ["leaf1/3"]});
    view.put(serde_json::from_value::<AccessDevice>(olt).unwrap());
    assert_eq!(view.check(), []);

    let after = |key: &str| {
        let mut view = view.clone();
        let key: Key = key.parse().unwrap();
        let change = view.remove(&key).unwrap();
        let found = view.check_changed(&[ChangedKey { key, change }]);
        assert_eq!(found, view.check(), "nothing a whole check finds is missed");
        found.into_iter().map(|v| format!("{} {}", v.key, v.field)).collect::<Vec<_>>()
    };
    assert_eq!(after("switch/leaf1"), ["port/leaf1/3 id", "host/h1 attachments[0]", "access-device/olt1 ports[0]"]);
    assert_eq!(after("port/leaf1/3"), ["host/h1 attachments[0]"]);
    assert_eq!(after("subnet/red"), ["route/10.9.0.0/16 target.next_hops[0]"]);
    assert_eq!(after("host/h1"), [""; 0]);
    // However many were learned there, who names the port is found without them.
    for mac in 100..1100 {
        view.put(location(mac, &[], &["leaf1/3"]));
    }
    let users: Vec<String> = view.users_of(&port("leaf1/3")).map(Key::to_string).collect();
    assert_eq!(users, ["host/h1", "access-device/olt1"]);
}

/// A few resources that meet in the indexes.
fn resource() -> impl Strategy<Value = AnyResource> {
    let ports = prop::collection::btree_set(1u32..4, 0..3);
    let names = |ports: std::collections::BTreeSet<u32>| -> Vec<PortId> {
        ports.into_iter().map(|n| port(&format!("leaf{}/{n}", n % 2 + 1))).collect()
    };
    prop_oneof![
        (0u64..3, 1u16..3, prop::collection::btree_set(0u8..3, 0..3), ports.clone(), 0u64..2).prop_map(
            move |(mac, v, ips, p, moved)| {
                AnyResource::from(HostLocation {
                    mac: MacAddr::from_u64(mac),
                    vlan: vlan(v),
                    ips: ips.into_iter().map(|n| IpAddr::from([10, 0, 0, n])).collect(),
                    ports: names(p),
                    learned_from: LearnedFrom::Arp,
                    moved_ms: moved,
                })
            }
        ),
        (0u8..3, 0u64..3, 1u16..3, 0u8..3, ports.clone(), 0usize..3).prop_map(move |(n, mac, v, ip, p, b)| {
            AnyResource::from(HostIntent {
                name: format!("h{n}").parse().unwrap(),
                mac: MacAddr::from_u64(mac),
                vlan: vlan(v),
                ips: vec![IpAddr::from([10, 0, 0, ip])],
                attachments: names(p),
                binding: [HostBinding::Expected, HostBinding::Pinned, HostBinding::Learned][b],
                dhcp: DhcpClient::No,
            })
        }),
        (1u32..4, prop::collection::btree_set(1u16..4, 0..3)).prop_map(|(n, vlans)| {
            let vlans = vlans.into_iter().map(vlan).collect();
            AnyResource::from(Port { id: port(&format!("leaf1/{n}")), enabled: true, speed_bps: None, mode: PortMode::Tagged { vlans } })
        }),
        (0u8..3, 1u16..4, 0u8..3).prop_map(|(n, v, g)| {
            AnyResource::from(subnet(serde_json::json!({
                "name": format!("s{n}"), "vlan": v, "gateways": [format!("10.0.{g}.254/24"), format!("10.{g}.0.254/16")],
            })))
        }),
        (0u8..3, 0u8..3).prop_map(|(n, hop)| {
            let target = RouteTarget::NextHops(vec![IpAddr::from([10, 0, 0, hop])]);
            AnyResource::from(Route { prefix: format!("10.{n}.0.0/16").parse().unwrap(), domain: DomainName::default(), target })
        }),
        (0u8..4, any::<bool>(), ports.clone()).prop_map(move |(n, access, p)| {
            let ports = serde_json::json!(names(p));
            let ports_of = |field: &str, mut body: serde_json::Value| {
                body[field] = ports.clone();
                body
            };
            if access {
                let body = ports_of("ports", serde_json::json!({"name": format!("a{n}"), "kind": "olt"}));
                return AnyResource::from(serde_json::from_value::<AccessDevice>(body).unwrap());
            }
            let subnet = format!("s{}", n / 2);
            let body = serde_json::json!({"name": format!("g{}", n % 2), "subnet": subnet, "group": "239.0.0.1"});
            AnyResource::from(serde_json::from_value::<MulticastGroup>(ports_of("receivers", body)).unwrap())
        }),
        (1u16..3, 0u8..3, 1u8..3, ports, any::<bool>()).prop_map(move |(v, g, n, p, sourced)| {
            // The first two look alike on Ethernet.
            let group = IpAddr::from([[239, 0, 0, 1], [239, 128, 0, 1], [239, 0, 0, 2]][usize::from(g)]);
            let source = SourceMembers { source: IpAddr::from([10, 0, 0, n]), ports: names(p) };
            AnyResource::from(GroupMembers {
                switch: format!("leaf{n}").parse().unwrap(),
                vlan: vlan(v),
                group,
                any: vec![port("leaf1/1")],
                sources: if sourced { vec![source] } else { Vec::new() },
            })
        }),
        (1u32..3, 1u32..3).prop_map(|(a, b)| {
            AnyResource::from(Link { id: format!("leaf1/{a}~spine1/{b}").parse().unwrap() })
        }),
    ]
}

/// Everything the indexes answer, as text.
fn answers(view: &View) -> Vec<String> {
    let mut out = Vec::new();
    for what in view.replications() {
        out.push(format!("{what:?} {:?}", view.replication_causes(&what).collect::<Vec<_>>()));
    }
    for n in 0..3u8 {
        let ip = IpAddr::from([10, 0, 0, n]);
        out.push(format!("{:?}", view.hosts_by_ip(ip).collect::<Vec<_>>()));
        out.push(format!("{:?}", view.host_with_ip(&DomainName::default(), ip)));
        out.push(format!("{:?}", view.routes_via(ip).collect::<Vec<_>>()));
        out.push(format!("{:?}", view.subnet_containing(&DomainName::default(), IpAddr::from([10, 0, n, 7]))));
        let v = vlan(u16::from(n) + 1);
        out.push(format!("{:?}", view.ports_in_vlan(v).collect::<Vec<_>>()));
        out.push(format!("{:?}", view.subnets_of_vlan(v).collect::<Vec<_>>()));
        out.push(format!("{:?}", view.hosts_in_vlan(v).collect::<Vec<_>>()));
        for switch in ["leaf1", "leaf2", "spine1"] {
            let at = port(&format!("{switch}/{}", n + 1));
            out.push(format!("{:?}", view.hosts_at(&at).collect::<Vec<_>>()));
            out.push(format!("{:?}", view.users_of(&at).collect::<Vec<_>>()));
            out.push(format!("{:?}", view.users_on(&at.switch).collect::<Vec<_>>()));
            out.push(format!("{:?}", view.links_at(&at).collect::<Vec<_>>()));
            out.push(format!("{:?}", view.hosts_on(&at.switch).collect::<Vec<_>>()));
            out.push(format!("{:?}", view.links_of(&at.switch).collect::<Vec<_>>()));
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_sequence_of_changes_equals_a_rebuild(steps in prop::collection::vec((any::<bool>(), resource()), 0..40)) {
        let mut view = View::default();
        let mut kept: BTreeMap<Key, AnyResource> = BTreeMap::new();
        for (i, (put, resource)) in steps.into_iter().enumerate() {
            let key = resource.key();
            let (text, value) = (key.to_string(), resource.encode());
            let change = Change { key: &text, value: put.then_some(&value[..]) };
            let applied = view.apply(i as u64, &[change]);
            prop_assert!(applied.refused.is_empty());
            let before = if put { kept.insert(key, resource.clone()) } else { kept.remove(&key) };
            let expected = match (before, put) {
                (Some(old), true) if old == resource => None,
                (Some(_), true) => Some(ChangeKind::Updated),
                (None, true) => Some(ChangeKind::Created),
                (Some(_), false) => Some(ChangeKind::Deleted),
                (None, false) => None,
            };
            prop_assert_eq!(applied.changed.first().map(|c| c.change), expected);
        }
        let rebuilt = View::from_resources(kept.values().cloned());
        prop_assert_eq!(answers(&view), answers(&rebuilt));
        for (key, resource) in &kept {
            prop_assert_eq!(view.get(key), Some(resource.clone()));
        }
        let all: usize = Kind::ALL.iter().map(|kind| view.all(*kind).len()).sum();
        prop_assert_eq!(all, kept.len());
    }
}

#[test]
fn a_new_conflict_is_found_at_whichever_resource_changed() {
    let mut view = View::default();
    view.put(subnet(serde_json::json!({"name": "beta", "vlan": 10, "gateways": ["10.0.0.254/24"]})));
    let alpha = subnet(serde_json::json!({"name": "alpha", "vlan": 11, "gateways": ["10.0.0.1/16"]}));
    let changed = ChangedKey { key: alpha.key(), change: view.put(alpha).unwrap() };
    let found = view.check_changed(&[changed]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].key.to_string().as_str(), found[0].kind), ("subnet/alpha", ViolationKind::Conflict));
    // All together say it once.
    let whole = view.check();
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0].key.to_string(), "subnet/beta");
}
