//! BMv2's `simple_switch_grpc` in place of our switch. It has no gNMI: what is known of links is known by LLDP.

use super::*;
use pergola_lab::{ProcessState, ProcessStatus};

/// Whether BMv2 is there. Without it the test does not run, and says so.
fn is_installed() -> bool {
    let found = pergola_lab::programs::find("simple_switch_grpc", "PERGOLA_BMV2");
    if let Err(error) = &found {
        eprintln!("SKIPPED: {error}");
    }
    found.is_ok()
}

/// A line by TCP, from one host to another.
const SERVE: &str = "
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('', 7000)); s.listen()
print('ready', flush=True)
print(len(s.accept()[0].makefile('rb').read()))";
const CALL: &str = "
import socket, sys
s = socket.create_connection((sys.argv[1], 7000), 20); s.sendall(b'x' * 100000); s.close()";

#[test]
fn a_fabric_of_bmv2_switches_works_breaks_and_heals() {
    if !is_root() || !is_installed() {
        return;
    }
    let names = ["leaf1", "leaf2", "spine1", "spine2"];
    let site = names.iter().fold(example("2x2"), |site, name| {
        swap(&site, &format!("  {name}: {{}}"), &format!("  {name}: {{target: bmv2}}"))
    });
    let mut lab = start(office_of("bmv2", &site));
    lab.ping_all(LIMIT).unwrap();
    links(&lab, 4);
    settled(&lab);

    // TCP: BMv2 fills no checksums in.
    let python = |host: &str, args: &[&str]| {
        let mut command = lab.command(host, "python3").unwrap();
        command.arg("-c").args(args).stdout(std::process::Stdio::piped());
        command
    };
    let mut server = python("h4", &[SERVE]).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(server.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    assert!(python("h1", &[CALL, "10.0.20.14"]).status().unwrap().success());
    assert_eq!(lines.next().unwrap().unwrap(), "100000");
    server.wait().unwrap();

    // A restarted controller finds everything as it wants it.
    lab.kill("controller", Kill::Crash).unwrap();
    lab.restart("controller").unwrap();
    settled(&lab);
    for switch in names {
        let device = api(&lab).get(&format!("devices/{switch}")).unwrap();
        let writes = &device["writes"];
        assert_eq!(
            (&writes["inserts"], &writes["modifies"], &writes["deletes"], &writes["errors"]),
            (&0.into(), &0.into(), &0.into(), &0.into()),
            "{device}"
        );
        assert_eq!(device["pipeline_pushes"], 0, "{device}");
    }

    // A cut: BMv2 sees its port go within a fifth of a second, the controller by LLDP.
    let probe = stream(&lab, "h1", "h4");
    flowing(&probe, 200);
    lab.break_link("leaf1-spine1", Cut::Loud).unwrap();
    links(&lab, 3);
    flowing(&probe, 200);
    lab.heal_link("leaf1-spine1").unwrap();
    links(&lab, 4);
    flowing(&probe, 200);
    let report = probe.stop().unwrap();
    eprintln!("a cut and its mending: {report}");
    assert!(report.lost < 10_000, "{report}");

    // A leaf dies under traffic: for its neighbours, BMv2 too, it was the only way there, and they live on.
    let probe = stream(&lab, "h1", "h4");
    flowing(&probe, 200);
    lab.kill("leaf2", Kill::PowerOff).unwrap();
    let called = || api(&lab).get("devices/leaf2").unwrap()["connected"] == true;
    wait_until("leaf2 is missed", LIMIT, || (!called()).then_some(())).unwrap();
    let report = probe.stop().unwrap();
    assert!(report.lost > 100, "the stream went on: {report}");
    let dead = |p: &&ProcessStatus| p.state == ProcessState::Died;
    assert_eq!(lab.status().unwrap().processes.iter().find(dead), None);
    lab.restart("leaf2").unwrap();
    links(&lab, 4);

    // A switch without power comes back empty.
    lab.kill("spine1", Kill::PowerOff).unwrap();
    lab.restart("spine1").unwrap();
    lab.ping_all(LIMIT).unwrap();
    links(&lab, 4);
    settled(&lab);
    lab.end().unwrap();
}
