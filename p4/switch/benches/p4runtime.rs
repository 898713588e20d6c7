//! P4Runtime over loopback: insert and read 100,000 LPM entries while packets go on. Run with
//! `cargo bench -p p4switch --bench p4runtime`. Client and server share the process and the machine.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use p4runtime_proto::{
    p4::v1::{self, p4_runtime_client::P4RuntimeClient, update::Type},
    text,
};
use p4switch::{
    PacketMeta, Switch, SwitchOptions,
    p4runtime::{Server, plane::Host},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Channel;

const ENTRIES: u32 = 100_000;
const JSON: &[u8] = include_bytes!("../tests/programs/p4rt_all.json");
const INFO: &str = include_str!("../tests/programs/p4rt_all.p4info.txtpb");

struct NoPorts;

impl Host for NoPorts {
    fn has_port(&self, port: u32) -> bool {
        port < 16
    }
    fn packet_out(&self, _: Vec<u8>) {}
}

fn updates(kind: Type, table_id: u32, action_id: u32) -> Vec<v1::Update> {
    let entry = |n: u32| {
        let value = Bytes::copy_from_slice(&(0x0a00_0000 | n << 4).to_be_bytes());
        let lpm = v1::field_match::Lpm { value, prefix_len: 28 };
        let param = v1::action::Param { param_id: 1, value: Bytes::from_static(&[3]) };
        let action = v1::Action { action_id, params: vec![param] };
        v1::TableEntry {
            table_id,
            r#match: vec![v1::FieldMatch {
                field_id: 1,
                field_match_type: Some(v1::field_match::FieldMatchType::Lpm(lpm)),
            }],
            action: Some(v1::TableAction { r#type: Some(v1::table_action::Type::Action(action)) }),
            ..Default::default()
        }
    };
    let update = |n| v1::Update {
        r#type: kind.into(),
        entity: Some(v1::Entity { entity: Some(v1::entity::Entity::TableEntry(entry(n))) }),
    };
    (0..ENTRIES).map(update).collect()
}

/// Writes everything in batches, some at once; entries a second.
async fn write(client: &P4RuntimeClient<Channel>, updates: &[v1::Update], batch: usize, at_once: usize) -> f64 {
    let requests: Vec<_> = updates
        .chunks(batch)
        .map(|updates| v1::WriteRequest {
            device_id: 1,
            election_id: Some(v1::Uint128 { high: 0, low: 1 }),
            updates: updates.to_vec(),
            ..Default::default()
        })
        .collect();
    let start = Instant::now();
    stream::iter(requests)
        .map(|request| {
            let mut client = client.clone();
            async move { client.write(request).await.unwrap() }
        })
        .buffer_unordered(at_once)
        .for_each(|_| async {})
        .await;
    f64::from(ENTRIES) / start.elapsed().as_secs_f64()
}

async fn read(client: &P4RuntimeClient<Channel>, table_id: u32) -> f64 {
    let query = v1::TableEntry { table_id, ..Default::default() };
    let entities = vec![v1::Entity { entity: Some(v1::entity::Entity::TableEntry(query)) }];
    let start = Instant::now();
    let request = v1::ReadRequest { device_id: 1, entities, ..Default::default() };
    let mut chunks = client.clone().read(request).await.unwrap().into_inner();
    let mut count = 0;
    while let Some(chunk) = chunks.message().await.unwrap() {
        count += chunk.entities.len();
    }
    assert_eq!(count, ENTRIES as usize);
    f64::from(ENTRIES) / start.elapsed().as_secs_f64()
}

/// One packet each 100 us; the longest time that one took, in nanoseconds.
fn traffic(switch: &Arc<Switch>, stop: Arc<AtomicBool>, worst: Arc<AtomicU64>) -> std::thread::JoinHandle<()> {
    let mut worker = switch.worker();
    std::thread::spawn(move || {
        let mut packet = vec![0; 34];
        packet[12] = 8;
        packet[14] = 0x45;
        packet[30] = 10;
        while !stop.load(Relaxed) {
            let start = Instant::now();
            worker.process(1, &packet, PacketMeta::default(), &mut |_: u32, _: &[u8], _: &[u8], _: PacketMeta| {});
            worst.fetch_max(start.elapsed().as_nanos() as u64, Relaxed);
            std::thread::sleep(Duration::from_micros(100));
        }
    })
}

#[tokio::main]
async fn main() {
    let switch = Switch::new(None, SwitchOptions { cpu_port: Some(510), ..Default::default() }).unwrap();
    let (server, _events) = Server::new(1, switch.clone(), Arc::new(NoPorts));
    let info = text::parse_p4info(INFO).unwrap();
    let id = |name: &str| {
        let tables = info.tables.iter().map(|t| t.preamble.as_ref().unwrap());
        let mut all = tables.chain(info.actions.iter().map(|a| a.preamble.as_ref().unwrap()));
        all.find(|p| p.alias == name).unwrap().id
    };
    let (table, action) = (id("route"), id("forward"));
    server
        .start(v1::ForwardingPipelineConfig {
            p4info: Some(info.clone()),
            p4_device_config: Bytes::from_static(JSON),
            cookie: None,
        })
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = tonic::transport::Server::builder().add_service(server.service());
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    let client = P4RuntimeClient::connect(format!("http://{address}")).await.unwrap();
    let client = client.max_decoding_message_size(64 << 20);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let hello = v1::MasterArbitrationUpdate {
        device_id: 1,
        election_id: Some(v1::Uint128 { high: 0, low: 1 }),
        ..Default::default()
    };
    let hello = v1::stream_message_request::Update::Arbitration(hello);
    sender.send(v1::StreamMessageRequest { update: Some(hello) }).await.unwrap();
    let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut primary = client.clone().stream_channel(receiver).await.unwrap().into_inner();
    primary.message().await.unwrap().unwrap();

    let (stop, worst) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let packets = traffic(&switch, stop.clone(), worst.clone());
    let (insert, delete) = (updates(Type::Insert, table, action), updates(Type::Delete, table, action));
    for (batch, at_once) in [(100, 1), (1000, 1), (1000, 4)] {
        for _ in 0..3 {
            worst.store(0, Relaxed);
            let inserted = write(&client, &insert, batch, at_once).await;
            let read = read(&client, table).await;
            let deleted = write(&client, &delete, batch, at_once).await;
            let worst = worst.load(Relaxed) / 1000;
            println!(
                "batches of {batch} x {at_once}: {inserted:.0} inserts/s, {read:.0} read/s, {deleted:.0} deletes/s, longest packet {worst} us"
            );
        }
    }
    stop.store(true, Relaxed);
    packets.join().unwrap();
}
