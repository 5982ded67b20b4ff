//! The messages. They are batched: a frame carries as many tasks or reports as are available.
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

/// A task, as it is assigned to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned<J> {
    /// The number under which it was assigned. Reports refer to this number.
    pub task: TaskId,
    /// Input of the task.
    pub job: J,
}

/// Message from the coordinator: `S` is the setup, `N` a notice, `J` a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker<S, N, J> {
    /// Configuration of the worker. Sent once, as the first message.
    Setup(Box<S>),
    /// Information for the tasks that follow.
    Notice(N),
    /// Tasks to run, in this order.
    Assign(Vec<Assigned<J>>),
    /// Asks for these tasks back if they have not been started. The worker answers with
    /// [`Report::Released`] for each of them, and reports how the others end.
    Revoke(Vec<TaskId>),
    /// There is nothing more to do: the worker exits with code 0.
    Dismiss,
}

/// Message from a worker: `P` is the progress of a task, `O` its output, `F` its failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker<P, O, F> {
    /// Greeting. Sent once, as the first message.
    Hello(Hello),
    /// The worker is set up and can receive tasks.
    Ready,
    /// Reports on tasks, in the order of the events.
    Reports(Vec<Report<O, F>>),
    /// Sign of life, with the tasks that run and move now. A running task that is missing has
    /// exceeded all of its time limits.
    Heartbeat(Vec<Running<P>>),
}

/// Report on one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report<O, F> {
    /// The worker started the task. Sent with the next message, at the latest with the next
    /// heartbeat: the worker's page shows which task is to blame for a death.
    Started {
        /// The number under which it was assigned.
        task: TaskId,
        /// When the task started: `CLOCK_MONOTONIC`, which all processes of a machine share.
        at: MonotonicNanos,
    },
    /// The task is done.
    Finished {
        /// The number under which it was assigned.
        task: TaskId,
        /// Output of the task.
        output: Box<O>,
    },
    /// The task was tried and failed.
    Nacked {
        /// The number under which it was assigned.
        task: TaskId,
        /// What the job reports: whether another attempt may succeed, and who is to blame.
        failure: Box<F>,
    },
    /// The task was revoked before it was started.
    Released {
        /// The number under which it was assigned.
        task: TaskId,
    },
}

/// A running task in a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running<P> {
    /// The number under which it was assigned.
    pub task: TaskId,
    /// Progress of the task.
    pub progress: P,
}
