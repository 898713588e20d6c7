//! Figures of a controller on etcd: start from 50,000 intents and 200,000 observations and its memory, intents a second
//! over REST from 64 clients, and the time until one change is in the plan of each of three controllers.
//!
//! Real processes: three members of etcd and three controllers on loopback, without switches. The programs are those
//! beside this one, so build them first with the same profile.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pergola_etcd_members::Members;
use pergola_model::{AnyResource, HostLocation, Kind, LearnedFrom, MacAddr, Route, RouteTarget, VlanId};
use pergola_store::etcd::EtcdOptions;
use pergola_store::{EtcdStore, Op, Store, Txn};

const INTENTS: u32 = 50_000;
const OBSERVATIONS: u32 = 200_000;
const CLIENTS: usize = 64;

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn programs() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().find(|p| p.file_name().is_some_and(|n| n == "deps")).unwrap().parent().unwrap().to_owned()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(program: impl AsRef<std::ffi::OsStr>, args: &[String], log: &Path) -> Process {
    let log = std::fs::File::create(log).unwrap();
    let command = Command::new(program).args(args).stdout(Stdio::null()).stderr(log).spawn();
    Process(command.unwrap())
}

/// A connection that is kept.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(at: SocketAddr) -> std::io::Result<Client> {
        let stream = TcpStream::connect(at)?;
        stream.set_nodelay(true)?;
        Ok(Client(BufReader::new(stream)))
    }

    /// Status, revision of the ETag, body.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, u64, String)> {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: b\r\ncontent-length: {length}\r\n\r\n{body}");
        self.0.get_mut().write_all(head.as_bytes())?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        let (mut length, mut revision) = (0, 0);
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
            if name.eq_ignore_ascii_case("etag") {
                revision = value.trim().trim_matches('"').parse().unwrap_or(0);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        std::io::Read::read_exact(&mut self.0, &mut body)?;
        Ok((status, revision, String::from_utf8_lossy(&body).into_owned()))
    }
}

fn ready(at: SocketAddr) -> Client {
    loop {
        if let Ok(mut client) = Client::connect(at)
            && matches!(client.ask("GET", "/readyz", ""), Ok((200, ..)))
        {
            return client;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Resident memory of a process, now and at most, in MB (proc(5), status).
fn memory(process: &Process) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1000
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Processor time of a process so far, in hundredths of a second (proc(5), stat).
fn worked(process: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.0.id())).unwrap();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum()
}

/// Waits until a process has nothing to do any more: after it is ready, its packet machines take in what was known.
fn rest(process: &Process) {
    let mut before = worked(process);
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = worked(process);
        if now < before + 5 {
            return;
        }
        before = now;
    }
}

/// What 64 clients write in five seconds, spread over these controllers: changes a second.
fn rate(at: &[SocketAddr], resource: impl Fn(u32) -> AnyResource + Sync, first: u32) -> f64 {
    let (next, done) = (AtomicUsize::new(first as usize), AtomicUsize::new(0));
    let (began, limit) = (Instant::now(), Duration::from_secs(5));
    std::thread::scope(|scope| {
        for n in 0..CLIENTS {
            let (next, done, resource, at) = (&next, &done, &resource, at[n % at.len()]);
            scope.spawn(move || {
                let mut client = Client::connect(at).unwrap();
                while began.elapsed() < limit {
                    let resource = resource(next.fetch_add(1, Ordering::Relaxed) as u32);
                    let path = format!("/api/v1/{}/{}", resource.kind(), resource.name());
                    let (status, _, answer) = client.ask("PUT", &path, &resource.to_json().to_string()).unwrap();
                    assert!(matches!(status, 200 | 201), "{answer}");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

/// Ports, which checks of other intents look at: 400 of them, over and over with another speed.
fn port(n: u32) -> AnyResource {
    let id = format!("leaf{}/{}", 1 + n % 4, 100 + n / 4 % 100);
    let body = format!(r#"{{"id": "{id}", "speed_bps": {}}}"#, 1_000_000 + n);
    AnyResource::deserialize(Kind::Port, &mut serde_json::Deserializer::from_str(&body)).unwrap()
}

fn route(n: u32) -> AnyResource {
    let [_, a, b, c] = (n << 2).to_be_bytes();
    let prefix = format!("100.{}.{b}.{c}/30", 64 + a).parse().unwrap();
    Route { prefix, domain: Default::default(), target: RouteTarget::NextHops(vec!["10.0.20.254".parse().unwrap()]) }
        .into()
}

fn host(n: u32) -> AnyResource {
    let [_, a, b, c] = n.to_be_bytes();
    HostLocation {
        mac: MacAddr([2, 0, 0, a, b, c]),
        vlan: VlanId::new(1 + (n % 4000) as u16).unwrap(),
        ips: vec![std::net::IpAddr::from([10, 64 + a, b, c])],
        ports: vec![format!("leaf{}/{}", 1 + n % 4, 10 + n % 38).parse().unwrap()],
        learned_from: LearnedFrom::Arp,
        moved_ms: 1_700_000_000_000,
    }
    .into()
}

async fn fill(store: &EtcdStore) {
    let all = (0..INTENTS).map(route).chain((0..OBSERVATIONS).map(host));
    let ops: Vec<Op> = all.map(|r| Op::put(r.key().to_string(), r.encode())).collect();
    for chunk in ops.chunks(4000) {
        store.txn(Txn { ops: chunk.to_vec(), ..Txn::default() }).await.unwrap();
    }
}

fn main() {
    // `cargo test --benches` runs nothing.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let members = Members::start(folder.path(), 3, "http", &[]).unwrap();
    let urls = members.urls();
    let cluster = format!("etcd={}", urls.join(","));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topology/blueprint/examples/2x4-paired.yaml");
    let controller = |name: &str| {
        let listen: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let args = ["run", "--lab", "--node", name, "--cluster", &cluster, "--listen", &listen.to_string(), "--init"];
        let mut args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        args.push(example.display().to_string());
        let began = Instant::now();
        let process = start(programs().join("pergola"), &args, &folder.path().join(format!("{name}.log")));
        (process, listen, began)
    };
    // One controller writes the site, and the rest of it comes through the store.
    let (first, listen, _) = controller("first");
    ready(listen);
    drop(first);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut options = EtcdOptions::new(urls.clone(), "site");
        options.allow_plaintext = true;
        let store = EtcdStore::connect(options).await.unwrap();
        let began = Instant::now();
        fill(&store).await;
        println!("filled with {INTENTS} intents and {OBSERVATIONS} observations in {:.1?}", began.elapsed());
    });

    let mut nodes = Vec::new();
    for name in ["c1", "c2", "c3"] {
        let (process, listen, began) = controller(name);
        let client = ready(listen);
        let (now, most) = memory(&process);
        println!("{name}: started and planned in {:.2?}, {now} MB resident, {most} MB at most", began.elapsed());
        nodes.push((process, listen, client));
    }
    for ((process, ..), name) in nodes.iter().zip(["c1", "c2", "c3"]) {
        rest(process);
        let (now, most) = memory(process);
        println!("{name}: at rest {now} MB resident, {most} MB at most");
    }

    // One change until it is in every plan. The revision is read as fast as REST answers.
    let mut took = Vec::new();
    for n in 0..200 {
        let body = route(INTENTS + n).to_json().to_string();
        let path = format!("/api/v1/route/{}", route(INTENTS + n).name());
        let asked = nodes.len();
        let (status, wanted, answer) = nodes[n as usize % asked].2.ask("PUT", &path, &body).unwrap();
        // From the moment it is durable, which is when the answer is here.
        let durable = Instant::now();
        assert_eq!(status, 201, "{answer}");
        for (_, _, client) in &mut nodes {
            loop {
                let (_, _, metrics) = client.ask("GET", "/metrics", "").unwrap();
                let revision = metrics.lines().find_map(|l| l.strip_prefix("pergola_revision "));
                let revision: f64 = revision.and_then(|r| r.parse().ok()).unwrap_or(0.0);
                if revision >= wanted as f64 {
                    break;
                }
            }
        }
        took.push(durable.elapsed());
    }
    took.sort();
    println!("one change in every replica's plan: median {:.1?}, 99 % {:.1?}", took[100], took[197]);

    // Intents a second.
    let all: Vec<SocketAddr> = nodes.iter().map(|n| n.1).collect();
    let spread = rate(&all, route, INTENTS + 1000);
    println!("routes over REST, {CLIENTS} clients on three controllers: {spread:.0}/s");
    let one = rate(&all[..1], route, INTENTS + 100_000);
    println!("routes over REST, {CLIENTS} clients on one controller: {one:.0}/s");
    let spread = rate(&all, port, 0);
    println!("ports over REST, {CLIENTS} clients on three controllers: {spread:.0}/s");
    let one = rate(&all[..1], port, 1_000_000);
    println!("ports over REST, {CLIENTS} clients on one controller: {one:.0}/s");
    for ((process, ..), name) in nodes.iter().zip(["c1", "c2", "c3"]) {
        rest(process);
        let (now, most) = memory(process);
        println!("{name}: after all that {now} MB resident, {most} MB at most");
    }
}
