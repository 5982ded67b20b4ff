//! What a pool works at, as the types that travel between it and its workers.

use std::fmt::Debug;

use protocol::message::{self, Report};
use protocol::{HeardError, JobFailure};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What can travel.
pub trait Travels: Serialize + DeserializeOwned + Debug + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Debug + Send + 'static> Travels for T {}

/// A kind of work. Of the type itself there need be no value.
pub trait Job: Debug + Send + 'static {
    /// How to work: what a worker is told before all else.
    type Setup: Travels;
    /// What a worker may be told later, for the tasks that follow.
    type Notice: Travels;
    /// What is to be done.
    type Task: Travels;
    /// How far a running task is.
    type Progress: Travels;
    /// What there is when it is done.
    type Output: Travels;
    /// Why it could not be done.
    type Failure: Travels + JobFailure;

    /// Bounds what a worker reports, which may have been taken over, and makes it harmless.
    ///
    /// # Errors
    ///
    /// If it is nothing that a worker says.
    fn check(report: &mut Report<Self::Output, Self::Failure>) -> Result<(), HeardError> {
        let _ = report;
        Ok(())
    }
}

/// What the coordinator says where the work is `J`.
pub type ToWorker<J> = message::ToWorker<<J as Job>::Setup, <J as Job>::Notice, <J as Job>::Task>;

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
    }
}
