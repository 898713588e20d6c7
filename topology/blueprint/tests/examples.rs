//! The examples are right, come back from export, and the schema that is checked in is the types'.
#![allow(clippy::unwrap_used)]

use pergola_blueprint::{diff, export, parse, schema};
use pergola_model::*;

const EXAMPLES: [(&str, &str); 4] = [
    ("single-leaf", include_str!("../examples/single-leaf.yaml")),
    ("2x2", include_str!("../examples/2x2.yaml")),
    ("2x4-paired", include_str!("../examples/2x4-paired.yaml")),
    ("fabric-10", include_str!("../examples/fabric-10.yaml")),
];

#[test]
fn every_example_is_right_and_comes_back_from_export() {
    for (name, text) in EXAMPLES {
        let blueprint = parse(text).unwrap_or_else(|p| panic!("{}", p.render(name)));
        let exported = export(&blueprint.view());
        let again = parse(&exported).unwrap_or_else(|p| panic!("{exported}{}", p.render(name)));
        assert_eq!(again, blueprint, "{name}");
        assert_eq!(diff(blueprint.view().intents(), again.into_intents()), [], "{name}");
    }
}

#[test]
fn the_paired_example_means_what_it_says() {
    let view = parse(EXAMPLES[2].1).unwrap().view();
    let leaf3 = view.switch(&"leaf3".parse().unwrap()).unwrap();
    assert_eq!(leaf3.device_id, DeviceId(3));
    assert_eq!(leaf3.node_label.get(), 103);
    assert_eq!(leaf3.router_mac.to_string(), "02:00:00:01:00:03");
    assert_eq!(leaf3.loopback_v6.unwrap().to_string(), "fd00:ffff::1:3");
    assert_eq!(leaf3.pair.as_ref().unwrap(), "leaf4");
    assert_eq!(leaf3.security, Security::Plaintext(PlaintextReason::Lab));
    let spine2 = view.switch(&"spine2".parse().unwrap()).unwrap();
    assert_eq!((spine2.device_id, spine2.node_label.get()), (DeviceId(1002), 1102));
    let s1 = view.host_with_ip(&DomainName::default(), "10.0.10.11".parse().unwrap()).unwrap();
    assert!(s1.is_dual_homed());
    let implied = view.port(&"leaf2/3".parse().unwrap()).unwrap();
    assert_eq!(implied.mode, PortMode::Untagged { vlan: VlanId::new(10).unwrap() });
    assert_eq!(view.routes_via("10.0.20.254".parse().unwrap()).count(), 1);
}

#[test]
fn each_port_mode_gives_its_hosts_their_tags() {
    let view = parse(EXAMPLES[1].1).unwrap().view();
    let tagging = |host: &str| {
        let host = view.host_intent(&host.parse().unwrap()).unwrap();
        view.port(&host.attachments[0]).unwrap().mode.tagging(host.vlan).unwrap()
    };
    let vlan = |n| VlanId::new(n).unwrap();
    assert_eq!(tagging("h1"), Tagging::Untagged);
    assert_eq!(tagging("h5"), Tagging::Tagged(vlan(20)));
    assert_eq!(tagging("h6"), Tagging::Untagged);
    assert_eq!(tagging("h7"), Tagging::Double { outer: vlan(100), inner: vlan(7) });
}

#[test]
fn the_schema_that_is_checked_in_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/blueprint.schema.json");
    if std::env::var_os("PERGOLA_RENEW").is_some() {
        std::fs::write(path, schema()).unwrap();
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(there == schema(), "{path} is not current; renew it with PERGOLA_RENEW=1");
}

fn shown(changes: Vec<pergola_blueprint::IntentChange>) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

#[test]
fn diff_orders_changes_and_names_fields() {
    let old = parse(EXAMPLES[0].1).unwrap();
    let text = EXAMPLES[0].1.replace("vlan: 20\n", "vlan: 21\n").replace("10.0.20.14", "10.0.20.15");
    let new = parse(&text).unwrap();
    assert_eq!(
        shown(diff(old.view().intents(), new.view().intents())),
        ["~ subnet/blue vlan", "~ port/leaf1/3 mode", "~ port/leaf1/4 mode", "~ host/h3 vlan", "~ host/h4 ips vlan",]
    );
    let nothing: Vec<AnyResource> = Vec::new();
    let all = diff(nothing.clone(), old.view().intents());
    assert_eq!(all.first().unwrap().to_string(), "+ site/site");
    let gone = shown(diff(old.view().intents(), nothing));
    assert_eq!(gone.first().unwrap(), "- host/h4");
    assert_eq!(gone.last().unwrap(), "- site/site");
}

/// The lab gives switches their addresses; applying the file as it was written leaves them alone.
#[test]
fn a_switch_that_is_given_no_address_stays_where_it_is() {
    let written = "site: {name: t, plaintext: lab}\nswitches:\n  leaf1: {}\n  leaf2: {}\n";
    let placed = written
        .replace("leaf1: {}", "leaf1: {p4runtime: \"127.0.0.1:50001\", gnmi: \"127.0.0.1:50002\", target: other}");
    let (written, placed) = (parse(written).unwrap(), parse(&placed).unwrap());
    assert_eq!(diff(placed.view().intents(), written.view().intents()), []);
    let moved = "site: {name: t, plaintext: lab}\nswitches:\n  leaf1: {p4runtime: \"127.0.0.1:6\"}\n  leaf2: {}\n";
    let moved = diff(placed.view().intents(), parse(moved).unwrap().view().intents());
    assert_eq!(shown(moved), ["~ switch/leaf1 gnmi p4runtime target"]);
}
