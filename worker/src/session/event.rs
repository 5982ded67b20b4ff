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
use std::time::{Duration, Instant, SystemTime};

use protocol::{Assigned, Assignment, Report};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::heartbeat::MIN_INTERVAL;
use super::post::Post;
use super::queue::Queue;
use super::slot::panicked;
use crate::activity::Activity;
use crate::engine::{EventEngine, timestamp};
use crate::link::Outbox;

/// How many tasks have their turn before sockets and timers are looked at again: tokio's own
/// choice.
const TURNS: u32 = 61;

/// A loop for tasks that work for `work` at a time. Where they do, sockets, timers and the
/// heartbeat are looked at in between.
pub(super) fn runtime(work: Duration) -> std::io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .event_interval(if work.is_zero() { TURNS } else { 1 })
        .build()
}

/// What the tasks of a loop have in common.
#[derive(Debug)]
pub(super) struct Crew<O> {
    pub(super) post: Arc<Post<O>>,
    pub(super) queue: Arc<Queue<Assignment>>,
    pub(super) activities: Vec<Arc<Activity>>,
    pub(super) interval: Duration,
    /// How long a task may go without moving.
    pub(super) limit: Duration,
}

/// Does tasks from the queue, as many at once as there are activities, until `stopped`. Downloads
/// that still run are dropped then, and leave nothing behind.
pub(super) fn run<O: Outbox + 'static, E: EventEngine + 'static>(
    runtime: Runtime,
    crew: Crew<O>,
    stopped: &Notify,
    make_engine: impl Fn() -> E + Send + Sync + 'static,
) {
    let make_engine = Arc::new(make_engine);
    for activity in &crew.activities {
        let (post, queue) = (Arc::clone(&crew.post), Arc::clone(&crew.queue));
        let (activity, make_engine) = (Arc::clone(activity), Arc::clone(&make_engine));
        runtime.spawn(async move { slot(&post, &queue, &activity, &*make_engine).await });
    }
    let post = Arc::clone(&crew.post);
    runtime.spawn(async move { post.deliver().await });
    runtime.spawn(beat(crew));
    runtime.block_on(stopped.notified());
}

/// Does one task after the other.
async fn slot<O: Outbox, E: EventEngine>(
    post: &Post<O>,
    queue: &Queue<Assignment>,
    activity: &Activity,
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
        let listens = post.end(report, &next.job.url, queue.waiting());
        activity.put_down();
        if !listens {
            return;
        }
    }
}

/// Does one task. A panic in it costs this task and this engine, nothing else.
async fn work<E: EventEngine>(
    assigned: &Assigned<Assignment>,
    engine: &mut E,
    activity: &Activity,
    make_engine: &impl Fn() -> E,
) -> Report {
    let task = assigned.task;
    let started = timestamp(SystemTime::now());
    let result = {
        let mut download = pin!(engine.download(&assigned.job, activity));
        poll_fn(|context| {
            // Not polled again after a panic, and an activity is whole at any time.
            let polled = catch_unwind(AssertUnwindSafe(|| download.as_mut().poll(context)));
            match polled {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
                Err(payload) => Poll::Ready(Err(payload)),
            }
        })
        .await
    };
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

/// Sends heartbeats until nobody listens any more.
async fn beat<O: Outbox>(crew: Crew<O>) {
    loop {
        sleep(crew.interval.max(MIN_INTERVAL)).await;
        let listens = crew.post.beat(|| {
            let now = Instant::now();
            let running = crew.activities.iter();
            running
                .filter_map(|activity| activity.running(now, crew.limit))
                .collect()
        });
        if !listens {
            return;
        }
    }
}
