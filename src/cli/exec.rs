//! Options for the command that is run on each file, and the hidden command that runs it.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::value;

/// Options for what is done with each file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Each file")]
pub struct ExecArgs {
    /// Run CMD on each file once it is in place. If CMD fails, the URL fails. CMD is split into words
    /// without a shell, and {path} (or {}), {dir}, {name}, {stem}, {url} and {sha256} are replaced;
    /// without any of these, the path is the last argument
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,

    /// How long CMD may take before it is killed, with everything that it started
    #[arg(
        long,
        value_name = "TIME",
        default_value = "5m",
        value_parser = value::some_duration,
        requires = "exec"
    )]
    pub exec_timeout: Duration,
}

/// Arguments that a worker passes to the processes that run commands for it.
#[derive(Debug, Args)]
pub struct HandedArgs {
    /// For the worker crate to understand
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub handed: Vec<OsString>,
}
