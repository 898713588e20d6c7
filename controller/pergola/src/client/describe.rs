//! `pergola describe`: one resource, its state, what is wrong with it, and what it put on every switch.

use std::io::Write;

use anyhow::{Context, bail};
use pergola_model::Kind;
use serde_json::{Map, Value, json};

use super::entries::{self, plain};
use super::get::{self, now_ms};
use super::http::{Client, Connection, in_path};
use super::kinds::What;
use super::rows::{self, Item};
use super::table::{self, Output};

/// `describe KIND NAME`
#[derive(Debug, clap::Args)]
pub struct Describe {
    /// What it is, such as `host`.
    kind: What,
    /// Its name; for hosts also a MAC or IP address.
    name: Option<String>,
    /// Do not read counters from switches.
    #[arg(long)]
    no_counters: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// All there is to say about one thing.
#[derive(Debug, Default)]
struct Picture {
    title: String,
    /// The resource, then the observations of it.
    items: Vec<Item>,
    /// A switch's session.
    device: Option<Value>,
    /// A switch's ports and links, each kind with those beside it.
    around: Vec<(Kind, Vec<Item>)>,
    problems: Vec<Value>,
    /// By switch; switches without any are left out.
    entries: Vec<(String, Vec<Value>)>,
    /// What could not be found out.
    gaps: Vec<String>,
}

pub fn run(describe: &Describe, out: &mut dyn Write) -> anyhow::Result<()> {
    let kind = match describe.kind {
        What::Kind(kind) => kind,
        What::Devices => Kind::Switch,
        other => bail!("{other} are not described one by one: see `pergola get {other}`"),
    };
    let name = match (&describe.name, kind) {
        (Some(name), _) => name.clone(),
        (None, Kind::Site) => "site".into(),
        (None, _) => bail!("a name is missing: `pergola describe {kind} NAME`; `pergola get {kind}` lists them"),
    };
    let client = Client::new(&describe.connection)?;
    let picture = look(&client, kind, &name, !describe.no_counters)?;
    let value = picture.to_json();
    Ok(table::write(out, describe.output.format, &value, || picture.render(now_ms()))?)
}

/// Collects what the controller knows.
fn look(client: &Client, kind: Kind, name: &str, counters: bool) -> anyhow::Result<Picture> {
    let mut picture = Picture::default();
    match client.find(&format!("/{kind}/{}", in_path(name)))? {
        Some((body, revision)) => picture.items.push(Item { kind, name: name.into(), revision, body }),
        // Hosts have addresses, and one that is only learned has no name.
        None if kind != Kind::Host => bail!("{kind}/{name} does not exist"),
        None => {}
    }
    let beside = rows::beside(kind);
    if !beside.is_empty() {
        let mut all = picture.items.clone();
        for kind in std::iter::once(&kind).chain(beside) {
            if picture.items.iter().all(|i| i.kind != *kind) {
                all.extend(Item::list(*kind, &client.get(&format!("/{kind}"))?));
            }
        }
        picture.items = match get::meant(kind, &all, name) {
            items if items.is_empty() => bail!("{kind}/{name} does not exist"),
            items => items,
        };
        if kind == Kind::Port {
            let is_of_port = |item: &Item| item.kind == Kind::PortState && item.name == name;
            let state = all.into_iter().filter(is_of_port).collect::<Vec<_>>();
            picture.items.retain(|item| item.kind == Kind::Port);
            picture.items.extend(state);
        }
    }
    picture.title = picture.items.first().map(key).unwrap_or_default();
    if kind == Kind::Switch {
        picture.device = client.find(&format!("/devices/{}", in_path(name)))?.map(|(d, _)| d);
        for kind in [Kind::Port, Kind::Link] {
            let mut all = Vec::new();
            for kind in std::iter::once(&kind).chain(rows::beside(kind)) {
                all.extend(Item::list(*kind, &client.get(&format!("/{kind}"))?));
            }
            let all = get::meant(kind, &all, name);
            if !all.is_empty() {
                picture.around.push((kind, all));
            }
        }
    }
    let causes: Vec<String> = picture.items.iter().map(key).collect();
    let status = client.get("/status")?;
    let problems = status.get("problems").and_then(Value::as_array).into_iter().flatten();
    let is_ours = |p: &&Value| p.get("cause").map(plain).is_some_and(|c| causes.contains(&c));
    picture.problems = problems.filter(is_ours).cloned().collect();
    for switch in get::switches(client)? {
        let mut entries = Vec::new();
        for cause in &causes {
            entries.extend(entries_because_of(client, &switch, cause, counters, &mut picture.gaps)?);
        }
        if !entries.is_empty() {
            picture.entries.push((switch, entries));
        }
    }
    Ok(picture)
}

fn key(item: &Item) -> String {
    format!("{}/{}", item.kind, item.name)
}

fn entries_because_of(
    client: &Client,
    switch: &str,
    cause: &str,
    counters: bool,
    gaps: &mut Vec<String>,
) -> anyhow::Result<Vec<Value>> {
    let entries =
        get::entries_of(client, switch, None, Some(cause), false).with_context(|| format!("entries of {switch}"))?;
    if !counters || entries.is_empty() {
        return Ok(entries);
    }
    match get::entries_of(client, switch, None, Some(cause), true) {
        Ok(counted) => Ok(counted),
        // The entries are known though the switch is not there to be asked.
        Err(error) => {
            let gap = format!("no counters of {switch}: {error}");
            if !gaps.contains(&gap) {
                gaps.push(gap);
            }
            Ok(entries)
        }
    }
}

impl Picture {
    fn to_json(&self) -> Value {
        let mut out = Map::new();
        let mut items = self.items.iter();
        if let Some(item) = items.next() {
            out.insert("resource".into(), item.to_json());
        }
        out.insert("state".into(), items.map(Item::to_json).collect());
        if let Some(device) = &self.device {
            out.insert("device".into(), device.clone());
        }
        for (kind, items) in &self.around {
            let items: Vec<Value> = items.iter().map(Item::to_json).collect();
            out.insert(format!("{kind}s"), items.into());
        }
        out.insert("problems".into(), self.problems.clone().into());
        let entries: Map<String, Value> = self.entries.iter().map(|(s, e)| (s.clone(), e.clone().into())).collect();
        out.insert("entries".into(), entries.into());
        out.insert("gaps".into(), json!(self.gaps));
        out.into()
    }

    fn render(&self, now_ms: u64) -> String {
        let mut out = String::new();
        for item in &self.items {
            out.push_str(&format!("{} (revision {})\n", key(item), item.revision));
            out.push_str(&indented(&table::yaml(&item.body)));
        }
        if let Some(device) = &self.device {
            out.push_str("\nsession\n");
            out.push_str(&indented(&table::yaml(device)));
        }
        for (kind, items) in &self.around {
            out.push_str(&format!("\n{kind}s\n"));
            out.push_str(&indented(&rows::render(*kind, items, now_ms)));
        }
        if self.problems.is_empty() {
            out.push_str("\nproblems: none\n");
        } else {
            out.push_str("\nproblems\n");
            for problem in &self.problems {
                let field = |name: &str| problem.get(name).map(plain).unwrap_or_default();
                out.push_str(&format!("  {} ({})\n", field("text"), field("app")));
            }
        }
        if self.entries.is_empty() {
            out.push_str(&format!("\nno switch holds anything because of {}\n", self.title));
        }
        for (switch, entries) in &self.entries {
            let ies = if entries.len() == 1 { "y" } else { "ies" };
            out.push_str(&format!("\n{switch}: {} entr{ies} because of this\n", entries.len()));
            let entries: Vec<_> = entries.iter().map(|e| (switch.clone(), e.clone())).collect();
            out.push_str(&indented(&entries::rows(&entries, false)));
        }
        for gap in &self.gaps {
            out.push_str(&format!("\n{gap}\n"));
        }
        out
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_its_entries_and_problems() {
        let mut picture = Picture {
            title: "host/h1".into(),
            items: vec![Item { kind: Kind::Host, name: "h1".into(), revision: 4, body: json!({ "vlan": 10 }) }],
            ..Picture::default()
        };
        assert_eq!(
            picture.render(0),
            "host/h1 (revision 4)\n  vlan: 10\n\nproblems: none\n\nno switch holds anything because of host/h1\n"
        );
        picture.problems.push(json!({ "app": "bridging", "cause": "host/h1", "text": "port not there" }));
        picture.entries.push(("leaf1".into(), vec![entries::tests::route()]));
        picture.gaps.push("no counters of leaf2: it hangs".into());
        let text = picture.render(0);
        assert!(text.contains("\nproblems\n  port not there (bridging)\n"), "{text}");
        assert!(text.contains("\nleaf1: 1 entry because of this\n  TABLE"), "{text}");
        assert!(text.contains("set_next(next_id=7)") && text.ends_with("no counters of leaf2: it hangs\n"));
        let value = picture.to_json();
        assert_eq!(value["resource"]["revision"], 4);
        assert_eq!(value["entries"]["leaf1"][0]["packets"], 12);
    }
}
