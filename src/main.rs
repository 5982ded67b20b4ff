//! The program: calls [`coordinator::command`].

use std::process::ExitCode;

/// Makes a worker report that it has reached its memory limit.
#[global_allocator]
static ALLOCATOR: pool::Allocator = pool::Allocator::limited_by("--worker-memory, or ulimit -d");

fn main() -> ExitCode {
    coordinator::command::main()
}
