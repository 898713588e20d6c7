//! gNMI Set: from deletes, replaces and updates (in this order) to ports that are made, removed and changed. Nothing is changed
//! unless all of it is valid (gNMI 0.8 §3.4).

use super::candidate::{Candidate, Change, Interface, New, Speed, Steps};
use super::site::Site;
use super::tree::{self, Leaf, LeafValue, Pattern};
use crate::ports::{PortInfo, PortNo};
use p4runtime_proto::gnmi::{Path, SetRequest, TypedValue, Update, typed_value::Value, update_result::Operation};
use serde_json::Value as Json;
use tonic::Status;

/// What a request asks for: the steps, and each path with its operation for the answer.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub remove: Vec<PortNo>,
    pub add: Vec<New>,
    pub changes: Vec<Change>,
    pub done: Vec<(Path, Operation)>,
}

/// Checks a whole request against the ports.
///
/// # Errors
/// INVALID_ARGUMENT for a value, path or name that cannot be set, NOT_FOUND for an interface that is not there and not fully
/// described, ALREADY_EXISTS for a new one whose port is in use.
pub fn plan(request: &SetRequest, ports: &[PortInfo], site: &Site) -> Result<Plan, Status> {
    let mut candidate = Candidate::new(ports);
    let mut done = Vec::new();
    let prefix = request.prefix.as_ref();
    for path in &request.delete {
        delete(prefix, path, &mut candidate)?;
        done.push((path.clone(), Operation::Delete));
    }
    let replaces = request.replace.iter().map(|update| (update, Operation::Replace));
    let updates = request.update.iter().map(|update| (update, Operation::Update));
    for (update, operation) in replaces.chain(updates) {
        one(prefix, update, operation, &mut candidate)?;
        done.push((update.path.clone().unwrap_or_default(), operation));
    }
    let Steps { remove, add, changes } = candidate.steps(site)?;
    Ok(Plan { remove, add, changes, done })
}

/// Deletes what a path selects. What is not there is deleted already (gNMI 0.8 §3.4.6).
fn delete(prefix: Option<&Path>, path: &Path, candidate: &mut Candidate) -> Result<(), Status> {
    let pattern = Pattern::new(prefix, Some(path)).map_err(Status::invalid_argument)?;
    if pattern.depth() <= INTERFACE {
        let interface = pattern.interface();
        candidate.remove(|one| interface.is_none_or(|name| one.is_called(name)));
        return Ok(());
    }
    for interface in &mut candidate.interfaces {
        for leaf in interface.leaves().iter().filter(|leaf| pattern.select(leaf).is_some()) {
            if !to_default(leaf, interface) && leaf.below == path_end(path) {
                return Err(read_only(leaf));
            }
        }
    }
    Ok(())
}

/// The depth of an interface's node.
const INTERFACE: usize = 2;

/// The names of a path below the interface, to tell a leaf that is named from one that is merely covered.
fn path_end(path: &Path) -> Vec<&str> {
    path.elem
        .iter()
        .map(|elem| elem.name.as_str())
        .skip_while(|name| matches!(*name, "interfaces" | "interface"))
        .collect()
}

/// Sets a leaf back to its default; false for one that has none.
fn to_default(leaf: &Leaf, interface: &mut Interface) -> bool {
    if leaf.below == tree::ENABLED {
        interface.enabled = Some(true);
    } else if leaf.below == tree::PORT_SPEED {
        interface.speed = Some(Speed::Default);
    } else {
        return false;
    }
    true
}

fn read_only(leaf: &Leaf) -> Status {
    let path = format!("/interfaces/interface[name={}]/{}", leaf.interface, leaf.below.join("/"));
    Status::invalid_argument(format!(
        "path {path}: read-only; allowed are config/enabled and ethernet/config/port-speed, and in a new interface config/id"
    ))
}

fn one(prefix: Option<&Path>, update: &Update, operation: Operation, candidate: &mut Candidate) -> Result<(), Status> {
    let pattern = Pattern::new(prefix, update.path.as_ref()).map_err(Status::invalid_argument)?;
    let value = update.val.as_ref().and_then(|val| val.value.as_ref());
    let given = value.ok_or_else(|| Status::invalid_argument("val: missing"))?;
    let json = match given {
        Value::JsonVal(bytes) | Value::JsonIetfVal(bytes) => Some(
            serde_json::from_slice::<Json>(bytes)
                .map_err(|e| Status::invalid_argument(format!("val: not JSON: {e}")))?,
        ),
        _ => None,
    };
    let depth = pattern.depth();
    match (pattern.interface(), &json) {
        (Some(name), _) => candidate.ensure(name),
        (None, Some(json)) if depth < INTERFACE => {
            let names = names(json, depth);
            if operation == Operation::Replace {
                candidate.remove(|interface| !names.iter().any(|name| interface.is_called(name)));
            }
            names.into_iter().for_each(|name| candidate.ensure(name));
        }
        _ => {}
    }
    let mut used = 0;
    let mut found = false;
    for interface in &mut candidate.interfaces {
        for leaf in &interface.leaves() {
            let Some(depth) = pattern.select(leaf) else { continue };
            found = true;
            match &json {
                Some(json) if leaf.depth() > depth => {
                    if operation == Operation::Replace {
                        // What the new value does not name goes back to its default.
                        to_default(leaf, interface);
                    }
                    if let Some(value) = find(json, leaf, depth) {
                        used += 1;
                        set_leaf(leaf, value, interface)?;
                    }
                }
                Some(json) => {
                    used = count(json);
                    set_leaf(leaf, json, interface)?;
                }
                None if leaf.depth() == depth => set_leaf(leaf, &scalar(given)?, interface)?,
                None => {
                    return Err(Status::invalid_argument(
                        "val: a scalar for a container; allowed are JSON and JSON_IETF",
                    ));
                }
            }
        }
    }
    match json.as_ref().map_or(0, count) {
        present if used < present => {
            Err(Status::invalid_argument(format!("val: {present} leaves, of which {used} are known below this path")))
        }
        // A replacement by nothing finds nothing.
        _ if !found && (json.is_none() || operation == Operation::Update) => {
            Err(Status::not_found(format!("path {}: there is no such interface", pattern.text())))
        }
        _ => Ok(()),
    }
}

fn scalar(value: &Value) -> Result<Json, Status> {
    match value {
        Value::BoolVal(bool) => Ok((*bool).into()),
        Value::StringVal(text) | Value::AsciiVal(text) => Ok(text.as_str().into()),
        Value::UintVal(number) => Ok((*number).into()),
        Value::IntVal(number) => Ok((*number).into()),
        _ => {
            Err(Status::invalid_argument("val: allowed are bool_val, string_val, uint_val, json_val and json_ietf_val"))
        }
    }
}

/// A member of an object, whose names may carry modules.
fn member<'a>(node: &'a Json, name: &str) -> Option<&'a Json> {
    let object = node.as_object()?;
    object.iter().find(|(key, _)| key.rsplit(':').next() == Some(name)).map(|(_, value)| value)
}

/// The interfaces that a container's JSON above them names.
fn names(json: &Json, depth: usize) -> Vec<&str> {
    let interfaces = if depth == 0 { member(json, "interfaces") } else { Some(json) };
    let list = interfaces.and_then(|node| member(node, "interface")).and_then(Json::as_array);
    list.into_iter().flatten().filter_map(|one| member(one, "name").and_then(Json::as_str)).collect()
}

/// The value for a leaf in a container's JSON.
fn find<'a>(json: &'a Json, leaf: &Leaf, depth: usize) -> Option<&'a Json> {
    let mut node = json;
    for at in depth..leaf.depth() {
        node = member(node, leaf.name_at(at))?;
        if at == 1 {
            let is = |one: &&Json| member(one, "name").and_then(Json::as_str).is_some_and(|name| leaf.is_of(name));
            node = node.as_array()?.iter().find(is)?;
        }
    }
    Some(node)
}

fn count(json: &Json) -> usize {
    match json {
        Json::Object(map) => map.values().map(count).sum(),
        Json::Array(list) => list.iter().map(count).sum(),
        _ => 1,
    }
}

fn set_leaf(leaf: &Leaf, value: &Json, interface: &mut Interface) -> Result<(), Status> {
    let wrong = |allowed: &str| {
        let name = &leaf.interface;
        Status::invalid_argument(format!("interface {name}: {}: {value}; allowed are {allowed}", leaf.below.join("/")))
    };
    if leaf.below == tree::ENABLED {
        interface.enabled = Some(value.as_bool().ok_or_else(|| wrong("true and false"))?);
    } else if leaf.below == tree::PORT_SPEED {
        let bps = value.as_str().and_then(tree::speed_bps).ok_or_else(|| wrong(&tree::speed_names()))?;
        interface.speed = Some(Speed::Bps(bps));
    } else if leaf.below == tree::CONFIG_TYPE {
        let (module, kind) = tree::ETHERNET.split_once(':').unwrap_or(("", tree::ETHERNET));
        let given = value.as_str().map(|text| text.split_once(':').unwrap_or((module, text)));
        interface.typed = given == Some((module, kind));
        if !interface.typed {
            return Err(wrong(tree::ETHERNET));
        }
    } else if leaf.below == tree::CONFIG_ID && interface.new {
        let id = value.as_u64().and_then(|id| PortNo::try_from(id).ok());
        interface.id = Some(id.ok_or_else(|| wrong("port numbers"))?);
    } else {
        let same = match &leaf.value {
            LeafValue::Text(_) => value.as_str().is_some_and(|name| leaf.is_of(name)),
            LeafValue::Uint32(number) => value.as_u64() == Some(u64::from(*number)),
            _ => false,
        };
        // A whole interface names its keys again: that changes nothing.
        if !([tree::KEY_NAME, tree::CONFIG_NAME, tree::CONFIG_ID].contains(&leaf.below) && same) {
            return Err(read_only(leaf));
        }
    }
    Ok(())
}

/// A value as clients write it, for tests and callers that build requests.
pub fn json_ietf(json: &Json) -> TypedValue {
    TypedValue { value: Some(Value::JsonIetfVal(json.to_string().into_bytes().into())) }
}

#[cfg(test)]
mod tests {
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
            (
                config("2-3@veth0", json!({})),
                Code::InvalidArgument,
                "interface 2-3@veth0: device id 2; this is device 1",
            ),
            (config("veth0", json!({})), Code::InvalidArgument, "config/id: missing"),
            (
                config("1-3@veth0", json!({"type": "softwareLoopback"})),
                Code::InvalidArgument,
                "allowed are iana-if-type",
            ),
            (config("1-3@veth0", json!({"name": "1-4@veth0"})), Code::InvalidArgument, "config/name: read-only"),
            (config("1-3@veth0", json!({"mtu": 9000})), Code::InvalidArgument, "3 leaves, of which 2 are known"),
            (config("1-2@veth0", json!({})), Code::AlreadyExists, "port 2 is interface e2 already"),
            (config("1-3@e2", json!({})), Code::AlreadyExists, "e2 is port 2 already"),
            (
                update("/interfaces/interface[name=1-3@veth0]/config/enabled", bool_val(true)),
                Code::NotFound,
                "config/type",
            ),
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
}
