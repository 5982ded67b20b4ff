//! The columns of the table: how workers are run and confined while an attempt is played.

use serde::Serialize;

use super::attempt::{AsThread, Attempt};
use crate::cli::mode::Mode;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// Worker processes, confined as the user has chosen.
    Processes,
    /// Worker processes without any sandbox (`--sandbox off`).
    Unconfined,
    /// Workers as threads of the coordinator.
    Threads,
    /// One thread of the coordinator with an event loop.
    Async,
}

impl Column {
    /// All columns, in order.
    pub const ALL: [Self; 4] = [
        Self::Processes,
        Self::Unconfined,
        Self::Threads,
        Self::Async,
    ];

    /// Returns the title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Unconfined => "no sandbox",
            Self::Threads => "threads",
            Self::Async => "async",
        }
    }

    /// Returns the mode of the runs.
    pub const fn mode(self) -> Mode {
        match self {
            Self::Processes | Self::Unconfined => Mode::Processes,
            Self::Threads => Mode::Threads,
            Self::Async => Mode::Async,
        }
    }

    /// Returns whether workers are processes.
    pub fn has_processes(self) -> bool {
        self.mode() == Mode::Processes
    }
}

impl Attempt {
    /// Returns why the attempt is not played in `column`, if it is not.
    pub fn unplayed(&self, column: Column) -> Option<&'static str> {
        match (column.has_processes(), self.as_thread) {
            (true, _) | (false, AsThread::Played) => None,
            (false, AsThread::Ends) => Some("would end the run"),
            (false, AsThread::NoTarget) => Some("no target"),
        }
    }

    /// Returns the options of the run in `column`. Limits are for processes only.
    pub fn options_for(&self, column: Column) -> &'static [&'static str] {
        match self.options {
            ["--worker-memory", _] if !column.has_processes() => &[],
            options => options,
        }
    }
}
