//! Batches: one detail an update, the three atomicity values, and reads in chunks (P4Runtime 12 and 13).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use p4runtime_proto::{
    p4::v1::{self, Entity, TableEntry, Update, entity::Entity as Kind, update::Type, write_request::Atomicity},
    status,
};
use tonic::Code;

use crate::rig::{Rig, exact, ipv4, lpm};

fn update(kind: Type, entity: Kind) -> Update {
    Update { r#type: kind.into(), entity: Some(Entity { entity: Some(entity) }) }
}

fn codes(status: &tonic::Status) -> Vec<Code> {
    assert_eq!(status.code(), Code::Unknown);
    status::batch_errors(status).iter().map(|error| Code::from(error.canonical_code)).collect()
}

fn route(rig: &Rig, n: u32) -> TableEntry {
    let key = (0x0a00_0000 | n).to_be_bytes();
    rig.entry("route", vec![lpm(1, &key, 32)], rig.call("forward", &[&[3]]))
}

#[tokio::test]
async fn every_update_of_a_failed_batch_has_its_detail() {
    let mut rig = Rig::new().await;
    let entry = |rig: &Rig, n| Kind::TableEntry(route(rig, n));
    let updates = vec![
        update(Type::Insert, entry(&rig, 1)),
        update(Type::Insert, entry(&rig, 1)),
        update(Type::Delete, entry(&rig, 2)),
        update(Type::Insert, entry(&rig, 3)),
        Update { r#type: Type::Insert.into(), entity: None },
    ];
    let failed = rig.batch(updates, Atomicity::ContinueOnError).await.unwrap_err();
    let wanted = [Code::Ok, Code::AlreadyExists, Code::NotFound, Code::Ok, Code::InvalidArgument];
    assert_eq!(codes(&failed), wanted);
    assert_eq!(rig.all("route").await.len(), 2);
    let applied = &status::batch_errors(&failed)[0];
    assert_eq!((applied.message.as_str(), applied.space.as_str()), ("", ""));
}

#[tokio::test]
async fn a_batch_with_rollback_is_all_or_nothing() {
    let mut rig = Rig::new().await;
    let counter = |packet_count| Some(v1::CounterData { packet_count, byte_count: 7 });
    let kept = TableEntry { counter_data: counter(5), ..route(&rig, 1) };
    let gone = TableEntry { metadata: "m".into(), counter_data: counter(6), ..route(&rig, 2) };
    let default = TableEntry { is_default_action: true, ..rig.entry("keyless", vec![], rig.call("forward", &[&[1]])) };
    let cell = |packet_count| v1::CounterEntry {
        counter_id: rig.info.counters[0].preamble.as_ref().unwrap().id,
        index: Some(v1::Index { index: 3 }),
        data: counter(packet_count),
    };
    let group = |id, port: &'static [u8]| {
        let replica = v1::Replica {
            instance: 1,
            port_kind: Some(v1::replica::PortKind::Port(port.into())),
            ..Default::default()
        };
        let entry = v1::MulticastGroupEntry { multicast_group_id: id, replicas: vec![replica], ..Default::default() };
        let kind = v1::packet_replication_engine_entry::Type::MulticastGroupEntry(entry);
        Kind::PacketReplicationEngineEntry(v1::PacketReplicationEngineEntry { r#type: Some(kind) })
    };
    let first = vec![
        update(Type::Insert, Kind::TableEntry(kept.clone())),
        update(Type::Insert, Kind::TableEntry(gone.clone())),
        update(Type::Insert, group(1, &[1])),
        update(Type::Modify, Kind::CounterEntry(cell(11))),
    ];
    let modified =
        TableEntry { counter_data: counter(50), ..rig.entry("route", kept.r#match.clone(), rig.call("drop", &[])) };
    let fails = update(Type::Delete, Kind::TableEntry(route(&rig, 99)));
    let second = vec![
        update(Type::Insert, Kind::TableEntry(route(&rig, 3))),
        update(Type::Modify, Kind::TableEntry(modified.clone())),
        update(Type::Delete, Kind::TableEntry(gone.clone())),
        update(Type::Modify, Kind::TableEntry(default.clone())),
        update(Type::Modify, Kind::CounterEntry(cell(12))),
        update(Type::Modify, group(1, &[2])),
        update(Type::Insert, group(2, &[2])),
        fails,
    ];
    rig.batch(first, Atomicity::RollbackOnError).await.unwrap();
    let everything = vec![
        Kind::TableEntry(TableEntry {
            counter_data: Some(Default::default()),
            table_id: rig.table("route"),
            ..Default::default()
        }),
        Kind::TableEntry(TableEntry { is_default_action: true, ..Default::default() }),
        Kind::CounterEntry(v1::CounterEntry::default()),
        Kind::PacketReplicationEngineEntry(Default::default()),
    ];
    let sorted = |mut found: Vec<Kind>| {
        found.sort_by_cached_key(|kind| format!("{kind:?}"));
        found
    };
    let before = sorted(rig.read_all(everything.clone()).await.0);
    let failed = rig.batch(second.clone(), Atomicity::RollbackOnError).await.unwrap_err();
    let mut wanted = vec![Code::Aborted; 8];
    wanted[7] = Code::NotFound;
    assert_eq!(codes(&failed), wanted);
    assert_eq!(sorted(rig.read_all(everything.clone()).await.0), before);
    // Without the culprit it goes through.
    rig.batch(second[..7].to_vec(), Atomicity::RollbackOnError).await.unwrap();
    assert_ne!(sorted(rig.read_all(everything).await.0), before);
}

#[tokio::test]
async fn packets_see_an_atomic_batch_wholly_or_not_at_all() {
    let mut rig = Rig::new().await;
    let color = |rig: &Rig, vrf: &'static [u8], port| TableEntry {
        priority: 1,
        ..rig.entry("by_vrf", vec![exact(1, vrf)], rig.call("forward", &[&[port]]))
    };
    let into = |rig: &Rig, vrf: &'static [u8]| rig.entry("vrf", vec![exact(1, &[1])], rig.call("set_vrf", &[vrf]));
    let (red, blue) = (color(&rig, b"red", 3), color(&rig, b"blue", 4));
    let (into_red, into_blue) = (into(&rig, b"red"), into(&rig, b"blue"));
    for entry in [&red, &into_red] {
        assert_eq!(rig.insert(entry).await, Ok(()));
    }
    // Between any two of these updates packets find no entry of `by_vrf` and would leave by port 0.
    let swap = |gone: &TableEntry, from: &TableEntry, new: &TableEntry| {
        vec![
            update(Type::Delete, Kind::TableEntry(gone.clone())),
            update(Type::Modify, Kind::TableEntry(from.clone())),
            update(Type::Insert, Kind::TableEntry(new.clone())),
        ]
    };
    let (there, back) = (swap(&red, &into_blue, &blue), swap(&blue, &into_red, &red));
    let failing = [there.clone(), vec![update(Type::Delete, Kind::TableEntry(route(&rig, 99)))]].concat();
    let (ports, stop) = (rig.ports.clone(), Arc::new(AtomicBool::new(false)));
    let (stopped, packet) = (stop.clone(), ipv4([9, 9, 9, 9]));
    let traffic = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            ports.run(1, &packet);
        }
    });
    let mut seen = BTreeMap::new();
    for round in 0..40 {
        let failed = rig.batch(failing.clone(), Atomicity::DataplaneAtomic).await.unwrap_err();
        assert_eq!(codes(&failed), [Code::Aborted, Code::Aborted, Code::Aborted, Code::NotFound]);
        rig.batch(there.clone(), Atomicity::DataplaneAtomic).await.unwrap();
        rig.batch(back.clone(), Atomicity::DataplaneAtomic).await.unwrap();
        rig.sent().iter().for_each(|(port, _)| *seen.entry(*port).or_insert(0u64) += 1);
        assert!(seen.keys().all(|port| [3, 4].contains(port)), "round {round}: {seen:?}");
    }
    stop.store(true, Ordering::Relaxed);
    traffic.join().unwrap();
    assert!(seen.contains_key(&3) && seen.contains_key(&4), "{seen:?}");
    assert_eq!((rig.all("by_vrf").await, rig.all("vrf").await), (vec![red], vec![into_red]));
}

#[tokio::test]
async fn a_large_table_is_read_in_chunks() {
    let mut rig = Rig::new().await;
    let updates = (0..5000).map(|n| update(Type::Insert, Kind::TableEntry(route(&rig, n)))).collect();
    rig.batch(updates, Atomicity::ContinueOnError).await.unwrap();
    let query = TableEntry { table_id: rig.table("route"), ..Default::default() };
    let entities = vec![Entity { entity: Some(Kind::TableEntry(query)) }];
    let request = v1::ReadRequest { device_id: crate::rig::DEVICE, entities, ..Default::default() };
    let mut stream = rig.client.read(request).await.unwrap().into_inner();
    let (mut chunks, mut keys) = (0, std::collections::HashSet::new());
    while let Some(chunk) = stream.message().await.unwrap() {
        chunks += 1;
        for entity in chunk.entities {
            let Some(Kind::TableEntry(entry)) = entity.entity else { panic!() };
            assert!(keys.insert(format!("{:?}", entry.r#match)));
        }
    }
    assert!(chunks > 1);
    assert_eq!(keys.len(), 5000);
}

#[tokio::test]
async fn externs_and_empty_entities_are_refused() {
    let mut rig = Rig::new().await;
    let unknown = Kind::ExternEntry(v1::ExternEntry { extern_type_id: 0x81, ..Default::default() });
    assert_eq!(rig.write(Type::Insert, unknown.clone()).await, Err(Code::Unimplemented));
    assert_eq!(rig.read(unknown).await, Err(Code::Unimplemented));
    assert_eq!(rig.read(Kind::ExternEntry(Default::default())).await.unwrap(), []);
    let request = v1::ReadRequest {
        device_id: crate::rig::DEVICE,
        entities: vec![Entity { entity: None }],
        ..Default::default()
    };
    let mut stream = rig.client.read(request).await.unwrap().into_inner();
    assert_eq!(codes(&stream.message().await.unwrap_err()), [Code::InvalidArgument]);
    let wrong = rig.entry("idle", vec![exact(1, &[1])], rig.call("forward", &[&[1]]));
    let request = v1::WriteRequest {
        device_id: crate::rig::DEVICE,
        election_id: Some(crate::rig::id(1)),
        updates: vec![update(Type::Insert, Kind::TableEntry(wrong))],
        atomicity: 9,
        ..Default::default()
    };
    let failed = rig.client.write(request).await.unwrap_err();
    assert_eq!(failed.code(), Code::InvalidArgument);
}
