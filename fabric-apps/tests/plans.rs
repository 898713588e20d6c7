//! The apps' plans of the example sites: complete, without conflicts, and the same whichever way the view came about.
#![allow(clippy::unwrap_used)]

use pergola_model::{
    AnyResource, ChangedKey, HostKey, HostLocation, LearnedFrom, PortState, Resource, SwitchName, View,
};
use pergola_pipeline::tables;
use pergola_plan::{Fabric, Planner};
use proptest::prelude::*;

const EXAMPLES: [&str; 4] = ["single-leaf", "2x2", "2x4-paired", "fabric-10"];

fn example(name: &str) -> View {
    let path = format!("{}/../topology/blueprint/examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    pergola_blueprint::parse(&std::fs::read_to_string(path).unwrap()).unwrap().view()
}

fn planner() -> Planner<Fabric> {
    Planner::new(pergola_fabric_apps::all())
}

fn entries(planner: &Planner<Fabric>, switch: &str, table: &str) -> usize {
    let id = tables::by_name(table).unwrap().id;
    let device: SwitchName = switch.parse().unwrap();
    planner.wanted(&device).filter(|(key, _)| key.table_id() == Some(id)).count()
}

#[test]
fn examples_plan_without_conflicts_or_problems() {
    for name in EXAMPLES {
        let view = example(name);
        let mut planner = planner();
        planner.plan_all(&view);
        let problems: Vec<String> = planner.problems().iter().map(|p| format!("{p:?}")).collect();
        assert!(problems.is_empty(), "{name}: {problems:?}");
        let conflicts: Vec<String> = planner.conflicts().iter().map(|c| format!("{c:?}")).collect();
        assert!(conflicts.is_empty(), "{name}: {conflicts:?}");
        for switch in view.switches() {
            assert!(planner.wanted_len(&switch.name) > 0, "{name}: nothing for {}", switch.name);
        }
    }
}

#[test]
fn spines_hold_labels_and_no_routes() {
    let view = example("2x2");
    let mut planner = planner();
    planner.plan_all(&view);
    for spine in ["spine1", "spine2"] {
        assert_eq!(entries(&planner, spine, "ipv4_unicast"), 0);
        assert_eq!(entries(&planner, spine, "ipv6_unicast"), 0);
        // Both leaves and the other spine, and its own.
        assert_eq!(entries(&planner, spine, "mpls"), 4);
    }
    // Seven hosts, three subnets with a gateway each, one blackhole.
    assert_eq!(entries(&planner, "leaf1", "ipv4_unicast"), 7 + 3 + 3 + 1);
    assert_eq!(entries(&planner, "leaf1", "ipv6_unicast"), 7 + 3 + 3);
}

/// Something that may happen to a site.
#[derive(Debug, Clone)]
enum Event {
    Toggle(prop::sample::Index),
    Port(prop::sample::Index, bool),
    Host(prop::sample::Index, prop::sample::Index),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        any::<prop::sample::Index>().prop_map(Event::Toggle),
        (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(p, up)| Event::Port(p, up)),
        (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(h, p)| Event::Host(h, p)),
    ];
    prop::collection::vec(event, 1..25)
}

/// One event as a change of the view.
fn happen(view: &mut View, all: &[AnyResource], event: &Event) -> Option<ChangedKey> {
    let (key, change) = match event {
        Event::Toggle(which) => {
            let resource = which.get(all);
            let key = resource.key();
            let change = match view.get(&key) {
                Some(_) => view.remove(&key),
                None => view.put(resource.clone()),
            };
            (key, change)
        }
        Event::Port(which, up) => {
            let ports: Vec<_> = all
                .iter()
                .filter_map(|r| match r {
                    AnyResource::Link(l) => Some(l.id.a().clone()),
                    AnyResource::Port(p) => Some(p.id.clone()),
                    _ => None,
                })
                .collect();
            let port = which.get(&ports).clone();
            let state = PortState { port, oper_up: *up, speed_bps: None, changed_ms: 0 };
            (state.key(), view.put(state))
        }
        Event::Host(which, at) => {
            let hosts: Vec<_> = all
                .iter()
                .filter_map(|r| match r {
                    AnyResource::Host(h) => Some(h.clone()),
                    _ => None,
                })
                .collect();
            let ports: Vec<_> = all
                .iter()
                .filter_map(|r| match r {
                    AnyResource::Port(p) => Some(p.id.clone()),
                    _ => None,
                })
                .collect();
            let host = which.get(&hosts);
            let seen = HostLocation {
                mac: host.mac,
                vlan: host.vlan,
                ips: host.ips.clone(),
                ports: vec![at.get(&ports).clone()],
                learned_from: LearnedFrom::Arp,
                moved_ms: 0,
            };
            assert_eq!(seen.host_key(), HostKey::new(host.mac, host.vlan));
            (seen.key(), view.put(seen))
        }
    };
    change.map(|change| ChangedKey { key, change })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// `affected` names every unit that a change touches: the plan grown change by change is the plan from nothing.
    #[test]
    fn the_way_does_not_matter(example_no in 0usize..3, events in events()) {
        let start = example(EXAMPLES[example_no]);
        let all = start.intents();
        let mut view = start.clone();
        let mut grown = planner();
        grown.plan_all(&view);
        for event in &events {
            let old = view.clone();
            if let Some(change) = happen(&mut view, &all, event) {
                grown.apply(&old, &view, [&change]);
                prop_assert_eq!(grown.audit(&view), vec![], "after {:?}", change);
            }
        }
    }
}
