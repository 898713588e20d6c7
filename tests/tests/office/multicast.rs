//! Multicast with real listeners: IGMP and MLD of the hosts' kernels, members on two leaves, and nobody else.

use super::*;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SITE: &str = "
site: {name: groups, plaintext: lab}
switches: {leaf1: {}, leaf2: {}, leaf3: {}, spine1: {}, spine2: {}}
links:
  - [leaf1/1, spine1/1]
  - [leaf1/2, spine2/1]
  - [leaf2/1, spine1/2]
  - [leaf2/2, spine2/2]
  - [leaf3/1, spine1/3]
  - [leaf3/2, spine2/3]
subnets:
  red: {vlan: 10, gateways: [10.0.10.1/24, \"2001:db8:10::1/64\"]}
ports:
  leaf2/5: {tagged: [red]}
hosts:
  source: {port: leaf1/3, vlan: red, ips: [10.0.10.11, \"2001:db8:10::11\"]}
  near: {port: leaf1/4, vlan: red, ips: [10.0.10.12, \"2001:db8:10::12\"]}
  far: {port: leaf2/4, vlan: red, ips: [10.0.10.13, \"2001:db8:10::13\"]}
  tagged: {port: leaf2/5, vlan: red, ips: [10.0.10.14, \"2001:db8:10::14\"]}
  idle: {port: leaf2/6, vlan: red, ips: [10.0.10.15, \"2001:db8:10::15\"]}
  alone: {port: leaf3/4, vlan: red, ips: [10.0.10.16, \"2001:db8:10::16\"]}
";

const GROUPS: [&str; 2] = ["239.1.2.3", "ff05::8000:1"];

/// A host's part: `send GROUP`, 50 packets a second with the usual time to live, 1; `listen GROUP`; or `watch`, which
/// counts frames of both groups on the wire, listening or not. Each packet seen is a line; nothing runs longer than 2 minutes.
const PLAY: &str = r#"
import socket, struct, sys, time
role, group = sys.argv[1], (sys.argv + [""])[2]
end = time.monotonic() + 120
if role == "watch":
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.bind(("eth0", 0))
    # Every frame on the wire, also those that the card would leave out.
    s.setsockopt(263, 1, struct.pack("iHH8s", socket.if_nametoindex("eth0"), 1, 0, b""))
    macs = [bytes.fromhex("01005e010203"), bytes.fromhex("333380000001")]
    print("ready", flush=True)
    while time.monotonic() < end:
        frame, (_, _, kind, _, _) = s.recvfrom(2048)
        if kind != socket.PACKET_OUTGOING and frame[:6] in macs and b"a packet of the group" in frame:
            print("seen", flush=True)
    sys.exit()
v6 = ":" in group
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
index = socket.if_nametoindex("eth0")
if role == "listen":
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((group, 5000))
    if v6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", index))
    else:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4si", socket.inet_aton(group), bytes(4), index))
    print("ready", flush=True)
    while time.monotonic() < end:
        s.recv(2048)
        print("seen", flush=True)
else:
    if v6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    else:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("4s4si", bytes(4), bytes(4), index))
    print("ready", flush=True)
    while time.monotonic() < end:
        s.sendto(b"a packet of the group", (group, 5000))
        time.sleep(0.02)
"#;

/// A program on a host that counts what it sees; killed with the value.
struct Player {
    child: Child,
    seen: Arc<AtomicU64>,
}

impl Player {
    fn start(lab: &Scenario, host: &str, args: &[&str]) -> Self {
        let mut command = lab.command(host, "python3").unwrap();
        let mut child = command.args(["-c", PLAY]).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let seen = Arc::new(AtomicU64::new(0));
        let count = seen.clone();
        std::thread::spawn(move || {
            for _ in lines {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Player { child, seen }
    }

    fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Waits until it has seen so many more.
    fn sees(&self, what: &str, more: u64) {
        let before = self.seen();
        wait_until(what, LIMIT, || (self.seen() >= before + more).then_some(())).unwrap();
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The switches on which somebody listens to a group.
fn listening(lab: &Scenario, group: &str) -> Vec<String> {
    let all = api(lab).all("group-members").unwrap();
    let of_group = all.iter().filter(|m| m["group"] == group);
    of_group.filter_map(|m| m["switch"].as_str().map(str::to_owned)).collect()
}

fn listened(lab: &Scenario, on: &[&str]) {
    for group in GROUPS {
        let known = || listening(lab, group) == on;
        wait_until(&format!("{group} on {on:?}"), LIMIT, || known().then_some(())).unwrap();
    }
    settled(lab);
}

#[test]
fn groups_reach_their_listeners_and_nobody_else() {
    if !is_root() {
        return;
    }
    let mut lab = start(office_of("groups", SITE));
    links(&lab, 6);
    settled(&lab);
    let watches = ["near", "far", "idle", "alone"].map(|host| (host, Player::start(&lab, host, &["watch"])));
    let watch = |host: &str| watches.iter().find(|(name, _)| *name == host).map(|(_, player)| player).unwrap();
    let listen = |lab: &Scenario, host: &str| GROUPS.map(|group| Player::start(lab, host, &["listen", group]));
    let (near, tagged) = (listen(&lab, "near"), listen(&lab, "tagged"));
    let far = listen(&lab, "far");
    listened(&lab, &["leaf1", "leaf2"]);

    let _sources = GROUPS.map(|group| Player::start(&lab, "source", &["send", group]));
    for player in near.iter().chain(&far).chain(&tagged) {
        player.sees("a packet of the group", 50);
    }
    // Once each: both groups have been on the wire to each of the two as often as a listener has heard one of them, and a bit.
    let (heard, wire) = (far[0].seen() + far[1].seen(), watch("far").seen());
    assert!(wire < heard + heard / 4 + 10, "{wire} frames for {heard} packets");
    for host in ["idle", "alone"] {
        assert_eq!(watch(host).seen(), 0, "{host} does not listen");
    }

    // A listener that leaves gets no more, and nobody else notices.
    drop(far);
    drop(tagged);
    listened(&lab, &["leaf1"]);
    let then = watch("far").seen();
    near.iter().for_each(|player| player.sees("a packet of the group", 50));
    assert_eq!(watch("far").seen(), then, "far has left");

    // It comes back while the controller is dead, and is served when that lives again. The others are all the time.
    lab.kill("controller", Kill::Crash).unwrap();
    near.iter().for_each(|player| player.sees("a packet of the group, without a controller", 50));
    let far = listen(&lab, "far");
    lab.restart("controller").unwrap();
    listened(&lab, &["leaf1", "leaf2"]);
    far.iter().for_each(|player| player.sees("a packet of the group, back again", 20));

    // Whichever spine has the group in its charge: the other one takes it.
    for (cut, way) in [("leaf2-spine1", 5), ("leaf2-spine2", 5)] {
        lab.break_link(cut, Cut::Loud).unwrap();
        links(&lab, way);
        settled(&lab);
        far.iter().for_each(|player| player.sees("a packet of the group, by the other spine", 20));
        lab.heal_link(cut).unwrap();
        links(&lab, 6);
    }
    for host in ["idle", "alone"] {
        assert_eq!(watch(host).seen(), 0, "{host} does not listen");
    }
    lab.end().unwrap();
}
