//! Frames and TCP through a switch over veth pairs, beside a bare loop that only copies frames with the same rings.
//!
//! `cargo bench -p p4switch --bench veth [-- SECONDS_A_TRIAL]`, as root. The bench makes the network namespaces io-bench-a and
//! io-bench-b (the two ends) and io-bench-s (what is measured), and removes them. For each frame size it looks for the highest
//! rate with at most 0.1 % loss, then measures the latency at half of it. Then iperf3 with the default offloads. Where BMv2's
//! simple_switch_grpc is on PATH it gets the same program, entries and frames as ours.
//!
//! What sends and what counts share processor 0, and what is measured has processor 1 to itself: left to the scheduler, one and the same
//! copier's rate differs by a factor of two. BMv2 has six busy threads and goes where it likes. All subjects take turns,
//! [`ROUNDS`] times; the figure is of each one's best round, which others on the machine disturbed least. Latencies are those without such bonds, at half that rate: what
//! counts would wait for what sends.
//!
//! No frame is for the host that counts, so that its stack does no more with those that were routed than with those that
//! were only copied.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod support;

use p4switch::ports::packet::{PacketRx, PacketTx, RingOptions};
use p4switch::ports::{Offload, PortManager, PortNo, PortOptions, PortRx, PortSpec, PortTx, sys};
use p4switch::runtime::{Forwarder, Runtime, RuntimeOptions, Sink};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::{Controller, HOST_MACS, ROUTER_MAC, Way, bmv2, switch_args};

const LOSS_MAX: f64 = 0.001;
const ROUNDS: usize = 3;
/// Tries that an offered rate has: others use the machine as well, and one pause of two milliseconds fills a ring.
const TRIES: usize = 4;
/// Runs of which the middle one tells the latency.
const LATENCIES: usize = 5;
/// A small part of what the counter's ring holds.
const NAP: Duration = Duration::from_micros(500);
/// Test frames are UDP from 10.0.0.1 to 10.0.1.1, this port; the time of sending is the payload.
const UDP_PORT: [u8; 2] = [0x4e, 0x20];
const STAMP: usize = 42;
/// Where a switch serves P4Runtime, inside its namespace.
const GRPC: &str = "127.0.0.1:9559";
const PORTS: [&str; 4] = ["1@s0", "2@s1", "3@s2", "4@s3"];

fn test_frame(len: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 1, 1]);
    frame[16..18].copy_from_slice(&(len as u16 - 14).to_be_bytes());
    let sum: u32 = frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame.extend([0x30, 0x39]);
    frame.extend(UDP_PORT);
    frame.extend((len as u16 - 34).to_be_bytes());
    frame.resize(len, 0);
    frame
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("copier") => copier(&args[1], &args[2], args.get(3).is_some_and(|a| a == "bypass")),
        Some("runtime") => runtime(&args[1], &args[2], args.get(3).map_or(0, |us| us.parse().unwrap())),
        Some("controller") => controller(&args[1]),
        Some("generator") => generator(&args[1]),
        Some("counter") => counter(&args[1], args.get(2).is_some_and(|a| a == "naps")),
        seconds => bench(seconds.and_then(|s| s.parse().ok()).unwrap_or(0.5)),
    }
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

fn open(name: &str, options: &RingOptions) -> (PacketRx, PacketTx) {
    let ifindex = sys::interface_index(name).unwrap();
    (PacketRx::open(ifindex, options).unwrap(), PacketTx::open(ifindex, options).unwrap())
}

/// The bare loop: both directions between two interfaces, nothing else.
fn copier(a: &str, b: &str, qdisc_bypass: bool) {
    let options = RingOptions { qdisc_bypass, ..RingOptions::default() };
    let ((mut rx_a, mut tx_a), (mut rx_b, mut tx_b)) = (open(a, &options), open(b, &options));
    let mut fds = [sys::poll_in(rx_a.fd()), sys::poll_in(rx_b.fd())];
    println!("ready");
    loop {
        let forth = rx_a.receive(64, &mut |frame, offload| {
            tx_b.send(frame, &[], offload);
        });
        tx_b.flush().unwrap();
        let back = rx_b.receive(64, &mut |frame, offload| {
            tx_a.send(frame, &[], offload);
        });
        tx_a.flush().unwrap();
        if forth + back == 0 {
            sys::poll(&mut fds, -1).unwrap();
        }
    }
}

struct Copy;

impl Forwarder for Copy {
    fn process(&mut self, port: PortNo, frame: &mut [u8], sink: &mut dyn Sink) {
        sink.emit(port ^ 1, frame, &[]);
    }
}

/// The switch's loop with ports, counters and link state, and a program that only copies.
fn runtime(a: &str, b: &str, spin_us: u64) {
    let options = RuntimeOptions { spin: Duration::from_micros(spin_us), ..RuntimeOptions::default() };
    let runtime = Arc::new(Runtime::start(vec![Box::new(Copy)], None, &options).unwrap());
    let manager = PortManager::new(runtime, |_, _| {});
    for (no, name) in [a, b].into_iter().enumerate() {
        manager.add(no as PortNo, PortSpec::Linux(name.to_owned()), &PortOptions::default()).unwrap();
    }
    println!("ready");
    loop {
        std::thread::park();
    }
}

/// Gives the switch of this namespace the fabric program, entries for `way` and 10,000 routes.
fn controller(way: &str) {
    let way = match way {
        "vlan" => Way::Vlan,
        "mpls" => Way::Mpls,
        _ => Way::Direct,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        Controller::connect(GRPC).await.fabric(way, 10_000).await;
        println!("ready");
        // Stays the primary until the other end of standard input is closed.
        tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await.unwrap();
    });
}

/// Reads "LEN RATE SECONDS", sends that, answers with the number of frames sent.
fn generator(name: &str) {
    let options = RingOptions::default();
    let (_, mut tx) = open(name, &options);
    println!("ready");
    for line in std::io::stdin().lines() {
        let numbers: Vec<f64> = line.unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
        let (len, rate, seconds) = (numbers[0] as usize, numbers[1], numbers[2]);
        let mut frame = test_frame(len);
        let start = Instant::now();
        let mut sent = 0u64;
        loop {
            let elapsed = start.elapsed().as_secs_f64();
            if elapsed > seconds {
                break;
            }
            let due = (elapsed * rate) as u64;
            // Small bursts, as a host's stack makes them.
            let burst = due.saturating_sub(sent).min(16);
            for _ in 0..burst {
                frame[STAMP..STAMP + 8].copy_from_slice(&now_ns().to_be_bytes());
                tx.send(&frame, &[], &Offload::NONE);
            }
            sent += burst;
            tx.flush().unwrap();
        }
        println!("{sent}");
    }
}

/// Counts test frames until a line comes; answers "COUNT P50_US P99_US". With `naps` it looks again after a while in place of being
/// woken: to wake it is work of the thread that sends, more than half a microsecond a frame while it sleeps, and none while it
/// is awake, so that whoever is a little faster would be a lot faster.
fn counter(name: &str, naps: bool) {
    let (mut rx, _) = open(name, &RingOptions { rx_slots: 8192, ..RingOptions::default() });
    let mut fds = [sys::poll_in(rx.fd()), sys::poll_in(0)];
    println!("ready");
    let mut latencies: Vec<u32> = Vec::with_capacity(1 << 20);
    let mut count = 0u64;
    loop {
        let got = rx.receive(1024, &mut |frame, _| {
            if frame.len() >= STAMP + 8 && frame[12..14] == [8, 0] && frame[36..38] == UDP_PORT {
                count += 1;
                if count.is_multiple_of(8) {
                    let sent = u64::from_be_bytes(frame[STAMP..STAMP + 8].try_into().unwrap());
                    latencies.push(now_ns().saturating_sub(sent).min(u64::from(u32::MAX)) as u32);
                }
            }
        });
        if got > 0 {
            continue;
        }
        if naps {
            std::thread::sleep(NAP);
        }
        sys::poll(&mut fds, if naps { 0 } else { -1 }).unwrap();
        if fds[1].revents != 0 && fds[0].revents == 0 {
            let mut line = String::new();
            if std::io::stdin().read_line(&mut line).unwrap() == 0 {
                return;
            }
            latencies.sort_unstable();
            let at = |part: f64| {
                latencies.get((latencies.len() as f64 * part) as usize).map_or(0.0, |ns| f64::from(*ns) / 1e3)
            };
            println!("{count} {:.1} {:.1}", at(0.5), at(0.99));
            count = 0;
            latencies.clear();
        }
    }
}

fn ip(args: &str) -> bool {
    Command::new("ip").args(args.split(' ')).stderr(Stdio::null()).status().unwrap().success()
}

struct Bed;

fn mac(value: u128) -> String {
    value.to_be_bytes()[10..].iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}

impl Bed {
    fn new() -> Self {
        drop(Self);
        for space in ["a", "b", "s"] {
            assert!(ip(&format!("netns add io-bench-{space}")), "needs root and network namespaces");
        }
        assert!(ip("-n io-bench-s link set lo up"));
        let ends = [("a", "v", "s0"), ("b", "v", "s1"), ("s", "s2", "s3")];
        for (near, name, far) in ends {
            assert!(ip(&format!("link add {name} netns io-bench-{near} type veth peer name {far} netns io-bench-s")));
            for (space, name) in [(near, name), ("s", far)] {
                let sysctl = format!("netns exec io-bench-{space} sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1");
                ip(&sysctl);
                assert!(ip(&format!("-n io-bench-{space} link set {name} up")));
            }
        }
        Self
    }

    /// Makes the two ends hosts that reach each other by the router, or directly by each other's address.
    fn addresses(&self, routed: bool) {
        for (space, subnet, own, other) in [("a", 0, HOST_MACS[0], HOST_MACS[1]), ("b", 1, HOST_MACS[1], HOST_MACS[0])]
        {
            let gateway = mac(if routed { ROUTER_MAC } else { other });
            for command in [
                format!("link set v address {}", mac(own)),
                format!("addr replace 10.0.{subnet}.1/24 dev v"),
                format!("neigh replace 10.0.{subnet}.254 lladdr {gateway} dev v nud permanent"),
                format!("route replace default via 10.0.{subnet}.254"),
            ] {
                assert!(ip(&format!("-n io-bench-{space} {command}")), "{command}");
            }
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for space in ["a", "b", "s"] {
            ip(&format!("netns del io-bench-{space}"));
        }
    }
}

fn within(space: &str, command: &[&str]) -> Command {
    let mut inside = Command::new("ip");
    inside.args(["netns", "exec", space]).args(command);
    inside
}

/// The same on one processor of a machine with two or more.
fn within_on(processor: Option<usize>, space: &str, command: &[&str]) -> Command {
    let several = std::thread::available_parallelism().is_ok_and(|n| n.get() > 1);
    match processor.filter(|_| several) {
        Some(processor) => {
            let processor = processor.to_string();
            let pinned: Vec<&str> = ["taskset", "-c", &processor].iter().chain(command).copied().collect();
            within(space, &pinned)
        }
        None => within(space, command),
    }
}

/// A process that ends with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A helper process in a namespace that answers lines.
struct Helper {
    _process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Helper {
    fn start(processor: Option<usize>, space: &str, command: &[&str]) -> Self {
        let mut child =
            within_on(processor, space, command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut helper = Self { _process: Process(child), input, output };
        helper.read("ready");
        helper
    }

    /// The next line; when `until` is not empty, the next line with it.
    fn read(&mut self, until: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "a helper ended");
            if line.contains(until) {
                return line.trim().to_owned();
            }
        }
    }

    fn ask(&mut self, line: &str) -> Vec<f64> {
        writeln!(self.input, "{line}").unwrap();
        self.read("").split(' ').map(|n| n.parse().unwrap()).collect()
    }
}

/// What is measured.
#[derive(Clone)]
enum Subject {
    /// A command that prints a line with "ready" when s0 and s1 are joined.
    Line(Vec<String>),
    /// A switch and its arguments, that a controller gives the fabric program.
    Switch(Vec<String>, Way),
}

impl Subject {
    /// Starts it; it ends with the value.
    fn start(&self, exe: &str, processor: Option<usize>) -> (Option<Process>, Helper) {
        match self {
            Subject::Line(command) => {
                let command: Vec<&str> = command.iter().map(String::as_str).collect();
                (None, Helper::start(processor, "io-bench-s", &command))
            }
            Subject::Switch(program, way) => {
                let args = switch_args(GRPC, &PORTS);
                let command: Vec<&str> = program.iter().chain(&args).map(String::as_str).collect();
                let mut command = within_on(processor, "io-bench-s", &command);
                let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
                let process = Process(child);
                let way = format!("{way:?}").to_lowercase();
                (Some(process), Helper::start(None, "io-bench-s", &[exe, "controller", &way]))
            }
        }
    }
}

/// Gigabits a second of TCP from a to b; what iperf3 says when it fails.
fn tcp(seconds: u32) -> Result<f64, String> {
    let serve = ["iperf3", "-s", "-1", "--forceflush"];
    let server = within("io-bench-b", &serve).stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    let mut server = Process(server);
    // It says when it listens.
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("listening")));
    let seconds = seconds.to_string();
    let client = ["iperf3", "-c", "10.0.1.1", "-t", &seconds, "-J", "--connect-timeout", "3000"];
    let output = within("io-bench-a", &client).output().map_err(|e| e.to_string())?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
    match report.pointer("/end/sum_received/bits_per_second").and_then(|v| v.as_f64()) {
        Some(rate) if rate > 0.0 => Ok(rate / 1e9),
        _ => Err(report["error"].as_str().unwrap_or("nothing passed").to_owned()),
    }
}

struct Ends {
    generator: Helper,
    counter: Helper,
    seconds: f64,
}

impl Ends {
    fn start(exe: &str, processor: Option<usize>, seconds: f64) -> Self {
        let generator = Helper::start(processor, "io-bench-a", &[exe, "generator", "v"]);
        let how = if processor.is_some() { "naps" } else { "polls" };
        let counter = Helper::start(processor, "io-bench-b", &[exe, "counter", "v", how]);
        Ends { generator, counter, seconds }
    }

    /// Received frames a second, loss, and latencies in microseconds at an offered rate.
    fn run(&mut self, len: usize, rate: f64) -> (f64, f64, f64, f64) {
        let sent = self.generator.ask(&format!("{len} {rate} {}", self.seconds))[0];
        // What was sent passes within the time the last frame needs; the counter answers when it is idle.
        std::thread::sleep(Duration::from_millis(50));
        let counted = self.counter.ask("count");
        (sent / self.seconds, 1.0 - counted[0] / sent, counted[1], counted[2])
    }

    /// The rate sent when an offered rate passes, which it has [`TRIES`] for.
    fn passes(&mut self, len: usize, rate: f64) -> Option<f64> {
        (0..TRIES).find_map(|_| {
            let (sent, loss, ..) = self.run(len, rate);
            (loss <= LOSS_MAX).then_some(sent)
        })
    }

    /// The highest rate that passes.
    fn best(&mut self, len: usize) -> f64 {
        self.run(len, 10_000.0);
        let (mut good, mut bad) = (10_000.0, 1_500_000.0);
        while bad / good > 1.03 {
            let middle = (good + bad) / 2.0;
            match self.passes(len, middle) {
                Some(rate) => {
                    good = rate.max(good);
                    // The generator may be the limit.
                    if rate < middle * 0.97 {
                        break;
                    }
                }
                None => bad = middle,
            }
        }
        good
    }
}

fn bench(seconds: f64) {
    let exe = std::env::current_exe().unwrap().display().to_string();
    let bed = Bed::new();
    let line = |args: &[&str]| {
        Subject::Line(std::iter::once(exe.as_str()).chain(args.iter().copied()).map(String::from).collect())
    };
    let program = env!("CARGO_BIN_EXE_p4switch").to_owned();
    let ours = |way| Subject::Switch(vec![program.clone()], way);
    let two_workers = |way| Subject::Switch(vec![program.clone(), "--workers".into(), "2".into()], way);
    let mut subjects = vec![
        ("bare copier", line(&["copier", "s0", "s1"])),
        ("bare copier, qdisc bypass", line(&["copier", "s0", "s1", "bypass"])),
        ("switch loop, copying", line(&["runtime", "s0", "s1"])),
        ("p4switch, fabric program", ours(Way::Direct)),
    ];
    if let Some(program) = bmv2() {
        subjects.push(("BMv2, fabric program", Subject::Switch(vec![program.to_owned()], Way::Direct)));
    }
    println!(
        "{:<28} {:>6} {:>10} {:>10} {:>10}   (each round, thousands)",
        "", "bytes", "frames/s", "p50 us", "p99 us"
    );
    let lengths = std::env::var("PERGOLA_BENCH_BYTES").unwrap_or_else(|_| "64 512 1400".into());
    for len in lengths.split_whitespace().map(|len| len.parse().unwrap()) {
        let mut outcomes: Vec<Vec<f64>> = subjects.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for ((name, subject), outcomes) in subjects.iter().zip(&mut outcomes) {
                let processor = (!name.starts_with("BMv2")).then_some(1);
                let _running = subject.start(&exe, processor);
                outcomes.push(Ends::start(&exe, Some(0), seconds).best(len));
            }
        }
        for ((name, subject), mut outcomes) in subjects.iter().zip(outcomes) {
            outcomes.sort_by(f64::total_cmp);
            let all: Vec<String> = outcomes.iter().map(|rate| format!("{:.0}", rate / 1e3)).collect();
            let rate = outcomes[ROUNDS - 1];
            let _running = subject.start(&exe, None);
            let mut ends = Ends::start(&exe, None, seconds);
            ends.run(len, 10_000.0);
            let mut latencies: Vec<(f64, f64)> = (0..LATENCIES)
                .map(|_| {
                    let (_, _, p50_us, p99_us) = ends.run(len, rate / 2.0);
                    (p50_us, p99_us)
                })
                .collect();
            latencies.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (p50_us, p99_us) = latencies[LATENCIES / 2];
            println!("{name:<28} {len:>6} {rate:>10.0} {p50_us:>10.1} {p99_us:>10.1}   ({})", all.join(", "));
        }
    }
    let mut subjects = vec![
        ("bare copier", line(&["copier", "s0", "s1"]), false),
        ("p4switch, routed", ours(Way::Direct), true),
        ("p4switch, tag on and off", ours(Way::Vlan), true),
        ("p4switch, label on and off", ours(Way::Mpls), true),
        ("the same, two workers", two_workers(Way::Mpls), true),
    ];
    if let Some(program) = bmv2() {
        subjects.push(("BMv2, routed", Subject::Switch(vec![program.to_owned()], Way::Direct), true));
    }
    println!("{:<28} {:>10}", "TCP, default offloads", "Gbit/s");
    for (name, subject, routed) in subjects {
        bed.addresses(routed);
        let _running = subject.start(&exe, None);
        match tcp(3) {
            Ok(rate) => println!("{name:<28} {rate:>10.1}"),
            Err(error) => println!("{name:<28} {error}"),
        }
    }
}
