//! Routes to a command.

use std::process::ExitCode;

/// So that a worker that reaches its limit on memory says so.
#[global_allocator]
static ALLOCATOR: worker::Allocator = worker::Allocator::new();

fn main() -> ExitCode {
    coordinator::command::main()
}
