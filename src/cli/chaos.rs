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

    /// How a worker runs its downloads
    #[arg(long, value_enum, default_value = "blocking")]
    pub engine: EngineName,

    /// The same seed makes the same list and the same plan of faults
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,

    /// Faults, separated by commas, each with an amount if it is not the default one:
    /// kill=10/s,coordinator=20,torn; or all, or none; see below
    #[arg(long, value_name = "FAULTS", default_value = "all")]
    pub faults: Faults,

    /// Limit for everything together
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = value::some_duration)]
    pub time_limit: Duration,

    /// Try a fleet of N members, each with its own workers and output folder, and a nats-server of
    /// their own
    #[cfg(feature = "fleet")]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16), conflicts_with = "compare_modes")]
    pub fleet: Option<u16>,

    /// The nats-server of the fleet [default: the one in PATH]
    #[cfg(feature = "fleet")]
    #[arg(long, value_name = "FILE", requires = "fleet", value_hint = clap::ValueHint::FilePath)]
    pub nats_server: Option<PathBuf>,

    /// Keep everything (files, run log, the requests that the server saw) in DIR, which must not
    /// exist
    #[arg(short = 'o', long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// Instead, run the same list in every mode, with one URL that crashes its worker, one that
    /// uses too much memory and one that hangs, and show what each mode lost
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
  kill, stop, pause, kill-all  signals to workers, times a second
  segv, abort, exit, eat, hang, garbage  in workers, percent of the URLs
  no-connect, no-start  when workers start, percent of the workers
  poison  URLs of each kind of fault that cause it every time
  errors, truncate, reset, stall, slow, endless  of the server, percent of the requests
  coordinator (kill -9), term, suspend, torn, disk  of the coordinator, times in all
  server (kill -9), feeder (kill -9), cut (a member, from the queue)  of a fleet, times in all;
      faults of the coordinator hit its members

Exit status:
  0    nothing was lost, stored twice, torn or left behind
  1    something was lost, stored twice, torn or left behind, or the run did not finish
  2    the command line is wrong
  3    the set-up is wrong: nothing was started
  130  interrupted (SIGINT), 143 terminated (SIGTERM)";
