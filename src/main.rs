//! Routes to a command.

use std::process::ExitCode;

/// So that a worker that reaches its limit on memory says so.
#[global_allocator]
static ALLOCATOR: pool::Allocator = pool::Allocator::limited_by("--worker-memory, or ulimit -d");

fn main() -> ExitCode {
    coordinator::command::main()
}
