//! The apps' plans of the example sites: complete, without conflicts, and the same whichever way the view came about.
#![allow(clippy::unwrap_used)]

use pergola_model::{
    AnyResource, ChangedKey, GroupMembers, HostKey, HostLocation, LearnedFrom, LinkId, LinkSource, LinkState, PortId,
    PortState, Resource, SourceMembers, SwitchName, View, VlanId,
};
use pergola_pipeline::entity::ValueView;
use pergola_pipeline::table::is;
use pergola_pipeline::{Entity, reserved, tables};
use pergola_plan::{App, Fabric, Planner, UnitSet};
use proptest::prelude::*;
use std::net::IpAddr;

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

#[test]
fn labels_are_taken_from_fabric_links_only() {
    use tables::fwd_classifier::{Act, Key, entry};
    let view = example("2x2");
    let mut planner = planner();
    planner.plan_all(&view);
    for switch in view.switches() {
        // Neighbours send to its own address, the controller's echoes to the gateways'.
        let taken = |ig_port| {
            let found = [switch.router_mac, view.gateway_mac(switch)].map(|to| {
                let key = Key { ig_port, eth_dst: is(to.octets()), eth_type: 0x8847, priority: 20 };
                planner.value(&switch.name, &entry(key, Act::SetForwarding { fwd: reserved::FWD_MPLS }).key).is_some()
            });
            assert_eq!(found[0], found[1]);
            found[0]
        };
        let links: Vec<u32> =
            view.links_of(&switch.name).filter_map(|l| Some(l.id.seen_from(&switch.name)?.0.port.get())).collect();
        assert!(!taken(None) && !links.is_empty());
        for port in 1..64 {
            assert_eq!(taken(is(port as u16)), links.contains(&port), "{}/{port}", switch.name);
        }
    }
}

#[test]
fn leaves_answer_for_gateways_and_for_hosts_elsewhere() {
    let mut planner = planner();
    planner.plan_all(&example("2x2"));
    // Three gateways, in IPv6 also by their link-local address; four hosts are on leaf2, three on leaf1.
    assert_eq!(entries(&planner, "leaf1", "arp_answers"), 3 + 4);
    // Advertisements of gateway addresses by hosts are refused.
    assert_eq!(entries(&planner, "leaf1", "ndp_answers"), 2 * 2 * 3 + 4);
    assert_eq!(entries(&planner, "leaf2", "arp_answers"), 3 + 3);
    assert_eq!(entries(&planner, "spine1", "arp_answers"), 0);
}

/// Something that may happen to a site.
#[derive(Debug, Clone)]
enum Event {
    Toggle(prop::sample::Index),
    Port(prop::sample::Index, bool),
    Host(prop::sample::Index, prop::sample::Index),
    /// Somebody behind a port listens to one of a few groups, of every source or of one; or nobody does any more.
    Listen(prop::sample::Index, u8, bool),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        any::<prop::sample::Index>().prop_map(Event::Toggle),
        (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(p, up)| Event::Port(p, up)),
        (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(h, p)| Event::Host(h, p)),
        (any::<prop::sample::Index>(), 0u8..6, any::<bool>()).prop_map(|(p, g, any)| Event::Listen(p, g, any)),
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
        Event::Listen(at, which, any) => {
            let ports: Vec<_> = all
                .iter()
                .filter_map(|r| match r {
                    AnyResource::Port(p) => Some(p),
                    _ => None,
                })
                .collect();
            let port = at.get(&ports);
            let (vlan, _) = port.mode.memberships().into_iter().next()?;
            // The first two look alike on Ethernet.
            let group = ["239.1.2.3", "239.129.2.3", "239.1.2.4", "ff05::8000:1", "ff08::8000:1", "ff05::8000:2"];
            let group: IpAddr = group[usize::from(*which)].parse().unwrap();
            let source = if which < &3 { "10.0.10.99" } else { "2001:db8:10::99" };
            let (to, source) = (vec![port.id.clone()], source.parse().unwrap());
            let seen = match any {
                true => GroupMembers { switch: port.id.switch.clone(), vlan, group, any: to, sources: vec![] },
                false => {
                    let sources = vec![SourceMembers { source, ports: to }];
                    GroupMembers { switch: port.id.switch.clone(), vlan, group, any: vec![], sources }
                }
            };
            match view.get(&seen.key()) {
                Some(AnyResource::GroupMembers(there)) if there == seen => (seen.key(), view.remove(&seen.key())),
                _ => (seen.key(), view.put(seen)),
            }
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

#[test]
fn a_redirect_names_the_host_on_its_leaf_wherever_the_rule_is() {
    // h3 is on leaf2; the rule is about a port of leaf1.
    let rule =
        "{priority: 300, match: {in_ports: [leaf1/3], ip_dst: 10.0.20.14/32}, action: {redirect_next_hop: 10.0.10.13}}";
    let path = format!("{}/../topology/blueprint/examples/2x2.yaml", env!("CARGO_MANIFEST_DIR"));
    let site = std::fs::read_to_string(path).unwrap() + "policies:\n  p:\n    rules:\n      - " + rule + "\n";
    let view = pergola_blueprint::parse(&site).unwrap().view();
    let count = |view: &View| {
        let mut planner = planner();
        planner.plan_all(view);
        assert!(planner.problems().is_empty() && planner.conflicts().is_empty());
        let tables = ["acl", "next_mpls", "next_hashed", "next_simple", "mpls"];
        ["leaf1", "leaf2"].map(|leaf| tables.map(|table| entries(&planner, leaf, table)))
    };
    let [leaf1, leaf2] = count(&example("2x2"));
    let [after1, after2] = count(&view);
    let more = |after: [usize; 5], before: [usize; 5]| std::array::from_fn::<_, 5, _>(|i| after[i] - before[i]);
    assert_eq!(more(after1, leaf1), [1, 1, 1, 0, 0], "the rule, the label of the host, the ways to its leaf");
    assert_eq!(more(after2, leaf2), [0, 0, 0, 0, 1], "what the label stands for");
}

#[test]
fn packets_of_a_domain_carry_its_label_to_the_far_leaf() {
    let site = "
site: {name: domains}
switches: {leaf1: {}, leaf2: {}, leaf3: {pair: leaf4}, leaf4: {pair: leaf3}, spine1: {}}
links: [[leaf1/1, spine1/1], [leaf2/1, spine1/2], [leaf3/1, spine1/3], [leaf4/1, spine1/4], [leaf3/2, leaf4/2]]
subnets:
  a: {vlan: 10, domain: gold, gateways: [10.0.1.1/24]}
  b: {vlan: 20, domain: gold, gateways: [10.0.2.1/24]}
  c: {vlan: 30, gateways: [10.0.1.1/24]}
ports:
  leaf1/11: {untagged: a}
  leaf2/11: {untagged: b}
  leaf2/12: {untagged: c}
  leaf3/11: {untagged: a}
  leaf4/11: {untagged: a}
hosts:
  h1: {port: leaf1/11, ips: [10.0.1.11]}
  h2: {port: leaf2/11, ips: [10.0.2.12]}
  h3: {port: leaf2/12, ips: [10.0.1.11]}
  h4: {port: [leaf3/11, leaf4/11], ips: [10.0.1.14]}
routes:
  - {to: 10.9.0.0/16, domain: gold, via: [10.0.1.11, 10.0.2.12]}
";
    let parsed = pergola_blueprint::parse(site).unwrap_or_else(|problems| panic!("{problems}"));
    let (view, resources) = (parsed.view(), parsed.intents().to_vec());
    let mut planned = planner();
    planned.plan_all(&view);
    assert!(planned.conflicts().is_empty(), "{:?}", planned.conflicts().iter().collect::<Vec<_>>());
    // To each of the other leaves, to the pair, and to next hops elsewhere.
    assert_eq!(entries(&planned, "leaf1", "next_mpls"), 4);
    assert_eq!(entries(&planned, "leaf3", "next_mpls"), 3 + 1);
    assert_eq!(entries(&planned, "spine1", "next_mpls"), 0);
    // The own label, those of the four other switches, and the domain's.
    assert_eq!(entries(&planned, "leaf1", "mpls"), 1 + 4 + 1);
    assert_eq!(entries(&planned, "spine1", "mpls"), 5);
    // Grown from nothing, piece by piece, it is the same; and without the domain nothing of it is left.
    let mut grown = planner();
    let mut now = View::default();
    grown.plan_all(&now);
    let gold = |r: &AnyResource| match r {
        AnyResource::Subnet(s) => !s.domain.is_default(),
        AnyResource::Route(r) => !r.domain.is_default(),
        _ => false,
    };
    let steps = resources.iter().map(|r| (r, true)).chain(resources.iter().filter(|r| gold(r)).map(|r| (r, false)));
    for (resource, put) in steps {
        let (old, key) = (now.clone(), resource.key());
        let change = if put { now.put(resource.clone()) } else { now.remove(&key) };
        if let Some(change) = change {
            grown.apply(&old, &now, [&ChangedKey { key, change }]);
        }
        assert_eq!(grown.audit(&now), vec![], "{resource:?}");
    }
    assert_eq!(["leaf1", "leaf2", "leaf3"].map(|leaf| entries(&grown, leaf, "next_mpls")), [0; 3]);
}

/// Where a switch replicates packets to for the entries of a table, but for the floods of VLANs.
fn copies(planner: &Planner<Fabric>, switch: &str, table: &str) -> Vec<Vec<u32>> {
    let device: SwitchName = switch.parse().unwrap();
    let id = tables::by_name(table).unwrap().id;
    let group = |number: u32| {
        let value = planner.value(&device, &Entity::multicast_group(number, []).key);
        match value.unwrap_or_else(|| panic!("{switch}: no group {number}")).view() {
            ValueView::Multicast { replicas } => replicas.iter().map(|r| r.port).collect::<Vec<u32>>(),
            other => panic!("{other:?}"),
        }
    };
    let mut all = Vec::new();
    for (_, value) in planner.wanted(&device).filter(|(key, _)| key.table_id() == Some(id)) {
        if let ValueView::Action { action, .. } = value.view()
            && let [(_, number)] = &action.params[..]
            && let Some(number @ 0x1000..) = number.to_u64()
        {
            all.push(group(number as u32));
        }
    }
    all.sort();
    all
}

#[test]
fn a_group_goes_to_its_listeners_once_and_never_round() {
    let mut view = example("2x2");
    let listens = |port: &str, group: &str| {
        let port: PortId = port.parse().unwrap();
        let (switch, group) = (port.switch.clone(), group.parse().unwrap());
        GroupMembers { switch, vlan: VlanId::new(10).unwrap(), group, any: vec![port], sources: vec![] }
    };
    for (port, group) in
        [("leaf1/4", "239.1.2.3"), ("leaf2/3", "239.1.2.3"), ("leaf2/3", "ff05::8000:1"), ("leaf1/4", "239.129.2.3")]
    {
        view.put(listens(port, group));
    }
    let mut planned = planner();
    planned.plan_all(&view);
    assert!(planned.conflicts().is_empty() && planned.problems().is_empty(), "{:?}", planned.conflicts());
    let v4 = |switch| copies(&planned, switch, "ipv4_multicast");
    let local = |switch| copies(&planned, switch, "bridging");

    // The listener here and one uplink; where nobody else listens, nobody but the listener.
    let leaf1 = v4("leaf1");
    let up = leaf1[0][0];
    assert!(up < 3);
    assert_eq!(leaf1, [vec![up, 4], vec![4]], "the second group has no listener on leaf2");
    let spine = format!("spine{up}");
    // The spine brings it to both leaves, and the pipeline leaves out where it came from.
    assert!(v4(&spine).contains(&vec![1, 2]), "{:?}", v4(&spine));
    // On arrival two groups that look alike on Ethernet are one, and nothing goes up again.
    assert_eq!(local("leaf1"), [[4]]);
    assert_eq!(local("leaf2"), [[3], [3]]);
    // leaf2 sends to its listener and to the same spine, and for the other group up only.
    let other = v4("leaf2");
    assert_eq!(other.len(), 2);
    assert!(other.iter().all(|ports| ports.iter().filter(|port| **port < 3).count() == 1), "{other:?}");
    // An IPv6 group with a listener on leaf2 alone: leaf1 sends it up, leaf2 to the listener.
    assert_eq!(copies(&planned, "leaf2", "ipv6_multicast"), [[3]]);
    assert_eq!(copies(&planned, "leaf1", "ipv6_multicast").concat().len(), 1);

    // Without the spine in use the other one has the group in its charge.
    let link: LinkId = format!("leaf2/{up}~{spine}/2").parse().unwrap();
    let down = LinkState { id: link, up: false, source: LinkSource::Lldp, changed_ms: 0 };
    let (old, key) = (view.clone(), down.key());
    let change = view.put(down).unwrap();
    planned.apply(&old, &view, [&ChangedKey { key, change }]);
    assert_eq!(planned.audit(&view), vec![]);
    assert!(!copies(&planned, "leaf1", "ipv4_multicast").contains(&vec![up, 4]));
    assert!(copies(&planned, "leaf1", "ipv4_multicast").contains(&vec![3 - up, 4]));
}

#[test]
fn ports_with_another_way_beside_them_are_watched() {
    let mut planned = planner();
    planned.plan_all(&example("2x2"));
    let watched = |switch: &str| {
        let device: SwitchName = switch.parse().unwrap();
        let groups = planned.wanted(&device).filter_map(|(_, value)| match value.view() {
            ValueView::OneShot { members, .. } => Some(members.iter().filter(|m| m.watch_port.is_some()).count()),
            _ => None,
        });
        groups.collect::<Vec<usize>>()
    };
    // A leaf has two ways to the other one, and one to each spine; a spine has one to each leaf, two to the other spine.
    let mut leaf = watched("leaf1");
    leaf.sort();
    assert_eq!(leaf, [0, 0, 0, 0, 2, 2]);
    let mut spine = watched("spine1");
    spine.sort();
    assert_eq!(spine, [0, 0, 2]);
}

#[test]
fn a_port_matters_to_the_groups_of_its_vlans_alone() {
    let mut view = example("2x2");
    let port: PortId = "leaf2/3".parse().unwrap();
    let mut described = (**view.port(&port).unwrap()).clone();
    assert_eq!(described.mode.memberships().iter().map(|(vlan, _)| vlan.get()).collect::<Vec<_>>(), [10]);
    for n in 0..=50u8 {
        let (vlan, at) = if n == 0 { (10, port.clone()) } else { (20, "leaf1/4".parse().unwrap()) };
        let (vlan, group) = (VlanId::new(vlan).unwrap(), IpAddr::from([239, 1, 2, n]));
        view.put(GroupMembers { switch: at.switch.clone(), vlan, group, any: vec![at], sources: vec![] });
    }
    let mut planned = planner();
    planned.plan_all(&view);
    let old = view.clone();
    described.enabled = false;
    let change = ChangedKey { key: described.key(), change: view.put(described).unwrap() };
    let mut units = UnitSet::new();
    pergola_fabric_apps::multicast::Multicast.affected(&old, &view, &change, &mut units);
    assert_eq!(units.len(), 2, "the group and how it arrives: {units:?}");
    planned.apply(&old, &view, [&change]);
    assert_eq!(planned.audit(&view), vec![]);
}
