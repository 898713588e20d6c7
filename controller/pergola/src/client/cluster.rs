//! `pergola cluster` and `pergola backup`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::Value;
use ureq::http::Method;

use super::http::{Client, Connection, in_path};
use super::table::{self, Output};

/// `cluster status|drain|rebalance`
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Controllers, and which of them is master of which switch.
    Status(Status),
    /// Take every switch from a controller, before it is stopped.
    Drain(Drain),
    /// Spread the switches evenly now.
    Rebalance(Rebalance),
}

#[derive(Debug, clap::Args)]
pub struct Status {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct Drain {
    /// The controller's name.
    node: String,
    /// Let it take part again.
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct Rebalance {
    #[command(flatten)]
    connection: Connection,
}

/// `backup FILE`
#[derive(Debug, clap::Args)]
pub struct Backup {
    /// The file to write; it appears when it is whole and was verified.
    file: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

pub fn run(command: &ClusterCommand, out: &mut dyn Write) -> Result<()> {
    match command {
        ClusterCommand::Status(args) => {
            let value = Client::new(&args.connection)?.get("/cluster")?;
            table::write(out, args.output.format, &value, || shown(&value))?;
        }
        ClusterCommand::Drain(args) => {
            let method = if args.undo { Method::DELETE } else { Method::PUT };
            let path = format!("/cluster/drain/{}", in_path(&args.node));
            Client::new(&args.connection)?.send(method, &path, None, None)?;
            let what = if args.undo { "takes part again" } else { "gives up its switches" };
            writeln!(out, "{} {what}", args.node)?;
        }
        ClusterCommand::Rebalance(args) => {
            Client::new(&args.connection)?.send(Method::POST, "/cluster/rebalance", None, None)?;
            writeln!(out, "the switches are being spread evenly")?;
        }
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let yes = |v: &Value| if v.as_bool() == Some(true) { "yes" } else { "no" }.to_owned();
    let nodes = value["nodes"].as_array().into_iter().flatten();
    let nodes = nodes.map(|n| vec![text(&n["name"]), yes(&n["alive"]), yes(&n["draining"]), n["masters"].to_string()]);
    let devices = value["devices"].as_object().into_iter().flatten();
    let devices = devices.map(|(name, d)| vec![name.clone(), text(&d["master"]), text(&d["election_id"])]);
    format!(
        "{}\n{}\n{}\n",
        table::table(&["CONTROLLER", "ALIVE", "DRAINING", "SWITCHES"], nodes.collect()),
        table::table(&["SWITCH", "MASTER", "ELECTION ID"], devices.collect()),
        text(&value["store"]["detail"]),
    )
}

pub fn backup(args: &Backup, out: &mut dyn Write) -> Result<()> {
    let mut stream = Client::new(&args.connection)?.stream("/backup", None)?;
    let partial = args.file.with_extension("partial");
    let shown = partial.display();
    let written: Result<_> = (|| {
        let mut file = std::fs::File::create(&partial).with_context(|| format!("writing {shown}"))?;
        std::io::copy(&mut stream, &mut file).with_context(|| format!("writing {shown}"))?;
        file.sync_all().with_context(|| format!("writing {shown}"))?;
        let done = pergola_store::transfer::verify(&partial)?;
        std::fs::rename(&partial, &args.file).with_context(|| format!("writing {}", args.file.display()))?;
        Ok(done)
    })();
    if written.is_err() {
        // The error counts, not what is left of the attempt.
        let _ = std::fs::remove_file(&partial);
    }
    writeln!(out, "{}", crate::store::said("backed up", &written?))?;
    Ok(())
}
