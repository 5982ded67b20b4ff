//! What a run keeps on disk, in `.coordinator` within the output folder: the run log, the lock,
//! partial bodies.
//!
//! The run log, `results.jsonl`, is the record of truth: append-only, one line per finished task.
//! A line is written whole or, after a crash, cut off: whoever reads the log never takes half a
//! line for a record. This module knows what a line says and how it reaches the disk. It must not
//! decide anything about tasks, and not print.

mod append;
mod form;
mod layout;
mod leftovers;
mod lock;
mod reader;
mod record;
mod writer;

use std::io;
use std::path::PathBuf;

pub use form::{Digest, FormatVersion, Millis, Moment};
pub use layout::{Layout, LayoutError};
pub use lock::{Lock, LockError};
pub use reader::{Brief, LineProblem, LogReader, MAX_RECORD};
pub use record::{Facts, Outcome, Problem, Record, RecordedTiming, RecordedWorker};
pub use writer::{LogWriter, RESULTS};

/// What went wrong with the run log as a file.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It could not be opened.
    #[error("cannot open the run log {}: {source}; check its permissions", .path.display())]
    Open {
        /// The run log.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It ends in the middle of a line, which could not be cut off.
    #[error(
        "cannot cut the torn last line off the run log {}: {source}; check its permissions",
        .path.display()
    )]
    Cut {
        /// The run log.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It could not be read to its end.
    #[error("cannot read the run log {}: {source}; check the disk", .path.display())]
    Read {
        /// The run log.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Records could not be written. They are kept, and the next flush tries again.
    #[error(
        "cannot write to the run log {}: {source}; {unwritten} finished tasks are not recorded, \
         make room and run the same command again to finish",
        .path.display()
    )]
    Write {
        /// The run log.
        path: PathBuf,
        /// How many records are kept in memory.
        unwritten: usize,
        /// The cause.
        source: io::Error,
    },
}

impl LogError {
    /// Whether the disk or the quota is full: no task can be recorded until someone makes room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let (Self::Open { source, .. }
        | Self::Cut { source, .. }
        | Self::Read { source, .. }
        | Self::Write { source, .. }) = self;
        is_disk_full(source)
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
