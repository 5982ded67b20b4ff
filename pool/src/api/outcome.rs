//! Outcomes of jobs and of a pool.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::blob::Blob;
use super::work::Failed;
use crate::dispatch::Counts;
use crate::workers::Death;

/// The outcome of a job. Each job has exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome<O> {
    /// The job returned this output.
    Done(O),
    /// The job returned an error, or panicked.
    Failed(Failed),
    /// The job ended every worker that ran it, as often as the pool
    /// [allows](crate::Builder::redeliver). The list describes the death of each worker.
    Quarantined(Vec<Death>),
    /// The job exceeded this time limit. Its process was ended; an async job was dropped.
    DeadlineExceeded(Duration),
    /// The pool ended before the job was finished. The job may have been started.
    Abandoned,
}

impl<O> Outcome<O> {
    /// Returns the output if the job is done.
    #[must_use]
    pub fn done(self) -> Option<O> {
        match self {
            Self::Done(output) => Some(output),
            Self::Failed(_)
            | Self::Quarantined(_)
            | Self::DeadlineExceeded(_)
            | Self::Abandoned => None,
        }
    }
}

/// An outcome with the output still encoded.
pub(super) type Raw = Outcome<Blob>;

impl Raw {
    pub(super) fn decoded<O: DeserializeOwned>(self) -> Outcome<O> {
        match self {
            Self::Done(output) => match output.decode() {
                Ok(output) => Outcome::Done(output),
                // Only a compromised worker reports an invalid output.
                Err(error) => Outcome::Failed(Failed::new(format!(
                    "what the worker reported is no output: {error}"
                ))),
            },
            Self::Failed(failed) => Outcome::Failed(failed),
            Self::Quarantined(deaths) => Outcome::Quarantined(deaths),
            Self::DeadlineExceeded(limit) => Outcome::DeadlineExceeded(limit),
            Self::Abandoned => Outcome::Abandoned,
        }
    }
}

/// Describes how a pool ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ended {
    /// Totals over the lifetime of the pool.
    pub counts: Counts,
    /// The reason, if the pool gave up.
    pub gave_up: Option<String>,
}
