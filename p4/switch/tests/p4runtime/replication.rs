//! Multicast groups and clone sessions (P4Runtime 9.5).

use p4runtime_proto::p4::v1::{
    self, entity::Entity as Kind, packet_replication_engine_entry::Type as Engine, replica, update::Type,
};
use tonic::Code;

use crate::rig::{Rig, frame, ipv4, lpm, ternary};

fn replica(port: &'static [u8], instance: u32, backups: &[(&'static [u8], u32)]) -> v1::Replica {
    let backup =
        |(port, instance): &(&'static [u8], u32)| v1::BackupReplica { port: (*port).into(), instance: *instance };
    v1::Replica {
        instance,
        port_kind: Some(replica::PortKind::Port(port.into())),
        backup_replicas: backups.iter().map(backup).collect(),
    }
}

fn group(id: u32, replicas: Vec<v1::Replica>) -> Kind {
    let entry = v1::MulticastGroupEntry { multicast_group_id: id, replicas, metadata: "m".into() };
    let r#type = Some(Engine::MulticastGroupEntry(entry));
    Kind::PacketReplicationEngineEntry(v1::PacketReplicationEngineEntry { r#type })
}

fn session(session_id: u32, replicas: Vec<v1::Replica>, packet_length_bytes: i32) -> Kind {
    let entry = v1::CloneSessionEntry { session_id, replicas, class_of_service: 0, packet_length_bytes };
    let r#type = Some(Engine::CloneSessionEntry(entry));
    Kind::PacketReplicationEngineEntry(v1::PacketReplicationEngineEntry { r#type })
}

#[tokio::test]
async fn multicast_groups() {
    let mut rig = Rig::new().await;
    let to_group = rig.entry("route", vec![lpm(1, &[10, 0, 0, 0], 8)], rig.call("set_group", &[&[1]]));
    assert_eq!(rig.insert(&to_group).await, Ok(()));
    let ports = |rig: &Rig| {
        let mut ports: Vec<_> = rig.inject(1, &ipv4([10, 0, 0, 1])).iter().map(|(p, _)| *p).collect();
        ports.sort_unstable();
        ports
    };
    assert_eq!(ports(&rig), [0u32; 0]);
    let first = group(1, vec![replica(&[2], 1, &[]), replica(&[3], 1, &[]), replica(&[3], 2, &[])]);
    assert_eq!(rig.write(Type::Modify, first.clone()).await, Err(Code::NotFound));
    assert_eq!(rig.write(Type::Insert, first.clone()).await, Ok(()));
    assert_eq!(rig.write(Type::Insert, first.clone()).await, Err(Code::AlreadyExists));
    assert_eq!(ports(&rig), [2, 3, 3]);
    assert_eq!(rig.read(group(1, vec![])).await.unwrap(), [first.clone()]);
    assert_eq!(rig.read(group(0, vec![])).await.unwrap(), [first.clone()]);
    assert_eq!(rig.read(group(2, vec![])).await.unwrap(), []);
    let bad = [
        group(0, vec![]),
        group(70_000, vec![]),
        group(2, vec![replica(&[2], 1, &[]), replica(&[0, 2], 1, &[])]),
        group(2, vec![replica(&[2, 0], 1, &[])]),
        group(2, vec![replica(&[2], 70_000, &[])]),
        group(2, vec![replica(&[2], 1, &[(&[2], 5)])]),
        group(2, vec![v1::Replica::default()]),
    ];
    for entity in bad {
        assert_eq!(rig.write(Type::Insert, entity.clone()).await, Err(Code::InvalidArgument), "{entity:?}");
    }
    // A replica goes to its first backup that is up, and home again.
    let backed = group(1, vec![replica(&[2], 1, &[(&[4], 2), (&[5], 3)])]);
    assert_eq!(rig.write(Type::Modify, backed.clone()).await, Ok(()));
    assert_eq!(rig.read(group(1, vec![])).await.unwrap(), [backed]);
    assert_eq!(ports(&rig), [2]);
    for (port, up, wanted) in
        [(2, false, &[4][..]), (4, false, &[5]), (5, false, &[]), (4, true, &[4]), (2, true, &[2])]
    {
        rig.switch.set_port_up(port, up);
        assert!(rig.events.port_changed(port));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while ports(&rig) != wanted {
            assert!(std::time::Instant::now() < deadline, "port {port} {up}");
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(rig.write(Type::Delete, group(1, vec![])).await, Ok(()));
    assert_eq!(rig.write(Type::Delete, group(1, vec![])).await, Err(Code::NotFound));
    assert_eq!(ports(&rig), [0u32; 0]);
}

#[tokio::test]
async fn clone_sessions() {
    let mut rig = Rig::new().await;
    let mirror = v1::TableEntry {
        priority: 1,
        ..rig.entry("acl", vec![ternary(1, &[0x12, 0x34], &[0xff, 0xff])], rig.call("mirror", &[&[100]]))
    };
    assert_eq!(rig.insert(&mirror).await, Ok(()));
    let sent = frame(1, 2, 0x1234);
    assert_eq!(rig.inject(1, &sent).len(), 1);
    let first = session(100, vec![replica(&[7], 1, &[])], 16);
    assert_eq!(rig.write(Type::Insert, first.clone()).await, Ok(()));
    assert_eq!(rig.write(Type::Insert, first.clone()).await, Err(Code::AlreadyExists));
    let out = rig.inject(1, &sent);
    assert!(out.contains(&(7, sent[..16].to_vec())), "{out:?}");
    assert!(out.contains(&(0, sent.clone())), "{out:?}");
    assert_eq!(rig.read(session(0, vec![], 0)).await.unwrap(), [first.clone()]);
    assert_eq!(rig.write(Type::Insert, session(0, vec![], 0)).await, Err(Code::InvalidArgument));
    assert_eq!(rig.write(Type::Insert, session(5, vec![], -1)).await, Err(Code::InvalidArgument));
    let whole = session(100, vec![replica(&[8], 1, &[])], 0);
    assert_eq!(rig.write(Type::Modify, whole).await, Ok(()));
    assert!(rig.inject(1, &sent).contains(&(8, sent.clone())));
    assert_eq!(rig.write(Type::Delete, session(100, vec![], 0)).await, Ok(()));
    assert_eq!(rig.write(Type::Delete, first).await, Err(Code::NotFound));
    assert_eq!(rig.inject(1, &sent).len(), 1);
}
