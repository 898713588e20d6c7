//! Table entries: keys, actions, priorities, default and constant entries, reads (P4Runtime 9.1).

use p4runtime_proto::p4::v1::{self, TableEntry, entity::Entity as Kind, update::Type};
use tonic::Code;

use crate::rig::{Rig, exact, frame, ipv4, lpm, optional, range, ternary};

const TEN: [u8; 4] = [10, 0, 0, 0];

#[tokio::test]
async fn an_entry_comes_back_as_it_was_written() {
    let mut rig = Rig::new().await;
    #[allow(deprecated)]
    let entry = TableEntry {
        controller_metadata: 5,
        metadata: "mine".into(),
        ..rig.entry("route", vec![lpm(1, &TEN, 8)], rig.call("forward", &[&[3]]))
    };
    assert_eq!(rig.insert(&entry).await, Ok(()));
    assert_eq!(rig.all("route").await, [entry.clone()]);
    assert_eq!(rig.inject(1, &ipv4([10, 9, 8, 7])), [(3, ipv4([10, 9, 8, 7]))]);
    assert_eq!(rig.insert(&entry).await, Err(Code::AlreadyExists));
    let changed =
        TableEntry { metadata: "".into(), ..rig.entry("route", vec![lpm(1, &TEN, 8)], rig.call("forward", &[&[4]])) };
    assert_eq!(rig.modify(&changed).await, Ok(()));
    assert_eq!(rig.all("route").await, [changed.clone()]);
    assert_eq!(rig.inject(1, &ipv4([10, 9, 8, 7]))[0].0, 4);
    // Without an action the action stays.
    let untouched = TableEntry { action: None, metadata: "x".into(), ..changed.clone() };
    assert_eq!(rig.modify(&untouched).await, Ok(()));
    assert_eq!(rig.all("route").await, [TableEntry { metadata: "x".into(), ..changed.clone() }]);
    // A delete looks at the key only.
    let key_only = TableEntry { action: Some(v1::TableAction::default()), ..changed.clone() };
    assert_eq!(rig.delete(&key_only).await, Ok(()));
    assert_eq!(rig.delete(&changed).await, Err(Code::NotFound));
    assert_eq!(rig.modify(&changed).await, Err(Code::NotFound));
    assert_eq!(rig.all("route").await, []);
    assert_eq!(rig.inject(1, &ipv4([10, 9, 8, 7]))[0].0, 0);
}

#[tokio::test]
async fn byte_strings_are_made_canonical() {
    let mut rig = Rig::new().await;
    let long = rig.entry("idle", vec![exact(1, &[0, 0, 0, 0, 0, 0, 1])], rig.call("forward", &[&[0, 0, 3]]));
    assert_eq!(rig.insert(&long).await, Ok(()));
    let short = rig.entry("idle", vec![exact(1, &[1])], rig.call("forward", &[&[3]]));
    assert_eq!(rig.insert(&short).await, Err(Code::AlreadyExists));
    assert_eq!(rig.all("idle").await, [short]);
    for (key, param) in [(&[][..], &[3][..]), (&[1, 0, 0, 0, 0, 0, 0], &[3]), (&[2], &[]), (&[2], &[2, 0])] {
        let bad = rig.entry("idle", vec![exact(1, key)], rig.call("forward", &[param]));
        assert_eq!(rig.insert(&bad).await, Err(Code::OutOfRange), "{key:?} {param:?}");
    }
    assert_eq!(rig.all("idle").await.len(), 1);
}

#[tokio::test]
async fn malformed_entries_are_refused() {
    let mut rig = Rig::new().await;
    let good = rig.entry("route", vec![lpm(1, &TEN, 8)], rig.call("forward", &[&[3]]));
    let invalid = [
        TableEntry { table_id: 0, ..good.clone() },
        TableEntry { table_id: 0x0200_0001, ..good.clone() },
        TableEntry { table_id: rig.action("drop"), ..good.clone() },
        TableEntry { priority: 1, ..good.clone() },
        TableEntry { is_const: true, ..good.clone() },
        TableEntry { action: None, ..good.clone() },
        TableEntry { r#match: vec![lpm(2, &TEN, 8)], ..good.clone() },
        TableEntry { r#match: vec![exact(1, &TEN)], ..good.clone() },
        TableEntry { r#match: vec![lpm(1, &TEN, 8), lpm(1, &TEN, 8)], ..good.clone() },
        TableEntry { r#match: vec![lpm(1, &[10, 0, 0, 1], 8)], ..good.clone() },
        TableEntry { r#match: vec![lpm(1, &TEN, 0)], ..good.clone() },
        TableEntry { idle_timeout_ns: 1, ..good.clone() },
        TableEntry { meter_config: Some(v1::MeterConfig::default()), ..good.clone() },
        rig.entry("route", vec![lpm(1, &TEN, 8)], rig.call("police", &[])),
        rig.entry("route", vec![lpm(1, &TEN, 8)], rig.call("forward", &[])),
        rig.entry("route", vec![lpm(1, &TEN, 8)], rig.call("forward", &[&[1], &[1]])),
        rig.entry("route", vec![lpm(1, &TEN, 8)], v1::Action { action_id: 1, params: vec![] }),
        rig.entry("keyless", vec![], rig.call("forward", &[&[1]])),
    ];
    for (number, entry) in invalid.iter().enumerate() {
        assert_eq!(rig.insert(entry).await, Err(Code::InvalidArgument), "{number}: {entry:?}");
    }
    // An action for default entries only.
    let scoped = rig.entry("route", vec![lpm(1, &TEN, 8)], rig.call("NoAction", &[]));
    assert_eq!(rig.insert(&scoped).await, Err(Code::PermissionDenied));
    let unspecified = rig.write(Type::Unspecified, Kind::TableEntry(good.clone())).await;
    assert_eq!(unspecified, Err(Code::InvalidArgument));
    assert_eq!(rig.all("route").await, []);
    assert_eq!(rig.insert(&good).await, Ok(()));
}

#[tokio::test]
async fn priorities_tell_entries_apart() {
    let mut rig = Rig::new().await;
    let key = || vec![ternary(1, &[8, 0], &[0xff, 0xff]), range(2, &[17], &[20])];
    let with =
        |rig: &Rig, priority, action: &str| TableEntry { priority, ..rig.entry("acl", key(), rig.call(action, &[])) };
    let (low, high) = (with(&rig, 10, "NoAction"), with(&rig, 20, "drop"));
    assert_eq!(rig.insert(&with(&rig, 0, "drop")).await, Err(Code::InvalidArgument));
    assert_eq!(rig.insert(&with(&rig, -1, "drop")).await, Err(Code::InvalidArgument));
    assert_eq!(rig.insert(&low).await, Ok(()));
    assert_eq!(rig.inject(1, &ipv4(TEN)).len(), 1);
    assert_eq!(rig.insert(&high).await, Ok(()));
    assert_eq!(rig.inject(1, &ipv4(TEN)).len(), 0);
    assert_eq!(rig.insert(&high).await, Err(Code::AlreadyExists));
    let table_id = rig.table("acl");
    let query = TableEntry { table_id, priority: 20, ..Default::default() };
    assert_eq!(rig.entries(query).await.unwrap(), [high.clone()]);
    let query = TableEntry { table_id, r#match: key(), ..Default::default() };
    assert_eq!(rig.entries(query).await.unwrap().len(), 2);
    let query = TableEntry { priority: 10, ..TableEntry { table_id, r#match: key(), ..Default::default() } };
    assert_eq!(rig.entries(query).await.unwrap(), [low.clone()]);
    assert_eq!(rig.delete(&high).await, Ok(()));
    assert_eq!(rig.inject(1, &ipv4(TEN)).len(), 1);
}

#[tokio::test]
async fn reads_select_by_every_field() {
    let mut rig = Rig::new().await;
    let a =
        TableEntry { metadata: "a".into(), ..rig.entry("route", vec![lpm(1, &TEN, 8)], rig.call("forward", &[&[3]])) };
    let b = rig.entry("route", vec![lpm(1, &[10, 1, 0, 0], 16)], rig.call("drop", &[]));
    let everything = rig.entry("route", vec![], rig.call("forward", &[&[5]]));
    for entry in [&a, &b, &everything] {
        assert_eq!(rig.insert(entry).await, Ok(()));
    }
    assert_eq!(rig.inject(1, &ipv4([9, 9, 9, 9]))[0].0, 5);
    let table_id = rig.table("route");
    let query = TableEntry { table_id, ..Default::default() };
    assert_eq!(rig.entries(query.clone()).await.unwrap().len(), 3);
    let by_key = TableEntry { r#match: b.r#match.clone(), ..query.clone() };
    assert_eq!(rig.entries(by_key).await.unwrap(), [b.clone()]);
    let by_metadata = TableEntry { metadata: "a".into(), ..query.clone() };
    assert_eq!(rig.entries(by_metadata).await.unwrap(), [a.clone()]);
    let drop = v1::Action { action_id: rig.action("drop"), params: vec![] };
    let action = Some(v1::TableAction { r#type: Some(v1::table_action::Type::Action(drop)) });
    assert_eq!(rig.entries(TableEntry { action, ..query.clone() }).await.unwrap(), [b.clone()]);
    let absent = TableEntry { r#match: vec![lpm(1, &[11, 0, 0, 0], 8)], ..query.clone() };
    assert_eq!(rig.entries(absent).await.unwrap(), []);
    let bad = TableEntry { r#match: vec![lpm(1, &[11, 0, 0, 1], 8)], ..query.clone() };
    assert_eq!(rig.entries(bad).await, Err(Code::InvalidArgument));
    let filtered = TableEntry { metadata: "a".into(), ..Default::default() };
    assert_eq!(rig.entries(filtered).await, Err(Code::InvalidArgument));
    assert_eq!(rig.entries(TableEntry { table_id: 4, ..Default::default() }).await, Err(Code::InvalidArgument));
    // All tables: the three and the two constant ones.
    assert_eq!(rig.entries(TableEntry::default()).await.unwrap().len(), 5);
    let defaults = TableEntry { is_default_action: true, ..Default::default() };
    assert_eq!(rig.entries(defaults).await.unwrap().len(), rig.info.tables.len());
}

#[tokio::test]
async fn a_failed_query_does_not_spoil_the_others() {
    let mut rig = Rig::new().await;
    let fixed = Kind::TableEntry(TableEntry { table_id: rig.table("fixed"), ..Default::default() });
    let bad = Kind::TableEntry(TableEntry { table_id: 1, ..Default::default() });
    let (found, end) = rig.read_all(vec![fixed.clone(), bad, fixed]).await;
    assert_eq!(found.len(), 4);
    let end = end.unwrap_err();
    assert_eq!(end.code(), Code::Unknown);
    let errors = p4runtime_proto::status::batch_errors(&end);
    let codes: Vec<_> = errors.iter().map(|e| Code::from(e.canonical_code)).collect();
    assert_eq!(codes, [Code::Ok, Code::InvalidArgument, Code::Ok]);
}

#[tokio::test]
async fn the_default_entry_can_only_be_modified() {
    let mut rig = Rig::new().await;
    let table_id = rig.table("route");
    let default = TableEntry { is_default_action: true, ..rig.entry("route", vec![], rig.call("forward", &[&[6]])) };
    assert_eq!(rig.insert(&default).await, Err(Code::InvalidArgument));
    assert_eq!(rig.delete(&default).await, Err(Code::InvalidArgument));
    let query = TableEntry { table_id, is_default_action: true, ..Default::default() };
    let initial = rig.entries(query.clone()).await.unwrap();
    let no_action = rig.entry("route", vec![], rig.call("NoAction", &[])).action;
    assert_eq!(initial, [TableEntry { action: no_action, ..query.clone() }]);
    let keyed = TableEntry { r#match: vec![lpm(1, &TEN, 8)], ..default.clone() };
    assert_eq!(rig.modify(&keyed).await, Err(Code::InvalidArgument));
    assert_eq!(rig.modify(&TableEntry { priority: 1, ..default.clone() }).await, Err(Code::InvalidArgument));
    assert_eq!(rig.modify(&default).await, Ok(()));
    assert_eq!(rig.entries(query.clone()).await.unwrap(), [default.clone()]);
    assert_eq!(rig.inject(1, &ipv4(TEN))[0].0, 6);
    // Without an action it is the program's again.
    assert_eq!(rig.modify(&TableEntry { action: None, ..default }).await, Ok(()));
    assert_eq!(rig.entries(query).await.unwrap(), initial);
    // Actions for entries only, constant defaults, and tables with a profile.
    let scoped = TableEntry { is_default_action: true, ..rig.entry("by_vrf", vec![], rig.call("drop", &[])) };
    assert_eq!(rig.modify(&scoped).await, Err(Code::PermissionDenied));
    let constant = TableEntry { is_default_action: true, ..rig.entry("vrf", vec![], rig.call("NoAction", &[])) };
    assert_eq!(rig.modify(&constant).await, Err(Code::PermissionDenied));
    let indirect = TableEntry { is_default_action: true, ..rig.entry("hop", vec![], rig.call("NoAction", &[])) };
    assert_eq!(rig.modify(&indirect).await, Err(Code::PermissionDenied));
    let keyless = TableEntry { is_default_action: true, ..rig.entry("keyless", vec![], rig.call("forward", &[&[2]])) };
    assert_eq!(rig.modify(&keyless).await, Ok(()));
    assert_eq!(rig.inject(1, &ipv4(TEN))[0].0, 2);
}

#[tokio::test]
async fn constant_entries_are_read_and_never_written() {
    let mut rig = Rig::new().await;
    let mut found = rig.all("fixed").await;
    found.sort_by_key(|entry| -entry.priority);
    let first = TableEntry {
        priority: 2,
        is_const: true,
        ..rig.entry("fixed", vec![ternary(1, &[0x88, 0xcc], &[0xff, 0xff])], rig.call("forward", &[&[3]]))
    };
    assert_eq!(found[0], first);
    assert_eq!(found[1].priority, 1);
    let own = TableEntry { is_const: false, ..first };
    assert_eq!(rig.insert(&TableEntry { priority: 9, ..own.clone() }).await, Err(Code::PermissionDenied));
    assert_eq!(rig.modify(&own).await, Err(Code::PermissionDenied));
    assert_eq!(rig.delete(&own).await, Err(Code::PermissionDenied));
    assert_eq!(rig.modify(&TableEntry { action: None, ..own }).await, Ok(()));
}

#[tokio::test]
async fn a_full_table_says_so() {
    let mut rig = Rig::new().await;
    for n in 1..=5u8 {
        let entry = TableEntry {
            priority: 1,
            ..rig.entry("by_vrf", vec![exact(1, b"red"), optional(2, &[n])], rig.call("forward", &[&[n]]))
        };
        let wanted = if n <= 4 { Ok(()) } else { Err(Code::ResourceExhausted) };
        assert_eq!(rig.insert(&entry).await, wanted);
    }
}

#[tokio::test]
async fn translated_strings_meet_in_the_program() {
    let mut rig = Rig::new().await;
    let vrf = rig.entry("vrf", vec![exact(1, &[1])], rig.call("set_vrf", &[b"red"]));
    let other = rig.entry("vrf", vec![exact(1, &[2])], rig.call("set_vrf", &[b"blue"]));
    let entry = TableEntry { priority: 1, ..rig.entry("by_vrf", vec![exact(1, b"red")], rig.call("forward", &[&[9]])) };
    for entry in [&vrf, &other, &entry] {
        assert_eq!(rig.insert(entry).await, Ok(()));
    }
    assert_eq!(rig.all("by_vrf").await, [entry]);
    assert_eq!(rig.inject(1, &ipv4(TEN))[0].0, 9);
    assert_eq!(rig.inject(2, &ipv4(TEN))[0].0, 0);
}

#[tokio::test]
async fn direct_counters_and_meters() {
    let mut rig = Rig::new().await;
    let data = |packet_count, byte_count| v1::CounterData { packet_count, byte_count };
    let key = vec![lpm(1, &TEN, 8)];
    let route = rig.entry("route", key.clone(), rig.call("forward", &[&[3]]));
    assert_eq!(rig.insert(&TableEntry { counter_data: Some(data(5, 100)), ..route.clone() }).await, Ok(()));
    assert_eq!(rig.all("route").await[0].counter_data, None);
    rig.inject(1, &ipv4(TEN));
    let query = TableEntry { counter_data: Some(data(0, 0)), table_id: route.table_id, ..Default::default() };
    assert_eq!(rig.entries(query).await.unwrap()[0].counter_data, Some(data(6, 134)));
    let key_only = TableEntry { table_id: route.table_id, r#match: key, ..Default::default() };
    let direct = |data| Kind::DirectCounterEntry(v1::DirectCounterEntry { table_entry: Some(key_only.clone()), data });
    assert_eq!(rig.write(Type::Insert, direct(None)).await, Err(Code::InvalidArgument));
    assert_eq!(rig.write(Type::Modify, direct(Some(data(1, 2)))).await, Ok(()));
    assert_eq!(rig.read(direct(None)).await.unwrap(), [direct(Some(data(1, 2)))]);
    // Unset data changes nothing; all entries of the table, and of all tables.
    assert_eq!(rig.write(Type::Modify, direct(None)).await, Ok(()));
    let all = Kind::DirectCounterEntry(v1::DirectCounterEntry::default());
    assert_eq!(rig.read(all).await.unwrap(), [direct(Some(data(1, 2)))]);
    let absent = TableEntry { r#match: vec![lpm(1, &[11, 0, 0, 0], 8)], ..key_only.clone() };
    let absent = Kind::DirectCounterEntry(v1::DirectCounterEntry { table_entry: Some(absent), data: Some(data(1, 1)) });
    assert_eq!(rig.read(absent.clone()).await, Err(Code::NotFound));
    assert_eq!(rig.write(Type::Modify, absent).await, Err(Code::NotFound));

    let config = v1::MeterConfig { cir: 1, cburst: 1, pir: 1, pburst: 1, eburst: 0 };
    let acl = TableEntry {
        priority: 1,
        ..rig.entry("acl", vec![ternary(1, &[8, 0], &[0xff, 0xff])], rig.call("police", &[]))
    };
    assert_eq!(rig.insert(&TableEntry { meter_config: Some(config), ..acl.clone() }).await, Ok(()));
    let query = TableEntry { meter_config: Some(Default::default()), table_id: acl.table_id, ..Default::default() };
    assert_eq!(rig.entries(query.clone()).await.unwrap()[0].meter_config, Some(config));
    let bad = v1::MeterConfig { eburst: 1, ..config };
    assert_eq!(rig.modify(&TableEntry { meter_config: Some(bad), ..acl.clone() }).await, Err(Code::InvalidArgument));
    // A modification without it resets the meter, which then reads as unset.
    assert_eq!(rig.modify(&acl).await, Ok(()));
    assert_eq!(rig.entries(query.clone()).await.unwrap()[0].meter_config, None);
    let key = TableEntry { action: None, ..acl.clone() };
    let direct = |config| {
        Kind::DirectMeterEntry(v1::DirectMeterEntry { table_entry: Some(key.clone()), config, counter_data: None })
    };
    assert_eq!(rig.write(Type::Delete, direct(None)).await, Err(Code::InvalidArgument));
    assert_eq!(rig.write(Type::Modify, direct(Some(config))).await, Ok(()));
    assert_eq!(rig.read(direct(None)).await.unwrap(), [direct(Some(config))]);
    assert_eq!(rig.entries(query).await.unwrap()[0].meter_config, Some(config));
}

#[tokio::test]
async fn meters_count_by_color() {
    let mut rig = Rig::new().await;
    let packet = frame(1, 2, 0x0900);
    let bytes = packet.len() as i64;
    let config = v1::MeterConfig { cir: 1, cburst: bytes, pir: 1, pburst: 2 * bytes, eburst: 0 };
    let acl = TableEntry {
        priority: 1,
        meter_config: Some(config),
        ..rig.entry("acl", vec![ternary(1, &[9, 0], &[0xff, 0xff])], rig.call("police", &[]))
    };
    let colors = |green, yellow, red| {
        let data = |n: i64| Some(v1::CounterData { packet_count: n, byte_count: n * bytes });
        Some(v1::MeterCounterData { green: data(green), yellow: data(yellow), red: data(red) })
    };
    assert_eq!(
        rig.insert(&TableEntry { meter_counter_data: colors(1, 0, 0), ..acl.clone() }).await,
        Err(Code::InvalidArgument)
    );
    assert_eq!(rig.insert(&TableEntry { meter_counter_data: Some(Default::default()), ..acl.clone() }).await, Ok(()));
    for _ in 0..4 {
        rig.inject(1, &packet);
    }
    let query =
        TableEntry { meter_counter_data: Some(Default::default()), table_id: acl.table_id, ..Default::default() };
    let found = rig.entries(query.clone()).await.unwrap();
    assert_eq!((found[0].meter_counter_data, found[0].meter_config), (colors(1, 1, 2), None));
    let key = TableEntry { action: None, meter_config: None, ..acl.clone() };
    let direct = |config, counter_data| {
        Kind::DirectMeterEntry(v1::DirectMeterEntry { table_entry: Some(key.clone()), config, counter_data })
    };
    assert_eq!(rig.read(direct(None, None)).await.unwrap(), [direct(Some(config), None)]);
    let empty = Some(v1::MeterCounterData::default());
    assert_eq!(rig.read(direct(None, empty)).await.unwrap(), [direct(Some(config), colors(1, 1, 2))]);
    // Unset leaves them, set clears them, and no value can be given.
    assert_eq!(rig.write(Type::Modify, direct(Some(config), None)).await, Ok(()));
    assert_eq!(rig.read(direct(None, empty)).await.unwrap(), [direct(Some(config), colors(1, 1, 2))]);
    assert_eq!(rig.write(Type::Modify, direct(Some(config), colors(0, 1, 0))).await, Err(Code::InvalidArgument));
    assert_eq!(rig.write(Type::Modify, direct(Some(config), empty)).await, Ok(()));
    assert_eq!(rig.read(direct(None, empty)).await.unwrap(), [direct(Some(config), colors(0, 0, 0))]);
    rig.inject(1, &packet);
    assert_eq!(rig.modify(&TableEntry { meter_counter_data: colors(0, 0, 0), ..acl.clone() }).await, Ok(()));
    assert_eq!(rig.entries(query).await.unwrap()[0].meter_counter_data, colors(0, 0, 0));
    let without = TableEntry { meter_counter_data: empty, table_id: rig.table("route"), ..Default::default() };
    assert_eq!(rig.entries(without).await, Err(Code::InvalidArgument));

    // The same of an array's cell.
    let mark = rig.entry("acl", vec![ternary(1, &[9, 1], &[0xff, 0xff])], rig.call("count_and_mark", &[&[2]]));
    assert_eq!(rig.insert(&TableEntry { priority: 1, ..mark }).await, Ok(()));
    let meter_id = rig.info.meters[0].preamble.as_ref().unwrap().id;
    let cell = |counter_data| {
        let index = Some(v1::Index { index: 2 });
        Kind::MeterEntry(v1::MeterEntry { meter_id, index, config: None, counter_data })
    };
    rig.inject(1, &frame(1, 2, 0x0901));
    assert_eq!(rig.read(cell(None)).await.unwrap(), [cell(None)]);
    assert_eq!(rig.read(cell(empty)).await.unwrap(), [cell(colors(1, 0, 0))]);
    assert_eq!(rig.write(Type::Modify, cell(colors(1, 0, 0))).await, Err(Code::InvalidArgument));
    assert_eq!(rig.write(Type::Modify, cell(empty)).await, Ok(()));
    assert_eq!(rig.read(cell(empty)).await.unwrap(), [cell(colors(0, 0, 0))]);
}
