//! Isolated routing domains across leaves, with the same addresses in both.

use super::*;

const SITE: &str = "
site:
  name: domains
  plaintext: lab
switches: {leaf1: {}, leaf2: {}, spine1: {}}
links:
  - [leaf1/1, spine1/1]
  - [leaf2/1, spine1/2]
subnets:
  gold-west: {vlan: 10, domain: gold, gateways: [10.0.1.1/24, 2001:db8:1::1/64]}
  gold-east: {vlan: 20, domain: gold, gateways: [10.0.2.1/24, 2001:db8:2::1/64]}
  iron-west: {vlan: 30, domain: iron, gateways: [10.0.1.1/24, 2001:db8:1::1/64]}
  iron-east: {vlan: 40, domain: iron, gateways: [10.0.2.1/24, 2001:db8:2::1/64]}
  iron-far: {vlan: 50, domain: iron, gateways: [10.0.3.1/24, 2001:db8:3::1/64]}
  plain: {vlan: 60, gateways: [10.0.4.1/24, 2001:db8:4::1/64]}
ports:
  leaf1/11: {untagged: gold-west}
  leaf2/11: {untagged: gold-east}
  leaf1/12: {untagged: iron-west}
  leaf2/12: {untagged: iron-east}
  leaf2/13: {untagged: iron-far}
  leaf2/14: {untagged: plain}
hosts:
  g1: {port: leaf1/11, ips: [10.0.1.11, '2001:db8:1::11']}
  g2: {port: leaf2/11, ips: [10.0.2.12, '2001:db8:2::12']}
  i1: {port: leaf1/12, ips: [10.0.1.11, '2001:db8:1::11']}
  i2: {port: leaf2/12, ips: [10.0.2.12, '2001:db8:2::12']}
  i3: {port: leaf2/13, ips: [10.0.3.13, '2001:db8:3::13']}
  p1: {port: leaf2/14, ips: [10.0.4.14, '2001:db8:4::14']}
routes:
  - {to: 10.99.0.0/16, domain: gold, via: [10.0.2.12]}
";

/// ICMP messages that a host has taken.
fn taken(lab: &Scenario, host: &str) -> u64 {
    let text = lab.run(host, "cat /proc/net/snmp").unwrap();
    let line = text.lines().filter(|l| l.starts_with("Icmp:")).nth(1).unwrap().to_owned();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn domains_with_the_same_addresses_reach_within_and_not_across() {
    if !is_root() {
        return;
    }
    let lab = start(office_of("domains", SITE));
    settled(&lab);
    links(&lab, 2);
    for host in ["g1", "i1"] {
        reach(&lab, host, &["10.0.1.1", "10.0.2.12", "2001:db8:1::1", "2001:db8:2::12"]);
    }
    for host in ["g2", "i2"] {
        reach(&lab, host, &["10.0.1.11", "2001:db8:1::11"]);
    }
    reach(&lab, "i1", &["10.0.3.13", "2001:db8:3::13"]);
    // Each is answered by the host of its own domain.
    for (from, own, other) in [("g1", "g2", "i2"), ("i1", "i2", "g2")] {
        let before = [own, other].map(|h| taken(&lab, h));
        lab.run(from, "ping -c 5 -i 0.02 -W 5 10.0.2.12").unwrap();
        let after = [own, other].map(|h| taken(&lab, h));
        assert!(after[0] >= before[0] + 5, "{own} got {before:?} {after:?}");
        assert!(after[1] < before[1] + 5, "{other} got {before:?} {after:?}");
    }
    // A route of the domain leads through the far leaf.
    lab.run("g2", "ip route add local 10.99.0.0/16 dev lo").unwrap();
    reach(&lab, "g1", &["10.99.0.1"]);
    let strangers =
        [("g1", "10.0.3.13"), ("g1", "10.0.4.14"), ("p1", "10.0.3.13"), ("i1", "10.99.0.1"), ("p1", "10.0.1.11")];
    let strangers = strangers.map(|(from, to)| pair(from, to));
    let report = ping::ping(&lab, &strangers, Duration::from_millis(800)).unwrap();
    assert_eq!(report.failed().count(), strangers.len(), "{report}");
    lab.end().unwrap();
}
