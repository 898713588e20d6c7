//! Where BMv2 does not do what one expects: masked keys, signed numbers, stacks of unions, variable lengths. Compiled and
//! interpreted programs do as it does. The program is `programs/alike.p4`; what is expected here is what left BMv2 1.15.5.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, exact, num, ternary};
use p4switch::Engine;
use p4switch::tables::TableError;
use p4switch::tables::key::KeyField;

const PROGRAM: &[u8] = include_bytes!("programs/alike.json");

/// Of a packet.
#[derive(Clone, Copy, Default)]
struct Probe {
    what: u8,
    key: u8,
    word: u16,
    number: i8,
}

impl Probe {
    fn packet(self, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![self.what, self.key];
        packet.extend(self.word.to_be_bytes());
        packet.extend([0, self.number as u8, 0, 0]);
        packet.extend(rest);
        packet
    }
}

/// What left by port 1: `found`, `number` and `wider`, and what is behind them.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    word: u16,
    found: u8,
    number: u8,
    wider: u16,
    rest: Vec<u8>,
}

fn both(fill: impl Fn(&Bench)) -> [Bench; 2] {
    [Engine::NativeAtOnce, Engine::Interpreter].map(|engine| {
        let bench = Bench::with_engine(PROGRAM, engine);
        fill(&bench);
        bench
    })
}

fn send(benches: &mut [Bench; 2], probe: Probe, rest: &[u8]) -> Left {
    let [compiled, interpreted] = benches.each_mut().map(|bench| {
        let left = bench.send(0, &probe.packet(rest));
        assert_eq!(left.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [1]);
        left[0].1.clone()
    });
    assert_eq!(compiled, interpreted);
    let word = |at: usize| u16::from_be_bytes([compiled[at], compiled[at + 1]]);
    Left { word: word(2), found: compiled[4], number: compiled[5], wider: word(6), rest: compiled[8..].to_vec() }
}

/// `found` where tables with masked keys are looked up.
fn found(benches: &mut [Bench; 2], key: u8, word: u16) -> u8 {
    send(benches, Probe { key, word, ..Probe::default() }, &[]).found
}

#[test]
fn masks_of_the_program_apply_to_entries_as_well() {
    let lpm = |value, prefix_len| KeyField::Lpm { value: num(value), prefix_len };
    let range = |low, high| KeyField::Range { low: num(low), high: num(high) };
    // hdr.key & 0x0f
    let mut benches = both(|b| b.add("MainIngress.masked_exact", vec![exact(0x12)], 0, "MainIngress.found", &[1]));
    assert_eq!([0x02, 0xf2, 0x12, 0x03].map(|key| found(&mut benches, key, 0)), [1, 1, 1, 0]);
    for bench in &benches {
        let table = bench.table("MainIngress.masked_exact");
        let same = bench.spec("MainIngress.masked_exact", vec![exact(0x32)], 0, "MainIngress.found", &[2]);
        assert_eq!(bench.instance.insert(table, &same, 0).err(), Some(TableError::Exists));
    }
    // hdr.word & 0xf0ff
    let mut benches = both(|b| {
        b.add("MainIngress.masked_prefix", vec![lpm(0x1f00, 8)], 0, "MainIngress.found", &[2]);
        b.add("MainIngress.masked_prefix", vec![lpm(0x1a34, 16)], 0, "MainIngress.found", &[4]);
    });
    let words = [0x1000, 0x1f77, 0x1034, 0x1b34, 0x2034];
    assert_eq!(words.map(|word| found(&mut benches, 0, word)), [2, 2, 4, 4, 0]);
    // hdr.word & 0x0ff0, hdr.key & 0xf0
    let mut benches = both(|b| {
        let key = vec![ternary(0x1234, 0xffff), exact(0x57)];
        b.add("MainIngress.masked_ternary", key, 1, "MainIngress.found", &[8]);
    });
    assert_eq!(
        [(0x50, 0x0230), (0x5f, 0xf23f), (0x60, 0x0230), (0x50, 0x0240)].map(|(k, w)| found(&mut benches, k, w)),
        [8, 8, 0, 0]
    );
    // hdr.key & 0x0f: of a range only the lower end is masked.
    let mut benches =
        both(|b| b.add("MainIngress.masked_range", vec![range(0x13, 0x15)], 1, "MainIngress.found", &[16]));
    assert_eq!([0x02, 0x03, 0xf5, 0x0f].map(|key| found(&mut benches, key, 0)), [0, 16, 16, 16]);
}

/// The bits of `found` in the program: below 0, above 100, -1.
const NEGATIVE: u8 = 1;
const LARGE: u8 = 2;
const MINUS_ONE: u8 = 4;

#[test]
fn what_a_signed_register_holds_is_not_below_zero() {
    let mut benches = both(|_| {});
    let mut number = |what, number| {
        let left = send(&mut benches, Probe { what, number, ..Probe::default() }, &[]);
        (left.found, left.number, left.wider)
    };
    // Read, compared, cast to a wider type, shifted.
    assert_eq!(number(1, 5), (0, 2, 5));
    assert_eq!(number(1, -1), (LARGE, 127, 255));
    assert_eq!(number(1, -128), (LARGE, 64, 128));
    // After a computation it is.
    assert_eq!(number(2, -2), (NEGATIVE | MINUS_ONE, 0xfe, 0xffff));
    assert_eq!(number(2, -1), (0, 0xff, 0));
    assert_eq!(number(2, 127), (NEGATIVE, 127, 0xff80));
    // A header takes it along when it is assigned, and starts with zeros when it is made valid.
    assert_eq!(number(3, -1), (LARGE, 0xff, 0));
    assert_eq!(number(3, 101), (LARGE, 101, 0));
    // So does a packet that is submitted again.
    assert_eq!(number(4, -1), (LARGE, 0xff, 0));
}

#[test]
fn neither_are_parameters_of_actions() {
    let mut benches = both(|bench| {
        bench.add("MainIngress.numbers", vec![exact(1)], 0, "MainIngress.take", &[0xff]);
        bench.add("MainIngress.numbers", vec![exact(2)], 0, "MainIngress.take", &[7]);
    });
    let mut take = |key| {
        let left = send(&mut benches, Probe { what: 5, key, ..Probe::default() }, &[]);
        (left.found, left.wider)
    };
    assert_eq!([take(1), take(2)], [(LARGE, 255), (0, 7)]);
}

#[test]
fn stacks_of_unions_are_turned_round() {
    let mut benches = both(|_| {});
    let mut turned = |what, rest: &[u8]| send(&mut benches, Probe { what, ..Probe::default() }, rest).rest;
    let three = [1, 2, 0xaa, 1, 9];
    // Popped from the front, it is the last.
    assert_eq!(turned(0x20, &three), [2, 0xaa, 1, 1, 9]);
    assert_eq!(turned(0x20, &[2, 0xaa, 9]), [2, 0xaa, 9]);
    // Pushed out behind, it is the first.
    assert_eq!(turned(0x21, &three), [1, 1, 2, 0xaa, 9]);
    // A member that was just made valid goes along.
    assert_eq!(turned(0x22, &[9]), [9, 9]);
    assert_eq!(turned(0x22, &[2, 0xaa, 1, 9]), [9, 1, 9]);
    assert_eq!(turned(0x23, &three), three);
}

#[test]
fn elements_of_a_stack_of_unions_can_be_asked_whether_they_are_valid() {
    // BMv2 ends where p4c makes a header of such an element.
    let mut benches = both(|_| {});
    let mut valid = |rest: &[u8]| send(&mut benches, Probe { what: 0x24, ..Probe::default() }, rest).found;
    assert_eq!([valid(&[1, 9]), valid(&[1, 2, 0, 9])], [0, 1]);
}

#[test]
fn a_header_made_valid_again_keeps_its_variable_length() {
    let mut benches = both(|_| {});
    // Its length counts in bits.
    let left = send(&mut benches, Probe { what: 0x10, ..Probe::default() }, &[16, 0xaa, 0xbb, 0xcc]);
    assert_eq!((left.rest, left.word), (vec![0, 0, 0, 0xcc], 12));
    let left = send(&mut benches, Probe { what: 0x10, ..Probe::default() }, &[0, 0xcc]);
    assert_eq!((left.rest, left.word), (vec![0, 0xcc], 10));
}

#[test]
fn fields_without_bits_are_zero() {
    for engine in [Engine::NativeAtOnce, Engine::Interpreter] {
        let mut bench = Bench::with_engine(include_bytes!("programs/empty.json"), engine);
        bench.add("MainIngress.kinds", vec![exact(0), exact(1)], 0, "MainIngress.take", &[7]);
        assert_eq!(bench.send(0, &[1, 0, 0xaa]), [(1, vec![2, 7, 0xaa])]);
        assert_eq!(bench.send(0, &[3, 5]), [(1, vec![4, 5])]);
    }
}
