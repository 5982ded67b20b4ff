//! A session: receives tasks and sends reports, from the setup to the end of the link.
//!
//! ```text
//!   reader (calls `read`) ──> queue ──> slots, each with an engine ──> reports
//!                                         └── activity ──> heartbeat
//! ```
//!
//! Slots are threads, and the heartbeat is another thread. With the other kind of engine, all of
//! them are tasks of one event loop, on one thread.
//!
//! Messages are few: `post` determines which reports wait for others. A running task is recorded on
//! the page before anything is done for it.
//!
//! Must not know what the tasks are, and must not end the process: its caller decides that.

mod activity;
mod engine;
mod event;
mod heartbeat;
mod post;
mod queue;
mod slot;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::sync::Notify;

use crate::job::{FromWorker, Job, ToWorker};
use crate::link::{Inbox, LinkError, Outbox};
use crate::page::{Page, Word};
use heartbeat::Pulse;
use post::Post;
use queue::Queue;

pub use activity::Activity;
pub use engine::{Engine, EventEngine, Outcome};

/// Configuration of a session.
pub struct Options<J: Job> {
    /// Number of tasks that run at once, at least 1. Further tasks wait in the queue.
    pub slots: u16,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// How long a task may go without moving before it counts as overdue.
    pub rest: Duration,
    /// Time limit of a task, and the function to call when a task exceeds it.
    pub overrun: Option<Overrun>,
    /// Whether tasks compute for long. An event loop then checks sockets and timers more often.
    pub compute: bool,
    /// Where running tasks are recorded.
    pub page: Option<Page>,
    /// Receives the notices for the tasks that follow.
    pub learn: Box<dyn Fn(J::Notice) + Send + Sync>,
}

/// A time limit for tasks on threads, which can be left running. Tasks of an event loop cannot.
#[derive(Clone, Copy, Debug)]
pub struct Overrun {
    /// Maximum time of a task.
    pub limit: Duration,
    /// Called when the failure of a task that exceeded the limit has been reported. Its thread
    /// still runs the task; the function is meant to end the process.
    pub then: fn(),
}

impl<J: Job> fmt::Debug for Options<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("slots", &self.slots)
            .field("heartbeat", &self.heartbeat)
            .field("rest", &self.rest)
            .field("overrun", &self.overrun)
            .field("compute", &self.compute)
            .field("page", &self.page)
            .finish_non_exhaustive()
    }
}

/// Reasons why a session ended regularly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The coordinator dismissed the worker: there is nothing more to do.
    Dismissed,
    /// The coordinator closed the link or died.
    Closed,
}

/// Reasons why a session failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The event loop could not be started.
    #[error("cannot start an event loop: {0}")]
    Runtime(#[source] io::Error),
    /// The coordinator sent a setup in the middle of the session.
    #[error("the coordinator sent a second setup")]
    SecondSetup,
}

/// A session whose threads run. Dropping it tells them to end, and does not wait for them.
pub struct Session<J: Job, O: Outbox<J>> {
    post: Arc<Post<J, O>>,
    queue: Arc<Queue<J::Task>>,
    /// Tells an event loop to stop.
    stopped: Arc<Notify>,
    abandoned: Arc<AtomicBool>,
    learn: Box<dyn Fn(J::Notice) + Send + Sync>,
    threads: Vec<JoinHandle<()>>,
}

impl<J: Job, O: Outbox<J>> fmt::Debug for Session<J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl<J: Job, O: Outbox<J> + 'static> Session<J, O> {
    /// Starts slots on threads, and reports that the worker is ready. `make_engine` creates an
    /// engine for each slot, and a new one after a panic.
    ///
    /// # Errors
    ///
    /// Fails if a thread cannot be started, or if the link is down.
    pub fn on_threads<E: Engine<J>>(
        outbox: Arc<O>,
        options: Options<J>,
        make_engine: impl Fn() -> E + Send + Sync + 'static,
    ) -> Result<Self, SessionError> {
        let post = Post::for_threads(Arc::clone(&outbox), options.slots);
        let make_engine = Arc::new(make_engine);
        let (mut session, pulse) = Self::new(post, Queue::for_threads(), options);
        for (number, activity) in pulse.activities.iter().enumerate() {
            let activity = Arc::clone(activity);
            let (post, queue) = (Arc::clone(&session.post), Arc::clone(&session.queue));
            let make_engine = Arc::clone(&make_engine);
            session.spawn(format!("slot {number}"), move || {
                slot::run(&post, &queue, &activity, &*make_engine);
            })?;
        }
        let post = Arc::clone(&session.post);
        session.spawn("heartbeat".to_owned(), move || {
            heartbeat::beat(&post, &pulse);
        })?;
        outbox.send(FromWorker::<J>::Ready)?;
        Ok(session)
    }

    /// Starts an event loop, and reports that the worker is ready. `make_engine` creates an engine
    /// for each slot, and a new one after a panic.
    ///
    /// # Errors
    ///
    /// Fails if the loop or its thread cannot be started, or if the link is down.
    pub fn on_event_loop<E: EventEngine<J> + 'static>(
        outbox: Arc<O>,
        options: Options<J>,
        make_engine: impl Fn() -> E + Send + Sync + 'static,
    ) -> Result<Self, SessionError>
    where
        J: Job<Task: Sync>,
    {
        let runtime = event::runtime(options.compute).map_err(SessionError::Runtime)?;
        let post = Post::for_tasks(Arc::clone(&outbox), options.slots);
        let (mut session, pulse) = Self::new(post, Queue::for_tasks(), options);
        let stopped = Arc::clone(&session.stopped);
        let crew = event::Crew {
            post: Arc::clone(&session.post),
            queue: Arc::clone(&session.queue),
            pulse,
        };
        session.spawn("event loop".to_owned(), move || {
            event::run(runtime, crew, &stopped, make_engine);
        })?;
        outbox.send(FromWorker::<J>::Ready)?;
        Ok(session)
    }

    /// Reads the coordinator's messages until there are no more. Tasks that still run are then
    /// abandoned, and report nothing.
    ///
    /// # Errors
    ///
    /// Fails if the link fails without being closed, or if a message breaks the protocol.
    pub fn read(&self, inbox: &mut impl Inbox<J>) -> Result<End, SessionError> {
        let end = self.read_on(inbox);
        self.stop();
        match end {
            Err(SessionError::Link(LinkError::Closed)) => Ok(End::Closed),
            end => end,
        }
    }

    /// Waits for the session's threads to end.
    pub fn join(mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            // Slots catch the panics of their engines. Any other panic has no effect any more.
            let _ = thread.join();
        }
    }

    fn read_on(&self, inbox: &mut impl Inbox<J>) -> Result<End, SessionError> {
        loop {
            match inbox.recv()? {
                ToWorker::<J>::Assign(assignments) => self.queue.push(assignments),
                ToWorker::<J>::Notice(notice) => (self.learn)(notice),
                // Held reports are sent too, because the coordinator needs to know what is left.
                ToWorker::<J>::Revoke(tasks) => self.post.release(self.queue.revoke(&tasks)),
                ToWorker::<J>::Dismiss => return Ok(End::Dismissed),
                ToWorker::<J>::Setup(_) => return Err(SessionError::SecondSetup),
            }
        }
    }
}

impl<J: Job, O: Outbox<J> + 'static> Session<J, O> {
    fn new(
        post: Post<J, O>,
        queue: Queue<J::Task>,
        options: Options<J>,
    ) -> (Self, Pulse<J::Progress>) {
        let session = Self {
            post: Arc::new(post),
            queue: Arc::new(queue),
            stopped: Arc::default(),
            abandoned: Arc::default(),
            learn: options.learn,
            threads: Vec::new(),
        };
        let activities = (0..options.slots.max(1).into()).map(|number| {
            let word = options.page.map_or(Word::NONE, |page| page.word(number));
            let post = Arc::clone(&session.post);
            let hurry = move || post.show();
            Arc::new(Activity::with(word, Arc::clone(&session.abandoned), hurry))
        });
        let pulse = Pulse {
            activities: activities.collect(),
            interval: options.heartbeat,
            rest: options.rest,
            overrun: options.overrun,
        };
        (session, pulse)
    }

    fn spawn(
        &mut self,
        name: String,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), SessionError> {
        let thread = Builder::new()
            .name(name)
            .spawn(work)
            .map_err(SessionError::Thread)?;
        self.threads.push(thread);
        Ok(())
    }
}

impl<J: Job, O: Outbox<J>> Session<J, O> {
    fn stop(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        self.queue.close();
        self.post.close();
        self.stopped.notify_one();
    }
}

impl<J: Job, O: Outbox<J>> Drop for Session<J, O> {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
