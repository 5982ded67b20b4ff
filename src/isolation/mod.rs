//! Isolation: tests on this machine what a compromised worker can do.
//!
//! ```text
//!   for each attempt and column:
//!     scene -- folder, bystander, sockets --+
//!     run   -- this program, as `attacked` -+--> judge --> what was seen --> report
//!                 +-- worker 0.1: the attacker (ground, attempts)
//! ```
//!
//! The run is this program as a separate process, with a real worker in its real sandbox. The
//! attempt is played after the worker has confined itself. Effects are observed from outside. This
//! module must not look into a run, and no attempt may change anything outside the scene.

pub mod attempt;
pub mod attempts;
mod column;
pub mod ground;
mod judge;
mod keeper;
pub mod raw;
mod report;
mod scene;
mod view;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use lab::origin::{SpawnError, SpecError};

use crate::chaos::watch::Interrupt;
use crate::chaos::{Ending, Progress};
use crate::cli::isolation::IsolationArgs;
use crate::cli::limits::SandboxName;

use attempt::Attempt;
use column::Column;
use judge::{InForce, Seen};
use report::{Played, Report};
use scene::Stage;

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// No attempt and no family has that name.
    #[error("there is no attempt and no family '{name}' (--only); the families are {families}")]
    Only {
        /// What was typed.
        name: String,
        /// The families that exist.
        families: String,
    },
    /// The folder for the runs cannot be used.
    #[error("cannot work in {}: {source}; set TMPDIR to a folder with a short name", .folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    /// The settings of the origin are not valid.
    #[error("cannot set the built-in origin up: {0}")]
    Spec(#[source] SpecError),
    /// The origin does not start.
    #[error("cannot start the built-in origin: {0}")]
    Origin(#[source] SpawnError),
    /// The signal handlers cannot be installed.
    #[error("cannot listen to signals: {0}")]
    Signals(#[source] io::Error),
    /// A run cannot be started or watched.
    #[error("cannot watch a run: {0}")]
    Run(#[source] io::Error),
    /// A run does not start.
    #[error("the run for '{attempt}' ({column}) did not begin: {said}")]
    NoRun {
        /// The attempt that the run was for.
        attempt: &'static str,
        /// The column that the run was for.
        column: &'static str,
        /// The last line of its output.
        said: String,
    },
    /// The verdict cannot be written.
    #[error("cannot write the verdict to standard output: {0}")]
    Write(#[source] io::Error),
}

/// What to play.
#[derive(Debug)]
pub struct Plan {
    attempts: Vec<(&'static str, &'static Attempt)>,
    /// How workers of the first column confine themselves.
    sandbox: SandboxName,
    json: bool,
    quiet: bool,
}

impl Plan {
    /// Validates the command line.
    ///
    /// # Errors
    ///
    /// Fails if it names an attempt that does not exist.
    pub fn new(args: &IsolationArgs) -> Result<Self, IsolationError> {
        let all: Vec<_> = attempt::all().collect();
        let is_named =
            |name: &str, family: &str, attempt: &Attempt| name == family || name == attempt.id;
        for name in &args.only {
            if !all.iter().any(|(family, one)| is_named(name, family, one)) {
                let families = attempts::FAMILIES.iter().map(|(family, _)| *family);
                return Err(IsolationError::Only {
                    name: name.clone(),
                    families: families.collect::<Vec<_>>().join(", "),
                });
            }
        }
        let is_wanted = |family: &str, attempt: &Attempt| {
            let mut names = args.only.iter();
            args.only.is_empty() || names.any(|name| is_named(name, family, attempt))
        };
        Ok(Self {
            attempts: all
                .into_iter()
                .filter(|(family, attempt)| is_wanted(family, attempt))
                .collect(),
            sandbox: args.sandbox,
            json: args.json,
            quiet: args.quiet || args.verbose > 0,
        })
    }

    /// Returns the columns to compare: only one if the user turned the sandbox off.
    fn columns(&self) -> Vec<Column> {
        match self.sandbox {
            SandboxName::Off => vec![Column::Processes],
            SandboxName::On | SandboxName::BestEffort => Column::ALL.into(),
        }
    }
}

/// Plays all attempts, and prints the verdict.
///
/// # Errors
///
/// Fails if no verdict is possible. The effect of an attempt is never an error.
pub fn execute(plan: &Plan) -> Result<Ending, IsolationError> {
    let interrupt = Interrupt::listen().map_err(IsolationError::Signals)?;
    let mut stage = Stage::set()?;
    let (columns, mut in_force) = (plan.columns(), InForce::default());
    let progress = Progress::new(plan.attempts.len() * columns.len(), plan.quiet);
    let (mut rows, mut trials) = (Vec::new(), 0);
    for (family, attempt) in &plan.attempts {
        let mut seen = BTreeMap::new();
        for column in &columns {
            progress.tell(trials, format!("{} ({})", attempt.id, column.title()));
            let what = match judge::judge(&mut stage, attempt, *column, plan, &mut in_force) {
                // Runs do start here, so the machine was too slow for this one. The other verdicts
                // must not be lost.
                Err(error @ IsolationError::NoRun { .. }) if trials > 0 => {
                    tracing::warn!("{error}");
                    Seen::Unknown
                }
                what => what?,
            };
            tracing::debug!(
                attempt = attempt.id,
                column = column.title(),
                ?what,
                "played"
            );
            seen.insert(*column, what);
            trials += 1;
            if let Some(signal) = interrupt.signal() {
                progress.clear();
                return Ok(Ending::Interrupted(signal));
            }
        }
        rows.push(Played {
            family,
            attempt,
            seen,
        });
    }
    progress.clear();
    let kernel = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let report = Report {
        plan,
        kernel,
        in_force,
        rows,
    };
    report.print().map_err(IsolationError::Write)?;
    Ok(match report.is_clean() {
        true => Ending::Clean,
        false => Ending::Broken,
    })
}
