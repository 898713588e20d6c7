//! A whole office on this machine: real switches, a real controller, real hosts.
#![allow(clippy::unwrap_used)]

mod bmv2;
mod changes;
mod dhcp;
mod domains;
mod learning;
mod multicast;
mod pairs;
mod policies;
mod routes;
mod trouble;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pergola_lab::ping::{self, Pair};
use pergola_lab::probe::{Probe, ProbeSpec};
use pergola_lab::{Cut, Kill, LabSpec};
use pergola_scenarios::{Api, Scenario, free_port, is_root, unique_name, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// The programs that `make test` builds before it runs tests.
fn programs() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().find(|p| p.file_name().is_some_and(|n| n == "deps")).unwrap().parent().unwrap().to_owned()
}

fn example(name: &str) -> String {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../topology/blueprint/examples").join(format!("{name}.yaml"));
    std::fs::read_to_string(path).unwrap()
}

fn office(name: &str) -> LabSpec {
    office_of(name, &example(name))
}

fn office_of(name: &str, blueprint: &str) -> LabSpec {
    let listen: SocketAddr = ([127, 0, 0, 1], free_port().unwrap()).into();
    let mut spec = pergola_lab::office(&unique_name(name), blueprint, listen).unwrap();
    spec.controller.as_mut().unwrap().program = Some(programs().join("pergola"));
    spec
}

/// The same site, whose controller believes only what it learns of hosts.
fn learned(blueprint: &str) -> String {
    let text = blueprint.replace(": {port: ", ": {binding: learned, port: ");
    assert_ne!(text, blueprint);
    text
}

/// A piece of a document put in place of another, which has to be there.
fn swap(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no `{from}` in:\n{text}");
    text.replace(from, to)
}

/// Like [`Scenario::start`], for a lab whose name is in its controller's arguments already.
fn start(spec: LabSpec) -> Scenario {
    Scenario::start_named(spec).unwrap()
}

fn api(lab: &Scenario) -> Api {
    Api(lab.spec().forwards[0].listen)
}

/// Waits until every switch holds what is stored now.
fn settled(lab: &Scenario) {
    wait_until("every switch in sync", LIMIT, || api(lab).in_sync().ok().filter(|s| *s)).unwrap();
}

fn pair(from: &str, to: &str) -> Pair {
    Pair { from: from.into(), to: to.into(), address: to.parse::<IpAddr>().unwrap() }
}

/// Waits until all of these addresses answer a host.
fn reach(lab: &Scenario, from: &str, addresses: &[&str]) {
    let pairs: Vec<Pair> = addresses.iter().map(|to| pair(from, to)).collect();
    let report = ping::ping(lab, &pairs, LIMIT).unwrap();
    assert!(report.all_answered(), "{report}");
}

/// An address that does not answer a host, for most of a second.
fn silent(lab: &Scenario, from: &str, address: &str) {
    let report = ping::ping(lab, &[pair(from, address)], Duration::from_millis(800)).unwrap();
    assert_eq!(report.failed().count(), 1, "{address} answers {from}");
}

/// A thousand packets a second in eight flows.
fn stream(lab: &Scenario, from: &str, to: &str) -> Probe {
    Probe::start(lab, &ProbeSpec { rate_pps: 1000, flows: 8, ..ProbeSpec::new(from, to) }).unwrap()
}

/// Waits until so many more packets have arrived.
fn flowing(probe: &Probe, more: u64) {
    let before = probe.received();
    wait_until("packets flow", LIMIT, || (probe.received() >= before + more).then_some(())).unwrap();
}

/// Waits until so many links are in use.
fn links(lab: &Scenario, count: usize) {
    let used = || {
        let all = api(lab).all("link-state").ok()?;
        (all.iter().filter(|l| l["up"] == true).count() == count).then_some(())
    };
    wait_until(&format!("{count} links in use"), LIMIT, used).unwrap();
}

/// What a command on a host says, whether it succeeds or not.
fn says(lab: &Scenario, host: &str, command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let output = lab.exec(host, words[0], &words[1..]).unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn every_host_of_the_2x2_reaches_every_other_one() {
    if !is_root() {
        return;
    }
    // Untagged, tagged, native and double-tagged ports; within a leaf, between leaves, between subnets; both families.
    let lab = start(office("2x2"));
    let report = lab.ping_all(LIMIT).unwrap();
    assert_eq!(report.results.len(), 7 * 6 * 2);
    // Gateways answer.
    lab.run("h1", "ping -c 1 -W 5 10.0.10.1").unwrap();
    lab.run("h1", "ping -c 1 -W 5 2001:db8:10::1").unwrap();
    // A blackhole does not.
    assert!(lab.run("h1", "ping -c 1 -W 1 10.66.1.1").is_err());
    lab.end().unwrap();
}

#[test]
fn the_other_examples_reach_everywhere() {
    if !is_root() {
        return;
    }
    // Paired leaves with dual-homed servers; ten switches with double uplinks.
    for (example, hosts) in [("single-leaf", 4), ("2x4-paired", 6), ("fabric-10", 16)] {
        let lab = start(office(example));
        let report = lab.ping_all(LIMIT).unwrap_or_else(|error| panic!("{example}: {error}"));
        assert!(report.results.len() >= hosts * (hosts - 1), "{example}");
        lab.end().unwrap();
    }
}

#[test]
fn a_cut_link_and_a_dead_controller_do_not_stop_traffic() {
    if !is_root() {
        return;
    }
    let mut lab = start(office("2x2"));
    lab.ping_all(LIMIT).unwrap();

    // The controller is dead: what is programmed goes on, and the switch repairs a cut by itself.
    lab.kill("controller", Kill::Crash).unwrap();
    let probe = Probe::start(&lab, &ProbeSpec { rate_pps: 1000, ..ProbeSpec::new("h1", "h4") }).unwrap();
    wait_until("packets flow", LIMIT, || (probe.received() > 300).then_some(())).unwrap();
    lab.break_link("leaf1-spine1", Cut::Loud).unwrap();
    let then = probe.received();
    wait_until("packets flow after the cut", LIMIT, || (probe.received() > then + 1000).then_some(())).unwrap();
    let report = probe.stop().unwrap();
    assert!(report.lost < 100, "{report}");

    // Back, it finds everything in place, and the link down.
    lab.restart("controller").unwrap();
    lab.ping_all(LIMIT).unwrap();
    lab.heal_link("leaf1-spine1").unwrap();
    lab.ping_all(LIMIT).unwrap();
    lab.end().unwrap();
}

#[test]
fn a_switch_that_restarts_empty_is_programmed_again() {
    if !is_root() {
        return;
    }
    let mut lab = start(office("2x2"));
    lab.ping_all(LIMIT).unwrap();
    for switch in ["spine1", "leaf2"] {
        lab.kill(switch, Kill::PowerOff).unwrap();
        lab.restart(switch).unwrap();
    }
    lab.ping_all(LIMIT).unwrap();
    lab.end().unwrap();
}

const SHARED: &str = "
site: {name: shared, plaintext: lab}
switches: {leaf1: {}}
subnets:
  red: {vlan: 10, gateways: [10.0.10.1/24, \"2001:db8:10::1/64\"]}
  blue: {vlan: 20, gateways: [10.0.20.1/24, \"2001:db8:20::1/64\"]}
ports:
  leaf1/3: {native: red, tagged: [blue]}
hosts:
  a: {port: leaf1/3, vlan: red, ips: [10.0.10.11, \"2001:db8:10::11\"]}
  b: {port: leaf1/3, vlan: red, ips: [10.0.10.12, \"2001:db8:10::12\"]}
  c: {port: leaf1/3, vlan: blue, ips: [10.0.20.13, \"2001:db8:20::13\"]}
  d: {port: leaf1/300, vlan: red, ips: [10.0.10.14, \"2001:db8:10::14\"]}
";

#[test]
fn hosts_behind_one_port_reach_each_other_and_all_others() {
    if !is_root() {
        return;
    }
    let mut lab = start(office_of("shared", SHARED));
    assert_eq!(lab.ping_all(LIMIT).unwrap().results.len(), 4 * 3 * 2);
    // One cable is pulled, not the port.
    lab.break_link("b-leaf1/3", Cut::Loud).unwrap();
    silent(&lab, "d", "10.0.10.12");
    reach(&lab, "d", &["10.0.10.11", "10.0.20.13"]);
    lab.heal_link("b-leaf1/3").unwrap();
    lab.ping_all(LIMIT).unwrap();
    lab.end().unwrap();
}
