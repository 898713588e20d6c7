//! The lab itself, without switches: hosts back to back, tags and several cables in user space, many hosts in one process,
//! probes, and nothing left behind.
#![allow(clippy::unwrap_used)]

use pergola_lab::agent::{Ask, Reply, ask};
use pergola_lab::probe::{Probe, ProbeKind, ProbeSpec};
use pergola_lab::{
    Cut, HostInterface, HostSpec, LabError, LabSpec, LinkState, SwitchSpec, Target, UserHost, UserHostsSpec,
};
use pergola_scenarios::{Scenario, is_root, lab_command, remains, scratch, unique_name, wait_until};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_scenario-lab");
const LIMIT: Duration = Duration::from_secs(10);

/// Helper processes of labs in this test are played by this package's own program.
fn ready() -> bool {
    use std::sync::Once;
    static ONCE: Once = Once::new();
    #[allow(unsafe_code)] // Once, before any other thread of this test reads the environment through the lab.
    ONCE.call_once(|| unsafe { std::env::set_var("PERGOLA_LAB_AGENT", PROGRAM) });
    is_root()
}

fn pair(name: &str) -> LabSpec {
    let spec = LabSpec::new(name);
    let spec = spec.host("h1", &["10.0.0.1/24", "2001:db8::1/64"], &[]).unwrap();
    spec.host("h2", &["10.0.0.2/24", "2001:db8::2/64"], &[]).unwrap().link("h1", "h2").unwrap()
}

fn tagged(name: &str, tags: [&[u16]; 2]) -> LabSpec {
    let mut spec = pair(name);
    for (host, tags) in spec.hosts.iter_mut().zip(tags) {
        host.interfaces[0].tags = tags.to_vec();
    }
    spec
}

#[test]
fn a_plain_cable_and_nothing_left_behind() {
    if !ready() {
        return;
    }
    let lab = Scenario::start(pair("plain")).unwrap();
    let report = lab.ping_all(LIMIT).unwrap();
    assert_eq!(report.results.len(), 4, "two hosts, two directions, two families");
    let mac = lab.host("h1").unwrap().mac(0);
    assert!(lab.run("h1", "ip link show eth0").unwrap().contains(&mac));
    lab.end().unwrap();
}

#[test]
fn tags_are_pushed_and_popped_in_user_space() {
    if !ready() {
        return;
    }
    for tags in [&[10u16][..], &[100, 7]] {
        let lab = Scenario::start(tagged("tags", [tags, tags])).unwrap();
        lab.ping_all(LIMIT).unwrap();
        // A large transfer crosses with the kernel's offloads, partial checksums and all.
        let server = lab.command("h2", "python3").unwrap().args(["-c", SINK]).stdout(Stdio::piped()).spawn().unwrap();
        let mut server = Ended(server);
        let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "listening");
        let sent = lab.command("h1", "python3").unwrap().args(["-c", SOURCE]).output().unwrap();
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        assert_eq!(lines.next().unwrap().unwrap(), "8000000");
        lab.end().unwrap();
    }
}

const SINK: &str = "
import socket
s = socket.create_server(('10.0.0.2', 5000)); print('listening', flush=True)
c, _ = s.accept(); n = 0
while d := c.recv(65536): n += len(d)
print(n, flush=True)";
const SOURCE: &str = "
import socket
c = socket.create_connection(('10.0.0.2', 5000), 5); c.settimeout(10); c.sendall(b'x' * 8000000); c.close()";

struct Ended(Child);
impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn different_tags_do_not_meet() {
    if !ready() {
        return;
    }
    for tags in [[&[10u16][..], &[11]], [&[10], &[]], [&[100, 7], &[100]]] {
        let lab = Scenario::start(tagged("apart", tags)).unwrap();
        let error = lab.ping_all(Duration::from_millis(700)).unwrap_err().to_string();
        assert!(error.contains("0 of 4 pairs"), "{tags:?}: {error}");
    }
}

#[test]
fn a_host_with_several_vlans_on_one_cable() {
    if !ready() {
        return;
    }
    let interface = |tags: &[u16], address: &str| HostInterface {
        tags: tags.to_vec(),
        addresses: vec![address.parse().unwrap()],
        ..HostInterface::new()
    };
    let mut spec = LabSpec::new("trunk");
    for n in 1..=2 {
        let interfaces = vec![
            interface(&[], &format!("10.0.0.{n}/24")),
            interface(&[10], &format!("10.0.10.{n}/24")),
            interface(&[100, 7], &format!("10.0.107.{n}/24")),
        ];
        spec.hosts.push(HostSpec { name: format!("h{n}"), interfaces });
    }
    let lab = Scenario::start(spec.link("h1", "h2").unwrap()).unwrap();
    assert_eq!(lab.ping_all(LIMIT).unwrap().results.len(), 6);
    lab.end().unwrap();
}

#[test]
fn two_cables_share_the_load_and_stand_in_for_each_other() {
    if !ready() {
        return;
    }
    let mut lab = Scenario::start(pair("bond").link("h1", "h2").unwrap()).unwrap();
    lab.ping_all(LIMIT).unwrap();
    let carried = |lab: &Scenario| {
        let count = |cable: &str| {
            let text = lab.run("h1", &format!("ip -s -json link show {cable}")).unwrap();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            json[0]["stats64"]["tx"]["packets"].as_u64().unwrap()
        };
        [count("cable0"), count("cable1")]
    };
    let before = carried(&lab);
    let spec = ProbeSpec { flows: 32, rate_pps: 2000, ..ProbeSpec::new("h1", "h2") };
    let probe = Probe::start(&lab, &spec).unwrap();
    wait_until("packets", LIMIT, || (probe.received() > 1000).then_some(())).unwrap();
    let report = probe.stop().unwrap();
    assert_eq!((report.lost, report.duplicated), (0, 0), "{report}");
    let after = carried(&lab);
    for (before, after) in before.iter().zip(after) {
        assert!(after - before > report.sent / 10, "one cable hardly used: {before} -> {after} of {}", report.sent);
    }

    // Of two links with the same ends the name alone is not enough.
    assert!(matches!(lab.break_link("h1-h2", Cut::Loud), Err(LabError::Ambiguous { .. })));
    let down = || lab.run("h1", "ip link set cable0 down").map(drop);
    down().unwrap();
    lab.ping_all(LIMIT).unwrap();
    lab.run("h1", "ip link set cable1 down").unwrap();
    let gone = || lab.run("h1", "ip link show eth0").unwrap().contains("NO-CARRIER").then_some(());
    wait_until("the host sees its carrier go", LIMIT, gone).unwrap();
    lab.run("h1", "ip link set cable1 up").unwrap();
    lab.ping_all(LIMIT).unwrap();
}

#[test]
fn a_probe_measures_a_cut() {
    if !ready() {
        return;
    }
    let mut lab = Scenario::start(pair("cut")).unwrap();
    lab.ping_all(LIMIT).unwrap();
    for cut in [Cut::Silent, Cut::Loud] {
        for (kind, v6) in [(ProbeKind::Udp, false), (ProbeKind::Echo, true)] {
            let probe =
                Probe::start(&lab, &ProbeSpec { kind, v6, rate_pps: 5000, ..ProbeSpec::new("h1", "h2") }).unwrap();
            let arrived = |n: u64| wait_until("packets", LIMIT, || (probe.received() > n).then_some(()));
            arrived(500).unwrap();
            lab.break_link("h1-h2", cut).unwrap();
            let state = lab.status().unwrap().links[0].state;
            assert_eq!(state, if cut == Cut::Silent { LinkState::Silent } else { LinkState::Down });
            let from = Instant::now();
            // How long the cable stays cut is what the probe has to find.
            std::thread::sleep(Duration::from_millis(200));
            let long = from.elapsed().as_secs_f64() * 1e3;
            lab.heal_link("h1-h2").unwrap();
            arrived(probe.received() + 500).unwrap();
            let report = probe.stop().unwrap();
            let longest = report.longest_gap_ms();
            assert!(longest >= long * 0.95, "{cut:?} {kind:?}: cut for {long} ms\n{report}");
            // A host that lost its carrier asks for its neighbour again, once a second.
            assert!(longest < long + 2500.0, "{cut:?} {kind:?}: cut for {long} ms\n{report}");
            assert!(report.lost as f64 > 5.0 * long * 0.9, "{report}");
        }
    }
    assert_eq!(lab.status().unwrap().links[0].state, LinkState::Up);
}

#[test]
fn many_hosts_in_one_process() {
    if !ready() {
        return;
    }
    let count = 200u16;
    let host = |n: u16| UserHost {
        name: format!("u{n}"),
        mac: None,
        tags: vec![20],
        addresses: [format!("10.9.{}.{}/16", n / 250, n % 250 + 1), format!("2001:db8:9::{:x}/64", n + 1)]
            .map(|a| a.parse().unwrap())
            .to_vec(),
        gateways: vec![],
    };
    let mut spec = LabSpec::new("users");
    let users = UserHostsSpec { name: "crowd".into(), hosts: (0..count).map(host).collect() };
    spec.user_hosts.push(users);
    let mut spec =
        spec.host("h1", &["10.9.200.1/16", "2001:db8:9::ffff/64"], &[]).unwrap().link("h1", "crowd").unwrap();
    spec.hosts[0].interfaces[0].tags = vec![20];
    let lab = Scenario::start(spec).unwrap();

    let pairs = pergola_lab::ping::all_pairs(&lab).unwrap();
    // The crowd's hosts share a cable and do not hear one another; with h1 each talks both ways.
    let with_h1: Vec<_> = pairs.into_iter().filter(|p| p.from == "h1" || p.to == "h1").collect();
    assert_eq!(with_h1.len(), usize::from(count) * 4);
    let report = pergola_lab::ping::ping(&lab, &with_h1, LIMIT).unwrap();
    assert!(report.all_answered(), "{report}");

    let echo = "
import socket
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(5); u.sendto(b'hello', ('10.9.0.7', 7))
assert u.recv(100) == b'hello'
for again in range(3):
    t = socket.create_connection(('2001:db8:9::9', 7), 5); t.sendall(b'a' * 20000); t.shutdown(socket.SHUT_WR); n = 0
    while d := t.recv(65536): n += len(d)
    assert n == 20000, n
";
    let output = lab.exec("h1", "python3", &["-c", echo]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let control = lab.folder().join("crowd.sock");
    let unknown = Ask::Ping { pairs: vec![("nobody".into(), IpAddr::from([10, 9, 0, 1]))], timeout_ms: 10 };
    assert!(matches!(ask(&control, &unknown).unwrap(), Reply::Error(text) if text.contains("nobody")));
    let nowhere = Ask::Ping { pairs: vec![("u1".into(), IpAddr::from([10, 9, 222, 222]))], timeout_ms: 300 };
    assert!(matches!(ask(&control, &nowhere).unwrap(), Reply::Ping { rtt_us } if rtt_us == [None]));
    let Reply::Counters(counters) = ask(&control, &Ask::Counters).unwrap() else { panic!("no counters") };
    assert!(counters.received > u64::from(count) && counters.sent > u64::from(count), "{counters:?}");
    lab.end().unwrap();
}

#[test]
fn the_command_line_and_a_killed_owner() {
    if !ready() {
        return;
    }
    let name = unique_name("cli");
    let folder = scratch().unwrap();
    let file = folder.path().join("lab.json");
    std::fs::write(&file, serde_json::to_string(&tagged(&name, [&[5], &[5]])).unwrap()).unwrap();
    let file = file.to_str().unwrap();

    // In the foreground, killed without a chance to clean up: the hosts live on, and `down` still finds everything.
    let mut owner = lab_command(PROGRAM, &["up", file]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(owner.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("1/1 cables, 2 hosts"), "{line}");
    let run = |args: &[&str]| {
        let output = lab_command(PROGRAM, args).output().unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (again, text) = run(&["up", file]);
    assert!(!again && text.contains("is up already"), "{text}");
    owner.kill().unwrap();
    owner.wait().unwrap();
    let (fine, text) = run(&["exec", "--lab", &name, "h1", "--", "ping", "-c", "1", "-W", "5", "10.0.0.2"]);
    assert!(fine && text.contains("1 received"), "{text}");
    let (fine, text) = run(&["ping-all", "--lab", &name]);
    assert!(fine && text.contains("4 of 4 pairs answered"), "{text}");
    let (fine, text) = run(&["status", "--lab", &name, "-o", "json"]);
    assert!(fine && text.contains("\"shim:h1\""), "{text}");
    let (fine, text) = run(&["break", "--lab", &name, "h1-h9"]);
    assert!(!fine && text.contains("link `h1-h9` is not in this lab; there are: h1-h2"), "{text}");
    let (fine, text) = run(&["down", &name]);
    assert!(fine, "{text}");
    assert_eq!(remains(&name), Vec::<String>::new());

    // Ctrl-C.
    let mut owner = lab_command(PROGRAM, &["up", file]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(owner.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert!(lab_command("kill", &["-INT", &owner.id().to_string()]).status().unwrap().success());
    assert!(owner.wait().unwrap().success());
    assert_eq!(remains(&name), Vec::<String>::new());
}

fn one_switch(name: &str) -> LabSpec {
    let mut spec = LabSpec::new(name);
    spec.switches.push(SwitchSpec {
        name: "leaf1".into(),
        device_id: 1,
        grpc: SocketAddr::from(([127, 0, 0, 1], 50_001)),
        gnmi: None,
        cpu_port: 255,
        ports: vec![9],
        target: None,
        args: vec![],
    });
    let spec = spec.host("h1", &["10.0.0.1/24"], &[]).unwrap().host("h2", &["10.0.0.2/24"], &[]).unwrap();
    spec.link("h1", "leaf1/1").unwrap().link("h2", "leaf1/2").unwrap()
}

#[test]
fn ports_without_a_switch_process() {
    if !ready() {
        return;
    }
    let mut spec = one_switch("ports");
    spec.target = Target::None;
    let mut lab = Scenario::start(spec).unwrap();
    let shown = lab.run("leaf1", "ip -oneline link").unwrap();
    for port in ["leaf1-1@", "leaf1-2@", "leaf1-9@"] {
        assert!(shown.contains(port), "{shown}");
    }
    assert!(!lab.run("leaf1", "ip -6 addr").unwrap().contains("leaf1-1"), "ports make no IPv6 noise");
    lab.break_link("leaf1-h1", Cut::Loud).unwrap();
    let states: Vec<LinkState> = lab.status().unwrap().links.iter().map(|l| l.state).collect();
    assert_eq!(states, [LinkState::Down, LinkState::Up]);
    assert!(lab.run("h1", "ip addr show eth0").unwrap().contains("10.0.0.1/24"), "the host keeps its address");
    lab.heal_link("h1-leaf1").unwrap();
    // The kernel says so a moment later.
    let up = || (lab.status().ok()?.links[0].state == LinkState::Up).then_some(());
    wait_until("the cable is whole", LIMIT, up).unwrap();
    lab.end().unwrap();
}

#[test]
fn a_switch_that_does_not_start_leaves_nothing() {
    if !ready() {
        return;
    }
    let mut spec = one_switch("broken");
    spec.name = unique_name("broken");
    let name = spec.name.clone();
    spec.controller = Some(pergola_lab::ControllerSpec {
        program: Some("/bin/sh".into()),
        args: vec!["-c".into(), "echo it cannot work; exit 3".into()],
        files: Default::default(),
        ready: Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
    });
    spec.target = Target::None;
    let error = pergola_lab::Lab::up(spec).unwrap_err().to_string();
    assert!(error.contains("controller: ended while it started") && error.contains("it cannot work"), "{error}");
    assert_eq!(remains(&name), Vec::<String>::new());
}

#[test]
fn a_host_moves_to_another_port() {
    if !ready() {
        return;
    }
    for tags in [&[][..], &[10u16]] {
        let mut spec = one_switch("move");
        spec.target = Target::None;
        spec.hosts[0].interfaces[0].tags = tags.to_vec();
        let mut lab = Scenario::start(spec).unwrap();
        let error = lab.move_host("h1", 0, "leaf1/2").unwrap_err().to_string();
        assert!(error.contains("without a cable: 9"), "{error}");
        // What the host sends comes out of the port it is at.
        let heard = |lab: &Scenario, port: u16| {
            let count = || {
                let text = lab.run("leaf1", &format!("ip -s -json link show leaf1-{port}")).unwrap();
                let json: serde_json::Value = serde_json::from_str(&text).unwrap();
                json[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
            };
            let before = count();
            let nobody = IpAddr::from([10, 0, 0, 77]);
            let pair = pergola_lab::ping::Pair { from: "h1".into(), to: "-".into(), address: nobody };
            pergola_lab::ping::ping(lab, &[pair], Duration::from_millis(200)).unwrap();
            count() > before
        };
        assert!(heard(&lab, 1) && !heard(&lab, 9));
        let mac = lab.host("h1").unwrap().mac(0);
        lab.move_host("h1", 0, "leaf1/9").unwrap();
        wait_until("the new port", LIMIT, || heard(&lab, 9).then_some(())).unwrap();
        assert!(!heard(&lab, 1));
        let shown = lab.run("h1", "ip addr show eth0").unwrap();
        assert!(shown.contains("10.0.0.1/24") && shown.contains(&mac), "{shown}");
        assert_eq!(lab.status().unwrap().links[0].name, "h1-leaf1/9");
        lab.move_host("h1", 0, "leaf1/1").unwrap();
        wait_until("the old port", LIMIT, || heard(&lab, 1).then_some(())).unwrap();
        lab.end().unwrap();
    }
}

#[test]
fn the_examples_come_up_quickly() {
    if !ready() {
        return;
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../topology/blueprint/examples");
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = unique_name("example");
        let file = entry.path();
        let run = |args: &[&str]| {
            let output = lab_command(PROGRAM, args).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{args:?}: {text}");
            text
        };
        let from = Instant::now();
        run(&["up", "-d", "--target", "none", "--name", &name, file.to_str().unwrap()]);
        let took = from.elapsed();
        eprintln!("{}: up in {} ms", file.display(), took.as_millis());
        assert!(took < Duration::from_secs(10), "{took:?}");
        run(&["status", "--lab", &name]);
        run(&["down", &name]);
        assert_eq!(remains(&name), Vec::<String>::new());
    }
}
