//! Slots as tasks of one event loop, on one thread.
//!
//! The loop itself sends the heartbeats: a loop that is frozen sends none. As with threads, they
//! list only tasks that move, so a task that is never polled is noticed as well.
//!
//! Must not read from the link.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use protocol::Assigned;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::heartbeat::{MIN_INTERVAL, Pulse};
use super::post::{Post, Weighed};
use super::queue::Queue;
use super::slot::report;
use super::{Activity, EventEngine};
use crate::job::Job;
use crate::link::Outbox;

/// Number of tasks that are polled before sockets and timers are checked again: tokio's default.
const TURNS: u32 = 61;

/// Creates an event loop. If tasks may `compute` for long, sockets, timers and the heartbeat are
/// checked after each of them.
pub(super) fn runtime(compute: bool) -> std::io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .event_interval(if compute { 1 } else { TURNS })
        .build()
}

/// State that the tasks of a loop share.
pub(super) struct Crew<J: Job, O> {
    pub(super) post: Arc<Post<J, O>>,
    pub(super) queue: Arc<Queue<J::Task>>,
    pub(super) pulse: Pulse<J::Progress>,
}

/// Runs tasks from the queue, as many at once as there are activities, until `stopped`. Tasks that
/// still run are then dropped and leave nothing behind.
pub(super) fn run<J, O, E>(
    runtime: Runtime,
    crew: Crew<J, O>,
    stopped: &Notify,
    make_engine: impl Fn() -> E + Send + Sync + 'static,
) where
    J: Job<Task: Sync>,
    O: Outbox<J> + 'static,
    E: EventEngine<J> + 'static,
{
    let make_engine = Arc::new(make_engine);
    for activity in &crew.pulse.activities {
        let (post, queue) = (Arc::clone(&crew.post), Arc::clone(&crew.queue));
        let (activity, make_engine) = (Arc::clone(activity), Arc::clone(&make_engine));
        runtime.spawn(async move { slot(&post, &queue, &activity, &*make_engine).await });
    }
    let crew = Arc::new(crew);
    let courier = Arc::clone(&crew);
    runtime.spawn(async move { courier.post.deliver(|| courier.pulse.running()).await });
    runtime.spawn(beat(crew));
    runtime.block_on(stopped.notified());
}

/// Runs one task after the other.
async fn slot<J: Job<Task: Sync>, E: EventEngine<J>>(
    post: &Post<J, impl Outbox<J>>,
    queue: &Queue<J::Task>,
    activity: &Activity<J::Progress>,
    make_engine: &(impl Fn() -> E + Sync),
) {
    let mut engine = make_engine();
    loop {
        let next = match queue.try_pop() {
            Some(assigned) => assigned,
            None => {
                post.flush();
                match queue.next().await {
                    Some(assigned) => assigned,
                    None => return,
                }
            }
        };
        activity.take_up(next.task);
        post.begin(next.task);
        let report = work(&next, &mut engine, activity, make_engine).await;
        activity.end();
        let listens = post.end(report, J::group(&next.job), queue.waiting());
        activity.clear_word();
        if !listens {
            return;
        }
    }
}

/// Runs one task. A panic affects only this task and this engine, which is replaced.
async fn work<J: Job, E: EventEngine<J>>(
    assigned: &Assigned<J::Task>,
    engine: &mut E,
    activity: &Activity<J::Progress>,
    make_engine: &impl Fn() -> E,
) -> Weighed<J> {
    let begun = SystemTime::now();
    let result = {
        let mut running = pin!(engine.run(&assigned.job, activity));
        poll_fn(|context| {
            // The future is not polled again after a panic, and an activity is always consistent.
            let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context)));
            match polled {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
                Err(payload) => Poll::Ready(Err(payload)),
            }
        })
        .await
    };
    if result.is_err() {
        *engine = make_engine();
    }
    report::<J>(assigned.task, begun, result)
}

/// Sends heartbeats until the post is closed.
async fn beat<J: Job, O: Outbox<J>>(crew: Arc<Crew<J, O>>) {
    loop {
        sleep(crew.pulse.interval.max(MIN_INTERVAL)).await;
        if !crew.post.beat(|| crew.pulse.running()) {
            return;
        }
    }
}
