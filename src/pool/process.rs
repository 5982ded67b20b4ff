//! Workers as processes of their own, reached over ipc-channel.
//!
//! ```text
//!   spawn: child (this binary as `worker`); the ear knows its process id
//!      child greets    -> Connected   -> frames can be sent
//!      child dies      -> SIGCHLD     -> `reap`: exit status; its process group is ended
//!                                        -> Finished: everything it said and wrote is heard
//!      both            -> `News::Exited`, once, last
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use lab::inject::StartFaults;
use protocol::codec::{self, EncodeError};
use protocol::{Sandbox, Setup, ToWorker, WorkerId};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use worker::page;

use super::ear::{Backlog, Ear, Newcomer};
use super::memory::{OomKills, Peak};
use super::sockets::{Downlink, SendError, SocketFolder};
use super::{Death, Heard, Message, News};
use crate::dispatch::{Exit, MemoryCause};
use crate::placement::folder_of;
use crate::reap::reap;

/// Shortest time between two looks at the memory of a worker that says something.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The workers of a run, each a process. `M` is what the run's inbox takes.
///
/// To be used by one thread, which must live as long as the run: a worker's parent-death signal
/// is bound to the thread that spawned it (`prctl(2)`, `PR_SET_PDEATHSIG`).
#[derive(Debug)]
pub struct ProcessPool<M> {
    program: PathBuf,
    setup: Setup,
    verbose: u8,
    /// The folder with the workers' folders.
    partial: PathBuf,
    /// The path of the socket that workers connect to.
    socket: PathBuf,
    /// The environment of workers, if it is not this process's.
    environment: Option<Vec<(OsString, OsString)>>,
    /// What the workers share to keep to one rate, if there is a limit.
    rate: Option<OwnedFd>,
    inbox: Sender<M>,
    start_faults: Option<StartFaults>,
    /// What the first worker of the first slot tries, as one that was taken over.
    attempt: Option<&'static str>,
    workers: BTreeMap<WorkerId, Process>,
    ear: Ear,
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
    /// There is nothing that workers can connect to.
    #[error("cannot listen to workers: {0}")]
    Listen(#[source] io::Error),
}

/// What a worker in a sandbox is given of this process's environment, which may hold secrets: what
/// the dynamic loader, the resolver, the memory allocator, the log and the lookup of the system's
/// certificates read.
const ENVIRONMENT: [&str; 16] = [
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "GLIBC_TUNABLES",
    "MALLOC_ARENA_MAX",
    "RES_OPTIONS",
    "LOCALDOMAIN",
    "HOSTALIASES",
    "TMPDIR",
    "TZ",
    "NO_COLOR",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "RUST_MIN_STACK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The environment of workers, if it is not to be this process's.
fn environment(setup: &Setup) -> Option<Vec<(OsString, OsString)>> {
    let reduced = setup.limits.sandbox != Sandbox::Off;
    reduced.then(|| {
        let known = ENVIRONMENT.iter();
        known
            .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)))
            .collect()
    })
}

#[derive(Debug)]
struct Process {
    child: Child,
    /// On which it writes what it runs.
    page: File,
    /// Once it has greeted, and as long as it reads.
    to_worker: Option<Downlink>,
    backlog: Arc<Backlog>,
    /// The pool sent it SIGKILL.
    killed: bool,
    peak: Peak,
    /// When its memory was last looked at.
    looked: Instant,
    /// Once it is reaped.
    death: Option<Death>,
    /// Everything it said and wrote is heard.
    finished: bool,
}

impl<M: From<Message> + Send + 'static> ProcessPool<M> {
    /// A pool without workers. They connect in `sockets`, and each gets `setup` first; messages go to
    /// `inbox`.
    ///
    /// # Errors
    ///
    /// If `setup` does not fit a frame, or what it takes is not to be had.
    pub fn new(
        mut setup: Setup,
        verbose: u8,
        sockets: SocketFolder,
        inbox: Sender<M>,
    ) -> Result<Self, PoolError> {
        // Each has a folder of its own there, and works in it.
        let partial = PathBuf::from(std::mem::replace(&mut setup.partial, ".".into()));
        let rate = setup
            .limit_rate
            .map(|_| worker::shared_memory(c"limit-rate", 1));
        let environment = environment(&setup);
        let message = codec::encode(&ToWorker::Setup(Box::new(setup.clone())))?;
        let ear = {
            let inbox = inbox.clone();
            let tell = move |message: Message| {
                // The run is over when nobody takes it.
                let _ = inbox.send(message.into());
            };
            let socket = sockets.listener_path();
            Ear::start(sockets.into(), message.into(), verbose > 0, tell).map(|ear| (ear, socket))
        };
        let (ear, socket) = ear.map_err(PoolError::Listen)?;
        Ok(Self {
            rate: rate.transpose().map_err(PoolError::Memory)?,
            // What runs now, even if the file has been replaced since.
            program: PathBuf::from("/proc/self/exe"),
            setup,
            verbose,
            socket,
            environment,
            inbox,
            partial,
            start_faults: None,
            attempt: None,
            workers: BTreeMap::new(),
            ear,
            oom_kills: OomKills::watch(),
        })
    }

    /// From now on some workers never begin.
    pub fn inject(&mut self, faults: StartFaults) {
        self.start_faults = Some(faults);
    }

    /// The first worker of the first slot will try this, as one that was taken over.
    pub fn take_over(&mut self, attempt: &'static str) {
        self.attempt = Some(attempt);
    }

    /// Starts `worker`, whose folder is there. Its news will follow; the last is [`News::Exited`].
    ///
    /// # Errors
    ///
    /// If there is no such process; no news will follow then.
    pub(super) fn spawn(&mut self, worker: WorkerId) -> io::Result<()> {
        let page = page::memory(&self.setup)?;
        let mut command = self.command(worker, &page)?;
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

    fn command(&self, worker: WorkerId, page: &File) -> io::Result<Command> {
        // A worker has nothing to read there, and nothing to write at standard output. So this is how
        // it gets what it shares with others without a descriptor too many, a name that others could
        // open, or a message with one.
        let stdin = match &self.rate {
            Some(memory) => memory.try_clone()?.into(),
            None => Stdio::null(),
        };
        let mut command = Command::new(&self.program);
        command
            .arg0("coordinator")
            .arg("worker")
            .args(["--slot", &worker.slot.to_string()])
            .args(["--epoch", &worker.epoch.to_string()])
            .arg("--socket")
            .arg(&self.socket)
            .args(["--parent", &std::process::id().to_string()])
            // The worker enters it: a spawn waits for what happens before exec, and the disk may hang.
            .arg("--folder")
            .arg(self.partial.join(folder_of(worker)))
            .args(std::iter::repeat_n("-v", usize::from(self.verbose)))
            .stdin(stdin)
            .stdout(page.try_clone()?)
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal goes to the foreground process group: the coordinator alone.
            .process_group(0);
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment.iter().cloned());
        }
        command.env("TMPDIR", ".");
        let fault = self.start_faults.and_then(|faults| faults.of(worker));
        if let Some(fault) = fault {
            tracing::info!(%worker, %fault, "fault injected");
            command.args(["--inject", fault.name()]);
        }
        if let Some(attempt) = self.attempt
            && (worker.slot.0, worker.epoch.0) == (0, 1)
        {
            command.args(["--attempt", attempt]);
        }
        Ok(command)
    }

    /// Takes in what is heard of `worker`; what it means for the run comes back.
    pub(super) fn digest(&mut self, worker: WorkerId, heard: Heard) -> Option<News> {
        let process = self.workers.get_mut(&worker)?;
        match heard {
            Heard::Connected(to_worker) => {
                process.to_worker = Some(to_worker);
                None
            }
            Heard::News(news, bytes) => {
                if process.backlog.remove(bytes) {
                    self.ear.resume(worker);
                }
                if process.looked.elapsed() >= LOOK_EVERY || matches!(news, News::Ready) {
                    self.look(worker);
                }
                Some(news)
            }
            Heard::Violated(problem) => {
                process.to_worker = None;
                Some(News::Violated { problem })
            }
            Heard::Wrote(lines) => Some(News::Wrote(lines)),
            Heard::Finished(lines) => {
                process.finished = true;
                if let Some(death) = &mut process.death {
                    death.last_words = lines;
                }
                self.gone(worker)
            }
        }
    }

    /// Has the run told when all that workers have said by now is heard.
    pub(super) fn listen(&self) {
        self.ear.listen();
    }

    /// Looks which workers have ended, to be called after SIGCHLD, and has each heard out.
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

    /// Forgets `worker` once its process has ended and it is heard out.
    fn gone(&mut self, worker: WorkerId) -> Option<News> {
        let process = self.workers.get(&worker)?;
        if !process.finished || process.death.is_none() {
            return None;
        }
        let death = self.workers.remove(&worker)?.death?;
        Some(News::Exited(Box::new(death)))
    }

    /// Says `message` to `worker`, if it is there to hear it.
    ///
    /// # Errors
    ///
    /// If it does not fit a frame.
    pub(super) fn send(&mut self, worker: WorkerId, message: &ToWorker) -> Result<(), EncodeError> {
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
                let heard = Heard::Violated(error.to_string());
                // The run is over when nobody takes it.
                let _ = self.inbox.send(Message::of(worker, heard).into());
            }
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
            process.looked = Instant::now();
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
