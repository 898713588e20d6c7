//! Packet-in and -out, digests, idle timeouts (P4Runtime 9.8 and 16).

use std::time::{Duration, Instant};

use bytes::Bytes;
use p4runtime_proto::p4::v1::{
    self, TableEntry, entity::Entity as Kind, stream_error::Details, stream_message_request::Update as Request,
    stream_message_response::Update as Response, update::Type,
};
use tonic::Code;

use crate::rig::{Controller, Rig, exact, frame, ternary};

fn metadata(metadata_id: u32, value: &[u8]) -> v1::PacketMetadata {
    v1::PacketMetadata { metadata_id, value: Bytes::copy_from_slice(value) }
}

#[tokio::test]
async fn packets_to_the_primary_with_their_metadata() {
    let mut rig = Rig::new().await;
    let mut backup = Controller::open(&rig).await;
    backup.hello("", Some(0)).await;
    assert_eq!(backup.status().await, Code::AlreadyExists);
    let punt = TableEntry {
        priority: 1,
        ..rig.entry("acl", vec![ternary(1, &[0x12, 0x34], &[0xff, 0xff])], rig.call("punt", &[]))
    };
    assert_eq!(rig.insert(&punt).await, Ok(()));
    let sent = frame(1, 2, 0x1234);
    assert_eq!(rig.inject(5, &sent), []);
    let Some(Response::Packet(packet)) = rig.primary().next().await.unwrap() else { panic!() };
    assert_eq!(packet.payload, sent);
    assert_eq!(packet.metadata, [metadata(1, &[5]), metadata(2, &[5])]);
    // The backup hears nothing: the next it gets is about arbitration.
    backup.hello("", Some(0)).await;
    assert_eq!(backup.status().await, Code::AlreadyExists);
}

#[tokio::test]
async fn packets_from_the_primary() {
    let mut rig = Rig::new().await;
    let payload = frame(1, 2, 0x1234);
    let out = |metadata| Request::Packet(v1::PacketOut { payload: Bytes::from(payload.clone()), metadata });
    let good = vec![metadata(1, &[9]), metadata(2, &[0])];
    rig.primary().send(out(good.clone())).await;
    let deadline = Instant::now() + Duration::from_secs(5);
    let sent = loop {
        let sent = rig.sent();
        if !sent.is_empty() {
            break sent;
        }
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    };
    assert_eq!(sent, [(9, payload.clone())]);
    for bad in [vec![metadata(1, &[9])], vec![metadata(1, &[9]), metadata(2, &[0]), metadata(7, &[0])]] {
        rig.primary().send(out(bad.clone())).await;
        let Some(Response::Error(error)) = rig.primary().next().await.unwrap() else { panic!() };
        assert_eq!(error.canonical_code, Code::InvalidArgument as i32);
        let Some(Details::PacketOut(details)) = error.details else { panic!() };
        assert_eq!(details.packet_out.unwrap().metadata, bad);
    }
    let mut backup = Controller::open(&rig).await;
    backup.hello("", Some(0)).await;
    assert_eq!(backup.status().await, Code::AlreadyExists);
    backup.send(out(good)).await;
    let Some(Response::Error(error)) = backup.next().await.unwrap() else { panic!() };
    assert_eq!(error.canonical_code, Code::PermissionDenied as i32);
    assert_eq!(rig.sent(), []);
}

#[tokio::test]
async fn digests_are_batched_and_acknowledged() {
    let mut rig = Rig::new().await;
    let digest_id = rig.info.digests[0].preamble.as_ref().unwrap().id;
    let learn = TableEntry { priority: 1, ..rig.entry("acl", vec![], rig.call("learn", &[])) };
    assert_eq!(rig.insert(&learn).await, Ok(()));
    let with = |max_list_size, ack_timeout_ns| {
        let config = Some(v1::digest_entry::Config { max_timeout_ns: 60_000_000_000, max_list_size, ack_timeout_ns });
        Kind::DigestEntry(v1::DigestEntry { digest_id, config })
    };
    assert_eq!(rig.write(Type::Modify, with(2, 0)).await, Err(Code::NotFound));
    rig.inject(4, &frame(1, 9, 1));
    assert_eq!(rig.write(Type::Insert, with(2, 60_000_000_000)).await, Ok(()));
    assert_eq!(rig.write(Type::Insert, with(2, 0)).await, Err(Code::AlreadyExists));
    assert_eq!(rig.write(Type::Modify, with(-2, 0)).await, Err(Code::InvalidArgument));
    let all = Kind::DigestEntry(v1::DigestEntry::default());
    assert_eq!(rig.read(all.clone()).await.unwrap(), [with(2, 60_000_000_000)]);
    // Two distinct samples make a list; what is unacknowledged is not repeated.
    for src in [1, 1, 2] {
        rig.inject(4, &frame(1, src, 1));
    }
    let sample = |src: u8, port: u8| {
        let member =
            |value: &[u8]| v1::P4Data { data: Some(v1::p4_data::Data::Bitstring(Bytes::copy_from_slice(value))) };
        let members = vec![member(&[src]), member(&[port])];
        v1::P4Data { data: Some(v1::p4_data::Data::Struct(v1::P4StructLike { members })) }
    };
    let Some(Response::Digest(list)) = rig.primary().next().await.unwrap() else { panic!() };
    assert_eq!((list.digest_id, list.data.as_slice()), (digest_id, &[sample(1, 4), sample(2, 4)][..]));
    assert!(list.timestamp > 1_600_000_000_000_000_000);
    for src in [1, 3, 2, 4] {
        rig.inject(4, &frame(1, src, 1));
    }
    let Some(Response::Digest(second)) = rig.primary().next().await.unwrap() else { panic!() };
    assert_eq!(second.data, [sample(3, 4), sample(4, 4)]);
    assert_ne!(second.list_id, list.list_id);
    let ack = |digest_id, list_id| Request::DigestAck(v1::DigestListAck { digest_id, list_id });
    rig.primary().send(ack(1, 1)).await;
    let Some(Response::Error(error)) = rig.primary().next().await.unwrap() else { panic!() };
    assert_eq!(error.canonical_code, Code::InvalidArgument as i32);
    rig.primary().send(ack(digest_id, list.list_id)).await;
    // The receipt is handled before the error that follows it on the same stream.
    rig.primary().send(ack(1, 1)).await;
    assert!(matches!(rig.primary().next().await, Ok(Some(Response::Error(_)))));
    for src in [3, 1, 2] {
        rig.inject(4, &frame(1, src, 1));
    }
    let Some(Response::Digest(third)) = rig.primary().next().await.unwrap() else { panic!() };
    assert_eq!(third.data, [sample(1, 4), sample(2, 4)]);
    assert_eq!(rig.write(Type::Delete, with(0, 0)).await, Ok(()));
    assert_eq!(rig.read(all).await.unwrap(), []);
}

#[tokio::test]
async fn idle_entries_are_reported_again_and_again() {
    let mut rig = Rig::new().await;
    let ttl = Duration::from_millis(60);
    let entry = TableEntry {
        idle_timeout_ns: ttl.as_nanos() as i64,
        metadata: "i".into(),
        ..rig.entry("idle", vec![exact(1, &[2])], rig.call("forward", &[&[3]]))
    };
    let bad = TableEntry { time_since_last_hit: Some(Default::default()), ..entry.clone() };
    assert_eq!(rig.insert(&bad).await, Err(Code::InvalidArgument));
    assert_eq!(rig.insert(&TableEntry { idle_timeout_ns: -1, ..entry.clone() }).await, Err(Code::InvalidArgument));
    let start = Instant::now();
    assert_eq!(rig.insert(&entry).await, Ok(()));
    assert_eq!(rig.all("idle").await, [entry.clone()]);
    for round in 1..=2 {
        let Some(Response::IdleTimeoutNotification(told)) = rig.primary().next().await.unwrap() else { panic!() };
        assert_eq!(told.table_entry, [TableEntry { action: None, ..entry.clone() }]);
        assert!(told.timestamp > 1_600_000_000_000_000_000);
        assert!(start.elapsed() >= ttl * round, "round {round} after {:?}", start.elapsed());
    }
    let query =
        TableEntry { time_since_last_hit: Some(Default::default()), table_id: entry.table_id, ..Default::default() };
    let idle = async |rig: &mut Rig| {
        let found = rig.entries(query.clone()).await.unwrap();
        Duration::from_nanos(found[0].time_since_last_hit.unwrap().elapsed_ns as u64)
    };
    assert!(idle(&mut rig).await >= ttl * 2 - Duration::from_millis(1));
    let hit = Instant::now();
    rig.inject(1, &frame(1, 2, 1));
    let seen = idle(&mut rig).await;
    assert!(seen <= hit.elapsed() + Duration::from_millis(1), "{seen:?}");
    // Without a timeout nothing is told, so the next message is what is asked for.
    assert_eq!(rig.modify(&TableEntry { idle_timeout_ns: 0, ..entry.clone() }).await, Ok(()));
    tokio::time::sleep(ttl * 2).await;
    rig.primary().hello("", Some(1)).await;
    while let Some(message) = rig.primary().next().await.unwrap() {
        match message {
            // One may have been on its way.
            Response::IdleTimeoutNotification(told) => assert!(told.timestamp > 0),
            Response::Arbitration(_) => break,
            other => panic!("{other:?}"),
        }
    }
    let unsupported =
        TableEntry { time_since_last_hit: Some(Default::default()), table_id: rig.table("hop"), ..Default::default() };
    assert_eq!(rig.entries(unsupported).await, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn a_modification_is_no_hit() {
    let mut rig = Rig::new().await;
    let entry = rig.entry("idle", vec![exact(1, &[2])], rig.call("forward", &[&[3]]));
    assert_eq!(rig.insert(&entry).await, Ok(()));
    let inserted = Instant::now();
    tokio::time::sleep(Duration::from_millis(40)).await;
    let other = rig.entry("idle", vec![exact(1, &[2])], rig.call("forward", &[&[4]]));
    assert_eq!(rig.modify(&other).await, Ok(()));
    let query =
        TableEntry { time_since_last_hit: Some(Default::default()), table_id: entry.table_id, ..Default::default() };
    let quiet = inserted.elapsed();
    let found = rig.entries(query).await.unwrap();
    let idle = Duration::from_nanos(found[0].time_since_last_hit.unwrap().elapsed_ns as u64);
    assert!(idle + Duration::from_millis(1) >= quiet, "{idle:?} of {quiet:?}");
    // A timeout that is over already is told at once, and an unrelated change does not restart a timer.
    let ttl = Duration::from_millis(30);
    let timed = TableEntry { idle_timeout_ns: ttl.as_nanos() as i64, ..other };
    let asked = Instant::now();
    assert_eq!(rig.modify(&timed).await, Ok(()));
    let Some(Response::IdleTimeoutNotification(told)) = rig.primary().next().await.unwrap() else { panic!() };
    assert_eq!(told.table_entry, [TableEntry { action: None, ..timed.clone() }]);
    assert!(asked.elapsed() < Duration::from_secs(2));
    let long = TableEntry { idle_timeout_ns: 300_000_000, ..timed };
    assert_eq!(rig.modify(&long).await, Ok(()));
    let first = Instant::now();
    loop {
        let changed = TableEntry { metadata: format!("{:?}", first.elapsed()).into(), ..long.clone() };
        assert_eq!(rig.modify(&changed).await, Ok(()));
        match tokio::time::timeout(Duration::from_millis(20), rig.primary().rx.message()).await {
            Ok(message) => {
                let update = message.unwrap().unwrap().update.unwrap();
                let Response::IdleTimeoutNotification(told) = update else { panic!("{update:?}") };
                // The last of the short timeout may have been on its way.
                if told.table_entry[0].idle_timeout_ns == long.idle_timeout_ns {
                    break;
                }
            }
            Err(_) => assert!(first.elapsed() < Duration::from_secs(5), "changes keep the timer from running out"),
        }
    }
}
