//! Setting and getting the pipeline (P4Runtime 14 and 15).

use bytes::Bytes;
use p4runtime_proto::{
    p4::v1::{
        self, TableEntry, get_forwarding_pipeline_config_request::ResponseType,
        set_forwarding_pipeline_config_request::Action as Set,
    },
    text,
};
use tonic::Code;

use crate::rig::{Controller, DEVICE, Rig, config, ipv4, lpm};

async fn get(rig: &mut Rig, parts: ResponseType) -> Option<v1::ForwardingPipelineConfig> {
    let request = v1::GetForwardingPipelineConfigRequest { device_id: DEVICE, response_type: parts.into() };
    rig.client.get_forwarding_pipeline_config(request).await.unwrap().into_inner().config
}

fn more() -> v1::ForwardingPipelineConfig {
    v1::ForwardingPipelineConfig {
        p4info: Some(text::parse_p4info(include_str!("../programs/p4rt_more.p4info.txtpb")).unwrap()),
        p4_device_config: Bytes::from_static(include_bytes!("../programs/p4rt_more.json")),
        cookie: None,
    }
}

async fn primary(rig: &mut Rig) {
    let mut controller = Controller::open(rig).await;
    controller.hello("", Some(1)).await;
    assert_eq!(controller.status().await, Code::Ok);
    rig.primary = Some(controller);
}

fn code(result: Result<(), tonic::Status>) -> Result<(), Code> {
    result.map_err(|status| status.code())
}

#[tokio::test]
async fn what_was_set_is_what_is_got() {
    let mut rig = Rig::bare().await;
    primary(&mut rig).await;
    assert_eq!(get(&mut rig, ResponseType::All).await, None);
    rig.set(Set::VerifyAndCommit, Some(config())).await.unwrap();
    assert_eq!(get(&mut rig, ResponseType::All).await, Some(config()));
    let none = v1::ForwardingPipelineConfig { cookie: config().cookie, ..Default::default() };
    assert_eq!(get(&mut rig, ResponseType::CookieOnly).await, Some(none.clone()));
    let info = v1::ForwardingPipelineConfig { p4info: config().p4info, ..none.clone() };
    assert_eq!(get(&mut rig, ResponseType::P4infoAndCookie).await, Some(info));
    let json = v1::ForwardingPipelineConfig { p4_device_config: config().p4_device_config, ..none };
    assert_eq!(get(&mut rig, ResponseType::DeviceConfigAndCookie).await, Some(json));
    let request = v1::GetForwardingPipelineConfigRequest { device_id: 1, response_type: 0 };
    let failed = rig.client.get_forwarding_pipeline_config(request).await.unwrap_err();
    assert_eq!(failed.code(), Code::NotFound);
}

#[tokio::test]
async fn a_program_may_come_in_the_message_of_older_controllers() {
    let mut rig = Rig::bare().await;
    primary(&mut rig).await;
    // p4.tmp.P4DeviceConfig: reassign (1), device_data (3).
    let program = config().p4_device_config;
    let mut wrapped = vec![0x08, 1, 0x1a];
    prost::encoding::encode_varint(program.len() as u64, &mut wrapped);
    wrapped.extend(&program);
    let config = v1::ForwardingPipelineConfig { p4_device_config: wrapped.into(), ..config() };
    rig.set(Set::VerifyAndCommit, Some(config.clone())).await.unwrap();
    assert_eq!(get(&mut rig, ResponseType::All).await, Some(config));
    let route = rig.entry("route", vec![lpm(1, &[10, 0, 0, 0], 8)], rig.call("forward", &[&[3]]));
    assert_eq!(rig.insert(&route).await, Ok(()));
    assert_eq!(rig.inject(1, &ipv4([10, 0, 0, 1]))[0].0, 3);
}

#[tokio::test]
async fn what_disagrees_is_refused_and_changes_nothing() {
    let mut rig = Rig::new().await;
    let route = rig.entry("route", vec![lpm(1, &[10, 0, 0, 0], 8)], rig.call("forward", &[&[3]]));
    assert_eq!(rig.insert(&route).await, Ok(()));
    let with = |change: &dyn Fn(&mut v1::ForwardingPipelineConfig)| {
        let mut config = config();
        change(&mut config);
        Some(config)
    };
    let bad = [
        None,
        with(&|c| c.p4info = None),
        with(&|c| c.p4_device_config = Bytes::new()),
        with(&|c| c.p4_device_config = Bytes::from_static(b"{")),
        with(&|c| c.p4_device_config = Bytes::from_static(b"{\"a\": 1}")),
        with(&|c| c.p4info.as_mut().unwrap().tables[1].match_fields[0].bitwidth = 33),
        with(&|c| c.p4info.as_mut().unwrap().tables[1].match_fields.clear()),
        with(&|c| c.p4info.as_mut().unwrap().tables[1].preamble.as_mut().unwrap().name = "x".into()),
        with(&|c| c.p4info.as_mut().unwrap().tables[1].preamble.as_mut().unwrap().id = 0),
        with(&|c| {
            let info = c.p4info.as_mut().unwrap();
            info.tables[1].preamble.as_mut().unwrap().id = info.tables[0].preamble.as_ref().unwrap().id;
        }),
        with(&|c| c.p4info.as_mut().unwrap().tables[1].action_refs[0].id = 5),
        with(&|c| c.p4info.as_mut().unwrap().actions[2].params.clear()),
        with(&|c| c.p4info.as_mut().unwrap().action_profiles.clear()),
        with(&|c| c.p4info.as_mut().unwrap().action_profiles[0].with_selector = false),
        with(&|c| c.p4info.as_mut().unwrap().direct_counters[0].direct_table_id = 0),
        with(&|c| c.p4info.as_mut().unwrap().counters[0].preamble.as_mut().unwrap().name = "x".into()),
        with(&|c| c.p4info.as_mut().unwrap().type_info = None),
    ];
    for (number, config) in bad.into_iter().enumerate() {
        for action in [Set::Verify, Set::VerifyAndSave, Set::VerifyAndCommit, Set::ReconcileAndCommit] {
            let result = code(rig.set(action, config.clone()).await);
            assert_eq!(result, Err(Code::InvalidArgument), "{number} {action:?}");
        }
    }
    assert_eq!(code(rig.set(Set::Unspecified, Some(config())).await), Err(Code::InvalidArgument));
    assert_eq!(code(rig.set(Set::Verify, Some(more())).await), Ok(()));
    assert_eq!(rig.all("route").await, [route]);
    assert_eq!(get(&mut rig, ResponseType::All).await, Some(config()));
    let request = v1::SetForwardingPipelineConfigRequest {
        device_id: DEVICE,
        election_id: Some(crate::rig::id(5)),
        action: Set::Verify.into(),
        config: Some(config()),
        ..Default::default()
    };
    let failed = rig.client.set_forwarding_pipeline_config(request).await.unwrap_err();
    assert_eq!(failed.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn commit_clears_and_save_waits() {
    let mut rig = Rig::new().await;
    let old = rig.entry("route", vec![lpm(1, &[10, 0, 0, 0], 8)], rig.call("forward", &[&[3]]));
    let new = rig.entry("route", vec![lpm(1, &[10, 0, 0, 0], 8)], rig.call("forward", &[&[4]]));
    assert_eq!(rig.insert(&old).await, Ok(()));
    assert_eq!(code(rig.set(Set::Commit, None).await), Err(Code::NotFound));
    assert_eq!(code(rig.set(Set::Commit, Some(config())).await), Err(Code::InvalidArgument));
    // Saved: Writes are for the new pipeline, packets go on through the old one.
    assert_eq!(code(rig.set(Set::VerifyAndSave, Some(config())).await), Ok(()));
    assert_eq!(rig.all("route").await, []);
    assert_eq!(rig.insert(&new).await, Ok(()));
    assert_eq!(rig.inject(1, &ipv4([10, 0, 0, 1]))[0].0, 3);
    assert_eq!(code(rig.set(Set::Commit, None).await), Ok(()));
    assert_eq!(rig.inject(1, &ipv4([10, 0, 0, 1]))[0].0, 4);
    assert_eq!(rig.all("route").await, [new]);
    assert_eq!(code(rig.set(Set::Commit, None).await), Err(Code::NotFound));
    assert_eq!(code(rig.set(Set::VerifyAndCommit, Some(config())).await), Ok(()));
    assert_eq!(rig.all("route").await, []);
    assert_eq!(rig.inject(1, &ipv4([10, 0, 0, 1]))[0].0, 0);
}

#[tokio::test]
async fn reconcile_keeps_the_state() {
    let mut rig = Rig::new().await;
    let route = TableEntry {
        metadata: "kept".into(),
        ..rig.entry("route", vec![lpm(1, &[10, 0, 0, 0], 8)], rig.call("forward", &[&[3]]))
    };
    let default = TableEntry { is_default_action: true, ..rig.entry("route", vec![], rig.call("forward", &[&[6]])) };
    assert_eq!(rig.insert(&route).await, Ok(()));
    assert_eq!(rig.modify(&default).await, Ok(()));
    rig.inject(1, &ipv4([10, 0, 0, 1]));
    let counted =
        TableEntry { counter_data: Some(v1::CounterData { packet_count: 1, byte_count: 34 }), ..route.clone() };
    let query = TableEntry { counter_data: Some(Default::default()), table_id: route.table_id, ..Default::default() };
    // The same pipeline with another cookie, then one with a further table.
    let cookie = Some(v1::forwarding_pipeline_config::Cookie { cookie: 100 });
    let same = v1::ForwardingPipelineConfig { cookie, ..config() };
    for next in [same, more()] {
        assert_eq!(code(rig.set(Set::ReconcileAndCommit, Some(next.clone())).await), Ok(()));
        assert_eq!(get(&mut rig, ResponseType::All).await, Some(next));
        assert_eq!(rig.entries(query.clone()).await.unwrap(), [counted.clone()]);
        assert_eq!(rig.all("fixed").await.len(), 2);
    }
    assert_eq!(rig.inject(1, &ipv4([11, 0, 0, 1]))[0].0, 6);
    assert_eq!(rig.inject(1, &ipv4([10, 0, 0, 1]))[0].0, 3);
    // Back to a program without the table: fine while that is empty, refused when it holds something.
    let info = more().p4info.unwrap();
    let extra = info.tables.iter().find(|t| t.preamble.as_ref().unwrap().alias == "extra").unwrap();
    let entry = TableEntry {
        table_id: extra.preamble.as_ref().unwrap().id,
        ..rig.entry("idle", vec![crate::rig::exact(1, &[1])], rig.call("NoAction", &[]))
    };
    assert_eq!(rig.insert(&entry).await, Ok(()));
    assert_eq!(code(rig.set(Set::ReconcileAndCommit, Some(config())).await), Err(Code::InvalidArgument));
    assert_eq!(rig.entries(TableEntry { table_id: entry.table_id, ..Default::default() }).await.unwrap().len(), 1);
    assert_eq!(rig.delete(&entry).await, Ok(()));
    assert_eq!(code(rig.set(Set::ReconcileAndCommit, Some(config())).await), Ok(()));
    assert_eq!(rig.all("route").await, [route]);
}
