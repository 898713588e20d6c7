//! Any bytes as a program: an error or a program that takes packets. Seed with `tests/programs/*.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p4switch::{PacketMeta, Program, Switch, SwitchOptions};

fuzz_target!(|data: &[u8]| {
    let Ok(program) = Program::load(data) else { return };
    let Ok(switch) = Switch::new(Some(program), SwitchOptions::default()) else { return };
    let mut sink = |_: u32, _: &[u8], _: &[u8], _: PacketMeta| {};
    switch.worker().process(0, &[0x12; 90], PacketMeta::default(), &mut sink);
});
