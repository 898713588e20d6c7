//! Large fabrics, from the store to real P4Runtime servers: planning from nothing, one change, a failed next hop, a cut
//! link, a restart, 64 switches. Figures go to BENCHMARKS.md.
//!
//! The switches run in a process of their own (this program once more), so that memory is the controller's alone.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "../tests/site/mod.rs"]
mod site;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pergola_engine::{Clock, Engine, EngineConfig, ReconcileConfig};
use pergola_model::{AnyResource, HostLocation, LearnedFrom, LinkSource, LinkState, PortId, View};
use pergola_pipeline::{fabric, tables};
use pergola_plan::{Fabric, Planner};
use pergola_southbound::Pipeline;
use pergola_store::embedded::EmbeddedOptions;
use pergola_store::{EmbeddedStore, Op, Store, Txn};
use site::{LiveSwitch, synced};

const ROUTES: u32 = 120_000;
const HOSTS: u32 = 10_000;

fn main() {
    if let Ok(count) = std::env::var("PERGOLA_BENCH_SWITCHES") {
        return serve(count.parse().unwrap());
    }
    // `cargo test --benches` runs nothing.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        a_million_entries().await;
        planning_alone();
        restart_of_2x2().await;
        sixty_four().await;
    });
}

/// Switches on loopback until the other side closes the pipe.
fn serve(count: u64) {
    let switches: Vec<LiveSwitch> =
        (1..=count).map(|id| LiveSwitch::start(id, "127.0.0.1:0".parse().unwrap())).collect();
    for switch in &switches {
        println!("{}", switch.address.port());
    }
    let _ = std::io::stdin().read(&mut [0]);
}

/// The process of the switches.
struct Farm {
    child: Child,
    ports: Vec<u16>,
}

impl Farm {
    fn start(count: usize) -> Farm {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env("PERGOLA_BENCH_SWITCHES", count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let ports = out.lines().take(count).map(|l| l.unwrap().parse().unwrap()).collect();
        Farm { child, ports }
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A fabric with two links from each leaf to each spine; a border host on each of the first four leaves, and one subnet.
fn blueprint(spines: usize, leaves: usize, ports: Option<&[u16]>) -> String {
    let mut out = String::from("site: {name: scale, plaintext: lab}\nswitches:\n");
    let names = (1..=leaves).map(|n| format!("leaf{n}")).chain((1..=spines).map(|n| format!("spine{n}")));
    for (i, name) in names.enumerate() {
        let endpoint = ports.map_or(String::new(), |p| format!("p4runtime: '127.0.0.1:{}', ", p[i]));
        let _ = writeln!(out, "  {name}: {{{endpoint}device_id: {}}}", i + 1);
    }
    out += "links:\n";
    for leaf in 1..=leaves {
        for spine in 1..=spines {
            for cable in 0..2 {
                let (up, down) = (2 * (spine - 1) + cable + 1, 2 * (leaf - 1) + cable + 1);
                let _ = writeln!(out, "  - [leaf{leaf}/{up}, spine{spine}/{down}]");
            }
        }
    }
    out += "subnets:\n  servers: {vlan: 10, gateways: [10.64.0.1/16, '2001:db8:64::1/64']}\nports:\n";
    for leaf in 1..=leaves {
        let _ = writeln!(out, "  leaf{leaf}/101-102: {{untagged: servers}}");
    }
    out += "hosts:\n";
    for n in 1..=leaves.min(4) {
        let _ = writeln!(out, "  border{n}: {{port: leaf{n}/101, ips: [10.64.255.{n}]}}");
    }
    out
}

fn intents(yaml: &str) -> Vec<AnyResource> {
    pergola_blueprint::parse(yaml).unwrap_or_else(|e| panic!("{e:?}\n{yaml}")).view().intents()
}

/// Route number `n` over two of the four border hosts.
fn route(n: u32, shift: u32) -> AnyResource {
    let prefix = std::net::Ipv4Addr::from(0x2000_0000 + (n << 8));
    let hop = |k: u32| format!("10.64.255.{}", 1 + (n + shift + k) % 4);
    let json = serde_json::json!({ "prefix": format!("{prefix}/24"), "target": {"next_hops": [hop(0), hop(1)]} });
    AnyResource::Route(serde_json::from_value(json).unwrap())
}

fn host(n: u32, leaves: u32) -> AnyResource {
    let port: PortId = format!("leaf{}/102", 1 + n % leaves).parse().unwrap();
    HostLocation {
        mac: format!("02:aa:00:00:{:02x}:{:02x}", n >> 8, n & 255).parse().unwrap(),
        vlan: serde_json::from_value(10.into()).unwrap(),
        ips: vec![std::net::Ipv4Addr::from(0x0a40_0100 + n).into()],
        ports: vec![port],
        learned_from: LearnedFrom::Arp,
        moved_ms: 1,
    }
    .into()
}

fn large(ports: Option<&[u16]>) -> Vec<AnyResource> {
    let mut all = intents(&blueprint(2, 8, ports));
    all.extend((0..HOSTS).map(|n| host(n, 8)));
    all.extend((0..ROUTES).map(|n| route(n, 0)));
    all
}

async fn put_all(store: &dyn Store, all: &[AnyResource]) {
    for part in all.chunks(5_000) {
        let mut txn = Txn { may_split: true, ..Txn::default() };
        txn.ops.extend(part.iter().map(|r| Op::put(r.key().to_string(), r.encode())));
        assert!(store.txn(txn).await.unwrap().succeeded);
    }
}

async fn put(store: &dyn Store, resource: &AnyResource) -> u64 {
    store.put(&resource.key().to_string(), resource.encode().into()).await.unwrap()
}

fn memory() -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap())
}

async fn engine(store: &Arc<dyn Store>) -> Engine {
    let pipeline = Arc::new(Pipeline::from_text(fabric::P4INFO, fabric::JSON.to_vec()).unwrap());
    let config = EngineConfig {
        store: store.clone(),
        apps: pergola_fabric_apps::all(),
        pipeline_of: Arc::new(move |_| pipeline.clone()),
        machines: pergola_discovery::Machines::new(pergola_discovery::GuardConfig::default()),
        clock: Clock::default(),
        allow_plaintext: true,
        node: "bench".into(),
        mastership: Default::default(),
        record: None,
        reconcile: ReconcileConfig::default(),
    };
    Engine::start(config).await.unwrap()
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn median(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    (times[times.len() / 2], times[times.len() - 1])
}

/// What the apps and the planner need by themselves.
fn planning_alone() {
    let mut view = View::default();
    let all = large(None);
    let encoded: Vec<(String, Vec<u8>)> = all.iter().map(|r| (r.key().to_string(), r.encode())).collect();
    let started = Instant::now();
    let changes: Vec<pergola_model::Change<'_>> =
        encoded.iter().map(|(key, value)| pergola_model::Change { key, value: Some(value) }).collect();
    assert!(view.apply(1, &changes).refused.is_empty());
    println!("view of {} resources from their stored form: {:?}", all.len(), started.elapsed());
    let mut planner: Planner<Fabric> = Planner::new(pergola_fabric_apps::all());
    let started = Instant::now();
    let delta = planner.plan_all(&view);
    println!("planned from nothing: {} entries in {:?}", delta.len(), started.elapsed());
    assert!(planner.conflicts().is_empty() && planner.problems().is_empty(), "{:?}", planner.problems().first());
    drop(delta);

    let mut times = Vec::new();
    for n in 0..200 {
        let changed = route(n * 7, 1);
        let (key, value) = (changed.key().to_string(), changed.encode());
        let old = view.clone();
        let started = Instant::now();
        let applied = view.apply(2, &[pergola_model::Change { key: &key, value: Some(&value) }]);
        let delta = planner.apply(&old, &view, &applied.changed);
        times.push(started.elapsed());
        assert_eq!(delta.len(), 8, "one entry a leaf");
    }
    let (half, worst) = median(times);
    println!("one route re-planned: median {half:?}, worst {worst:?}");

    // A next hop of 60,000 prefixes dies.
    let down = port_down("leaf2/101");
    let (key, value) = (down.key().to_string(), down.encode());
    let old = view.clone();
    let started = Instant::now();
    let applied = view.apply(3, &[pergola_model::Change { key: &key, value: Some(&value) }]);
    let delta = planner.apply(&old, &view, &applied.changed);
    let took = started.elapsed();
    let routes = tables::by_name("ipv4_unicast").unwrap().id;
    let prefixes = delta.devices.values().flat_map(|d| &d.put).filter(|e| e.key.table_id() == Some(routes)).count();
    println!(
        "a next hop of {} prefixes lost: {} entries in {took:?}, {prefixes} of them routes",
        ROUTES / 2,
        delta.len()
    );
    println!("memory with view and plan: {:.0} MB", resident_mb());
}

fn port_down(port: &str) -> AnyResource {
    let port: PortId = port.parse().unwrap();
    pergola_model::PortState { port, oper_up: false, speed_bps: None, changed_ms: 2 }.into()
}

async fn a_million_entries() {
    let before = resident_mb();
    let farm = Farm::start(10);
    let store = memory();
    put_all(&*store, &large(Some(&farm.ports))).await;
    let stored = resident_mb();
    println!("the store in memory, where etcd or a file would be: {:.0} MB", stored - before);
    let revision = store.status().await.unwrap().revision;
    let started = Instant::now();
    let engine = engine(&store).await;
    engine.wait_planned(revision).await;
    println!("controller starts: everything planned after {:?}", started.elapsed());
    tokio::time::timeout(Duration::from_secs(120), engine.wait_synced(revision)).await.unwrap();
    let wanted: usize = engine.devices().values().map(|d| d.report.status.wanted).sum();
    println!("controller starts: {wanted} entries on 10 switches after {:?}", started.elapsed());
    println!("the controller's own memory: {:.0} MB", resident_mb() - stored);

    let mut times = Vec::new();
    for n in 0..100 {
        let changed = route(n * 11, 1);
        let started = Instant::now();
        let revision = put(&*store, &changed).await;
        engine.wait_synced(revision).await;
        times.push(started.elapsed());
    }
    let (half, worst) = median(times);
    println!("one route changed in the store to written on 8 leaves: median {half:?}, worst {worst:?}");

    let mut times = Vec::new();
    let before = writes(&engine);
    for n in 0..20u64 {
        let id = "leaf3/1~spine1/5".parse().unwrap();
        let state = LinkState { id, up: n % 2 == 1, source: LinkSource::Port, changed_ms: 10 + n };
        let started = Instant::now();
        let revision = put(&*store, &state.into()).await;
        engine.wait_synced(revision).await;
        times.push(started.elapsed());
    }
    let (half, worst) = median(times);
    let each = (writes(&engine) - before) / 20;
    println!("a link lost or back, to all switches reprogrammed ({each} updates): median {half:?}, worst {worst:?}");
    drop(engine);

    let started = Instant::now();
    let engine = self::engine(&store).await;
    let revision = store.status().await.unwrap().revision;
    tokio::time::timeout(Duration::from_secs(120), engine.wait_synced(revision)).await.unwrap();
    println!("controller restarted: in sync after {:?}, {} updates written", started.elapsed(), writes(&engine));
}

/// Updates that the switches were asked for.
fn writes(engine: &Engine) -> u64 {
    engine.devices().values().map(|d| d.report.status.counters.writes()).sum()
}

/// The farm's site in the store, and the engine in sync: when it was.
async fn up(store: &Arc<dyn Store>) -> (Engine, Duration) {
    let started = Instant::now();
    let engine = engine(store).await;
    let revision = store.status().await.unwrap().revision;
    synced(&engine, revision).await;
    (engine, started.elapsed())
}

async fn restart_of_2x2() {
    let farm = Farm::start(4);
    let store = memory();
    put_all(&*store, &intents(&blueprint(2, 2, Some(&farm.ports)))).await;
    drop(up(&store).await);
    let mut times = Vec::new();
    for _ in 0..10 {
        let (engine, took) = up(&store).await;
        assert_eq!(writes(&engine), 0);
        times.push(took);
    }
    let (half, worst) = median(times);
    println!("2x2, controller restarted: in sync without a write after median {half:?}, worst {worst:?}");
}

async fn sixty_four() {
    let started = Instant::now();
    let farm = Farm::start(64);
    let store = memory();
    put_all(&*store, &intents(&blueprint(4, 60, Some(&farm.ports)))).await;
    let (engine, took) = up(&store).await;
    let wanted: usize = engine.devices().values().map(|d| d.report.status.wanted).sum();
    println!(
        "64 switches in one process: {wanted} entries, programmed {took:?} after the controller's start, {:?} in all",
        started.elapsed()
    );
}
