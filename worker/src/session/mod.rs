//! A session: tasks in, reports out, from the setup to the end of the link.
//!
//! ```text
//!   reader (calls `read`) ──> queue ──> slots, each with an engine ──> reports
//!                                         └── activity ──> heartbeat
//! ```
//!
//! Slots are threads, and the heartbeat is one more; or, with the other engine, all of them are
//! tasks of one event loop, on one thread.
//!
//! Messages are few: `post` says which reports wait for others. What runs is on the page, before
//! anything is done for the task.
//!
//! It must not know how a download works, nor end the process: whoever runs it decides that.

mod event;
mod heartbeat;
mod post;
mod queue;
mod slot;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use protocol::{Assignment, FromWorker, Setup, ToWorker};
use tokio::sync::Notify;

use crate::activity::Activity;
use crate::engine::{AsyncEngine, BlockingEngine, Engine, EventEngine, Hub, SetupError, Shared};
use crate::faults::Trap;
use crate::link::{Inbox, LinkError, Outbox};
use crate::login::Logins;
use crate::page::{Page, Word};
use crate::throttle::Throttle;
use post::Post;
use queue::Queue;

/// Most slots of one worker, whatever the setup asks for: a heartbeat with all of them must fit a
/// frame. Tasks beyond wait in the queue.
pub const MAX_SLOTS: u16 = 2048;

/// What a task is allowed beyond its own limits before it counts as overdue: a disk that is slow
/// to take a chunk, a machine that is busy.
const SLACK: Duration = Duration::from_secs(5);

/// Why a session ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The coordinator said that there is nothing more to do.
    Dismissed,
    /// The coordinator hung up, or died.
    Closed,
}

/// Why a session failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The setup cannot be worked with.
    #[error(transparent)]
    Setup(#[from] SetupError),
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

/// Works as `setup` says until the coordinator dismisses the worker or closes the link. `throttle`
/// is for the limit on the rate that `setup` names, and shared with all who have that limit together.
///
/// For a session inside another process. It returns once all its threads have ended, so that
/// nothing of it touches its folder any more. Downloads that still run at that moment are
/// given up: at once by the event loop, by threads with their next piece of body, or when one of
/// their own time limits ends; call it from a thread that may wait that long.
///
/// # Errors
///
/// If the setup is of no use, or the link fails otherwise than by being closed.
pub fn serve<I: Inbox, O: Outbox + 'static>(
    mut inbox: I,
    outbox: Arc<O>,
    setup: &Setup,
    throttle: Option<Throttle>,
) -> Result<End, SessionError> {
    let session = Session::start(outbox, setup, throttle, None)?;
    let end = session.read(&mut inbox);
    session.join();
    end
}

/// A session whose threads run. Dropping it tells them to end, and does not wait.
#[derive(Debug)]
pub struct Session<O: Outbox> {
    outbox: Arc<O>,
    post: Arc<Post<O>>,
    queue: Arc<Queue<Assignment>>,
    /// How an event loop is told to stop.
    stopped: Arc<Notify>,
    abandoned: Arc<AtomicBool>,
    logins: Arc<Logins>,
    threads: Vec<JoinHandle<()>>,
}

/// How many tasks a worker with this setup runs at once.
#[must_use]
pub const fn slots(setup: &Setup) -> u16 {
    match setup.concurrency {
        0 => 1,
        few @ 1..=MAX_SLOTS => few,
        _ => MAX_SLOTS,
    }
}

impl<O: Outbox + 'static> Session<O> {
    /// Starts slots with the engine that `setup` asks for, and says that it is ready. `throttle`
    /// as for [`serve`]; what runs is told in `page`, if there is one.
    ///
    /// # Errors
    ///
    /// If the setup is of no use, or the link is down.
    pub fn start(
        outbox: Arc<O>,
        setup: &Setup,
        throttle: Option<Throttle>,
        page: Option<Page>,
    ) -> Result<Self, SessionError> {
        let shared = Arc::new(Shared::new(setup, throttle)?);
        let trap = setup
            .faults
            .as_ref()
            .map(|faults| Trap::new(faults, &outbox));
        let logins = Arc::clone(&shared.logins);
        let mut session = match setup.engine {
            protocol::Engine::Blocking => {
                let make = move || BlockingEngine::new(Arc::clone(&shared));
                match trap {
                    None => Self::start_with(outbox, setup, page, make),
                    Some(trap) => Self::start_with(outbox, setup, page, trap.around(make)),
                }
            }
            protocol::Engine::Async => {
                let hub = Arc::new(Hub::new(shared, slots(setup)));
                let make = move || AsyncEngine::new(Arc::clone(&hub));
                match trap {
                    None => Self::start_loop_with(outbox, setup, page, make),
                    Some(trap) => Self::start_loop_with(outbox, setup, page, trap.around(make)),
                }
            }
        }?;
        // Nothing is read yet.
        session.logins = logins;
        Ok(session)
    }

    /// Starts slots on threads with engines that `make_engine` makes: one for each, and a fresh
    /// one after a panic.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started, or the link is down.
    pub fn start_with<E: Engine>(
        outbox: Arc<O>,
        setup: &Setup,
        page: Option<Page>,
        make_engine: impl Fn() -> E + Send + Sync + 'static,
    ) -> Result<Self, SessionError> {
        let post = Post::for_threads(Arc::clone(&outbox), slots(setup));
        let mut session = Self::new(outbox, post, Queue::for_threads());
        let make_engine = Arc::new(make_engine);
        let activities = session.activities(setup, page);
        for (number, activity) in activities.iter().enumerate() {
            let activity = Arc::clone(activity);
            let (post, queue) = (Arc::clone(&session.post), Arc::clone(&session.queue));
            let make_engine = Arc::clone(&make_engine);
            session.spawn(format!("slot {number}"), move || {
                slot::run(&post, &queue, &activity, &*make_engine);
            })?;
        }
        let post = Arc::clone(&session.post);
        let (interval, limit) = (setup.heartbeat, longest_rest(setup, 1));
        session.spawn("heartbeat".to_owned(), move || {
            heartbeat::beat(&post, &activities, interval, limit);
        })?;
        session.outbox.send(FromWorker::Ready)?;
        Ok(session)
    }

    /// Starts an event loop with engines that `make_engine` makes: one for each download in
    /// flight, and a fresh one after a panic.
    ///
    /// # Errors
    ///
    /// If the loop or its thread cannot be started, or the link is down.
    pub fn start_loop_with<E: EventEngine + 'static>(
        outbox: Arc<O>,
        setup: &Setup,
        page: Option<Page>,
        make_engine: impl Fn() -> E + Send + Sync + 'static,
    ) -> Result<Self, SessionError> {
        let runtime = event::runtime(setup.cpu_per_task).map_err(SessionError::Runtime)?;
        let post = Post::for_tasks(Arc::clone(&outbox), slots(setup));
        let mut session = Self::new(outbox, post, Queue::for_tasks());
        let stopped = Arc::clone(&session.stopped);
        let activities = session.activities(setup, page);
        // While one works, the others cannot move.
        let limit = longest_rest(setup, activities.len());
        let crew = event::Crew {
            post: Arc::clone(&session.post),
            queue: Arc::clone(&session.queue),
            activities,
            interval: setup.heartbeat,
            limit,
        };
        session.spawn("event loop".to_owned(), move || {
            event::run(runtime, crew, &stopped, make_engine);
        })?;
        session.outbox.send(FromWorker::Ready)?;
        Ok(session)
    }

    /// Reads the coordinator's messages until there are no more. Downloads that still run are
    /// given up from then on; they report nothing.
    ///
    /// # Errors
    ///
    /// If the link fails otherwise than by being closed.
    pub fn read(&self, inbox: &mut impl Inbox) -> Result<End, SessionError> {
        let end = self.read_on(inbox);
        self.stop();
        match end {
            Err(SessionError::Link(LinkError::Closed)) => Ok(End::Closed),
            end => end,
        }
    }

    /// Waits for the session's threads.
    pub fn join(mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            // A slot contains the panics of its engine. Whatever else there was is over.
            let _ = thread.join();
        }
    }

    fn read_on(&self, inbox: &mut impl Inbox) -> Result<End, SessionError> {
        loop {
            match inbox.recv()? {
                ToWorker::Assign(assignments) => self.queue.push(assignments),
                ToWorker::Notice(logins) => self.logins.learn(logins),
                // What is held is told with it: who asks wants to know what is left.
                ToWorker::Revoke(tasks) => self.post.release(self.queue.revoke(&tasks)),
                ToWorker::Dismiss => return Ok(End::Dismissed),
                ToWorker::Setup(_) => return Err(SessionError::SecondSetup),
            }
        }
    }
}

/// How long a task may go without moving before it counts as overdue, where `sharing` tasks share
/// a thread.
fn longest_rest(setup: &Setup, sharing: usize) -> Duration {
    let sharing = u32::try_from(sharing).unwrap_or(u32::MAX);
    let http = &setup.http;
    http.connect_timeout
        .saturating_add(http.stall_timeout)
        .saturating_add(setup.cpu_per_task.saturating_mul(sharing))
        .saturating_add(SLACK)
}

impl<O: Outbox> Session<O> {
    fn new(outbox: Arc<O>, post: Post<O>, queue: Queue<Assignment>) -> Self {
        Self {
            outbox,
            post: Arc::new(post),
            queue: Arc::new(queue),
            stopped: Arc::default(),
            abandoned: Arc::default(),
            logins: Arc::default(),
            threads: Vec::new(),
        }
    }

    /// One for each slot.
    fn activities(&self, setup: &Setup, page: Option<Page>) -> Vec<Arc<Activity>> {
        (0..slots(setup).into())
            .map(|number| {
                let word = page.map_or_else(Word::default, |page| page.word(number));
                Arc::new(Activity::with(word, Arc::clone(&self.abandoned)))
            })
            .collect()
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

    fn stop(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        self.queue.close();
        self.post.close();
        self.stopped.notify_one();
    }
}

impl<O: Outbox> Drop for Session<O> {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
