//! Routes to a command.

use std::process::ExitCode;

use clap::Parser;
use coordinator::cli::Cli;

/// So that a worker that reaches its limit on memory says so.
#[global_allocator]
static ALLOCATOR: worker::Allocator = worker::Allocator::new();

fn main() -> ExitCode {
    coordinator::command::run(Cli::parse())
}
