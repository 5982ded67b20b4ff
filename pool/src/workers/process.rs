//! Workers as processes, connected over ipc-channel.
//!
//! ```text
//!   spawn: child (as `Launch` says); the ear knows its process id
//!      child greets    -> Connected   -> frames can be sent
//!      child dies      -> SIGCHLD     -> `reap`: exit status; its process group is ended
//!                                        -> Finished: everything it sent and wrote was received
//!      both            -> `WorkerEvent::Exited`, once, last
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use protocol::WorkerId;
use protocol::codec::{self, EncodeError};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::ear::{Backlog, Ear, Newcomer};
use super::memory::{OomKills, Peak};
use super::sockets::{Downlink, SendError, SocketFolder};
use super::{Death, LinkEvent, Message, WorkerEvent};
use crate::dispatch::{Exit, MemoryCause};
use crate::job::{Job, ToWorker};
use crate::page;
use crate::reap::reap;

/// Minimum time between two reads of the memory of a worker that sends messages.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A function that returns the command for a worker, which must connect to the socket with this
/// path: the program, its arguments, its environment and its standard output.
///
/// The pool uses the worker's standard input for the page, reads its standard error, and makes it
/// the leader of a new process group.
pub type Launch = dyn Fn(WorkerId, &Path) -> io::Result<Command> + Send;

/// The workers of a run, each a process. `M` is the type of the run's inbox.
///
/// Must be used by one thread, which must live as long as the run: a worker's parent-death signal
/// is bound to the thread that spawned it (`prctl(2)`, `PR_SET_PDEATHSIG`).
pub struct ProcessPool<J: Job, M> {
    launch: Box<Launch>,
    /// Number of slots of each worker.
    slots: u16,
    /// The path of the socket that workers connect to.
    socket: PathBuf,
    inbox: Sender<M>,
    workers: BTreeMap<WorkerId, Process>,
    ear: Ear,
    oom_kills: OomKills,
    job: PhantomData<fn(J)>,
}

impl<J: Job, M> fmt::Debug for ProcessPool<J, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPool")
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// Reasons why a pool cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The setup is too large to send to the workers.
    #[error("the setup of workers is too long to hand to them: {0}")]
    Setup(#[from] EncodeError),
    /// The socket that workers connect to cannot be created.
    #[error("cannot listen to workers: {0}")]
    Listen(#[source] io::Error),
}

#[derive(Debug)]
struct Process {
    child: Child,
    /// The page on which the worker records its running tasks.
    page: File,
    /// Set when the worker has sent its greeting, and cleared when it no longer reads.
    to_worker: Option<Downlink>,
    backlog: Arc<Backlog>,
    /// Whether the pool sent it SIGKILL.
    killed: bool,
    peak: Peak,
    /// When its memory was last read.
    looked: Instant,
    /// Set when it has been reaped.
    death: Option<Death>,
    /// Whether everything it sent and wrote has been received.
    finished: bool,
}

impl<J: Job, M: From<Message<J>> + Send + 'static> ProcessPool<J, M> {
    /// Creates a pool without workers. `launch` starts them, they connect in `sockets`, have
    /// `slots` slots each, and receive `setup` first. Their messages go to `inbox`, and so do the
    /// lines of their standard error if `pass_on` is set.
    ///
    /// # Errors
    ///
    /// Fails if `setup` does not fit a frame, or if the thread or socket cannot be created.
    pub fn new(
        launch: Box<Launch>,
        setup: J::Setup,
        slots: u16,
        pass_on: bool,
        sockets: SocketFolder,
        inbox: Sender<M>,
    ) -> Result<Self, PoolError> {
        let message = codec::encode(&ToWorker::<J>::Setup(Box::new(setup)))?;
        let socket = sockets.listener_path();
        let tell = {
            let inbox = inbox.clone();
            move |message: Message<J>| {
                // Fails only if the run has ended.
                let _ = inbox.send(message.into());
            }
        };
        let ear = Ear::start(sockets.into(), message.into(), pass_on, tell);
        Ok(Self {
            launch,
            slots,
            socket,
            inbox,
            workers: BTreeMap::new(),
            ear: ear.map_err(PoolError::Listen)?,
            oom_kills: OomKills::watch(),
            job: PhantomData,
        })
    }

    /// Starts `worker`. Its events follow; the last is [`WorkerEvent::Exited`].
    ///
    /// # Errors
    ///
    /// Fails if the process cannot be started. No events follow then.
    pub(super) fn spawn(&mut self, worker: WorkerId) -> io::Result<()> {
        let page = page::memory(self.slots)?;
        let mut command = (self.launch)(worker, &self.socket)?;
        command
            // A worker reads no other standard input. It receives its page here without a further
            // descriptor, a name that others could open, or a message that carries a descriptor.
            .stdin(page.try_clone()?)
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal goes to the foreground process group: only to the coordinator.
            .process_group(0);
        let gate = self.ear.close_gate();
        let mut child = command.spawn()?;
        let backlog = Arc::default();
        let newcomer = Newcomer {
            worker,
            pid: child.id(),
            backlog: Arc::clone(&backlog),
            stderr: child.stderr.take().map(OwnedFd::from),
        };
        if let Err(error) = self.ear.watch(newcomer) {
            signal_group(&child, Signal::KILL);
            child.wait()?;
            return Err(error);
        }
        drop(gate);
        tracing::debug!(%worker, pid = child.id(), "worker spawned");
        self.workers.insert(
            worker,
            Process {
                peak: Peak::of_new_worker(),
                child,
                page,
                to_worker: None,
                backlog,
                killed: false,
                looked: Instant::now(),
                death: None,
                finished: false,
            },
        );
        Ok(())
    }

    /// Processes an event on the link of `worker`. Returns what it means for the run.
    pub(super) fn digest(
        &mut self,
        worker: WorkerId,
        heard: LinkEvent<J>,
    ) -> Option<WorkerEvent<J>> {
        let process = self.workers.get_mut(&worker)?;
        match heard {
            LinkEvent::Connected(to_worker) => {
                process.to_worker = Some(to_worker);
                None
            }
            LinkEvent::Event(news, bytes) => {
                if process.backlog.remove(bytes) {
                    self.ear.resume(worker);
                }
                if process.looked.elapsed() >= LOOK_EVERY || matches!(news, WorkerEvent::Ready) {
                    self.look(worker);
                }
                Some(news)
            }
            LinkEvent::Violated(problem) => {
                process.to_worker = None;
                Some(WorkerEvent::Violated { problem })
            }
            LinkEvent::Wrote(lines) => Some(WorkerEvent::Wrote(lines)),
            LinkEvent::Finished(lines) => {
                process.finished = true;
                if let Some(death) = &mut process.death {
                    death.last_words = lines;
                }
                self.gone(worker)
            }
        }
    }

    /// Has the run notified when everything that workers have sent by now has been received.
    pub(super) fn listen(&self) {
        self.ear.listen();
    }

    /// Checks which workers have ended, after SIGCHLD, and has the rest of their messages read.
    pub(super) fn reap(&mut self) {
        for (worker, process) in &mut self.workers {
            if process.death.is_none()
                && let Some(death) = process.death(&mut self.oom_kills)
            {
                process.death = Some(death);
                process.to_worker = None;
                self.ear.finish(*worker);
            }
        }
    }

    /// Removes `worker` once its process has ended and all its messages have been received.
    fn gone(&mut self, worker: WorkerId) -> Option<WorkerEvent<J>> {
        let process = self.workers.get(&worker)?;
        if !process.finished || process.death.is_none() {
            return None;
        }
        let death = self.workers.remove(&worker)?.death?;
        Some(WorkerEvent::Exited(Box::new(death)))
    }

    /// Sends `message` to `worker`, if it can receive messages.
    ///
    /// # Errors
    ///
    /// Fails if the message does not fit a frame.
    pub(super) fn send(
        &mut self,
        worker: WorkerId,
        message: &ToWorker<J>,
    ) -> Result<(), EncodeError> {
        let frame = codec::encode(message)?;
        let Some(process) = self.workers.get_mut(&worker) else {
            return Ok(());
        };
        let sent = process.to_worker.as_ref().map(|link| link.send(&frame));
        match sent {
            Some(Ok(())) | None => {}
            Some(Err(error @ SendError::Gone(_))) => tracing::debug!(%worker, %error, "not sent"),
            Some(Err(error @ SendError::Unread)) => {
                process.to_worker = None;
                let heard = LinkEvent::Violated(error.to_string());
                // Fails only if the run has ended.
                let _ = self.inbox.send(Message::<J>::of(worker, heard).into());
            }
        }
        Ok(())
    }

    /// Asks `worker` and everything it started to end.
    pub(super) fn terminate(&mut self, worker: WorkerId) {
        self.look(worker);
        self.signal(worker, Signal::TERM);
        // A stopped process handles no signal except SIGKILL until it continues (signal(7)).
        self.signal(worker, Signal::CONT);
    }

    /// Ends `worker` and everything it started.
    pub(super) fn kill(&mut self, worker: WorkerId) {
        self.look(worker);
        if let Some(process) = self.workers.get_mut(&worker) {
            process.killed = true;
        }
        self.signal(worker, Signal::KILL);
    }

    /// Sends `signal` to the process group of every worker.
    pub(super) fn signal_all(&self, signal: Signal) {
        for worker in self.workers.keys() {
            self.signal(*worker, signal);
        }
    }

    /// Reads the peak memory of `worker`, unless it has been reaped.
    fn look(&mut self, worker: WorkerId) {
        if let Some(process) = self.workers.get_mut(&worker)
            && process.death.is_none()
        {
            process.looked = Instant::now();
            process.peak.look(process.child.id());
        }
    }

    /// Sends `signal` to the process group of `worker`, unless it has been reaped: until then, no
    /// other process can have its id.
    pub(super) fn signal(&self, worker: WorkerId, signal: Signal) {
        if let Some(process) = self.workers.get(&worker)
            && process.death.is_none()
        {
            signal_group(&process.child, signal);
        }
    }

    /// Returns the workers whose processes have not been reaped, with their ids.
    pub(super) fn live(&self) -> Vec<(WorkerId, u32)> {
        let live = self
            .workers
            .iter()
            .filter(|(_, process)| process.death.is_none());
        live.map(|(worker, process)| (*worker, process.child.id()))
            .collect()
    }

    /// Returns the process id of `worker`.
    #[must_use]
    pub(super) fn pid(&self, worker: WorkerId) -> Option<u32> {
        self.workers.get(&worker).map(|process| process.child.id())
    }
}

impl<J: Job, M> Drop for ProcessPool<J, M> {
    /// Ends all workers, so that none outlives its pool, however the run ends.
    fn drop(&mut self) {
        for process in self.workers.values_mut() {
            if process.death.is_none() {
                signal_group(&process.child, Signal::KILL);
                let _ = process.child.wait();
            }
        }
    }
}

impl Process {
    /// Returns how the process ended, if it has; its last lines are not known yet. Ends the
    /// remaining processes of its group.
    fn death(&self, oom_kills: &mut OomKills) -> Option<Death> {
        let pid = pid_of(&self.child)?;
        // The child is not reaped yet, so that no other process can have its id.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(pid), look) {
            Ok(None) => return None,
            Ok(Some(_)) => {}
            Err(rustix::io::Errno::INTR) => return None,
            Err(_) => return Some(Exit::Unknown.into()),
        }
        let _ = kill_process_group(pid, Signal::KILL);
        let Ok((status, usage)) = reap(self.child.id()) else {
            return Some(Exit::Unknown.into());
        };
        let from_elsewhere = status.signal() == Some(Signal::KILL.as_raw()) && !self.killed;
        let oom = if from_elsewhere {
            oom_kills.explains_a_death()
        } else {
            Some(false)
        };
        let ran = page::read(&self.page)
            .inspect_err(|error| tracing::warn!(%error, "the page of a worker cannot be read"));
        Some(Death {
            ran: ran.ok(),
            exit: exit_of(status, oom),
            last_words: Vec::new(),
            peak_memory: self.peak.at_death(usage.peak_memory),
            oom,
        })
    }
}

fn exit_of(status: ExitStatus, oom: Option<bool>) -> Exit {
    match (status.code(), status.signal()) {
        (Some(crate::EXIT_OUT_OF_MEMORY), _) => Exit::OutOfMemory {
            by: MemoryCause::Limit,
        },
        (Some(code), _) => Exit::Code(code),
        (None, Some(_)) if oom == Some(true) => Exit::OutOfMemory {
            by: MemoryCause::Kernel,
        },
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }
}

/// Sends `signal` to the process group of a child that is not reaped.
fn signal_group(child: &Child, signal: Signal) {
    if let Some(pid) = pid_of(child) {
        // Fails only if the group has no process left.
        let _ = kill_process_group(pid, signal);
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}
