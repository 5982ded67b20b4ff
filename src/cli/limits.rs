//! Options that limit worker processes.

use clap::{Args, ValueEnum};

use super::value;

/// Whether workers confine themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SandboxName {
    /// The full sandbox, or the run does not start (Linux 6.2 or later)
    On,
    /// No sandbox
    Off,
    /// What the kernel offers
    BestEffort,
}

/// Options for what worker processes may use.
#[derive(Debug, Args)]
#[command(next_help_heading = "Workers")]
pub struct LimitArgs {
    /// Limit for the private memory of each worker; a worker that needs more ends [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub worker_memory: Option<u64>,

    /// Nice value of workers, -20 to 19 [default: that of this process]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(-20..=19)
    )]
    pub worker_nice: Option<i32>,

    /// Whether to confine workers: they can then write only in a folder of their own, read only what
    /// name lookup needs, and start no program
    #[arg(long, value_enum, value_name = "WHEN", default_value = "best-effort")]
    pub sandbox: SandboxName,

    /// TCP ports that workers may connect to, in addition to 53, separated by commas (Linux 6.7 or
    /// later): the ports of all URLs, of the targets of redirects, and of proxies [default: all]
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    pub connect_ports: Vec<u16>,
}
