//! The lab's commands and helper processes, for the scenarios of this package.

use clap::Parser;
use pergola_lab::cli::{AgentCommand, LabCommand};
use std::process::ExitCode;

#[derive(Parser)]
enum Arguments {
    #[command(flatten)]
    Lab(LabCommand),
    #[command(hide = true)]
    LabAgent(AgentCommand),
}

fn main() -> ExitCode {
    match Arguments::parse() {
        Arguments::Lab(command) => command.run(),
        Arguments::LabAgent(command) => command.run(),
    }
}
