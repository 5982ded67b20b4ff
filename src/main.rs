//! Routes to a command.

use std::process::ExitCode;

use clap::Parser;
use coordinator::cli::Cli;

fn main() -> ExitCode {
    coordinator::command::run(Cli::parse())
}
