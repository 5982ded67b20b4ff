//! The messages. All are batched: one frame carries as many tasks or reports as are at hand.
//!
//! ```text
//!   coordinator                                worker
//!       |  (spawn, with the path of a socket)     |
//!       |<------------- Hello --------------------|  version, pid, where to answer
//!       |-------------- Setup ------------------->|
//!       |<------------- Ready --------------------|
//!       |-------------- Assign [17, 18, 19] ----->|
//!       |<------------- Reports [Started 17, Finished 17, Started 18, Finished 18]
//!       |-------------- Assign [20, 21] --------->|
//!       |-------------- Revoke [21] ------------->|  another worker is idle
//!       |<------------- Reports [Started 19, Released 21]
//!       |<------------- Heartbeat [19] -----------|  every now and then
//!       |<------------- Reports [Nacked 19, Started 20]
//!       |-------------- Dismiss ----------------->|
//!       |               (exit 0)                  |
//! ```

use serde::{Deserialize, Serialize};

use crate::handshake::Hello;
use crate::{MonotonicNanos, TaskId};

/// One task, as it is handed to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned<J> {
    /// The number under which it was assigned; reports name it by that.
    pub task: TaskId,
    /// What is to be done.
    pub job: J,
}

/// What the coordinator says: `S` is how to work, `N` what else there is to know, `J` a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker<S, N, J> {
    /// How to work; the first message, once.
    Setup(Box<S>),
    /// What there is to know for the tasks that follow.
    Notice(N),
    /// Do these, in this order.
    Assign(Vec<Assigned<J>>),
    /// Give these back if they are not started; each that is not is answered by
    /// [`Report::Released`], the others by how they end.
    Revoke(Vec<TaskId>),
    /// There is nothing more to do: leave with exit code 0.
    Dismiss,
}

/// What a worker says: `P` is how far a task is, `O` what comes of it, `F` why nothing does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker<P, O, F> {
    /// Who is there; the first message, once.
    Hello(Hello),
    /// Set up: send tasks.
    Ready,
    /// News of tasks, in the order in which it happened.
    Reports(Vec<Report<O, F>>),
    /// Sign of life: what runs and moves now. A running task that is missing from it has overrun
    /// every time limit it has.
    Heartbeat(Vec<Running<P>>),
}

/// News of one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report<O, F> {
    /// The worker took it up. Said with what comes next, the next heartbeat at the latest: whom a
    /// death is blamed on is on the worker's page.
    Started {
        /// As it was assigned.
        task: TaskId,
        /// When it was taken up: `CLOCK_MONOTONIC`, which all processes of a machine share.
        at: MonotonicNanos,
    },
    /// It is done.
    Finished {
        /// As it was assigned.
        task: TaskId,
        /// What there is now.
        output: Box<O>,
    },
    /// It was tried, and failed.
    Nacked {
        /// As it was assigned.
        task: TaskId,
        /// What the job says of it: whether it may pass, and whose fault it is.
        failure: Box<F>,
    },
    /// It was revoked before it was started.
    Released {
        /// As it was assigned.
        task: TaskId,
    },
}

/// One running task in a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running<P> {
    /// As it was assigned.
    pub task: TaskId,
    /// How far it is.
    pub progress: P,
}
