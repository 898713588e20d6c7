//! Tables with entries of the program that controllers may change (P4Runtime 9.1.5).

use p4runtime_proto::p4::v1::{
    Entity, TableEntry, Update, entity::Entity as Kind, update::Type, write_request::Atomicity,
};
use tonic::Code;

use crate::rig::{Rig, exact, frame, ternary};

async fn rig() -> Rig {
    let (json, info) = (include_str!("../programs/preset.json"), include_str!("../programs/preset.p4info.txtpb"));
    Rig::with(json, info).await
}

fn by_dst(rig: &Rig, dst: u8, port: u8) -> TableEntry {
    rig.entry("by_dst", vec![exact(1, &[dst])], rig.call("forward", &[&[port]]))
}

fn by_type(rig: &Rig, priority: i32, key: &[(&[u8], &[u8])], new: u8) -> TableEntry {
    let key = key.iter().map(|(value, mask)| ternary(1, value, mask)).collect();
    TableEntry { priority, ..rig.entry("by_type", key, rig.call("rewrite", &[&[new]])) }
}

#[tokio::test]
async fn entries_without_const_can_be_changed_and_count() {
    let mut rig = rig().await;
    let mut found = rig.all("by_dst").await;
    found.sort_by_key(|entry| format!("{:?}", entry.r#match));
    let (one, two) = (by_dst(&rig, 1, 3), by_dst(&rig, 2, 4));
    assert_eq!(found, [one.clone(), two.clone()]);
    assert_eq!(rig.inject(1, &frame(1, 9, 5))[0].0, 3);
    assert_eq!(rig.insert(&one).await, Err(Code::AlreadyExists));
    // Two of the three that the table holds are the program's.
    assert_eq!(rig.insert(&by_dst(&rig, 3, 5)).await, Ok(()));
    assert_eq!(rig.insert(&by_dst(&rig, 4, 6)).await, Err(Code::ResourceExhausted));
    assert_eq!(rig.delete(&one).await, Ok(()));
    assert_eq!(rig.inject(1, &frame(1, 9, 5))[0].0, 0);
    assert_eq!(rig.insert(&by_dst(&rig, 4, 6)).await, Ok(()));
    assert_eq!(rig.modify(&by_dst(&rig, 2, 7)).await, Ok(()));
    assert_eq!(rig.inject(1, &frame(2, 9, 5))[0].0, 7);
    assert_eq!(rig.modify(&one).await, Err(Code::NotFound));
}

#[tokio::test]
async fn the_order_of_the_program_is_priorities() {
    let mut rig = rig().await;
    let mut found = rig.all("by_type").await;
    found.sort_by_key(|entry| -entry.priority);
    let initial = [
        by_type(&rig, 3, &[(&[0x81, 0], &[0xff, 0xff])], 1),
        by_type(&rig, 2, &[(&[0x80, 0], &[0xf0, 0])], 2),
        by_type(&rig, 1, &[], 3),
    ];
    assert_eq!(found, initial);
    let rewritten = |rig: &Rig, kind| rig.inject(1, &frame(1, 9, kind))[0].1[13];
    assert_eq!([0x8100, 0x8101, 0x0800].map(|kind| rewritten(&rig, kind)), [1, 2, 3]);
    // Between the first and the second, with the second's priority and another key.
    assert_eq!(rig.insert(&by_type(&rig, 4, &[(&[0x81, 1], &[0xff, 0xff])], 9)).await, Ok(()));
    assert_eq!(rewritten(&rig, 0x8101), 9);
    assert_eq!(rig.delete(&initial[0]).await, Ok(()));
    assert_eq!(rewritten(&rig, 0x8100), 2);
    assert_eq!(rig.modify(&by_type(&rig, 1, &[], 8)).await, Ok(()));
    assert_eq!(rewritten(&rig, 0x0800), 8);
    // A batch that fails puts them back.
    let update = |kind: Type, entry: &TableEntry| Update {
        r#type: kind.into(),
        entity: Some(Entity { entity: Some(Kind::TableEntry(entry.clone())) }),
    };
    let updates = vec![update(Type::Delete, &initial[1]), update(Type::Delete, &initial[0])];
    assert!(rig.batch(updates, Atomicity::RollbackOnError).await.is_err());
    assert_eq!(rewritten(&rig, 0x8100), 2);
}
