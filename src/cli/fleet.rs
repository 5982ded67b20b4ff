//! Options of `coordinator fleet`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};

use super::list::ListArgs;
use super::run::RunArgs;
use super::value;

/// Options of `coordinator fleet`.
#[derive(Debug, Args)]
pub struct FleetArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: FleetCommand,
}

/// What to do with a fleet.
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// Put the URLs of lists into the queue; run the same command again to go on after a kill
    Feed(FeedArgs),
    /// Be a member: download a share of what is in the queue
    Join(Box<JoinArgs>),
    /// Tell what became of the list
    Results(FleetResultsArgs),
    /// Tell who is in the fleet, and how far the list is
    Status(StatusArgs),
    /// Have members finish what they have begun, and leave
    Drain(DrainArgs),
}

/// Where the queue is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Queue")]
pub struct QueueArgs {
    /// The queue: nats://[USER:PASSWORD@]HOST[:PORT] or tls://..., several with commas between them
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

    /// Trust the certificates in this PEM file where the queue is reached by TLS, and not those of the
    /// system
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub queue_ca: Option<PathBuf>,

    /// Where the server tells of itself (its http_port: http://HOST:8222): warn if it does not sync every
    /// write, so that it can lose what it has acknowledged
    #[arg(long, value_name = "URL")]
    pub queue_monitor: Option<url::Url>,

    /// Servers of the queue's cluster that keep a copy of everything; counts when the run is new
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=5))]
    pub replicas: u8,
}

/// Options of `coordinator fleet feed`.
#[derive(Debug, Args)]
pub struct FeedArgs {
    /// URLs, and lists of URLs, as for a run; - is standard input
    #[arg(value_name = "URL|LIST", required = true)]
    pub urls: Vec<PathBuf>,

    /// Let what lists say of headers, user names and passwords travel through the queue, which keeps
    /// it; without this, lines that have any are refused
    #[arg(long)]
    pub send_secrets: bool,

    /// Leave out what the run log in this output folder names as stored; may be given several times
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub reconcile: Vec<PathBuf>,

    /// Options for lists.
    #[command(flatten)]
    pub list: ListArgs,

    /// Where the queue is.
    #[command(flatten)]
    pub queue: QueueArgs,
}

/// Options of `coordinator fleet join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Name of this member in results and status [default: the name of the machine]
    #[arg(long, value_name = "NAME", value_parser = value::token)]
    pub machine: Option<String>,

    /// How long this member may be out of touch with the queue; the same for all members
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = value::some_duration)]
    pub lease: Duration,

    /// Where the queue is.
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

    /// Write every outcome that counts as a line of JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,

    /// Print only the URLs that MACHINE has stored: what is lost if its disk is, as a list to feed again
    #[arg(long, value_name = "MACHINE", conflicts_with_all = ["json", "export"])]
    pub missing: Option<String>,

    /// Where the queue is.
    #[command(flatten)]
    pub queue: QueueArgs,
}

/// Options of `coordinator fleet status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Go on with a line every two seconds, until all is done
    #[arg(long)]
    pub watch: bool,

    /// Where the queue is.
    #[command(flatten)]
    pub queue: QueueArgs,
}

/// Options of `coordinator fleet drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Names of members [default: all]
    #[arg(value_name = "MACHINE", value_parser = value::token)]
    pub machines: Vec<String>,

    /// Let members that were told to leave join again
    #[arg(long, conflicts_with = "machines")]
    pub undo: bool,

    /// Where the queue is.
    #[command(flatten)]
    pub queue: QueueArgs,
}
