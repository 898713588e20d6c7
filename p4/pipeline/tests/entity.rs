//! Entities survive packing and the way over P4Runtime, in one canonical form.
#![allow(clippy::unwrap_used)]

use p4runtime_proto::p4::v1;
use pergola_pipeline::entity::{KeyView, ValueView};
use pergola_pipeline::{
    Action, DirectExtras, Entity, EntityKey, EntityValue, Kind, Match, MeterConfig, OneShotMember, P4Value, Replica,
    TableEntryBuilder,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn value() -> impl Strategy<Value = P4Value> {
    vec(any::<u8>(), 1..40).prop_map(|b| P4Value::new(&b))
}

fn a_match() -> impl Strategy<Value = Match> {
    prop_oneof![
        value().prop_map(Match::Exact),
        (value(), 1..129u32).prop_map(|(v, n)| Match::Lpm(v, n)),
        (value(), value()).prop_filter_map("mask 0", |(v, m)| (!m.is_zero()).then(|| Match::Ternary(v.masked(&m), m))),
        (value(), value()).prop_map(|(a, b)| Match::Range(a, b)),
        value().prop_map(Match::Optional),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    (any::<u32>(), proptest::collection::btree_map(1..300u32, value(), 0..4)).prop_map(|(id, p)| Action::new(id, p))
}

fn meter() -> impl Strategy<Value = MeterConfig> {
    let n = 0..i64::MAX as u64;
    (n.clone(), n.clone(), n.clone(), n).prop_map(|(cir, cburst, pir, pburst)| MeterConfig { cir, cburst, pir, pburst })
}

fn extras() -> impl Strategy<Value = DirectExtras> {
    (0..1000u64, proptest::option::of(meter()), vec(any::<u8>(), 0..4))
        .prop_map(|(idle_timeout_ns, meter, metadata)| DirectExtras { idle_timeout_ns, meter, metadata })
}

fn replicas() -> impl Strategy<Value = Vec<Replica>> {
    vec((any::<u32>(), any::<u32>()).prop_map(|(port, instance)| Replica { port, instance }), 0..5)
}

fn table_entity() -> impl Strategy<Value = Entity> {
    let fields = proptest::collection::btree_map(1..300u32, a_match(), 0..4);
    let one_shot = vec((action(), 1..100u32, proptest::option::of(value())), 0..4).prop_map(|set| {
        set.into_iter()
            .map(|(action, weight, watch_port)| OneShotMember { action, weight, watch_port })
            .collect::<Vec<_>>()
    });
    let value = prop_oneof![
        (action(), extras()).prop_map(|(action, extras)| ValueView::Action { action, extras }),
        (one_shot, extras()).prop_map(|(mut members, extras)| {
            members.sort();
            ValueView::OneShot { members, extras }
        }),
        (any::<u32>(), extras()).prop_map(|(id, extras)| ValueView::MemberRef { id, extras }),
        (any::<u32>(), extras()).prop_map(|(id, extras)| ValueView::GroupRef { id, extras }),
    ];
    (any::<u32>(), 0..i32::MAX as u32, fields, value).prop_map(|(table, priority, fields, value)| {
        let key = KeyView::Table { table, priority, fields: fields.into_iter().collect() };
        Entity::new(key.pack(), value.pack())
    })
}

fn entity() -> impl Strategy<Value = Entity> {
    let members = proptest::collection::btree_set((any::<u32>(), 0..100u32, proptest::option::of(value())), 0..4);
    prop_oneof![
        table_entity(),
        (any::<u32>(), action()).prop_map(|(t, a)| Entity::default_action(t, a)),
        (any::<u32>(), replicas()).prop_map(|(id, r)| Entity::multicast_group(id, r)),
        (any::<u32>(), replicas(), any::<u32>(), 0..9000i32)
            .prop_map(|(id, r, class, len)| Entity::clone_session(id, r, class, len)),
        (any::<u32>(), 0..i64::MAX, meter()).prop_map(|(id, index, m)| Entity::meter(id, index, m)),
        (any::<u32>(), any::<u32>(), action()).prop_map(|(profile, id, action)| {
            let value = ValueView::Action { action, extras: DirectExtras::default() };
            Entity::new(KeyView::Member { profile, id }.pack(), value.pack())
        }),
        (any::<u32>(), any::<u32>(), 0..9u32, members).prop_map(|(profile, id, max_size, members)| {
            let value = ValueView::Members { max_size, members: members.into_iter().collect() };
            Entity::new(KeyView::Group { profile, id }.pack(), value.pack())
        }),
    ]
}

proptest! {
    #[test]
    fn every_entity_comes_back_from_protobuf(e in entity()) {
        prop_assert_eq!(Entity::from_proto(&e.to_proto()), Ok(e));
    }

    #[test]
    fn every_entity_comes_back_from_its_bytes(e in entity()) {
        prop_assert_eq!(EntityKey::from_bytes(e.key.as_bytes()), Some(e.key.clone()));
        prop_assert_eq!(EntityValue::from_bytes(e.value.as_bytes()), Some(e.value.clone()));
        prop_assert_eq!(e.key.view().pack(), e.key);
        prop_assert_eq!(e.value.view().pack(), e.value);
    }

    #[test]
    fn foreign_bytes_are_refused_or_canonical(b in vec(any::<u8>(), 0..40)) {
        if let Some(key) = EntityKey::from_bytes(&b) {
            prop_assert_eq!(key.view().pack(), key);
        }
        if let Some(value) = EntityValue::from_bytes(&b) {
            prop_assert_eq!(value.view().pack(), value);
        }
    }

    #[test]
    fn a_key_names_its_object(table in any::<u32>(), m in a_match()) {
        let fields = [(1, m)].into_iter().collect();
        let key = KeyView::Table { table, priority: 7, fields }.pack();
        prop_assert_eq!(key.table_id(), Some(table));
        prop_assert_eq!(key.kind(), Kind::TernaryEntry);
    }
}

#[test]
fn field_order_leading_zeros_and_dont_cares_make_no_difference() {
    let one = TableEntryBuilder::new(5).exact(2, 7u32).ternary(1, [0, 0, 0xab, 0xcd], 0xff00u16).priority(3);
    let other = TableEntryBuilder::new(5)
        .ternary(1, 0xab00u16, [0xff, 0])
        .exact(2, 7u8)
        .ternary(9, 1u8, 0u8)
        .lpm(8, 0u8, 0)
        .optional(7, None::<u8>)
        .priority(3);
    assert_eq!(
        one.clone().action(1).param(2, 1u8).param(1, 2u8).build(),
        other.clone().action(1).param(1, 2u16).param(2, 1u64).build()
    );
    assert_eq!(one.key(), other.key());
}

#[test]
fn the_order_of_a_one_shot_set_makes_no_difference() {
    let member = |port: u16| (Action::new(9, [(1, port.into())]), 1, Some(port));
    let one = TableEntryBuilder::new(5).exact(1, 7u32).one_shot([member(1), member(2)]).build();
    let other = TableEntryBuilder::new(5).exact(1, 7u32).one_shot([member(2), member(1)]).build();
    let changed = TableEntryBuilder::new(5).exact(1, 7u32).one_shot([member(2), member(3)]).build();
    assert_eq!(one, other);
    assert_eq!(one.key, changed.key);
    assert_ne!(one.value, changed.value);
    assert_ne!(one.value.fingerprint(), changed.value.fingerprint());
}

#[test]
fn routes_are_packed_without_an_allocation() {
    let v4 = TableEntryBuilder::new(0x0200_0001).lpm(1, [10u8, 1, 2, 0], 24).action(3).param(1, 1_000_000u32).build();
    let v6 = TableEntryBuilder::new(0x0200_0001)
        .lpm(1, [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 128)
        .action(3)
        .param(1, 1_000_000u32)
        .build();
    for e in [v4, v6] {
        assert!(e.key.as_bytes().len() <= 32, "{:?} takes {} bytes", e.key, e.key.as_bytes().len());
        assert!(e.value.as_bytes().len() <= 16);
    }
    assert!(size_of::<Entity>() <= 64);
}

#[test]
#[allow(deprecated)]
fn both_forms_of_a_replica_and_of_a_watch_port_are_read() {
    use v1::replica::PortKind;
    let group = |port_kind| {
        let group = v1::MulticastGroupEntry {
            multicast_group_id: 4,
            replicas: vec![v1::Replica { port_kind: Some(port_kind), instance: 1, ..Default::default() }],
            ..Default::default()
        };
        let pre = v1::PacketReplicationEngineEntry {
            r#type: Some(v1::packet_replication_engine_entry::Type::MulticastGroupEntry(group)),
        };
        let entity = v1::entity::Entity::PacketReplicationEngineEntry(pre);
        Entity::from_proto(&v1::Entity { entity: Some(entity) }).unwrap()
    };
    let number = group(PortKind::EgressPort(258));
    let string = group(PortKind::Port(vec![0, 1, 2].into()));
    assert_eq!(number, string);
    assert_eq!(number, Entity::multicast_group(4, [Replica { port: 258, instance: 1 }]));
}

#[test]
fn what_a_plan_does_not_hold_is_named() {
    let counter = v1::Entity { entity: Some(v1::entity::Entity::CounterEntry(v1::CounterEntry::default())) };
    assert!(Entity::from_proto(&counter).unwrap_err().to_string().contains("counter_entry"));
    let negative = v1::TableEntry { priority: -1, ..Default::default() };
    let negative = v1::Entity { entity: Some(v1::entity::Entity::TableEntry(negative)) };
    assert_eq!(Entity::from_proto(&negative).unwrap_err().to_string(), "priority is -1, 0 to 4294967295 is allowed");
}
