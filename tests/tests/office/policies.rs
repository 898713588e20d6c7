//! Policies on real traffic, with their counters.

use super::*;
use serde_json::{Value, json};

fn policy(rules: Value) -> Value {
    json!({"name": "p", "rules": rules})
}

/// IP packets that a host has passed on.
fn forwarded(lab: &Scenario, host: &str) -> u64 {
    let text = lab.run(host, "cat /proc/net/snmp").unwrap();
    let mut lines = text.lines().filter(|l| l.starts_with("Ip:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split_whitespace().position(|n| n == "ForwDatagrams").unwrap();
    values.split_whitespace().nth(at).unwrap().parse().unwrap()
}

#[test]
fn policies_permit_drop_mirror_and_redirect() {
    if !is_root() {
        return;
    }
    let lab = start(office("2x2"));
    lab.ping_all(LIMIT).unwrap();
    let api = api(&lab);
    let set = |rules: Value| {
        api.put("policy/p", &policy(rules)).unwrap();
        settled(&lab);
    };

    // Drop, one family and one direction of it; then an exception above it.
    let deny = json!({"priority": 100, "match": {"in_ports": ["leaf1/3"], "ip_dst": "10.0.20.0/24", "ip_proto": "icmp"}, "action": "deny"});
    set(json!([deny]));
    silent(&lab, "h1", "10.0.20.14");
    assert!(api.packets("leaf1", "acl", "policy/p").unwrap() > 0);
    reach(&lab, "h1", &["2001:db8:20::14", "10.0.10.13"]);
    reach(&lab, "h2", &["10.0.20.14"]);
    let permit = json!({"priority": 200, "match": {"ip_dst": "10.0.20.14/32"}, "action": "permit"});
    set(json!([deny, permit]));
    reach(&lab, "h1", &["10.0.20.14"]);
    silent(&lab, "h1", "10.0.20.16");

    // A copy for the controller; the packet goes its way.
    let mirrored = || api.metric("pergola_packet_events_total{machine=\"dispatch\",event=\"mirrored\"}").unwrap();
    let before = mirrored();
    set(
        json!([{"priority": 300, "match": {"in_ports": ["leaf1/4"], "ip_dst": "10.0.10.13/32"}, "action": "mirror_to_controller"}]),
    );
    reach(&lab, "h2", &["10.0.10.13"]);
    wait_until("a copy", LIMIT, || (mirrored() > before).then_some(())).unwrap();

    // Through another host on its way, on the other leaf and on the same one.
    for (by, address) in [("h3", "10.0.10.13"), ("h2", "10.0.10.12")] {
        // A router that does not tell h1 of the shorter way.
        let quiet = "net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0";
        lab.run(by, &format!("sysctl -qw net.ipv4.ip_forward=1 {quiet}")).unwrap();
        set(
            json!([{"priority": 300, "match": {"in_ports": ["leaf1/3"], "ip_dst": "10.0.20.14/32"}, "action": {"redirect_next_hop": address}}]),
        );
        let before = forwarded(&lab, by);
        let probe = stream(&lab, "h1", "h4");
        flowing(&probe, 300);
        let report = probe.stop().unwrap();
        let passed = forwarded(&lab, by) - before;
        assert!(passed >= report.received, "{by} passed {passed} on, {report}");
        assert_eq!(report.lost, 0, "{report}");
    }
    // Another port of the same switch: h2 hears what is not for it, and drops it.
    set(
        json!([{"priority": 300, "match": {"in_ports": ["leaf1/3"], "ip_dst": "10.0.20.14/32"}, "action": {"redirect_port": "leaf1/4"}}]),
    );
    silent(&lab, "h1", "10.0.20.14");

    api.delete("policy/p").unwrap();
    reach(&lab, "h1", &["10.0.20.14", "10.0.20.16"]);
    assert_eq!(api.get("status").unwrap()["problems"], json!([]));
    lab.end().unwrap();
}
