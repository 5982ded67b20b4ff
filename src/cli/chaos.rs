//! Options of `coordinator chaos`.

use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::mode::EngineName;
use super::value;
use crate::chaos::Faults;

/// Options of `coordinator chaos`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ChaosArgs {
    /// URLs of the list [default: 2000; with --compare-modes 200]
    #[arg(long, value_name = "N", value_parser = value::some_urls)]
    pub urls: Option<NonZeroU32>,

    /// Worker processes
    #[arg(short = 'w', long, value_name = "N", default_value = "6", value_parser = value::at_least_one)]
    pub workers: NonZeroU16,

    /// Downloads in flight at once in each worker
    #[arg(short = 'c', long, value_name = "N", default_value = "1", value_parser = value::at_least_one)]
    pub concurrency: NonZeroU16,

    /// What drives the downloads of a worker
    #[arg(long, value_enum, default_value = "blocking")]
    pub engine: EngineName,

    /// The same seed makes the same list, and lets the same befall it
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,

    /// Faults, with commas between them, each with an amount if it is not to be the usual one:
    /// kill=10/s,coordinator=20,torn; all, or none; see below
    #[arg(long, value_name = "FAULTS", default_value = "all")]
    pub faults: Faults,

    /// Longest time that it all may take
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = value::some_duration)]
    pub time_limit: Duration,

    /// A fleet of so many members, each with its own workers and output folder, and a nats-server of
    /// their own
    #[cfg(feature = "fleet")]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16), conflicts_with = "compare_modes")]
    pub fleet: Option<u16>,

    /// The nats-server of the fleet [default: the one in PATH]
    #[cfg(feature = "fleet")]
    #[arg(long, value_name = "FILE", requires = "fleet", value_hint = clap::ValueHint::FilePath)]
    pub nats_server: Option<PathBuf>,

    /// Keep everything (files, run log, what the origin saw) in DIR, which must not exist
    #[arg(short = 'o', long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// Instead, run a list with a URL that crashes whoever handles it, one that eats memory and one
    /// that hangs in every mode, and tell what each mode paid
    #[arg(long, conflicts_with_all = ["faults", "output", "concurrency", "engine", "time_limit"])]
    pub compare_modes: bool,

    /// Print the verdict as JSON
    #[arg(long)]
    pub json: bool,

    /// Show no progress
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Log to standard error; -vv and -vvv say more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

const AFTER_HELP: &str = "\
Faults:
  of workers, times a second     kill, stop, pause, kill-all
  of tasks, percent of the URLs  segv, abort, exit, eat, hang, garbage
  of starts, percent of workers  no-connect, no-start
  URLs of each kind that bring one of these about every time  poison
  of the origin, percent of the requests  errors, truncate, reset, stall, slow, endless
  of the coordinator, times in all  coordinator (kill -9), term, suspend, torn, disk
  of a fleet, times in all  server (kill -9), feeder (kill -9), cut (a member, from the queue); and those
                            of the coordinator befall its members

Exit status:
  0    nothing was lost, doubled, torn or left behind
  1    something was, or the run did not finish
  2    the command line is wrong
  3    the set-up is: nothing was started
  130  interrupted (SIGINT), 143 terminated (SIGTERM)";
