//! gNMI Set: from deletes, replaces and updates (in this order) to changes of ports. Nothing is changed unless all of
//! it is valid (gNMI 0.8 §3.4).

use super::tree::{self, Leaf, LeafValue, Pattern};
use crate::ports::{PortInfo, PortNo};
use p4runtime_proto::gnmi::{Path, SetRequest, TypedValue, Update, typed_value::Value, update_result::Operation};
use serde_json::Value as Json;
use tonic::Status;

/// One change of one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Enabled(PortNo, bool),
    Speed(PortNo, u64),
    /// Back to the speed that the interface itself tells.
    DefaultSpeed(PortNo),
}

/// What a request asks for: the changes in order, and each path with its operation for the answer.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub changes: Vec<Change>,
    pub done: Vec<(Path, Operation)>,
}

/// Checks a whole request against the ports.
///
/// # Errors
/// INVALID_ARGUMENT for a value or path that cannot be set, NOT_FOUND for an interface that is not there.
pub fn plan(request: &SetRequest, ports: &[PortInfo]) -> Result<Plan, Status> {
    let mut plan = Plan::default();
    let prefix = request.prefix.as_ref();
    for path in &request.delete {
        for leaf in select(prefix, Some(path), ports)?.1 {
            if let Some(change) = default_of(&leaf, ports) {
                plan.changes.push(change);
            } else if leaf.below == path_end(path) {
                return Err(read_only(&leaf));
            }
        }
        plan.done.push((path.clone(), Operation::Delete));
    }
    let replaces = request.replace.iter().map(|update| (update, Operation::Replace));
    let updates = request.update.iter().map(|update| (update, Operation::Update));
    for (update, operation) in replaces.chain(updates) {
        one(prefix, update, operation, ports, &mut plan)?;
        plan.done.push((update.path.clone().unwrap_or_default(), operation));
    }
    Ok(plan)
}

/// The names of a path below the interface, to tell a leaf that is named from one that is merely covered.
fn path_end(path: &Path) -> Vec<&str> {
    path.elem
        .iter()
        .map(|elem| elem.name.as_str())
        .skip_while(|name| matches!(*name, "interfaces" | "interface"))
        .collect()
}

/// The leaves a path selects, with the depth of the selected node.
fn select(prefix: Option<&Path>, path: Option<&Path>, ports: &[PortInfo]) -> Result<(usize, Vec<Leaf>), Status> {
    let pattern = Pattern::new(prefix, path).map_err(Status::invalid_argument)?;
    let all = ports.iter().flat_map(tree::leaves);
    let chosen: Vec<(usize, Leaf)> = all.filter_map(|leaf| pattern.select(&leaf).map(|depth| (depth, leaf))).collect();
    match chosen.first() {
        Some((depth, _)) => Ok((*depth, chosen.into_iter().map(|(_, leaf)| leaf).collect())),
        None => Err(Status::not_found(format!("path {}: there is no such interface", pattern.text()))),
    }
}

fn number(leaf: &Leaf, ports: &[PortInfo]) -> Option<PortNo> {
    ports.iter().find(|port| *port.name == *leaf.interface).map(|port| port.no)
}

fn default_of(leaf: &Leaf, ports: &[PortInfo]) -> Option<Change> {
    let no = number(leaf, ports)?;
    if leaf.below == tree::ENABLED {
        Some(Change::Enabled(no, true))
    } else if leaf.below == tree::PORT_SPEED {
        Some(Change::DefaultSpeed(no))
    } else {
        None
    }
}

fn read_only(leaf: &Leaf) -> Status {
    let path = format!("/interfaces/interface[name={}]/{}", leaf.interface, leaf.below.join("/"));
    Status::invalid_argument(format!(
        "path {path}: read-only; allowed are config/enabled and ethernet/config/port-speed"
    ))
}

fn one(
    prefix: Option<&Path>,
    update: &Update,
    operation: Operation,
    ports: &[PortInfo],
    plan: &mut Plan,
) -> Result<(), Status> {
    let (depth, leaves) = select(prefix, update.path.as_ref(), ports)?;
    let value = update.val.as_ref().and_then(|val| val.value.as_ref());
    let given = value.ok_or_else(|| Status::invalid_argument("val: missing"))?;
    let node_is_leaf = leaves.iter().all(|leaf| leaf.depth() == depth);
    let json = match given {
        Value::JsonVal(bytes) | Value::JsonIetfVal(bytes) => Some(
            serde_json::from_slice::<Json>(bytes)
                .map_err(|e| Status::invalid_argument(format!("val: not JSON: {e}")))?,
        ),
        _ => None,
    };
    match json {
        Some(json) if !node_is_leaf => {
            if operation == Operation::Replace {
                // What the new value does not name goes back to its default.
                plan.changes.extend(leaves.iter().filter_map(|leaf| default_of(leaf, ports)));
            }
            let mut used = 0;
            for leaf in &leaves {
                if let Some(value) = find(&json, leaf, depth) {
                    used += 1;
                    set_leaf(leaf, value, ports, plan)?;
                }
            }
            let present = count(&json);
            if used < present {
                let text = format!("val: {present} leaves, of which {used} are known below this path");
                return Err(Status::invalid_argument(text));
            }
            Ok(())
        }
        Some(json) => leaves.iter().try_for_each(|leaf| set_leaf(leaf, &json, ports, plan)),
        None if node_is_leaf => {
            let json = scalar(given)?;
            leaves.iter().try_for_each(|leaf| set_leaf(leaf, &json, ports, plan))
        }
        None => Err(Status::invalid_argument("val: a scalar for a container; allowed are JSON and JSON_IETF")),
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

/// The value for a leaf in a container's JSON, whose names may carry modules.
fn find<'a>(json: &'a Json, leaf: &Leaf, depth: usize) -> Option<&'a Json> {
    let get = |node: &'a Json, name: &str| {
        let object = node.as_object()?;
        object.iter().find(|(key, _)| key.rsplit(':').next() == Some(name)).map(|(_, value)| value)
    };
    let mut node = json;
    for at in depth..leaf.depth() {
        node = get(node, leaf.name_at(at))?;
        if at == 1 {
            node = node
                .as_array()?
                .iter()
                .find(|one| get(one, "name").and_then(Json::as_str) == Some(&*leaf.interface))?;
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

fn set_leaf(leaf: &Leaf, value: &Json, ports: &[PortInfo], plan: &mut Plan) -> Result<(), Status> {
    let Some(no) = number(leaf, ports) else { return Ok(()) };
    let wrong =
        |allowed: &str| Status::invalid_argument(format!("{}: {value}; allowed are {allowed}", leaf.below.join("/")));
    if leaf.below == tree::ENABLED {
        plan.changes.push(Change::Enabled(no, value.as_bool().ok_or_else(|| wrong("true and false"))?));
    } else if leaf.below == tree::PORT_SPEED {
        let bps = value.as_str().and_then(tree::speed_bps).ok_or_else(|| wrong(&tree::speed_names()))?;
        plan.changes.push(Change::Speed(no, bps));
    } else {
        let fixed = [tree::KEY_NAME, tree::CONFIG_NAME, tree::CONFIG_TYPE].contains(&leaf.below);
        let same = match &leaf.value {
            LeafValue::Text(text) => value.as_str().is_some_and(|v| v == text),
            LeafValue::Uint32(number) => value.as_u64() == Some(u64::from(*number)),
            _ => false,
        };
        // A whole interface names its keys again: that changes nothing.
        if !((fixed || leaf.below == ["config", "id"]) && same) {
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
    use super::super::tree::testing::{path, port};
    use super::*;
    use serde_json::json;
    use tonic::Code;

    fn update(text: &str, val: TypedValue) -> Update {
        Update { path: Some(path(text)), val: Some(val), ..Update::default() }
    }

    fn try_update(text: &str, val: TypedValue) -> Result<Vec<Change>, Status> {
        let request = SetRequest { update: vec![update(text, val)], ..SetRequest::default() };
        plan(&request, &[port(1, "e1", true), port(2, "e2", true)]).map(|plan| plan.changes)
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
        let plan = plan(&request, &[port(1, "e1", true), port(2, "e2", true)]).unwrap();
        assert_eq!(plan.changes, [Change::DefaultSpeed(2), Change::Enabled(1, true)]);
        assert_eq!(plan.done.iter().map(|(_, op)| *op).collect::<Vec<_>>(), [Operation::Delete, Operation::Replace]);
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
        let error = plan(&SetRequest { delete, ..SetRequest::default() }, &[port(1, "e1", true)]).unwrap_err();
        assert!(error.message().contains("read-only"));
    }
}
