//! The files of a run in `.coordinator` within the output folder: the run log, the log of deaths,
//! the lock, partial bodies.
//!
//! The run log, `results.jsonl`, is the authoritative record: append-only, with one line per
//! finished task. A line is written completely or, after a crash, cut off, so a reader never takes
//! half a line for a record. The log of deaths, `deaths.jsonl`, has a line per worker that died,
//! and is written in the same way; no run reads it. This module defines the contents of a line and
//! how it is written to disk. It must not decide anything about tasks, and must not print.

mod append;
mod brief;
mod death;
mod form;
mod last_run;
mod layout;
mod lock;
mod output;
mod quick;
mod reader;
mod record;
mod timing;
mod writer;

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::folder::StateError;

pub use brief::{Brief, BriefDeath, BriefProblem};
pub use death::{DeathRecord, RecordedExit, RecordedRunning, exit_text, now};
pub use form::{Digest, FormatVersion, Millis, Moment, RecordedExec};
pub use last_run::{LastEnding, LastRun};
pub(in crate::run) use layout::MARK;
pub use layout::{Layout, LayoutError};
pub use lock::{Lock, LockError};
pub use output::OutputFolder;
pub use reader::{LineProblem, LogReader, MAX_RECORD, record_at};
pub use record::{Facts, MAX_DEATHS, Outcome, Problem, Record, RecordedDeath, RecordedWorker};
pub use timing::RecordedTiming;
pub use writer::{DEATHS, LogWriter, Logged, RESULTS};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// `results.jsonl`: finished tasks.
    Results,
    /// `deaths.jsonl`: workers that died.
    Deaths,
}

impl Log {
    /// Returns its name in its folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Results => RESULTS,
            Self::Deaths => DEATHS,
        }
    }

    /// Returns the plural noun for its lines.
    const fn lines(self) -> &'static str {
        match self {
            Self::Results => "finished tasks",
            Self::Deaths => "deaths of workers",
        }
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Results => "run log",
            Self::Deaths => "log of deaths",
        })
    }
}

/// An error of a log file.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It has another type, or belongs to another user.
    #[error(transparent)]
    State(#[from] StateError),
    /// It could not be opened.
    #[error("cannot open the {log} {}: {source}; check its permissions", .path.display())]
    Open {
        log: Log,
        path: PathBuf,
        source: io::Error,
    },
    /// It ends in the middle of a line that could not be cut off.
    #[error(
        "cannot cut the torn last line off the {log} {}: {source}; check its permissions",
        .path.display()
    )]
    Cut {
        log: Log,
        path: PathBuf,
        source: io::Error,
    },
    /// It could not be read to its end.
    #[error("cannot read the run log {}: {source}; check the disk", .path.display())]
    Read {
        /// The run log.
        path: PathBuf,
        source: io::Error,
    },
    /// Records could not be written. They stay in memory, and the next flush tries again.
    #[error(
        "cannot write to the {log} {}: {source}; {unwritten} {} are not recorded, \
         {} and run the same command again to finish",
        .path.display(),
        .log.lines(),
        if is_disk_full(source) { "make room" } else { "check the disk" }
    )]
    Write {
        log: Log,
        path: PathBuf,
        /// Number of records that stay in memory.
        unwritten: usize,
        source: io::Error,
    },
    /// Records were written, but could not be made safe from a loss of power.
    #[error(
        "cannot sync the {log} {} (--fsync): {source}; its last lines may be lost; check the \
         disk and run the same command again to finish",
        .path.display()
    )]
    Sync {
        log: Log,
        path: PathBuf,
        source: io::Error,
    },
}

impl LogError {
    /// Returns whether the disk or the quota is full: no task can be recorded until there is space.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::State(StateError::System { source, .. })
            | Self::Open { source, .. }
            | Self::Cut { source, .. }
            | Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::Sync { source, .. } => is_disk_full(source),
            Self::State(
                StateError::Kind { .. } | StateError::Linked { .. } | StateError::Foreign { .. },
            ) => false,
        }
    }
}

fn is_disk_full(error: &io::Error) -> bool {
    [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&error.kind())
}

#[cfg(test)]
pub(in crate::run) mod tests {
    //! Samples for the tests of other modules in this folder.
    pub(in crate::run) use super::record::tests::{facts, failure, stored};
}
