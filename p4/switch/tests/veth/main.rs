//! The switch's ports on real veth pairs: hosts in network namespaces with Linux's default offloads on.
//!
//! Needs root; without it, it says so and passes. Namespaces are io-PID-a and io-PID-b (hosts) and io-PID-s (the switch); this
//! program runs itself again inside them. `cargo test -p p4switch --test veth -- NAME` runs the scenarios with NAME.
//!
//! ```text
//!  io-a: v 10.0.0.1 ──── s0 [ io-s: switch ] s1 ──── v 10.0.0.2 :io-b
//!                              m0 ──── m1   (a cable from the switch to itself)
//!                              x0 ──── x1   (a cable to pull)
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod interfaces;

use p4runtime_proto::gnmi::{
    Encoding, Path, PathElem, SubscribeRequest, Subscription, SubscriptionList, SubscriptionMode,
    g_nmi_client::GNmiClient, g_nmi_server::GNmiServer, subscribe_request::Request, subscribe_response::Response,
    typed_value::Value,
};
use p4switch::gnmi::{GnmiService, site::Site};
use p4switch::ports::packet::{PacketRx, PacketTx, RingOptions};
use p4switch::ports::{Offload, PortEvent, PortManager, PortNo, PortOptions, PortRx, PortSpec, PortTx, netlink, sys};
use p4switch::runtime::{Forwarder, Runtime, RuntimeOptions, Sink};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(20);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    match args.first().map(String::as_str) {
        Some("role-sink") => role_sink(),
        Some("role-source") => role_source(&args[1], args[2].parse().unwrap()),
        Some("role-send") => role_send(&args[1..]),
        Some("role-hear") => role_hear(args[1].parse().unwrap()),
        Some("role-switch") => scenarios(&args[1], args.get(2).map(String::as_str)),
        filter => outside(filter),
    }
}

fn run(command: &str) -> bool {
    let mut words = command.split(' ');
    Command::new(words.next().unwrap()).args(words).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

struct Namespaces(String);

impl Namespaces {
    fn new() -> Self {
        let spaces = Self(format!("io-{}", std::process::id()));
        let id = &spaces.0;
        for end in ["a", "b", "s"] {
            assert!(run(&format!("ip netns add {id}-{end}")), "network namespaces");
        }
        for (host, port, address) in [("a", "s0", "10.0.0.1/24"), ("b", "s1", "10.0.0.2/24")] {
            assert!(run(&format!("ip link add v netns {id}-{host} type veth peer name {port} netns {id}-s")));
            assert!(run(&format!("ip -n {id}-{host} addr add {address} dev v")));
            assert!(run(&format!("ip -n {id}-{host} link set v up")));
        }
        for (near, far) in [("m0", "m1"), ("x0", "x1")] {
            assert!(run(&format!("ip link add {near} netns {id}-s type veth peer name {far} netns {id}-s")));
            assert!(run(&format!("ip -n {id}-s link set {near} mtu 9000 up")));
            assert!(run(&format!("ip -n {id}-s link set {far} mtu 9000 up")));
        }
        assert!(run(&format!("ip -n {id}-s link set lo up")));
        spaces
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for end in ["a", "b", "s"] {
            run(&format!("ip netns del {}-{end}", self.0));
        }
    }
}

fn outside(filter: Option<&str>) {
    let uid = std::fs::read_to_string("/proc/self/status").unwrap();
    if !uid.contains("Uid:\t0\t") {
        println!("skipped: needs root for network namespaces");
        return;
    }
    let spaces = Namespaces::new();
    let mut inside = enter(&spaces.0, "s", &["role-switch", &spaces.0, filter.unwrap_or("")], Stdio::inherit());
    let status = inside.wait().unwrap();
    drop(spaces);
    assert!(status.success(), "a scenario failed");
}

fn enter(id: &str, end: &str, args: &[&str], output: Stdio) -> Child {
    let exe = std::env::current_exe().unwrap();
    let space = format!("{id}-{end}");
    Command::new("ip").args(["netns", "exec", &space]).arg(exe).args(args).stdout(output).spawn().unwrap()
}

// --- Roles in the hosts ---

/// The byte at a place of the test stream.
fn byte(at: u64) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ at as u8
}

/// Takes one connection, checks every byte, prints how many came.
fn role_sink() {
    let listener = TcpListener::bind("0.0.0.0:5001").unwrap();
    println!("ready");
    let (mut stream, _) = listener.accept().unwrap();
    let mut buffer = vec![0u8; 1 << 18];
    let mut at = 0u64;
    loop {
        let len = stream.read(&mut buffer).unwrap();
        if len == 0 {
            break;
        }
        for (offset, found) in buffer[..len].iter().enumerate() {
            assert_eq!(*found, byte(at + offset as u64), "byte {}", at + offset as u64);
        }
        at += len as u64;
    }
    stream.write_all(&at.to_be_bytes()).unwrap();
}

/// Sends so many bytes and waits until the other side says that all came.
fn role_source(to: &str, bytes: u64) {
    let mut stream = TcpStream::connect((to, 5001)).unwrap();
    stream.set_write_timeout(Some(WAIT)).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let start = Instant::now();
    let mut at = 0u64;
    while at < bytes {
        let chunk: Vec<u8> = (at..bytes.min(at + (1 << 18))).map(byte).collect();
        stream.write_all(&chunk).unwrap();
        assert!(start.elapsed() < 3 * WAIT, "{at} of {bytes} bytes in a minute");
        at += chunk.len() as u64;
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = [0u8; 8];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(u64::from_be_bytes(answer), bytes);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// Sends raw frames from the host's interface.
fn role_send(frames: &[String]) {
    let ifindex = sys::interface_index("v").unwrap();
    let mut tx = PacketTx::open(ifindex, &RingOptions::default()).unwrap();
    for frame in frames {
        assert_eq!(tx.send(&unhex(frame), &[], &Offload::NONE), p4switch::ports::Sent::Yes);
    }
    tx.flush().unwrap();
}

/// Prints so many raw frames of the test's Ethernet types.
fn role_hear(count: usize) {
    let mut rx = PacketRx::open(sys::interface_index("v").unwrap(), &RingOptions::default()).unwrap();
    println!("ready");
    let mut heard = 0;
    while heard < count {
        sys::poll(&mut [sys::poll_in(rx.fd())], WAIT.as_millis() as i32).unwrap();
        rx.receive(64, &mut |frame, _| {
            if heard < count && is_test(frame) {
                heard += 1;
                println!("{}", hex(frame));
            }
        });
    }
}

/// Test frames come from this address.
const SOURCE: [u8; 6] = [2, 0x10, 0, 0, 0, 0x10];

fn is_test(frame: &[u8]) -> bool {
    frame.len() >= 12 && frame[6..12] == SOURCE
}

struct Lines {
    child: Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Lines {
    fn start(id: &str, end: &str, args: &[&str]) -> Self {
        use std::io::BufRead;
        let mut child = enter(id, end, args, Stdio::piped());
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = Self { child, lines };
        assert_eq!(lines.next(), "ready");
        lines
    }

    fn next(&mut self) -> String {
        self.lines.next().expect("a role ended early").unwrap()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// --- Programs ---

/// What the switch does with a frame between the hosts.
#[derive(Clone, Copy)]
enum Program {
    /// s0 to s1 and back.
    Cable,
    /// s0 to s1 and back, with the depth of the queue in the first byte behind the Ethernet header.
    Depth,
    /// s0 to m0 with headers pushed; m1 to s1 with them popped; and back the same way.
    Through(Tunnel),
}

#[derive(Clone, Copy, Debug)]
enum Tunnel {
    TwoTags,
    /// With an outer ethertype that Linux does not know.
    OldTags,
    ThreeLabels,
    Pppoe,
    GtpU,
}

const M0: PortNo = 10;
const M1: PortNo = 11;

impl Forwarder for Program {
    fn process(&mut self, port: PortNo, frame: &mut [u8], sink: &mut dyn Sink) {
        match (*self, port) {
            (Self::Cable, 0 | 1) => sink.emit(port ^ 1, &frame[..14], &frame[14..]),
            (Self::Depth, 0 | 1) => {
                frame[14] = sink.depth(port ^ 1).min(255) as u8;
                sink.emit(port ^ 1, frame, &[]);
            }
            (Self::Through(tunnel), 0) => tunnel.push(frame, M0, sink),
            (Self::Through(tunnel), 1) => tunnel.push(frame, M1, sink),
            (Self::Through(tunnel), M0) => tunnel.pop(frame, 0, sink),
            (Self::Through(tunnel), M1) => tunnel.pop(frame, 1, sink),
            _ => {}
        }
    }
}

impl Tunnel {
    fn push(self, frame: &[u8], to: PortNo, sink: &mut dyn Sink) {
        let ip = frame[12..14] == [8, 0];
        let mut head = frame[..12].to_vec();
        match self {
            Self::TwoTags | Self::OldTags => {
                head.extend(if matches!(self, Self::OldTags) { [0x91, 0] } else { [0x88, 0xa8] });
                head.extend([0, 5, 0x81, 0, 0, 6]);
                return sink.emit(to, &head, &frame[12..]);
            }
            // Everything but IPv4 goes untouched.
            _ if !ip => return sink.emit(to, frame, &[]),
            Self::ThreeLabels => head.extend([0x88, 0x47, 0, 1, 0, 64, 0, 2, 0, 64, 0, 3, 1, 64]),
            Self::Pppoe => {
                head.extend([0x88, 0x64, 0x11, 0, 0, 7]);
                let len = u16::from_be_bytes([frame[16], frame[17]]) + 2;
                head.extend(len.to_be_bytes());
                head.extend([0, 0x21]);
            }
            Self::GtpU => {
                let inner = u16::from_be_bytes([frame[16], frame[17]]);
                // The whole may be longer than 16 bits can say: segments are cut before that matters.
                let mut outer = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 168, 0, 1, 192, 168, 0, 2];
                outer[2..4].copy_from_slice(&inner.wrapping_add(36).to_be_bytes());
                head.extend([8, 0]);
                head.extend(outer);
                head.extend([8, 0x68, 8, 0x68]);
                head.extend(inner.wrapping_add(16).to_be_bytes());
                head.extend([0, 0, 0x30, 255]);
                head.extend(inner.to_be_bytes());
                head.extend([0, 0, 0, 1]);
            }
        }
        sink.emit(to, &head, &frame[14..]);
    }

    fn pop(self, frame: &[u8], to: PortNo, sink: &mut dyn Sink) {
        let addresses = frame[..12].to_vec();
        let ip = [&addresses[..], &[8, 0]].concat();
        match (self, u16::from_be_bytes([frame[12], frame[13]])) {
            (Self::TwoTags, 0x88a8) | (Self::OldTags, 0x9100) => sink.emit(to, &addresses, &frame[20..]),
            (Self::ThreeLabels, 0x8847) => sink.emit(to, &ip, &frame[26..]),
            (Self::Pppoe, 0x8864) => sink.emit(to, &ip, &frame[22..]),
            (Self::GtpU, 0x0800) => {
                // A real far end is strict about lengths.
                let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
                let udp = usize::from(u16::from_be_bytes([frame[38], frame[39]]));
                assert!(total == frame.len() - 14 && udp == total - 20, "{total} {udp} {}", frame.len());
                sink.emit(to, &ip, &frame[50..]);
            }
            _ => sink.emit(to, frame, &[]),
        }
    }
}

// --- The switch ---

fn switch(program: Program, listener: impl Fn(PortNo, bool) + Send + Sync + 'static) -> PortManager {
    let runtime = Runtime::start(vec![Box::new(program)], None, &RuntimeOptions::default()).unwrap();
    let manager = PortManager::new(Arc::new(runtime), listener);
    for (no, name) in [(0, "s0"), (1, "s1"), (M0, "m0"), (M1, "m1")] {
        manager.add(no, PortSpec::Linux(name.into()), &PortOptions::default()).unwrap();
    }
    manager
}

/// Waits until a port is up or down.
fn wait_for(manager: &PortManager, no: PortNo, up: bool) {
    let mut events = manager.subscribe();
    let until = Instant::now() + WAIT;
    while manager.get(no).is_none_or(|port| port.up != up) {
        assert!(Instant::now() < until, "port {no} up={up}");
        let _: Result<PortEvent, _> = events.blocking_recv();
    }
}

/// Runs in namespaces whose names begin with the one it is given.
type Scenario = fn(&str);

fn scenarios(id: &str, filter: Option<&str>) {
    let all: [(&str, Scenario); 16] = [
        ("tcp_with_default_offloads", |id| tcp(id, Program::Cable)),
        ("tcp_under_two_tags", |id| tcp(id, Program::Through(Tunnel::TwoTags))),
        ("tcp_under_old_tags", |id| tcp(id, Program::Through(Tunnel::OldTags))),
        ("tcp_under_three_labels", |id| tcp(id, Program::Through(Tunnel::ThreeLabels))),
        ("tcp_under_pppoe", |id| tcp(id, Program::Through(Tunnel::Pppoe))),
        ("tcp_in_gtp_u", |id| tcp(id, Program::Through(Tunnel::GtpU))),
        ("tags_arrive_as_sent", tags),
        ("jumbo_frames_pass", jumbo),
        ("a_slow_interface_has_a_queue", queue),
        ("a_pulled_cable_is_seen_within_a_millisecond", pulled),
        ("gnmi_tells_of_a_lost_link", gnmi),
        ("interfaces_come_and_go_by_gnmi", interfaces::come_and_go),
        ("a_listener_on_the_interface_sees_what_leaves", listener),
        ("ports_come_and_go", ports),
        ("a_tap_port_carries_ping", tap),
        ("an_idle_switch_uses_no_processor", idle),
    ];
    let filter = filter.unwrap_or("");
    for (name, scenario) in all.into_iter().filter(|(name, _)| name.contains(filter)) {
        let start = Instant::now();
        scenario(id);
        println!("test {name} ... ok ({:.2} s)", start.elapsed().as_secs_f64());
    }
}

fn tcp(id: &str, program: Program) {
    const BYTES: u64 = 48 << 20;
    let manager = switch(program, |_, _| {});
    wait_for(&manager, 0, true);
    wait_for(&manager, 1, true);
    for (sink, source, address) in [("b", "a", "10.0.0.2"), ("a", "b", "10.0.0.1")] {
        let mut sink = Lines::start(id, sink, &["role-sink"]);
        let start = Instant::now();
        let mut source = enter(id, source, &["role-source", address, &BYTES.to_string()], Stdio::inherit());
        assert!(source.wait().unwrap().success());
        println!("     {:.2} Gbit/s", BYTES as f64 * 8e-9 / start.elapsed().as_secs_f64());
        assert!(sink.child.wait().unwrap().success());
    }
    // Linux did send segmentation frames: the average frame is longer than any wire allows.
    let counters = manager.get(0).unwrap().counters;
    assert!(counters.in_octets > BYTES && counters.in_octets / counters.in_pkts > 1600, "{counters:?}");
    assert_eq!((counters.in_errors, counters.out_errors), (0, 0), "{counters:?}");
    if matches!(program, Program::Through(Tunnel::ThreeLabels | Tunnel::Pppoe)) {
        // They crossed the link in pieces and left whole again.
        let counters = manager.get(1).unwrap().counters;
        assert!(counters.out_octets > BYTES && counters.out_octets / counters.out_pkts > 1600, "{counters:?}");
    }
}

fn tags(id: &str) {
    let manager = switch(Program::Cable, |_, _| {});
    wait_for(&manager, 1, true);
    let frame = |tags: &[u8]| {
        let mut frame = vec![2, 0, 0, 0, 0, 2];
        frame.extend(SOURCE);
        frame.extend(tags);
        frame.extend([0x88, 0xb5]);
        frame.extend(0..100u8);
        frame
    };
    let frames = [
        frame(&[]),
        frame(&[0x81, 0, 0x60, 7]),
        frame(&[0x88, 0xa8, 0x0f, 0xff]),
        frame(&[0x88, 0xa8, 0, 1, 0x81, 0, 0xe0, 2]),
        frame(&[0x81, 0, 0, 0]),
    ];
    let mut hear = Lines::start(id, "b", &["role-hear", &frames.len().to_string()]);
    let texts: Vec<String> = frames.iter().map(|f| hex(f)).collect();
    let args: Vec<&str> = ["role-send"].into_iter().chain(texts.iter().map(String::as_str)).collect();
    assert!(enter(id, "a", &args, Stdio::inherit()).wait().unwrap().success());
    for text in &texts {
        assert_eq!(hear.next(), *text);
    }
}

fn queue(id: &str) {
    if !run("tc qdisc add dev s1 root tbf rate 160kbit burst 2kb limit 1mb") {
        println!("     skipped: no tc, or a kernel without tbf");
        return;
    }
    let manager = switch(Program::Depth, |_, _| {});
    wait_for(&manager, 1, true);
    // A frame of 1,000 bytes takes 50 ms; the bursts come faster.
    const BURSTS: usize = 5;
    let mut frame = [vec![2, 0, 0, 0, 0, 1], SOURCE.to_vec(), vec![0x88, 0xb5]].concat();
    frame.resize(1_000, 0);
    let frame = hex(&frame);
    let mut hear = Lines::start(id, "b", &["role-hear", &(4 * BURSTS).to_string()]);
    for _ in 0..BURSTS {
        let burst = ["role-send", &frame, &frame, &frame, &frame];
        assert!(enter(id, "a", &burst, Stdio::inherit()).wait().unwrap().success());
    }
    let depths: Vec<u8> = (0..4 * BURSTS).map(|_| unhex(&hear.next())[14]).collect();
    assert!(run("tc qdisc del dev s1 root"));
    assert_eq!(depths[0], 0, "{depths:?}");
    assert!(depths.iter().any(|depth| *depth >= 4), "{depths:?}");
}

fn jumbo(id: &str) {
    for (space, name) in [("a", "v"), ("b", "v"), ("s", "s0"), ("s", "s1")] {
        assert!(run(&format!("ip -n {id}-{space} link set {name} mtu 9000")));
    }
    let manager = switch(Program::Cable, |_, _| {});
    wait_for(&manager, 1, true);
    assert!(run(&format!("ip netns exec {id}-a ping -q -c 3 -i 0.01 -W 5 -M do -s 8900 10.0.0.2")));
    for (space, name) in [("a", "v"), ("b", "v"), ("s", "s0"), ("s", "s1")] {
        assert!(run(&format!("ip -n {id}-{space} link set {name} mtu 1500")));
    }
}

fn pulled(_: &str) {
    let (send, receive) = mpsc::channel();
    let runtime = Runtime::start(vec![Box::new(Program::Cable)], None, &RuntimeOptions::default()).unwrap();
    let manager = PortManager::new(Arc::new(runtime), move |no, up| send.send((no, up, Instant::now())).unwrap());
    manager.add(5, PortSpec::Linux("x0".into()), &PortOptions::default()).unwrap();
    let far = sys::interface_index("x1").unwrap();
    assert!(matches!(receive.recv_timeout(WAIT).unwrap(), (5, true, _)));
    let mut delays = Vec::new();
    for _ in 0..25 {
        let start = Instant::now();
        netlink::set_enabled(far, false).unwrap();
        let (_, up, at) = receive.recv_timeout(WAIT).unwrap();
        assert!(!up);
        delays.push(at.duration_since(start));
        netlink::set_enabled(far, true).unwrap();
        assert!(receive.recv_timeout(WAIT).unwrap().1);
    }
    delays.sort();
    println!("     cable pulled to port bit: median {:?}, worst {:?}", delays[12], delays[24]);
    // From before the request to the kernel. The median, for other programs use this machine too.
    assert!(delays[12] < Duration::from_millis(1), "{delays:?}");
    // An operator's own port goes down the same way, and its far side sees it.
    manager.set_enabled(5, false).unwrap();
    assert!(!receive.recv_timeout(WAIT).unwrap().1);
    assert!(!netlink::link(far).unwrap().up);
    manager.set_enabled(5, true).unwrap();
    assert!(receive.recv_timeout(WAIT).unwrap().1);
}

fn path(names: &[&str]) -> Path {
    let elem = names.iter().map(|name| PathElem { name: (*name).into(), ..PathElem::default() });
    Path { elem: elem.collect(), ..Path::default() }
}

fn site() -> Site {
    let options = PortOptions::default();
    Site { device_id: 1, reserved: Vec::new(), options, remote: false, named: Box::new(|_, _| {}) }
}

fn gnmi(_: &str) {
    let manager = switch(Program::Cable, |_, _| {});
    manager.add(5, PortSpec::Linux("x0".into()), &PortOptions::default()).unwrap();
    wait_for(&manager, 5, true);
    let far = sys::interface_index("x1").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let incoming =
            tokio_stream::wrappers::TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
        let service = GNmiServer::new(GnmiService::new(manager.clone(), site()));
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        let mut client = GNmiClient::connect(format!("http://{address}")).await.unwrap();
        let list = SubscriptionList {
            encoding: Encoding::Proto as i32,
            subscription: vec![Subscription {
                path: Some(path(&["interfaces", "interface", "state", "oper-status"])),
                mode: SubscriptionMode::OnChange as i32,
                ..Subscription::default()
            }],
            ..SubscriptionList::default()
        };
        let request = SubscribeRequest { request: Some(Request::Subscribe(list)), ..SubscribeRequest::default() };
        let requests = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
        let mut responses = client.subscribe(requests).await.unwrap().into_inner();
        let mut seen = Vec::new();
        loop {
            match responses.message().await.unwrap().unwrap().response.unwrap() {
                Response::Update(update) => seen.push(update),
                Response::SyncResponse(true) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen.len(), manager.list().len());
        for up in [false, true] {
            let start = Instant::now();
            netlink::set_enabled(far, up).unwrap();
            let message = tokio::time::timeout(WAIT, responses.message()).await.unwrap().unwrap().unwrap();
            let Some(Response::Update(notification)) = message.response else { panic!("{message:?}") };
            println!("     link {} to notification: {:?}", if up { "up" } else { "down" }, start.elapsed());
            let [update] = &notification.update[..] else { panic!("{notification:?}") };
            assert_eq!(update.path.as_ref().unwrap().elem[1].key["name"], "x0");
            let expected = Value::StringVal(if up { "UP" } else { "DOWN" }.into());
            assert_eq!(update.val.as_ref().unwrap().value, Some(expected));
        }
        // Set by gNMI: the far side loses its carrier.
        let mut enabled = path(&["interfaces", "interface", "config", "enabled"]);
        enabled.elem[1].key.insert("name".into(), "x0".into());
        let update = p4runtime_proto::gnmi::Update {
            path: Some(enabled),
            val: Some(p4runtime_proto::gnmi::TypedValue { value: Some(Value::BoolVal(false)) }),
            ..Default::default()
        };
        client.set(p4runtime_proto::gnmi::SetRequest { update: vec![update], ..Default::default() }).await.unwrap();
        assert!(!netlink::link(far).unwrap().up);
        let message = responses.message().await.unwrap().unwrap();
        assert!(matches!(message.response, Some(Response::Update(_))));
        manager.set_enabled(5, true).unwrap();
    });
}

fn listener(id: &str) {
    let manager = switch(Program::Cable, |_, _| {});
    wait_for(&manager, 1, true);
    let (socket, ifindex) =
        (sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0).unwrap(), sys::interface_index("s1").unwrap());
    let member =
        sys::packet::Membership { ifindex: ifindex as i32, kind: sys::packet::MR_PROMISC, ..Default::default() };
    sys::set_option(&socket, sys::packet::SOL_PACKET, sys::packet::ADD_MEMBERSHIP, &member).unwrap();
    sys::bind_packet(&socket, ifindex, 3).unwrap();
    let until = Instant::now() + WAIT;
    // Echo requests leave by s1; the switch hears of the listener a moment after it came.
    while Instant::now() < until {
        assert!(run(&format!("ip netns exec {id}-a ping -q -c 1 -W 5 10.0.0.2")));
        let mut frame = [0u8; 2048];
        while let Ok(len) = sys::recv(&socket, &mut frame, 0) {
            if len > 34 && frame[12..14] == [8, 0] && frame[23] == 1 && frame[34] == 8 {
                return;
            }
        }
    }
    panic!("nothing seen");
}

fn ports(id: &str) {
    let manager = switch(Program::Cable, |_, _| {});
    wait_for(&manager, 1, true);
    let ping = || run(&format!("ip netns exec {id}-a ping -q -c 1 -W 1 10.0.0.2"));
    assert!(ping());
    manager.remove(1).unwrap();
    assert!(!ping());
    let again = || manager.add(1, PortSpec::Linux("s1".into()), &PortOptions::default());
    again().unwrap();
    assert!(again().unwrap_err().to_string().contains("number is in use"));
    let other = manager.add(77, PortSpec::Linux("s1".into()), &PortOptions::default());
    assert!(other.unwrap_err().to_string().contains("is port 1 already"));
    let missing = manager.add(77, PortSpec::Linux("no-such".into()), &PortOptions::default());
    assert!(missing.unwrap_err().to_string().contains("no-such"));
    wait_for(&manager, 1, true);
    assert!(ping());
    // The interface goes away and comes back under its name: the port is the same.
    assert!(run(&format!("ip -n {id}-s link del s1")));
    wait_for(&manager, 1, false);
    assert!(run(&format!("ip link add v netns {id}-b type veth peer name s1 netns {id}-s")));
    assert!(run(&format!("ip -n {id}-b addr add 10.0.0.2/24 dev v")));
    assert!(run(&format!("ip -n {id}-b link set v up")));
    wait_for(&manager, 1, true);
    // The new interface has another MAC address.
    assert!(run(&format!("ip -n {id}-a neigh flush all")));
    assert!(ping());
}

fn tap(id: &str) {
    // The TAP interface is this namespace's own; it answers on behalf of port 1.
    let manager = switch(Program::Cable, |_, _| {});
    manager.remove(1).unwrap();
    manager.add(1, PortSpec::Tap("t0".into()), &PortOptions::default()).unwrap();
    wait_for(&manager, 1, true);
    assert!(run("ip addr add 10.0.0.3/24 dev t0"));
    assert!(run(&format!("ip netns exec {id}-a ping -q -c 3 -i 0.01 -W 5 10.0.0.3")));
    let mut sink = Lines::start(id, "s", &["role-sink"]);
    let mut source = enter(id, "a", &["role-source", "10.0.0.3", "20000000"], Stdio::inherit());
    assert!(source.wait().unwrap().success());
    assert!(sink.child.wait().unwrap().success());
}

fn idle(_: &str) {
    let manager = switch(Program::Cable, |_, _| {});
    wait_for(&manager, 1, true);
    let used = || {
        let threads = std::fs::read_dir("/proc/self/task").unwrap();
        let total: u64 = threads
            .filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("schedstat")).ok())
            .filter_map(|s| s.split(' ').next()?.parse::<u64>().ok())
            .sum();
        Duration::from_nanos(total)
    };
    let before = used();
    // Nothing to wait for: the passing of time is what is tested.
    std::thread::park_timeout(Duration::from_millis(500));
    let spent = used() - before;
    println!("     {spent:?} of processor time in half a second");
    assert!(spent < Duration::from_millis(10), "{spent:?}");
}
