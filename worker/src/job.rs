//! Downloads, as a pool sees them.

use pool::Job;
use protocol::{
    Assignment, Failure, HeardError, Login, Progress, Report, Setup, Stored, check_report,
};

/// The work of this crate: one task is one download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Download {}

impl Job for Download {
    type Setup = Setup;
    type Notice = Vec<Login>;
    type Task = Assignment;
    type Progress = Progress;
    type Output = Stored;
    type Failure = Failure;

    fn check(report: &mut Report) -> Result<(), HeardError> {
        check_report(report)
    }
}

/// Where a process that downloads hears its coordinator.
pub type IpcInbox = pool::link::IpcInbox<Download>;

/// Where it says something.
pub type IpcOutbox = pool::link::IpcOutbox<Download>;
