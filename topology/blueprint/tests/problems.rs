//! Wrong files: each kind of wrong is reported at its line and column, with what was found, and all at once.
#![allow(clippy::unwrap_used)]

use pergola_blueprint::parse;

/// The problems of a file, one line each.
fn problems(text: &str) -> Vec<String> {
    let problems = parse(text).expect_err("a wrong file");
    problems.list().iter().map(|p| p.to_string()).collect()
}

const HEAD: &str = "site: {name: t, plaintext: lab}\nswitches:\n  leaf1: {}\n  leaf2: {}\n  spine1: {}\n";

/// The one problem of a right head and a wrong tail, without the line's offset by the head.
#[track_caller]
fn one(tail: &str) -> String {
    let found = problems(&format!("{HEAD}{tail}"));
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().unwrap()
}

#[track_caller]
fn assert_one(tail: &str, expected: &str) {
    assert_eq!(one(tail), expected);
}

#[test]
fn vlans_out_of_range() {
    for vlan in [0, 4095] {
        let tail = format!("subnets:\n  red: {{vlan: {vlan}}}\n");
        assert_one(&tail, &format!("7:15: subnets.red.vlan: found `{vlan}`, allowed: 1 to 4094"));
    }
    assert_one(
        "ports:\n  leaf1/3: {tagged: [10, 4095]}\n",
        "7:26: ports.leaf1/3.tagged[1]: found `4095`, allowed: 1 to 4094",
    );
}

#[test]
fn wrong_references() {
    assert_one(
        "ports:\n  leaf1/3: {untagged: red}\n",
        "7:23: ports.leaf1/3.untagged: found `red`, allowed: a VLAN id or one of the subnets: ",
    );
    assert_one(
        "ports:\n  leaf9/3: {untagged: 10}\n",
        "7:3: ports.leaf9/3: found `leaf9/3`, allowed: a port of a switch of the site",
    );
    assert_one(
        "links:\n  - [leaf1/1, spine7/1]\n",
        "7:5: links[0]: found `spine7/1`, allowed: a port of a switch of the site",
    );
    assert!(one("hosts:\n  h1: {port: leaf7/3, vlan: 10}\n").contains("`leaf7/3`"));
}

#[test]
fn a_port_used_twice() {
    assert_one(
        "links:\n  - [leaf1/1, spine1/1]\n  - [leaf2/1, spine1/1]\n",
        "8:5: links[1]: found `spine1/1`, allowed: a port no other link uses; leaf1/1~spine1/1 does",
    );
    assert_one(
        "links:\n  - [leaf1/1, spine1/1]\nports:\n  leaf1/1: {untagged: 10}\n",
        "9:23: ports.leaf1/1.untagged: found `leaf1/1`, allowed: no VLANs: link leaf1/1~spine1/1 uses the port",
    );
    assert_one(
        "ports:\n  leaf1/1-4: {untagged: 10}\n  leaf1/4: {untagged: 20}\n",
        "8:3: ports.leaf1/4: found `leaf1/4`, allowed: each once; it is also in line 7",
    );
}

#[test]
fn subnets_that_overlap_or_share_a_vlan() {
    assert_one(
        "subnets:\n  blue: {vlan: 20, gateways: [10.0.0.1/16]}\n  red: {vlan: 10, gateways: [2001:db8::1/64, 10.0.9.1/24]}\n",
        "8:46: subnets.red.gateways[1]: found `10.0.9.0/24`, allowed: a prefix that does not overlap 10.0.0.0/16 of subnet blue",
    );
    assert_one(
        "subnets:\n  blue: {vlan: 10}\n  red: {vlan: 10}\n",
        "8:15: subnets.red.vlan: found `10`, allowed: a VLAN of its own; blue has this one",
    );
    // Apart from one another they may use the same addresses.
    let apart = "subnets:\n  blue: {vlan: 20, gateways: [10.0.0.1/16]}\n  red: {vlan: 10, gateways: [10.0.9.1/24], domain: b}\n";
    parse(&format!("{HEAD}{apart}")).unwrap();
}

#[test]
fn gateways_outside_their_subnet() {
    assert_one(
        "subnets:\n  red: {vlan: 10, prefixes: [10.0.1.0/24], gateways: [10.0.2.1/24]}\n",
        "7:55: subnets.red.gateways[0]: found `10.0.2.1/24`, allowed: a gateway inside the subnet's prefix: 10.0.1.0/24",
    );
    assert!(one("subnets:\n  red: {vlan: 10, gateways: [10.0.1.0/24]}\n").contains("7:30: subnets.red.gateways[0]"));
    assert!(one("subnets:\n  red: {vlan: 10, prefixes: [10.0.1.5/24]}\n").contains("zero host bits, 10.0.1.0/24"));
}

#[test]
fn duplicate_labels_ids_and_addresses() {
    let found = problems(
        "site: {name: t}\nswitches:\n  leaf1: {}\n  leaf2: {device_id: 1, node_label: 101, router_mac: 02:00:00:01:00:01}\n",
    );
    for (line, what) in
        [(3, "device id"), (3, "node label"), (3, "router MAC"), (4, "device id"), (4, "node label"), (4, "router MAC")]
    {
        let other = if line == 3 { "leaf2" } else { "leaf1" };
        let wanted = format!("a {what} of its own; {other} has this one");
        assert!(
            found.iter().any(|p| p.starts_with(&format!("{line}:")) && p.ends_with(&wanted)),
            "{wanted}: {found:#?}"
        );
    }
    let twins = one(
        "ports: {leaf1/3-4: {untagged: 10}}\nhosts:\n  h1: {port: leaf1/3, mac: 02:00:00:00:00:11}\n  h2: {port: leaf1/4, mac: 02:00:00:00:00:11}\n",
    );
    assert_eq!(
        twins,
        "9:28: hosts.h2.mac: found `02:00:00:00:00:11`, allowed: one of its own in VLAN 10; h1 has this one"
    );
}

#[test]
fn pairs_and_dual_homing() {
    let found = problems("site: {name: t}\nswitches:\n  leaf1: {pair: leaf2}\n  leaf2: {}\n");
    assert_eq!(
        found,
        ["3:17: switches.leaf1.pair: found `leaf2`, allowed: a leaf that names leaf1 too; it names none"]
    );
    assert_one(
        "ports: {leaf1/3: {untagged: 10}, leaf2/3: {untagged: 10}}\nhosts:\n  s1: {port: [leaf1/3, leaf2/3]}\n",
        "8:14: hosts.s1.port: found `leaf1/3 and leaf2/3`, allowed: two ports on the two leaves of a pair",
    );
}

#[test]
fn hosts_whose_addresses_or_ports_do_not_fit() {
    let red = "subnets: {red: {vlan: 10, gateways: [10.0.1.1/24]}}\n";
    assert_one(
        &format!("{red}hosts:\n  h1: {{port: leaf1/3, vlan: red, ips: [10.0.2.5]}}\n"),
        "8:40: hosts.h1.ips[0]: found `10.0.2.5`, allowed: an address of subnet red: 10.0.1.0/24",
    );
    assert!(
        one(&format!("{red}hosts:\n  h1: {{port: leaf1/3, vlan: red, ips: [10.0.1.1]}}\n")).contains("not the gateway")
    );
    assert_one(
        "ports: {leaf1/3: {tagged: [10, 20]}}\nhosts:\n  h1: {port: leaf1/3, vlan: 30}\n",
        "8:14: hosts.h1.port: found `leaf1/3`, allowed: a port that carries VLAN 30",
    );
    assert!(
        one("ports: {leaf1/3: {tagged: [10, 20]}}\nhosts:\n  h1: {port: leaf1/3}\n")
            .contains("hosts.h1.vlan: found `nothing`")
    );
}

#[test]
fn routes_and_policies() {
    let red = "subnets: {red: {vlan: 10, gateways: [10.0.1.1/24]}}\n";
    assert_one(
        &format!("{red}routes:\n  - {{to: 10.9.0.0/16, via: [10.0.1.9, 10.7.0.1]}}\n"),
        "8:39: routes[0].via[1]: found `10.7.0.1`, allowed: an address of a subnet of domain default",
    );
    assert_one(
        &format!("{red}routes:\n  - {{to: 10.9.0.0/16}}\n"),
        "8:5: routes[0]: found `neither`, allowed: one of via and `blackhole: true`",
    );
    assert_one(
        "policies:\n  p:\n    rules:\n      - {priority: 1, match: {l4_dst: 80}, action: deny}\n",
        "9:30: policies.p.rules[0].match.ip_proto: found `none`, allowed: tcp, udp or sctp beside l4_src or l4_dst",
    );
    let rules = "policies:\n  p:\n    rules:\n      - {priority: 0, action: drop}\n";
    let both = problems(&format!("{HEAD}{rules}"));
    assert_eq!(both.len(), 2, "{both:#?}");
    assert_eq!(both[0], "9:20: policies.p.rules[0].priority: found `0`, allowed: 1 to 65535");
    assert!(both[1].starts_with("9:31: policies.p.rules[0].action: found `drop`"));
}

#[test]
fn everything_is_reported_at_once_and_nothing_twice() {
    let found = problems(
        "site: {name: t, colour: red}\nswitches:\n  leaf1: {role: stem}\n  Leaf2: {}\n  core: {role: spine}\nsubnets:\n  red: {vlan: 0}\nhosts:\n  h1: {port: leaf1/3, vlan: red}\n",
    );
    let starts: Vec<&str> = found.iter().map(|p| p.split(": found").next().unwrap()).collect();
    assert_eq!(
        starts,
        [
            "1:17: site.colour",
            "3:17: switches.leaf1.role",
            "4:3: switches.Leaf2",
            "5:3: switches.core.device_id",
            "5:3: switches.core.node_label",
            "5:3: switches.core.router_mac",
            "7:15: subnets.red.vlan",
        ],
        "{found:#?}"
    );
}

#[test]
fn text_that_is_no_yaml_and_shapes_that_are_wrong() {
    let found = problems("site: {name: t\nswitches: [");
    assert_eq!(found.len(), 1);
    assert!(problems("").iter().any(|p| p.contains("site")));
    assert!(problems("- a\n- b\n")[0].contains("a map"));
    assert!(
        problems("site: {name: t}\nswitches: [leaf1]\n")[0]
            .starts_with("2:11: switches: found `a list`, allowed: a map")
    );
    assert!(problems("site: {name: t}\nswitches: {leaf1: {}, leaf1: {}}\n").len() == 1);
}

#[test]
fn the_line_is_shown_with_a_mark_under_it() {
    let problems = parse("site: {name: t}\nsubnets:\n  red: {vlan: 4095}\n").unwrap_err();
    assert_eq!(
        problems.render("site.yaml"),
        "site.yaml:3:15: subnets.red.vlan: found `4095`, allowed: 1 to 4094\n    3 |   red: {vlan: 4095}\n      |               ^\n1 problem; nothing was changed\n"
    );
}

#[test]
fn words_yaml_takes_for_numbers_stay_words() {
    let text = "site: {name: 007}\nsubnets:\n  1e5: {vlan: 10, gateways: [10.0.1.1/24]}\nports:\n  leaf1/3: {untagged: 1e5}\nswitches: {leaf1: {}}\n";
    let view = parse(text).unwrap().view();
    assert_eq!(view.site().unwrap().name, "007");
    assert!(view.subnet(&"1e5".parse().unwrap()).is_some());
}

#[test]
fn ports_that_the_pipeline_has_no_number_for() {
    assert_one(
        "ports:\n  leaf1/511: {untagged: 10}\n",
        "7:3: ports.leaf1/511: found `leaf1/511`, allowed: a port number of 1 to 510",
    );
    assert_one(
        "links:\n  - [leaf1/1, spine1/600]\n",
        "7:5: links[0]: found `spine1/600`, allowed: a port number of 1 to 510",
    );
    assert!(one("hosts:\n  h1: {port: leaf1/512, vlan: 10}\n").contains("a port number of 1 to 510"));
}

#[test]
fn a_key_twice_and_what_is_no_yaml_in_plain_words() {
    assert_one("switches: {}\n", "6:1: found `switches`, allowed: each key of a map once");
    let broken = one("subnets: [\n");
    assert!(!broken.contains("at line"), "{broken}");
    let long = format!("{HEAD}{}", "[".repeat(20_000));
    let said = parse(&long).unwrap_err().render("site.yaml");
    assert!(said.len() < 1000, "{said}");
    assert!(said.lines().nth(2).unwrap().ends_with('^'), "{said}");
}
