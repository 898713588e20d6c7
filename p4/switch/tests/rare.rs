//! What a packet rarely meets, as BMv2 has it, in compiled and in interpreted programs. The program is `programs/rare.p4`.
#![allow(clippy::unwrap_used)]

mod common;

use common::Bench;
use p4switch::Engine;

const PROGRAM: &[u8] = include_bytes!("programs/rare.json");

/// Offsets in a packet.
const FOUND: usize = 2;
const PASS: usize = 3;

fn packet(what: u8, count: u8) -> Vec<u8> {
    let mut packet = vec![what, count, 0, 0, 0, 0];
    [5, 16, 32].iter().for_each(|&key| packet.extend([key, 0, 0, 0, 0, 0, 0, 0, 0, 7]));
    packet.extend(b"payload");
    packet
}

/// What leaves by port 1, the same from both engines.
fn send(what: u8, count: u8) -> Vec<u8> {
    let [compiled, interpreted] = [Engine::NativeAtOnce, Engine::Interpreter].map(|engine| {
        let left = Bench::with_engine(PROGRAM, engine).send(0, &packet(what, count));
        assert_eq!(left.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [1]);
        left[0].1.clone()
    });
    assert_eq!(compiled, interpreted);
    compiled
}

#[test]
fn tables_see_zeros_in_headers_that_are_gone() {
    assert_eq!(send(0, 0)[FOUND], 2 + 8);
    // The header was removed.
    assert_eq!(send(1, 0)[FOUND], 1 + 4);
    // Written after it was removed: an expression sees that.
    assert_eq!(send(4, 0)[FOUND], 5 + 1 + 4);
}

#[test]
fn elements_of_a_stack_change_places() {
    // The second element is where the first one was, and the other way round.
    assert_eq!(send(2, 0)[FOUND], 2 + 8 + 32);
    assert_eq!(send(3, 0)[FOUND], 2 + 8 + 16);
}

#[test]
fn loops_run_to_their_end() {
    let sum = |count| u16::from_be_bytes(send(5, count)[4..6].try_into().unwrap());
    assert_eq!([sum(0), sum(7), sum(250)], [0, 49, 62_500]);
}

#[test]
fn a_packet_that_comes_again_is_not_truncated() {
    assert_eq!(send(7, 0).len(), 10);
    let again = send(6, 0);
    assert_eq!((again.len(), again[PASS]), (packet(6, 0).len(), 1));
}

#[test]
fn a_checksum_goes_over_the_payload_that_truncation_leaves() {
    let checksum = |words: [u32; 4]| {
        let sum: u32 = words.iter().sum();
        (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
    };
    // A byte of the header and all seven of the payload, then six of them.
    assert_eq!(send(8, 0)[4..6], checksum([0x0870, 0x6179, 0x6c6f, 0x6164]));
    assert_eq!(send(9, 0), [&[9, 0, 10, 0][..], &checksum([0x0970, 0x6179, 0x6c6f, 0x6100])].concat());
}

#[test]
fn constants_below_zero_are_those_of_their_type() {
    // The key and the low bytes of the last item, which tell the parameter's sign and value.
    let last = |count| (send(10, count)[26], send(10, count)[34..36].to_vec());
    assert_eq!(last(0xfd), (1, vec![0xff, 0xfc]));
    assert_eq!(last(3), (2, vec![0, 4]));
    assert_eq!(last(4), (32, vec![0, 7]));
}
