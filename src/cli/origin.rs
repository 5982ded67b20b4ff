//! Options of `coordinator origin`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use lab::origin::Spec;

/// Options of `coordinator origin`.
#[derive(Debug, Args)]
pub struct OriginArgs {
    /// How to answer: a comma-separated list of size=64KiB, latency=100ms, jitter=0ms,
    /// errors=0%, truncate=0%, reset=0%, stall=0%, slow=0%, endless=0%, transient=none,
    /// range=on, validators=both, changed=0%, seed=1
    #[arg(long, value_name = "SPEC", default_value = "")]
    pub simulate: Spec,

    /// Address for http
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub http: SocketAddr,

    /// Address for https
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub https: SocketAddr,

    /// Append a line of JSON to FILE for each request: the time, the URL, and how much was sent
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,

    /// End when standard input ends, as well as on SIGINT and SIGTERM
    #[arg(long)]
    pub until_stdin_closes: bool,

    /// Log to standard error; -vv and -vvv say more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}
