//! The events that go into the core and the actions that come out of it. Data only; both lists are
//! exhaustive.

use std::fmt;
use std::time::{Duration, Instant};

use protocol::{TaskId, WorkerId};

use super::signal;

/// A group of tasks that share limits of their own. The core only compares the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// What happened, as the caller of the core reports it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<O, F> {
    /// The input has another task. Each id is offered once.
    TaskOffered {
        /// Its number.
        task: TaskId,
        /// Its group.
        group: GroupId,
        /// The groups of its alternatives, in the order in which they are tried.
        alternatives: Vec<GroupId>,
        /// Bytes of a worker's credit that it takes until it is known to have started: its size in
        /// the channel.
        size: u32,
        /// Shortest time from its assignment to that of the next task of its group, if that is
        /// longer than [`Limits::group_spacing`](super::Limits::group_spacing).
        spacing: Duration,
    },
    /// Some of the input can be offered only after this task is done: it is a **prerequisite**. It
    /// is a task like any other, but not part of the input: it has a queue of its own, is in no
    /// chunk and is not counted. Its id differs from all others.
    PrerequisiteOffered {
        /// Its number.
        task: TaskId,
        /// Its group.
        group: GroupId,
        /// Bytes of a worker's credit that it takes until it has started.
        size: u32,
    },
    /// The input has another task, which must not be done. It has failed without being offered.
    TaskRefused,
    /// The input holds no more tasks.
    InputEnded,
    /// A worker that was spawned is ready.
    WorkerReady { worker: WorkerId },
    /// A worker has started a task. It reports this with its next message, which is a heartbeat at
    /// the latest. By then the task may have ended.
    Started {
        worker: WorkerId,
        task: TaskId,
        /// When it started, as the worker reports it.
        at: Instant,
    },
    /// A worker has done a task.
    Finished {
        worker: WorkerId,
        task: TaskId,
        /// The output, as the worker reports it.
        output: Box<O>,
    },
    /// The answer to [`Action::Place`] and to [`Action::Prove`].
    Placed {
        /// The worker that answered the task. It may be gone by now.
        worker: WorkerId,
        task: TaskId,
        /// The final output, or the failure.
        result: Result<Box<O>, Box<F>>,
    },
    /// A worker tried a task and failed.
    Nacked {
        worker: WorkerId,
        task: TaskId,
        failure: Box<F>,
    },
    /// A worker gave back a revoked task that it had not started.
    Released { worker: WorkerId, task: TaskId },
    /// A sign of life. It names the running tasks that are within their limits.
    HeartbeatReceived {
        worker: WorkerId,
        /// The running tasks whose leases it renews. It also renews the leases of tasks that have
        /// not started, as long as any task runs.
        running: Vec<TaskId>,
    },
    /// A worker violated the protocol.
    ProtocolViolated { worker: WorkerId },
    /// A worker is gone, and everything that it had sent has been passed to the core.
    WorkerExited {
        worker: WorkerId,
        /// How it ended.
        exit: Exit,
        /// The tasks that it ran at that moment, according to its page. Those that it does not hold
        /// are ignored. `None` if it has no page: it then ran the tasks that it had reported as
        /// started.
        ran: Option<Vec<TaskId>>,
    },
    /// The user drains the run: running tasks finish, and nothing new starts.
    DrainRequested,
    /// The user aborts the run: it ends at once.
    AbortRequested,
    /// The run cannot continue, for a reason outside the core.
    GiveUpRequested {
        /// For the final message.
        reason: String,
    },
    /// The coordinator was stopped for a while (by SIGSTOP, a debugger, or a machine that was
    /// suspended) and runs again. Messages that were sent in that time may still be unread.
    Resumed {
        /// How long it was stopped.
        pause: Duration,
    },
    /// The pool gets another size.
    Resized {
        /// Number of slots; at least 1.
        workers: u16,
    },
    /// Everything that workers had sent when [`Action::Listen`] was polled has been passed to the
    /// core. A worker that is silent now was silent then.
    Listened,
    /// Time has passed.
    Tick,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It ran out of memory.
    OutOfMemory {
        /// What ended it.
        by: MemoryCause,
    },
    /// It could not be started, for this reason.
    NotStarted(String),
    /// Unknown, because its parent could not reap it.
    Unknown,
}

/// What ended a worker that ran out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryCause {
    /// The kernel: SIGKILL by its out-of-memory killer.
    Kernel,
    /// The worker itself, at its own limit.
    Limit,
}

impl fmt::Display for MemoryCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "killed by the kernel",
            Self::Limit => "over its limit",
        })
    }
}

impl Exit {
    /// Returns whether the end may have come from outside: by a signal that a process does not
    /// receive for what it does itself (signal(7)). The tasks that ran at that moment may not be
    /// the cause.
    #[must_use]
    pub fn may_be_from_outside(&self) -> bool {
        match self {
            Self::Signal(number) => signal::may_be_from_outside(*number),
            // The kernel kills the largest process, and a worker enforces its own limit.
            Self::Code(_) | Self::OutOfMemory { .. } | Self::NotStarted(_) | Self::Unknown => false,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match signal::signal_name(*number) {
                Some(name) => write!(f, "signal {number} ({name})"),
                None => write!(f, "signal {number}"),
            },
            Self::OutOfMemory { by } => write!(f, "out of memory ({by})"),
            Self::NotStarted(reason) => write!(f, "not started: {reason}"),
            Self::Unknown => f.write_str("unknown end"),
        }
    }
}

/// What the shell has to do. It carries out all actions, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<O, F> {
    /// Start this worker. Answered by `WorkerReady` or `WorkerExited`.
    Spawn { worker: WorkerId },
    /// Send these tasks to this worker, in this order.
    Assign {
        worker: WorkerId,
        tasks: Vec<TaskId>,
    },
    /// Ask this worker to give back those of these tasks that it has not started.
    Revoke {
        worker: WorkerId,
        tasks: Vec<TaskId>,
    },
    /// Place the output of this task, which the worker no longer holds. Answered by `Placed`.
    Place {
        /// The worker that did the task.
        worker: WorkerId,
        task: TaskId,
        /// The output, as the worker reports it.
        output: Box<O>,
    },
    /// Check a failure that a worker calls fatal: the worker may be compromised. Answered by
    /// `Placed`, with a failure that is fatal or transient.
    Prove {
        /// The worker that reports the failure.
        worker: WorkerId,
        task: TaskId,
        /// The failure, as the worker reports it.
        failure: Box<F>,
    },
    /// Tell this worker, which holds no task, to leave. Answered by `WorkerExited`.
    Dismiss { worker: WorkerId },
    /// Ask this worker, and everything that it started, to exit. Answered by `WorkerExited`, or
    /// followed by `Kill` after [`Limits::kill_after`](super::Limits::kill_after).
    Terminate {
        worker: WorkerId,
        reason: KillReason,
    },
    /// Kill this worker, and everything that it started. Answered by `WorkerExited`.
    Kill {
        worker: WorkerId,
        reason: KillReason,
    },
    /// This task failed at its group permanently, or is out of attempts there. From now on it
    /// belongs to the group of its next alternative only, and waits there for its turn.
    TurnToAlternative {
        task: TaskId,
        /// Why it failed.
        failure: Box<F>,
    },
    /// Report when everything that workers have sent until now has been passed to the core.
    /// Answered by [`Event::Listened`].
    Listen,
    /// This task is finished: write its record.
    Record {
        task: TaskId,
        /// The worker that answered it, or whose death quarantined it.
        worker: WorkerId,
        /// How it finished.
        verdict: Verdict<O, F>,
        /// Attempts spent, including this one.
        attempts: u32,
        /// Deliveries spent on deaths and expired leases, plus one if the task was answered.
        deliveries: u32,
        /// Time from when it was last ready until it last started.
        queued: Duration,
    },
    /// Report this. Nothing else has to be done.
    Notify(Notice<F>),
    /// The run has ended, and no worker is left. The last action.
    Finish { ending: Ending<F> },
}

/// How a task finished.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<O, F> {
    /// It is done.
    Done(Box<O>),
    /// It failed permanently, or is out of attempts.
    Failed(Box<F>),
    /// It killed too many workers while it ran alone. The last of them ended like this.
    Quarantined(Exit),
}

/// Why a worker is terminated or killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KillReason {
    /// It was not ready in time.
    StartTimeout,
    /// This task exceeded all its limits, while the worker gave signs of life.
    LeaseExpired(TaskId),
    /// It gave no sign of life for the duration of a lease.
    Silent,
    /// It broke the protocol.
    ProtocolViolation,
    /// It was told to leave, and did not.
    Overstayed,
    /// The run ends, and the grace period has expired.
    GraceExpired,
    /// The run ends at once, or began to end before the worker was ready.
    RunEnds,
    /// Its slot was closed before it was ready.
    Unwanted,
}

impl fmt::Display for KillReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartTimeout => f.write_str("it was not ready in time"),
            Self::LeaseExpired(task) => write!(f, "the lease of task {task} expired"),
            Self::Silent => f.write_str("it gave no sign of life"),
            Self::ProtocolViolation => f.write_str("it broke the protocol"),
            Self::Overstayed => f.write_str("it was told to leave and did not"),
            Self::GraceExpired => f.write_str("the time of grace is over"),
            Self::RunEnds => f.write_str("the run ends"),
            Self::Unwanted => f.write_str("its slot was given up"),
        }
    }
}

/// A decision of the core that requires no action, for logs and counters.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice<F> {
    /// A failed task will be tried again.
    Retrying {
        task: TaskId,
        /// Attempts so far.
        attempts: u32,
        /// Time until the next attempt.
        delay: Duration,
        /// Why it failed.
        failure: Box<F>,
    },
    /// A task returns to the queue because its worker died while it ran.
    Redelivering {
        task: TaskId,
        /// Deliveries spent so far.
        deliveries: u32,
        /// Workers that it killed: it ran alone, or it hung.
        kills: u32,
    },
    /// A worker died that was not meant to leave.
    WorkerDied {
        worker: WorkerId,
        /// How it ended.
        exit: Exit,
        /// Why the core terminated or killed it, if it did.
        killed: Option<KillReason>,
        /// The tasks that it ran.
        running: Vec<TaskId>,
        /// Number of other tasks that it held: not started, or ended but not reported.
        queued: usize,
    },
    /// A slot stays empty for a while, because its worker died without progress.
    BackingOff {
        /// The worker that died.
        worker: WorkerId,
        delay: Duration,
    },
    /// A slot stays empty permanently, because too many of its workers in a row died without
    /// progress.
    Retired {
        /// The last of these workers.
        worker: WorkerId,
        deaths: u32,
    },
    /// A worker leaves because it has had its quota of tasks.
    Recycling { worker: WorkerId },
    /// A message from an earlier epoch, or about a task that the worker does not hold. It changed
    /// nothing.
    Stale { worker: WorkerId },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending<F> {
    /// Every task is finished.
    Completed,
    /// The user ended it. Unfinished tasks are left for the next run.
    Interrupted,
    /// It could not continue. Unfinished tasks are left for the next run.
    GivenUp(GiveUp<F>),
}

/// Why a run could not continue.
#[derive(Clone, Debug, PartialEq)]
pub enum GiveUp<F> {
    /// Too many workers died without progress.
    RestartIntensity {
        /// Deaths without progress within the period, including the last.
        deaths: u32,
        period: Duration,
        /// How the last of these workers ended.
        last: Exit,
    },
    /// More tasks failed than the user allows.
    TooManyFailures { failed: u64 },
    /// The time limit of the run has expired.
    TimeIsUp,
    /// Every slot is retired.
    AllRetired {
        /// How the last worker ended.
        last: Exit,
    },
    /// A worker reported a failure that is fatal for the run, and the check confirmed it.
    Fatal(Box<F>),
    /// A reason outside the core.
    Other(String),
}

/// When the core must be called, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    pub at: Instant,
    /// What is due then.
    pub cause: DeadlineCause,
}

/// What the core waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeadlineCause {
    /// The next attempt of a failed task.
    Retry,
    /// The end of a lease.
    Lease,
    /// The time limit for a worker to become ready.
    Start,
    /// The time limit for a dismissed worker to leave.
    Leave,
    /// The end of a slot's pause after a death without progress.
    Respawn,
    /// The end of the grace period.
    Grace,
    /// The time limit for a worker that was asked to exit.
    Kill,
    /// The end of a group's pause, or the next turn under a rate limit.
    Pace,
    /// The time limit of the run.
    RunTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_signal_of_others_may_be_from_outside() {
        let own = [
            Exit::Signal(6),
            Exit::Signal(11),
            Exit::Code(1),
            Exit::NotStarted("why".into()),
            Exit::Unknown,
            Exit::OutOfMemory {
                by: MemoryCause::Kernel,
            },
            Exit::OutOfMemory {
                by: MemoryCause::Limit,
            },
        ];
        assert!(!own.iter().any(Exit::may_be_from_outside));
        assert!(
            [9, 15]
                .map(Exit::Signal)
                .iter()
                .all(Exit::may_be_from_outside)
        );
    }
}
