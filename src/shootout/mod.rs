//! The shootout: every approach, and programs from outside, at the same work, measured.
//!
//! ```text
//!   plan -- who, at what --> contest -- interleaved rounds --> result -+-> terminal
//!                              |  ^                                    +-> report (a page)
//!                 measure, tree   check                                +-> export
//! ```
//!
//! Each approach is this program as a process of its own, with other options: the shootout knows
//! nothing of the insides of a pool. It must not download anything itself, but for `bare`, a process of its
//! own that shows the limit.

mod approach;
pub mod bare;
mod check;
pub mod columns;
mod contest;
mod entrant;
mod export;
mod harness;
mod ideal;
mod interrupt;
pub mod lead;
mod machine;
mod measure;
mod nginx;
mod outside;
mod plan;
mod preset;
mod progress;
pub mod report;
pub mod result;
pub mod statistics;
pub mod terminal;
pub mod timeline;
pub mod tree;
mod work;

use std::io;

pub use plan::{Plan, PlanError};

use harness::Harness;
use interrupt::Interrupt;
use work::WorkError;

use crate::page::LayoutError;

/// Why a shootout was not held, or its results are not where they should be.
#[derive(Debug, thiserror::Error)]
pub enum ShootoutError {
    /// There is no work.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// There is no place for the files of a run.
    #[error("cannot make a folder for the files of a run in {folder}: {source}; set TMPDIR")]
    Folder { folder: String, source: io::Error },
    /// The files of a run cannot be made or removed.
    #[error("cannot prepare a run: {0}; is there room for temporary files?")]
    Prepare(#[source] io::Error),
    /// Signals cannot be listened to.
    #[error("cannot listen to signals: {0}")]
    Signals(#[source] io::Error),
    /// The real network gave nothing.
    #[error(
        "cannot find out what the real network answers: {0}; try the list without the shootout"
    )]
    Reference(String),
    /// A result cannot be written.
    #[error("cannot write {what}: {source}")]
    Write { what: String, source: io::Error },
    /// The page cannot be made: a defect of this program.
    #[error("cannot lay out the report: {0}; please report this")]
    Layout(#[from] LayoutError),
}

/// How a shootout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everyone did the work.
    Complete,
    /// Someone failed.
    Failures,
    /// A signal ended it early.
    Interrupted(u8),
}

impl Ending {
    /// The exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Failures => 1,
            Self::Interrupted(signal) => 128_u8.saturating_add(signal),
        }
    }
}

/// Holds a shootout, and tells its results.
///
/// # Errors
///
/// If it could not be held, or a result not be written. What an entrant does is never an error.
pub fn execute(plan: Plan) -> Result<Ending, ShootoutError> {
    let interrupt = Interrupt::listen().map_err(ShootoutError::Signals)?;
    export::writable(&plan.export)?;
    let shootout = Harness::open(&plan, &interrupt)?.hold()?;
    if !plan.quiet {
        terminal::print(&shootout).map_err(|source| ShootoutError::Write {
            what: "the table to standard output".to_owned(),
            source,
        })?;
    }
    export::write(&plan.export, &shootout, plan.quiet)?;
    Ok(match interrupt.signal() {
        Some(signal) => Ending::Interrupted(signal),
        None if shootout.has_failures() => Ending::Failures,
        None => Ending::Complete,
    })
}
