//! One slot: a thread that runs one task after the other.
//!
//! Must not read from the link.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::Result;
use std::time::SystemTime;

use protocol::message::Report;
use protocol::{Assigned, TaskId};

use super::post::{CAPACITY, Post, Weighed};
use super::queue::Queue;
use super::{Activity, Engine, Outcome};
use crate::job::{Broken, Job};
use crate::link::Outbox;

/// Runs tasks from `queue` until the queue or the post is closed.
pub(super) fn run<J: Job, E: Engine<J>>(
    post: &Post<J, impl Outbox<J>>,
    queue: &Queue<J::Task>,
    activity: &Activity<J::Progress>,
    make_engine: &impl Fn() -> E,
) {
    let mut engine = make_engine();
    loop {
        let next = match queue.try_pop() {
            Some(assigned) => assigned,
            None => {
                // Other slots may have taken what waited when this slot's last task ended.
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
        if !activity.end() {
            // It took too long: the failure is reported, and the process ends.
            return;
        }
        let listens = post.end(report, J::group(&next.job), queue.waiting());
        activity.clear_word();
        if !listens {
            return;
        }
    }
}

/// Runs one task. A panic affects only this task and this engine, which is replaced.
fn work<J: Job, E: Engine<J>>(
    assigned: &Assigned<J::Task>,
    engine: &mut E,
    activity: &Activity<J::Progress>,
    make_engine: &impl Fn() -> E,
) -> Weighed<J> {
    let begun = SystemTime::now();
    // The engine is not used again after a panic, and an activity is always consistent.
    let result = catch_unwind(AssertUnwindSafe(|| engine.run(&assigned.job, activity)));
    if result.is_err() {
        *engine = make_engine();
    }
    report::<J>(assigned.task, begun, result)
}

/// Returns the report on a task that started at `begun`. `result` is an error if the task panicked.
pub(super) fn report<J: Job>(
    task: TaskId,
    begun: SystemTime,
    result: Result<Outcome<J>>,
) -> Weighed<J> {
    let broken = |why| Report::Nacked {
        task,
        failure: Box::new(J::broken(why, begun)),
    };
    let report = Weighed::new(match result {
        Ok(Ok(output)) => Report::Finished { task, output },
        Ok(Err(failure)) => Report::Nacked { task, failure },
        Err(payload) => broken(Broken::Panicked(words(&*payload).to_owned())),
    });
    match report.weight {
        0..=CAPACITY => report,
        weight => Weighed::new(broken(Broken::TooLarge(weight))),
    }
}

/// Returns the message of a panic.
fn words(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "without words"
    }
}
