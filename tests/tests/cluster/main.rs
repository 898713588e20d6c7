//! Three controllers on three members of etcd run an office: killed, frozen, cut off, without power, while traffic runs.
//!
//! `PERGOLA_CHAOS_ROUNDS=N` kills and freezes controllers and members at random for N more rounds (`make chaos`).
#![allow(clippy::unwrap_used)]

mod http;
mod office;
mod stores;

use std::time::{Duration, Instant};

use office::{LIMIT, Office, retried};
use pergola_lab::probe::{Probe, ProbeReport, ProbeSpec};
use pergola_lab::{Cut, Kill};
use pergola_scenarios::{is_root, wait_until};

const LEASE_LIMIT: Duration = Duration::from_millis(1500);

fn traffic(office: &Office) -> Probe {
    // Across the spines, by many paths; slow enough for a machine that also runs everything else.
    let spec = ProbeSpec { rate_pps: 500, flows: 16, ..ProbeSpec::new("c1", "c3") };
    let probe = Probe::start(&office.lab, &spec).unwrap();
    flows(&probe, 100);
    probe
}

fn flows(probe: &Probe, more: u64) {
    let then = probe.received();
    wait_until("packets flow", LIMIT, || (probe.received() >= then + more).then_some(())).unwrap();
}

fn lossless(probe: Probe) -> ProbeReport {
    flows(&probe, 100);
    let report = probe.stop().unwrap();
    assert_eq!((report.lost, report.duplicated), (0, 0), "{report}");
    report
}

#[test]
fn a_cluster_loses_nothing() {
    if !is_root() {
        return;
    }
    let mut office = Office::start();
    office.spread();
    office.lab.ping_all(LIMIT).unwrap();
    office.links_are_up_but(&[]);
    a_controller_is_killed(&mut office);
    a_link_is_cut_while_nobody_is_master(&mut office);
    a_controller_is_frozen(&mut office);
    a_member_of_etcd_is_lost(&mut office);
    etcd_has_no_majority(&mut office);
    drained_and_stopped(&mut office);
    for round in 0..office::rounds() {
        anything(&mut office, round);
    }
    all_power_is_lost(&mut office);
    office.lab.ping_all(LIMIT).unwrap();
    office.end();
}

fn a_controller_is_killed(office: &mut Office) {
    let probe = traffic(office);
    let its = office.devices_of("c1");
    assert!(!its.is_empty());
    let killed = Instant::now();
    office.kill("c1");
    let took = office.taken_over("c2", "c1", killed);
    eprintln!("controller killed: {} switches have a new master after {took:?}", its.len());
    assert!(took < LEASE_LIMIT, "{took:?}");
    office.in_sync(&["c2", "c3"]);
    eprintln!("  traffic: {}", lossless(probe));
    office.run("c1");
    office.spread();
}

fn a_link_is_cut_while_nobody_is_master(office: &mut Office) {
    let probe = traffic(office);
    let master = office.masters("c2")["leaf1"].clone();
    let other = if master == "c2" { "c3" } else { "c2" };
    let killed = Instant::now();
    office.kill(&master);
    office.lab.break_link("leaf1-spine1", Cut::Loud).unwrap();
    flows(&probe, 100);
    let took = office.taken_over(other, &master, killed);
    assert!(took < LEASE_LIMIT, "{took:?}");
    let report = probe.stop().unwrap();
    eprintln!("link cut without a master: {report}");
    // The switch itself moves the flows: what was lost was lost at once and not until a master came.
    assert!(report.longest_gap_ms() < 200.0 && report.lost < 60, "{report}");
    office.run(&master);
    office.links_are_up_but(&["leaf1/1~spine1/1"]);
    office.lab.heal_link("leaf1-spine1").unwrap();
    office.spread();
    office.links_are_up_but(&[]);
    office.lab.ping_all(LIMIT).unwrap();
}

fn a_controller_is_frozen(office: &mut Office) {
    let probe = traffic(office);
    let frozen = Instant::now();
    office.signal("c2", "STOP");
    let took = office.taken_over("c3", "c2", frozen);
    eprintln!("controller frozen: new masters after {took:?}");
    assert!(took < LEASE_LIMIT, "{took:?}");
    // A change in the time that it sleeps through.
    office.route(1, "c3");
    office.signal("c2", "CONT");
    // It wakes up as what it is now, learns what it missed, and gets its share again.
    office.spread();
    office.in_sync(&["c1", "c2", "c3"]);
    eprintln!("  traffic: {}", lossless(probe));
}

fn a_member_of_etcd_is_lost(office: &mut Office) {
    let probe = traffic(office);
    office.kill("m0");
    for n in 2..5 {
        office.route(n, ["c1", "c2", "c3"][n % 3]);
    }
    office.run("m0");
    eprintln!("member of etcd lost: {}", lossless(probe));
    office.settled("c1");
}

fn etcd_has_no_majority(office: &mut Office) {
    let probe = traffic(office);
    office.kill("m0");
    office.kill("m1");
    let (status, text) = retried("an answer", || office.put_route(9, "c1").ok());
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("etcd") || text.contains("the store"), "{text}");
    // Without any master the switches still have their primaries for packets: gateways answer.
    office.lab.run("c1", "ping -c 1 -W 5 10.0.20.1").unwrap();
    // And the state is still told.
    let (status, text) = office.get("c1", "/api/v1/status").unwrap();
    assert!(status == 200 && text.contains("store_error"), "{text}");
    let back = Instant::now();
    office.run("m0");
    office.run("m1");
    office.route(10, "c2");
    eprintln!("majority of etcd back: writes are taken after {:?}", back.elapsed());
    office.links_are_up_but(&[]);
    office.settled("c3");
    office.in_sync(&["c1", "c2", "c3"]);
    eprintln!("  traffic: {}", lossless(probe));
}

fn drained_and_stopped(office: &mut Office) {
    let probe = traffic(office);
    office.pergola("c1", &["cluster", "drain", "c3"]);
    wait_until("c3 has nothing", LIMIT, || office.devices_of("c3").is_empty().then_some(())).unwrap();
    let status = office.pergola("c2", &["cluster", "status"]);
    assert!(status.contains("leaf4") && status.contains("DRAINING"), "{status}");
    office.settled("c1");
    office.pergola("c1", &["cluster", "drain", "c3", "--undo"]);
    office.spread();
    // In order: it gives up before it ends, and nobody has to wait for a lease.
    let stopped = Instant::now();
    office.signal("c3", "TERM");
    let took = office.taken_over("c1", "c3", stopped);
    eprintln!("controller stopped: new masters after {took:?}");
    office.reap("c3");
    office.run("c3");
    office.settled("c1");
    eprintln!("  traffic: {}", lossless(probe));
}

/// One thing at random, and back to order.
fn anything(office: &mut Office, round: u64) {
    let probe = traffic(office);
    let seed = office::seed().wrapping_add(round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let node = ["c1", "c2", "c3"][(seed >> 8) as usize % 3];
    let member = ["m0", "m1", "m2"][(seed >> 16) as usize % 3];
    let what = (seed >> 32) % 4;
    eprintln!("round {round}: {what} {node} {member}");
    match what {
        0 => office.kill(node),
        1 => office.signal(node, "STOP"),
        2 => office.kill(member),
        _ => office.signal(member, "STOP"),
    }
    std::thread::sleep(Duration::from_millis((seed >> 40) % 3000));
    match what {
        0 => office.run(node),
        1 => office.signal(node, "CONT"),
        2 => office.run(member),
        _ => office.signal(member, "CONT"),
    }
    office.route(20 + round as usize % 100, "c1");
    office.settled("c2");
    office.in_sync(&["c1", "c2", "c3"]);
    lossless(probe);
}

fn all_power_is_lost(office: &mut Office) {
    let known = office.routes("c1");
    assert!(known.len() >= 5, "{known:?}");
    for name in ["c1", "m2", "c2", "m0", "c3", "m1"] {
        office.kill(name);
    }
    let switches = ["leaf1", "leaf2", "leaf3", "leaf4", "spine1", "spine2"];
    for switch in switches {
        office.lab.kill(switch, Kill::PowerOff).unwrap();
    }
    // Controllers come up before their store does, and switches last.
    let cold = Instant::now();
    for name in ["c2", "c3", "c1", "m1", "m0", "m2"] {
        office.run(name);
    }
    for switch in switches {
        office.lab.restart(switch).unwrap();
    }
    office.settled("c1");
    office.in_sync(&["c1", "c2", "c3"]);
    eprintln!("cold start of everything: in sync after {:?}", cold.elapsed());
    office.links_are_up_but(&[]);
    assert_eq!(office.routes("c2"), known, "every acknowledged intent is there");
}
