//! Hosts that nobody declared: learned, moved, silent; and what the fabric tells them itself.

use super::*;
use std::time::Instant;

/// The 2x2 with two spare ports, and a host that has no address yet.
fn spec(name: &str) -> LabSpec {
    let site = swap(
        &learned(&example("2x2")),
        "  leaf1/3-4:",
        "  leaf1/7-8: {untagged: red}\n  leaf2/7-8: {untagged: red}\n  leaf1/3-4:",
    );
    let site = swap(&site, "\nroutes:", "  quiet: {binding: learned, port: leaf1/7}\n\nroutes:");
    office_of(name, &site)
}

/// Gives the quiet host its address without a word.
fn quietly(lab: &Scenario) {
    for command in [
        "sysctl -qw net.ipv4.conf.eth0.arp_notify=0",
        "sysctl -qw net.ipv6.conf.eth0.ndisc_notify=0",
        "ip addr add 10.0.10.77/24 dev eth0",
        "ip route replace default via 10.0.10.1",
    ] {
        lab.run("quiet", command).unwrap();
    }
}

fn locations(lab: &Scenario, ip: &str) -> Vec<String> {
    let hosts = api(lab).all("host-location").unwrap();
    let has = |h: &&serde_json::Value| h["ips"].as_array().is_some_and(|ips| ips.iter().any(|i| i == ip));
    let ports = hosts.iter().find(has).and_then(|h| h["ports"].as_array().cloned()).unwrap_or_default();
    ports.iter().filter_map(|p| p.as_str().map(str::to_owned)).collect()
}

#[test]
fn hosts_are_learned_and_followed() {
    if !is_root() {
        return;
    }
    let mut lab = start(spec("learning"));
    let hosts = ["h1", "h2", "h3", "h4", "h5", "h6", "h7"];
    let pairs: Vec<Pair> =
        ping::all_pairs(&lab).unwrap().into_iter().filter(|p| hosts.contains(&p.from.as_str())).collect();
    assert_eq!(pairs.len(), 7 * 6 * 2);
    let report = ping::ping(&lab, &pairs, LIMIT).unwrap();
    assert!(report.all_answered(), "{report}");
    assert_eq!(locations(&lab, "10.0.10.11"), ["leaf1/3"]);
    // With LLDP every link is known, and none is wrong.
    let seen = || api(&lab).all("link-state").unwrap().iter().filter(|l| l["up"] == true).count();
    wait_until("all links seen", LIMIT, || (seen() == 4).then_some(())).unwrap();
    assert_eq!(api(&lab).all("cabling-fault").unwrap(), Vec::<serde_json::Value>::new());

    // A host that says so when it moves to another leaf.
    let mut took = Vec::new();
    for to in ["leaf2/7", "leaf1/3"] {
        lab.move_host("h1", 0, to).unwrap();
        let begun = Instant::now();
        reach(&lab, "h4", &["10.0.10.11", "2001:db8:10::11"]);
        took.push(begun.elapsed().as_millis());
        // Neighbours in its own VLAN, on the old leaf and on the new one.
        reach(&lab, "h2", &["10.0.10.11"]);
        reach(&lab, "h3", &["10.0.10.11"]);
        assert_eq!(locations(&lab, "10.0.10.11"), [to]);
    }
    eprintln!("a host that moved was reached again after {took:?} ms");

    // One that never said anything is asked for when somebody wants it, from another subnet and from its own.
    quietly(&lab);
    assert_eq!(locations(&lab, "10.0.10.77"), Vec::<String>::new());
    reach(&lab, "h4", &["10.0.10.77"]);
    reach(&lab, "h2", &["10.0.10.77"]);
    assert_eq!(locations(&lab, "10.0.10.77"), ["leaf1/7"]);
    lab.move_host("quiet", 0, "leaf2/7").unwrap();
    quietly(&lab);
    reach(&lab, "h4", &["10.0.10.77"]);
    reach(&lab, "h2", &["10.0.10.77"]);
    assert_eq!(locations(&lab, "10.0.10.77"), ["leaf2/7"]);
    lab.end().unwrap();
}

#[test]
fn gateways_answer_with_and_without_a_controller() {
    if !is_root() {
        return;
    }
    let mut lab = start(spec("answers"));
    reach(
        &lab,
        "h1",
        &["10.0.20.14", "2001:db8:20::14", "10.0.10.13", "2001:db8:10::13", "10.0.10.1", "2001:db8:10::1"],
    );

    // A route's every hop, and an address that nobody has.
    for (hops, from) in [(1, "10.0.10.1"), (2, "10.0.20.1")] {
        let text = says(&lab, "h1", &format!("ping -n -c 1 -W 5 -t {hops} 10.0.20.14"));
        assert!(text.contains(&format!("From {from}")) && text.contains("Time to live exceeded"), "{text}");
    }
    let text = says(&lab, "h1", "ping -n -c 1 -W 5 -t 1 2001:db8:20::14");
    assert!(text.contains("From 2001:db8:10::1") && text.contains("Time exceeded: Hop limit"), "{text}");
    let text = says(&lab, "h1", "ping -n -c 1 -W 10 10.0.20.99");
    assert!(text.contains("From 10.0.10.1") && text.contains("Destination Host Unreachable"), "{text}");

    // Neither gateways nor hosts on the other leaf need a controller to be found.
    lab.kill("controller", Kill::Crash).unwrap();
    for host in ["h1", "h3", "h4"] {
        lab.run(host, "ip neigh flush all").unwrap();
    }
    reach(&lab, "h1", &["10.0.20.14", "2001:db8:20::14", "10.0.10.13", "2001:db8:10::13"]);
    let neighbours = lab.run("h1", "ip neigh show 10.0.10.13").unwrap();
    let gateway = lab.run("h1", "ip neigh show 10.0.10.1").unwrap();
    let mac = |text: &str| text.split_whitespace().skip_while(|w| *w != "lladdr").nth(1).map(str::to_owned);
    assert!(mac(&gateway).is_some() && mac(&neighbours) == mac(&gateway), "{neighbours} {gateway}");
    lab.end().unwrap();
}
