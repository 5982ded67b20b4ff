//! What caused the death of a worker, and what that means for the tasks that it ran. Two tables
//! decide that, and nothing else; the tests are the same tables, row by row.

use protocol::TaskId;

use super::event::{Exit, KillReason};

/// What the core had told the worker before it was gone.
#[derive(Clone, Copy, Debug)]
pub(super) enum Before<'a> {
    /// Nothing.
    Unasked,
    /// To leave, and it no longer held anything.
    Dismissed,
    /// To exit, for this reason, or it was killed.
    Condemned(&'a KillReason),
}

/// What caused the end of a worker, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The coordinator, for a reason for which no task is to blame.
    Wanted,
    /// This task: it hung, while the rest of the worker was well.
    Hung(TaskId),
    /// The worker itself, and so a task that it ran.
    Own,
    /// Unknown: the cause may have come from outside.
    Unexplained,
}

/// What a task is charged with that ran when its worker died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Charge {
    /// It must run alone from now on, so that the next death can be blamed on it.
    pub(super) suspect: bool,
    /// It killed the worker.
    pub(super) kill: bool,
    /// It killed the worker, or something outside did.
    pub(super) unexplained: bool,
}

impl Cause {
    /// Returns the cause of the end of a worker that ended with `exit`.
    pub(super) fn of(before: Before<'_>, exit: &Exit) -> Self {
        match (before, exit.may_be_from_outside()) {
            (Before::Dismissed, _) => Self::Wanted,
            (Before::Condemned(reason), _) => match reason {
                KillReason::Overstayed
                | KillReason::GraceExpired
                | KillReason::RunEnds
                | KillReason::Unwanted => Self::Wanted,
                KillReason::LeaseExpired(task) => Self::Hung(*task),
                KillReason::Silent => Self::Unexplained,
                KillReason::StartTimeout | KillReason::ProtocolViolation => Self::Own,
            },
            (Before::Unasked, true) => Self::Unexplained,
            (Before::Unasked, false) => Self::Own,
        }
    }

    /// Returns what `task` is charged with, which ran `alone` or with others.
    pub(super) fn charge(self, task: TaskId, alone: bool) -> Charge {
        match self {
            Self::Wanted => Charge::default(),
            // It is known which task hung, and the others were well.
            Self::Hung(hung) => Charge {
                suspect: hung == task,
                kill: hung == task,
                unexplained: false,
            },
            Self::Own => Charge {
                suspect: true,
                kill: alone,
                unexplained: false,
            },
            Self::Unexplained => Charge {
                suspect: true,
                kill: false,
                unexplained: alone,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::MemoryCause;

    const HUNG: TaskId = TaskId(1);
    const OTHER: TaskId = TaskId(2);

    #[test]
    fn whose_fault_a_death_is() {
        use Before::{Condemned, Dismissed, Unasked};
        use Cause::{Hung, Own, Unexplained, Wanted};
        let kernel = MemoryCause::Kernel;
        let limit = MemoryCause::Limit;
        let by = Exit::Signal;
        let rows = [
            // It ended without having been asked to.
            (Unasked, Exit::Code(0), Own),
            (Unasked, Exit::Code(101), Own),
            (Unasked, Exit::NotStarted(String::new()), Own),
            (Unasked, Exit::Unknown, Own),
            (Unasked, Exit::OutOfMemory { by: limit }, Own),
            (Unasked, Exit::OutOfMemory { by: kernel }, Own),
            // The kernel sends these because of what the process itself does.
            (Unasked, by(libc::SIGSEGV), Own),
            (Unasked, by(libc::SIGABRT), Own),
            (Unasked, by(libc::SIGBUS), Own),
            (Unasked, by(libc::SIGFPE), Own),
            (Unasked, by(libc::SIGILL), Own),
            (Unasked, by(libc::SIGSYS), Own),
            (Unasked, by(libc::SIGTRAP), Own),
            (Unasked, by(libc::SIGPIPE), Own),
            (Unasked, by(libc::SIGXCPU), Own),
            (Unasked, by(libc::SIGXFSZ), Own),
            // Other processes send these.
            (Unasked, by(libc::SIGKILL), Unexplained),
            (Unasked, by(libc::SIGTERM), Unexplained),
            (Unasked, by(libc::SIGINT), Unexplained),
            (Unasked, by(libc::SIGHUP), Unexplained),
            (Unasked, by(libc::SIGQUIT), Unexplained),
            (Unasked, by(libc::SIGUSR1), Unexplained),
            // An unknown signal.
            (Unasked, by(64), Unexplained),
            // The coordinator ended it. How it ended is then irrelevant.
            (Dismissed, Exit::Code(0), Wanted),
            (Dismissed, by(libc::SIGSEGV), Wanted),
            (
                Condemned(&KillReason::Overstayed),
                by(libc::SIGKILL),
                Wanted,
            ),
            (
                Condemned(&KillReason::GraceExpired),
                by(libc::SIGKILL),
                Wanted,
            ),
            (Condemned(&KillReason::RunEnds), by(libc::SIGKILL), Wanted),
            (Condemned(&KillReason::Unwanted), by(libc::SIGTERM), Wanted),
            (
                Condemned(&KillReason::LeaseExpired(HUNG)),
                by(libc::SIGKILL),
                Hung(HUNG),
            ),
            (
                Condemned(&KillReason::LeaseExpired(HUNG)),
                Exit::Code(0),
                Hung(HUNG),
            ),
            (
                Condemned(&KillReason::Silent),
                by(libc::SIGKILL),
                Unexplained,
            ),
            (Condemned(&KillReason::StartTimeout), by(libc::SIGKILL), Own),
            (
                Condemned(&KillReason::ProtocolViolation),
                by(libc::SIGKILL),
                Own,
            ),
        ];
        for (before, exit, cause) in rows {
            assert_eq!(Cause::of(before, &exit), cause, "{before:?}, {exit}");
        }
    }

    #[test]
    fn what_a_task_is_charged_with() {
        // Cause, task, alone; suspect, kill, unexplained.
        let rows = [
            (Cause::Wanted, OTHER, true, [false, false, false]),
            (Cause::Wanted, OTHER, false, [false, false, false]),
            (Cause::Hung(HUNG), HUNG, true, [true, true, false]),
            (Cause::Hung(HUNG), HUNG, false, [true, true, false]),
            (Cause::Hung(HUNG), OTHER, false, [false, false, false]),
            (Cause::Own, OTHER, true, [true, true, false]),
            (Cause::Own, OTHER, false, [true, false, false]),
            (Cause::Unexplained, OTHER, true, [true, false, true]),
            (Cause::Unexplained, OTHER, false, [true, false, false]),
        ];
        for (cause, task, alone, [suspect, kill, unexplained]) in rows {
            let expected = Charge {
                suspect,
                kill,
                unexplained,
            };
            assert_eq!(cause.charge(task, alone), expected, "{cause:?}, {alone}");
        }
    }
}
