//! Values as gNMI carries them: scalars, JSON and JSON_IETF (RFC 7951), and subtrees in JSON.

use super::tree::{Leaf, LeafValue};
use p4runtime_proto::gnmi::{Encoding, TypedValue, typed_value::Value};
use serde_json::{Map, Value as Json};

/// The encodings that are served.
pub const ENCODINGS: [Encoding; 3] = [Encoding::JsonIetf, Encoding::Json, Encoding::Proto];

/// How a leaf or subtree is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Proto,
    Json,
    JsonIetf,
}

impl Form {
    /// # Errors
    /// In words, for an encoding that is not served.
    pub fn new(encoding: i32) -> Result<Self, String> {
        match Encoding::try_from(encoding) {
            Ok(Encoding::Proto) => Ok(Self::Proto),
            Ok(Encoding::Json) => Ok(Self::Json),
            Ok(Encoding::JsonIetf) => Ok(Self::JsonIetf),
            other => {
                let found = other.map_or_else(|_| encoding.to_string(), |e| e.as_str_name().to_owned());
                Err(format!("encoding: {found}; allowed are JSON, JSON_IETF and PROTO"))
            }
        }
    }
}

/// One leaf's value. JSON is also what requests ask for that name no encoding; their leaves are scalars, as clients of BMv2
/// expect, and only subtrees are JSON.
pub fn leaf_value(value: &LeafValue, form: Form) -> TypedValue {
    let value = match (form, value) {
        (Form::Proto | Form::Json, LeafValue::Text(text)) => Value::StringVal(text.clone()),
        (Form::Proto | Form::Json, LeafValue::Bool(bool)) => Value::BoolVal(*bool),
        (Form::Proto | Form::Json, LeafValue::Uint32(number)) => Value::UintVal(u64::from(*number)),
        (Form::Proto | Form::Json, LeafValue::Uint64(number)) => Value::UintVal(*number),
        (Form::JsonIetf, value) => return json_value(&json(value, form), form),
    };
    TypedValue { value: Some(value) }
}

fn json(value: &LeafValue, form: Form) -> Json {
    match value {
        LeafValue::Text(text) => text.as_str().into(),
        LeafValue::Bool(bool) => (*bool).into(),
        LeafValue::Uint32(number) => (*number).into(),
        // RFC 7951 §6.1: numbers of 64 bits are strings.
        LeafValue::Uint64(number) if form == Form::JsonIetf => number.to_string().into(),
        LeafValue::Uint64(number) => (*number).into(),
    }
}

fn json_value(json: &Json, form: Form) -> TypedValue {
    let bytes = json.to_string().into_bytes().into();
    TypedValue { value: Some(if form == Form::JsonIetf { Value::JsonIetfVal(bytes) } else { Value::JsonVal(bytes) }) }
}

/// The YANG module that defines a leaf's element at `depth`.
fn module(leaf: &Leaf, depth: usize) -> &'static str {
    if depth >= 2 && leaf.below[0] == "ethernet" {
        "openconfig-if-ethernet"
    } else if leaf.name_at(depth) == "id" {
        "openconfig-p4rt"
    } else {
        "openconfig-interfaces"
    }
}

/// The node at `depth` that all of `leaves` lie below, as one value. A leaf itself when it is the node.
pub fn subtree(leaves: &[&Leaf], depth: usize, form: Form) -> TypedValue {
    if let [only] = leaves
        && only.depth() == depth
    {
        return leaf_value(&only.value, form);
    }
    let mut root = Json::Object(Map::new());
    for leaf in leaves {
        let mut node = &mut root;
        for at in depth..leaf.depth() {
            // RFC 7951 §4: a name carries its module at the top and where the module changes.
            let qualified = form == Form::JsonIetf && (at == depth || module(leaf, at) != module(leaf, at - 1));
            let name = leaf.name_at(at);
            let name = if qualified { format!("{}:{name}", module(leaf, at)) } else { name.to_owned() };
            node = member(node, &name);
            if at == 1 {
                node = entry(node, &leaf.interface);
            }
        }
        *node = json(&leaf.value, form);
    }
    json_value(&root, form)
}

fn member<'a>(node: &'a mut Json, name: &str) -> &'a mut Json {
    if !node.is_object() {
        *node = Json::Object(Map::new());
    }
    &mut node[name]
}

/// The list entry of an interface. Leaves come interface by interface, so it is the last one or new.
fn entry<'a>(node: &'a mut Json, interface: &str) -> &'a mut Json {
    if !node.is_array() {
        *node = Json::Array(Vec::new());
    }
    let new = node.as_array().and_then(|list| list.last()).is_none_or(|last| last["name"] != interface);
    let Json::Array(list) = node else { unreachable!("set above") };
    if new {
        list.push(serde_json::json!({ "name": interface }));
    }
    let last = list.len() - 1;
    &mut list[last]
}

#[cfg(test)]
mod tests {
    use super::super::tree::{self, testing::port};
    use super::*;

    fn text(value: TypedValue) -> Json {
        match value.value {
            Some(Value::JsonIetfVal(bytes) | Value::JsonVal(bytes)) => serde_json::from_slice(&bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whole_tree_as_rfc_7951_wants_it() {
        let ports = [port(1, "e1", true), port(2, "e2", false)];
        let all: Vec<Leaf> = ports.iter().flat_map(tree::leaves).collect();
        let json = text(subtree(&all.iter().collect::<Vec<_>>(), 0, Form::JsonIetf));
        let list = &json["openconfig-interfaces:interfaces"]["interface"];
        assert_eq!(list.as_array().unwrap().len(), 2);
        assert_eq!(list[1]["name"], "e2");
        assert_eq!(list[1]["state"]["oper-status"], "DOWN");
        assert_eq!(list[0]["state"]["counters"]["in-octets"], "123");
        assert_eq!(list[0]["state"]["openconfig-p4rt:id"], 1);
        assert_eq!(list[0]["openconfig-if-ethernet:ethernet"]["state"]["port-speed"], "SPEED_10GB");
    }

    #[test]
    fn containers_and_leaves() {
        let all = tree::leaves(&port(1, "e1", true));
        let state: Vec<&Leaf> = all.iter().filter(|l| l.below[0] == "state").collect();
        let json = text(subtree(&state, 3, Form::JsonIetf));
        assert_eq!(json["openconfig-interfaces:oper-status"], "UP");
        assert_eq!(json["openconfig-interfaces:counters"]["in-octets"], "123");
        let plain = text(subtree(&state, 3, Form::Json));
        assert_eq!(plain["counters"]["in-octets"], 123);
        let leaf = state.iter().find(|l| l.below[1] == "ifindex").unwrap();
        for form in [Form::Proto, Form::Json] {
            assert_eq!(subtree(&[leaf], 4, form).value, Some(Value::UintVal(11)));
        }
        assert_eq!(text(subtree(&[leaf], 4, Form::JsonIetf)), 11);
    }

    #[test]
    fn unknown_encodings_are_named() {
        assert!(Form::new(Encoding::Ascii as i32).unwrap_err().contains("ASCII"));
        assert!(Form::new(99).unwrap_err().contains("99"));
    }
}
