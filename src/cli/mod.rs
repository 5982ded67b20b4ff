//! What the user typed: clap types, and nothing else.
//!
//! What it means is decided in [`crate::config`].

pub mod chaos;
pub mod exec;
pub mod isolation;
pub mod limits;
pub mod list;
pub mod mode;
pub mod origin;
pub mod reference;
pub mod results;
pub mod run;
pub mod shootout;
mod value;
pub mod worker;

use clap::{Parser, Subcommand};

/// Download a list of URLs with worker processes, and lose nothing when one is killed
///
/// Downloads every URL of a list onto disk with N worker processes, and loses nothing when any of
/// them, or the coordinator itself, is killed. Run the same command again to finish a run that
/// was cut short.
#[derive(Debug, Parser)]
#[command(
    name = "coordinator",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = AFTER_HELP
)]
pub struct Cli {
    /// What to do instead of the main job.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The main job.
    #[command(flatten)]
    pub run: run::RunArgs,
}

/// What to do instead of the main job.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell what became of a run: counts, errors, the slowest downloads
    Results(results::ResultsArgs),
    /// Compare the ways of downloading, and other programs, on the same work
    Shootout(Box<shootout::ShootoutArgs>),
    /// Let workers, coordinator, origin and disk fail while a list is downloaded, and check that
    /// nothing was lost
    Chaos(Box<chaos::ChaosArgs>),
    /// Have a worker try, in its sandbox, everything that it must not do, and check what came of it
    Isolation(isolation::IsolationArgs),
    /// Run the built-in origin alone: a server that answers every URL
    Origin(origin::OriginArgs),
    /// Print completions for a shell
    Completions(reference::CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(reference::ManArgs),
    /// Be a worker; only a coordinator starts one
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
    /// Be a run with a worker that attacks it; only `isolation` starts one
    #[command(hide = true)]
    Attacked(Box<isolation::AttackedArgs>),
    /// Run commands; only a coordinator starts one
    #[command(hide = true)]
    Runner(exec::HandedArgs),
}

const AFTER_HELP: &str = "\
Values:
  TIME  seconds (30, 0.5), or with units (90s, 2m 30s, 1h)
  SIZE  bytes (65536), or with units (64KiB, 10MB)
  RATE  per second (5, 5/s), minute (30/m) or hour (100/h)

Exit codes:
  0    every URL is stored
  1    some URLs failed, are quarantined, or could not be read
  2    the command line is wrong
  3    the input or the set-up is wrong: nothing was started
  4    the run was given up: restart intensity, disk full, --max-failures, --run-time
  130  interrupted (SIGINT), 143 terminated (SIGTERM); run the same command again to finish

Signals:
  SIGINT, SIGTERM   finish what runs, start nothing new; a second one ends the run at once
  SIGUSR1           say on standard error what each worker is doing now
  SIGTSTP           (Ctrl-Z) stop, workers included, until SIGCONT; nobody is blamed for it
  SIGTTIN, SIGTTOU  sent with kill: have one worker more, one less";
