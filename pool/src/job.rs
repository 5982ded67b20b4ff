//! What a pool works at, as the types that travel between it and its workers.

use std::fmt::{self, Debug};
use std::time::{Duration, SystemTime};

use protocol::codec;
use protocol::message::{self, Report};
use protocol::{HeardError, JobFailure};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What can travel.
pub trait Travels: Serialize + DeserializeOwned + Debug + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Debug + Send + 'static> Travels for T {}

/// A kind of work. Of the type itself there need be no value.
pub trait Job: Sized + Debug + Send + 'static {
    /// How to work: what a worker is told before all else.
    type Setup: Travels;
    /// What a worker may be told later, for the tasks that follow.
    type Notice: Travels;
    /// What is to be done.
    type Task: Travels;
    /// How far a running task is; the default, when it is taken up.
    type Progress: Travels + Clone + Default;
    /// What there is when it is done.
    type Output: Travels;
    /// Why it could not be done.
    type Failure: Travels + JobFailure;

    /// What to say of a task, begun at this moment, that failed by no doing of the job itself.
    fn broken(why: Broken, begun: SystemTime) -> Self::Failure;

    /// What the tasks of a group have in common, if there are groups. The first outcome of a group
    /// after one of another is told at once: that is how the coordinator learns that it answers.
    fn group(task: &Self::Task) -> &str {
        let _ = task;
        ""
    }

    /// Bytes of `report` in a frame, at most. To be provided where to count them costs too much.
    fn weight(report: &TaskReport<Self>) -> usize {
        codec::size_of(report)
    }

    /// Bounds what a worker reports, which may have been taken over, and makes it harmless.
    ///
    /// # Errors
    ///
    /// If it is nothing that a worker says.
    fn check(report: &mut TaskReport<Self>) -> Result<(), HeardError> {
        let _ = report;
        Ok(())
    }
}

/// Why a task failed that its job did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// It panicked, with these words.
    Panicked(String),
    /// What came of it is larger than what can be reported: so many bytes.
    TooLarge(usize),
    /// It took longer than a task may take.
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

/// What the coordinator says where the work is `J`.
pub type ToWorker<J> = message::ToWorker<<J as Job>::Setup, <J as Job>::Notice, <J as Job>::Task>;

/// News of one task where the work is `J`.
pub type TaskReport<J> = Report<<J as Job>::Output, <J as Job>::Failure>;

/// What a worker says where the work is `J`.
pub type FromWorker<J> =
    message::FromWorker<<J as Job>::Progress, <J as Job>::Output, <J as Job>::Failure>;

#[cfg(test)]
pub(crate) mod tests {
    use protocol::Severity;
    use serde::Deserialize;

    use super::*;

    /// Numbers, to be multiplied with themselves.
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
