//! Static routes with several next hops, one of which dies; blackholes.

use super::*;
use pergola_lab::probe::ProbeKind;
use serde_json::json;

/// Echo requests that a host has taken.
fn echoes(lab: &Scenario, host: &str) -> u64 {
    let text = lab.run(host, "cat /proc/net/snmp").unwrap();
    let mut lines = text.lines().filter(|l| l.starts_with("Icmp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split_whitespace().position(|n| n == "InEchos").unwrap();
    values.split_whitespace().nth(at).unwrap().parse().unwrap()
}

#[test]
fn next_hops_share_the_load_and_stand_in_for_each_other() {
    if !is_root() {
        return;
    }
    let mut lab = start(office("2x2"));
    lab.ping_all(LIMIT).unwrap();
    let api = api(&lab);
    let hops = ["h3", "h4"];
    for host in hops {
        lab.run(host, "ip route add local 10.99.0.0/16 dev lo").unwrap();
    }
    let route = json!({"prefix": "10.99.0.0/16", "target": {"next_hops": ["10.0.10.13", "10.0.20.14"]}});
    api.put("route/10.99.0.0/16", &route).unwrap();
    let addresses: Vec<String> = (1..=32).map(|n| format!("10.99.0.{n}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let before = hops.map(|h| echoes(&lab, h));
    reach(&lab, "h1", &addresses);
    for (host, before) in hops.iter().zip(before) {
        assert!(echoes(&lab, host) > before, "{host} got nothing");
    }

    let probe = |to: &&str| {
        let spec = ProbeSpec { kind: ProbeKind::Echo, rate_pps: 100, ..ProbeSpec::new("h1", to) };
        Probe::start(&lab, &spec).unwrap()
    };
    let probes: Vec<Probe> = addresses[..8].iter().map(probe).collect();
    probes.iter().for_each(|p| flowing(p, 30));
    lab.break_link("leaf2-h3", Cut::Loud).unwrap();
    probes.iter().for_each(|p| flowing(p, 50));
    let lost: Vec<u64> = probes.into_iter().map(|p| p.stop().unwrap().lost).collect();
    eprintln!("a next hop died: lost {lost:?} of 100 a second");
    assert!(lost.iter().all(|l| *l < 100), "{lost:?}");
    reach(&lab, "h1", &addresses);
    lab.heal_link("leaf2-h3").unwrap();
    let before = echoes(&lab, "h3");
    wait_until("h3 takes its share again", LIMIT, || {
        let pairs: Vec<Pair> = addresses.iter().map(|to| pair("h1", to)).collect();
        ping::ping(&lab, &pairs, Duration::from_secs(5)).ok()?.all_answered().then_some(())?;
        (echoes(&lab, "h3") > before).then_some(())
    })
    .unwrap();

    // A more specific blackhole inside it, and away again.
    api.put("route/10.99.0.7/32", &json!({"prefix": "10.99.0.7/32", "target": "blackhole"})).unwrap();
    settled(&lab);
    silent(&lab, "h1", "10.99.0.7");
    reach(&lab, "h1", &["10.99.0.8"]);
    api.delete("route/10.99.0.7/32").unwrap();
    reach(&lab, "h1", &["10.99.0.7"]);
    lab.end().unwrap();
}
