//! Any bytes as a P4Runtime WriteRequest of the primary, on the program that has every kind of object. Whatever it does, all
//! of the state can be read afterwards, and a batch that is all or nothing and fails changes none of it.
//! Seed with encoded WriteRequests.
#![no_main]

use std::{cell::RefCell, sync::Arc, time::Instant};

use libfuzzer_sys::fuzz_target;
use p4runtime_proto::{
    p4::v1::{self, Entity, WriteRequest, entity::Entity as Kind, stream_message_request::Update as Message},
    text,
};
use p4switch::{
    Switch, SwitchOptions,
    p4runtime::{Device, plane::Host},
};
use prost::Message as _;

struct Ports;

impl Host for Ports {
    fn has_port(&self, port: u32) -> bool {
        port < 16
    }
    fn packet_out(&self, _: Vec<u8>) {}
}

fn id() -> Option<v1::Uint128> {
    Some(v1::Uint128 { high: 0, low: 1 })
}

fn device() -> Device {
    let switch = Switch::new(None, SwitchOptions::default()).expect("an empty switch");
    let mut device = Device::new(1, switch, Arc::new(Ports), 1);
    let info = text::parse_p4info(include_str!("../../tests/programs/p4rt_all.p4info.txtpb")).expect("P4Info");
    let config = v1::ForwardingPipelineConfig {
        p4info: Some(info),
        p4_device_config: include_bytes!("../../tests/programs/p4rt_all.json").to_vec().into(),
        ..Default::default()
    };
    device.start(config).expect("the program loads");
    let hello = v1::MasterArbitrationUpdate { device_id: 1, election_id: id(), ..Default::default() };
    device.message(1, v1::StreamMessageRequest { update: Some(Message::Arbitration(hello)) }, &mut Vec::new());
    device
}

fn state(device: &mut Device) -> Vec<String> {
    let kinds = [
        Kind::TableEntry(Default::default()),
        Kind::TableEntry(v1::TableEntry { is_default_action: true, ..Default::default() }),
        Kind::ActionProfileGroup(Default::default()),
        Kind::ActionProfileMember(Default::default()),
        Kind::DirectCounterEntry(Default::default()),
        Kind::DirectMeterEntry(Default::default()),
        Kind::MeterEntry(Default::default()),
        Kind::CounterEntry(Default::default()),
        Kind::RegisterEntry(Default::default()),
        Kind::PacketReplicationEngineEntry(Default::default()),
        Kind::ValueSetEntry(Default::default()),
        Kind::DigestEntry(Default::default()),
    ];
    let entities = kinds.into_iter().map(|kind| Entity { entity: Some(kind) }).collect();
    let request = v1::ReadRequest { device_id: 1, entities, ..Default::default() };
    let (plan, outcome) = device.read(&request).expect("a Read of everything");
    outcome.expect("every query of it");
    let mut lines: Vec<_> = plan.collect().iter().map(|entity| format!("{entity:?}")).collect();
    lines.sort_unstable();
    lines
}

thread_local! {
    static DEVICE: RefCell<Device> = RefCell::new(device());
}

fuzz_target!(|data: &[u8]| {
    let Ok(request) = WriteRequest::decode(data) else { return };
    let request = WriteRequest { device_id: 1, election_id: id(), role: String::new(), ..request };
    DEVICE.with_borrow_mut(|device| {
        let before = state(device);
        let failed = device.write(&request, Instant::now()).is_err();
        let after = state(device);
        assert!(!failed || request.atomicity == 0 || after == before, "a batch that failed changed the state");
    });
});
