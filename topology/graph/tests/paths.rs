//! Shortest paths against a naive search, and the states that take links out.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use pergola_graph::{Fabric, LinkHealth, NextHop, Switched, port_admin};
use pergola_model::*;
use proptest::prelude::*;

fn switch(name: &str, role: Role, number: u32) -> Switch {
    Switch {
        name: name.parse().unwrap(),
        role,
        device_id: DeviceId(number.into()),
        p4runtime: None,
        gnmi: None,
        security: Security::Plaintext(PlaintextReason::Lab),
        node_label: NodeLabel::new(100 + number).unwrap(),
        loopback_v4: None,
        loopback_v6: None,
        router_mac: MacAddr::from_u64(0x02_00_00_00_00_00 + u64::from(number)),
        pair: None,
        target: Target::default(),
        cpu_port: None,
        admin: AdminState::default(),
    }
}

fn link(text: &str) -> Link {
    Link { id: text.parse().unwrap() }
}

fn name(text: &str) -> SwitchName {
    text.parse().unwrap()
}

/// Two leaves that are a pair, two spines: leaf1/1 and leaf2/1 to spine1, /2 to spine2, /9 between the leaves.
fn square() -> View {
    let mut view = View::default();
    for (i, (text, role)) in
        [("leaf1", Role::Leaf), ("leaf2", Role::Leaf), ("spine1", Role::Spine), ("spine2", Role::Spine)]
            .into_iter()
            .enumerate()
    {
        let mut s = switch(text, role, i as u32 + 1);
        s.pair = match text {
            "leaf1" => Some(name("leaf2")),
            "leaf2" => Some(name("leaf1")),
            _ => None,
        };
        view.put(s);
    }
    for text in ["leaf1/1~spine1/1", "leaf1/2~spine2/1", "leaf2/1~spine1/2", "leaf2/2~spine2/2", "leaf1/9~leaf2/9"] {
        view.put(link(text));
    }
    view
}

fn hop(port: u32, neighbour: &str, neighbour_port: u32) -> NextHop {
    NextHop {
        port: PortNo::new(port).unwrap(),
        neighbour: name(neighbour),
        neighbour_port: PortNo::new(neighbour_port).unwrap(),
    }
}

fn down(text: &str) -> LinkState {
    LinkState { id: text.parse().unwrap(), up: false, source: LinkSource::Lldp, changed_ms: 0 }
}

#[test]
fn next_hops_uplinks_and_pair_links() {
    let view = square();
    let fabric = Fabric::of(&view);
    let (leaf1, leaf2) = (name("leaf1"), name("leaf2"));
    assert_eq!(fabric.next_hops(&leaf1, &leaf2), [hop(9, "leaf2", 9)]);
    assert_eq!(fabric.uplinks(&leaf1), [hop(1, "spine1", 1), hop(2, "spine2", 1)]);
    assert_eq!(fabric.pair_links(&leaf1), [hop(9, "leaf2", 9)]);
    // Between the spines every path is two links long, through either leaf.
    let spines = fabric.next_hops(&name("spine1"), &name("spine2"));
    assert_eq!(spines, [hop(1, "leaf1", 1), hop(2, "leaf2", 1)]);
    assert_eq!(fabric.next_hops(&leaf1, &leaf1), []);
    assert_eq!(fabric.next_hops(&leaf1, &name("nowhere")), []);
    assert_eq!(fabric.path(&leaf1, &leaf2), Some(vec![leaf1, leaf2]));
}

#[test]
fn without_the_pair_link_both_spines_share() {
    let mut view = square();
    view.put(down("leaf1/9~leaf2/9"));
    let fabric = Fabric::of(&view);
    let hops = fabric.next_hops(&name("leaf1"), &name("leaf2"));
    assert_eq!(hops, [hop(1, "spine1", 1), hop(2, "spine2", 1)]);
    assert_eq!(fabric.pair_links(&name("leaf1")), []);
}

#[test]
fn each_reason_takes_a_link_out() {
    let base = square();
    let id: LinkId = "leaf1/1~spine1/1".parse().unwrap();
    let end: PortId = "spine1/1".parse().unwrap();
    let health = |view: &View| {
        let fabric = Fabric::of(view);
        fabric.links().find(|l| l.id == id).unwrap().health
    };
    assert_eq!(health(&base), LinkHealth::Unseen);

    let mut view = base.clone();
    view.put(LinkState { id: id.clone(), up: true, source: LinkSource::Lldp, changed_ms: 0 });
    assert_eq!(health(&view), LinkHealth::Up);
    view.put(PortState { port: end.clone(), oper_up: false, speed_bps: None, changed_ms: 0 });
    assert_eq!(health(&view), LinkHealth::Down);
    assert_eq!(Fabric::of(&view).uplinks(&name("leaf1")), [hop(2, "spine2", 1)]);

    let mut view = base.clone();
    view.put(CablingFault { port: end.clone(), expected: None, found: "leaf2/7".parse().unwrap(), since_ms: 0 });
    assert_eq!(health(&view), LinkHealth::Miscabled);

    let mut view = base.clone();
    view.put(Port { id: end, enabled: false, speed_bps: None, mode: PortMode::None });
    assert_eq!(health(&view), LinkHealth::Disabled);
    assert_eq!(health(&base), LinkHealth::Unseen, "a clone keeps its graph");
}

#[test]
fn a_leaf_without_uplinks_is_isolated() {
    let mut view = square();
    view.put(down("leaf1/1~spine1/1"));
    assert!(!Fabric::of(&view).is_isolated(&name("leaf1")));
    view.put(down("leaf1/2~spine2/1"));
    let fabric = Fabric::of(&view);
    assert_eq!(fabric.isolated_leaves().collect::<Vec<_>>(), [&name("leaf1")]);
    // Its pair still leads out.
    assert_eq!(fabric.next_hops(&name("leaf1"), &name("spine2")), [hop(9, "leaf2", 9)]);

    let mut lone = View::default();
    lone.put(switch("leaf1", Role::Leaf, 1));
    assert!(!Fabric::of(&lone).is_isolated(&name("leaf1")));
}

#[test]
fn a_locked_spine_is_led_around() {
    let mut view = square();
    view.put(down("leaf1/9~leaf2/9"));
    let mut spine = switch("spine1", Role::Spine, 3);
    spine.admin = AdminState::Locked;
    view.put(spine);
    let fabric = Fabric::of(&view);
    assert_eq!(fabric.next_hops(&name("leaf1"), &name("leaf2")), [hop(2, "spine2", 1)]);
    assert_eq!(fabric.next_hops(&name("leaf1"), &name("spine1")), [hop(1, "spine1", 1)]);
}

#[test]
fn the_graph_is_built_once_for_one_topology() {
    let mut view = square();
    let first = Fabric::of(&view);
    // An edge port is no part of the graph.
    view.put(PortState { port: "leaf1/5".parse().unwrap(), oper_up: true, speed_bps: None, changed_ms: 0 });
    assert!(std::sync::Arc::ptr_eq(&first, &Fabric::of(&view.clone())));
    view.put(down("leaf1/1~spine1/1"));
    let second = Fabric::of(&view);
    assert!(!std::sync::Arc::ptr_eq(&first, &second));
    let changed = first.differences(&second);
    assert!(changed.contains(&(name("leaf1"), name("spine1"))));
    assert!(!changed.contains(&(name("leaf2"), name("spine1"))));
}

/// All distances by repeated relaxation, without a queue and without indexes.
fn naive(n: usize, edges: &[(usize, usize, bool)], locked: &BTreeSet<usize>) -> Vec<Vec<Option<u16>>> {
    (0..n)
        .map(|to| {
            let mut best: Vec<Option<u16>> = vec![None; n];
            best[to] = Some(0);
            for _ in 0..n {
                for &(a, b, up) in edges {
                    for (from, via) in [(a, b), (b, a)] {
                        if !up || (via != to && locked.contains(&via)) {
                            continue;
                        }
                        if let Some(rest) = best[via]
                            && best[from].is_none_or(|had| had > rest + 1)
                        {
                            best[from] = Some(rest + 1);
                        }
                    }
                }
            }
            best
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn agrees_with_a_naive_search(
        n in 1usize..12,
        raw in prop::collection::vec((0usize..12, 0usize..12, any::<bool>()), 0..30),
        locked in prop::collection::btree_set(0usize..12, 0..3),
        flip in any::<bool>(),
    ) {
        let names: Vec<SwitchName> = (0..n).map(|i| name(&format!("s{i}"))).collect();
        let mut resources: Vec<AnyResource> = Vec::new();
        for (i, text) in names.iter().enumerate() {
            let mut s = switch(text.as_str(), if i % 3 == 0 { Role::Spine } else { Role::Leaf }, i as u32 + 1);
            if locked.contains(&i) {
                s.admin = AdminState::Locked;
            }
            resources.push(s.into());
        }
        let mut edges = Vec::new();
        for (i, (a, b, up)) in raw.into_iter().enumerate() {
            let (a, b) = (a % n, b % n);
            if a == b {
                continue;
            }
            // The link's number is its port at both ends, so each port is used once.
            let id: LinkId = format!("s{a}/{0}~s{b}/{0}", i + 1).parse().unwrap();
            resources.push(Link { id: id.clone() }.into());
            if !up {
                resources.push(LinkState { id, up: false, source: LinkSource::Port, changed_ms: 0 }.into());
            }
            edges.push((a, b, up));
        }
        if flip {
            resources.reverse();
        }
        let fabric = Fabric::of(&View::from_resources(resources));
        let expected = naive(n, &edges, &locked);
        for from in 0..n {
            for to in 0..n {
                prop_assert_eq!(fabric.distance(&names[from], &names[to]), expected[to][from]);
                let hops = fabric.next_hops(&names[from], &names[to]);
                let mut ways: BTreeMap<&SwitchName, usize> = BTreeMap::new();
                for hop in &hops {
                    *ways.entry(&hop.neighbour).or_default() += 1;
                }
                for via in 0..n {
                    let links = edges.iter().filter(|(a, b, up)| {
                        *up && ((*a, *b) == (from, via) || (*b, *a) == (from, via))
                    }).count();
                    let shorter = matches!(
                        (expected[to][from], expected[to][via]),
                        (Some(whole), Some(rest)) if rest + 1 == whole
                    );
                    let through = via == to || !locked.contains(&via);
                    let want = if shorter && through { links } else { 0 };
                    prop_assert_eq!(ways.get(&names[via]).copied().unwrap_or(0), want);
                }
                prop_assert!(hops.is_sorted());
            }
        }
    }
}

#[test]
fn a_leaf_without_uplinks_sends_its_servers_to_the_other_leaf() {
    let mut view = square();
    for (id, vlan) in [("leaf1/3", 10), ("leaf1/4", 20), ("leaf2/3", 10)] {
        let mode = PortMode::Untagged { vlan: VlanId::new(vlan).unwrap() };
        view.put(Port { id: id.parse().unwrap(), enabled: true, speed_bps: None, mode });
    }
    view.put(HostIntent {
        name: "s1".parse().unwrap(),
        mac: MacAddr::from_u64(0x02_00_00_00_01_01),
        vlan: VlanId::new(10).unwrap(),
        ips: vec![],
        attachments: vec!["leaf1/3".parse().unwrap(), "leaf2/3".parse().unwrap()],
        binding: HostBinding::default(),
        dhcp: DhcpClient::default(),
    });
    let off = |view: &View, leaf: &str| -> Vec<u32> {
        port_admin(view, &name(leaf)).into_iter().filter(|(_, on)| !on).map(|(port, _)| port.get()).collect()
    };
    let down = |view: &mut View, id: &str| {
        view.put(PortState { port: id.parse().unwrap(), oper_up: false, speed_bps: None, changed_ms: 0 });
    };
    assert_eq!(port_admin(&view, &name("leaf1")).len(), 5, "both uplinks, the link of the pair, two edge ports");
    assert!(off(&view, "leaf1").is_empty());
    down(&mut view, "leaf1/1");
    assert!(off(&view, "leaf1").is_empty(), "one uplink is left");
    down(&mut view, "leaf1/2");
    assert_eq!(off(&view, "leaf1"), [3], "the client at port 4 has the link of the pair");
    assert!(off(&view, "leaf2").is_empty());
    down(&mut view, "leaf1/9");
    assert_eq!(off(&view, "leaf1"), [3, 4]);
    // With both cut off there is nothing to send anybody to.
    down(&mut view, "leaf2/1");
    down(&mut view, "leaf2/2");
    assert!(off(&view, "leaf1").is_empty() && off(&view, "leaf2").is_empty());
}

/// A change in a site of two paired leaves and two spines.
fn any_change() -> impl Strategy<Value = AnyResource> {
    let port = prop::sample::select(vec!["leaf1/1", "leaf1/2", "leaf1/3", "leaf1/4", "leaf2/1", "leaf2/2", "leaf2/3"]);
    let mode = prop::bool::ANY.prop_map(|edge| match edge {
        true => PortMode::Untagged { vlan: VlanId::new(10).unwrap() },
        false => PortMode::None,
    });
    let described = (port.clone(), any::<bool>(), mode)
        .prop_map(|(id, enabled, mode)| Port { id: id.parse().unwrap(), enabled, speed_bps: None, mode }.into());
    let state = (port.clone(), any::<bool>()).prop_map(|(id, oper_up)| {
        PortState { port: id.parse().unwrap(), oper_up, speed_bps: None, changed_ms: 0 }.into()
    });
    let host = (0..3u64, prop::collection::vec(port, 0..3), any::<bool>()).prop_map(|(n, at, learned)| {
        HostIntent {
            name: format!("h{n}").parse().unwrap(),
            mac: MacAddr::from_u64(0x02_00_00_00_01_00 + n),
            vlan: VlanId::new(10).unwrap(),
            ips: vec![],
            attachments: at.into_iter().map(|id| id.parse().unwrap()).collect(),
            binding: if learned { HostBinding::Learned } else { HostBinding::default() },
            dhcp: DhcpClient::default(),
        }
        .into()
    });
    prop_oneof![described, state, host]
}

proptest! {
    #[test]
    fn no_change_switches_ports_elsewhere(changes in prop::collection::vec(any_change(), 1..60)) {
        let mut view = square();
        for change in changes {
            let (old, key) = (view.clone(), change.key());
            view.put(change);
            let mut switched = Switched::none();
            switched.add(&old, &view, &key);
            for leaf in ["leaf1", "leaf2", "spine1", "spine2"].map(name) {
                let (before, after) = (port_admin(&old, &leaf), port_admin(&view, &leaf));
                prop_assert!(before == after || switched.concerns(&leaf), "{key:?} moved {leaf}: {before:?} {after:?}");
            }
        }
    }
}
