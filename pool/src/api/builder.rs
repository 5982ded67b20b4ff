//! What a pool is to be like.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::available_parallelism;
use std::time::Duration;

use protocol::codec::EncodeError;

use super::blob::Blob;
use super::call::Terms;
use super::desk::Desk;
use super::drive::{self, Hooks, Plan};
use super::pool::Pool;
use super::work::{AnyWork, Async, AsyncWork};
use super::worker;
use crate::confine::{ConfineError, Confinement, Sandbox, environment};
use crate::dispatch::{Intensity, Limits};
use crate::workers::{Death, PoolError};

/// How long a worker may take to get ready.
const START: Duration = Duration::from_secs(60);

/// Most jobs that a worker has under way at once, so that a heartbeat can name them all.
const MAX_AT_ONCE: u16 = 1024;

/// Heartbeats in the time of a lease: as many may be late.
const BEATS: u32 = 6;

/// What becomes of a job whose worker died while it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redeliver {
    /// It is handed out again, until it has ended so many workers.
    UpTo(NonZeroU32),
    /// It is not: it must not be begun twice, because it has an effect that cannot be repeated.
    Never,
}

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// This process is a worker.
    #[error("a worker has no workers: call `pool::init` first in `main`")]
    IsWorker,
    /// The setup is too large, or cannot be encoded.
    #[error("the setup cannot be handed to a worker: {0}")]
    Setup(#[from] EncodeError),
    /// Workers cannot be confined as is wanted.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// There is nothing that workers can connect to.
    #[error("cannot listen to workers: {0}")]
    Listen(#[source] io::Error),
    /// The pool's own thread cannot be started.
    #[error("cannot start the pool's thread: {0}")]
    Thread(#[source] io::Error),
}

/// What a pool is to be like. Made by [`Pool::builder`].
#[must_use = "it is `start` that makes a pool"]
pub struct Builder<W: AnyWork> {
    setup: W::Setup,
    limits: Limits,
    room: usize,
    confinement: Confinement,
    deadline: Option<Duration>,
    lease: Duration,
    program: PathBuf,
    test: Option<String>,
    hooks: Hooks,
}

impl<W: AnyWork> fmt::Debug for Builder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("limits", &self.limits)
            .field("confinement", &self.confinement)
            .finish_non_exhaustive()
    }
}

impl<W: AnyWork> Builder<W> {
    pub(super) fn new(setup: W::Setup) -> Self {
        let workers = available_parallelism().map_or(1, |number| number.get());
        Self {
            setup,
            limits: Limits {
                workers: u16::try_from(workers).unwrap_or(u16::MAX),
                concurrency: W::AT_ONCE,
                // All jobs are of one group, so there is none that could come later and want places.
                per_group: None,
                lookahead_max: 0,
                start_timeout: START,
                ..Limits::default()
            },
            room: 1024,
            confinement: Confinement::default(),
            deadline: None,
            lease: Duration::from_secs(30),
            // What runs now, even if the file has been replaced since.
            program: PathBuf::from("/proc/self/exe"),
            test: None,
            hooks: Hooks::default(),
        }
    }

    /// How many workers, at least 1; as many as the machine has processors, if nothing is said.
    /// They are started as there is work for them.
    pub const fn workers(mut self, workers: u16) -> Self {
        self.limits.workers = if workers == 0 { 1 } else { workers };
        self
    }

    /// How many jobs may be unfinished before [`Pool::submit`] waits: 1024, if nothing is said.
    pub const fn room(mut self, jobs: usize) -> Self {
        self.room = jobs;
        self
    }

    /// Most memory of a worker, in bytes. One that wants more ends; with [`Allocator`](crate::Allocator) as the
    /// global allocator it says so.
    pub const fn memory(mut self, bytes: u64) -> Self {
        self.confinement.memory = Some(bytes);
        self
    }

    /// The nice value of workers, -20 to 19.
    pub const fn nice(mut self, value: i32) -> Self {
        self.confinement.nice = Some(value);
        self
    }

    /// What workers may reach. They get next to nothing of this process's environment then.
    pub fn sandbox(mut self, sandbox: Sandbox) -> Self {
        self.confinement.sandbox = Some(sandbox);
        self
    }

    /// How long a job may take. One that takes longer [is not tried
    /// again](super::Outcome::DeadlineExceeded), and its process is ended; [async](AsyncWork) jobs are dropped.
    pub const fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }

    /// How long a worker may give no sign of life before it is ended: 30 seconds, if nothing is said.
    /// A job need do nothing for that.
    pub const fn lease(mut self, time: Duration) -> Self {
        self.lease = time;
        self
    }

    /// What becomes of a job whose worker died while it ran: up to 3 workers, if nothing is said.
    ///
    /// Where the death may have come from outside (SIGKILL, SIGTERM), it takes five times as many
    /// before that is held against the job.
    pub const fn redeliver(mut self, redeliver: Redeliver) -> Self {
        (self.limits.max_deliveries, self.limits.max_unexplained) = match redeliver {
            Redeliver::Never => (1, 1),
            Redeliver::UpTo(workers) => (workers.get(), workers.get().saturating_mul(5)),
        };
        self
    }

    /// How often a job is tried again that [may pass](super::Failed::may_pass): 3 times, if nothing is
    /// said.
    pub const fn retries(mut self, retries: u32) -> Self {
        self.limits.retries = retries;
        self
    }

    /// How many workers may die within `period` without having done anything before the pool gives up:
    /// 18 in a minute, if nothing is said.
    pub const fn restart_intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.limits.restart_intensity = Intensity { restarts, period };
        self
    }

    /// After how many jobs a worker is replaced.
    pub const fn recycle_after(mut self, jobs: NonZeroU32) -> Self {
        self.limits.worker_tasks = Some(jobs);
        self
    }

    /// What is done when a worker has died: for logs and counters. It must not wait.
    pub fn on_death(mut self, hook: impl FnMut(&Death) + Send + 'static) -> Self {
        self.hooks.death = Box::new(hook);
        self
    }

    /// What is done with each line that a worker writes to standard error. It is written to standard
    /// error of this process, if nothing is said.
    pub fn on_line(mut self, hook: impl FnMut(&str) + Send + 'static) -> Self {
        self.hooks.line = Box::new(hook);
        self
    }

    /// The program that becomes a worker: this one, if nothing is said. In an integration test that
    /// is `env!("CARGO_BIN_EXE_…")`.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = path.into();
        self
    }

    /// The test that becomes a worker, by its full name: for tests that the default harness runs.
    ///
    /// It has `pool::init` as its only line. Threads of the harness that run already are not in the
    /// sandbox of such a worker.
    pub fn under_test(mut self, name: impl Into<String>) -> Self {
        self.test = Some(name.into());
        self
    }

    /// Makes the pool. Workers are started with the first jobs.
    ///
    /// # Errors
    ///
    /// If workers cannot be confined as is wanted, or the system refuses.
    pub fn start(self) -> Result<Pool<W>, StartError> {
        if worker::is_worker() {
            return Err(StartError::IsWorker);
        }
        self.confinement.try_out()?;
        let limits = Limits {
            lease_timeout: self.lease,
            seed: fastrand::u64(..),
            ..self.limits
        };
        let terms = Terms {
            setup: Blob::encode(&self.setup)?,
            heartbeat: self.lease / BEATS,
            deadline: self.deadline,
            at_once: limits.concurrency,
            confinement: self.confinement,
        };
        let confined = terms.confinement.sandbox.is_some();
        let launch = Launch {
            program: self.program,
            kind: worker::name_of::<W>(),
            test: self.test,
            environment: confined.then(|| environment(&[])),
        };
        let plan = Plan {
            limits,
            terms,
            launch: Box::new(move |_, socket| Ok(launch.command(socket))),
            hooks: self.hooks,
        };
        let (sender, inbox) = channel();
        let desk = Arc::new(Desk::new(self.room, sender.clone()));
        let thread = drive::start(plan, Arc::clone(&desk), sender, inbox)?;
        Ok(Pool::new(desk, thread))
    }
}

impl<W: AsyncWork> Builder<Async<W>> {
    /// How many jobs each worker has under way at once, 1 to 1024: 64, if nothing is said.
    pub fn at_once(mut self, jobs: u16) -> Self {
        self.limits.concurrency = jobs.clamp(1, MAX_AT_ONCE);
        self
    }
}

impl From<PoolError> for StartError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Setup(error) => Self::Setup(error),
            PoolError::Listen(error) => Self::Listen(error),
        }
    }
}

/// How the process of a worker is started.
struct Launch {
    program: PathBuf,
    kind: &'static str,
    test: Option<String>,
    /// Its environment, if it is not this process's.
    environment: Option<Vec<(OsString, OsString)>>,
}

impl Launch {
    fn command(&self, socket: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0(worker::NAME);
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment.iter().cloned());
            // What it prints is nobody's business.
            command.stdout(Stdio::null());
        }
        command
            .env(worker::KIND, self.kind)
            .env(worker::PARENT, std::process::id().to_string())
            .env(worker::SOCKET, socket);
        if let Some(test) = &self.test {
            command
                .args([test, "--exact", "--nocapture", "--test-threads=1"])
                .env(worker::TEST, "1")
                // What the harness says.
                .stdout(Stdio::null());
        }
        command
    }
}
