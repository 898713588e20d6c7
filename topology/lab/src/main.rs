//! `pergola-lab`: the lab's commands by themselves, and the program behind its helper processes.

use clap::Parser;
use pergola_lab::cli::{AgentCommand, LabCommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "pergola-lab", version, about = "An office emulated on this machine")]
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
