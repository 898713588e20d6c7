//! Entries of switches in words.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::table;

/// A value as it stands in a sentence: text without its quotes.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

fn pairs(map: Option<&Map<String, Value>>, separator: &str) -> String {
    let Some(map) = map else { return String::new() };
    let pairs: Vec<String> = map
        .iter()
        .map(|(name, value)| {
            let value = plain(value);
            if value.contains(' ') { format!("{name}=({value})") } else { format!("{name}={value}") }
        })
        .collect();
    pairs.join(separator)
}

/// Where the entry is: a table's name, or a group or session with its number.
pub fn place(entry: &Value) -> String {
    for (field, words) in [("multicast_group", "multicast group"), ("clone_session", "clone session")] {
        if let Some(id) = entry.get(field) {
            return format!("{words} {id}");
        }
    }
    if let Some(id) = entry.get("meter") {
        return format!("meter {id}[{}]", entry.get("index").map(plain).unwrap_or_default());
    }
    match entry.get("table").or_else(|| entry.get("key")) {
        Some(name) => plain(name),
        None => "?".into(),
    }
}

/// What the entry matches: `ipv4_dst=10.0.10.0/24 priority 7`.
pub fn matched(entry: &Value) -> String {
    if entry.get("default").is_some() {
        return "anything else".into();
    }
    let mut out = pairs(entry.get("match").and_then(Value::as_object), " ");
    if let Some(priority) = entry.get("priority") {
        if !out.is_empty() {
            out.push(' ');
        }
        let _ = write!(out, "priority {priority}");
    }
    out
}

fn one_action(value: &Value) -> Option<String> {
    let name = value.get("action")?.as_str()?;
    let params = pairs(value.get("params").and_then(Value::as_object), ", ");
    Some(if params.is_empty() { name.to_owned() } else { format!("{name}({params})") })
}

/// What the entry does: `set_vlan(vlan=10)`; for groups each member or port.
pub fn action(entry: &Value) -> String {
    if let Some(words) = one_action(entry) {
        return words;
    }
    if let Some(members) = entry.get("members").and_then(Value::as_array) {
        let words: Vec<String> = members
            .iter()
            .map(|member| {
                let mut out = one_action(member).unwrap_or_default();
                if let Some(weight) = member.get("weight").and_then(Value::as_i64).filter(|w| *w != 1) {
                    let _ = write!(out, " weight {weight}");
                }
                if let Some(port) = member.get("watch_port").filter(|p| !p.is_null()) {
                    let _ = write!(out, " while port {port} is up");
                }
                out
            })
            .collect();
        return format!("one of: {}", words.join("; "));
    }
    if let Some(ports) = entry.get("ports").and_then(Value::as_array) {
        return format!("to ports {}", table::list(ports.iter().map(plain)));
    }
    entry.get("value").map(plain).unwrap_or_default()
}

/// The entry in one line.
pub fn sentence(entry: &Value) -> String {
    let (place, matched, action) = (place(entry), matched(entry), action(entry));
    let mut out = place;
    if !matched.is_empty() {
        let _ = write!(out, "  {matched}");
    }
    if !action.is_empty() {
        let _ = write!(out, "  -> {action}");
    }
    out
}

/// A table of entries, with the switch of each unless all are of one.
pub fn rows(entries: &[(String, Value)], with_switch: bool) -> String {
    let counted = entries.iter().any(|(_, e)| e.get("packets").is_some());
    let mut header = vec!["TABLE", "MATCH", "ACTION", "CAUSE"];
    if with_switch {
        header.insert(0, "SWITCH");
    }
    if counted {
        header.extend(["PACKETS", "BYTES"]);
    }
    let rows = entries
        .iter()
        .map(|(switch, entry)| {
            let mut row = vec![place(entry), matched(entry), action(entry)];
            row.push(entry.get("cause").map_or_else(|| "-".into(), plain));
            if with_switch {
                row.insert(0, switch.clone());
            }
            if counted {
                for field in ["packets", "bytes"] {
                    row.push(table::or_dash(entry.get(field)));
                }
            }
            row
        })
        .collect();
    table::table(&header, rows)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;

    pub fn route() -> Value {
        json!({ "table": "routing_v4", "match": { "ipv4_dst": "10.0.10.0/24" },
                "action": "set_next", "params": { "next_id": "7" },
                "app": "routing", "unit": "x", "cause": "subnet/red", "packets": 12, "bytes": 1200 })
    }

    #[test]
    fn entries_in_one_line() {
        assert_eq!(sentence(&route()), "routing_v4  ipv4_dst=10.0.10.0/24  -> set_next(next_id=7)");
        let acl = json!({ "table": "acl", "match": { "eth_type": "0x0800 &&& 0xffff", "in_port": "3" },
                          "priority": 70, "action": "drop", "params": {} });
        assert_eq!(sentence(&acl), "acl  eth_type=(0x0800 &&& 0xffff) in_port=3 priority 70  -> drop");
        let group = json!({ "table": "hashed", "match": { "next_id": "9" }, "members": [
            { "action": "mpls", "params": { "label": "101", "port": "1" }, "weight": 1, "watch_port": 1 },
            { "action": "mpls", "params": { "label": "101", "port": "2" }, "weight": 3, "watch_port": null }] });
        assert_eq!(
            sentence(&group),
            "hashed  next_id=9  -> one of: mpls(label=101, port=1) while port 1 is up; \
             mpls(label=101, port=2) weight 3"
        );
        assert_eq!(
            sentence(&json!({ "multicast_group": 10, "ports": [3, 4] })),
            "multicast group 10  -> to ports 3, 4"
        );
        let default = json!({ "table": "acl", "default": true, "action": "nop", "params": {} });
        assert_eq!(sentence(&default), "acl  anything else  -> nop");
    }

    #[test]
    fn counters_only_where_there_are_some() {
        let mut bare = route();
        for field in ["packets", "bytes", "cause"] {
            bare.as_object_mut().unwrap().remove(field);
        }
        let text = rows(&[("leaf1".into(), bare.clone())], false);
        assert_eq!(
            text,
            "TABLE       MATCH                  ACTION               CAUSE\n\
             routing_v4  ipv4_dst=10.0.10.0/24  set_next(next_id=7)  -\n"
        );
        let text = rows(&[("leaf1".into(), route()), ("leaf2".into(), bare)], true);
        assert!(text.starts_with("SWITCH  TABLE") && text.contains("PACKETS  BYTES"), "{text}");
        assert!(text.lines().nth(2).unwrap().ends_with("-      -"), "{text}");
    }
}
