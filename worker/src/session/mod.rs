//! A session: tasks in, reports out, from the setup to the end of the link.
//!
//! ```text
//!   reader (calls `read`) ──> queue ──> slot threads, each with an engine ──> reports
//!                                              └── activity ──> heartbeat thread
//! ```
//!
//! Messages are few: a slot that ends one task and finds the next one queued says both in one
//! frame. `Started` is always sent before anything is done for the task.
//!
//! It must not know how a download works, nor end the process: whoever runs it decides that.

mod heartbeat;
mod queue;
mod slot;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use protocol::{FromWorker, Report, Setup, TaskId, ToWorker};

use crate::activity::Activity;
use crate::engine::{BlockingEngine, Engine, SetupError, Shared};
use crate::link::{Inbox, LinkError, Outbox};
use heartbeat::Heart;
use queue::Queue;

/// Most slots of one worker, whatever the setup asks for: a heartbeat with all of them must fit a
/// frame. Tasks beyond wait in the queue.
pub const MAX_SLOTS: u16 = 2048;

/// Most reports in one frame that the reader sends.
const MAX_REPORTS: usize = 1000;

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
    /// The coordinator sent a setup in the middle of the session.
    #[error("the coordinator sent a second setup")]
    SecondSetup,
}

/// Works as `setup` says until the coordinator dismisses the worker or closes the link.
///
/// For a session inside another process. It returns once all its threads have ended, so that
/// nothing of it touches the output folder any more. Downloads that still run at that moment are
/// given up with their next piece of body, or when one of their own time limits ends; call it from
/// a thread that may wait that long.
///
/// # Errors
///
/// If the setup is of no use, or the link fails otherwise than by being closed.
pub fn serve<I: Inbox, O: Outbox + 'static>(
    mut inbox: I,
    outbox: Arc<O>,
    setup: &Setup,
) -> Result<End, SessionError> {
    let session = Session::start(outbox, setup)?;
    let end = session.read(&mut inbox);
    session.join();
    end
}

/// A session whose threads run. Dropping it tells them to end, and does not wait.
#[derive(Debug)]
pub struct Session<O> {
    outbox: Arc<O>,
    queue: Arc<Queue>,
    heart: Arc<Heart>,
    abandoned: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl<O: Outbox + 'static> Session<O> {
    /// Starts slots with blocking engines, and says that it is ready.
    ///
    /// # Errors
    ///
    /// If the setup is of no use, or the link is down.
    pub fn start(outbox: Arc<O>, setup: &Setup) -> Result<Self, SessionError> {
        let shared = Arc::new(Shared::new(setup)?);
        Self::start_with(outbox, setup, move || {
            BlockingEngine::new(Arc::clone(&shared))
        })
    }

    /// Starts slots with engines that `make_engine` makes: one for each, and a fresh one after a
    /// panic.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started, or the link is down.
    pub fn start_with<E: Engine>(
        outbox: Arc<O>,
        setup: &Setup,
        make_engine: impl Fn() -> E + Send + Sync + 'static,
    ) -> Result<Self, SessionError> {
        let slots = setup.concurrency.clamp(1, MAX_SLOTS);
        let mut session = Self {
            outbox,
            queue: Arc::default(),
            heart: Arc::default(),
            abandoned: Arc::default(),
            threads: Vec::with_capacity(usize::from(slots) + 1),
        };
        let make_engine = Arc::new(make_engine);
        let mut activities = Vec::with_capacity(usize::from(slots));
        for number in 0..slots {
            let activity = Arc::new(Activity::new(Arc::clone(&session.abandoned)));
            activities.push(Arc::clone(&activity));
            let (outbox, queue) = (Arc::clone(&session.outbox), Arc::clone(&session.queue));
            let make_engine = Arc::clone(&make_engine);
            session.spawn(format!("slot {number}"), move || {
                slot::run(&*outbox, &queue, &activity, &*make_engine);
            })?;
        }
        let (outbox, heart) = (Arc::clone(&session.outbox), Arc::clone(&session.heart));
        let limit = setup
            .http
            .connect_timeout
            .saturating_add(setup.http.stall_timeout);
        let limit = limit.saturating_add(SLACK);
        let interval = setup.heartbeat;
        session.spawn("heartbeat".to_owned(), move || {
            heart.beat(&*outbox, &activities, interval, limit);
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
                ToWorker::Revoke(tasks) => self.release(&tasks)?,
                ToWorker::Dismiss => return Ok(End::Dismissed),
                ToWorker::Setup(_) => return Err(SessionError::SecondSetup),
            }
        }
    }

    fn release(&self, tasks: &[TaskId]) -> Result<(), LinkError> {
        let released = self.queue.revoke(tasks);
        for tasks in released.chunks(MAX_REPORTS) {
            let reports = tasks
                .iter()
                .map(|task| Report::Released { task: *task })
                .collect();
            self.outbox.send(FromWorker::Reports(reports))?;
        }
        Ok(())
    }
}

impl<O> Session<O> {
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
        self.heart.stop();
    }
}

impl<O> Drop for Session<O> {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
