//! The shootout: measures every approach, and outside programs, at the same work.
//!
//! ```text
//!   plan -- who, at what --> contest -- interleaved rounds --> result -+-> terminal
//!                              |  ^                                    +-> report (a page)
//!                 measure, tree   check                                +-> export
//! ```
//!
//! Each approach is this program as a separate process with other options: the shootout does not
//! know the inside of a pool. It must not download anything itself. The exception is `bare`, a
//! separate process that measures the limit.

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

/// The reason why a shootout failed or a result could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ShootoutError {
    /// There is no work.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// There is no folder for the files of a run.
    #[error("cannot make a folder for the files of a run in {folder}: {source}; set TMPDIR")]
    Folder { folder: String, source: io::Error },
    /// The files of a run cannot be created or removed.
    #[error("cannot prepare a run: {0}; is there room for temporary files?")]
    Prepare(#[source] io::Error),
    /// The signal handlers cannot be installed.
    #[error("cannot listen to signals: {0}")]
    Signals(#[source] io::Error),
    /// The reference run on the real network failed.
    #[error(
        "cannot find out what the real network answers: {0}; try the list without the shootout"
    )]
    Reference(String),
    /// A result cannot be written.
    #[error("cannot write {what}: {source}")]
    Write { what: String, source: io::Error },
    /// The page cannot be rendered: a defect of this program.
    #[error("cannot lay out the report: {0}; please report this")]
    Layout(#[from] LayoutError),
}

/// How a shootout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All entrants did the work.
    Complete,
    /// At least one entrant failed.
    Failures,
    /// A signal ended it early.
    Interrupted(u8),
}

impl Ending {
    /// Returns the exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Failures => 1,
            Self::Interrupted(signal) => 128_u8.saturating_add(signal),
        }
    }
}

/// Runs a shootout, and reports its results.
///
/// # Errors
///
/// Fails if the shootout could not run or a result could not be written. A failure of an entrant is
/// not an error.
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
