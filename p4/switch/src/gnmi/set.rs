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
#[path = "set_tests.rs"]
mod tests;
