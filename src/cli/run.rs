//! Options of a run. Names follow curl where curl has the option.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use lab::inject;
use lab::origin::Spec;
use protocol::ResolveOverride;

use super::exec::ExecArgs;
use super::file::FileArgs;
use super::limits::LimitArgs;
use super::list::ListArgs;
use super::login::LoginArgs;
use super::mode::ModeArgs;
use super::value;

use crate::dispatch::{Intensity, MaxFailures};
use crate::terminal::{Color, Progress};
use crate::watch::Address;

/// The default output folder.
pub const OUTPUT: &str = "downloads";

/// The default output folder of a simulated run.
pub const SIMULATED_OUTPUT: &str = "simulated";

/// Options of the main job.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// URLs, and lists of URLs: text with one a line, JSONL, CSV or TSV, also compressed with gzip or
    /// zstd; - is standard input [default: urls.txt]
    #[arg(value_name = "URL|LIST")]
    pub urls: Vec<PathBuf>,

    /// Worker processes
    #[arg(short = 'w', long, value_name = "N", default_value = "6", value_parser = value::at_least_one)]
    pub workers: NonZeroU16,

    /// Downloads in flight at once in each worker [default: 1; with --mode async as many as
    /// --workers]
    #[arg(short = 'c', long, value_name = "N", value_parser = value::at_least_one)]
    pub concurrency: Option<NonZeroU16>,

    /// Folder to store files in [default: downloads; with --simulate simulated]
    #[arg(long, value_name = "DIR", visible_alias = "output-dir", value_hint = ValueHint::DirPath)]
    pub output: Option<PathBuf>,

    /// Name of the file, if the command line has one URL and nothing else; relative to --output, if
    /// that is given. Without -o and --naming, the file is named like the last part of the URL's
    /// path. With a list or several URLs, and if PATH ends in / or is an existing folder, this is
    /// the folder, like --output
    #[arg(short = 'o', long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub output_file: Option<PathBuf>,

    /// Do what a run refuses in order to protect files: replace files that no run has made, if a
    /// list or a template names them; and, if an earlier run in this folder used another --naming,
    /// download its files again under their new names
    #[arg(long)]
    pub force: bool,

    /// Do not lock the output folder, for a file system on which that fails. Two runs at once in
    /// one folder then lose files without any message
    #[arg(long)]
    pub no_lock: bool,

    /// Make the run survive the loss of power as well: sync file, folder and run log before a URL
    /// counts as stored. This is slower
    #[arg(long)]
    pub fsync: bool,

    /// Set the modification time of each file to the server's Last-Modified, and not to the time of
    /// the download
    #[arg(short = 'R', long)]
    pub remote_time: bool,

    /// Try the URLs that earlier runs quarantined again
    #[arg(long)]
    pub retry_quarantined: bool,

    /// Ask servers whether the files that earlier runs stored are still current, and replace those
    /// that are not. With AGE, for example 12h, ask only about files that were not checked for so long
    #[arg(
        long,
        value_name = "AGE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "0s",
        value_parser = value::duration
    )]
    pub refresh: Option<Duration>,

    /// Download nothing. Print the URL and the path of each file that would be downloaded, with a
    /// tab between them, and counts on standard error; --quiet leaves the counts out
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Answer every URL of the list with a server inside the program: nothing leaves the machine,
    /// and the files hold random bytes.
    /// SPEC is a comma-separated list of size=64KiB, latency=100ms, jitter=0ms, errors=0%,
    /// truncate=0%, reset=0%, stall=0%, slow=0%, endless=0%, disallow=0%, transient=none, range=on,
    /// validators=both, changed=0%, seed=1. changed=N% gives N% of the URLs another body;
    /// disallow=N% makes the robots.txt of N% of the hosts forbid everything
    #[arg(
        long,
        value_name = "SPEC",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    pub simulate: Option<Spec>,

    /// Print errors only: no progress, no line for each failure, no summary
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Log to standard error; -vv and -vvv say more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// How to show progress on standard error: auto draws on a terminal and writes lines otherwise;
    /// plain writes lines; json writes one JSON object a line and nothing else; json:N does so on
    /// descriptor N
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub progress: Progress,

    /// When to use colours on standard error; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub color: Color,

    /// Read options from FILE, a TOML file whose keys are the long names of options. Options on the
    /// command line override it. Without --config, options come from coordinator.toml beside the
    /// first list, if they are harmless, and from ~/.config/coordinator/config.toml
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "no_config")]
    pub config: Option<PathBuf>,

    /// Read no config file. To turn off a single switch of a file, use --no-NAME
    #[arg(long)]
    pub no_config: bool,

    /// Settings from config files that are not options.
    #[arg(skip)]
    pub file: FileArgs,

    // Groups come last, in the order of --help. An option after a group would become part of it.
    /// Options for lists.
    #[command(flatten)]
    pub list: ListArgs,

    /// Options for the command on each file.
    #[command(flatten)]
    pub each: ExecArgs,

    /// Options for HTTP.
    #[command(flatten)]
    pub http: HttpArgs,

    /// Options for logging in.
    #[command(flatten)]
    pub login: LoginArgs,

    /// Options for retries.
    #[command(flatten)]
    pub retry: RetryArgs,

    /// Options for workers.
    #[command(flatten)]
    pub worker: WorkerOptions,

    /// Options that limit workers.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// Options for crashes.
    #[command(flatten)]
    pub crash: CrashArgs,

    /// Options for watching a run.
    #[command(flatten)]
    pub watch: WatchArgs,

    /// Options for modes and engines.
    #[command(flatten)]
    pub mode: ModeArgs,
}

/// Options for workers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Workers")]
pub struct WorkerOptions {
    /// Replace each worker with a new one after N tasks [default: never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub worker_tasks: Option<u32>,
}

/// Options for watching a run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Watching")]
pub struct WatchArgs {
    /// Show the run to browsers and programs, at PORT of the loopback address, ADDRESS:PORT or
    /// unix:PATH: a live page at /, its figures as JSON at /status, for Prometheus at /metrics, and
    /// /healthz. Other users of the machine can connect to a port
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<Address>,

    /// Answer only under paths that begin with the secret in FILE; if FILE is missing, create it with
    /// a random secret
    #[arg(long, value_name = "FILE", requires = "listen", value_hint = ValueHint::FilePath)]
    pub listen_token: Option<PathBuf>,
}

/// Options for HTTP.
#[derive(Debug, Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpArgs {
    /// Limit for looking up a host, connecting to it and the TLS handshake
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = value::some_duration)]
    pub connect_timeout: Duration,

    /// Longest time without a byte from the server
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = value::some_duration)]
    pub speed_time: Duration,

    /// Least bytes of a body in a second, on average over each --speed-time; a slower download fails
    /// and is retried [default: no limit]
    #[arg(long, value_name = "SPEED", value_parser = value::limit_rate)]
    pub speed_limit: Option<u64>,

    /// Limit for one attempt at a URL, redirects included [default: none]
    #[arg(short = 'm', long, value_name = "TIME", value_parser = value::some_duration)]
    pub max_time: Option<Duration>,

    /// How many redirects to follow at most
    #[arg(long, value_name = "N", default_value = "10")]
    pub max_redirs: u32,

    /// Largest file to store [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub max_filesize: Option<u64>,

    /// Most downloads from one host at once, over all workers; 0 is no limit
    #[arg(long, value_name = "N", default_value = "6")]
    pub parallel_max_host: u32,

    /// Download each large file over N connections at once, if its server allows that. Each download
    /// counts N times for --parallel-max-host, which is also the limit for N
    #[arg(long, value_name = "N", default_value = "1", hide_default_value = true, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub split: u16,

    /// Shortest time between two downloads from one host, over all workers [default: none]
    #[arg(long, value_name = "TIME", default_value = "0", hide_default_value = true, value_parser = value::duration)]
    pub host_delay: Duration,

    /// Obey robots.txt. It is fetched once for each scheme, host and port, before anything else, and
    /// a URL that it forbids fails without a request. Crawl-delay counts as a --host-delay of its
    /// host, up to a minute
    #[arg(long)]
    pub robots: bool,

    /// Most downloads started in a second, over all hosts and workers; N, N/s, N/m or N/h
    /// [default: no limit]
    #[arg(long, value_name = "RATE", value_parser = value::rate)]
    pub rate: Option<Duration>,

    /// Most bytes of bodies read in a second, over all workers together; 0 is no limit [default: no
    /// limit]
    #[arg(long, value_name = "SPEED", value_parser = value::limit_rate)]
    pub limit_rate: Option<u64>,

    /// A request header, as 'Name: value'; may be given several times
    #[arg(short = 'H', long, value_name = "HEADER", value_parser = value::header)]
    pub header: Vec<(String, String)>,

    /// Value of the header User-Agent
    #[arg(short = 'A', long, value_name = "TEXT", default_value = concat!("coordinator/", env!("CARGO_PKG_VERSION")), value_parser = value::user_agent)]
    pub user_agent: String,

    /// Connect to ADDR for HOST and PORT; may be given several times
    #[arg(long, value_name = "HOST:PORT:ADDR", value_parser = value::resolve)]
    pub resolve: Vec<ResolveOverride>,

    /// Use only the IPv4 addresses of host names
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,

    /// Use only the IPv6 addresses of host names
    #[arg(short = '6', long)]
    pub ipv6: bool,

    /// Trust the certificates in this PEM file, and no others; a server may also use one of them
    /// itself
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,

    /// Trust the certificates of the system instead of Mozilla's, which are built in
    #[arg(long, conflicts_with = "cacert")]
    pub ca_native: bool,

    /// Check no certificate: anybody can pretend to be the server
    #[arg(short = 'k', long, conflicts_with_all = ["cacert", "ca_native"])]
    pub insecure: bool,

    /// Ask for bodies compressed with gzip, br or zstd, and store them decompressed
    #[arg(long)]
    pub compressed: bool,

    /// Use this proxy: SCHEME://USER:PASSWORD@HOST:PORT, where everything but HOST is optional, and
    /// SCHEME is http, https, socks5 or socks5h; an empty text means no proxy [default: from
    /// http_proxy, https_proxy and all_proxy]
    #[arg(short = 'x', long, value_name = "PROXY", value_parser = value::proxy)]
    pub proxy: Option<String>,

    /// Hosts to reach without a proxy, separated by commas: names (and all names below them),
    /// addresses, networks, or * [default: from no_proxy]
    #[arg(long, value_name = "HOSTS")]
    pub noproxy: Option<String>,

    /// Connect only to addresses on the public internet, also after redirects
    #[arg(long)]
    pub block_private: bool,
}

/// Options for retries.
#[derive(Debug, Args)]
#[command(next_help_heading = "Retries")]
pub struct RetryArgs {
    /// How often to retry after a transient failure
    #[arg(long, value_name = "N", default_value = "3")]
    pub retry: u32,

    /// Retry after every failure, permanent ones included
    #[arg(long)]
    pub retry_all_errors: bool,

    /// Time before each retry [default: 1s, doubled each time, with jitter]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub retry_delay: Option<Duration>,

    /// Start no retry of a URL later than this after its first attempt [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = value::some_duration)]
    pub retry_max_time: Option<Duration>,

    /// End the run when more than N URLs have failed, or more than P% of them; a percentage counts
    /// from the hundredth URL on [default: never]
    #[arg(long, value_name = "N|P%", value_parser = value::max_failures)]
    pub max_failures: Option<MaxFailures>,

    /// End the run after this time; downloads that are running then have --grace to finish
    /// [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = value::some_duration)]
    pub run_time: Option<Duration>,
}

/// Options for crashes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Crashes")]
pub struct CrashArgs {
    /// How long a worker may be silent before it is killed and its tasks are redelivered
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = value::some_duration)]
    pub lease_timeout: Duration,

    /// How long a worker may take to start
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = value::some_duration)]
    pub start_timeout: Duration,

    /// How many workers a URL may kill before it is quarantined. A death that may have come from
    /// outside (kill -9) counts a fifth
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_deliveries: u32,

    /// How many workers may die within a period without having done anything, before the run ends
    /// [default: 3 for each worker, in 60s]
    #[arg(long, value_name = "N/PERIOD", value_parser = value::intensity)]
    pub restart_intensity: Option<Intensity>,

    /// How long running downloads may take after the run was asked to end
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = value::duration)]
    pub grace: Duration,

    /// Cause faults, to test your own set-up. SPEC is a comma-separated list of segv, abort, exit,
    /// eat, hang, garbage (=N%: N% of the URLs, once; @TEXT: URLs that contain TEXT, always);
    /// no-connect, no-start (=N%: N% of the workers); kill, stop, pause, kill-all (=R/s: signals to
    /// workers, R times a second); seed=N
    #[arg(long, value_name = "SPEC")]
    pub inject: Option<inject::Spec>,
}
