//! `pergola apply` and `pergola delete`.

use std::io::{Read, Write};

use anyhow::{Context, bail};
use pergola_model::{AnyResource, Kind};
use serde_json::Value;
use ureq::http::Method;

use super::http::{Client, Connection, Error, Sent, in_path};
use super::{blueprint, kinds};

/// `apply -f FILE`
#[derive(Debug, clap::Args)]
pub struct Apply {
    /// A blueprint, or resources as `get -o yaml` writes them: {kind, body}, a list of them, or several YAML documents;
    /// `-` is the standard input.
    #[arg(short, long, value_name = "FILE")]
    file: String,
    /// Write only over the revisions the file names.
    #[arg(long)]
    if_unchanged: bool,
    /// Say what would change and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
}

/// `delete KIND NAME...`
#[derive(Debug, clap::Args)]
pub struct Delete {
    /// What it is, such as `route`.
    #[arg(value_parser = kinds::intent)]
    kind: Kind,
    /// Which.
    #[arg(required = true)]
    names: Vec<String>,
    /// Only if it is still at this revision.
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

/// What a file holds.
#[derive(Debug, PartialEq)]
pub enum Input {
    Blueprint,
    Resources(Resources),
}

/// Resources to put, in an order in which none comes before what it depends on.
#[derive(Debug, Default, PartialEq)]
pub struct Resources {
    put: Vec<(AnyResource, Option<u64>)>,
    /// Observations, which nobody writes.
    skipped: Vec<String>,
}

/// Reads a file or the standard input.
pub fn read(file: &str) -> anyhow::Result<String> {
    if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("the standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))
}

/// Tells a blueprint from resources, and reads these. The errors name the document and the field.
pub fn parse(text: &str) -> anyhow::Result<Input> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| anyhow::anyhow!("{}", error.without_snippet()))?;
    let mut all = Vec::new();
    for document in documents {
        match document {
            Value::Array(items) => all.extend(items),
            Value::Object(mut fields) if fields.contains_key("items") => match fields.remove("items") {
                Some(Value::Array(items)) => all.extend(items),
                _ => bail!("items: allowed: a list of resources"),
            },
            Value::Object(fields) if !fields.contains_key("kind") => {
                if all.is_empty() {
                    return Ok(Input::Blueprint);
                }
                bail!("a blueprint stands alone in its file, found resources before it");
            }
            other => all.push(other),
        }
    }
    let (mut resources, mut wrong) = (Resources::default(), Vec::new());
    for (index, document) in all.into_iter().enumerate() {
        match resource(document) {
            Ok((resource, revision)) if resource.kind().is_intent() => {
                resources.put.push((resource, revision));
            }
            Ok((resource, _)) => resources.skipped.push(resource.key().to_string()),
            Err(error) => wrong.push(format!("resource {}: {error}", index + 1)),
        }
    }
    if !wrong.is_empty() {
        bail!("{}\nnothing was changed", wrong.join("\n"));
    }
    // A stable order, kind by kind as they depend on one another.
    resources.put.sort_by_key(|(resource, _)| resource.kind());
    Ok(Input::Resources(resources))
}

fn resource(document: Value) -> Result<(AnyResource, Option<u64>), String> {
    let Value::Object(mut fields) = document else {
        return Err("allowed: {kind: KIND, body: {...}}".into());
    };
    let kind: Kind = match fields.remove("kind") {
        Some(Value::String(text)) => match text.parse() {
            Ok(kinds::What::Kind(kind)) => kind,
            Ok(_) => return Err(format!("kind: found `{text}`, which is not written")),
            Err(error) => return Err(format!("kind: {error}")),
        },
        found => {
            return Err(format!("kind: found `{}`, allowed: a kind", found.unwrap_or_default()));
        }
    };
    let body = fields.remove("body").ok_or_else(|| format!("body: missing from this {kind}"))?;
    let name = fields.remove("name");
    let revision = fields.remove("revision").and_then(|r| r.as_u64()).filter(|r| *r > 0);
    if let Some(field) = fields.keys().next() {
        return Err(format!("{field}: unknown, allowed: kind, name, revision, body"));
    }
    let label = name.as_ref().map_or_else(|| kind.to_string(), |n| format!("{kind}/{}", super::entries::plain(n)));
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(body, &mut track);
    let resource =
        AnyResource::deserialize(kind, tracked).map_err(|error| match track.path().to_string().as_str() {
            "." => format!("{label}: {error}"),
            path => format!("{label}: {path}: {error}"),
        })?;
    match name {
        Some(Value::String(name)) if name != resource.name() => {
            Err(format!("name: found `{name}`, allowed: {}, as the body says", resource.name()))
        }
        _ => Ok((resource, revision)),
    }
}

pub fn apply(apply: &Apply, out: &mut dyn Write) -> anyhow::Result<()> {
    let text = read(&apply.file)?;
    let input = parse(&text).with_context(|| format!("{} cannot be applied", apply.file))?;
    let resources = match input {
        Input::Blueprint if apply.if_unchanged => {
            bail!("--if-unchanged goes with resources, and {} is a blueprint", apply.file)
        }
        Input::Blueprint if apply.dry_run => {
            return blueprint::plan_on_server(&apply.file, &text, &apply.connection, out);
        }
        Input::Blueprint => {
            return blueprint::apply_text(&apply.file, &text, &apply.connection, out);
        }
        Input::Resources(resources) => resources,
    };
    let client = Client::new(&apply.connection)?;
    for key in &resources.skipped {
        writeln!(out, "{key} left alone: the network shows it, nobody writes it")?;
    }
    if resources.put.is_empty() {
        bail!("{} names nothing to apply", apply.file);
    }
    for (done, (resource, revision)) in resources.put.iter().enumerate() {
        let revision = revision.filter(|_| apply.if_unchanged);
        let said = put(&client, resource, revision, apply.dry_run).with_context(|| {
            let rest = resources.put.len() - done;
            format!("{} ({done} of {} were applied, {rest} were not)", resource.key(), resources.put.len())
        })?;
        writeln!(out, "{} {said}", resource.key())?;
    }
    Ok(())
}

fn put(client: &Client, resource: &AnyResource, if_match: Option<u64>, dry_run: bool) -> Result<&'static str, Error> {
    let path = format!("/{}/{}", resource.kind(), in_path(&resource.name()));
    let body = resource.to_json();
    let there = client.find(&path)?;
    let would = match &there {
        None => ["would be created", "created"],
        Some((there, _)) if *there == body => ["is as wanted", "unchanged"],
        Some(_) => ["would be changed", "changed"],
    };
    if dry_run {
        return Ok(would[0]);
    }
    client.send(Method::PUT, &path, Some(Sent("application/json", &body.to_string())), if_match)?;
    Ok(would[1])
}

pub fn delete(delete: &Delete, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = Client::new(&delete.connection)?;
    if delete.if_revision.is_some() && delete.names.len() > 1 {
        bail!("--if-revision goes with one name, found {}", delete.names.len());
    }
    for name in &delete.names {
        let path = format!("/{}/{}", delete.kind, in_path(name));
        client.send(Method::DELETE, &path, None, delete.if_revision)?;
        writeln!(out, "{}/{name} deleted", delete.kind)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> (Vec<(String, Option<u64>)>, Vec<String>) {
        match parse(text).unwrap() {
            Input::Resources(r) => (r.put.iter().map(|(r, n)| (r.key().to_string(), *n)).collect(), r.skipped),
            Input::Blueprint => panic!("a blueprint"),
        }
    }

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn blueprints_are_told_from_resources() {
        let blueprint = include_str!("../../../../topology/blueprint/examples/2x2.yaml");
        assert_eq!(parse(blueprint).unwrap(), Input::Blueprint);
        let mixed = format!("kind: link\nbody: {{id: leaf1/1~spine1/1}}\n---\n{blueprint}");
        assert!(error(&mixed).contains("stands alone"), "{}", error(&mixed));
    }

    #[test]
    fn one_resource_a_list_documents_and_what_get_writes() {
        let one = "kind: routes\nbody: {prefix: 10.9.0.0/16, target: blackhole}\n";
        assert_eq!(keys(one).0, [("route/10.9.0.0/16".into(), None)]);
        let json = r#"[{"kind":"port","body":{"id":"leaf1/3","mode":{"untagged":{"vlan":10}}}},
                       {"kind":"subnet","body":{"name":"red","vlan":10}}]"#;
        let (put, _) = keys(json);
        assert_eq!(put, [("subnet/red".into(), None), ("port/leaf1/3".into(), None)], "subnets first");
        let documents = format!("{one}---\n{}", one.replace("10.9", "10.8"));
        assert_eq!(keys(&documents).0.len(), 2);
        let item = super::super::rows::Item {
            kind: Kind::PortState,
            name: "leaf1/3".into(),
            revision: 9,
            body: serde_json::json!({ "port": "leaf1/3", "oper_up": true }),
        };
        let link = super::super::rows::Item {
            kind: Kind::Link,
            name: "leaf1/1~spine1/1".into(),
            revision: 7,
            body: serde_json::json!({ "id": "leaf1/1~spine1/1" }),
        };
        let listed = serde_json::json!({ "kind": "link", "items": [item.to_json(), link.to_json()] });
        let (put, skipped) = keys(&super::super::table::yaml(&listed));
        assert_eq!(put, [("link/leaf1/1~spine1/1".into(), Some(7))]);
        assert_eq!(skipped, ["port-state/leaf1/3"]);
    }

    #[test]
    fn errors_name_the_resource_and_the_field() {
        let text = "- {kind: port, body: {id: leaf1/3, mode: {untagged: {vlan: 4095}}}}\n\
                    - {kind: prot, body: {}}\n- {kind: link, body: {id: leaf1/1~spine1/1, up: true}}\n\
                    - {kind: link, name: x, body: {id: leaf1/1~spine1/1}}\n- {kind: link}\n- 7\n\
                    - {kind: link, body: {id: leaf1/1~spine1/1}, spec: 1}\n";
        let error = error(text);
        let lines: Vec<&str> = error.lines().collect();
        assert!(lines[0].starts_with("resource 1: port: mode.untagged.vlan: "), "{error}");
        assert!(lines[0].contains("4095") && lines[0].contains("1 to 4094"), "{error}");
        assert!(lines[1].starts_with("resource 2: kind: found `prot`, allowed: site"), "{error}");
        assert!(lines[2].starts_with("resource 3: link: ") && lines[2].contains("up"), "{error}");
        assert!(lines[3].contains("found `x`, allowed: leaf1/1~spine1/1"), "{error}");
        assert!(lines[4].contains("body: missing") && lines[5].contains("resource 6"), "{error}");
        assert!(lines[6].contains("spec: unknown"), "{error}");
        assert_eq!(lines[7], "nothing was changed");
    }
}
