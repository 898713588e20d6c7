//! P4Runtime over loopback: 100,000 LPM entries in and out, start, memory and idle time; beside BMv2 when its switch is on PATH.
//!
//! `cargo bench -p p4switch --bench p4runtime`. First in this process, while packets are forwarded; then each switch as a
//! process of its own with the same program, entries and client. Everything is the best of three.
//!
//! The client shares the processors with the switch, so it does as little as a client can: requests are serialized before the
//! clock starts, and of what is read only the entries are counted.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::{
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use futures::{StreamExt, stream};
use p4runtime_proto::p4::v1::{self, update::Type};
use p4runtime_proto::serialized::Serialized;
use p4switch::{
    PacketMeta, Switch, SwitchOptions,
    p4runtime::{Server, plane::Host},
};
use prost::Message;
use support::{Controller, FABRIC_JSON, Is, Names, Way, bmv2, reach, switch_args, updates};
use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, server::TcpIncoming},
};

const ENTRIES: u32 = 100_000;
const ROUNDS: usize = 3;

struct NoPorts;

impl Host for NoPorts {
    fn has_port(&self, port: u32) -> bool {
        port < 16
    }
    fn packet_out(&self, _: Vec<u8>) {}
}

async fn calls(channel: &Channel) -> Grpc<Channel> {
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(256 << 20);
    grpc.ready().await.unwrap();
    grpc
}

/// Writes everything in batches, some at once; entries a second.
async fn write(channel: &Channel, requests: &[Bytes], at_once: usize) -> f64 {
    let start = Instant::now();
    stream::iter(requests.iter().cloned())
        .map(|request| async {
            let path = PathAndQuery::from_static("/p4.v1.P4Runtime/Write");
            calls(channel).await.unary(Request::new(request), path, Serialized).await.unwrap();
        })
        .buffer_unordered(at_once)
        .for_each(|_| async {})
        .await;
    f64::from(ENTRIES) / start.elapsed().as_secs_f64()
}

/// How many entities are in a ReadResponse.
fn entities(mut chunk: Bytes) -> usize {
    let mut count = 0;
    while chunk.has_remaining() {
        let (field, kind) = prost::encoding::decode_key(&mut chunk).unwrap();
        assert_eq!((field, kind), (1, prost::encoding::WireType::LengthDelimited));
        let len = prost::encoding::decode_varint(&mut chunk).unwrap();
        chunk.advance(len as usize);
        count += 1;
    }
    count
}

async fn read(channel: &Channel, table_id: u32) -> f64 {
    let query = v1::TableEntry { table_id, ..Default::default() };
    let query = vec![v1::Entity { entity: Some(v1::entity::Entity::TableEntry(query)) }];
    let request = v1::ReadRequest { device_id: 1, entities: query, ..Default::default() }.encode_to_vec();
    let path = PathAndQuery::from_static("/p4.v1.P4Runtime/Read");
    let start = Instant::now();
    let answer = calls(channel).await.server_streaming(Request::new(request.into()), path, Serialized).await;
    let mut chunks = answer.unwrap().into_inner();
    let mut count = 0;
    while let Some(chunk) = chunks.message().await.unwrap() {
        count += entities(chunk);
    }
    assert_eq!(count, ENTRIES as usize);
    f64::from(ENTRIES) / start.elapsed().as_secs_f64()
}

/// The best rates of some rounds, in thousands a second; `note` is asked after each round.
async fn rounds(channel: &Channel, names: &Names, mut note: impl FnMut() -> String) {
    let route = |n: u32| {
        let key = [(1, Is::Exact(1)), (2, Is::Lpm(u128::from(0x1400_0000 | n << 4), 28))];
        names.direct("ipv4_unicast", &key, 0, "route_v4", &[u128::from(n % 64 + 1)])
    };
    let entries: Vec<_> = (0..ENTRIES).map(route).collect();
    let (insert, delete) = (updates(Type::Insert, &entries), updates(Type::Delete, &entries));
    for (batch, at_once) in [(1000, 4), (100, 1)] {
        let requests = |updates: &[v1::Update]| -> Vec<Bytes> {
            updates.chunks(batch).map(|updates| Controller::request(updates).encode_to_vec().into()).collect()
        };
        let (insert, delete) = (requests(&insert), requests(&delete));
        let mut best = [0f64; 3];
        let mut notes = String::new();
        for _ in 0..ROUNDS {
            let inserted = write(channel, &insert, at_once).await;
            let read = read(channel, names.table("ipv4_unicast")).await;
            let deleted = write(channel, &delete, at_once).await;
            for (best, now) in best.iter_mut().zip([inserted, read, deleted]) {
                *best = best.max(now / 1000.0);
            }
            notes = note();
        }
        let [inserts, reads, deletes] = best;
        println!(
            "  {batch:>4} x {at_once}: {inserts:.0}k inserts/s, {reads:.0}k read/s, {deletes:.0}k deletes/s{notes}"
        );
    }
}

/// One packet each 100 us; the longest time that one took, in nanoseconds of the thread's own processor time and of the clock.
fn traffic(switch: &Arc<Switch>, stop: Arc<AtomicBool>, worst: Arc<AtomicU64>) -> std::thread::JoinHandle<()> {
    let mut worker = switch.worker();
    std::thread::spawn(move || {
        let mut packet = vec![0; 64];
        packet[..6].copy_from_slice(&(support::ROUTER_MAC as u64).to_be_bytes()[2..]);
        packet[12] = 8;
        packet[14] = 0x45;
        packet[30] = 20;
        while !stop.load(Relaxed) {
            let start = Instant::now();
            worker.process(1, &packet, PacketMeta::default(), &mut |_: u32, _: &[u8], _: &[u8], _: PacketMeta| {});
            worst.fetch_max(start.elapsed().as_nanos() as u64, Relaxed);
            std::thread::sleep(Duration::from_micros(100));
        }
    })
}

async fn in_process(names: &Names) {
    let switch = Switch::new(None, SwitchOptions { cpu_port: Some(255), ..Default::default() }).unwrap();
    let (server, _events) = Server::new(1, switch.clone(), Arc::new(NoPorts));
    let p4_device_config = Bytes::from_static(FABRIC_JSON);
    let config = v1::ForwardingPipelineConfig { p4info: Some(names.0.clone()), p4_device_config, cookie: None };
    server.start(config).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = tonic::transport::Server::builder().add_service(server.service());
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = tokio::spawn(router.serve_with_incoming(incoming));
    let controller = Controller::connect(&address).await;
    let (stop, worst) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let packets = traffic(&switch, stop.clone(), worst.clone());
    println!("ours, in one process with the client, packets going on:");
    rounds(&controller.channel, names, || format!(", longest packet {} us", worst.swap(0, Relaxed) / 1000)).await;
    stop.store(true, Relaxed);
    packets.join().unwrap();
    serving.abort();
}

/// A switch as a process that ends with this value.
struct Process(Child);

impl Process {
    fn start(program: &str, address: &str) -> Self {
        let mut command = Command::new(program);
        command.args(switch_args(address, &[])).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Process(command.spawn().unwrap())
    }

    /// Resident memory in megabytes.
    fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
    }

    /// Processor time used so far, in clock ticks (hundredths of a second).
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn process(name: &str, program: &str, names: &Names) {
    println!("{name}, a process of its own:");
    let mut starts = Vec::new();
    for _ in 0..9 {
        let address = free_address();
        let start = Instant::now();
        let _process = Process::start(program, &address);
        reach(&address).await;
        starts.push(start.elapsed().as_secs_f64() * 1e3);
    }
    starts.sort_by(f64::total_cmp);
    println!("  exec to the first answered Capabilities: {:.1} ms (median of 9)", starts[4]);
    {
        let address = free_address();
        let process = Process::start(program, &address);
        let controller = Controller::connect(&address).await;
        controller.fabric(Way::Direct, 10_000).await;
        let before = process.ticks();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let idle = (process.ticks() - before) as f64 / 3.0;
        println!(
            "  fabric program and 10,000 routes: {:.1} MB resident, {idle:.1} % of a processor when idle",
            process.resident()
        );
    }
    let address = free_address();
    let _process = Process::start(program, &address);
    let controller = Controller::connect(&address).await;
    controller.push(&names.0, FABRIC_JSON).await.unwrap();
    rounds(&controller.channel, names, String::new).await;
}

#[tokio::main]
async fn main() {
    let names = Names::fabric();
    in_process(&names).await;
    process("ours", env!("CARGO_BIN_EXE_p4switch"), &names).await;
    match bmv2() {
        Some(program) => process("BMv2", program, &names).await,
        None => println!("BMv2: simple_switch_grpc is not on PATH"),
    }
}
