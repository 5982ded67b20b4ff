//! What a pool has to know of a failure, whatever the work is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a pool has to know of a failure. The methods that are provided matter only where tasks are
/// in groups that have limits of their own.
pub trait JobFailure {
    /// Whether another attempt could help.
    fn severity(&self) -> Severity;

    /// The group of the task refused to serve it now, and may have served it at another moment, or if
    /// it had been asked less. The number tells one way to refuse from another.
    fn refusal(&self) -> Option<u32> {
        None
    }

    /// The group was waited for and did not answer.
    fn is_silence(&self) -> bool {
        false
    }

    /// It has nothing to do with the group: it would be no better in another one.
    fn is_own(&self) -> bool {
        false
    }
}

/// Whether another attempt at a failed task could help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    /// It would fail again: the task is finished.
    Permanent,
    /// It may pass. Whoever refused may have said when to come back.
    Transient {
        /// The time from now that was asked for.
        retry_after: Option<Duration>,
    },
    /// The worker has to be told something first, and did not try the task: that is to be handed
    /// out again behind what it is told.
    Unprepared,
    /// No task can succeed until someone intervenes (a full disk): the run is given up, and the
    /// task left for the next one.
    Fatal,
}

impl Severity {
    /// When to come back, if that was said.
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Transient { retry_after } => retry_after,
            Self::Permanent | Self::Unprepared | Self::Fatal => None,
        }
    }
}
