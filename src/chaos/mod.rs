//! Chaos: a run under seeded faults, and a verdict on its result.
//!
//! ```text
//!   plan -- list, faults, injections --> supervise -- run, kill, tear, run again --> (normal exit)
//!                                       |                                            |
//!                      origin, its journal, output folder, process table  ---->  check --> report
//! ```
//!
//! The run is this program as a separate process: chaos knows nothing about its internals. This
//! module must not download anything, and its verdict uses no count of the run itself.

pub mod check;
mod compare;
mod faults;
#[cfg(feature = "fleet")]
mod fleet;
pub(crate) mod job;
mod plan;
mod progress;
mod recovery;
mod report;
mod scene;
mod supervise;
mod tear;
pub(crate) mod watch;

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use lab::origin::SpawnError;

pub use compare::Comparison;
pub use faults::{Fault, Faults, FaultsError};
#[cfg(feature = "fleet")]
pub use fleet::{FleetPlan, execute as execute_fleet};
pub use plan::{Plan, PlanError, Task};
pub use progress::Progress;

use check::{Evidence, Unreadable, check, processes};
use recovery::Recovery;
use report::Report;
use scene::Scene;
use watch::Interrupt;

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// The folder for the runs cannot be used.
    #[error(
        "cannot work in {}: {source}; set TMPDIR, or name a folder that does not exist with --output",
        .folder.display()
    )]
    Folder { folder: PathBuf, source: io::Error },
    /// The origin does not start.
    #[error("cannot start the built-in origin: {0}")]
    Origin(#[from] SpawnError),
    /// The signal handlers cannot be installed.
    #[error("cannot listen to signals: {0}")]
    Signals(#[source] io::Error),
    /// The queue of a fleet does not start, or its contents cannot be read.
    #[error("cannot use nats-server: {0}; name the program with --nats-server")]
    Queue(String),
    /// The runs cannot be started or watched.
    #[error("cannot supervise the runs: {0}")]
    Supervise(#[source] io::Error),
    /// A part of the evidence cannot be read.
    #[error(transparent)]
    Evidence(#[from] Unreadable),
    /// There is no process table.
    #[error("cannot read the process table: {0}")]
    Processes(#[source] io::Error),
    /// The verdict cannot be written.
    #[error("cannot write the verdict to standard output: {0}")]
    Write(#[source] io::Error),
}

/// The result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every promise was kept.
    Clean,
    /// A promise was broken, or the run did not finish.
    Broken,
    /// A signal ended it early.
    Interrupted(u8),
}

impl Ending {
    /// Returns the exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Broken => 1,
            Self::Interrupted(signal) => 128_u8.saturating_add(signal),
        }
    }
}

/// Performs a chaos run, and prints the verdict.
///
/// # Errors
///
/// Fails if no verdict is possible. What happens to the list is never an error.
pub fn execute(plan: &Plan) -> Result<Ending, ChaosError> {
    let begun = Instant::now();
    let interrupt = Interrupt::listen().map_err(ChaosError::Signals)?;
    let mut scene = Scene::set(plan)?;
    let progress = Progress::new(plan.tasks.len(), plan.quiet);
    let story = supervise::supervise(plan, &scene, &interrupt, &progress);
    progress.clear();
    let story = story.map_err(ChaosError::Supervise)?;
    // The origin writes the last lines of its journal when it exits.
    scene.close();
    if let Some(signal) = story.interrupted {
        return Ok(Ending::Interrupted(signal));
    }
    let recovery = Recovery::read(&scene.output(), &scene.journal(), &story)?;
    let processes = processes::left(scene.folder()).map_err(ChaosError::Processes)?;
    let findings = check(&Evidence {
        tasks: &plan.tasks,
        spec: &plan.spec,
        output: &scene.output(),
        tmp: &scene.tmp(),
        journal: &scene.journal(),
        killed_ns: &story.killed_ns,
        died_with: &recovery.died_with,
        processes: &processes,
    })?;
    let clean = findings.is_clean() && story.unfinished.is_none();
    if !clean {
        // The evidence is needed to analyse the fault.
        scene.keep();
    }
    let report = Report {
        plan,
        findings: &findings,
        story: &story,
        recovery: &recovery,
        elapsed: begun.elapsed(),
        kept: scene.is_kept().then(|| scene.folder()),
    };
    report.print().map_err(ChaosError::Write)?;
    Ok(match clean {
        true => Ending::Clean,
        false => Ending::Broken,
    })
}
