//! The work of a pool, as the types that it exchanges with its workers.

use std::fmt::{self, Debug};
use std::time::{Duration, SystemTime};

use protocol::codec;
use protocol::message::{self, Report};
use protocol::{HeardError, JobFailure};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Types that can be sent between processes.
pub trait Travels: Serialize + DeserializeOwned + Debug + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Debug + Send + 'static> Travels for T {}

/// A kind of work. The type itself needs no values.
pub trait Job: Sized + Debug + Send + 'static {
    /// Configuration, sent to a worker before anything else.
    type Setup: Travels;
    /// Information for the tasks that follow, sent to a worker later.
    type Notice: Travels;
    /// Input of a task.
    type Task: Travels;
    /// Progress of a running task. The default value is the progress at its start.
    type Progress: Travels + Clone + Default;
    /// Result of a task.
    type Output: Travels;
    /// Reason why a task failed.
    type Failure: Travels + JobFailure;

    /// Returns the failure of a task that started at `begun` and did not return a result itself.
    fn broken(why: Broken, begun: SystemTime) -> Self::Failure;

    /// Returns what the tasks of a group have in common, if there are groups. The first outcome of
    /// a group after one of another is sent immediately, to show that the group responds.
    fn group(task: &Self::Task) -> &str {
        let _ = task;
        ""
    }

    /// Returns the maximum size of `report` in a frame, in bytes. Override it if counting is slow.
    fn weight(report: &TaskReport<Self>) -> usize {
        codec::size_of(report)
    }

    /// Limits the size of a report and makes it harmless, because the worker may be compromised.
    ///
    /// # Errors
    ///
    /// Fails if no correct worker sends such a report.
    fn check(report: &mut TaskReport<Self>) -> Result<(), HeardError> {
        let _ = report;
        Ok(())
    }
}

/// Reasons for a failure that the job did not return itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// The task panicked with this message.
    Panicked(String),
    /// The outcome is too large to report. The value is its size in bytes.
    TooLarge(usize),
    /// The task exceeded this time limit.
    Overran(Duration),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(words) => write!(f, "the worker panicked: {words}"),
            Self::TooLarge(bytes) => {
                write!(f, "the outcome of {bytes} bytes is too large to report")
            }
            Self::Overran(limit) => write!(f, "the task took longer than {limit:?}"),
        }
    }
}

/// Message from the coordinator for the work `J`.
pub type ToWorker<J> = message::ToWorker<<J as Job>::Setup, <J as Job>::Notice, <J as Job>::Task>;

/// Report on one task of the work `J`.
pub type TaskReport<J> = Report<<J as Job>::Output, <J as Job>::Failure>;

/// Message from a worker for the work `J`.
pub type FromWorker<J> =
    message::FromWorker<<J as Job>::Progress, <J as Job>::Output, <J as Job>::Failure>;

#[cfg(test)]
pub(crate) mod tests {
    use protocol::Severity;
    use serde::Deserialize;

    use super::*;

    /// Squares numbers.
    #[derive(Debug)]
    pub(crate) enum Square {}

    #[derive(Debug, Serialize, Deserialize)]
    pub(crate) struct TooLarge;

    impl JobFailure for TooLarge {
        fn severity(&self) -> Severity {
            Severity::Permanent
        }
    }

    impl Job for Square {
        type Setup = ();
        type Notice = ();
        type Task = u64;
        type Progress = ();
        type Output = u64;
        type Failure = TooLarge;

        fn broken(_: Broken, _: SystemTime) -> TooLarge {
            TooLarge
        }
    }
}
