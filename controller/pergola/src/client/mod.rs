//! The client side of `pergola`: what operators type, over a controller's REST API.
//!
//! | module | commands |
//! |---|---|
//! | [`get`], [`rows`], [`entries`] | `get`: lists, with columns for each kind |
//! | [`describe`] | `describe`: one thing with all that belongs to it |
//! | [`apply`] | `apply`, `delete` |
//! | [`watch`], [`sse`] | `watch` |
//! | [`blueprint`], [`plan`] | `blueprint check`, `plan`, `apply`, `export`, `schema` |
//! | [`cluster`] | `cluster status`, `drain`, `rebalance`; `backup` |
//! | [`provision`] | none: for the demo |
//! | [`http`], [`kinds`], [`table`] | for all of them |
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod apply;
mod blueprint;
mod cluster;
mod describe;
mod entries;
mod get;
mod http;
mod kinds;
mod plan;
mod provision;
mod rows;
mod sse;
mod table;
mod watch;

use std::fmt;
use std::io::{BufWriter, ErrorKind, Write};
use std::process::ExitCode;

use clap::Subcommand;

pub use provision::provision;

/// Commands that ask a controller.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// List resources, devices, entries or the controller's status.
    Get(get::Get),
    /// Show one resource, its state, and what it put on every switch.
    Describe(describe::Describe),
    /// Put what a file says: a blueprint, or resources one by one.
    Apply(apply::Apply),
    /// Delete resources.
    Delete(apply::Delete),
    /// Show changes as they happen.
    Watch(watch::Watch),
    /// Check, plan, apply and export the site as one file.
    #[command(subcommand)]
    Blueprint(blueprint::BlueprintCommand),
    /// The controllers of a site and who is master of what.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Write the store's present state to a file.
    Backup(cluster::Backup),
}

impl ClientCommand {
    /// Runs the command on the standard streams: 0 when it was done, 1 when not, and then the reason is on the standard
    /// error. It blocks, so it is not for an async task.
    pub fn run(&self) -> ExitCode {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let done = self.run_to(&mut out).and_then(|()| Ok(out.flush()?));
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                // What was done before the error is said before it.
                let _ = out.flush();
                match error.downcast_ref::<Rejected>() {
                    Some(rejected) => eprint!("{rejected}"),
                    None => eprintln!("pergola: {error:#}"),
                }
                ExitCode::FAILURE
            }
        }
    }

    fn run_to(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        match self {
            ClientCommand::Get(args) => get::run(args, out),
            ClientCommand::Describe(args) => describe::run(args, out),
            ClientCommand::Apply(args) => apply::apply(args, out),
            ClientCommand::Delete(args) => apply::delete(args, out),
            ClientCommand::Watch(args) => watch::run(args, out),
            ClientCommand::Blueprint(command) => blueprint::run(command, out),
            ClientCommand::Cluster(command) => cluster::run(command, out),
            ClientCommand::Backup(args) => cluster::backup(args, out),
        }
    }
}

/// `pergola get ports | head` is no error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe))
}

/// A file that is wrong, with its lines, as it is shown.
#[derive(Debug)]
struct Rejected(String);

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Rejected {}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: ClientCommand,
    }

    fn parsed(line: &str) -> Result<ClientCommand, clap::Error> {
        Line::try_parse_from(std::iter::once("pergola").chain(line.split(' '))).map(|l| l.command)
    }

    fn output(line: &str) -> anyhow::Result<String> {
        let mut out = Vec::new();
        parsed(line)?.run_to(&mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn the_whole_grammar_is_sound() {
        use clap::CommandFactory;
        Line::command().debug_assert();
        for line in [
            "get",
            "get ports -o json",
            "get entries leaf1 --table acl --cause host/h1 --counters --server http://a:1",
            "describe host h1 --no-counters",
            "describe site",
            "apply -f site.yaml --dry-run",
            "delete routes 10.9.0.0/16 10.8.0.0/16",
            "watch",
            "watch port/leaf1/ --from 7 -o yaml",
            "blueprint check a.yaml",
            "blueprint plan a.yaml --offline --against b.yaml --summary",
            "blueprint apply a.yaml --token-file /t",
            "blueprint export",
            "blueprint schema",
            "cluster status -o json",
            "cluster drain c1 --undo",
            "cluster rebalance",
            "backup site.backup --server http://a:1",
        ] {
            if let Err(error) = parsed(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn wrong_lines_say_what_is_allowed() {
        let error = parsed("get prots").unwrap_err().to_string();
        assert!(error.contains("found `prots`, allowed: site, switch"), "{error}");
        let error = parsed("delete port-state leaf1/3").unwrap_err().to_string();
        assert!(error.contains("allowed: site, switch"), "{error}");
        assert!(parsed("delete port").is_err());
        assert!(parsed("apply").is_err());
        assert!(parsed("blueprint plan a --against b").is_err());
        let error = output("get ports --counters").unwrap_err().to_string();
        assert!(error.contains("get entries"), "{error}");
        let error = output("describe entries x").unwrap_err().to_string();
        assert!(error.contains("pergola get entries"), "{error}");
    }

    #[test]
    fn what_needs_no_controller() {
        let kinds = output("get").unwrap();
        assert!(kinds.contains("policies") && kinds.contains("cabling-fault"), "{kinds}");
        let schema = output("blueprint schema").unwrap();
        assert!(schema.contains("\"Pergola blueprint\""));
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../topology/blueprint/examples/2x2.yaml");
        let text = output(&format!("blueprint check {example}")).unwrap();
        assert!(text.contains("no problems"), "{text}");
        let plan = output(&format!("blueprint plan {example} --offline -o json")).unwrap();
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
        assert!(plan["switches"]["leaf1"]["add"].as_array().unwrap().len() > 10);
        let same = output(&format!("blueprint plan {example} --offline --against {example} --summary"));
        assert_eq!(same.unwrap().lines().next(), Some("nothing would change"));
    }
}
