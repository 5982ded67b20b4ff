//! What goes into the core and what comes out of it. Data only; both lists are closed.

use std::fmt;
use std::time::{Duration, Instant};

use protocol::{TaskId, WorkerId};

use super::signal;

/// What some tasks have in common that has limits of its own: as a number, which is only compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

#[derive(Clone, Debug, PartialEq)]
pub enum Event<O, F> {
    /// The input holds another task. Each id is offered once.
    TaskOffered {
        /// Its number.
        task: TaskId,
        /// Its group.
        group: GroupId,
        /// The groups of its alternatives: where else it can be done, in the order in which that is tried.
        alternatives: Vec<GroupId>,
        /// What it takes of a worker's credit until it is known to be started: its room in the
        /// channel.
        size: u32,
        /// Shortest time from when it is handed out to the next task of its group, where that is
        /// longer than [`Limits::group_spacing`](super::Limits::group_spacing).
        spacing: Duration,
    },
    /// The run needs this done before it can offer some of the input: a **prerequisite**. It is a task
    /// like any other, but not of the input: it waits behind none of them, is in no chunk and in no
    /// count of them. Its id is like no other's.
    PrerequisiteOffered {
        /// Its number.
        task: TaskId,
        /// Its group.
        group: GroupId,
        /// What it takes of a worker's credit until it is started.
        size: u32,
    },
    /// The input holds another task, which must not be done: it has failed without ever having been
    /// offered.
    TaskRefused,
    /// The input holds no more tasks.
    InputEnded,
    /// A worker that was asked for is set up.
    WorkerReady { worker: WorkerId },
    /// A worker took up a task. It says so when there is something else to say, a heartbeat at the
    /// latest; it may have ended the task by then.
    Started {
        worker: WorkerId,
        task: TaskId,
        /// When that was, as the worker tells it.
        at: Instant,
    },
    /// A worker has done a task.
    Finished {
        worker: WorkerId,
        task: TaskId,
        /// What there is, as the worker tells it.
        output: Box<O>,
    },
    /// The answer to [`Action::Place`] and to [`Action::Prove`].
    Placed {
        /// The worker that had answered it, which may be gone by now.
        worker: WorkerId,
        task: TaskId,
        /// What there is in the end, or why there is nothing.
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
    /// A sign of life, naming the running tasks that are within their limits.
    HeartbeatReceived {
        worker: WorkerId,
        /// The running tasks whose leases it renews. Those not started are renewed as well, as
        /// long as any task runs.
        running: Vec<TaskId>,
    },
    /// A worker said something that is not of the protocol.
    ProtocolViolated { worker: WorkerId },
    /// A worker is gone, and everything it said before has been handed in.
    WorkerExited {
        worker: WorkerId,
        /// How it ended.
        exit: Exit,
        /// What it ran at that moment, as its page says; those count that it holds. Nothing if it has
        /// no page: then it ran what it said it had started.
        ran: Option<Vec<TaskId>>,
    },
    /// The user wants the run to end: finish what runs, start nothing.
    DrainRequested,
    /// The user wants the run to end at once.
    AbortRequested,
    /// The run cannot go on for a reason outside the core.
    GiveUpRequested {
        /// For the final message.
        reason: String,
    },
    /// The coordinator did not run for a while (SIGSTOP, a debugger, a machine that stood still)
    /// and does again. What it did not hear in that time was perhaps said, and is still to come.
    Resumed {
        /// How long it did not run.
        pause: Duration,
    },
    /// The pool is to have another size from now on.
    Resized {
        /// How many slots; at least 1.
        workers: u16,
    },
    /// Everything that workers had said when [`Action::Listen`] was polled has been handed in: who
    /// was silent until then was silent.
    Listened,
    /// Time has passed.
    Tick,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It left with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It wanted more memory than there was for it.
    OutOfMemory {
        /// Who found that.
        by: MemoryCause,
    },
    /// It could not be started, for this reason.
    NotStarted(String),
    /// Nobody knows (its parent did not get to reap it).
    Unknown,
}

/// Who ended a worker for want of memory.
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
    /// Whether somebody else may have ended it: a signal that a process does not get for what it
    /// does itself (signal(7)). What ran at that moment may have nothing to do with it.
    #[must_use]
    pub fn may_be_from_outside(&self) -> bool {
        match self {
            Self::Signal(number) => signal::may_be_from_outside(*number),
            // The kernel takes the largest, and the worker knows its own limit.
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

/// What is to be done. The shell does all of it, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<O, F> {
    /// Start this worker; answered by `WorkerReady` or `WorkerExited`.
    Spawn { worker: WorkerId },
    /// Hand these tasks to this worker, in this order.
    Assign {
        worker: WorkerId,
        tasks: Vec<TaskId>,
    },
    /// Ask this worker to give these tasks back, if it has not started them.
    Revoke {
        worker: WorkerId,
        tasks: Vec<TaskId>,
    },
    /// See to what this worker has made of the task, which is not the worker's any more;
    /// answered by `Placed`.
    Place {
        /// The worker that has done it.
        worker: WorkerId,
        task: TaskId,
        /// What there is, as the worker tells it.
        output: Box<O>,
    },
    /// Find out whether what a worker calls fatal is: a worker may have been taken over. Answered by
    /// `Placed`, with a failure that is fatal or may pass.
    Prove {
        /// The worker that says so.
        worker: WorkerId,
        task: TaskId,
        /// Why, as the worker tells it.
        failure: Box<F>,
    },
    /// Tell this worker, which holds nothing, to leave; answered by `WorkerExited`.
    Dismiss { worker: WorkerId },
    /// Ask this worker and everything it started to end; answered by `WorkerExited`, or followed
    /// by `Kill` when [`Limits::kill_after`](super::Limits::kill_after) is over.
    Terminate {
        worker: WorkerId,
        reason: KillReason,
    },
    /// End this worker and everything it started, now; answered by `WorkerExited`.
    Kill {
        worker: WorkerId,
        reason: KillReason,
    },
    /// This task failed for good where it was tried: from now on it is for its next alternative, and no
    /// other place. It waits for its turn there.
    TurnToAlternative {
        task: TaskId,
        /// Why it failed.
        failure: Box<F>,
    },
    /// Say when everything that workers have said until now is told; answered by
    /// [`Event::Listened`].
    Listen,
    /// This task is finished: write it down.
    Record {
        task: TaskId,
        /// The worker that answered it, or died of it.
        worker: WorkerId,
        /// How it finished.
        verdict: Verdict<O, F>,
        /// Answers it took, this one included.
        attempts: u32,
        /// Leases that a death or a deadline ended, plus one if it was answered at last.
        deliveries: u32,
        /// Time it waited, from when it was last ready until it was last started.
        queued: Duration,
    },
    /// Nothing to do, but worth telling.
    Notify(Notice<F>),
    /// The run is over; no worker is left. The last action.
    Finish { ending: Ending<F> },
}

/// How a task finished.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<O, F> {
    /// It is done.
    Done(Box<O>),
    /// It failed for good.
    Failed(Box<F>),
    /// It killed too many workers while it ran alone; the last of them ended like this.
    Quarantined(Exit),
}

/// Why a worker is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KillReason {
    /// It was not ready in time.
    StartTimeout,
    /// This task overran all its limits, while the worker gave signs of life.
    LeaseExpired(TaskId),
    /// It gave no sign of life for as long as a lease lasts.
    Silent,
    /// It broke the protocol.
    ProtocolViolation,
    /// It was told to leave, and did not.
    Overstayed,
    /// The run ends and its time of grace is over.
    GraceExpired,
    /// The run ends at once, or ends before it was ready.
    RunEnds,
    /// Its slot was given up before it was ready.
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

/// A decision of the core that needs no deed, for logs and counters.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice<F> {
    /// A failed task will be tried again.
    Retrying {
        task: TaskId,
        /// Answers so far.
        attempts: u32,
        /// When, from now.
        delay: Duration,
        /// Why it failed.
        failure: Box<F>,
    },
    /// A task goes back to the queue because its worker died while it ran.
    Redelivering {
        task: TaskId,
        /// Leases that a death or a deadline has ended so far.
        deliveries: u32,
        /// Workers that died of it: while it ran alone, or because it hung.
        kills: u32,
    },
    /// A worker is gone that was not told to leave.
    WorkerDied {
        worker: WorkerId,
        /// How it ended.
        exit: Exit,
        /// Why the core had it killed, if it had.
        killed: Option<KillReason>,
        /// What it was running.
        running: Vec<TaskId>,
        /// How many other tasks it held: not started, or ended and not reported.
        queued: usize,
    },
    /// A slot stays empty for a while, because its worker died without having done anything.
    BackingOff {
        /// The worker that died.
        worker: WorkerId,
        delay: Duration,
    },
    /// A slot stays empty for good, because its workers died one after the other without having
    /// done anything.
    Retired {
        /// The last of them.
        worker: WorkerId,
        deaths: u32,
    },
    /// A worker leaves because it has had all the tasks that one worker may have.
    Recycling { worker: WorkerId },
    /// A message of a worker that is gone, or about a task it does not hold. It changed nothing.
    Stale { worker: WorkerId },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending<F> {
    /// Every task is finished.
    Completed,
    /// The user ended it; what is unfinished is left for the next run.
    Interrupted,
    /// It could not go on; what is unfinished is left for the next run.
    GivenUp(GiveUp<F>),
}

/// Why a run could not go on.
#[derive(Clone, Debug, PartialEq)]
pub enum GiveUp<F> {
    /// Too many workers died without having done anything.
    RestartIntensity {
        /// Deaths without progress within the period, the last included.
        deaths: u32,
        period: Duration,
        /// How the last of them ended.
        last: Exit,
    },
    /// More tasks failed than the user wants to see.
    TooManyFailures { failed: u64 },
    /// The run has had its time.
    TimeIsUp,
    /// Every slot is retired.
    AllRetired {
        /// How the last worker ended.
        last: Exit,
    },
    /// A worker met a failure that no task can survive.
    Fatal(Box<F>),
    /// Something outside the core.
    Other(String),
}

/// When the core wants to be woken, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    pub at: Instant,
    /// For what.
    pub cause: DeadlineCause,
}

/// What the core waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeadlineCause {
    /// A failed task's next attempt.
    Retry,
    /// The end of a lease.
    Lease,
    /// The time limit for a worker to be ready.
    Start,
    /// The time limit for a dismissed worker to leave.
    Leave,
    /// A slot's pause after a death without progress.
    Respawn,
    /// The end of the time of grace.
    Grace,
    /// A worker that was asked to end, and has not.
    Kill,
    /// The end of a group's pause, or the next turn under a limited rate.
    Pace,
    /// The end of the time that the run has.
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
