//! Starts workers, connects to them, receives their messages and ends them.
//!
//! The run requests actions (spawn, assign, revoke, dismiss, kill) and receives [`WorkerEvent`]s. A
//! pool makes no decisions: the core decides which worker gets which task, which worker is ended
//! and which task is blamed.

mod ear;
mod local;
mod memory;
mod peer;
mod process;
mod sockets;

use std::io;

use protocol::codec::EncodeError;
use protocol::message::{Report, Running};
use protocol::{Assigned, TaskId, WorkerId};
use rustix::process::Signal;

use crate::dispatch::Exit;
use crate::job::{Job, ToWorker};
use sockets::Downlink;

pub use local::{DirectOutbox, LocalPool};
pub use process::{Launch, PoolError, ProcessPool};
pub use sockets::SocketFolder;

/// Events of a worker.
#[derive(Debug)]
pub enum WorkerEvent<J: Job> {
    /// The worker is set up.
    Ready,
    /// Reports on tasks.
    Reports(Vec<Report<J::Output, J::Failure>>),
    /// The worker is alive, and these of its tasks move.
    Heartbeat(Vec<Running<J::Progress>>),
    /// The worker broke the protocol.
    Violated {
        /// Description of the violation.
        problem: String,
    },
    /// The worker wrote these lines to standard error. Only sent if the pool was asked for them.
    Wrote(Vec<String>),
    /// The worker has ended. This is its last event.
    Exited(Box<Death>),
}

/// How a worker ended, with further details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// How the worker ended.
    pub exit: Exit,
    /// The last lines that the worker wrote to standard error, oldest first: at most 20, cut at 1
    /// KiB, and without control characters. Empty for a worker that is not a process.
    pub last_words: Vec<String>,
    /// Peak resident memory of the worker, in bytes. It was read at most one heartbeat before the
    /// death, unless the kernel's accounting gives the exact figure.
    pub peak_memory: Option<u64>,
    /// Whether the kernel's out-of-memory killer ended the worker, if this can be known.
    pub oom: Option<bool>,
    /// The tasks that the worker was running, as recorded on its page. `None` without a page.
    #[doc(hidden)]
    pub ran: Option<Vec<TaskId>>,
}

/// For a worker that is not a process, or that was not started.
impl From<Exit> for Death {
    fn from(exit: Exit) -> Self {
        Self {
            exit,
            last_words: Vec::new(),
            peak_memory: None,
            oom: None,
            ran: None,
        }
    }
}

/// A message for [`Pool::digest`].
#[derive(Debug)]
pub struct Message<J: Job>(Content<J>);

#[derive(Debug)]
enum Content<J: Job> {
    Of(WorkerId, LinkEvent<J>),
    Listened,
}

/// Events on the link to a worker.
#[derive(Debug)]
enum LinkEvent<J: Job> {
    /// The worker was answered after its greeting. Messages to it go through this link.
    Connected(Downlink),
    /// An event of the worker, and the size of its message in bytes.
    Event(WorkerEvent<J>, usize),
    /// The worker broke the protocol. Nothing more is read from it.
    Violated(String),
    /// The worker wrote these lines to standard error.
    Wrote(Vec<String>),
    /// The last event: the worker is dead, all it sent was received, and these are its last lines.
    Finished(Vec<String>),
}

/// What a message means for the run.
#[derive(Debug)]
pub enum Digested<J: Job> {
    /// An event of a worker.
    Event(WorkerId, WorkerEvent<J>),
    /// Everything that workers had sent when the pool was asked to listen has been digested.
    Listened,
}

impl<J: Job> Message<J> {
    const fn of(worker: WorkerId, heard: LinkEvent<J>) -> Self {
        Self(Content::Of(worker, heard))
    }

    const fn listened() -> Self {
        Self(Content::Listened)
    }
}

/// The workers of a run: processes or threads. `M` is the type of the run's inbox.
///
/// Must be used by one thread, which must live as long as the run.
#[derive(Debug)]
pub enum Pool<J: Job, M> {
    /// Each worker is a process.
    Processes(Box<ProcessPool<J, M>>),
    /// Each worker is a session on a thread of this process.
    Local(LocalPool<J, M>),
}

impl<J: Job, M: From<Message<J>> + Send + 'static> Pool<J, M> {
    /// Starts `worker`. Its events follow; the last is [`WorkerEvent::Exited`].
    ///
    /// # Errors
    ///
    /// Fails if the worker cannot be started. No events follow then.
    pub fn spawn(&mut self, worker: WorkerId) -> io::Result<()> {
        match self {
            Self::Processes(pool) => pool.spawn(worker),
            Self::Local(pool) => pool.spawn(worker),
        }
    }

    /// Processes one message of the inbox. Returns what it means for the run.
    pub fn digest(&mut self, message: Message<J>) -> Option<Digested<J>> {
        let (worker, heard) = match message.0 {
            Content::Of(worker, heard) => (worker, heard),
            Content::Listened => return Some(Digested::Listened),
        };
        let news = match self {
            Self::Processes(pool) => pool.digest(worker, heard),
            Self::Local(pool) => pool.digest(worker, heard),
        };
        news.map(|news| Digested::Event(worker, news))
    }

    /// Requests [`Digested::Listened`] once everything that workers have sent by now is digested.
    pub fn listen(&mut self) {
        match self {
            Self::Processes(pool) => pool.listen(),
            Self::Local(pool) => pool.listen(),
        }
    }

    /// Checks which children have ended, after SIGCHLD. [`WorkerEvent::Exited`] of each follows.
    pub fn reap(&mut self) {
        match self {
            Self::Processes(pool) => pool.reap(),
            Self::Local(_) => {}
        }
    }

    /// Sends `worker` information for the tasks that follow.
    ///
    /// # Errors
    ///
    /// Fails as [`assign`](Self::assign) does.
    pub fn notify(&mut self, worker: WorkerId, notice: J::Notice) -> Result<(), EncodeError> {
        self.send(worker, ToWorker::<J>::Notice(notice))
    }

    /// Sends tasks to `worker`.
    ///
    /// # Errors
    ///
    /// Fails if they do not fit a frame, but not if the worker has ended: `Exited` then follows.
    pub fn assign(
        &mut self,
        worker: WorkerId,
        tasks: Vec<Assigned<J::Task>>,
    ) -> Result<(), EncodeError> {
        self.send(worker, ToWorker::<J>::Assign(tasks))
    }

    /// Asks `worker` to give tasks back.
    ///
    /// # Errors
    ///
    /// Fails as [`assign`](Self::assign) does.
    pub fn revoke(&mut self, worker: WorkerId, tasks: Vec<TaskId>) -> Result<(), EncodeError> {
        self.send(worker, ToWorker::<J>::Revoke(tasks))
    }

    /// Asks `worker` to exit.
    ///
    /// # Errors
    ///
    /// Fails as [`assign`](Self::assign) does.
    pub fn dismiss(&mut self, worker: WorkerId) -> Result<(), EncodeError> {
        self.send(worker, ToWorker::<J>::Dismiss)
    }

    fn send(&mut self, worker: WorkerId, message: ToWorker<J>) -> Result<(), EncodeError> {
        match self {
            Self::Processes(pool) => pool.send(worker, &message),
            Self::Local(pool) => {
                pool.send(worker, message);
                Ok(())
            }
        }
    }

    /// Asks `worker` and everything it started to end, even if it is stopped. For a thread, the
    /// same as [`kill`](Self::kill).
    pub fn terminate(&mut self, worker: WorkerId) {
        match self {
            Self::Processes(pool) => pool.terminate(worker),
            Self::Local(pool) => pool.kill(worker),
        }
    }

    /// Ends `worker` and everything it started. A thread cannot be ended: it is asked to end, and
    /// does so when it next checks.
    pub fn kill(&mut self, worker: WorkerId) {
        match self {
            Self::Processes(pool) => pool.kill(worker),
            Self::Local(pool) => pool.kill(worker),
        }
    }

    /// Stops all workers until [`continue_all`](Self::continue_all). Threads stop with the process.
    pub fn stop_all(&mut self) {
        match self {
            Self::Processes(pool) => pool.signal_all(Signal::STOP),
            Self::Local(_) => {}
        }
    }

    /// Continues all workers.
    pub fn continue_all(&mut self) {
        match self {
            Self::Processes(pool) => pool.signal_all(Signal::CONT),
            Self::Local(_) => {}
        }
    }

    /// Returns whether the number of workers can be changed.
    #[must_use]
    pub const fn can_resize(&self) -> bool {
        match self {
            Self::Processes(_) => true,
            Self::Local(_) => false,
        }
    }

    /// Sends `signal` to `worker` and everything it started, if it is a living process.
    pub fn signal(&self, worker: WorkerId, signal: Signal) {
        match self {
            Self::Processes(pool) => pool.signal(worker, signal),
            Self::Local(_) => {}
        }
    }

    /// Returns the workers that are living processes, with their process ids, in order.
    #[must_use]
    pub fn live(&self) -> Vec<(WorkerId, u32)> {
        match self {
            Self::Processes(pool) => pool.live(),
            Self::Local(_) => Vec::new(),
        }
    }

    /// Returns the process id of `worker`: that of this process if its workers are threads.
    #[must_use]
    pub fn pid(&self, worker: WorkerId) -> Option<u32> {
        match self {
            Self::Processes(pool) => pool.pid(worker),
            Self::Local(pool) => pool.pid(worker),
        }
    }
}
