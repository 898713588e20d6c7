//! Servers with a leg on each leaf of a pair.

use super::*;

fn port_up(lab: &Scenario, port: &str) -> bool {
    api(lab).get(&format!("port-state/{port}")).unwrap()["oper_up"] == true
}

#[test]
fn a_server_with_two_legs_loses_one_leg_one_leaf_and_one_leafs_uplinks() {
    if !is_root() {
        return;
    }
    let mut lab = start(office("2x4-paired"));
    lab.ping_all(LIMIT).unwrap();
    let streams = |lab: &Scenario| [("c3", "s1"), ("c2", "s1"), ("s1", "c3")].map(|(from, to)| stream(lab, from, to));
    let count = |what: &str, probes: [Probe; 3]| {
        let lost = probes.map(|p| p.stop().unwrap().lost);
        eprintln!("{what}: lost {lost:?} of 1000 a second");
        lost.iter().max().copied().unwrap()
    };

    let probes = streams(&lab);
    probes.iter().for_each(|p| flowing(p, 200));
    lab.break_link("leaf1/3-s1", Cut::Loud).unwrap();
    probes.iter().for_each(|p| flowing(p, 300));
    lab.heal_link("leaf1/3-s1").unwrap();
    probes.iter().for_each(|p| flowing(p, 300));
    assert!(count("a leg cut and healed", probes) < 1000);

    let probes = [("c3", "s1"), ("c3", "s2"), ("s1", "c3")].map(|(from, to)| stream(&lab, from, to));
    probes.iter().for_each(|p| flowing(p, 200));
    lab.kill("leaf1", Kill::PowerOff).unwrap();
    probes.iter().for_each(|p| flowing(p, 300));
    lab.restart("leaf1").unwrap();
    probes.iter().for_each(|p| flowing(p, 300));
    assert!(count("a leaf dead and back", probes) < 3000);
    lab.ping_all(LIMIT).unwrap();

    // Without uplinks the leaf sends its servers to the other leaf; a client with no other leg has the link of the pair.
    assert!(port_up(&lab, "leaf1/3"));
    lab.break_link("leaf1-spine1", Cut::Loud).unwrap();
    lab.break_link("leaf1-spine2", Cut::Loud).unwrap();
    wait_until("the port is off", LIMIT, || (!port_up(&lab, "leaf1/3")).then_some(())).unwrap();
    lab.ping_all(LIMIT).unwrap();
    assert!(port_up(&lab, "leaf1/4"));
    lab.break_link("leaf1-leaf2", Cut::Loud).unwrap();
    wait_until("the client's port is off", LIMIT, || (!port_up(&lab, "leaf1/4")).then_some(())).unwrap();
    reach(&lab, "c3", &["10.0.10.11", "2001:db8:10::11"]);
    for link in ["leaf1-leaf2", "leaf1-spine1", "leaf1-spine2"] {
        lab.heal_link(link).unwrap();
    }
    wait_until("ports are on", LIMIT, || (port_up(&lab, "leaf1/3") && port_up(&lab, "leaf1/4")).then_some(())).unwrap();
    lab.ping_all(LIMIT).unwrap();
    lab.end().unwrap();
}

#[test]
fn until_the_second_leg_is_known_traffic_takes_the_link_of_the_pair() {
    if !is_root() {
        return;
    }
    // Nobody says that s1 has two legs.
    let mut lab = start(office_of("second-leg", &learned(&example("2x4-paired"))));
    lab.break_link("leaf2/3-s1", Cut::Loud).unwrap();
    let ports = |lab: &Scenario| -> Vec<String> {
        let hosts = api(lab).all("host-location").unwrap();
        let s1 = hosts.into_iter().find(|h| h["ips"].to_string().contains("\"10.0.10.11\""));
        s1.map(|h| serde_json::from_value(h["ports"].clone()).unwrap()).unwrap_or_default()
    };
    reach(&lab, "s1", &["10.0.20.11", "10.0.20.12", "10.0.20.13"]);
    wait_until("one leg", LIMIT, || (ports(&lab) == ["leaf1/3"]).then_some(())).unwrap();
    // c2 is on leaf2.
    reach(&lab, "c2", &["10.0.10.11", "2001:db8:10::11"]);
    lab.heal_link("leaf2/3-s1").unwrap();
    lab.break_link("leaf1/3-s1", Cut::Loud).unwrap();
    reach(&lab, "s1", &["10.0.20.11", "10.0.20.12", "10.0.20.13"]);
    wait_until("the other leg", LIMIT, || (ports(&lab) == ["leaf2/3"]).then_some(())).unwrap();
    reach(&lab, "c1", &["10.0.10.11", "2001:db8:10::11"]);
    lab.heal_link("leaf1/3-s1").unwrap();
    let mut both = ports(&lab);
    wait_until("both legs", LIMIT, || {
        // The server spreads what it sends; each of its neighbours is a flow of its own.
        lab.run("s1", "ip neigh flush all").ok()?;
        let pairs = ["10.0.20.11", "10.0.20.12", "10.0.20.13", "10.0.20.254", "10.0.10.1", "2001:db8:10::1"];
        let pairs = pairs.map(|to| pair("s1", to));
        ping::ping(&lab, &pairs, Duration::from_millis(300)).ok()?;
        both = ports(&lab);
        both.sort();
        (both == ["leaf1/3", "leaf2/3"]).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {both:?}"));
    reach(&lab, "c3", &["10.0.10.11"]);
    lab.end().unwrap();
}
