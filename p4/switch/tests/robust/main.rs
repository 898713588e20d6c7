//! Bad input: mutated programs, random packets and random writes end in an error or a drop, never in a panic. Runs are the same each time.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod engines;
mod writes;

use common::{Bench, FEATURES, ROUTER, ipv4};
use p4switch::{PacketMeta, Program, Switch, SwitchOptions};

/// A small generator, so that a failure repeats.
pub struct Random(u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.draw() % n as u64) as usize
    }
}

fn run_packets(program: &std::sync::Arc<Program>, random: &mut Random, count: usize) {
    let Ok(switch) = Switch::new(Some(program.clone()), SwitchOptions::default()) else { return };
    let mut worker = switch.worker();
    for _ in 0..count {
        let mut packet = match random.below(3) {
            0 => ipv4(random.draw() as u32, 7),
            1 => vec![0; random.below(100)],
            _ => {
                let mut packet = vec![0; 12];
                packet.extend([0x12, 0x34, random.below(10) as u8]);
                packet.resize(15 + random.below(60), 1);
                packet
            }
        };
        for _ in 0..random.below(8) {
            if !packet.is_empty() {
                let at = random.below(packet.len());
                packet[at] = random.draw() as u8;
            }
        }
        packet.truncate(random.below(packet.len() + 1));
        let mut sink = |_: u32, head: &[u8], payload: &[u8], _: PacketMeta| {
            assert!(head.len() + payload.len() < 100_000);
        };
        worker.process(random.below(600) as u32, &packet, PacketMeta::default(), &mut sink);
    }
}

#[test]
fn random_packets_pass_or_drop() {
    let mut random = Random(0x5eed);
    for json in [FEATURES, ROUTER] {
        run_packets(&Program::load(json).unwrap(), &mut random, 20_000);
    }
}

#[test]
fn mutated_programs_load_or_name_a_path() {
    let mut random = Random(0xbadc0de);
    let (mut loaded, mut refused) = (0, 0);
    for round in 0..400 {
        let mut json = if round % 2 == 0 { FEATURES.to_vec() } else { ROUTER.to_vec() };
        for _ in 0..1 + random.below(3) {
            let at = random.below(json.len());
            match random.below(4) {
                0 => json[at] = random.draw() as u8,
                1 => json[at] = b"0123456789[]{}\",:-xnul"[random.below(22)],
                2 => {
                    let end = (at + random.below(40)).min(json.len());
                    json.drain(at..end);
                }
                _ => {
                    let from = random.below(json.len() - 40);
                    let piece = json[from..from + random.below(40)].to_vec();
                    json.splice(at..at, piece);
                }
            }
        }
        match Program::load(&json) {
            Ok(program) => {
                loaded += 1;
                run_packets(&program, &mut random, 50);
            }
            Err(error) => {
                refused += 1;
                assert!(error.path.starts_with('$') && !error.problem.is_empty(), "{error}");
                assert!(!error.problem.contains("failed on this document"), "a panic in the loader: {error}");
            }
        }
    }
    assert!(loaded > 20 && refused > 20, "{loaded} loaded, {refused} refused: mutate more or less");
}

/// Swapping whole values of the document gets deeper than flipping bytes.
#[test]
fn foreign_values_in_programs() {
    fn walk(value: &mut serde_json::Value, path: &mut usize, target: usize, with: &serde_json::Value) -> bool {
        if *path == target {
            *value = with.clone();
            return true;
        }
        *path += 1;
        match value {
            serde_json::Value::Array(items) => items.iter_mut().any(|v| walk(v, path, target, with)),
            serde_json::Value::Object(map) => map.values_mut().any(|v| walk(v, path, target, with)),
            _ => false,
        }
    }
    let original: serde_json::Value = serde_json::from_slice(FEATURES).unwrap();
    let others = ["null", "7", "-1", "\"x\"", "\"0xffffffffffffffffffff\"", "[]", "{}", "1e300", "[[]]", "true"];
    let mut random = Random(77);
    for _ in 0..600 {
        let mut value = original.clone();
        let with: serde_json::Value = serde_json::from_str(others[random.below(others.len())]).unwrap();
        walk(&mut value, &mut 0, random.below(3_000), &with);
        match Program::load(value.to_string().as_bytes()) {
            Ok(program) => run_packets(&program, &mut random, 10),
            Err(error) => assert!(!error.problem.contains("failed on this document"), "a panic in the loader: {error}"),
        }
    }
}

#[test]
fn foreign_documents_are_refused_with_reasons() {
    let of = |json: &str| Program::load(json.as_bytes()).err().unwrap().to_string();
    assert!(of("").starts_with("$: not JSON"));
    assert_eq!(of("[]"), "$: found an array of 0, expected an object");
    assert_eq!(of("{}"), "$: the member \"header_types\" is missing");
    let version = r#"{"__meta__":{"version":[3,0]}}"#;
    assert_eq!(of(version), "$.__meta__.version[0]: found version 3, expected 2");
    assert!(of(&"[".repeat(100_000)).contains("nested deeper"));
    let text = std::str::from_utf8(FEATURES).unwrap();
    let foreign = text.replace("\"crc16\"", "\"md5\"");
    assert!(of(&foreign).ends_with("selector.algo: the hash algorithm \"md5\" is not known"), "{}", of(&foreign));
    let foreign = text.replace("\"mark_to_drop\"", "\"explode\"");
    assert!(of(&foreign).ends_with(".op: the primitive \"explode\" is not known"), "{}", of(&foreign));
}

#[test]
fn programs_are_swapped_under_a_running_worker() {
    let mut bench = Bench::router(10);
    assert_eq!(bench.send(1, &ipv4(0x0a00_0109, 1)).len(), 1);
    bench.switch.swap_program(Program::load(FEATURES).unwrap()).unwrap();
    assert_eq!(bench.send(1, &ipv4(0x0a00_0109, 1))[0].0, 9);
    bench.switch.commit(bench.instance.clone());
    assert_eq!(bench.send(1, &ipv4(0x0a00_0109, 1)).len(), 1);
}
