//! `pergola watch`: changes as they happen.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use anyhow::bail;
use serde_json::{Map, Value, json};

use super::entries::plain;
use super::get::now_ms;
use super::http::{Client, Connection, Error, in_query};
use super::kinds::What;
use super::sse::{Event, Events};
use super::table::{self, Format, Output};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// `watch [PREFIX]`
#[derive(Debug, clap::Args)]
pub struct Watch {
    /// Only resources whose key begins with this, such as `port/leaf1/`, or a kind; `ports` are also their states.
    #[arg(default_value = "")]
    prefix: String,
    /// From after this revision; without it, from now on.
    #[arg(long, value_name = "REVISION")]
    from: Option<u64>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

pub fn run(watch: &Watch, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = Client::new(&watch.connection)?;
    let prefix = prefix(&watch.prefix);
    // Said once and for all, so that what happens while the stream is down is not missed.
    let from = match watch.from {
        Some(revision) => revision,
        None => {
            let status = client.get("/status")?;
            status.get("stored_revision").and_then(Value::as_u64).unwrap_or_default()
        }
    };
    let path = format!("/watch?prefix={}&from={from}", in_query(&prefix));
    let (mut last, mut pause) = (None::<String>, FIRST_PAUSE);
    let mut connected = false;
    let mut known = Known::default();
    loop {
        match client.stream(&path, last.as_deref()) {
            Ok(stream) => {
                connected = true;
                for event in Events::new(stream) {
                    // A stream that breaks is taken up again after its last event.
                    let Ok(event) = event else { break };
                    pause = FIRST_PAUSE;
                    if event.kind == "end" {
                        bail!("the controller ended the stream: {}", event.data);
                    }
                    show(out, watch.output.format, &mut known, &event)?;
                    last = event.id;
                }
                eprintln!("the stream broke off; calling again");
            }
            Err(error @ Error::Unreachable { .. }) if connected => {
                eprintln!("{}", error.to_string().lines().next().unwrap_or_default());
            }
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A kind's word as the beginning of keys. `port` begins those of ports and of their states alike.
fn prefix(text: &str) -> String {
    match text.parse() {
        Ok(What::Kind(kind)) => kind.as_str().to_owned(),
        _ => super::kinds::key(text),
    }
}

fn show(out: &mut dyn Write, format: Format, known: &mut Known, event: &Event) -> anyhow::Result<()> {
    let data: Value = serde_json::from_str(&event.data)?;
    match format {
        Format::Table => {
            let revision = event.id.as_deref().unwrap_or("-");
            writeln!(out, "{}  {revision:>8}  {}", time_of_day(now_ms()), known.sentence(&data))?;
        }
        // One line an event, so that programs can read on as they come.
        Format::Json => writeln!(out, "{}", with_head(event, data))?,
        Format::Yaml => write!(out, "---\n{}", table::yaml(&with_head(event, data)))?,
    }
    Ok(out.flush()?)
}

fn with_head(event: &Event, data: Value) -> Value {
    let revision = event.id.as_deref().and_then(|id| id.parse::<u64>().ok());
    let field = |name: &str| data.get(name).cloned().unwrap_or_default();
    json!({ "event": event.kind, "revision": revision, "key": field("key"), "body": field("body") })
}

/// In UTC.
fn time_of_day(ms: u64) -> String {
    let seconds = ms / 1000 % 86_400;
    let (h, m, s) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{h:02}:{m:02}:{s:02}.{:03}Z", ms % 1000)
}

/// The bodies seen so far, to say what changed in them.
#[derive(Default)]
struct Known(HashMap<String, Map<String, Value>>);

impl Known {
    /// `~ port-state/leaf1/3  oper_up: true -> false`; of a resource not seen before, all of it.
    fn sentence(&mut self, data: &Value) -> String {
        let key = data.get("key").map(plain).unwrap_or_default();
        let Some(Value::Object(body)) = data.get("body").filter(|b| !b.is_null()) else {
            self.0.remove(&key);
            return format!("- {key}");
        };
        let old = self.0.insert(key.clone(), body.clone());
        let Some(old) = old else {
            let fields: Vec<String> = body.iter().map(|(n, v)| format!("{n}={}", plain(v))).collect();
            return format!("+ {key}  {}", fields.join(" "));
        };
        let mut changes = Vec::new();
        for (name, new) in body {
            match old.get(name) {
                Some(old) if old == new => {}
                Some(old) => changes.push(format!("{name}: {} -> {}", plain(old), plain(new))),
                None => changes.push(format!("{name}: - -> {}", plain(new))),
            }
        }
        let gone = old.iter().filter(|(name, _)| !body.contains_key(*name));
        changes.extend(gone.map(|(name, old)| format!("{name}: {} -> -", plain(old))));
        format!("~ {key}  {}", changes.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_as_prefixes() {
        assert_eq!(prefix("ports"), "port");
        assert_eq!(prefix("hosts"), "host");
        assert_eq!(prefix("ports/leaf1/"), "port/leaf1/");
        assert_eq!(prefix(""), "");
    }

    #[test]
    fn what_changed_in_what_was_seen() {
        let mut known = Known::default();
        let mut say = |body: Value| known.sentence(&json!({ "key": "port-state/leaf1/3", "body": body }));
        assert_eq!(
            say(json!({ "oper_up": true, "port": "leaf1/3" })),
            "+ port-state/leaf1/3  oper_up=true port=leaf1/3"
        );
        assert_eq!(
            say(json!({ "oper_up": false, "port": "leaf1/3", "speed_bps": 10 })),
            "~ port-state/leaf1/3  oper_up: true -> false, speed_bps: - -> 10"
        );
        assert_eq!(say(json!({ "oper_up": false, "port": "leaf1/3" })), "~ port-state/leaf1/3  speed_bps: 10 -> -");
        assert_eq!(say(Value::Null), "- port-state/leaf1/3");
        assert!(say(json!({ "oper_up": true })).starts_with("+ "));
    }

    #[test]
    fn events_for_people_and_for_programs() {
        let event =
            Event { kind: "put".into(), data: r#"{"key":"link/a","body":{"id":"a"}}"#.into(), id: Some("42".into()) };
        let mut out = Vec::new();
        show(&mut out, Format::Table, &mut Known::default(), &event).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("Z        42  + link/a  id=a\n"), "{text}");
        let mut out = Vec::new();
        show(&mut out, Format::Json, &mut Known::default(), &event).unwrap();
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value, json!({ "event": "put", "revision": 42, "key": "link/a", "body": { "id": "a" } }));
        assert_eq!(time_of_day(86_400_000 + 3_723_004), "01:02:03.004Z");
    }
}
