//! Random batches of Write: made from P4Info so that most are nearly right, a part of them with damaged bytes.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use p4runtime_proto::p4::config::v1::{P4Info, match_field::Match, match_field::MatchType};
use p4runtime_proto::p4::v1::{
    self, Entity, Update, WriteRequest, entity::Entity as Kind, field_match, field_match::FieldMatchType,
    packet_replication_engine_entry::Type as Replication, stream_message_request::Update as Message,
    stream_message_response::Update as Answer, table_action, update::Type, write_request::Atomicity,
};
use p4runtime_proto::text;
use p4switch::p4runtime::{Device, Output, plane::Host};
use p4switch::{PacketMeta, Switch, SwitchOptions};
use prost::Message as _;
use tonic::Code;

use super::Random;

const DEVICE: u64 = 1;
const JSON: &[u8] = include_bytes!("../programs/p4rt_all.json");
const INFO: &str = include_str!("../programs/p4rt_all.p4info.txtpb");

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

/// A device whose primary is stream 1.
fn device() -> (Device, Arc<Switch>) {
    let switch = Switch::new(None, SwitchOptions::default()).unwrap();
    let mut device = Device::new(DEVICE, switch.clone(), Arc::new(Ports), 4);
    let info = text::parse_p4info(INFO).unwrap();
    let config = v1::ForwardingPipelineConfig {
        p4info: Some(info),
        p4_device_config: Bytes::from_static(JSON),
        ..Default::default()
    };
    device.start(config).unwrap();
    let hello = v1::MasterArbitrationUpdate { device_id: DEVICE, election_id: id(), ..Default::default() };
    let mut out = Vec::new();
    device.message(1, v1::StreamMessageRequest { update: Some(Message::Arbitration(hello)) }, &mut out);
    let told = out.iter().any(|output| {
        matches!(output, Output::Send(1, v1::StreamMessageResponse { update: Some(Answer::Arbitration(_)) }))
    });
    assert!(told, "{out:?}");
    (device, switch)
}

/// Everything a controller can read.
fn state(device: &mut Device) -> Vec<Kind> {
    let counters = v1::TableEntry { counter_data: Some(Default::default()), ..Default::default() };
    let kinds = [
        Kind::TableEntry(v1::TableEntry { meter_config: Some(Default::default()), ..counters }),
        Kind::TableEntry(v1::TableEntry { is_default_action: true, ..Default::default() }),
        Kind::ActionProfileGroup(Default::default()),
        Kind::ActionProfileMember(Default::default()),
        Kind::MeterEntry(Default::default()),
        Kind::CounterEntry(Default::default()),
        Kind::RegisterEntry(Default::default()),
        Kind::PacketReplicationEngineEntry(Default::default()),
        Kind::ValueSetEntry(Default::default()),
        Kind::DigestEntry(Default::default()),
    ];
    let entities = kinds.into_iter().map(|kind| Entity { entity: Some(kind) }).collect();
    let request = v1::ReadRequest { device_id: DEVICE, entities, ..Default::default() };
    let (plan, outcome) = device.read(&request).unwrap();
    outcome.unwrap();
    plan.collect().into_iter().filter_map(|entity| entity.entity).collect()
}

fn sorted(state: Vec<Kind>) -> Vec<String> {
    let mut lines: Vec<_> = state.iter().map(|kind| format!("{kind:?}")).collect();
    lines.sort_unstable();
    lines
}

/// Makes messages: ids mostly from P4Info, values mostly in range.
struct Maker {
    info: P4Info,
    random: Random,
}

impl Maker {
    fn one_of(&mut self, n: usize) -> bool {
        self.random.below(n) == 0
    }

    fn value(&mut self, width: i32) -> Bytes {
        if self.one_of(40) {
            return Bytes::from(vec![0xff; self.random.below(12)]);
        }
        // Few values, so that keys meet again.
        let most = if width < 3 { 2 } else { 6 };
        Bytes::from(vec![self.random.below(most) as u8])
    }

    fn pick(&mut self, ids: &[u32]) -> u32 {
        if self.one_of(60) || ids.is_empty() {
            return self.random.draw() as u32 >> self.random.below(32);
        }
        ids[self.random.below(ids.len())]
    }

    fn index(&mut self) -> Option<v1::Index> {
        (!self.one_of(12)).then(|| v1::Index { index: self.random.below(20) as i64 - 1 })
    }

    fn action(&mut self, table: usize) -> v1::Action {
        let ids: Vec<u32> = self.info.tables[table].action_refs.iter().map(|r| r.id).collect();
        let action_id = self.pick(&ids);
        let known = self.info.actions.iter().find(|a| a.preamble.as_ref().unwrap().id == action_id);
        let params = known.map_or(Vec::new(), |known| known.params.clone());
        let params = params.iter().map(|p| v1::action::Param { param_id: p.id, value: self.value(p.bitwidth) });
        v1::Action { action_id, params: params.collect() }
    }

    fn key(&mut self, table: usize) -> Vec<v1::FieldMatch> {
        let mut key = Vec::new();
        for field in self.info.tables[table].match_fields.clone() {
            let width = field.bitwidth;
            let value = self.value(width);
            let Some(Match::MatchType(kind)) = field.r#match else { continue };
            let kind = MatchType::try_from(kind).unwrap();
            if kind != MatchType::Exact && self.one_of(3) {
                continue;
            }
            let kind = match kind {
                MatchType::Exact => FieldMatchType::Exact(field_match::Exact { value }),
                MatchType::Lpm => {
                    let (prefix_len, value) = match self.random.below(4) {
                        0 => (32, value),
                        1 => (8, Bytes::from_static(&[10, 0, 0, 0])),
                        2 => (16, Bytes::from_static(&[10, 1, 0, 0])),
                        _ => (self.random.below(40) as i32, value),
                    };
                    FieldMatchType::Lpm(field_match::Lpm { value, prefix_len })
                }
                MatchType::Ternary => {
                    let mask = if self.one_of(4) { self.value(width) } else { Bytes::from_static(&[7]) };
                    FieldMatchType::Ternary(field_match::Ternary { value, mask })
                }
                MatchType::Range => FieldMatchType::Range(field_match::Range { low: value, high: self.value(width) }),
                _ => FieldMatchType::Optional(field_match::Optional { value }),
            };
            key.push(v1::FieldMatch { field_id: field.id, field_match_type: Some(kind) });
        }
        key
    }

    fn small(&mut self) -> u32 {
        self.random.below(6) as u32
    }

    fn entry(&mut self) -> v1::TableEntry {
        let table = self.random.below(self.info.tables.len());
        let info = self.info.tables[table].clone();
        let ids: Vec<u32> = vec![info.preamble.as_ref().unwrap().id];
        let action = match info.implementation_id {
            0 => table_action::Type::Action(self.action(table)),
            _ => match self.random.below(4) {
                0 => table_action::Type::ActionProfileGroupId(self.small()),
                1 | 2 => table_action::Type::ActionProfileMemberId(self.small()),
                _ => {
                    let one = |maker: &mut Maker| v1::ActionProfileAction {
                        action: Some(maker.action(table)),
                        weight: maker.small() as i32,
                        watch_kind: None,
                    };
                    let actions = (0..self.random.below(4)).map(|_| one(self)).collect();
                    table_action::Type::ActionProfileActionSet(v1::ActionProfileActionSet {
                        action_profile_actions: actions,
                        action_selection_mode: self.random.below(4) as i32,
                        size_semantics: self.random.below(4) as i32,
                        group_action: self.one_of(6).then(|| self.action(table)),
                    })
                }
            },
        };
        let default = self.one_of(8);
        let exact = |field: &p4runtime_proto::p4::config::v1::MatchField| matches!(field.r#match, Some(Match::MatchType(kind)) if matches!(kind, 2 | 3));
        let prioritized = !info.match_fields.iter().all(exact);
        v1::TableEntry {
            table_id: self.pick(&ids),
            r#match: if default { Vec::new() } else { self.key(table) },
            action: (!self.one_of(10)).then_some(v1::TableAction { r#type: Some(action) }),
            priority: if prioritized && !default { 1 + self.small() as i32 } else { i32::from(self.one_of(30)) },
            is_default_action: default,
            metadata: if self.one_of(4) { self.value(8) } else { Bytes::new() },
            idle_timeout_ns: if self.one_of(20) { 1_000_000_000 } else { 0 },
            meter_config: self.one_of(10).then(|| self.meter()),
            counter_data: self.one_of(10).then(|| self.count()),
            ..Default::default()
        }
    }

    fn meter(&mut self) -> v1::MeterConfig {
        let mut number = || self.random.below(5) as i64 - i64::from(self.random.below(20) == 0);
        v1::MeterConfig { cir: number(), cburst: number(), pir: number(), pburst: number(), eburst: 0 }
    }

    fn count(&mut self) -> v1::CounterData {
        v1::CounterData { byte_count: self.small().into(), packet_count: i64::from(self.small()) - 1 }
    }

    fn replicas(&mut self) -> Vec<v1::Replica> {
        let one = |maker: &mut Maker| v1::Replica {
            instance: maker.small(),
            port_kind: Some(v1::replica::PortKind::Port(maker.value(9))),
            ..Default::default()
        };
        (0..self.random.below(4)).map(|_| one(self)).collect()
    }

    fn entity(&mut self) -> Kind {
        let preambles = |list: Vec<Option<p4runtime_proto::p4::config::v1::Preamble>>| -> Vec<u32> {
            list.into_iter().map(|preamble| preamble.unwrap().id).collect()
        };
        let profiles = preambles(self.info.action_profiles.iter().map(|p| p.preamble.clone()).collect());
        match self.random.below(18) {
            0..=6 => Kind::TableEntry(self.entry()),
            7 | 8 => {
                let table = self.info.tables.iter().position(|t| t.implementation_id != 0).unwrap();
                Kind::ActionProfileMember(v1::ActionProfileMember {
                    action_profile_id: self.pick(&profiles),
                    member_id: self.small(),
                    action: Some(self.action(table)),
                })
            }
            9 | 10 => {
                let one = |maker: &mut Maker| v1::action_profile_group::Member {
                    member_id: maker.small(),
                    weight: maker.small() as i32,
                    watch_kind: maker
                        .one_of(4)
                        .then(|| v1::action_profile_group::member::WatchKind::WatchPort(maker.value(9))),
                };
                let members = (0..self.random.below(4)).map(|_| one(self)).collect();
                let (action_profile_id, group_id) = (self.pick(&profiles), self.small());
                Kind::ActionProfileGroup(v1::ActionProfileGroup { action_profile_id, group_id, members, max_size: 8 })
            }
            11 => {
                let ids = preambles(self.info.counters.iter().map(|p| p.preamble.clone()).collect());
                let (counter_id, index, data) = (self.pick(&ids), self.index(), Some(self.count()));
                Kind::CounterEntry(v1::CounterEntry { counter_id, index, data })
            }
            12 => {
                let ids = preambles(self.info.meters.iter().map(|p| p.preamble.clone()).collect());
                let config = (!self.one_of(4)).then(|| self.meter());
                let (meter_id, index) = (self.pick(&ids), self.index());
                Kind::MeterEntry(v1::MeterEntry { meter_id, index, config, counter_data: None })
            }
            13 => {
                let ids = preambles(self.info.registers.iter().map(|p| p.preamble.clone()).collect());
                let data = Some(v1::P4Data { data: Some(v1::p4_data::Data::Bitstring(self.value(20))) });
                let (register_id, index) = (self.pick(&ids), self.index());
                Kind::RegisterEntry(v1::RegisterEntry { register_id, index, data })
            }
            14 => {
                let kind = if self.one_of(2) {
                    let (multicast_group_id, replicas) = (self.small(), self.replicas());
                    Replication::MulticastGroupEntry(v1::MulticastGroupEntry {
                        multicast_group_id,
                        replicas,
                        ..Default::default()
                    })
                } else {
                    let (session_id, replicas) = (self.small(), self.replicas());
                    Replication::CloneSessionEntry(v1::CloneSessionEntry { session_id, replicas, ..Default::default() })
                };
                Kind::PacketReplicationEngineEntry(v1::PacketReplicationEngineEntry { r#type: Some(kind) })
            }
            15 => {
                let ids = preambles(self.info.value_sets.iter().map(|p| p.preamble.clone()).collect());
                let one = |maker: &mut Maker| {
                    let kind = FieldMatchType::Exact(field_match::Exact { value: maker.value(16) });
                    v1::ValueSetMember { r#match: vec![v1::FieldMatch { field_id: 1, field_match_type: Some(kind) }] }
                };
                let members = (0..self.random.below(4)).map(|_| one(self)).collect();
                Kind::ValueSetEntry(v1::ValueSetEntry { value_set_id: self.pick(&ids), members })
            }
            16 => {
                let ids = preambles(self.info.digests.iter().map(|p| p.preamble.clone()).collect());
                let config =
                    Some(v1::digest_entry::Config { max_list_size: self.small() as i32, ..Default::default() });
                Kind::DigestEntry(v1::DigestEntry { digest_id: self.pick(&ids), config })
            }
            _ => {
                let entry = Some(self.entry());
                if self.one_of(2) {
                    Kind::DirectCounterEntry(v1::DirectCounterEntry { table_entry: entry, data: Some(self.count()) })
                } else {
                    let config = Some(self.meter());
                    Kind::DirectMeterEntry(v1::DirectMeterEntry { table_entry: entry, config, counter_data: None })
                }
            }
        }
    }

    fn request(&mut self) -> WriteRequest {
        let update = |maker: &mut Maker| Update {
            r#type: [1, 1, 1, 2, 2, 3][maker.random.below(6)],
            entity: Some(Entity { entity: Some(maker.entity()) }),
        };
        let count = 1 + self.random.below(5);
        let updates = (0..count).map(|_| update(self)).collect();
        let atomicity = self.random.below(3) as i32;
        WriteRequest { device_id: DEVICE, election_id: id(), updates, atomicity, ..Default::default() }
    }
}

fn damaged(request: &WriteRequest, random: &mut Random) -> Option<WriteRequest> {
    let mut bytes = request.encode_to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len());
        match random.below(3) {
            0 => bytes[at] = random.draw() as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            _ => bytes.truncate(at + 1),
        }
    }
    let decoded = WriteRequest::decode(bytes.as_slice()).ok()?;
    Some(WriteRequest { device_id: DEVICE, election_id: id(), role: String::new(), ..decoded })
}

/// Deletes what can be deleted, references last.
fn clear(device: &mut Device) {
    let order = |kind: &Kind| match kind {
        Kind::TableEntry(_) => 0,
        Kind::ActionProfileGroup(_) => 1,
        _ => 2,
    };
    let mut found = state(device);
    found.sort_by_key(order);
    for kind in found {
        let delete = match &kind {
            Kind::TableEntry(entry) => !entry.is_const && !entry.is_default_action,
            Kind::ActionProfileGroup(_) | Kind::ActionProfileMember(_) => true,
            Kind::PacketReplicationEngineEntry(_) | Kind::DigestEntry(_) => true,
            _ => false,
        };
        if delete {
            let update = Update { r#type: Type::Delete.into(), entity: Some(Entity { entity: Some(kind.clone()) }) };
            let updates = vec![update];
            let request = WriteRequest { device_id: DEVICE, election_id: id(), updates, ..Default::default() };
            device.write(&request, Instant::now()).unwrap_or_else(|status| panic!("{kind:?}: {status:?}"));
        }
    }
}

#[test]
fn random_writes_apply_or_change_nothing() {
    let random = Random(0x9e37_79b9_7f4a_7c15);
    let mut maker = Maker { info: text::parse_p4info(INFO).unwrap(), random };
    let (mut device, switch) = device();
    let mut worker = switch.worker();
    let (mut applied, mut refused, mut odd) = (0, 0, 0);
    for round in 0..1_500 {
        let mut request = maker.request();
        if round % 4 == 3 {
            let Some(damaged) = damaged(&request, &mut maker.random) else { continue };
            (request, odd) = (damaged, odd + 1);
        }
        let whole = request.atomicity != i32::from(Atomicity::ContinueOnError);
        let before = whole.then(|| sorted(state(&mut device)));
        match device.write(&request, Instant::now()) {
            Ok(()) => applied += request.updates.len(),
            Err(status) => {
                refused += 1;
                assert!(!matches!(status.code(), Code::Internal | Code::Ok), "{status:?}");
                let errors = p4runtime_proto::status::batch_errors(&status);
                let internal = |error: &v1::Error| error.canonical_code == Code::Internal as i32;
                assert!(!errors.iter().any(internal), "{request:?}: {errors:?}");
                assert!(errors.is_empty() || errors.len() == request.updates.len(), "{errors:?}");
                applied += errors.iter().filter(|error| error.canonical_code == 0).count();
                if let Some(before) = before {
                    assert_eq!(sorted(state(&mut device)), before, "{request:?}");
                }
            }
        }
        let frame = [[maker.random.below(6) as u8; 6].as_slice(), &[0, 0, 0, 0, 0, 1, 8, 0, 0x45], &[1; 30]].concat();
        worker.process(1, &frame, PacketMeta::default(), &mut |_: u32, _: &[u8], _: &[u8], _: PacketMeta| {});
        if round % 300 == 299 {
            clear(&mut device);
            let left = state(&mut device);
            let gone = |kind: &Kind| match kind {
                Kind::TableEntry(entry) => entry.is_const || entry.is_default_action,
                Kind::ActionProfileGroup(_) | Kind::ActionProfileMember(_) | Kind::DigestEntry(_) => false,
                _ => true,
            };
            assert!(left.iter().all(gone), "{left:?}");
        }
    }
    assert!(applied > 150 && refused > 200 && odd > 30, "{applied} applied, {refused} refused, {odd} damaged");
}
