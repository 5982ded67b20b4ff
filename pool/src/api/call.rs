//! The only [`Job`] of the library: an encoded call of [`Work::run`](super::Work::run).

use std::time::{Duration, SystemTime};

use protocol::HeardError;
use protocol::message::Report;
use serde::{Deserialize, Serialize};

use super::blob::Blob;
use super::work::{Failed, Progress};
use crate::confine::Confinement;
use crate::job::{Broken, Job, TaskReport};

#[derive(Clone, Copy, Debug)]
pub enum Call {}

/// Configuration that a worker receives before its first job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Terms {
    pub(super) setup: Blob,
    pub(super) confinement: Confinement,
    pub(super) heartbeat: Duration,
    pub(super) deadline: Option<Duration>,
    /// Number of jobs that run at once.
    pub(super) at_once: u16,
}

/// A job, as it is sent to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    pub(super) job: Blob,
    pub(super) delivery: u32,
}

impl Job for Call {
    type Setup = Terms;
    type Notice = ();
    type Task = Order;
    type Progress = Option<Progress>;
    type Output = Blob;
    type Failure = Failed;

    fn broken(why: Broken, _: SystemTime) -> Failed {
        match why {
            Broken::Overran(limit) => Failed::overran(limit, &why),
            Broken::Panicked(_) | Broken::TooLarge(_) => Failed::new(why),
        }
    }

    fn weight(report: &TaskReport<Self>) -> usize {
        // Upper bound for ids, times and lengths.
        const BARE: usize = 64;
        BARE + match report {
            Report::Started { .. } | Report::Released { .. } => 0,
            Report::Finished { output, .. } => output.len(),
            Report::Nacked { failure, .. } => failure.message().len(),
        }
    }

    fn check(report: &mut TaskReport<Self>) -> Result<(), HeardError> {
        if let Report::Nacked { failure, .. } = report {
            failure.make_harmless();
        }
        Ok(())
    }
}
