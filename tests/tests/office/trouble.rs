//! What goes wrong in an office: everything dead, wrong cables, hosts that flood or lie, switches with the wrong entries.

use super::*;
use serde_json::json;

/// ARP frames from a raw socket: a flood of questions for addresses nobody has, for a moment.
const FLOOD: &str = "
import socket, struct, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))
mac = s.getsockname()[4]
end = time.time() + 1.5
n = 0
while time.time() < end:
    for _ in range(50):
        n += 1
        target = socket.inet_aton('10.0.10.%d' % (100 + n % 100))
        arp = struct.pack('!HHBBH6s4s6s4s', 1, 0x0800, 6, 4, 1, mac, socket.inet_aton('10.0.10.11'), b'', target)
        s.send(b'\\xff' * 6 + mac + b'\\x08\\x06' + arp.ljust(46, b'\\0'))
    time.sleep(0.005)
print(n)";

/// Claims the gateway's addresses towards everybody and towards one neighbour, by ARP and by NDP.
const SPOOF: &str = "
import socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))
mac = s.getsockname()[4]; victim = bytes.fromhex(sys.argv[1].replace(':', ''))
gateway = socket.inet_aton('10.0.10.1')
for to, target in [(b'\\xff' * 6, gateway), (victim, socket.inet_aton('10.0.10.12'))]:
    for op in (1, 2):
        arp = struct.pack('!HHBBH6s4s6s4s', 1, 0x0800, 6, 4, op, mac, gateway, to, target)
        s.send(to + mac + b'\\x08\\x06' + arp.ljust(46, b'\\0'))
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
own = socket.inet_pton(socket.AF_INET6, '2001:db8:10::1')
for to, dst in [(bytes.fromhex('333300000001'), 'ff02::1'), (victim, '2001:db8:10::12')]:
    dst = socket.inet_pton(socket.AF_INET6, dst)
    body = struct.pack('!BBHI16sBB6s', 136, 0, 0, 0xe0000000, own, 2, 1, mac)
    total = checksum(own + dst + struct.pack('!II', len(body), 58) + body)
    body = body[:2] + struct.pack('!H', total) + body[4:]
    s.send(to + mac + b'\\x86\\xdd' + struct.pack('!IHBB', 0x60000000, len(body), 58, 255) + own + dst + body)
print('done')";

fn python(lab: &Scenario, host: &str, program: &str, args: &[&str]) {
    let output = lab.command(host, "python3").unwrap().args(["-c", program]).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn hosts_that_flood_or_lie_harm_nobody() {
    if !is_root() {
        return;
    }
    let lab = start(office("2x2"));
    lab.ping_all(LIMIT).unwrap();
    let others = [stream(&lab, "h2", "h4"), stream(&lab, "h3", "h5")];
    others.iter().for_each(|p| flowing(p, 100));

    python(&lab, "h1", FLOOD, &[]);
    let alarms = || api(&lab).alarms("host-flood").ok().filter(|a| !a.is_empty());
    let alarm = wait_until("an alarm", LIMIT, alarms).unwrap();
    assert!(alarm[0].starts_with("leaf1/3 sends more than"), "{alarm:?}");
    // Others still get their questions answered.
    lab.run("h2", "ip neigh flush all").unwrap();
    reach(&lab, "h2", &["10.0.10.13", "10.0.20.14", "2001:db8:20::14"]);

    let victim = lab.host("h2").unwrap().mac(0);
    let neighbour = |ip: &str| lab.run("h2", &format!("ip neigh show {ip}")).unwrap();
    let lladdr = |text: &str| text.split_whitespace().skip_while(|w| *w != "lladdr").nth(1).map(str::to_owned);
    reach(&lab, "h2", &["10.0.10.1", "2001:db8:10::1"]);
    let before = ["10.0.10.1", "2001:db8:10::1"].map(|ip| lladdr(&neighbour(ip)));
    assert!(before.iter().all(Option::is_some), "{before:?}");
    python(&lab, "h1", SPOOF, &[&victim]);
    let alarms = || api(&lab).alarms("gateway-spoofed").ok().filter(|a| !a.is_empty());
    let alarm = wait_until("an alarm", LIMIT, alarms).unwrap();
    assert!(alarm[0].contains("leaf1/3") && alarm[0].contains("gateway"), "{alarm:?}");
    assert_eq!(["10.0.10.1", "2001:db8:10::1"].map(|ip| lladdr(&neighbour(ip))), before, "the neighbour believes it");
    reach(&lab, "h2", &["10.0.20.14", "2001:db8:20::14"]);
    for probe in others {
        flowing(&probe, 100);
        let report = probe.stop().unwrap();
        // While h2 forgot its neighbours, its own kernel may have given a packet up.
        assert!(report.lost * 200 <= report.sent, "{report}");
    }
    lab.end().unwrap();
}

#[test]
fn wrong_cables_are_reported_with_both_ends_and_not_used() {
    if !is_root() {
        return;
    }
    let mut spec = office("2x2");
    // The cables of the two leaves to spine1 are exchanged.
    for (link, right, wrong) in [(0, "spine1/1", "spine1/2"), (2, "spine1/2", "spine1/1")] {
        let link = &mut spec.links[link];
        let end = [&mut link.a, &mut link.b].into_iter().find(|e| e.to_string() == right);
        *end.unwrap() = wrong.parse().unwrap();
    }
    let lab = start(spec);
    let faults = || -> Option<Vec<String>> {
        let text = |v: &serde_json::Value| v.as_str().unwrap_or("nothing").to_owned();
        let of =
            |f: &serde_json::Value| format!("{}: {} not {}", text(&f["port"]), text(&f["found"]), text(&f["expected"]));
        let mut all: Vec<String> = api(&lab).all("cabling-fault").ok()?.iter().map(of).collect();
        all.sort();
        (all.len() == 4).then_some(all)
    };
    assert_eq!(
        wait_until("all ends reported", LIMIT, faults).unwrap(),
        [
            "leaf1/1: spine1/2 not spine1/1",
            "leaf2/1: spine1/1 not spine1/2",
            "spine1/1: leaf2/1 not leaf1/1",
            "spine1/2: leaf1/1 not leaf2/1"
        ]
    );
    settled(&lab);
    // Everything goes by spine2.
    lab.ping_all(LIMIT).unwrap();
    let used = |device: &str, label: &str| api(&lab).packets(device, "mpls", &format!("switch/{label}")).unwrap();
    assert_eq!((used("spine1", "leaf1"), used("spine1", "leaf2")), (0, 0));
    assert!(used("spine2", "leaf1") > 0 && used("spine2", "leaf2") > 0);
    lab.end().unwrap();
}

/// The 2x2 with two LLDP frames a second.
fn quick_lldp() -> LabSpec {
    office_of(
        "lldp",
        &swap(&example("2x2"), "  plaintext: lab\n", "  plaintext: lab\n  timers: {lldp_interval_ms: 500}\n"),
    )
}

#[test]
fn a_cable_that_is_lit_and_passes_nothing_is_gone_round() {
    if !is_root() {
        return;
    }
    let mut lab = start(quick_lldp());
    lab.ping_all(LIMIT).unwrap();
    links(&lab, 4);
    let probe = stream(&lab, "h1", "h4");
    flowing(&probe, 200);
    lab.break_link("leaf1-spine1", Cut::Silent).unwrap();
    links(&lab, 3);
    let raised = || api(&lab).alarms("lldp-silent").ok().filter(|a| !a.is_empty());
    let alarm = wait_until("an alarm", LIMIT, raised).unwrap();
    assert!(alarm[0].contains("leaf1/1") && alarm[0].contains("spine1/1"), "{alarm:?}");
    settled(&lab);
    flowing(&probe, 300);
    lab.heal_link("leaf1-spine1").unwrap();
    links(&lab, 4);
    wait_until("no alarm", LIMIT, || api(&lab).alarms("lldp-silent").ok().filter(Vec::is_empty)).unwrap();
    lab.ping_all(LIMIT).unwrap();
    let report = probe.stop().unwrap();
    eprintln!("a silent cut: {report}");
    // Some of the flows for two seconds; all of them for ten on a slow machine.
    assert!(report.lost < 10_000, "{report}");
    lab.end().unwrap();
}

#[test]
fn a_spine_without_session_is_used_as_long_as_it_forwards() {
    if !is_root() {
        return;
    }
    let mut lab = start(quick_lldp());
    lab.ping_all(LIMIT).unwrap();
    links(&lab, 4);

    // Only the controller has lost it: it goes on, and so do its links.
    let spine = api(&lab).get("switch/spine1").unwrap();
    let mut elsewhere = spine.clone();
    elsewhere["p4runtime"] = json!("127.0.0.1:9");
    elsewhere["gnmi"] = json!("127.0.0.1:9");
    let echoed = || api(&lab).metric(r#"pergola_packet_events_total{machine="lldp",event="echoed"}"#).unwrap();
    let before = echoed();
    let probe = stream(&lab, "h1", "h4");
    flowing(&probe, 200);
    api(&lab).put("switch/spine1", &elsewhere).unwrap();
    // Two leaves, two a second each: longer than any silence that is borne.
    wait_until("packets come back", LIMIT, || (echoed() >= before + 12.0).then_some(())).unwrap();
    links(&lab, 4);
    api(&lab).put("switch/spine1", &spine).unwrap();
    settled(&lab);
    let report = probe.stop().unwrap();
    assert_eq!(report.lost, 0, "{report}");

    // Its program dies while its ports stay lit.
    let probe = stream(&lab, "h1", "h4");
    flowing(&probe, 200);
    lab.kill("spine1", Kill::Crash).unwrap();
    links(&lab, 2);
    flowing(&probe, 300);
    lab.restart("spine1").unwrap();
    links(&lab, 4);
    lab.ping_all(LIMIT).unwrap();
    let report = probe.stop().unwrap();
    eprintln!("a spine dead and lit: {report}");
    assert!(report.lost < 10_000, "{report}");
    lab.end().unwrap();
}

#[test]
fn a_cold_start_in_every_order_ends_alike() {
    if !is_root() {
        return;
    }
    let mut lab = start(office("2x2"));
    lab.ping_all(LIMIT).unwrap();
    let orders =
        [["controller", "leaf1", "leaf2", "spine1", "spine2"], ["spine2", "leaf2", "spine1", "leaf1", "controller"]];
    for order in &orders {
        for name in order {
            lab.kill(name, if *name == "controller" { Kill::Crash } else { Kill::PowerOff }).unwrap();
        }
        // Hosts are there all the while, and ask in vain.
        silent(&lab, "h1", "10.0.20.14");
        for name in order {
            lab.restart(name).unwrap();
        }
        lab.ping_all(LIMIT).unwrap_or_else(|error| panic!("{order:?}: {error}"));
    }
    // Several at once, while traffic runs between those that are left.
    let probe = stream(&lab, "h1", "h5");
    flowing(&probe, 100);
    lab.kill("controller", Kill::Crash).unwrap();
    lab.kill("spine1", Kill::PowerOff).unwrap();
    lab.break_link("leaf2-spine2", Cut::Loud).unwrap();
    flowing(&probe, 300);
    lab.restart("controller").unwrap();
    lab.restart("spine1").unwrap();
    lab.heal_link("leaf2-spine2").unwrap();
    lab.ping_all(LIMIT).unwrap();
    let report = probe.stop().unwrap();
    assert_eq!(report.lost, 0, "within a leaf: {report}");
    lab.end().unwrap();
}

#[test]
fn what_nobody_wants_is_removed_and_two_switches_are_not_one() {
    if !is_root() {
        return;
    }
    let mut lab = start(office("2x2"));
    lab.ping_all(LIMIT).unwrap();
    settled(&lab);
    // A switch of the same device id at the same place is refused, with the words that say why; nothing is changed.
    let site = api(&lab).blueprint().unwrap();
    let at = |port: u16| format!("    p4runtime: 127.0.0.1:{port}\n");
    let twice = swap(&site, &at(50001), &format!("    device_id: 7\n{}", at(50001)));
    let twice = swap(&twice, &at(50002), &format!("    device_id: 7\n{}", at(50001)));
    let answer = api(&lab).ask("PUT", "/api/v1/blueprint", Some(("application/yaml", &twice))).unwrap();
    assert_eq!(answer.status, 422, "{}", answer.body);
    assert!(answer.body.to_string().contains("device_id"), "{}", answer.body);
    assert_eq!(api(&lab).blueprint().unwrap(), site);

    // The same switches under a controller that knows of no hosts and another subnet less: what it does not want goes.
    lab.kill("controller", Kill::Crash).unwrap();
    std::fs::remove_dir_all(lab.folder().join("controller")).unwrap();
    let hosts = site.find("\nhosts:").unwrap();
    let routes = site.find("\nroutes:").unwrap();
    let less = format!("{}{}", &site[..hosts], if routes > hosts { &site[routes..] } else { "" });
    std::fs::write(lab.folder().join("blueprint.yaml"), less).unwrap();
    lab.restart("controller").unwrap();
    settled(&lab);
    let leaf = api(&lab).get("devices/leaf1").unwrap();
    assert!(leaf["writes"]["foreign"].as_u64().unwrap() > 0 && leaf["installed"] == leaf["wanted"], "{leaf}");
    assert_eq!(leaf["pipeline_pushes"], json!(0), "the pipeline was there already");
    lab.end().unwrap();
}
