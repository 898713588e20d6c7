//! The fabric's program with the typed entries of `pergola-pipeline`: what packets it makes of packets.

mod chains;
mod forwarding;
mod frames;
mod lines;
mod mobile;
mod packets;
mod policy;
mod sizes;
mod tags;
mod tunnels;

use std::sync::Arc;
use std::time::Instant;

use p4runtime_proto::p4::v1::{
    self, Update, WriteRequest, entity::Entity as Kind, stream_message_request::Update as Message, update::Type,
};
use p4runtime_proto::text;
use p4switch::p4runtime::{Device, plane::Host};
use p4switch::{PacketMeta, Switch, SwitchOptions, Worker};
use pergola_pipeline::table::is;
use pergola_pipeline::tables::{egress_vlan, fwd_classifier, ingress_port_vlan, next_simple};
use pergola_pipeline::{Entity, MeterConfig, Replica, fabric, reserved};

pub const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
pub const HOST: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
pub const PEER: [u8; 6] = [2, 0, 0, 0, 0, 0x22];

struct Ports;

impl Host for Ports {
    fn has_port(&self, port: u32) -> bool {
        port < 64 || port == u32::from(reserved::CPU_PORT)
    }
    fn packet_out(&self, _: Vec<u8>) {}
}

/// One switch of an office, without ports or time.
pub struct Office {
    device: Device,
    switch: Arc<Switch>,
    worker: Worker,
}

impl Office {
    /// A switch with these entries and the way to the controller.
    pub fn new(entries: impl IntoIterator<Item = Entity>) -> Office {
        let options = SwitchOptions { cpu_port: Some(reserved::CPU_PORT.into()), ..Default::default() };
        let switch = Switch::new(None, options).unwrap();
        let mut device = Device::new(1, switch.clone(), Arc::new(Ports), 1);
        let config = v1::ForwardingPipelineConfig {
            p4info: Some(text::parse_p4info(fabric::P4INFO).unwrap()),
            p4_device_config: fabric::JSON.to_vec().into(),
            ..Default::default()
        };
        device.start(config).unwrap();
        let election_id = Some(v1::Uint128 { high: 0, low: 1 });
        let hello = v1::MasterArbitrationUpdate { device_id: 1, election_id, ..Default::default() };
        device.message(1, v1::StreamMessageRequest { update: Some(Message::Arbitration(hello)) }, &mut Vec::new());
        let worker = switch.worker();
        let mut office = Office { device, switch, worker };
        let cpu = Replica { port: reserved::CPU_PORT.into(), instance: 1 };
        office.insert([Entity::clone_session(reserved::CPU_CLONE_SESSION, [cpu], 0, 0)]);
        office.insert(entries);
        office
    }

    /// Adds entries.
    pub fn insert(&mut self, entries: impl IntoIterator<Item = Entity>) {
        self.write(Type::Insert, entries.into_iter().map(|entry| entry.to_proto()).collect());
    }

    pub fn write(&mut self, kind: Type, entities: Vec<v1::Entity>) {
        let update = |entity| Update { r#type: kind.into(), entity: Some(entity) };
        let updates: Vec<_> = entities.into_iter().map(update).collect();
        let election_id = Some(v1::Uint128 { high: 0, low: 1 });
        let request = WriteRequest { device_id: 1, election_id, updates, ..Default::default() };
        if let Err(failed) = self.device.write(&request, Instant::now()) {
            let errors = p4runtime_proto::status::batch_errors(&failed);
            let bad = errors.iter().zip(&request.updates).find(|(error, _)| error.canonical_code != 0);
            panic!("{failed:?}: {bad:?}");
        }
    }

    /// What leaves, by port, when a frame comes.
    pub fn send(&mut self, port: u16, frame: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let mut out = Vec::new();
        let mut sink =
            |port: u32, head: &[u8], body: &[u8], _: PacketMeta| out.push((port as u16, [head, body].concat()));
        self.worker.process(port.into(), frame, PacketMeta::default(), &mut sink);
        out.sort();
        out
    }

    /// Packets that an entry counted.
    pub fn packets(&mut self, entry: &Entity) -> i64 {
        self.counted(entry).0
    }

    /// Packets and bytes that an entry counted.
    pub fn counted(&mut self, entry: &Entity) -> (i64, i64) {
        let Some(Kind::TableEntry(entry)) = entry.to_proto().entity else { panic!("{entry:?} is no table entry") };
        let query = v1::TableEntry { action: None, meter_config: None, ..entry };
        let query = Kind::DirectCounterEntry(v1::DirectCounterEntry { table_entry: Some(query), data: None });
        let entities = vec![v1::Entity { entity: Some(query) }];
        let request = v1::ReadRequest { device_id: 1, entities, ..Default::default() };
        let (plan, outcome) = self.device.read(&request).unwrap();
        outcome.unwrap();
        match plan.collect().remove(0).entity {
            Some(Kind::DirectCounterEntry(found)) => {
                let data = found.data.unwrap();
                (data.packet_count, data.byte_count)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Lets a meter pass `burst` bytes, and then one a second.
    pub fn limit(&mut self, meter: &str, index: i64, burst: u64) {
        let info = text::parse_p4info(fabric::P4INFO).unwrap();
        let mut named = info.meters.iter().filter_map(|meter| meter.preamble.as_ref());
        let id = named.find(|preamble| preamble.alias == meter).unwrap().id;
        let config = MeterConfig { cir: 1, cburst: burst, pir: 1, pburst: burst };
        self.write(Type::Modify, vec![Entity::meter(id, index, config).to_proto()]);
    }

    pub fn set_port_up(&self, port: u16, up: bool) {
        self.switch.set_port_up(port.into(), up);
    }
}

/// Untagged frames enter a port on a VLAN.
pub fn untagged(ig_port: u16, vlan_id: u16, vrf: u16) -> Entity {
    let key = ingress_port_vlan::Key {
        ig_port,
        vlan_is_valid: 0,
        vlan_id: None,
        inner_vlan_is_valid: None,
        inner_vlan_id: None,
        priority: 1,
    };
    ingress_port_vlan::entry(key, ingress_port_vlan::Act::PermitWithVlan { vlan_id, vrf })
}

/// Frames with a tag enter a port.
pub fn tagged(ig_port: u16, vlan_id: u16, vrf: u16) -> Entity {
    let key = ingress_port_vlan::Key {
        ig_port,
        vlan_is_valid: 1,
        vlan_id: is(vlan_id),
        inner_vlan_is_valid: None,
        inner_vlan_id: None,
        priority: 1,
    };
    ingress_port_vlan::entry(key, ingress_port_vlan::Act::Permit { vrf })
}

/// Frames to the router's address are forwarded in this way.
pub fn to_router(eth_type: u16, fwd: u8) -> Entity {
    let key = fwd_classifier::Key { ig_port: None, eth_dst: is(ROUTER), eth_type, priority: 1 };
    fwd_classifier::entry(key, fwd_classifier::Act::SetForwarding { fwd })
}

/// A VLAN on a port, without tags.
pub fn bare(vlan_id: u16, eg_port: u16) -> Entity {
    egress_vlan::entry(egress_vlan::Key { vlan_id, eg_port, priority: 0 }, egress_vlan::Act::SendUntagged {})
}

/// A VLAN on a port, tagged.
pub fn trunk(vlan_id: u16, eg_port: u16) -> Entity {
    egress_vlan::entry(egress_vlan::Key { vlan_id, eg_port, priority: 0 }, egress_vlan::Act::SendTagged {})
}

/// A next id with one way out.
pub fn next(next_id: u32, act: next_simple::Act) -> Entity {
    next_simple::entry(next_simple::Key { next_id, priority: 0 }, act)
}
