use super::super::site::testing;
use super::super::tree::testing::{path, port};
use super::*;
use serde_json::json;
use tonic::Code;

fn update(text: &str, val: TypedValue) -> Update {
    Update { path: Some(path(text)), val: Some(val), ..Update::default() }
}

fn try_update(text: &str, val: TypedValue) -> Result<Vec<Change>, Status> {
    let request = SetRequest { update: vec![update(text, val)], ..SetRequest::default() };
    let plan = plan(&request, &[port(1, "e1", true), port(2, "e2", true)], &testing())?;
    assert_eq!((plan.add, plan.remove), (vec![], vec![]));
    Ok(plan.changes)
}

fn bool_val(bool: bool) -> TypedValue {
    TypedValue { value: Some(Value::BoolVal(bool)) }
}

#[test]
fn leaves_as_scalars_and_json() {
    let enabled = "/interfaces/interface[name=e2]/config/enabled";
    assert_eq!(try_update(enabled, bool_val(false)).unwrap(), [Change::Enabled(2, false)]);
    assert_eq!(try_update(enabled, json_ietf(&json!(true))).unwrap(), [Change::Enabled(2, true)]);
    let speed = "/interfaces/interface[name=e1]/ethernet/config/port-speed";
    let value = json_ietf(&json!("openconfig-if-ethernet:SPEED_25GB"));
    assert_eq!(try_update(speed, value).unwrap(), [Change::Speed(1, 25_000_000_000)]);
    let all = "/interfaces/interface[name=*]/config/enabled";
    assert_eq!(try_update(all, bool_val(false)).unwrap(), [Change::Enabled(1, false), Change::Enabled(2, false)]);
}

#[test]
fn containers() {
    let value = json!({"openconfig-interfaces:config": {"name": "e1", "enabled": false},
        "openconfig-if-ethernet:ethernet": {"config": {"port-speed": "SPEED_1GB"}}});
    let changes = try_update("/interfaces/interface[name=e1]", json_ietf(&value)).unwrap();
    assert_eq!(changes, [Change::Enabled(1, false), Change::Speed(1, 1_000_000_000)]);
    let list = json!({"interface": [{"name": "e2", "config": {"enabled": false}}]});
    assert_eq!(try_update("/interfaces", json_ietf(&list)).unwrap(), [Change::Enabled(2, false)]);
}

#[test]
fn replace_and_delete_go_back_to_defaults() {
    let at = "/interfaces/interface[name=e1]/config";
    let request = SetRequest {
        delete: vec![path("/interfaces/interface[name=e2]/ethernet/config/port-speed")],
        replace: vec![update(at, json_ietf(&json!({"name": "e1"})))],
        ..SetRequest::default()
    };
    let plan = plan(&request, &[port(1, "e1", true), port(2, "e2", true)], &testing()).unwrap();
    assert_eq!(plan.changes, [Change::Enabled(1, true), Change::DefaultSpeed(2)]);
    assert_eq!(plan.done.iter().map(|(_, op)| *op).collect::<Vec<_>>(), [Operation::Delete, Operation::Replace]);
}

fn config(name: &str, more: Json) -> Update {
    let mut value = json!({"name": name, "type": "iana-if-type:ethernetCsmacd"});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    update(&format!("/interfaces/interface[name={name}]/config"), json_ietf(&value))
}

fn planned(request: &SetRequest) -> Result<Plan, Status> {
    plan(request, &[port(1, "e1", true), port(2, "e2", true)], &testing())
}

fn new(no: PortNo, name: &str, interface: &str, enabled: bool) -> New {
    New { no, name: name.into(), interface: interface.into(), enabled, speed_bps: None }
}

#[test]
fn interfaces_are_made_leaf_by_leaf() {
    let text = |text: &str| TypedValue { value: Some(Value::StringVal(text.into())) };
    let request = SetRequest {
        prefix: Some(path("/interfaces/interface[name=1-3@veth0]/config")),
        update: vec![
            update("/name", text("1-3@veth0")),
            update("/type", text("iana-if-type:ethernetCsmacd")),
            update("/enabled", bool_val(false)),
        ],
        ..SetRequest::default()
    };
    let plan = planned(&request).unwrap();
    assert_eq!(plan.add, [new(3, "1-3@veth0", "veth0", false)]);
    assert_eq!((plan.remove, plan.changes, plan.done.len()), (vec![], vec![], 3));
}

#[test]
fn interfaces_are_made_from_json() {
    let update = vec![config("veth7", json!({"openconfig-p4rt:id": 7})), config("1-8@veth8", json!({"id": 8}))];
    let plan = planned(&SetRequest { update, ..SetRequest::default() }).unwrap();
    assert_eq!(plan.add, [new(7, "veth7", "veth7", true), new(8, "1-8@veth8", "veth8", true)]);
    // A list replaces all: what it does not name goes.
    let list = json!({"openconfig-interfaces:interface": [
        {"name": "e2", "config": {"name": "e2", "type": "ethernetCsmacd", "enabled": false}},
        {"name": "1-9@e1", "config": {"name": "1-9@e1", "type": "ethernetCsmacd", "enabled": true},
         "ethernet": {"config": {"port-speed": "SPEED_1GB"}}},
    ]});
    let replace = vec![self::update("/interfaces", json_ietf(&list))];
    let plan = planned(&SetRequest { replace, ..SetRequest::default() }).unwrap();
    assert_eq!(plan.remove, [1]);
    assert_eq!(plan.add, [New { speed_bps: Some(1_000_000_000), ..new(9, "1-9@e1", "e1", true) }]);
    assert_eq!(plan.changes, [Change::Enabled(2, false), Change::DefaultSpeed(2)]);
    let nothing = vec![self::update("/interfaces", json_ietf(&json!({"interface": []})))];
    assert_eq!(planned(&SetRequest { replace: nothing, ..SetRequest::default() }).unwrap().remove, [1, 2]);
}

#[test]
fn interfaces_that_are_there_answer_to_their_other_name() {
    let update = vec![config("1-2@e2", json!({"enabled": false}))];
    let plan = planned(&SetRequest { update, ..SetRequest::default() }).unwrap();
    assert_eq!((plan.add, plan.changes), (vec![], vec![Change::Enabled(2, false)]));
    let delete = vec![path("/interfaces/interface[name=1-1@e1]")];
    assert_eq!(planned(&SetRequest { delete, ..SetRequest::default() }).unwrap().remove, [1]);
}

#[test]
fn interfaces_are_deleted() {
    let removed = |text: &str| planned(&SetRequest { delete: vec![path(text)], ..SetRequest::default() });
    for (text, gone) in [
        ("/interfaces/interface[name=e2]", &[2][..]),
        ("/interfaces/interface[name=e2]/...", &[2]),
        ("/interfaces/interface/...", &[1, 2]),
        ("/interfaces", &[1, 2]),
        ("/interfaces/interface[name=e9]", &[]),
        ("/interfaces/interface[name=e9]/config/enabled", &[]),
    ] {
        let plan = removed(text).unwrap();
        assert_eq!((&plan.remove[..], plan.changes), (gone, vec![]), "{text}");
    }
}

#[test]
fn what_is_deleted_and_made_again_stays() {
    let request = SetRequest {
        delete: vec![path("/interfaces/interface/...")],
        update: vec![config("e1", json!({"id": 1})), config("1-2@other", json!({}))],
        ..SetRequest::default()
    };
    let plan = planned(&request).unwrap();
    assert_eq!(plan.changes, [Change::Enabled(1, true), Change::DefaultSpeed(1)]);
    // The same number for something else.
    assert_eq!((plan.remove, plan.add), (vec![2], vec![new(2, "1-2@other", "other", true)]));
}

#[test]
fn what_cannot_be_made_is_refused_whole() {
    for (update, code, part) in [
        (config("2-3@veth0", json!({})), Code::InvalidArgument, "interface 2-3@veth0: device id 2; this is device 1"),
        (config("veth0", json!({})), Code::InvalidArgument, "config/id: missing"),
        (config("1-3@veth0", json!({"type": "softwareLoopback"})), Code::InvalidArgument, "allowed are iana-if-type"),
        (config("1-3@veth0", json!({"name": "1-4@veth0"})), Code::InvalidArgument, "config/name: read-only"),
        (config("1-3@veth0", json!({"mtu": 9000})), Code::InvalidArgument, "3 leaves, of which 2 are known"),
        (config("1-2@veth0", json!({})), Code::AlreadyExists, "port 2 is interface e2 already"),
        (config("1-3@e2", json!({})), Code::AlreadyExists, "e2 is port 2 already"),
        (update("/interfaces/interface[name=1-3@veth0]/config/enabled", bool_val(true)), Code::NotFound, "config/type"),
    ] {
        let good = config("1-9@veth9", json!({}));
        let request = SetRequest { update: vec![good, update], ..SetRequest::default() };
        let error = planned(&request).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(part), "{error}");
    }
}

#[test]
fn errors_name_the_field() {
    let enabled = "/interfaces/interface[name=e1]/config/enabled";
    for (text, value, code, part) in [
        (enabled, json_ietf(&json!("no")), Code::InvalidArgument, "allowed are true and false"),
        (enabled, TypedValue::default(), Code::InvalidArgument, "val: missing"),
        ("/interfaces/interface[name=e9]/config/enabled", bool_val(true), Code::NotFound, "no such interface"),
        (
            "/interfaces/interface[name=e1]/state/oper-status",
            json_ietf(&json!("UP")),
            Code::InvalidArgument,
            "read-only",
        ),
        ("/interfaces/interface[name=e1]/config", bool_val(true), Code::InvalidArgument, "scalar for a container"),
        (
            "/interfaces/interface[name=e1]/config",
            json_ietf(&json!({"colour": 1})),
            Code::InvalidArgument,
            "0 are known",
        ),
        (
            "/interfaces/interface[name=e1]/config",
            json_ietf(&json!({"name": "e2"})),
            Code::InvalidArgument,
            "read-only",
        ),
        (
            "/interfaces/interface[name=e1]/ethernet/config/port-speed",
            json_ietf(&json!("SPEED_3GB")),
            Code::InvalidArgument,
            "SPEED_10GB",
        ),
    ] {
        let error = try_update(text, value).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(part), "{error}");
    }
    let delete = vec![path("/interfaces/interface[name=e1]/state/ifindex")];
    let error = plan(&SetRequest { delete, ..SetRequest::default() }, &[port(1, "e1", true)], &testing());
    let error = error.unwrap_err();
    assert!(error.message().contains("read-only"));
}
