//! Options of `coordinator shootout`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use lab::origin::Spec;

use super::value;

/// Options of `coordinator shootout`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ShootoutArgs {
    /// URLs, and lists of URLs; - is standard input [default: urls.txt, or a built-in list where there
    /// is none]
    #[arg(value_name = "URL|LIST")]
    pub urls: Vec<PathBuf>,

    /// Downloads in flight, for every approach that can have more than one
    #[arg(short = 'w', long, value_name = "N", default_value = "6")]
    pub workers: NonZeroU16,

    /// Only these: names of approaches, of --contestant and of --peers, with commas between them
    #[arg(
        long,
        value_name = "NAMES",
        visible_alias = "approaches",
        value_delimiter = ','
    )]
    pub only: Vec<String>,

    /// How the built-in origin answers: a comma-separated list of size=64KiB, latency=100ms,
    /// jitter=0ms, errors=0%, truncate=0%, reset=0%, stall=0%, slow=0%, endless=0%,
    /// transient=none, range=on, validators=both, changed=0%, seed=1
    #[arg(long, value_name = "SPEC", default_value = "latency=100ms,size=64KiB")]
    pub simulate: Spec,

    /// Use the real network in place of the built-in origin
    #[arg(long, conflicts_with_all = ["simulate", "matrix"])]
    pub live: bool,

    /// CPU work on each body
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = value::duration)]
    pub cpu_per_task: Duration,

    /// Measure three kinds of work: I/O-bound as --simulate says; mixed, with --cpu-per-task (or
    /// 5ms) on each body; CPU-bound, without latency and with four times that work
    #[arg(long)]
    pub matrix: bool,

    /// Measure other numbers of downloads in flight as well, for example 1,2,4,8,16,32
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    pub scan_workers: Vec<NonZeroU16>,

    /// Let a command take part, given as 'NAME=COMMAND': {urls} is the list, {out} the folder for
    /// files, {workers} the number of downloads in flight. The list then is plain http, for all.
    /// May be given several times
    #[arg(long, value_name = "NAME=COMMAND")]
    pub contestant: Vec<String>,

    /// Let curl, wget2, aria2c, xargs with wget, and Python take part, those that are there
    #[arg(long)]
    pub peers: bool,

    /// Timed rounds
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// Rounds before them that do not count
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub warm_up: u32,

    /// Longest time that one run may take
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = value::some_duration)]
    pub time_limit: Duration,

    /// Say nothing while measuring, and show no table
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Log to standard error; -vv and -vvv say more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Where the results go.
    #[command(flatten)]
    pub export: ExportArgs,
}

/// Where the results go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Results")]
pub struct ExportArgs {
    /// Write a page with charts and timelines, which needs no other file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Write everything as JSON, each timed round included
    #[arg(long, value_name = "FILE")]
    pub export_json: Option<PathBuf>,

    /// Write the table as CSV, in seconds and bytes
    #[arg(long, value_name = "FILE")]
    pub export_csv: Option<PathBuf>,

    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE")]
    pub export_markdown: Option<PathBuf>,

    /// Write the timelines in the Chrome trace event format, for Perfetto
    #[arg(long, value_name = "FILE")]
    pub export_trace: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Approaches: sequential, threads, processes-shared, processes-chunked, async, hybrid.

Exit status:
  0    everyone did the work
  1    someone failed, and has no time
  2    the command line is wrong
  3    the input or the set-up is, or a result could not be written
  130  interrupted (SIGINT), 143 terminated (SIGTERM); what was complete is reported";
