//! What a pool needs to know about a failure, whatever the work is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a pool needs to know about a failure. The provided methods matter for groups with limits.
pub trait JobFailure {
    /// Returns whether another attempt could help.
    fn severity(&self) -> Severity;

    /// Returns a number if the group of the task refused to serve it now, but may have served it at
    /// another time or under less load. The number distinguishes ways to refuse.
    fn refusal(&self) -> Option<u32> {
        None
    }

    /// Returns whether the group was waited for and did not respond.
    fn is_silence(&self) -> bool {
        false
    }

    /// Returns whether the failure is unrelated to the group, so that another would not help.
    fn is_own(&self) -> bool {
        false
    }
}

/// Whether another attempt at a failed task could help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    /// Another attempt would fail too: the task is finished.
    Permanent,
    /// Another attempt may succeed. The refusal may specify a time to wait.
    Transient {
        /// The requested time to wait from now.
        retry_after: Option<Duration>,
    },
    /// The worker needs information first, and did not try the task. The task has to be handed out
    /// again after this information.
    Unprepared,
    /// No task can succeed until someone intervenes (a full disk): the run is given up, and the
    /// task is left for the next run.
    Fatal,
}

impl Severity {
    /// Returns the requested time to wait, if there is one.
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Transient { retry_after } => retry_after,
            Self::Permanent | Self::Unprepared | Self::Fatal => None,
        }
    }
}
