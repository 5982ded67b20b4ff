//! What becomes of jobs, and of a pool.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::blob::Blob;
use super::work::Failed;
use crate::dispatch::Counts;
use crate::workers::Death;

/// What became of a job. Each job has exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome<O> {
    /// It is done.
    Done(O),
    /// It failed, as it said itself, or panicked.
    Failed(Failed),
    /// It ended every worker that got it, as often as the pool tolerates: how each of them died.
    Quarantined(Vec<Death>),
    /// It took longer than this, and its process was ended; or it was dropped, if it is async.
    DeadlineExceeded(Duration),
    /// The pool ended first. The job may have been begun.
    Abandoned,
}

impl<O> Outcome<O> {
    /// The output, if there is one.
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

/// What became of it, the output still encoded.
pub(super) type Raw = Outcome<Blob>;

impl Raw {
    pub(super) fn decoded<O: DeserializeOwned>(self) -> Outcome<O> {
        match self {
            Self::Done(output) => match output.decode() {
                Ok(output) => Outcome::Done(output),
                // No worker says that which was not taken over.
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

/// How a pool ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ended {
    /// What happened in all.
    pub counts: Counts,
    /// Why it gave up, if it did.
    pub gave_up: Option<String>,
}
