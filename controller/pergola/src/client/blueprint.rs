//! `pergola blueprint`: check, plan, apply and export a site's file.

use std::io::Write;

use anyhow::Context;
use clap::Subcommand;
use pergola_blueprint::Blueprint;
use pergola_model::View;
use serde_json::Value;
use ureq::http::Method;

use super::http::{Client, Connection, Sent};
use super::table::{self, Output};
use super::{Rejected, apply, plan};

/// The site as one file.
#[derive(Debug, Subcommand)]
pub enum BlueprintCommand {
    /// Say what is wrong with a file, with line and column. Needs no controller.
    Check {
        /// The blueprint; `-` is the standard input.
        file: String,
    },
    /// Show what applying a file would change, down to the entries of each switch.
    Plan(PlanArgs),
    /// Make the site what the file says, all of it or nothing.
    Apply {
        /// The blueprint; `-` is the standard input.
        file: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Write the site as a blueprint.
    Export {
        /// Where to; without it, or with `-`, the standard output.
        file: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Write the JSON Schema of blueprints.
    Schema,
}

#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// The blueprint; `-` is the standard input.
    file: String,
    /// Ask no controller: plan against an empty site, or the one --against names.
    #[arg(long)]
    offline: bool,
    /// With --offline: the blueprint of the site there is.
    #[arg(long, value_name = "FILE", requires = "offline")]
    against: Option<String>,
    /// Only how many entries change on each switch.
    #[arg(long)]
    summary: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

pub fn run(command: &BlueprintCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        BlueprintCommand::Check { file } => {
            let blueprint = checked(file, &apply::read(file)?)?;
            let n = blueprint.intents().len();
            writeln!(out, "{file}: no problems, {n} intents")?;
        }
        BlueprintCommand::Plan(args) => {
            let text = apply::read(&args.file)?;
            let wanted = checked(&args.file, &text)?;
            let plan = if args.offline {
                let old = match &args.against {
                    Some(file) => checked(file, &apply::read(file)?)?.view(),
                    None => View::from_resources(std::iter::empty()),
                };
                offline(&old, wanted)
            } else {
                ask(&text, &args.connection)?
            };
            table::write(out, args.output.format, &plan, || plan::render(&plan, args.summary))?;
        }
        BlueprintCommand::Apply { file, connection } => {
            apply_text(file, &apply::read(file)?, connection, out)?;
        }
        BlueprintCommand::Export { file, connection } => {
            let client = Client::new(connection)?;
            let text = client.send(Method::GET, "/blueprint", None, None)?.body;
            match file.as_deref() {
                None | Some("-") => out.write_all(text.as_bytes())?,
                Some(file) => {
                    std::fs::write(file, text).with_context(|| format!("cannot write {file}"))?;
                }
            }
        }
        BlueprintCommand::Schema => out.write_all(pergola_blueprint::schema().as_bytes())?,
    }
    Ok(())
}

/// A right blueprint; of a wrong one, every problem with its line.
fn checked(file: &str, text: &str) -> Result<Blueprint, Rejected> {
    pergola_blueprint::parse(text).map_err(|problems| Rejected(problems.render(file)))
}

/// The plan of a change, made here.
fn offline(old: &View, wanted: Blueprint) -> Value {
    let changes = pergola_blueprint::diff(old.intents(), wanted.into_intents());
    pergola_northbound::blueprint::plan_of(old, &changes)
}

/// The plan of a change, made by the controller.
fn ask(text: &str, connection: &Connection) -> anyhow::Result<Value> {
    let client = Client::new(connection)?;
    let path = "/blueprint/plan";
    let answer = client.send(Method::POST, path, Some(Sent("application/yaml", text)), None)?;
    Ok(client.json(path, &answer.body)?)
}

/// Shows what a blueprint would change.
pub fn plan_on_server(file: &str, text: &str, connection: &Connection, out: &mut dyn Write) -> anyhow::Result<()> {
    checked(file, text)?;
    let plan = ask(text, connection)?;
    Ok(out.write_all(plan::render(&plan, false).as_bytes())?)
}

/// Applies a blueprint and says what that changed.
pub fn apply_text(file: &str, text: &str, connection: &Connection, out: &mut dyn Write) -> anyhow::Result<()> {
    checked(file, text)?;
    let client = Client::new(connection)?;
    let path = "/blueprint";
    let answer = client.send(Method::PUT, path, Some(Sent("application/yaml", text)), None)?;
    let answer = client.json(path, &answer.body)?;
    Ok(out.write_all(applied(file, &answer).as_bytes())?)
}

fn applied(file: &str, answer: &Value) -> String {
    let intents = answer.get("intents").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let revision = answer.get("revision").and_then(Value::as_u64).unwrap_or_default();
    if intents.is_empty() {
        return format!("the site is what {file} says already (revision {revision})\n");
    }
    let mut out = String::new();
    for intent in intents.iter().filter_map(Value::as_str) {
        out.push_str(&format!("{intent}\n"));
    }
    let s = if intents.len() == 1 { "" } else { "s" };
    out.push_str(&format!("{} intent{s} changed (revision {revision})\n", intents.len()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const EXAMPLE: &str = include_str!("../../../../topology/blueprint/examples/2x2.yaml");

    #[test]
    fn a_wrong_file_is_shown_with_its_lines() {
        let text = EXAMPLE.replace("vlan: 10\n", "vlan: 4095\n");
        let error = checked("site.yaml", &text).unwrap_err().to_string();
        assert!(error.contains("site.yaml:") && error.contains("found `4095`, allowed: 1 to 4094"), "{error}");
        assert!(error.contains("| "), "the line itself: {error}");
    }

    #[test]
    fn plans_without_a_controller() {
        let empty = View::from_resources(std::iter::empty());
        let wanted = || checked("2x2", EXAMPLE).unwrap();
        let n = wanted().intents().len();
        let plan = offline(&empty, wanted());
        let text = plan::render(&plan, false);
        for words in ["  + switch/leaf1\n", "leaf2: ", " to add, 0 to change, 0 to remove", "10.66.0.0/16"] {
            assert!(text.contains(words), "{words} is missing:\n{text}");
        }
        let last = text.lines().last().unwrap();
        assert!(
            last.starts_with(&format!("intents: {n} to create, 0 to change, 0 to delete; entries on 4 switches: ")),
            "{last}"
        );
        let same = plan::render(&offline(&wanted().view(), wanted()), false);
        assert!(same.starts_with("nothing would change\n"), "{same}");
        assert!(!same.contains("to add"), "{same}");
    }

    #[test]
    fn one_changed_port_touches_few_entries() {
        let old = checked("2x2", EXAMPLE).unwrap();
        let text = EXAMPLE.replace("leaf2/4: {untagged: blue}", "leaf2/4: {untagged: green}");
        let text = text.replace(
            "h4: {port: leaf2/4, ips: [10.0.20.14, \"2001:db8:20::14\"]}",
            "h4: {port: leaf2/4, ips: [10.0.30.14]}",
        );
        let new = checked("new", &text).unwrap();
        let plan = plan::render(&offline(&old.view(), new), false);
        assert!(plan.contains("  ~ port/leaf2/4 mode\n"), "{plan}");
        assert!(plan.contains("\nleaf2: "), "{plan}");
    }

    #[test]
    fn what_was_applied() {
        assert_eq!(
            applied("a.yaml", &json!({ "revision": 7, "intents": ["+ link/x"] })),
            "+ link/x\n1 intent changed (revision 7)\n"
        );
        assert_eq!(
            applied("a.yaml", &json!({ "revision": 7, "intents": [] })),
            "the site is what a.yaml says already (revision 7)\n"
        );
    }
}
