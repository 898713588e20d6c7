//! `p4switch stf`: a test that passes, and that each kind of difference fails with its line and words.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn stf(text: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let test = dir.path().join("test.stf");
    std::fs::write(&test, text).unwrap();
    let json = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/features.json");
    Command::new(env!("CARGO_BIN_EXE_p4switch")).arg("stf").arg(json).arg(&test).output().unwrap()
}

const PASSING: &str = include_str!("programs/features.stf");

#[test]
fn a_test_that_matches_exits_zero_and_prints_what_it_read() {
    let output = stf(PASSING);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    for line in [
        "MainIngress.exact_counter[0]= (38 bytes, 1 packets)",
        "MainIngress.memory[4]= 15",
        "MirroringSessionConfig(port=4, mgid=None)",
    ] {
        assert!(text.contains(line), "no \"{line}\" in {text}");
    }
}

#[test]
fn differences_are_told_in_words() {
    // What is replaced in the passing test, and what the first difference says.
    let cases = [
        (
            "expect 1 ************ ************ **** 03 11\n",
            "expect 1 ************ ************ **** 03 12\n",
            "byte 15 differs: expected 12, found 11",
        ),
        ("expect 2 ************ ************ **** 01 02\n", "", "port 2: 3 packets left, 2 were expected"),
        ("expect 7\n", "expect 7\nexpect 7\n", "expected a packet number 2 on port 7, but 1 left it"),
        (
            "expect 2 ************ ************ **** 01 02\n",
            "expect 2 ************ ************ **** 01 02 $\n",
            "38 bytes are too many, expected 16",
        ),
        ("memory 4 15\n", "memory 4 16\n", "the register \"MainIngress.memory\"[4] is 15, expected == 16"),
        ("wide_memory 1 ==", "wide_memory 1 !=", "the register \"wide_memory\"[1] is"),
        ("wide_memory 1 ==", "wide_memory 9 ==", "beyond the register's 4 cells"),
        ("packets == 1", "packets > 1", "the counter \"exact_counter\" has 1 packets, expected > 1"),
        ("meter_get_rates line_meter 0 0.000001:1", "meter_get_rates line_meter 0 0.000001:9", "expected 0.000001:9"),
        ("mirroring_get 5", "mirroring_get 6", "there is no mirroring session 6"),
        ("add ranges 10", "add rangez 10", "the program has no table \"rangez\""),
        ("mark(value:1)", "mark(val:1)", "the action \"mark\" has no parameter \"val\""),
        ("mc_node_associate 1 0", "mc_node_associate 1 3", "there is no multicast node 3"),
        (
            "add wide hdr.probe.wide:0x0/0",
            "add wide hdr.probe.wide:0x0/129",
            "prefix length 129, the field has 128 bits",
        ),
    ];
    for (from, to, words) in cases {
        assert!(PASSING.contains(from), "{from}");
        let text = PASSING.replacen(from, to, 1);
        let output = stf(&text);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{to}: {errors}");
        assert!(errors.contains(words), "{to}: found {errors}");
    }
    let line = PASSING.lines().position(|l| l.starts_with("mirroring_get")).unwrap() + 1;
    let errors = stf(&PASSING.replace("mirroring_get 5", "mirroring_get 6")).stderr;
    assert!(String::from_utf8_lossy(&errors).contains(&format!("line {line}: ")));
}

#[test]
fn tests_that_cannot_be_read_exit_two() {
    assert_eq!(stf("paket 1 00").status.code(), Some(2));
    let missing =
        Command::new(env!("CARGO_BIN_EXE_p4switch")).args(["stf", "/nonexistent.json", "/x"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent.json"));
}
