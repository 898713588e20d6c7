//! The packet path in memory, and writes into a table that packets read.

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Bench, ipv4, num, route_of};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use p4switch::PacketMeta;
use p4switch::tables::key::KeyField;

const ROUTES: u32 = 10_000;

fn packets() -> Vec<Vec<u8>> {
    (0..4_096u32)
        .map(|i| {
            let (value, len) = route_of(i.wrapping_mul(7_919) % ROUTES);
            ipv4(value | (if len < 24 { 0x0101 } else { 0 }), i as u16)
        })
        .collect()
}

fn routed(c: &mut Criterion) {
    let packets = packets();
    let mut group = c.benchmark_group("memory");
    group.throughput(Throughput::Elements(packets.len() as u64));
    let subjects = [
        ("fabric: routed 64-byte IPv4, 10000 routes, ECMP", Bench::fabric(ROUTES, false)),
        ("fabric: the same, MPLS label pushed", Bench::fabric(ROUTES, true)),
        ("small router: the same packets and routes", Bench::router(ROUTES)),
    ];
    for (name, mut bench) in subjects {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut out = 0usize;
                // In turns of 64 packets, as the forwarding loop takes them from a port.
                for turn in packets.chunks(64) {
                    let _pin = p4switch::rcu::pin();
                    for packet in turn {
                        let mut sink = |_: u32, head: &[u8], payload: &[u8], _: PacketMeta| {
                            out += black_box(head).len() + payload.len();
                        };
                        bench.worker.process(1, packet, PacketMeta::default(), &mut sink);
                    }
                }
                assert!(out >= packets.len() * 60, "{out}");
            });
        });
    }
    group.finish();
}

fn inserts(c: &mut Criterion) {
    let mut group = c.benchmark_group("writes");
    group.throughput(Throughput::Elements(100_000));
    group.sample_size(10);
    group.bench_function("100000 LPM inserts", |b| {
        b.iter_custom(|rounds| (0..rounds).map(|_| fill().0).sum());
    });
    group.finish();
    let (time, pause) = fill();
    eprintln!(
        "100000 inserts beside a worker: {:.0} a second, longest packet {:.0} us",
        1e5 / time.as_secs_f64(),
        pause.as_secs_f64() * 1e6
    );
}

/// Inserts 100,000 routes while another thread forwards; the time it took and the longest time of one packet.
fn fill() -> (Duration, Duration) {
    let bench = Bench::router(0);
    let table = bench.table("MainIngress.routes_v4");
    let specs: Vec<_> = (0..100_000u32)
        .map(|i| {
            let key = vec![KeyField::Lpm { value: num(u128::from(0x0a00_0000 + (i << 8))), prefix_len: 24 }];
            bench.spec("MainIngress.routes_v4", key, 0, "MainIngress.set_next4", &[u128::from(i % 64 + 1)])
        })
        .collect();
    let stop = AtomicBool::new(false);
    let mut worker = bench.switch.worker();
    let packets = packets();
    std::thread::scope(|scope| {
        let forward = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                for packet in &packets {
                    let start = Instant::now();
                    let mut sink = |_: u32, head: &[u8], _: &[u8], _: PacketMeta| {
                        black_box(head);
                    };
                    worker.process(1, packet, PacketMeta::default(), &mut sink);
                    longest = longest.max(start.elapsed());
                }
            }
            longest
        });
        let start = Instant::now();
        for spec in &specs {
            bench.instance.insert(table, spec, 0).expect("an insert");
        }
        let time = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        (time, forward.join().expect("the worker"))
    })
}

criterion_group!(benches, routed, inserts);
criterion_main!(benches);
