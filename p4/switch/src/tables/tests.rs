//! Tables against a model that tries every entry.

use proptest::prelude::*;

use super::entry::{ActionData, Bound};
use super::key::{KeyField, Value};
use super::table::{Rest, Table};
use crate::program::code::{Bits, Fld, KeyPart, Num, TableCode};
use crate::program::{MatchField, MatchKind, TableInfo, TableKind};
use crate::rcu::pin;

/// A table with fields of these kinds and widths; narrow ones share words as the loader packs them.
fn table(fields: &[(MatchKind, u32)]) -> Table {
    let (mut key, mut words, mut left) = (Vec::new(), 0usize, 0u32);
    for &(_, width) in fields {
        let src = Num::Fld(Fld { off: 0, shift: 0, width: 1, own: 0, mask: 1 });
        if width <= 64 {
            if left < width {
                (words, left) = (words + 1, 64);
            }
            left -= width;
            key.push(KeyPart {
                src,
                of: None,
                word: words as u16 - 1,
                shift: left as u8,
                more: Vec::new(),
                width,
                keep: u64::MAX,
            });
        } else {
            let count = width.div_ceil(64) as usize;
            let more = vec![(Bits { bit: 0, width: 1 }, u64::MAX); count];
            key.push(KeyPart { src, of: None, word: words as u16, shift: 0, more, width, keep: u64::MAX });
            (words, left) = (words + count, 0);
        }
    }
    let info = TableInfo {
        name: "t".into(),
        kind: TableKind::Simple,
        fields: fields.iter().map(|&(kind, bitwidth)| MatchField { name: "f".into(), kind, bitwidth }).collect(),
        actions: vec![0],
        size: 1 << 20,
        has_counters: false,
        meter: None,
        supports_timeout: false,
        const_entries: false,
        const_default: false,
        hidden: false,
    };
    let code = TableCode { key, words, selector: None, selector_field: None, meter_target: None };
    Table::new(&info, &code, None, 1, Vec::new())
}

fn value(v: u128) -> Value {
    Value::from_slice(&v.to_be_bytes())
}

/// A field of an entry as the model sees it.
#[derive(Clone, Debug, PartialEq)]
enum Model {
    Masked(u128, u128),
    Range(u128, u128),
}

impl Model {
    fn matches(&self, v: u128) -> bool {
        match self {
            Model::Masked(value, mask) => v & mask == value & mask,
            Model::Range(low, high) => (*low..=*high).contains(&v),
        }
    }

    /// What decides whether two entries have the same key.
    fn normal(&self) -> Model {
        match self {
            Model::Masked(value, mask) => Model::Masked(value & mask, *mask),
            range => range.clone(),
        }
    }
}

fn ones(width: u32) -> u128 {
    if width == 128 { u128::MAX } else { (1 << width) - 1 }
}

fn field(kind: MatchKind, width: u32, a: u128, b: u128) -> (KeyField, Model) {
    let (a, b) = (a & ones(width), b & ones(width));
    match kind {
        MatchKind::Exact => (KeyField::Exact(value(a)), Model::Masked(a, ones(width))),
        MatchKind::Lpm => {
            let len = (b % u128::from(width + 1)) as u32;
            let mask = ones(width) & !ones(width).checked_shr(len).unwrap_or(0);
            (KeyField::Lpm { value: value(a), prefix_len: len }, Model::Masked(a, mask))
        }
        MatchKind::Ternary => (KeyField::Ternary { value: value(a), mask: value(b) }, Model::Masked(a, b)),
        MatchKind::Range => {
            let (low, high) = (a.min(b), a.max(b));
            (KeyField::Range { low: value(low), high: value(high) }, Model::Range(low, high))
        }
        MatchKind::Optional if b % 3 == 0 => (KeyField::Optional(None), Model::Masked(0, 0)),
        MatchKind::Optional => (KeyField::Optional(Some(value(a))), Model::Masked(a, ones(width))),
    }
}

type Step = (Vec<(u128, u128)>, i32, bool);

/// Runs inserts and deletes on the table and on the model, and compares lookups after each.
fn check(fields: &[(MatchKind, u32)], steps: &[Step], probes: &[Vec<u128>]) {
    let table = table(fields);
    let priorities = table.layout.wildcards;
    let lpm = fields.iter().position(|f| f.0 == MatchKind::Lpm);
    let mut model: Vec<(Vec<Model>, i32, usize)> = Vec::new();
    for (id, (parts, priority, delete)) in steps.iter().enumerate() {
        let (key, fields_model): (Vec<KeyField>, Vec<Model>) =
            fields.iter().zip(parts).map(|(&(kind, width), &(a, b))| field(kind, width, a, b)).unzip();
        let fields_model: Vec<Model> = fields_model.iter().map(Model::normal).collect();
        let priority = if priorities { *priority } else { 0 };
        let known = model.iter().position(|m| m.0 == fields_model && m.1 == priority);
        if *delete {
            assert_eq!(table.delete(&key, priority).is_ok(), known.is_some());
            known.map(|at| model.remove(at));
        } else {
            let data = ActionData { action: id, words: smallvec::SmallVec::new() };
            let cookie = std::sync::Arc::from([]);
            let rest = Rest { bound: Bound::Action(data), priority, ttl_ms: 0, now_ms: 0, cookie, is_const: false };
            let inserted = table.insert(&key, rest);
            assert_eq!(inserted.is_ok(), known.is_none(), "{inserted:?}", inserted = inserted.as_ref().err());
            if let Ok(entry) = inserted {
                assert_eq!(table.layout.pack(&table.key_of(&entry)).unwrap(), entry.key, "keys survive a round trip");
                model.push((fields_model, priority, id));
            }
        }
        assert_eq!(
            (table.len(), table.structure_len(), table.entries().len()),
            (model.len(), model.len(), model.len())
        );
        for probe in probes {
            let exact: Vec<KeyField> =
                fields.iter().zip(probe).map(|(f, v)| KeyField::Exact(value(v & ones(f.1)))).collect();
            let mut plain = table.layout.clone();
            plain.kinds = vec![MatchKind::Exact; fields.len()];
            plain.wildcards = false;
            let words = plain.pack(&exact).unwrap().words;
            let matching =
                model.iter().filter(|m| m.0.iter().zip(probe).zip(fields).all(|((m, v), f)| m.matches(v & ones(f.1))));
            // The longest prefix, the highest priority, the oldest.
            let best = matching.max_by_key(|m| {
                let len = lpm.filter(|_| !priorities).map_or(0, |at| match m.0[at] {
                    Model::Masked(_, mask) => mask.count_ones(),
                    Model::Range(..) => 0,
                });
                (len, m.1, std::cmp::Reverse(m.2))
            });
            let pin = pin();
            let found = table.find(&words, &pin).map(|e| match e.bound.load(&pin) {
                Some(Bound::Action(data)) => data.action,
                _ => usize::MAX,
            });
            assert_eq!(found, best.map(|m| m.2), "probe {probe:?} in {model:?}");
        }
    }
}

fn small() -> impl Strategy<Value = u128> {
    prop_oneof![0u128..6, Just(0xff), Just(0xf0), Just(0x80), any::<u128>(), (0u32..128).prop_map(|s| 1 << s)]
}

fn steps(fields: usize) -> impl Strategy<Value = (Vec<Step>, Vec<Vec<u128>>)> {
    let step = (prop::collection::vec((small(), small()), fields), 0i32..4, prop::bool::weighted(0.3));
    (prop::collection::vec(step, 1..40), prop::collection::vec(prop::collection::vec(small(), fields), 1..12))
}

/// Prefixes of all lengths around the fan of two stems, in two routing domains.
fn crowd() -> impl Strategy<Value = (Vec<Step>, Vec<Vec<u128>>)> {
    let address = || (0u128..0x2_0000).prop_map(|low| 0x0a00_0000 | low & 0x1_030f);
    let vrf = || 0u128..2;
    let step = ((vrf(), Just(0)), (address(), 14u128..33), prop::bool::weighted(0.3));
    let step = step.prop_map(|(vrf, prefix, delete)| (vec![vrf, prefix], 0, delete));
    let probe = (vrf(), address()).prop_map(|(vrf, address)| vec![vrf, address]);
    (prop::collection::vec(step, 60..200), prop::collection::vec(probe, 4..16))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn crowded_lpm_tables((steps, probes) in crowd()) {
        check(&[(MatchKind::Exact, 16), (MatchKind::Lpm, 32)], &steps, &probes);
    }
    #[test]
    fn exact_tables((steps, probes) in steps(3)) {
        check(&[(MatchKind::Exact, 9), (MatchKind::Exact, 48), (MatchKind::Exact, 128)], &steps, &probes);
    }
    #[test]
    fn lpm_tables((steps, probes) in steps(1)) {
        check(&[(MatchKind::Lpm, 32)], &steps, &probes);
    }
    #[test]
    fn wide_lpm_tables((steps, probes) in steps(2)) {
        check(&[(MatchKind::Exact, 12), (MatchKind::Lpm, 128)], &steps, &probes);
    }
    #[test]
    fn odd_lpm_tables((steps, probes) in steps(2)) {
        check(&[(MatchKind::Lpm, 13), (MatchKind::Exact, 7)], &steps, &probes);
    }
    #[test]
    fn ternary_tables((steps, probes) in steps(3)) {
        check(&[(MatchKind::Ternary, 16), (MatchKind::Exact, 8), (MatchKind::Lpm, 32)], &steps, &probes);
    }
    #[test]
    fn range_tables((steps, probes) in steps(3)) {
        check(&[(MatchKind::Range, 16), (MatchKind::Range, 8), (MatchKind::Optional, 9)], &steps, &probes);
    }
    #[test]
    fn wide_ternary_and_range_tables((steps, probes) in steps(2)) {
        check(&[(MatchKind::Ternary, 128), (MatchKind::Range, 100)], &steps, &probes);
    }
}

/// Writers and readers at once: a key that stays is always found.
#[test]
fn readers_never_miss_what_stays() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let table = table(&[(MatchKind::Lpm, 32)]);
    let insert = |prefix: u32, len: u32, id: usize| {
        let key = [KeyField::Lpm { value: value(u128::from(prefix)), prefix_len: len }];
        let data = ActionData { action: id, words: smallvec::SmallVec::new() };
        let cookie = std::sync::Arc::from([]);
        let rest = Rest { bound: Bound::Action(data), priority: 0, ttl_ms: 0, now_ms: 0, cookie, is_const: false };
        table.insert(&key, rest).unwrap();
    };
    insert(0x0a00_0000, 8, 1);
    insert(0x0a01_0200, 24, 2);
    for many in 0..40 {
        insert(0x0a01_4000 | many << 8, 24, 5);
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let pin = pin();
                    let found = |key: u64| match table.find(&[key << 32], &pin).and_then(|e| e.bound.load(&pin)) {
                        Some(Bound::Action(data)) => data.action,
                        _ => 0,
                    };
                    assert_eq!((found(0x0a01_0203), found(0x0aff_0001), found(0x0a01_4203)), (2, 1, 5));
                }
            });
        }
        for round in 0..20 {
            for i in 0..500u32 {
                insert(0x0b00_0000 | i << 8, 24, 3);
                insert(0x0a01_0000 | (i % 256), 32, 4 + round);
                let gone = |prefix: u32, len: u32| {
                    let key = [KeyField::Lpm { value: value(u128::from(prefix)), prefix_len: len }];
                    table.delete(&key, 0).unwrap();
                };
                gone(0x0a01_0000 | (i % 256), 32);
                if i % 3 == 0 {
                    gone(0x0b00_0000 | i << 8, 24);
                }
            }
            for i in (0..500u32).filter(|i| i % 3 != 0) {
                let key = [KeyField::Lpm { value: value(u128::from(0x0b00_0000 | i << 8)), prefix_len: 24 }];
                table.delete(&key, 0).unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(table.len(), 42);
}
