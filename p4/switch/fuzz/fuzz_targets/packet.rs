//! Any bytes as a packet, through the programs of the tests.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use p4switch::{PacketMeta, Program, Switch, SwitchOptions, Worker};

thread_local! {
    static WORKERS: RefCell<Vec<Worker>> = RefCell::new(
        [&include_bytes!("../../tests/programs/features.json")[..], include_bytes!("../../tests/programs/router.json")]
            .iter()
            .map(|json| {
                let program = Program::load(json).expect("the program loads");
                Switch::new(Some(program), SwitchOptions::default()).expect("the entries fit").worker()
            })
            .collect(),
    );
}

fuzz_target!(|data: &[u8]| {
    let mut sink = |_: u32, _: &[u8], _: &[u8], _: PacketMeta| {};
    WORKERS.with_borrow_mut(|workers| {
        for worker in workers {
            worker.process(u32::from(data.len() as u8), data, PacketMeta::default(), &mut sink);
        }
    });
});
