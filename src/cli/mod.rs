//! What the user typed: clap types, and nothing else.
//!
//! What it means is decided in [`crate::config`].

pub mod chaos;
pub mod exec;
pub mod limits;
pub mod list;
pub mod mode;
pub mod origin;
pub mod run;
pub mod shootout;
mod value;
pub mod worker;

use clap::{Parser, Subcommand};

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
    /// Run the built-in origin alone: a server that answers every URL
    Origin(origin::OriginArgs),
    /// Compare the ways of downloading, and other programs, on the same work
    Shootout(Box<shootout::ShootoutArgs>),
    /// Let workers, coordinator, origin and disk fail while a list is downloaded, and check that
    /// nothing was lost
    Chaos(Box<chaos::ChaosArgs>),
    /// Be a worker; only a coordinator starts one
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
    /// Start the processes that run commands for a worker; only a worker starts one
    #[command(hide = true)]
    Guard(exec::HandedArgs),
    /// Run commands for a worker; only its guard starts one
    #[command(hide = true)]
    Runner(exec::HandedArgs),
}

const AFTER_HELP: &str = "\
Exit codes:
  0    every URL is stored
  1    some URLs failed, are quarantined, or could not be read
  2    the command line is wrong
  3    the input or the set-up is: nothing was started
  4    the run was given up: restart intensity, disk full
  130  interrupted (SIGINT), 143 terminated (SIGTERM); run the same command again to finish

Signals:
  SIGINT, SIGTERM   finish what runs, start nothing new; a second one ends the run at once
  SIGUSR1           say on standard error what each worker is doing now";
