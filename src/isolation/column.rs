//! The columns of the table: how workers are made and confined while an attempt is played.

use serde::Serialize;

use super::attempt::{AsThread, Attempt};
use crate::cli::mode::Mode;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// Worker processes, confined as the user says.
    Processes,
    /// Worker processes that confine themselves in nothing (`--sandbox off`).
    Unconfined,
    /// Workers as threads of the coordinator.
    Threads,
    /// One thread of the coordinator with an event loop.
    Async,
}

impl Column {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [
        Self::Processes,
        Self::Unconfined,
        Self::Threads,
        Self::Async,
    ];

    /// Its title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Unconfined => "no sandbox",
            Self::Threads => "threads",
            Self::Async => "async",
        }
    }

    /// The mode of its runs.
    pub const fn mode(self) -> Mode {
        match self {
            Self::Processes | Self::Unconfined => Mode::Processes,
            Self::Threads => Mode::Threads,
            Self::Async => Mode::Async,
        }
    }

    /// Whether workers have processes of their own.
    pub fn has_processes(self) -> bool {
        self.mode() == Mode::Processes
    }
}

impl Attempt {
    /// Why it is not played in `column`, if it is not.
    pub fn unplayed(&self, column: Column) -> Option<&'static str> {
        match (column.has_processes(), self.as_thread) {
            (true, _) | (false, AsThread::Played) => None,
            (false, AsThread::Ends) => Some("would end the run"),
            (false, AsThread::NoTarget) => Some("no target"),
        }
    }

    /// The options that its run gets in `column`: limits are for processes.
    pub fn options_for(&self, column: Column) -> &'static [&'static str] {
        match self.options {
            ["--worker-memory", _] if !column.has_processes() => &[],
            options => options,
        }
    }
}
