//! Slots as tasks of one event loop, on one thread.
//!
//! Heartbeats come from the loop itself: a loop that is frozen sends none. They list what moves,
//! as those of threads do, so a task that is forgotten cannot hide either.
//!
//! It must not read from the link.

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

/// How many tasks have their turn before sockets and timers are looked at again: tokio's own
/// choice.
const TURNS: u32 = 61;

/// A loop for tasks. Where one may `compute` for long, sockets, timers and the heartbeat are looked
/// at in between.
pub(super) fn runtime(compute: bool) -> std::io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .event_interval(if compute { 1 } else { TURNS })
        .build()
}

/// What the tasks of a loop have in common.
pub(super) struct Crew<J: Job, O> {
    pub(super) post: Arc<Post<J, O>>,
    pub(super) queue: Arc<Queue<J::Task>>,
    pub(super) pulse: Pulse<J::Progress>,
}

/// Does tasks from the queue, as many at once as there are activities, until `stopped`. Those that
/// still run are dropped then, and leave nothing behind.
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

/// Does one task after the other.
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

/// Does one task. A panic in it costs this task and this engine, nothing else.
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
            // Not polled again after a panic, and an activity is whole at any time.
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

/// Sends heartbeats until nobody listens any more.
async fn beat<J: Job, O: Outbox<J>>(crew: Arc<Crew<J, O>>) {
    loop {
        sleep(crew.pulse.interval.max(MIN_INTERVAL)).await;
        if !crew.post.beat(|| crew.pulse.running()) {
            return;
        }
    }
}
