//! `pergola get`: lists and single resources.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use pergola_model::Kind;
use serde_json::{Value, json};

use super::entries::{self, plain};
use super::http::{Client, Connection, in_path, in_query};
use super::kinds::{self, What};
use super::rows::{self, Item};
use super::table::{self, Output};

/// `get KIND [NAME]`
#[derive(Debug, clap::Args)]
pub struct Get {
    /// What to list, such as `ports`; without it, the kinds there are.
    kind: Option<What>,
    /// One of them; for ports, links and entries also a switch's name, for hosts also a MAC or IP address.
    name: Option<String>,
    /// Entries: only of this table.
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// Entries: only those because of this resource, such as `host/h1`.
    #[arg(long, value_name = "KIND/NAME")]
    cause: Option<String>,
    /// Entries: with packets and bytes, read from the switch now.
    #[arg(long)]
    counters: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

pub fn run(get: &Get, out: &mut dyn Write) -> anyhow::Result<()> {
    let format = get.output.format;
    let Some(what) = get.kind else {
        let all: Vec<Value> =
            What::all().map(|w| json!({ "kind": w.name(), "aliases": w.aliases(), "about": w.about() })).collect();
        return Ok(table::write(out, format, &all.into(), list_of_kinds)?);
    };
    if what != What::Entries && (get.table.is_some() || get.cause.is_some() || get.counters) {
        bail!("--table, --cause and --counters go with `get entries`, found: `get {what}`");
    }
    let client = Client::new(&get.connection)?;
    match what {
        What::Kind(kind) => {
            let items = items(&client, kind, get.name.as_deref())?;
            let value = json!({ "kind": kind.as_str(),
                                "items": items.iter().map(Item::to_json).collect::<Vec<_>>() });
            table::write(out, format, &value, || rows::render(kind, &items, now_ms()))?;
        }
        What::Devices => {
            let value = match &get.name {
                Some(name) => client.get(&format!("/devices/{}", in_path(name)))?,
                None => client.get("/devices")?,
            };
            let one = std::slice::from_ref(&value);
            let list = value.get("items").and_then(Value::as_array).map_or(one, Vec::as_slice);
            table::write(out, format, &value, || rows::devices(list))?;
        }
        What::Entries => {
            let switches = match &get.name {
                Some(name) => vec![name.clone()],
                None => switches(&client)?,
            };
            let mut all = Vec::new();
            for switch in &switches {
                let cause = get.cause.as_deref().map(kinds::key);
                let found = entries_of(&client, switch, get.table.as_deref(), cause.as_deref(), get.counters)?;
                all.extend(found.into_iter().map(|entry| (switch.clone(), entry)));
            }
            let value: Vec<Value> = all.iter().map(|(switch, e)| json!({ "switch": switch, "entry": e })).collect();
            let value = json!({ "items": value });
            let with_switch = get.name.is_none();
            table::write(out, format, &value, || entries::rows(&all, with_switch))?;
        }
        What::Status => {
            let value = client.get("/status")?;
            table::write(out, format, &value, || status(&value))?;
        }
    }
    Ok(())
}

pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn list_of_kinds() -> String {
    let rows = What::all().map(|w| vec![w.name().into(), table::list(w.aliases()), w.about().into()]).collect();
    table::table(&["KIND", "ALSO", "WHAT"], rows)
}

/// The items of a kind and of the kinds beside it, or of them those that `name` means.
fn items(client: &Client, kind: Kind, name: Option<&str>) -> anyhow::Result<Vec<Item>> {
    // One resource of a kind that has nothing beside it: no need for the whole list.
    if let Some(name) = name
        && rows::beside(kind).is_empty()
        && !on_switches(kind)
    {
        let (body, revision) = client
            .find(&format!("/{kind}/{}", in_path(name)))?
            .with_context(|| format!("{kind}/{name} does not exist"))?;
        return Ok(vec![Item { kind, name: name.into(), revision, body }]);
    }
    let mut items = Vec::new();
    for kind in std::iter::once(&kind).chain(rows::beside(kind)) {
        let answer = client.get(&format!("/{kind}"))?;
        items.extend(Item::list(*kind, &answer));
    }
    if let Some(name) = name {
        let items = meant(kind, &items, name);
        if items.is_empty() {
            bail!("{kind}/{name} does not exist");
        }
        return Ok(items);
    }
    Ok(items)
}

fn on_switches(kind: Kind) -> bool {
    matches!(kind, Kind::Port | Kind::PortState | Kind::Link | Kind::LinkState | Kind::CablingFault)
}

/// The items a name means: the one of that name, or those of a switch, or those of an address.
pub fn meant(kind: Kind, items: &[Item], name: &str) -> Vec<Item> {
    let is_of_switch =
        |item: &Item| item.name.split('~').any(|end| end.split_once('/').is_some_and(|(switch, _)| switch == name));
    let address = name.to_ascii_lowercase();
    let has_address = |item: &Item| {
        let is = |value: &Value| plain(value) == address;
        item.body.get("mac").is_some_and(is)
            || item.body.get("ips").and_then(Value::as_array).is_some_and(|ips| ips.iter().any(is))
    };
    let key = |item: &Item| (item.body.get("mac").map(plain), item.body.get("vlan").map(plain));
    let mut found: Vec<Item> = items.iter().filter(|item| item.name == name).cloned().collect();
    if found.is_empty() && on_switches(kind) {
        found = items.iter().filter(|item| is_of_switch(item)).cloned().collect();
    }
    if found.is_empty() && matches!(kind, Kind::Host | Kind::HostLocation) {
        found = items.iter().filter(|item| has_address(item)).cloned().collect();
    }
    if matches!(kind, Kind::Host) {
        // What is declared and what is learned of the same host belong together.
        let keys: Vec<_> = found.iter().map(key).collect();
        let rest = items.iter().filter(|i| keys.contains(&key(i)) && !found.contains(i));
        let rest: Vec<Item> = rest.cloned().collect();
        found.extend(rest);
    }
    if matches!(kind, Kind::Link) && name.contains('~') {
        // The cables that hang on a link's two ends, where they are wrong.
        let ends: Vec<&str> = name.split('~').collect();
        let wrong = items.iter().filter(|i| i.kind == Kind::CablingFault && ends.contains(&i.name.as_str())).cloned();
        found.extend(wrong);
    }
    found
}

/// The names of all switches the controller has to do with.
pub fn switches(client: &Client) -> anyhow::Result<Vec<String>> {
    let answer = client.get("/devices")?;
    let items = answer.get("items").and_then(Value::as_array);
    let names = items.into_iter().flatten().filter_map(|d| d.get("name")).map(plain);
    Ok(names.collect())
}

/// Entries of one switch.
pub fn entries_of(
    client: &Client,
    switch: &str,
    table: Option<&str>,
    cause: Option<&str>,
    counters: bool,
) -> Result<Vec<Value>, super::http::Error> {
    let mut query = Vec::new();
    if let Some(table) = table {
        query.push(format!("table={}", in_query(table)));
    }
    if let Some(cause) = cause {
        query.push(format!("cause={}", in_query(cause)));
    }
    if counters {
        query.push("counters=true".into());
    }
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let mut answer = client.get(&format!("/devices/{}/entries{query}", in_path(switch)))?;
    Ok(match answer.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    })
}

/// The controller's status for people.
pub fn status(value: &Value) -> String {
    let field = |name: &str| value.get(name).map_or_else(|| "-".into(), plain);
    let mut out = format!(
        "revision  {} planned, {} stored\nswitches  {} of {} in sync\n",
        field("revision"),
        field("stored_revision"),
        field("devices_in_sync"),
        field("devices"),
    );
    for name in ["problems", "conflicts", "alarms"] {
        let items = value.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if items.is_empty() {
            out.push_str(&format!("{name:<9} none\n"));
            continue;
        }
        out.push_str(&format!("{name:<9} {}\n", items.len()));
        for item in items {
            let field = |name: &str| item.get(name).map(plain).unwrap_or_default();
            out.push_str(&match name {
                "problems" => {
                    format!("  {}: {} ({})\n", field("cause"), field("text"), field("app"))
                }
                "alarms" => {
                    format!("  {}: {} ({})\n", field("subject"), field("text"), field("kind"))
                }
                _ => {
                    let entry = item.get("entry").map(entries::sentence).unwrap_or_default();
                    let losers = item.get("losers").and_then(Value::as_array);
                    let losers = table::list(losers.into_iter().flatten().map(plain));
                    format!("  {}: {entry}: {} wins over {losers}\n", field("device"), field("winner"))
                }
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: Kind, name: &str, body: Value) -> Item {
        Item { kind, name: name.into(), revision: 1, body }
    }

    fn names(items: &[Item]) -> Vec<&str> {
        items.iter().map(|i| i.name.as_str()).collect()
    }

    #[test]
    fn ports_and_links_by_switch() {
        let ports: Vec<Item> = ["leaf1/1", "leaf1/2", "leaf11/1"].map(|n| item(Kind::Port, n, json!({}))).into();
        assert_eq!(names(&meant(Kind::Port, &ports, "leaf1")), ["leaf1/1", "leaf1/2"]);
        assert_eq!(names(&meant(Kind::Port, &ports, "leaf1/2")), ["leaf1/2"]);
        assert!(meant(Kind::Port, &ports, "leaf2").is_empty());
        let links = [
            item(Kind::Link, "leaf1/1~spine1/1", json!({})),
            item(Kind::Link, "leaf2/1~spine1/2", json!({})),
            item(Kind::CablingFault, "leaf1/1", json!({})),
        ];
        assert_eq!(names(&meant(Kind::Link, &links, "spine1")).len(), 2);
        assert_eq!(names(&meant(Kind::Link, &links, "leaf2")), ["leaf2/1~spine1/2"]);
        assert_eq!(names(&meant(Kind::Link, &links, "leaf1/1~spine1/1")), ["leaf1/1~spine1/1", "leaf1/1"]);
    }

    #[test]
    fn hosts_by_name_and_address_with_what_was_learned() {
        let hosts = [
            item(Kind::Host, "h1", json!({ "mac": "02:00:00:00:00:01", "vlan": 10, "ips": ["10.0.0.1"] })),
            item(Kind::Host, "h2", json!({ "mac": "02:00:00:00:00:02", "vlan": 10 })),
            item(Kind::HostLocation, "02:00:00:00:00:01/10", json!({ "mac": "02:00:00:00:00:01", "vlan": 10 })),
            item(
                Kind::HostLocation,
                "02:00:00:00:00:03/10",
                json!({ "mac": "02:00:00:00:00:03", "vlan": 10, "ips": ["10.0.0.3"] }),
            ),
        ];
        let both = ["h1", "02:00:00:00:00:01/10"];
        assert_eq!(names(&meant(Kind::Host, &hosts, "h1")), both);
        assert_eq!(names(&meant(Kind::Host, &hosts, "10.0.0.1")), both);
        assert_eq!(names(&meant(Kind::Host, &hosts, "02:00:00:00:00:01")), both);
        assert_eq!(names(&meant(Kind::Host, &hosts, "10.0.0.3")), ["02:00:00:00:00:03/10"]);
        assert!(meant(Kind::Host, &hosts, "h9").is_empty());
    }

    #[test]
    fn a_status_with_everything_wrong() {
        let value = json!({ "revision": 5, "stored_revision": 6, "devices": 4, "devices_in_sync": 3,
            "problems": [{ "app": "routing", "cause": "route/10.0.0.0/8", "text": "no next hop" }],
            "conflicts": [{ "device": "leaf1", "entry": entries::tests::route(), "winner": "subnet/red",
                            "losers": ["route/10.0.10.0/24"] }],
            "alarms": [] });
        assert_eq!(
            status(&value),
            "revision  5 planned, 6 stored\nswitches  3 of 4 in sync\nproblems  1\n  route/10.0.0.0/8: no next \
             hop (routing)\nconflicts 1\n  leaf1: routing_v4  ipv4_dst=10.0.10.0/24  -> set_next(next_id=7): \
             subnet/red wins over route/10.0.10.0/24\nalarms    none\n"
        );
    }
}
