//! Options for what worker processes may use.

use clap::{Args, ValueEnum};

use super::value;

/// Whether workers confine themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SandboxName {
    /// In full, or the run does not begin (Linux 6.2 or later)
    On,
    /// Not at all
    Off,
    /// As far as the kernel can
    BestEffort,
}

/// Options for what worker processes may use.
#[derive(Debug, Args)]
#[command(next_help_heading = "Workers")]
pub struct LimitArgs {
    /// Most private memory of each worker; one that needs more dies [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub worker_memory: Option<u64>,

    /// Nice value of workers, -20 to 19 [default: as this process]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(-20..=19)
    )]
    pub worker_nice: Option<i32>,

    /// Whether workers may only write below the output folder, only read what name resolution
    /// takes, and start no program
    #[arg(long, value_enum, value_name = "WHEN", default_value = "best-effort")]
    pub sandbox: SandboxName,

    /// TCP ports that workers may connect to, separated by commas, and 53 (Linux 6.7 or later): those
    /// of URLs, of where they redirect to, and of proxies [default: any]
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    pub connect_ports: Vec<u16>,
}
