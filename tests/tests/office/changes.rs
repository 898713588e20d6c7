//! Changes of a running site through the API: they reach those they are about, and nobody else notices.

use super::*;

fn readdress(lab: &Scenario, host: &str, v4: (&str, &str), v6: (&str, &str)) {
    for command in [
        "ip addr flush dev eth0 scope global".to_owned(),
        format!("ip addr add {}/24 dev eth0", v4.0),
        format!("ip -6 addr add {}/64 dev eth0 nodad", v6.0),
        format!("ip route replace default via {}", v4.1),
        format!("ip -6 route replace default via {}", v6.1),
    ] {
        lab.run(host, &command).unwrap();
    }
}

#[test]
fn a_port_gets_another_vlan_and_a_subnet_other_addresses_while_others_talk() {
    if !is_root() {
        return;
    }
    let lab = start(office("2x2"));
    lab.ping_all(LIMIT).unwrap();
    let api = api(&lab);
    let others = [stream(&lab, "h2", "h4"), stream(&lab, "h3", "h5")];
    others.iter().for_each(|p| flowing(p, 200));

    // h1's port goes from red to blue, and h1 with it.
    let site = api.blueprint().unwrap();
    let site = swap(&site, "leaf1/3:\n    untagged: 10", "leaf1/3:\n    untagged: 20");
    let (was, is) = ("10\n    ips: [10.0.10.11, 2001:db8:10::11]", "20\n    ips: [10.0.20.11, 2001:db8:20::11]");
    let site = swap(&site, was, is);
    api.apply(&site).unwrap();
    readdress(&lab, "h1", ("10.0.20.11", "10.0.20.1"), ("2001:db8:20::11", "2001:db8:20::1"));
    // Its new VLAN on its own leaf and on the other one, its old one, and its gateways.
    reach(&lab, "h1", &["10.0.20.15", "10.0.20.14", "10.0.10.12", "10.0.20.1", "2001:db8:20::14", "2001:db8:10::13"]);
    reach(&lab, "h7", &["10.0.20.11", "2001:db8:20::11"]);

    // Green gets other prefixes and another number.
    let site = site.replace("10.0.30.", "10.0.31.").replace("2001:db8:30:", "2001:db8:31:");
    let site = site.replace("vlan: 30", "vlan: 31").replace("[30]", "[31]");
    api.apply(&site).unwrap();
    readdress(&lab, "h7", ("10.0.31.17", "10.0.31.1"), ("2001:db8:31::17", "2001:db8:31::1"));
    reach(&lab, "h7", &["10.0.31.1", "10.0.20.11", "10.0.10.13", "2001:db8:10::12"]);
    reach(&lab, "h1", &["10.0.31.17", "2001:db8:31::17"]);

    // The same again changes nothing.
    assert_eq!(api.apply(&site).unwrap()["intents"], serde_json::json!([]));
    for probe in others {
        flowing(&probe, 100);
        let report = probe.stop().unwrap();
        assert_eq!((report.lost, report.duplicated), (0, 0), "{report}");
    }
    lab.end().unwrap();
}
