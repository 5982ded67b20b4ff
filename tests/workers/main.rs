//! Workers that misbehave in every way, with a real coordinator.
//!
//! This program plays three parts, so that the product needs no hooks for tests:
//!
//! - it runs the tests;
//! - with [`ROLE`] in its environment it is the coordinator, which starts its own binary as its
//!   workers and its origin, as usual;
//! - with `worker` in its arguments it misbehaves as the plan says for its slot and epoch, or is a
//!   real worker.
#![allow(clippy::unwrap_used, reason = "tests")]

mod confined;
mod hostile;
mod kernels;
mod killers;
mod last_words;
mod lies;
mod misbehave;
mod packets;
mod starting;
#[path = "../support/mod.rs"]
mod support;
mod talking;

use std::env;
use std::process::ExitCode;

use clap::Parser;
use coordinator::cli::{Cli, Command};
use libtest_mimic::{Arguments, Trial};

use support::Run;

/// The environment variable that makes this program a coordinator.
const ROLE: &str = "COORDINATOR_TEST_ROLE";

/// The allocator of the product.
#[global_allocator]
static ALLOCATOR: pool::Allocator = pool::Allocator::limited_by("--worker-memory, or ulimit -d");

fn main() -> ExitCode {
    if let Some(socket) = env::var_os(packets::STRANGER) {
        packets::be_a_stranger(socket.as_ref());
    }
    // A confined worker does not inherit the environment, so its arguments identify it.
    let is_worker = env::args().take(2).eq(["coordinator", "worker"]);
    if is_worker || env::var_os(ROLE).is_some() {
        if !is_worker {
            kernels::make();
        }
        return coordinator();
    }
    let trials = [
        starting::trials(),
        lies::trials(),
        talking::trials(),
        hostile::trials(),
        killers::trials(),
        last_words::trials(),
        confined::trials(),
        kernels::trials(),
    ];
    libtest_mimic::run(
        &Arguments::from_args(),
        trials.into_iter().flatten().collect(),
    )
    .exit_code()
}

fn coordinator() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Worker(arguments)) = &cli.command {
        env::set_current_dir(&arguments.folder).unwrap();
        if let Some(action) = misbehave::planned(arguments) {
            return action.play(arguments);
        }
    }
    coordinator::command::run(cli)
}

/// A run whose workers misbehave as planned.
fn run(plan: &str) -> Run {
    let run = Run::of(env::current_exe().unwrap()).env(ROLE, "coordinator");
    misbehave::plan(&run, plan);
    run
}

/// A test, named after what it checks.
fn trial(name: &'static str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

/// Makes trials of functions, named after them.
macro_rules! trials {
    ($($test:ident),* $(,)?) => {
        vec![$($crate::trial(concat!(module_path!(), "::", stringify!($test)), $test)),*]
    };
}
use trials;
