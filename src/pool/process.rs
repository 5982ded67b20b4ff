//! Workers as processes of their own, reached over ipc-channel.
//!
//! ```text
//!   spawn: one-shot server, child (this binary as `worker`), thread that listens
//!      child connects  -> Connected   -> frames can be sent
//!      child dies      -> SIGCHLD     -> `reap`: exit status; its process group is ended
//!                                        -> LastWords: what it wrote to standard error is read
//!                      -> Closed      -> everything it said has been heard
//!      all three       -> `News::Exited`, once, last
//! ```
//!
//! Facts about ipc-channel that shape this file are in ARCHITECTURE.md.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use ipc_channel::ipc::{IpcBytesSender, IpcOneShotServer, IpcSender};
use protocol::codec::{self, EncodeError};
use protocol::handshake::Connection;
use protocol::{Setup, ToWorker, WorkerId};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::link::{Heard, THREAD_NAME, listen};
use super::memory::{OomKills, Peak};
use super::stderr::StderrReader;
use super::{Death, Message, News};
use crate::dispatch::{Exit, MemoryCause};
use crate::inject::StartFaults;
use crate::placement::{folder_of, make};
use crate::reap::reap;

/// The workers of a run, each a process. `M` is what the run's inbox takes.
///
/// To be used by one thread, which must live as long as the run: a worker's parent-death signal
/// is bound to the thread that spawned it (`prctl(2)`, `PR_SET_PDEATHSIG`).
#[derive(Debug)]
pub struct ProcessPool<M> {
    program: PathBuf,
    verbose: u8,
    setup: Arc<[u8]>,
    /// The folder with the workers' folders.
    partial: PathBuf,
    /// What the workers share to keep to one rate, if there is a limit.
    rate: Option<OwnedFd>,
    inbox: Sender<M>,
    start_faults: Option<StartFaults>,
    workers: BTreeMap<WorkerId, Process>,
    /// Started with the first worker.
    stderr: Option<StderrReader>,
    oom_kills: OomKills,
}

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The options are too long for the workers to be told.
    #[error("the options for HTTP are too long to hand to a worker: {0}; give fewer headers")]
    Options(#[from] EncodeError),
    /// The system does not make memory that workers can share.
    #[error("cannot make memory for the workers to share one rate in (--limit-rate): {0}")]
    Memory(#[source] io::Error),
}

#[derive(Debug)]
struct Process {
    child: Child,
    /// Name of the bootstrap socket, until the worker has connected.
    bootstrap: Option<String>,
    to_worker: Option<IpcBytesSender>,
    /// The channel is closed, and everything said on it is heard.
    closed: bool,
    /// The pool sent it SIGKILL.
    killed: bool,
    peak: Peak,
    /// Once it is reaped.
    death: Option<Death>,
    /// What it wrote to standard error is read to its end, and stands in `death`.
    silent: bool,
}

impl<M: From<Message> + Send + 'static> ProcessPool<M> {
    /// A pool without workers. Each gets `setup` first; messages go to `inbox`.
    ///
    /// # Errors
    ///
    /// If `setup` does not fit a frame, or what it takes is not to be had.
    pub fn new(mut setup: Setup, verbose: u8, inbox: Sender<M>) -> Result<Self, PoolError> {
        // Each has a folder of its own there, and works in it.
        let partial = std::mem::replace(&mut setup.partial, ".".into());
        let rate = setup.limit_rate.map(|_| worker::shared_memory());
        Ok(Self {
            rate: rate.transpose().map_err(PoolError::Memory)?,
            // What runs now, even if the file has been replaced since.
            program: PathBuf::from("/proc/self/exe"),
            verbose,
            setup: codec::encode(&ToWorker::Setup(Box::new(setup)))?.into(),
            inbox,
            partial: partial.into(),
            start_faults: None,
            workers: BTreeMap::new(),
            stderr: None,
            oom_kills: OomKills::watch(),
        })
    }

    /// From now on some workers never begin.
    pub fn inject(&mut self, faults: StartFaults) {
        self.start_faults = Some(faults);
    }

    /// Starts `worker`. Its news will follow; the last is [`News::Exited`].
    ///
    /// # Errors
    ///
    /// If there is no such process; no news will follow then.
    pub(super) fn spawn(&mut self, worker: WorkerId) -> io::Result<()> {
        let (server, bootstrap) = IpcOneShotServer::<Connection>::new()?;
        let mut child = self.command(worker, &bootstrap)?.spawn()?;
        let peak = Peak::of_new_worker();
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
        let pipe = child.stderr.take().map(OwnedFd::from);
        if let Err(error) = listener.and_then(|_| self.watch(worker, pipe)) {
            signal_group(&child, Signal::KILL);
            child.wait()?;
            // The thread that listens may be there, and wait for a connection.
            let _ = IpcSender::<Connection>::connect(bootstrap);
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
                killed: false,
                peak,
                death: None,
                silent: false,
            },
        );
        Ok(())
    }

    /// Has the standard error of `worker` read.
    fn watch(&mut self, worker: WorkerId, pipe: Option<OwnedFd>) -> io::Result<()> {
        let reader = match self.stderr.take() {
            Some(reader) => reader,
            None => {
                let inbox = self.inbox.clone();
                StderrReader::start(self.verbose > 0, move |worker, heard| {
                    // The run is over when nobody takes it.
                    let _ = inbox.send(Message { worker, heard }.into());
                })?
            }
        };
        let reader = self.stderr.insert(reader);
        pipe.map_or(Ok(()), |pipe| reader.watch(worker, pipe))
    }

    fn command(&self, worker: WorkerId, bootstrap: &str) -> io::Result<Command> {
        // A worker has nothing to read there. So this is how it gets what it shares with others
        // without a descriptor too many, a name that others could open, or a message with one.
        let stdin = match &self.rate {
            Some(memory) => memory.try_clone()?.into(),
            None => Stdio::null(),
        };
        let folder = self.partial.join(folder_of(worker));
        make(&folder)?;
        let mut command = Command::new(&self.program);
        command
            .current_dir(&folder)
            .env("TMPDIR", &folder)
            .arg0("coordinator")
            .arg("worker")
            .args(["--slot", &worker.slot.to_string()])
            .args(["--epoch", &worker.epoch.to_string()])
            .args(["--socket", bootstrap])
            .args(["--parent", &std::process::id().to_string()])
            .args(std::iter::repeat_n("-v", usize::from(self.verbose)))
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal goes to the foreground process group: the coordinator alone.
            .process_group(0);
        let fault = self.start_faults.and_then(|faults| faults.of(worker));
        if let Some(fault) = fault {
            tracing::info!(%worker, %fault, "fault injected");
            command.args(["--inject", fault.name()]);
        }
        Ok(command)
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
            Heard::News(news) => {
                if let News::Ready | News::Heartbeat(_) = &news {
                    self.look(worker);
                }
                Some((worker, news))
            }
            Heard::Closed => {
                process.closed = true;
                process.to_worker = None;
                self.gone(worker)
            }
            Heard::Wrote(lines) => Some((worker, News::Wrote(lines))),
            Heard::LastWords(lines) => {
                process.silent = true;
                if let Some(death) = &mut process.death {
                    death.last_words = lines;
                }
                self.gone(worker)
            }
        }
    }

    /// Looks which workers have ended, to be called after SIGCHLD; says which are gone.
    pub(super) fn reap(&mut self) -> Vec<(WorkerId, News)> {
        for (worker, process) in &mut self.workers {
            if process.death.is_some() {
                continue;
            }
            let Some(death) = process.death(&mut self.oom_kills) else {
                continue;
            };
            let exit = &process.death.insert(death).exit;
            let reader = self.stderr.as_ref();
            process.silent = !reader.is_some_and(|reader| reader.finish(*worker));
            if let Some(name) = process.bootstrap.take() {
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

    /// Forgets `worker` once its process, its channel and its standard error have ended.
    fn gone(&mut self, worker: WorkerId) -> Option<(WorkerId, News)> {
        let process = self.workers.get(&worker)?;
        if !process.closed || !process.silent || process.death.is_none() {
            return None;
        }
        let death = self.workers.remove(&worker)?.death?;
        Some((worker, News::Exited(Box::new(death))))
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
        self.look(worker);
        self.signal(worker, Signal::TERM);
        // A stopped process takes no signal but SIGKILL before it goes on (signal(7)).
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

    /// Looks how much memory `worker` has had by now, unless it is reaped.
    fn look(&mut self, worker: WorkerId) {
        if let Some(process) = self.workers.get_mut(&worker)
            && process.death.is_none()
        {
            process.peak.look(process.child.id());
        }
    }

    /// Sends `signal` to the process group of `worker`, unless it is reaped: until then its id
    /// cannot be another's.
    pub(super) fn signal(&self, worker: WorkerId, signal: Signal) {
        if let Some(process) = self.workers.get(&worker)
            && process.death.is_none()
        {
            signal_group(&process.child, signal);
        }
    }

    /// Those whose processes are not reaped, with their ids.
    pub(super) fn live(&self) -> Vec<(WorkerId, u32)> {
        let live = self
            .workers
            .iter()
            .filter(|(_, process)| process.death.is_none());
        live.map(|(worker, process)| (*worker, process.child.id()))
            .collect()
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
            if process.death.is_none() {
                signal_group(&process.child, Signal::KILL);
                let _ = process.child.wait();
            }
        }
    }
}

impl Process {
    /// How it ended, if it has; what it wrote is not known yet. What is left of its process group
    /// is ended with it.
    fn death(&self, oom_kills: &mut OomKills) -> Option<Death> {
        let pid = pid_of(&self.child)?;
        // First only look: as long as the child is not reaped, its id cannot be another's.
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
        Some(Death {
            exit: exit_of(status, oom),
            last_words: Vec::new(),
            peak_memory: self.peak.at_death(usage.peak_memory),
            oom,
        })
    }
}

fn exit_of(status: ExitStatus, oom: Option<bool>) -> Exit {
    match (status.code(), status.signal()) {
        (Some(worker::EXIT_OUT_OF_MEMORY), _) => Exit::OutOfMemory {
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
        // It can only fail when nobody of the group is left.
        let _ = kill_process_group(pid, signal);
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}
