//! A whole office on this machine: real switches, a real controller, real hosts.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pergola_lab::probe::{Probe, ProbeSpec};
use pergola_lab::{Cut, Kill, LabSpec};
use pergola_scenarios::{Scenario, free_port, is_root, unique_name};

const LIMIT: Duration = Duration::from_secs(60);

/// The programs that `make test` builds before it runs tests.
fn programs() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().find(|p| p.file_name().is_some_and(|n| n == "deps")).unwrap().parent().unwrap().to_owned()
}

fn office(example: &str) -> LabSpec {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../topology/blueprint/examples").join(format!("{example}.yaml"));
    let listen: SocketAddr = ([127, 0, 0, 1], free_port().unwrap()).into();
    let name = unique_name(example);
    let mut spec = pergola_lab::office(&name, &std::fs::read_to_string(path).unwrap(), listen).unwrap();
    spec.controller.as_mut().unwrap().program = Some(programs().join("pergola"));
    spec
}

/// Like [`Scenario::start`], for a lab whose name is in its controller's arguments already.
fn start(spec: LabSpec) -> Scenario {
    Scenario::start_named(spec).unwrap()
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
    pergola_scenarios::wait_until("packets flow", LIMIT, || (probe.received() > 300).then_some(())).unwrap();
    lab.break_link("leaf1-spine1", Cut::Loud).unwrap();
    let then = probe.received();
    pergola_scenarios::wait_until("packets flow after the cut", LIMIT, || {
        (probe.received() > then + 1000).then_some(())
    })
    .unwrap();
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
