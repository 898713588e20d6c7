//! What a blueprint would change, in words.

use std::fmt::Write;

use serde_json::Value;

use super::entries::sentence;

fn array<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The intents that change, then switch by switch the entries, then how many of each.
pub fn render(plan: &Value, summary_only: bool) -> String {
    let mut out = String::new();
    let intents: Vec<&str> = array(plan, "intents").iter().filter_map(Value::as_str).collect();
    if intents.is_empty() {
        out.push_str("nothing would change\n");
    } else if !summary_only {
        out.push_str("intents\n");
        for intent in &intents {
            let _ = writeln!(out, "  {intent}");
        }
    }
    let of = |sign: char| intents.iter().filter(|i| i.starts_with(sign)).count();
    let (mut add, mut change, mut remove, mut touched) = (0, 0, 0, 0);
    let switches = plan.get("switches").and_then(Value::as_object);
    for (name, delta) in switches.into_iter().flatten() {
        let lists = [("+", "add"), ("~", "change"), ("-", "remove")].map(|(s, n)| (s, array(delta, n)));
        let [a, c, r] = [lists[0].1.len(), lists[1].1.len(), lists[2].1.len()];
        if a + c + r == 0 {
            continue;
        }
        touched += 1;
        (add, change, remove) = (add + a, change + c, remove + r);
        let gap = if out.is_empty() || summary_only { "" } else { "\n" };
        let _ = writeln!(out, "{gap}{name}: {a} to add, {c} to change, {r} to remove");
        if summary_only {
            continue;
        }
        for (sign, entries) in lists {
            let mut lines: Vec<String> = entries.iter().map(sentence).collect();
            lines.sort();
            for line in lines {
                let _ = writeln!(out, "  {sign} {line}");
            }
        }
    }
    let problems = array(plan, "problems");
    if !problems.is_empty() {
        out.push_str("\nproblems that would remain\n");
        for problem in problems {
            let field = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or("?");
            let _ = writeln!(out, "  {}: {} ({})", field("cause"), field("text"), field("app"));
        }
    }
    if !intents.is_empty() {
        let es = if touched == 1 { "" } else { "es" };
        let gap = if summary_only { "" } else { "\n" };
        let _ = writeln!(
            out,
            "{gap}intents: {} to create, {} to change, {} to delete; entries on {touched} switch{es}: {add} to add, \
             {change} to change, {remove} to remove",
            of('+'),
            of('~'),
            of('-'),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::entries::tests::route;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_in_words() {
        let group = json!({ "multicast_group": 10, "ports": [3] });
        let plan = json!({
            "intents": ["+ subnet/red", "~ port/leaf1/3 mode", "- route/10.9.0.0/16"],
            "switches": {
                "leaf1": { "add": [route(), group], "change": [route()], "remove": [] },
                "leaf2": { "add": [], "change": [], "remove": [] },
            },
            "problems": [{ "app": "routing", "cause": "route/10.8.0.0/16", "text": "no next hop" }],
        });
        assert_eq!(
            render(&plan, false),
            "intents\n  + subnet/red\n  ~ port/leaf1/3 mode\n  - route/10.9.0.0/16\n\n\
             leaf1: 2 to add, 1 to change, 0 to remove\n  + multicast group 10  -> to ports 3\n  \
             + routing_v4  ipv4_dst=10.0.10.0/24  -> set_next(next_id=7)\n  \
             ~ routing_v4  ipv4_dst=10.0.10.0/24  -> set_next(next_id=7)\n\n\
             problems that would remain\n  route/10.8.0.0/16: no next hop (routing)\n\n\
             intents: 1 to create, 1 to change, 1 to delete; entries on 1 switch: 2 to add, 1 to change, 0 to remove\n"
        );
        let short = render(&plan, true);
        assert!(short.starts_with("leaf1: 2 to add, 1 to change, 0 to remove\n"), "{short}");
        assert!(!short.contains("routing_v4"), "{short}");
    }

    #[test]
    fn nothing_to_do() {
        let plan = json!({ "intents": [], "switches": {}, "problems": [] });
        assert_eq!(render(&plan, false), "nothing would change\n");
    }
}
