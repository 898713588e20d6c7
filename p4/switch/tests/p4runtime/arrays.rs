//! Indirect counters and meters, registers, value sets (P4Runtime 9.3, 9.4, 9.6, 9.7).

use bytes::Bytes;
use p4runtime_proto::p4::v1::{self, entity::Entity as Kind, update::Type};
use tonic::Code;

use crate::rig::{Rig, exact, frame, ipv4, ternary};

fn index(index: i64) -> Option<v1::Index> {
    Some(v1::Index { index })
}

#[tokio::test]
async fn counters() {
    let mut rig = Rig::new().await;
    let counter_id = rig.info.counters[0].preamble.as_ref().unwrap().id;
    let data = Some(v1::CounterData { packet_count: 3, byte_count: 9 });
    let cell = |at, data| Kind::CounterEntry(v1::CounterEntry { counter_id, index: at, data });
    assert_eq!(rig.write(Type::Insert, cell(index(0), data)).await, Err(Code::InvalidArgument));
    assert_eq!(rig.write(Type::Delete, cell(index(0), data)).await, Err(Code::InvalidArgument));
    assert_eq!(rig.write(Type::Modify, cell(index(-1), data)).await, Err(Code::InvalidArgument));
    assert_eq!(rig.write(Type::Modify, cell(index(8), data)).await, Err(Code::OutOfRange));
    assert_eq!(rig.write(Type::Modify, cell(index(7), data)).await, Ok(()));
    assert_eq!(rig.read(cell(index(7), None)).await.unwrap(), [cell(index(7), data)]);
    assert_eq!(rig.read(cell(index(8), None)).await, Err(Code::OutOfRange));
    assert_eq!(rig.read(cell(None, None)).await.unwrap().len(), 8);
    let all = Kind::CounterEntry(v1::CounterEntry::default());
    assert_eq!(rig.read(all).await.unwrap().len(), 8);
    // All cells at once, and what packets add.
    assert_eq!(rig.write(Type::Modify, cell(None, data)).await, Ok(()));
    let mark = v1::TableEntry {
        priority: 1,
        ..rig.entry("acl", vec![ternary(1, &[8, 0], &[0xff, 0xff])], rig.call("count_and_mark", &[&[2]]))
    };
    assert_eq!(rig.insert(&mark).await, Ok(()));
    rig.inject(1, &ipv4([1, 1, 1, 1]));
    let counted = Some(v1::CounterData { packet_count: 4, byte_count: 9 + 34 });
    assert_eq!(rig.read(cell(index(2), None)).await.unwrap(), [cell(index(2), counted)]);
}

#[tokio::test]
async fn meters() {
    let mut rig = Rig::new().await;
    let meter_id = rig.info.meters[0].preamble.as_ref().unwrap().id;
    let config = Some(v1::MeterConfig { cir: 1, cburst: 2, pir: 3, pburst: 4, eburst: 0 });
    let cell = |at, config| Kind::MeterEntry(v1::MeterEntry { meter_id, index: at, config, counter_data: None });
    assert_eq!(rig.write(Type::Insert, cell(index(0), config)).await, Err(Code::InvalidArgument));
    assert_eq!(rig.write(Type::Modify, cell(index(-2), config)).await, Err(Code::InvalidArgument));
    assert_eq!(rig.write(Type::Modify, cell(index(4), config)).await, Err(Code::OutOfRange));
    assert_eq!(rig.read(cell(index(1), None)).await.unwrap(), [cell(index(1), None)]);
    assert_eq!(rig.write(Type::Modify, cell(index(1), config)).await, Ok(()));
    let all = rig.read(cell(None, None)).await.unwrap();
    assert_eq!(all, (0..4).map(|at| cell(index(at), config.filter(|_| at == 1))).collect::<Vec<_>>());
    assert_eq!(rig.write(Type::Modify, cell(None, None)).await, Ok(()));
    assert_eq!(rig.read(cell(index(1), None)).await.unwrap(), [cell(index(1), None)]);
}

#[tokio::test]
async fn registers() {
    let mut rig = Rig::new().await;
    let register_id = rig.info.registers[0].preamble.as_ref().unwrap().id;
    let bits = |value: &[u8]| {
        let value = v1::p4_data::Data::Bitstring(Bytes::copy_from_slice(value));
        Some(v1::P4Data { data: Some(value) })
    };
    let cell = |at, data| Kind::RegisterEntry(v1::RegisterEntry { register_id, index: at, data });
    assert_eq!(rig.write(Type::Insert, cell(index(0), bits(&[1]))).await, Err(Code::InvalidArgument));
    assert_eq!(rig.write(Type::Modify, cell(index(-1), bits(&[1]))).await, Err(Code::InvalidArgument));
    assert_eq!(rig.write(Type::Modify, cell(index(16), bits(&[1]))).await, Err(Code::OutOfRange));
    assert_eq!(rig.write(Type::Modify, cell(index(0), None)).await, Err(Code::InvalidArgument));
    let wrong = Some(v1::P4Data { data: Some(v1::p4_data::Data::Bool(true)) });
    assert_eq!(rig.write(Type::Modify, cell(index(0), wrong)).await, Err(Code::InvalidArgument));
    // 20 bits.
    assert_eq!(rig.write(Type::Modify, cell(index(0), bits(&[0x10, 0, 0]))).await, Err(Code::OutOfRange));
    assert_eq!(rig.write(Type::Modify, cell(index(3), bits(&[0, 0x0f, 0xff, 0xff]))).await, Ok(()));
    let read = rig.read(cell(index(3), None)).await.unwrap();
    assert_eq!(read, [cell(index(3), bits(&[0x0f, 0xff, 0xff]))]);
    assert_eq!(rig.write(Type::Modify, cell(None, bits(&[1, 0]))).await, Ok(()));
    let all = rig.read(cell(None, None)).await.unwrap();
    assert_eq!(all, (0..16).map(|at| cell(index(at), bits(&[1, 0]))).collect::<Vec<_>>());
}

#[tokio::test]
async fn value_sets() {
    let mut rig = Rig::new().await;
    let value_set_id = rig.info.value_sets[0].preamble.as_ref().unwrap().id;
    let members =
        |values: &[[u8; 2]]| values.iter().map(|value| v1::ValueSetMember { r#match: vec![exact(1, value)] }).collect();
    let set = |members| Kind::ValueSetEntry(v1::ValueSetEntry { value_set_id, members });
    let special =
        v1::TableEntry { priority: 1, ..rig.entry("acl", vec![crate::rig::optional(3, &[1])], rig.call("drop", &[])) };
    assert_eq!(rig.insert(&special).await, Ok(()));
    assert_eq!(rig.inject(1, &frame(1, 2, 0x1234)).len(), 1);
    let one = members(&[[0x12, 0x34]]);
    assert_eq!(rig.write(Type::Insert, set(one)).await, Err(Code::InvalidArgument));
    assert_eq!(rig.write(Type::Modify, set(members(&[[0x12, 0x34], [0x56, 0x78]]))).await, Ok(()));
    assert_eq!(rig.inject(1, &frame(1, 2, 0x1234)).len(), 0);
    assert_eq!(rig.inject(1, &frame(1, 2, 0x1235)).len(), 1);
    let wanted = [set(members(&[[0x12, 0x34], [0x56, 0x78]]))];
    assert_eq!(rig.read(Kind::ValueSetEntry(v1::ValueSetEntry::default())).await.unwrap(), wanted);
    let twice = members(&[[1, 1], [1, 1]]);
    assert_eq!(rig.write(Type::Modify, set(twice)).await, Err(Code::AlreadyExists));
    let many = members(&[[1, 1], [1, 2], [1, 3], [1, 4], [1, 5]]);
    assert_eq!(rig.write(Type::Modify, set(many)).await, Err(Code::ResourceExhausted));
    assert_eq!(rig.read(set(vec![])).await.unwrap(), wanted);
    assert_eq!(rig.write(Type::Modify, set(vec![])).await, Ok(()));
    assert_eq!(rig.inject(1, &frame(1, 2, 0x1234)).len(), 1);
}
