//! Options that choose how the work is done: the modes of the shootout.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::value;

/// What workers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// N worker processes
    Processes,
    /// N threads of this process
    Threads,
    /// One thread with an event loop, --concurrency downloads in flight
    Async,
    /// One download after another, in this process
    Sequential,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Processes,
        Self::Threads,
        Self::Async,
        Self::Sequential,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Threads => "threads",
            Self::Async => "async",
            Self::Sequential => "sequential",
        }
    }
}

/// What drives downloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    /// A thread for each download in flight
    Blocking,
    /// An event loop for all downloads of a worker
    Async,
}

/// How tasks are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DispatchName {
    /// A shared queue: a free worker gets the next task
    Shared,
    /// The list is split in advance, one chunk for each worker
    Chunked,
}

/// Options that choose how the work is done.
#[derive(Debug, Args)]
#[command(next_help_heading = "Comparison")]
pub struct ModeArgs {
    /// What workers are
    #[arg(long, value_enum, default_value = "processes")]
    pub mode: Mode,

    /// How a worker process runs its downloads
    #[arg(long, value_enum, default_value = "blocking")]
    pub engine: EngineName,

    /// How tasks are handed out
    #[arg(long, value_enum, default_value = "shared")]
    pub dispatch: DispatchName,

    /// Processor time to use for each file before it is put in place
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = value::duration)]
    pub cpu_per_task: Duration,

    /// Write one line of JSON for each task to FILE, with the time that each phase took
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,

    /// Like --simulate, with a server that is already running: FILE holds the line that it printed
    /// (coordinator origin > FILE)
    #[arg(long, value_name = "FILE", conflicts_with = "simulate")]
    pub simulate_via: Option<PathBuf>,
}
