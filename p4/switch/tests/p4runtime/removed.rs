//! P4Info as p4c writes it before it optimises, with a program from which the compiler removed what no packet reaches.

use p4runtime_proto::p4::{
    config::v1::P4Info,
    v1::{
        self, CounterEntry, DigestEntry, TableEntry, digest_entry, entity::Entity as Kind, p4_data::Data,
        stream_message_response::Update as Response, update::Type,
    },
};
use tonic::Code;

use crate::rig::{CPU, Rig, exact, frame};

async fn rig() -> Rig {
    Rig::with(include_str!("../programs/removed.json"), include_str!("../programs/removed.p4info.txtpb")).await
}

/// A frame with tags of these numbers.
fn tagged(numbers: &[u8]) -> Vec<u8> {
    let mut frame = frame(0, 5, 0x1234);
    let tags = numbers.iter().enumerate().flat_map(|(at, &number)| [u8::from(at + 1 < numbers.len()), number]);
    frame.splice(14..14, tags);
    frame
}

#[tokio::test]
async fn what_the_compiler_removed_can_be_named_and_not_written() {
    let mut rig = rig().await;
    let removed = ["gone_exact", "gone_metered", "gone_indirect", "gone_selected"];
    let program = include_str!("../programs/removed.json");
    assert!(removed.iter().all(|name| !program.contains(&format!("MainIngress.{name}\""))));
    for name in removed {
        let entry = rig.entry(name, vec![exact(1, &[1])], rig.call("forward", &[&[1]]));
        assert_eq!(rig.insert(&entry).await, Err(Code::Unimplemented), "{name}");
    }
    let counter_id = {
        let P4Info { direct_counters, .. } = &rig.info;
        direct_counters[0].preamble.as_ref().unwrap().id
    };
    let counter = Kind::CounterEntry(CounterEntry { counter_id, ..Default::default() });
    assert!(rig.read(counter).await.is_err());
    // What is left works, and reading everything skips what is not there.
    let entry = rig.entry("by_outcome", vec![exact(1, &[0])], rig.call("forward", &[&[3]]));
    assert_eq!(rig.insert(&entry).await, Ok(()));
    assert_eq!(rig.entries(TableEntry::default()).await, Ok(vec![entry]));
    assert_eq!(rig.inject(1, &frame(1, 2, 3))[0].0, 3);
}

#[tokio::test]
async fn packets_come_without_a_header_that_was_removed() {
    let mut rig = rig().await;
    assert_eq!(rig.info.controller_packet_metadata.len(), 1);
    let entry = rig.entry("by_outcome", vec![exact(1, &[0])], rig.call("forward", &[&CPU.to_be_bytes()[2..]]));
    assert_eq!(rig.insert(&entry).await, Ok(()));
    let sent = frame(1, 2, 3);
    rig.inject(1, &sent);
    let Some(Response::Packet(packet)) = rig.primary().next().await.unwrap() else { panic!() };
    assert_eq!((&packet.payload[6..], packet.metadata), (&sent[6..], vec![]));
}

#[tokio::test]
async fn errors_are_keys_as_wide_as_the_program_has_them() {
    let mut rig = rig().await;
    let no_match = rig.entry("by_outcome", vec![exact(1, &[2])], rig.call("forward", &[&[4]]));
    assert_eq!(rig.insert(&no_match).await, Ok(()));
    assert_eq!(rig.inject(1, &tagged(&[7]))[0].0, 0);
    assert_eq!(rig.inject(1, &tagged(&[9]))[0].0, 4);
}

#[tokio::test]
async fn the_last_element_of_a_stack_is_copied_as_a_whole() {
    let rig = rig().await;
    assert_eq!(rig.inject(1, &tagged(&[7]))[0].1[5], 7);
    assert_eq!(rig.inject(1, &tagged(&[7, 8]))[0].1[5], 8);
}

#[tokio::test]
async fn a_digest_of_a_list_is_known_by_its_members() {
    let mut rig = rig().await;
    let digest_id = rig.info.digests[0].preamble.as_ref().unwrap().id;
    let config = Some(digest_entry::Config { max_timeout_ns: 0, max_list_size: 1, ack_timeout_ns: 0 });
    let entry = Kind::DigestEntry(DigestEntry { digest_id, config });
    assert_eq!(rig.write(Type::Insert, entry).await, Ok(()));
    rig.inject(6, &frame(1, 5, 3));
    let Some(Response::Digest(list)) = rig.primary().next().await.unwrap() else { panic!() };
    let Some(Data::Struct(sample) | Data::Tuple(sample)) = &list.data[0].data else { panic!("{list:?}") };
    let bits = |value: &[u8]| v1::P4Data { data: Some(Data::Bitstring(bytes::Bytes::copy_from_slice(value))) };
    assert_eq!(sample.members, [bits(&[5]), bits(&[6])]);
}
