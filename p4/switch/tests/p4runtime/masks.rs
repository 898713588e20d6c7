//! Keys that the program masks (`hdr.x & 0x0f: exact`): entries stay what was written, and match as the mask leaves them.

use p4runtime_proto::p4::v1::TableEntry;
use tonic::Code;

use crate::rig::{Rig, exact};

async fn rig() -> Rig {
    let (json, info) = (include_str!("../programs/alike.json"), include_str!("../programs/alike.p4info.txtpb"));
    Rig::with(json, info).await
}

fn entry(rig: &Rig, key: u8, add: u8) -> TableEntry {
    rig.entry("masked_exact", vec![exact(1, &[key])], rig.call("found", &[&[add]]))
}

/// The program's count of what matched.
fn found(rig: &mut Rig, key: u8) -> u8 {
    rig.inject(1, &[0, key, 0, 0, 0, 0, 0, 0])[0].1[4]
}

#[tokio::test]
async fn an_entry_outside_the_mask_matches_and_reads_as_it_was_written() {
    let mut rig = rig().await;
    let written = entry(&rig, 0x12, 1);
    assert_eq!(rig.insert(&written).await, Ok(()));
    assert_eq!([0x02, 0xf2, 0x13].map(|key| found(&mut rig, key)), [1, 1, 0]);
    assert_eq!(rig.all("masked_exact").await, [written.clone()]);
    // To packets it would be the same, to controllers it is another.
    let other = entry(&rig, 0x02, 3);
    assert_eq!(rig.insert(&other).await, Err(Code::AlreadyExists));
    assert_eq!(rig.modify(&other).await, Err(Code::NotFound));
    assert_eq!(rig.delete(&other).await, Err(Code::NotFound));
    assert_eq!(rig.modify(&entry(&rig, 0x12, 5)).await, Ok(()));
    assert_eq!(found(&mut rig, 0x02), 5);
    assert_eq!(rig.delete(&written).await, Ok(()));
    assert_eq!(found(&mut rig, 0x02), 0);
    assert_eq!(rig.insert(&other).await, Ok(()));
    assert_eq!(rig.all("masked_exact").await, [other]);
    assert_eq!(found(&mut rig, 0x12), 3);
}
