//! Options of `coordinator fleet`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};

use super::file::FileArgs;
use super::list::FormatArgs;
use super::run::RunArgs;
use super::value;

/// Options of `coordinator fleet`.
#[derive(Debug, Args)]
pub struct FleetArgs {
    /// The command.
    #[command(subcommand)]
    pub command: FleetCommand,
}

/// What to do with a fleet.
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// Put the URLs of lists into the queue; after a kill, the same command continues
    Feed(Box<FeedArgs>),
    /// Join as a member: download a share of what is in the queue
    Join(Box<JoinArgs>),
    /// Show the results of the list
    Results(FleetResultsArgs),
    /// Show the members of the fleet, and how much of the list is done
    Status(StatusArgs),
    /// Tell members to finish what they have started, and leave
    Drain(DrainArgs),
}

/// Where the queue is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Queue")]
pub struct QueueArgs {
    /// The queue: nats://[USER:PASSWORD@]HOST[:PORT] or tls://...; several are separated by commas
    #[arg(long, value_name = "URL")]
    pub queue: String,

    /// Name of the run: letters, digits, - and _
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = value::token)]
    pub run: String,

    /// Credentials for the queue, as nsc writes them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub creds: Option<PathBuf>,

    /// The seed of an nkey for the queue
    #[arg(long, value_name = "FILE", conflicts_with = "creds", value_hint = ValueHint::FilePath)]
    pub nkey: Option<PathBuf>,

    /// For TLS to the queue, trust the certificates in this PEM file instead of those of the system
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub queue_ca: Option<PathBuf>,

    /// The server's monitoring address (its http_port: http://HOST:8222): warn if the server does not
    /// sync every write, and so can lose what it has acknowledged
    #[arg(long, value_name = "URL")]
    pub queue_monitor: Option<url::Url>,

    /// How many servers of the queue's cluster keep a copy of everything; only for a new run
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=5))]
    pub replicas: u8,
}

/// Options of `coordinator fleet feed`.
#[derive(Debug, Args)]
pub struct FeedArgs {
    /// URLs, and lists of URLs, as for a run; - is standard input
    #[arg(value_name = "URL|LIST", required = true)]
    pub urls: Vec<PathBuf>,

    /// Allow headers, user names and passwords from lists to go through the queue, which stores them.
    /// Without this option, lines that have any are refused
    #[arg(long)]
    pub send_secrets: bool,

    /// Leave out URLs that the run log in this output folder says are stored; may be given several
    /// times
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub reconcile: Vec<PathBuf>,

    /// Read options for lists from FILE, a config file of a run. Without --config, they come from
    /// coordinator.toml beside the first list, and from ~/.config/coordinator/config.toml
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "no_config")]
    pub config: Option<PathBuf>,

    /// Read no config file
    #[arg(long)]
    pub no_config: bool,

    /// Settings from config files that are not options.
    #[arg(skip)]
    pub file: FileArgs,

    /// Options for how lists are read.
    #[command(flatten)]
    pub format: FormatArgs,

    /// Options for the queue.
    #[command(flatten)]
    pub queue: QueueArgs,
}

/// Options of `coordinator fleet join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Name of this member in results and status [default: the name of the machine]
    #[arg(long, value_name = "NAME", value_parser = value::token)]
    pub machine: Option<String>,

    /// Time without a sign of a member until others take its hosts; must be the same for all members
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = value::some_duration)]
    pub lease: Duration,

    /// Options for the queue.
    #[command(flatten)]
    pub queue: QueueArgs,

    /// Options of the member's own run.
    #[command(flatten)]
    pub own: RunArgs,
}

/// Options of `coordinator fleet results`.
#[derive(Debug, Args)]
pub struct FleetResultsArgs {
    /// Print the figures as one JSON object
    #[arg(long)]
    pub json: bool,

    /// Write every final outcome as a line of JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,

    /// Print only the URLs that MACHINE has stored, as a list to feed again if its disk is lost
    #[arg(long, value_name = "MACHINE", conflicts_with_all = ["json", "export"])]
    pub missing: Option<String>,

    /// Options for the queue.
    #[command(flatten)]
    pub queue: QueueArgs,
}

/// Options of `coordinator fleet status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Go on with a line every two seconds, until all is done
    #[arg(long)]
    pub watch: bool,

    /// Options for the queue.
    #[command(flatten)]
    pub queue: QueueArgs,
}

/// Options of `coordinator fleet drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Names of members [default: all]
    #[arg(value_name = "MACHINE", value_parser = value::token)]
    pub machines: Vec<String>,

    /// Allow members that were told to leave to join again
    #[arg(long, conflicts_with = "machines")]
    pub undo: bool,

    /// Options for the queue.
    #[command(flatten)]
    pub queue: QueueArgs,
}
