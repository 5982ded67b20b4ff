//! Workers as processes of their own, reached over ipc-channel.
//!
//! ```text
//!   spawn: one-shot server, child (this binary as `worker`), thread that listens
//!      child connects  -> Connected   -> frames can be sent
//!      child dies      -> SIGCHLD     -> `reap`: exit status; its process group is ended
//!                      -> Closed      -> everything it said has been heard
//!      both            -> `News::Exited`, once, last
//! ```
//!
//! Facts about ipc-channel that shape this file are in ARCHITECTURE.md.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use ipc_channel::ipc::{IpcBytesSender, IpcOneShotServer, IpcSender};
use protocol::codec::{self, EncodeError};
use protocol::handshake::Connection;
use protocol::{Setup, ToWorker, WorkerId};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::link::{Heard, THREAD_NAME, listen};
use super::{Message, News};
use crate::dispatch::Exit;

/// The workers of a run, each a process. `M` is what the run's inbox takes.
///
/// To be used by one thread, which must live as long as the run: a worker's parent-death signal
/// is bound to the thread that spawned it (`prctl(2)`, `PR_SET_PDEATHSIG`).
#[derive(Debug)]
pub struct ProcessPool<M> {
    program: PathBuf,
    verbose: u8,
    setup: Arc<[u8]>,
    inbox: Sender<M>,
    workers: BTreeMap<WorkerId, Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    /// Name of the bootstrap socket, until the worker has connected.
    bootstrap: Option<String>,
    to_worker: Option<IpcBytesSender>,
    /// The channel is closed, and everything said on it is heard.
    closed: bool,
    exit: Option<Exit>,
}

impl<M: From<Message> + Send + 'static> ProcessPool<M> {
    /// A pool without workers. Each gets `setup` first; messages go to `inbox`.
    ///
    /// # Errors
    ///
    /// If `setup` does not fit a frame.
    pub fn new(setup: Setup, verbose: u8, inbox: Sender<M>) -> Result<Self, EncodeError> {
        Ok(Self {
            // What runs now, even if the file has been replaced since.
            program: PathBuf::from("/proc/self/exe"),
            verbose,
            setup: codec::encode(&ToWorker::Setup(Box::new(setup)))?.into(),
            inbox,
            workers: BTreeMap::new(),
        })
    }

    /// Starts `worker`. Its news will follow; the last is [`News::Exited`].
    ///
    /// # Errors
    ///
    /// If there is no such process; no news will follow then.
    pub(super) fn spawn(&mut self, worker: WorkerId) -> io::Result<()> {
        let (server, bootstrap) = IpcOneShotServer::<Connection>::new()?;
        let mut child = self.command(worker, &bootstrap).spawn()?;
        let listener = std::thread::Builder::new()
            .name(format!("{THREAD_NAME}{worker}"))
            .spawn({
                let (inbox, setup) = (self.inbox.clone(), Arc::clone(&self.setup));
                move || {
                    listen(server, &setup, |heard| {
                        // The run is over when nobody takes it.
                        let _ = inbox.send(Message { worker, heard }.into());
                    });
                }
            });
        if let Err(error) = listener {
            signal_group(&child, Signal::KILL);
            child.wait()?;
            return Err(error);
        }
        tracing::debug!(%worker, pid = child.id(), "worker spawned");
        self.workers.insert(
            worker,
            Process {
                child,
                bootstrap: Some(bootstrap),
                to_worker: None,
                closed: false,
                exit: None,
            },
        );
        Ok(())
    }

    fn command(&self, worker: WorkerId, bootstrap: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg0("coordinator")
            .arg("worker")
            .args(["--slot", &worker.slot.to_string()])
            .args(["--epoch", &worker.epoch.to_string()])
            .args(["--socket", bootstrap])
            .args(["--parent", &std::process::id().to_string()])
            .args(std::iter::repeat_n("-v", usize::from(self.verbose)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Ctrl-C in a terminal goes to the foreground process group: the coordinator alone.
            .process_group(0);
        command
    }

    /// Takes in one message of the inbox; what it means for the run comes back.
    pub(super) fn digest(&mut self, worker: WorkerId, heard: Heard) -> Option<(WorkerId, News)> {
        let process = self.workers.get_mut(&worker)?;
        match heard {
            Heard::Connected { to_worker } => {
                process.bootstrap = None;
                process.to_worker = Some(to_worker);
                None
            }
            Heard::News(news) => Some((worker, news)),
            Heard::Closed => {
                process.closed = true;
                process.to_worker = None;
                self.gone(worker)
            }
        }
    }

    /// Looks which workers have ended, to be called after SIGCHLD; says which are gone.
    pub(super) fn reap(&mut self) -> Vec<(WorkerId, News)> {
        for (worker, process) in &mut self.workers {
            if process.exit.is_some() {
                continue;
            }
            process.exit = exit_of(&mut process.child);
            if let Some(exit) = &process.exit
                && let Some(name) = process.bootstrap.take()
            {
                tracing::debug!(%worker, %exit, "worker ended before it connected");
                // Its thread still waits in `accept`, which nothing else ends. If it was past
                // that, nobody listens to the name any more, and that is as well.
                let _ = IpcSender::<Connection>::connect(name);
            }
        }
        let ended: Vec<_> = self.workers.keys().copied().collect();
        ended
            .into_iter()
            .filter_map(|worker| self.gone(worker))
            .collect()
    }

    /// Forgets `worker` once both its process and its channel have ended.
    fn gone(&mut self, worker: WorkerId) -> Option<(WorkerId, News)> {
        let process = self.workers.get(&worker)?;
        if !process.closed || process.exit.is_none() {
            return None;
        }
        let exit = self.workers.remove(&worker)?.exit?;
        Some((worker, News::Exited(exit)))
    }

    /// Says `message` to `worker`, if it is there to hear it.
    ///
    /// # Errors
    ///
    /// If it does not fit a frame.
    pub(super) fn send(&self, worker: WorkerId, message: &ToWorker) -> Result<(), EncodeError> {
        let frame = codec::encode(message)?;
        let to_worker = self
            .workers
            .get(&worker)
            .and_then(|process| process.to_worker.as_ref());
        if let Some(to_worker) = to_worker
            && let Err(error) = to_worker.send(&frame)
        {
            tracing::debug!(%worker, %error, "worker cannot be reached");
        }
        Ok(())
    }

    /// Asks `worker` and everything it started to end.
    pub(super) fn terminate(&mut self, worker: WorkerId) {
        self.signal(worker, Signal::TERM);
        // A stopped process takes no signal but SIGKILL before it goes on (signal(7)).
        self.signal(worker, Signal::CONT);
    }

    /// Ends `worker` and everything it started.
    pub(super) fn kill(&mut self, worker: WorkerId) {
        self.signal(worker, Signal::KILL);
    }

    /// Sends `signal` to the process group of every worker.
    pub(super) fn signal_all(&self, signal: Signal) {
        for worker in self.workers.keys() {
            self.signal(*worker, signal);
        }
    }

    /// Sends `signal` to the process group of `worker`, unless it is reaped.
    fn signal(&self, worker: WorkerId, signal: Signal) {
        if let Some(process) = self.workers.get(&worker)
            && process.exit.is_none()
        {
            signal_group(&process.child, signal);
        }
    }

    /// Process id of `worker`.
    #[must_use]
    pub(super) fn pid(&self, worker: WorkerId) -> Option<u32> {
        self.workers.get(&worker).map(|process| process.child.id())
    }
}

impl<M> Drop for ProcessPool<M> {
    /// No worker outlives its pool, however the run ends.
    fn drop(&mut self) {
        for process in self.workers.values_mut() {
            if process.exit.is_none() {
                signal_group(&process.child, Signal::KILL);
                let _ = process.child.wait();
            }
        }
    }
}

/// How `child` ended, if it has. What is left of its process group is ended with it.
fn exit_of(child: &mut Child) -> Option<Exit> {
    let pid = pid_of(child)?;
    // First only look: as long as the child is not reaped, its id cannot be another's.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(pid), look) {
        Ok(None) => return None,
        Ok(Some(_)) => {}
        Err(rustix::io::Errno::INTR) => return None,
        Err(_) => return Some(Exit::Unknown),
    }
    let _ = kill_process_group(pid, Signal::KILL);
    Some(match child.wait() {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        },
        Err(_) => Exit::Unknown,
    })
}

/// Sends `signal` to the process group of a child that is not reaped.
fn signal_group(child: &Child, signal: Signal) {
    if let Some(pid) = pid_of(child) {
        // It can only fail when nobody of the group is left.
        let _ = kill_process_group(pid, signal);
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}
