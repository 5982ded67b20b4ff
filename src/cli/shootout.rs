//! Options of `coordinator shootout`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use lab::origin::Spec;

use super::value;

/// Options of `coordinator shootout`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ShootoutArgs {
    /// URLs, and lists of URLs; - is standard input [default: urls.txt, or a built-in list where
    /// there is none]
    #[arg(value_name = "URL|LIST")]
    pub urls: Vec<PathBuf>,

    /// Downloads at once, for every approach that can have more than one
    #[arg(short = 'w', long, value_name = "N", default_value = "6")]
    pub workers: NonZeroU16,

    /// Measure only these: names of approaches, of --contestant and of --peers, separated by commas
    #[arg(
        long,
        value_name = "NAMES",
        visible_alias = "approaches",
        value_delimiter = ','
    )]
    pub only: Vec<String>,

    /// How the built-in server answers: a comma-separated list of size=64KiB, latency=100ms,
    /// jitter=0ms, errors=0%, truncate=0%, reset=0%, stall=0%, slow=0%, endless=0%,
    /// transient=none, range=on, validators=both, changed=0%, seed=1
    #[arg(long, value_name = "SPEC", default_value = "latency=100ms,size=64KiB")]
    pub simulate: Spec,

    /// Use the real network instead of the built-in server
    #[arg(long, conflicts_with_all = ["simulate", "matrix"])]
    pub live: bool,

    /// CPU time to spend on each body
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = value::duration)]
    pub cpu_per_task: Duration,

    /// Measure three kinds of work: I/O-bound as --simulate says; mixed, with --cpu-per-task (or
    /// 5ms) on each body; CPU-bound, without latency and with four times that work
    #[arg(long)]
    pub matrix: bool,

    /// Measure other numbers of downloads in flight as well, for example 1,2,4,8,16,32
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    pub scan_workers: Vec<NonZeroU16>,

    /// Also measure a command, given as 'NAME=COMMAND': {urls} is the list, {out} the folder for
    /// files, {workers} the number of downloads at once. The list is then plain http for all. May
    /// be given several times
    #[arg(long, value_name = "NAME=COMMAND")]
    pub contestant: Vec<String>,

    /// Also measure curl, wget2, aria2c, xargs with wget, and Python, if they are installed: of
    /// each program the newest on PATH
    #[arg(long)]
    pub peers: bool,

    /// Measure this curl, wget2, aria2c or wget, given as NAME=PATH, in place of the newest on
    /// PATH. May be given several times
    #[arg(long, value_name = "NAME=PATH")]
    pub peer: Vec<String>,

    /// Also measure `limit`: only the system calls that the downloads take, in --workers processes.
    /// The list is then plain http for all
    #[arg(long)]
    pub limit: bool,

    /// Download over TLS. Other programs get the certificate of the server's authority
    #[arg(long, conflicts_with = "live")]
    pub tls: bool,

    /// Measure these kinds of work instead of a list, separated by commas. If nginx is installed, it serves the
    /// files, except those of `latency`
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        conflicts_with_all = ["urls", "simulate", "live", "matrix", "tls", "cpu_per_task"]
    )]
    pub preset: Vec<Preset>,

    /// Timed rounds
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// Rounds before the timed ones, which do not count
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub warm_up: u32,

    /// Limit for one run
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = value::some_duration)]
    pub time_limit: Duration,

    /// Print nothing: no progress and no table
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Log to standard error; -vv and -vvv say more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Options for the results.
    #[command(flatten)]
    pub export: ExportArgs,
}

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// 10,000 files of 10 KB
    Small,
    /// The same over TLS
    Tls,
    /// 200,000 files of 1 KB
    Tiny,
    /// 4 files of 256 MB
    Large,
    /// 30 files of 64 KiB, each 100 ms after its request
    Latency,
}

/// Options of `coordinator bare-calls`: the bare system calls of a list of downloads.
#[derive(Debug, Args)]
pub struct BareArgs {
    /// Processes
    #[arg(long)]
    pub processes: NonZeroU16,

    /// Which of them this is
    #[arg(long)]
    pub share: Option<u16>,

    /// A list of http URLs
    pub list: PathBuf,

    /// Folder for the files
    pub out: PathBuf,
}

/// Where the results go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Results")]
pub struct ExportArgs {
    /// Write a page with charts and timelines, in one file
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
  0    every entrant downloaded everything
  1    an entrant failed, and no time is reported for it
  2    the command line is wrong
  3    the input or the set-up is wrong, or a result could not be written
  130  interrupted (SIGINT), 143 terminated (SIGTERM); complete rounds are reported";
