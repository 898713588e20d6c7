//! Compiled programs do what interpreted ones do: the same entries and packets, the same output, counters and registers.

use std::fmt::Write as _;

use p4switch::control::{ActionCall, EntryAction, EntrySpec, OneShotGroup, OneShotMember};
use p4switch::program::{MatchKind, TableId};
use p4switch::state::meter::MeterConfig;
use p4switch::state::pre::{CloneSession, Replica};
use p4switch::tables::key::{KeyField, Value};
use p4switch::{Engine, Instance, PacketMeta};

use super::Random;
use super::common::{Bench, FABRIC, FEATURES, ROUTER, ipv4, num};

/// Numbers that packets below are made of, so that entries are hit.
const NUMBERS: &[u128] = &[
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    10,
    17,
    64,
    100,
    255,
    0x800,
    0x806,
    0x86dd,
    0x8100,
    0x8847,
    0x8864,
    0x0a00_0001,
    0x0a00_0109,
    0xc0a8_0001,
    2_152,
    0x00aa_bbcc_ddee,
    0x0001_0203_0405,
    0xffff,
    0x2001_0db8 << 96,
];

fn number(random: &mut Random, width: u32) -> u128 {
    let value = match random.below(8) {
        0 => u128::from(random.draw()) << 64 | u128::from(random.draw()),
        1 => random.below(16) as u128,
        _ => NUMBERS[random.below(NUMBERS.len())],
    };
    if width >= 128 { value } else { value & ((1 << width) - 1) }
}

fn field(random: &mut Random, kind: MatchKind, width: u32) -> KeyField {
    let all = if width >= 128 { u128::MAX } else { (1 << width) - 1 };
    let value = number(random, width);
    match kind {
        MatchKind::Exact => KeyField::Exact(num(value)),
        MatchKind::Lpm => {
            let prefix_len = [0, width / 2, width.saturating_sub(4), width][random.below(4)];
            KeyField::Lpm { value: num(value), prefix_len }
        }
        MatchKind::Ternary => {
            let mask = [0, 0, all, number(random, width)][random.below(4)];
            KeyField::Ternary { value: num(value), mask: num(mask) }
        }
        MatchKind::Range => {
            let other = number(random, width);
            KeyField::Range { low: num(value.min(other)), high: num(value.max(other)) }
        }
        MatchKind::Optional => KeyField::Optional((random.below(2) == 0).then(|| num(value))),
    }
}

fn call(random: &mut Random, instance: &Instance, table: TableId) -> ActionCall {
    let actions = &instance.program.tables[table].actions;
    let action = actions[random.below(actions.len())];
    let params: Vec<Value> =
        instance.program.actions[action].params.iter().map(|param| num(number(random, param.bitwidth))).collect();
    ActionCall { action, params }
}

/// An entry for a table; not every one is accepted.
fn entry(random: &mut Random, instance: &Instance, table: TableId) -> EntrySpec {
    let info = &instance.program.tables[table];
    let key = info.fields.iter().map(|f| field(random, f.kind, f.bitwidth)).collect();
    let first = call(random, instance, table);
    let action = if matches!(info.kind, p4switch::program::TableKind::Simple) {
        EntryAction::Call(first)
    } else {
        let members = (0..1 + random.below(3)).map(|_| OneShotMember {
            call: call(random, instance, table),
            weight: 1 + random.below(3) as u32,
            watch_port: Some(random.below(8) as u32),
        });
        let members: Vec<_> = members.collect();
        let (first, random) = ((random.below(4) == 0).then_some(first), random.below(4) == 0);
        EntryAction::OneShot(OneShotGroup { members, random, first })
    };
    let priority = if info.has_priority() { 1 + random.below(100) as i32 } else { 0 };
    let mut spec = EntrySpec::new(key, priority, action);
    let rates = MeterConfig::TwoRate { cir: 1_000, cburst: 200, pir: 2_000, pburst: 400 };
    spec.meter = (info.meter.is_some() && random.below(2) == 0).then_some(rates);
    spec
}

/// Tags, labels, addresses and tunnels in any order that parsers know, sometimes damaged or cut.
fn packet(random: &mut Random) -> Vec<u8> {
    let mut inner = ipv4([0x0a00_0109, 0x0a00_0001, 0xc0a8_0001][random.below(3)], [80, 53, 2_152][random.below(3)]);
    let mut layers: Vec<u8> = inner.drain(..12).collect();
    if random.below(4) == 0 {
        // A tunnel: the same packet again behind GTP-U.
        let outer: Vec<u8> = inner[2..22].to_vec();
        let mut tunnel = vec![0x08, 0x00];
        tunnel.extend(outer);
        tunnel.extend([0x08, 0x68, 0x08, 0x68, 0, 66, 0, 0, 0x30, 0xff, 0, 50, 0, 0, 0, random.below(8) as u8]);
        tunnel.extend(&inner[2..]);
        inner = tunnel;
    }
    for _ in 0..random.below(3) {
        let kind = [0x8100u16, 0x88a8, 0x9100][random.below(3)];
        layers.extend(kind.to_be_bytes());
        layers.extend([0, [0, 1, 10, 100][random.below(4)]]);
    }
    match random.below(8) {
        0 => {
            layers.extend([0x88, 0x47]);
            for label in (0..1 + random.below(3)).rev() {
                layers.extend([0, 0x06, 0x40 | u8::from(label == 0), 64]);
            }
            layers.extend(&inner[2..]);
        }
        1 => {
            layers.extend([0x88, 0x64, 0x11, 0, 0, random.below(4) as u8, 0, 52, 0, 0x21]);
            layers.extend(&inner[2..]);
        }
        2 => {
            layers.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, [6, 17, 58][random.below(3)], 64]);
            layers.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            layers.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
            layers.extend((0..20).map(|_| random.below(4) as u8));
        }
        3 => {
            layers.extend([0x12, 0x34]);
            layers.extend((0..40).map(|_| random.below(16) as u8));
        }
        4 => {
            layers.extend([
                8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 0, 1, 2, 3, 4, 5, 192, 168, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1,
            ]);
        }
        _ => layers.extend(&inner),
    }
    if random.below(4) == 0 {
        for _ in 0..random.below(4) {
            let at = random.below(layers.len());
            layers[at] = random.draw() as u8;
        }
    }
    if random.below(8) == 0 {
        layers.truncate(random.below(layers.len() + 1));
    }
    layers
}

/// Everything that packets leave behind in a switch, as text.
fn state(instance: &Instance) -> String {
    let mut text = String::new();
    for (id, info) in instance.program.tables.iter().enumerate() {
        let table = instance.table(id).unwrap();
        let mut lines: Vec<String> = Vec::new();
        for entry in table.entries().into_iter().chain(instance.default_entry(id).unwrap()) {
            if let Some(counter) = &entry.counter {
                lines.push(format!(
                    "{} {:?} {}: {:?}",
                    info.name,
                    table.key_of(&entry),
                    entry.priority,
                    counter.read()
                ));
            }
        }
        lines.sort();
        text += &lines.join("\n");
    }
    for (info, counter) in instance.program.counters.iter().zip(&instance.counters) {
        for index in 0..counter.len() as u64 {
            let read = counter.get(index).unwrap().read();
            if read != (0, 0) {
                writeln!(text, "{}[{index}]: {read:?}", info.name).unwrap();
            }
        }
    }
    for (info, register) in instance.program.registers.iter().zip(&instance.registers) {
        for index in 0..register.len().min(1_024) as u64 {
            writeln!(text, "{}[{index}]: {:x?}", info.name, register.read(index)).unwrap();
        }
    }
    text
}

fn fill(random: &mut Random, benches: &[Bench; 2], entries: usize, sparse: usize) {
    let instance = &benches[0].instance;
    for table in 0..instance.program.tables.len() {
        // Most tables of a real switch are empty.
        if random.below(sparse) != 0 {
            continue;
        }
        for _ in 0..1 + random.below(entries) {
            let spec = entry(random, instance, table);
            let [a, b] = benches.each_ref().map(|bench| bench.instance.insert(table, &spec, 0).map(|_| ()));
            assert_eq!(a, b);
        }
        if random.below(4) == 0 {
            let action = EntryAction::Call(call(random, instance, table));
            let [a, b] = benches.each_ref().map(|bench| bench.instance.set_default(table, Some(&action)));
            assert_eq!(a, b);
        }
    }
    let replicas = |n: usize| (0..n).map(|i| Replica { port: i as u32, rid: i as u16 }).collect::<Vec<_>>();
    for bench in benches {
        for group in 1..8u16 {
            bench.instance.pre.set_group(group, Some(replicas(usize::from(group) % 4)));
            let session = CloneSession { replicas: replicas(1), group: (group == 2).then_some(3), truncate: 40 };
            bench.instance.pre.set_session(group, Some(session));
        }
    }
}

fn compare(name: &str, random: &mut Random, benches: &mut [Bench; 2], packets: usize) -> usize {
    let mut left = 0;
    for round in 0..packets {
        let (port, packet) = (random.below(8) as u32, packet(random));
        let seed = random.draw();
        let [expected, found] = benches.each_mut().map(|bench| {
            bench.switch.clock.set(round as u64 * 1_000);
            bench.worker.seed(seed);
            let mut out = Vec::new();
            let mut sink = |port: u32, head: &[u8], payload: &[u8], meta: PacketMeta| {
                out.push((port, [head, payload].concat(), meta.head_growth));
            };
            bench.worker.process(port, &packet, PacketMeta::default(), &mut sink);
            out
        });
        assert_eq!(expected, found, "{name}, packet {round} on port {port}: {packet:02x?}");
        left += expected.len();
    }
    let [expected, found] = benches.each_ref().map(|bench| state(&bench.instance));
    assert_eq!(expected, found, "{name}");
    left
}

#[test]
fn compiled_programs_do_what_interpreted_ones_do() {
    let mut random = Random(0xd1ff);
    let programs: [(&str, &[u8]); 7] = [
        ("fabric", FABRIC),
        ("features", FEATURES),
        ("router", ROUTER),
        ("p4rt_all", include_bytes!("../programs/p4rt_all.json")),
        ("p4rt_more", include_bytes!("../programs/p4rt_more.json")),
        ("leaf", include_bytes!("../programs/io_leaf.json")),
        ("alike", include_bytes!("../programs/alike.json")),
    ];
    let mut total = 0;
    for (name, json) in programs {
        let mut left = 0;
        let rounds = if name == "fabric" { 16 } else { 4 };
        for round in 0..rounds {
            // These let nothing through without being told; most rounds start with ports that route.
            let routes = round % 4 != 0;
            let mut benches = [Engine::Interpreter, Engine::NativeAtOnce].map(|engine| match name {
                "fabric" if routes => Bench::fabric_on(engine, 20, round % 2 == 0),
                "router" if routes => Bench::router_on(engine, 20),
                _ => Bench::with_engine(json, engine),
            });
            fill(&mut random, &benches, [2, 6, 20][round % 3], if routes { 8 } else { 2 });
            left += compare(name, &mut random, &mut benches, 250);
        }
        total += left;
        assert!(left > 100 || name != "fabric", "{left} packets left the fabric");
    }
    assert!(total > 1_000, "{total} packets left");
}

#[test]
fn routed_traffic_is_the_same() {
    let mut random = Random(0x0f0f);
    for labels in [false, true] {
        let mut benches =
            [Engine::Interpreter, Engine::NativeAtOnce].map(|engine| Bench::fabric_on(engine, 500, labels));
        for round in 0..2_000u32 {
            let mut packet = ipv4(0x0a00_0009 | (round % 500) << 8, round as u16);
            if random.below(4) == 0 {
                let at = random.below(packet.len());
                packet[at] ^= 1 << random.below(8);
            }
            let [expected, found] = benches.each_mut().map(|bench| bench.send(1 + round % 32, &packet));
            assert_eq!(expected, found, "{packet:02x?}");
        }
        let [expected, found] = benches.each_ref().map(|bench| state(&bench.instance));
        assert_eq!(expected, found);
    }
}
