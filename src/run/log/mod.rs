//! What a run keeps on disk, in `.coordinator` within the output folder: the run log, the log of
//! deaths, the lock, partial bodies.
//!
//! The run log, `results.jsonl`, is the record of truth: append-only, one line per finished task.
//! A line is written whole or, after a crash, cut off: whoever reads the log never takes half a
//! line for a record. The log of deaths, `deaths.jsonl`, has a line per worker that died, and is
//! written in the same way; no run reads it. This module knows what a line says and how it reaches
//! the disk. It must not decide anything about tasks, and not print.

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
    /// Its name in its folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Results => RESULTS,
            Self::Deaths => DEATHS,
        }
    }

    /// What its lines stand for.
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

/// What went wrong with a log as a file.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Something else is in its place, or it is of somebody else.
    #[error(transparent)]
    State(#[from] StateError),
    /// It could not be opened.
    #[error("cannot open the {log} {}: {source}; check its permissions", .path.display())]
    Open {
        log: Log,
        path: PathBuf,
        source: io::Error,
    },
    /// It ends in the middle of a line, which could not be cut off.
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
    /// Records could not be written. They are kept, and the next flush tries again.
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
        /// How many records are kept in memory.
        unwritten: usize,
        source: io::Error,
    },
    /// Records are written, and could not be made safe from the loss of power.
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
    /// Whether the disk or the quota is full: no task can be recorded until someone makes room.
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
    //! Samples for the tests of this folder's neighbours.
    pub(in crate::run) use super::record::tests::{facts, failure, stored};
}
