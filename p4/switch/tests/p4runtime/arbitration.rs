//! Primary and backups, roles, and who may write (P4Runtime 5).

use p4runtime_proto::p4::v1::{self, WriteRequest, stream_message_request::Update as Request};
use p4switch::p4runtime::roles::RoleConfig;
use prost::Message;
use tonic::Code;

use crate::rig::{Controller, DEVICE, Rig, config, id};

#[tokio::test]
async fn primary_backup_and_their_succession() {
    let rig = Rig::bare().await;
    let (mut a, mut b) = (Controller::open(&rig).await, Controller::open(&rig).await);
    a.hello("", Some(10)).await;
    assert_eq!(a.status().await, Code::Ok);
    b.hello("", Some(5)).await;
    let told = b.arbitration().await;
    assert_eq!(told.status.unwrap().code, Code::AlreadyExists as i32);
    assert_eq!(told.election_id, Some(id(10)));
    assert_eq!(told.role, None);
    assert_eq!(told.device_id, DEVICE);
    // A deposed primary is told, and so is the new one.
    b.hello("", Some(11)).await;
    assert_eq!(a.status().await, Code::AlreadyExists);
    assert_eq!(b.status().await, Code::Ok);
    // A primary that hangs up leaves no primary behind.
    b.tx = None;
    assert_eq!(b.ended().await, Code::Ok);
    assert_eq!(a.status().await, Code::NotFound);
    a.hello("", Some(10)).await;
    assert_eq!(a.status().await, Code::NotFound);
    a.hello("", Some(12)).await;
    assert_eq!(a.status().await, Code::Ok);
}

#[tokio::test]
async fn errors_end_the_stream() {
    let rig = Rig::bare().await;
    let mut a = Controller::open(&rig).await;
    a.hello_to(DEVICE + 1, "", Some(1)).await;
    assert_eq!(a.ended().await, Code::NotFound);
    let mut a = Controller::open(&rig).await;
    a.hello("", Some(1)).await;
    assert_eq!(a.status().await, Code::Ok);
    let mut b = Controller::open(&rig).await;
    b.hello("", Some(1)).await;
    assert_eq!(b.ended().await, Code::InvalidArgument);
    // A known stream cannot change its role; and with it the primary is gone.
    let mut c = Controller::open(&rig).await;
    c.hello("", None).await;
    assert_eq!(c.status().await, Code::AlreadyExists);
    a.hello("other", Some(1)).await;
    assert_eq!(a.ended().await, Code::FailedPrecondition);
    assert_eq!(c.status().await, Code::NotFound);
}

#[tokio::test]
async fn only_the_primary_writes() {
    let mut rig = Rig::new().await;
    let write = |election_id, role: &str, device_id| WriteRequest {
        device_id,
        election_id,
        role: role.into(),
        ..Default::default()
    };
    let mut client = rig.client.clone();
    let mut code = async |request| client.write(request).await.map(drop).map_err(|s| s.code());
    assert_eq!(code(write(Some(id(1)), "", DEVICE)).await, Ok(()));
    assert_eq!(code(write(Some(id(2)), "", DEVICE)).await, Err(Code::PermissionDenied));
    assert_eq!(code(write(Some(id(0)), "", DEVICE)).await, Err(Code::PermissionDenied));
    assert_eq!(code(write(None, "", DEVICE)).await, Err(Code::PermissionDenied));
    assert_eq!(code(write(Some(id(1)), "nobody", DEVICE)).await, Err(Code::NotFound));
    assert_eq!(code(write(Some(id(1)), "", DEVICE + 1)).await, Err(Code::NotFound));
    // Without a primary nobody writes, also not with its election id.
    let mut primary = rig.primary.take().unwrap();
    primary.tx = None;
    assert_eq!(primary.ended().await, Code::Ok);
    assert_eq!(code(write(Some(id(1)), "", DEVICE)).await, Err(Code::PermissionDenied));
}

#[tokio::test]
async fn checks_before_a_pipeline_is_there() {
    let mut rig = Rig::bare().await;
    let mut a = Controller::open(&rig).await;
    a.hello("", Some(1)).await;
    assert_eq!(a.status().await, Code::Ok);
    let request = WriteRequest { device_id: DEVICE, election_id: Some(id(1)), ..Default::default() };
    assert_eq!(rig.client.write(request).await.unwrap_err().code(), Code::FailedPrecondition);
    let request = v1::ReadRequest { device_id: DEVICE, ..Default::default() };
    assert_eq!(rig.client.read(request.clone()).await.unwrap_err().code(), Code::FailedPrecondition);
    let request = v1::ReadRequest { device_id: 1, ..request };
    assert_eq!(rig.client.read(request).await.unwrap_err().code(), Code::NotFound);
    let capabilities = |device_id| v1::CapabilitiesRequest { device_id };
    let answer = rig.client.capabilities(capabilities(0)).await.unwrap().into_inner();
    assert_eq!(answer.p4runtime_api_version, "1.5.0");
    assert!(rig.client.capabilities(capabilities(DEVICE)).await.is_ok());
    assert_eq!(rig.client.capabilities(capabilities(1)).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_role_writes_and_reads_what_is_its_own() {
    let mut rig = Rig::new().await;
    let config_of = |config: RoleConfig| prost_types::Any {
        type_url: "type.googleapis.com/pergola.p4switch.RoleConfig".into(),
        value: config.encode_to_vec(),
    };
    let role = |config| {
        let role = v1::Role { name: "acl".into(), config: Some(config), ..Default::default() };
        let election_id = Some(id(3));
        v1::MasterArbitrationUpdate { device_id: DEVICE, role: Some(role), election_id, status: None }
    };
    let mut strange = Controller::open(&rig).await;
    let any = prost_types::Any { type_url: "x/y.Z".into(), value: Vec::new() };
    strange.send(Request::Arbitration(role(any))).await;
    assert_eq!(strange.ended().await, Code::InvalidArgument);

    let own = rig.table("keyless");
    let limits = RoleConfig { exclusive_p4_ids: vec![own], ..Default::default() };
    let mut acl = Controller::open(&rig).await;
    acl.send(Request::Arbitration(role(config_of(limits)))).await;
    let told = acl.arbitration().await;
    assert_eq!(told.status.unwrap().code, Code::Ok as i32);
    assert!(told.role.unwrap().config.is_some());

    let entry = |table: &str, rig: &Rig| v1::TableEntry {
        is_default_action: true,
        ..rig.entry(table, Vec::new(), rig.call("forward", &[&[1]]))
    };
    let update = |entry| v1::Update {
        r#type: v1::update::Type::Modify.into(),
        entity: Some(v1::Entity { entity: Some(v1::entity::Entity::TableEntry(entry)) }),
    };
    let (own_entry, other_entry) = (entry("keyless", &rig), entry("idle", &rig));
    let request = WriteRequest {
        device_id: DEVICE,
        role: "acl".into(),
        election_id: Some(id(3)),
        updates: vec![update(own_entry.clone()), update(other_entry)],
        ..Default::default()
    };
    let failed = rig.client.write(request).await.unwrap_err();
    let errors = p4runtime_proto::status::batch_errors(&failed);
    let codes: Vec<_> = errors.iter().map(|e| Code::from(e.canonical_code)).collect();
    assert_eq!(codes, [Code::Ok, Code::PermissionDenied]);
    // What one role owns exclusively is closed to the default role too.
    assert_eq!(rig.modify(&own_entry).await, Err(Code::PermissionDenied));
    let entities = vec![v1::Entity {
        entity: Some(v1::entity::Entity::TableEntry(v1::TableEntry { is_default_action: true, ..Default::default() })),
    }];
    let request = v1::ReadRequest { device_id: DEVICE, role: "acl".into(), entities };
    let mut stream = rig.client.read(request).await.unwrap().into_inner();
    let chunk = stream.message().await.unwrap().unwrap();
    assert_eq!(chunk.entities.len(), 1);
    let request = v1::SetForwardingPipelineConfigRequest {
        device_id: DEVICE,
        role: "acl".into(),
        election_id: Some(id(3)),
        action: 1,
        config: Some(config()),
        ..Default::default()
    };
    let failed = rig.client.set_forwarding_pipeline_config(request).await.unwrap_err();
    assert_eq!(failed.code(), Code::PermissionDenied);
}
