//! How workers are made, reached, heard and ended.
//!
//! The run asks for actions (spawn, assign, revoke, dismiss, kill) and gets [`WorkerEvent`] back. A pool
//! decides nothing: which worker gets which task, who is ended and who is blamed is the core's
//! business.

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

/// What a worker did.
#[derive(Debug)]
pub enum WorkerEvent<J: Job> {
    /// It is set up.
    Ready,
    /// It has news of tasks.
    Reports(Vec<Report<J::Output, J::Failure>>),
    /// It lives, and these of its tasks move.
    Heartbeat(Vec<Running<J::Progress>>),
    /// It said something that is not of the protocol.
    Violated {
        /// What is wrong with it.
        problem: String,
    },
    /// It wrote these lines to standard error; only told if the pool was asked to.
    Wrote(Vec<String>),
    /// It is gone, and this is the last that is heard of it.
    Exited(Box<Death>),
}

/// How a worker ended, and what is known of it beyond that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// How it ended.
    pub exit: Exit,
    /// The last lines that it wrote to standard error, oldest first: at most 20, cut at 1 KiB, and
    /// without control characters. None of a worker that is no process.
    pub last_words: Vec<String>,
    /// The most memory that was resident in it at once, in bytes; as it was when last looked at
    /// (at most a heartbeat before), unless the kernel's account tells it exactly.
    pub peak_memory: Option<u64>,
    /// Whether the kernel's out-of-memory killer ended it, if that can be known.
    pub oom: Option<bool>,
    /// The tasks that it ran at that moment, as it wrote them on its page. Nothing if it has none.
    #[doc(hidden)]
    pub ran: Option<Vec<TaskId>>,
}

/// Of a worker that is no process, or never was one.
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

/// Something for the pool to digest.
#[derive(Debug)]
pub struct Message<J: Job>(Content<J>);

#[derive(Debug)]
enum Content<J: Job> {
    Of(WorkerId, LinkEvent<J>),
    Listened,
}

/// What is heard of one worker.
#[derive(Debug)]
enum LinkEvent<J: Job> {
    /// It has greeted and been answered; messages to it go out here.
    Connected(Downlink),
    /// It has news, which came in so many bytes.
    Event(WorkerEvent<J>, usize),
    /// It said or did something that no worker does, and is not heard any more.
    Violated(String),
    /// It wrote these lines to standard error.
    Wrote(Vec<String>),
    /// It is dead, everything it said is heard, and these were its last lines. The last of it.
    Finished(Vec<String>),
}

/// What a message means for the run.
#[derive(Debug)]
pub enum Digested<J: Job> {
    /// A worker has news.
    Event(WorkerId, WorkerEvent<J>),
    /// All that workers had said when the pool was asked to listen has been digested.
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

/// The workers of a run, however they are made. `M` is what the run's inbox takes.
///
/// To be used by one thread, which must live as long as the run.
#[derive(Debug)]
pub enum Pool<J: Job, M> {
    /// Each a process of its own.
    Processes(Box<ProcessPool<J, M>>),
    /// Each a session on a thread of this process.
    Local(LocalPool<J, M>),
}

impl<J: Job, M: From<Message<J>> + Send + 'static> Pool<J, M> {
    /// Starts `worker`. Its news will follow; the last is
    /// [`WorkerEvent::Exited`].
    ///
    /// # Errors
    ///
    /// If there is no such worker; no news will follow then.
    pub fn spawn(&mut self, worker: WorkerId) -> io::Result<()> {
        match self {
            Self::Processes(pool) => pool.spawn(worker),
            Self::Local(pool) => pool.spawn(worker),
        }
    }

    /// Takes in one message of the inbox; what it means for the run comes back.
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

    /// Has [`Digested::Listened`] come once all that workers have said by now is digested.
    pub fn listen(&mut self) {
        match self {
            Self::Processes(pool) => pool.listen(),
            Self::Local(pool) => pool.listen(),
        }
    }

    /// Looks which children have ended, to be called after SIGCHLD; [`WorkerEvent::Exited`] of each follows.
    pub fn reap(&mut self) {
        match self {
            Self::Processes(pool) => pool.reap(),
            Self::Local(_) => {}
        }
    }

    /// Tells `worker` what there is to know for the tasks that follow.
    ///
    /// # Errors
    ///
    /// As for [`assign`](Self::assign).
    pub fn notify(&mut self, worker: WorkerId, notice: J::Notice) -> Result<(), EncodeError> {
        self.send(worker, ToWorker::<J>::Notice(notice))
    }

    /// Hands tasks to `worker`.
    ///
    /// # Errors
    ///
    /// If they do not fit a frame. A worker that is gone is no error: that is news, and on its
    /// way.
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
    /// As for [`assign`](Self::assign).
    pub fn revoke(&mut self, worker: WorkerId, tasks: Vec<TaskId>) -> Result<(), EncodeError> {
        self.send(worker, ToWorker::<J>::Revoke(tasks))
    }

    /// Tells `worker` to leave.
    ///
    /// # Errors
    ///
    /// As for [`assign`](Self::assign).
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

    /// Asks `worker` and everything it started to end: a frozen one as well. For a thread, the
    /// same as [`kill`](Self::kill).
    pub fn terminate(&mut self, worker: WorkerId) {
        match self {
            Self::Processes(pool) => pool.terminate(worker),
            Self::Local(pool) => pool.kill(worker),
        }
    }

    /// Ends `worker` and everything it started. A thread cannot be ended: it is told to, and
    /// obeys when it looks.
    pub fn kill(&mut self, worker: WorkerId) {
        match self {
            Self::Processes(pool) => pool.kill(worker),
            Self::Local(pool) => pool.kill(worker),
        }
    }

    /// Stops every worker, until [`continue_all`](Self::continue_all). Threads stop
    /// with this process.
    pub fn stop_all(&mut self) {
        match self {
            Self::Processes(pool) => pool.signal_all(Signal::STOP),
            Self::Local(_) => {}
        }
    }

    /// Lets every worker go on.
    pub fn continue_all(&mut self) {
        match self {
            Self::Processes(pool) => pool.signal_all(Signal::CONT),
            Self::Local(_) => {}
        }
    }

    /// Whether the number of workers is of any meaning.
    #[must_use]
    pub const fn can_resize(&self) -> bool {
        match self {
            Self::Processes(_) => true,
            Self::Local(_) => false,
        }
    }

    /// Sends `signal` to `worker` and everything it started, if it is a process and lives.
    pub fn signal(&self, worker: WorkerId, signal: Signal) {
        match self {
            Self::Processes(pool) => pool.signal(worker, signal),
            Self::Local(_) => {}
        }
    }

    /// The workers that are processes and live, with their process ids, in order.
    #[must_use]
    pub fn live(&self) -> Vec<(WorkerId, u32)> {
        match self {
            Self::Processes(pool) => pool.live(),
            Self::Local(_) => Vec::new(),
        }
    }

    /// Process id of `worker`; of this process, if its workers are threads.
    #[must_use]
    pub fn pid(&self, worker: WorkerId) -> Option<u32> {
        match self {
            Self::Processes(pool) => pool.pid(worker),
            Self::Local(pool) => pool.pid(worker),
        }
    }
}
