//! What p4c's STF tests never touch: direct counters and meters, digests, selectors, value sets, idle timeouts, range and
//! optional keys, action profiles, wide registers. The program is `programs/features.p4`.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, FEATURES, QUEUES, exact, num, ternary};
use p4switch::control::{ActionCall, EntryAction, EntrySpec, GroupMemberSpec, OneShotMember, describe};
use p4switch::program::Kind;
use p4switch::rcu::pin;
use p4switch::state::digest::DigestConfig;
use p4switch::state::meter::MeterConfig;
use p4switch::state::valueset::SetMember;
use p4switch::tables::TableError;
use p4switch::tables::key::{KeyField, Value};
use p4switch::{PacketMeta, Sink};

fn eth(kind: u16, source: u8) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, source];
    packet.extend(kind.to_be_bytes());
    packet
}

fn probe(op: u8, a: u8, b: u16, c: u32, wide: u128) -> Vec<u8> {
    let mut packet = eth(0x1234, 1);
    packet.extend([op, a]);
    packet.extend(b.to_be_bytes());
    packet.extend(c.to_be_bytes());
    packet.extend(wide.to_be_bytes());
    packet.extend(b"payload");
    packet
}

/// Offset of `probe.a` in a packet.
const A: usize = 15;

#[test]
fn direct_counters_count_hits_and_the_default_entry() {
    let mut bench = Bench::new(FEATURES);
    let table = bench.table("MainIngress.counted_exact");
    bench.add("MainIngress.counted_exact", vec![exact(7)], 0, "MainIngress.counted", &[3]);
    let packet = probe(0, 7, 0, 0, 0);
    for _ in 0..3 {
        assert_eq!(bench.send(0, &packet), [(3, packet.clone())]);
    }
    assert_eq!(bench.send(0, &probe(0, 8, 0, 0, 0)), []);
    let entry = bench.instance.table(table).unwrap().get(&[exact(7)], 0).unwrap().unwrap();
    let counter = entry.counter.as_ref().unwrap();
    assert_eq!(counter.read(), (3, 3 * packet.len() as u64));
    counter.write(100, 5);
    bench.send(0, &packet);
    assert_eq!(counter.read(), (101, 5 + packet.len() as u64));
    let default = bench.instance.default_entry(table).unwrap().unwrap();
    assert_eq!(default.counter.as_ref().unwrap().read().0, 1);
    let ops = bench.object(Kind::Counter, "MainIngress.ops");
    assert_eq!(bench.instance.counters[ops].get(0).unwrap().read().0, 5);
}

/// A sink whose port 1 has five packets waiting, and port 0 more than v1model can say.
#[derive(Default)]
struct Waiting(Vec<(u32, Vec<u8>)>);

impl Sink for Waiting {
    fn emit(&mut self, port: u32, head: &[u8], payload: &[u8], _: PacketMeta) {
        self.0.push((port, [head, payload].concat()));
    }

    fn depth(&mut self, port: u32) -> usize {
        if port == 1 { 5 } else { usize::MAX }
    }
}

#[test]
fn programs_see_how_many_packets_wait_at_the_port() {
    let mut sink = Waiting::default();
    let mut bench = Bench::new(QUEUES);
    for port in [0, 1] {
        bench.worker.process(port, &[0; 9], PacketMeta::default(), &mut sink);
    }
    assert_eq!(sink.0, [(1, vec![0, 0, 0, 5, 0, 0, 0, 5, 0]), (0, vec![0, 7, 255, 255, 0, 7, 255, 255, 0])]);
    assert_eq!(bench.send(0, &[9; 8]), [(1, vec![0; 8])]);
}

#[test]
fn direct_meters_colour_packets() {
    let mut bench = Bench::new(FEATURES);
    bench.switch.clock.set(1_000_000);
    let mut spec = bench.spec("MainIngress.line", vec![exact(1)], 0, "MainIngress.metered", &[6]);
    spec.meter = Some(MeterConfig::TwoRate { cir: 1_000, cburst: 1, pir: 2_000, pburst: 2 });
    bench.instance.insert(bench.table("MainIngress.line"), &spec, 0).unwrap();
    let mut colours = |n: usize| -> Vec<u8> { (0..n).map(|_| bench.send(0, &probe(1, 1, 0, 0, 0))[0].1[A]).collect() };
    assert_eq!(colours(4), [0, 1, 2, 2]);
    bench.switch.clock.set(1_001_000);
    let mut colours = |n: usize| -> Vec<u8> { (0..n).map(|_| bench.send(0, &probe(1, 1, 0, 0, 0))[0].1[A]).collect() };
    assert_eq!(colours(3), [0, 1, 2]);
}

#[test]
fn ranges_with_priorities() {
    let mut bench = Bench::new(FEATURES);
    let range = |low, high| KeyField::Range { low: num(low), high: num(high) };
    let add = |low, high, priority, value| {
        let key = vec![range(low, high), ternary(0, 0)];
        bench.add("MainIngress.ranges", key, priority, "MainIngress.mark", &[value]);
    };
    add(1_000, 2_000, 1, 1);
    add(1_500, 1_600, 5, 2);
    add(1_550, 65_535, 3, 3);
    add(0, 65_535, 0, 4);
    let expected =
        [(999, 4), (1_000, 1), (1_499, 1), (1_500, 2), (1_600, 2), (1_601, 3), (2_001, 3), (0, 4), (65_535, 3)];
    for (b, value) in expected {
        assert_eq!(bench.send(0, &probe(2, 0, b, 0, 0))[0].1[A], value, "b = {b}");
    }
    let table = bench.table("MainIngress.ranges");
    bench.instance.delete(table, &[range(1_500, 1_600), ternary(0, 0)], 5).unwrap();
    assert_eq!(bench.send(0, &probe(2, 0, 1_500, 0, 0))[0].1[A], 1);
    let empty = bench.spec("MainIngress.ranges", vec![range(5, 4), ternary(0, 0)], 1, "MainIngress.mark", &[1]);
    assert!(matches!(bench.instance.insert(table, &empty, 0), Err(TableError::Key(_))));
}

#[test]
fn optional_keys() {
    // p4c writes optional fields as ternary ones: exact values or wildcards.
    let mut bench = Bench::new(FEATURES);
    let add = |key, priority, value| {
        bench.add("MainIngress.optionals", key, priority, "MainIngress.mark", &[value]);
    };
    add(vec![ternary(1, 0xff), ternary(0, 0)], 10, 0x11);
    add(vec![ternary(0, 0), ternary(2, 0xffff)], 20, 0x22);
    let mut at = |a, b| bench.send(0, &probe(3, a, b, 0, 0))[0].1[A];
    assert_eq!([at(1, 5), at(1, 2), at(9, 2), at(9, 9)], [0x11, 0x22, 0x22, 0xee]);
}

#[test]
fn digests_reach_the_receiver() {
    let mut bench = Bench::new(FEATURES);
    bench.switch.clock.set(1);
    let digest = bench.object(Kind::Digest, "learn_t");
    assert_eq!(bench.instance.program.digests[digest].widths, [48, 9]);
    let config = DigestConfig { max_timeout_ns: 0, max_list_size: 1, ack_timeout_ns: 1_000_000_000 };
    assert!(bench.instance.digests.configure(digest, Some(config)));
    assert_eq!(bench.send(3, &eth(0x9999, 0x42))[0].0, 9);
    bench.send(3, &eth(0x9999, 0x42));
    let lists = bench.instance.digests.take(2_000);
    assert_eq!(lists.len(), 1, "the second sample is the same");
    assert_eq!(*lists[0].samples[0], [0, 0, 0, 0, 0, 0x42, 0, 3]);
    bench.instance.digests.ack(digest, lists[0].list_id);
    bench.send(3, &eth(0x9999, 0x42));
    assert_eq!(bench.instance.digests.take(3_000).len(), 1);
}

#[test]
fn idle_entries_are_reported_once_until_hit_again() {
    let mut bench = Bench::new(FEATURES);
    bench.switch.clock.set(0);
    let mut spec = bench.spec("MainIngress.aging", vec![exact(0x42)], 0, "MainIngress.out_port", &[4]);
    spec.ttl_ms = 100;
    let table = bench.table("MainIngress.aging");
    bench.instance.insert(table, &spec, 0).unwrap();
    assert!(bench.instance.take_idle(99).is_empty());
    bench.switch.clock.set(90_000);
    assert_eq!(bench.send(0, &eth(0x9999, 0x42))[0].0, 4);
    assert!(bench.instance.take_idle(150).is_empty(), "the hit at 90 ms counts");
    let idle = bench.instance.take_idle(190);
    assert_eq!((idle.len(), idle[0].0), (1, table));
    assert!(bench.instance.take_idle(500).is_empty(), "once");
    bench.switch.clock.set(600_000);
    bench.send(0, &eth(0x9999, 0x42));
    assert_eq!(bench.instance.take_idle(700).len(), 1);
    let other =
        EntrySpec { ttl_ms: 1, ..bench.spec("MainIngress.line", vec![exact(1)], 0, "MainIngress.metered", &[1]) };
    assert_eq!(bench.instance.insert(bench.table("MainIngress.line"), &other, 0).err(), Some(TableError::NoTimeout));
}

#[test]
fn value_sets_steer_the_parser() {
    let mut bench = Bench::new(FEATURES);
    let set = bench.object(Kind::ValueSet, "P.trusted_types");
    assert_eq!(bench.instance.program.value_sets[set].widths, [16]);
    assert_eq!(bench.send(0, &eth(0x7000, 1))[0].0, 9);
    let member = |value: u16, mask: u16| SetMember {
        value: value.to_be_bytes().into(),
        mask: mask.to_be_bytes().into(),
        ranges: Vec::new(),
    };
    bench.instance.value_sets[set].set(vec![member(0x7000, 0xffff), member(0x8100, 0xff00)]);
    assert_eq!([0x7000, 0x81aa, 0x7001].map(|kind| bench.send(0, &eth(kind, 1))[0].0), [5, 5, 9]);
    let range = SetMember { ranges: vec![(0, [0, 5].into(), [0, 9].into())], ..member(0, 0) };
    bench.instance.value_sets[set].set(vec![range]);
    assert_eq!([4, 5, 9, 10].map(|kind| bench.send(0, &eth(kind, 1))[0].0), [9, 5, 5, 9]);
}

fn ports_used(bench: &mut Bench, op: u8, a: u8) -> std::collections::BTreeMap<u32, usize> {
    let mut used = std::collections::BTreeMap::new();
    for flow in 0..600u32 {
        let out = bench.send(0, &probe(op, a, flow as u16, flow.wrapping_mul(2_654_435_761), 0));
        for (port, _) in out {
            *used.entry(port).or_default() += 1;
        }
    }
    used
}

#[test]
fn one_shot_groups_spread_flows_and_follow_watch_ports() {
    let mut bench = Bench::new(FEATURES);
    let member = |port: u128, weight| OneShotMember {
        // Read back, parameters have their full length.
        call: ActionCall {
            params: vec![Value::from_slice(&[0, port as u8])],
            ..bench.call("MainIngress.spread", "MainIngress.out_port", &[port])
        },
        weight,
        watch_port: Some(port as u32),
    };
    let action = EntryAction::OneShot([member(2, 1), member(3, 1), member(4, 4)].into_iter().collect());
    let table = bench.table("MainIngress.spread");
    let entry = bench.instance.insert(table, &EntrySpec::new(vec![exact(1)], 0, action.clone()), 0).unwrap();
    assert_eq!(describe(&bench.instance, &entry.bound(&pin()).unwrap()), action);
    let used = ports_used(&mut bench, 4, 1);
    assert_eq!(used.keys().copied().collect::<Vec<_>>(), [2, 3, 4]);
    assert!(used[&4] > 2 * used[&2], "weights count: {used:?}");
    bench.switch.set_port_up(4, false);
    assert_eq!(ports_used(&mut bench, 4, 1).keys().copied().collect::<Vec<_>>(), [2, 3]);
    bench.switch.set_port_up(2, false);
    bench.switch.set_port_up(3, false);
    assert_eq!(
        ports_used(&mut bench, 4, 1).len(),
        1,
        "no member is left: the entry does nothing, port 1 was set before"
    );
    bench.switch.set_port_up(4, true);
    assert_eq!(ports_used(&mut bench, 4, 1).keys().copied().collect::<Vec<_>>(), [4]);
}

#[test]
fn one_flow_keeps_its_member() {
    let mut bench = Bench::new(FEATURES);
    let member = |port: u128| OneShotMember {
        call: bench.call("MainIngress.spread", "MainIngress.out_port", &[port]),
        weight: 1,
        watch_port: None,
    };
    let action = EntryAction::OneShot((2..9).map(member).collect());
    bench.instance.insert(bench.table("MainIngress.spread"), &EntrySpec::new(vec![exact(1)], 0, action), 0).unwrap();
    let first = bench.send(0, &probe(4, 1, 77, 1_234, 0))[0].0;
    assert!((0..50).all(|_| bench.send(0, &probe(4, 1, 77, 1_234, 0))[0].0 == first));
}

#[test]
fn explicit_members_and_groups() {
    let mut bench = Bench::new(FEATURES);
    let ecmp = bench.object(Kind::Profile, "MainIngress.ecmp");
    let table = bench.table("MainIngress.spread");
    for (id, port) in [(1, 2), (2, 3)] {
        let call = bench.call("MainIngress.spread", "MainIngress.out_port", &[port]);
        bench.instance.insert_member(ecmp, id, &call).unwrap();
        assert_eq!(bench.instance.insert_member(ecmp, id, &call), Err(TableError::Exists));
    }
    let of = |member| GroupMemberSpec { member, weight: 1, watch_port: None };
    bench.instance.insert_group(ecmp, 7, 0, &[of(1), of(2)]).unwrap();
    assert_eq!(bench.instance.insert_group(ecmp, 8, 0, &[of(9)]), Err(TableError::NoMember(9)));
    bench.instance.insert(table, &EntrySpec::new(vec![exact(1)], 0, EntryAction::Group(7)), 0).unwrap();
    assert!(bench.instance.member_in_use(ecmp, 1).unwrap() && bench.instance.group_in_use(ecmp, 7).unwrap());
    assert_eq!(ports_used(&mut bench, 4, 1).keys().copied().collect::<Vec<_>>(), [2, 3]);
    let call = bench.call("MainIngress.spread", "MainIngress.out_port", &[6]);
    bench.instance.modify_member(ecmp, 2, &call).unwrap();
    assert_eq!(ports_used(&mut bench, 4, 1).keys().copied().collect::<Vec<_>>(), [2, 6]);
    bench.instance.modify_group(ecmp, 7, 0, &[of(1)]).unwrap();
    assert_eq!(ports_used(&mut bench, 4, 1).keys().copied().collect::<Vec<_>>(), [2]);
    assert!(!bench.instance.member_in_use(ecmp, 2).unwrap());
    let spec = EntrySpec::new(vec![exact(1)], 0, EntryAction::Member(2));
    bench.instance.modify(table, &spec).unwrap();
    assert_eq!(ports_used(&mut bench, 4, 1).keys().copied().collect::<Vec<_>>(), [6]);
    assert!(!bench.instance.group_in_use(ecmp, 7).unwrap());
    bench.instance.delete(table, &[exact(1)], 0).unwrap();
    bench.instance.delete_group(ecmp, 7).unwrap();
    bench.instance.delete_member(ecmp, 2).unwrap();
    assert_eq!(bench.instance.delete_member(ecmp, 2), Err(TableError::NoMember(2)));
    assert_eq!(bench.instance.members(ecmp).unwrap().len(), 1);
}

#[test]
fn plain_action_profiles() {
    let mut bench = Bench::new(FEATURES);
    let paths = bench.object(Kind::Profile, "MainIngress.paths");
    let call = bench.call("MainIngress.indirect", "MainIngress.out_port", &[7]);
    bench.instance.insert_member(paths, 5, &call).unwrap();
    let table = bench.table("MainIngress.indirect");
    bench.instance.insert(table, &EntrySpec::new(vec![exact(1)], 0, EntryAction::Member(5)), 0).unwrap();
    assert_eq!(bench.send(0, &probe(5, 1, 0, 0, 0))[0].0, 7);
    let group = EntrySpec::new(vec![exact(2)], 0, EntryAction::Group(1));
    assert!(matches!(bench.instance.insert(table, &group, 0), Err(TableError::ActionKind { .. })));
    let direct = EntrySpec::new(vec![exact(2)], 0, EntryAction::Call(call));
    assert!(matches!(bench.instance.insert(table, &direct, 0), Err(TableError::ActionKind { .. })));
}

#[test]
fn const_entries_switch_on_the_action_and_cannot_be_written() {
    let mut bench = Bench::new(FEATURES);
    let mut at = |b: u16| {
        let (port, packet) = bench.send(0, &probe(6, 0, b, 0, 0)).remove(0);
        (port, packet[A], u16::from_be_bytes([packet[A + 1], packet[A + 2]]))
    };
    // 0x0101 matches the first entry too, which comes first.
    assert_eq!(at(0x0101), (2, 1, 0x0101));
    assert_eq!(at(0x0301), (3, 0, 0xbeef));
    assert_eq!(at(0x0900), (4, 0, 0x0900));
    let table = bench.table("MainIngress.fixed");
    let spec = bench.spec("MainIngress.fixed", vec![ternary(9, 0xff)], 1, "MainIngress.mark", &[1]);
    assert_eq!(bench.instance.insert(table, &spec, 0).err(), Some(TableError::ConstEntries));
    assert_eq!(bench.instance.set_default(table, Some(&spec.action)), Err(TableError::ConstDefault));
    assert_eq!(bench.instance.table(table).unwrap().entries().len(), 3);
}

#[test]
fn registers_narrow_and_wide() {
    let mut bench = Bench::new(FEATURES);
    let memory = bench.object(Kind::Register, "MainIngress.memory");
    let wide = bench.object(Kind::Register, "MainIngress.wide_memory");
    assert!(bench.instance.registers[memory].write(3, &[0xff, 0xff, 0xff, 0xf0]));
    assert!(!bench.instance.registers[memory].write(16, &[1]));
    let value = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;
    let out = bench.send(0, &probe(7, 0, 3, 0x20, value));
    assert_eq!(out[0].1[A + 3..A + 7], [0xff, 0xff, 0xff, 0xf0]);
    assert_eq!(bench.instance.registers[memory].read(3).unwrap(), [0, 0, 0, 0x10], "additions wrap");
    assert_eq!(bench.instance.registers[wide].read(1).unwrap(), value.to_be_bytes());
    assert_eq!(bench.instance.registers[wide].read(4), None);
}

#[test]
fn wide_lpm_with_an_exact_field() {
    let mut bench = Bench::new(FEATURES);
    let lpm = |value: u128, prefix_len| KeyField::Lpm { value: num(value), prefix_len };
    let top = 0x2001_0db8 << 96;
    let add = |value, len, a, port| {
        bench.add("MainIngress.wide", vec![lpm(value, len), exact(a)], 0, "MainIngress.out_port", &[port]);
    };
    add(0, 0, 1, 20);
    add(top, 32, 1, 21);
    add(top | 0xffff << 64, 64, 1, 22);
    add(top | 0xffff << 64 | 5, 128, 1, 23);
    add(top, 48, 2, 24);
    let mut at =
        |value, a| bench.send(0, &probe(8, a, 0, 0, value)).first().map(|(port, packet)| (*port, packet[A - 1]));
    assert_eq!(at(5, 1), Some((20, 0x88)));
    assert_eq!(at(top | 1 << 80, 1), Some((21, 0x88)));
    assert_eq!(at(top | 0xffff << 64 | 6, 1), Some((22, 0x88)));
    assert_eq!(at(top | 0xffff << 64 | 5, 1), Some((23, 0x88)));
    assert_eq!(at(top | 7, 2), Some((24, 0x88)));
    assert_eq!(at(5, 2), None);
}

#[test]
fn writes_are_checked_whole() {
    let bench = Bench::new(FEATURES);
    let table = bench.table("MainIngress.counted_exact");
    let insert = |spec: &EntrySpec| bench.instance.insert(table, spec, 0).err();
    let good = bench.spec("MainIngress.counted_exact", vec![exact(7)], 0, "MainIngress.counted", &[3]);
    assert_eq!(insert(&good), None);
    assert_eq!(insert(&good), Some(TableError::Exists));
    assert!(matches!(insert(&EntrySpec { key: vec![exact(256)], ..good.clone() }), Some(TableError::Key(_))));
    assert!(matches!(insert(&EntrySpec { key: vec![], ..good.clone() }), Some(TableError::Key(_))));
    assert!(matches!(insert(&EntrySpec { key: vec![ternary(1, 1)], ..good.clone() }), Some(TableError::Key(_))));
    let wide = bench.spec("MainIngress.counted_exact", vec![exact(8)], 0, "MainIngress.counted", &[512]);
    assert!(matches!(insert(&wide), Some(TableError::ParamTooWide { found: 10, wanted: 9, .. })));
    let foreign = EntrySpec {
        action: EntryAction::Call(bench.call("MainIngress.ranges", "MainIngress.mark", &[1])),
        ..good.clone()
    };
    assert!(matches!(insert(&foreign), Some(TableError::Action(_))));
    assert_eq!(bench.instance.delete(table, &[exact(9)], 0).err(), Some(TableError::NotFound));
    assert_eq!(
        bench.instance.modify(table, &EntrySpec { key: vec![exact(9)], ..good }).err(),
        Some(TableError::NotFound)
    );
    assert_eq!(bench.instance.table(9_999).err(), Some(TableError::NoTable(9_999)));
    assert_eq!(bench.instance.table(table).unwrap().len(), 1);
}
