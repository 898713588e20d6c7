//! The `pergola` binary: command line, configuration, wiring. No logic.
#![allow(clippy::print_stdout)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod client;
mod demo;
mod replay;
mod run;
mod store;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pergola_lab::cli::{AgentCommand, LabCommand};

#[derive(Parser)]
#[command(name = "pergola", version, about = "A telephone company's central office in one program")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a controller.
    Run(run::Run),
    /// Move the store of a site that is stopped.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Fill an empty store from a backup.
    Restore(store::Restore),
    /// Plan again what a controller recorded with --record, and compare.
    Replay(replay::Replay),
    /// Emulate an office on this machine.
    #[command(subcommand)]
    Lab(LabCommand),
    /// A 2x2 fabric: up, provisioned, pinged, cut under traffic, left running.
    Demo(demo::Demo),
    #[command(flatten)]
    Client(client::ClientCommand),
    #[command(hide = true)]
    LabAgent(AgentCommand),
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // What builds or serves something goes on without its reader.
    if matches!(command, Command::Client(_))
        || matches!(&command, Command::Lab(lab) if !matches!(lab, LabCommand::Up(_)))
    {
        pergola_lab::sys::process::end_on_broken_pipe();
    }
    let done = match command {
        Command::Lab(command) => {
            return command.run_with(&|context| Some(pergola_lab::controller(context)));
        }
        Command::LabAgent(command) => return command.run(),
        Command::Client(command) => return command.run(),
        Command::Run(command) => command.run(),
        Command::Store(command) => command.run(),
        Command::Restore(command) => command.run(),
        Command::Replay(command) => command.run(),
        Command::Demo(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pergola: {error:#}");
            ExitCode::FAILURE
        }
    }
}
