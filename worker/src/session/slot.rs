//! One slot: a thread that does one task after the other.
//!
//! It must not read from the link.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use protocol::{Assigned, Assignment, Exchange, Failure, FailureKind, Report, TaskId, Timestamp};

use super::post::Post;
use super::queue::Queue;
use crate::activity::Activity;
use crate::engine::{Engine, timestamp};
use crate::fault::Fault;
use crate::link::Outbox;

/// Does tasks from `queue` until it is closed, or nobody listens any more.
pub(super) fn run<E: Engine>(
    post: &Post<impl Outbox>,
    queue: &Queue<Assignment>,
    activity: &Activity,
    make_engine: &impl Fn() -> E,
) {
    let mut engine = make_engine();
    loop {
        let next = match queue.try_pop() {
            Some(assigned) => assigned,
            None => {
                // The others may have taken what waited when this slot's last task ended.
                post.flush();
                match queue.pop() {
                    Some(assigned) => assigned,
                    None => return,
                }
            }
        };
        activity.take_up(next.task);
        post.begin(next.task);
        let report = work(&next, &mut engine, activity, make_engine);
        if activity.is_abandoned() {
            return;
        }
        let listens = post.end(report, &next.job.url, queue.waiting());
        activity.put_down();
        if !listens {
            return;
        }
    }
}

/// Does one task. A panic in it costs this task and this engine, nothing else.
fn work<E: Engine>(
    assigned: &Assigned<Assignment>,
    engine: &mut E,
    activity: &Activity,
    make_engine: &impl Fn() -> E,
) -> Report {
    let task = assigned.task;
    let started = timestamp(SystemTime::now());
    // The engine is not looked at again after a panic, and an activity is whole at any time.
    let result = catch_unwind(AssertUnwindSafe(|| {
        engine.download(&assigned.job, activity)
    }));
    match result {
        Ok(Ok(stored)) => Report::Finished {
            task,
            output: stored,
        },
        Ok(Err(failure)) => Report::Nacked { task, failure },
        Err(payload) => {
            *engine = make_engine();
            panicked(task, started, &*payload)
        }
    }
}

/// The report of a task that panicked, after it was taken up at `started`.
pub(super) fn panicked(task: TaskId, started: Timestamp, payload: &(dyn Any + Send)) -> Report {
    let fault = Fault::permanent(
        FailureKind::Internal,
        format!("the worker panicked: {}", words(payload)),
    );
    let exchange = Exchange {
        started,
        ..Exchange::default()
    };
    let failure = Box::new(Failure {
        exchange,
        kind: fault.kind,
        message: fault.message,
        severity: fault.severity,
    });
    Report::Nacked { task, failure }
}

/// What a panic said.
fn words(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "without words"
    }
}
