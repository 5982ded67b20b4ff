//! Configuration of a pool.

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

/// Time limit for a worker to become ready.
const START: Duration = Duration::from_secs(60);

/// Maximum number of jobs that a worker runs at once, so that a heartbeat can name them all.
const MAX_AT_ONCE: u16 = 1024;

/// Number of heartbeats in the time of a lease, so that several can be late before it expires.
const BEATS: u32 = 6;

/// What happens to a job whose worker died while the job ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redeliver {
    /// The job is handed out again until it has ended this many workers.
    UpTo(NonZeroU32),
    /// The job is not handed out again, because it has an effect that must not be repeated.
    Never,
}

/// Reasons why a pool cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// This process is itself a worker.
    #[error("a worker has no workers: call `pool::init` first in `main`")]
    IsWorker,
    /// The setup is too large or cannot be encoded.
    #[error("the setup cannot be handed to a worker: {0}")]
    Setup(#[from] EncodeError),
    /// Workers cannot be confined as requested.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The socket that workers connect to cannot be created.
    #[error("cannot listen to workers: {0}")]
    Listen(#[source] io::Error),
    /// The pool's thread cannot be started.
    #[error("cannot start the pool's thread: {0}")]
    Thread(#[source] io::Error),
}

/// Builder of a pool, created by [`Pool::builder`].
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
                // All jobs are in one group, so nothing has to be reserved for later groups.
                per_group: None,
                lookahead_max: 0,
                start_timeout: START,
                ..Limits::default()
            },
            room: 1024,
            confinement: Confinement::default(),
            deadline: None,
            lease: Duration::from_secs(30),
            // The running program, even if its file has been replaced since.
            program: PathBuf::from("/proc/self/exe"),
            test: None,
            hooks: Hooks::default(),
        }
    }

    /// Sets the number of workers, at least 1. The default is the number of processors. Workers are
    /// started when there are jobs for them.
    pub const fn workers(mut self, workers: u16) -> Self {
        self.limits.workers = if workers == 0 { 1 } else { workers };
        self
    }

    /// Sets how many jobs may be unfinished before [`Pool::submit`] blocks. The default is 1024.
    pub const fn room(mut self, jobs: usize) -> Self {
        self.room = jobs;
        self
    }

    /// Limits the memory of each worker, in bytes. A worker that exceeds the limit ends; with
    /// [`Allocator`](crate::Allocator) as the global allocator, it reports the cause.
    pub const fn memory(mut self, bytes: u64) -> Self {
        self.confinement.memory = Some(bytes);
        self
    }

    /// Sets the nice value of workers, -20 to 19.
    pub const fn nice(mut self, value: i32) -> Self {
        self.confinement.nice = Some(value);
        self
    }

    /// Sets the sandbox of workers. It also removes all but a few variables from their environment.
    pub fn sandbox(mut self, sandbox: Sandbox) -> Self {
        self.confinement.sandbox = Some(sandbox);
        self
    }

    /// Sets the time limit of each job. A job that exceeds it [is not
    /// retried](super::Outcome::DeadlineExceeded), and its process is ended. An [async](AsyncWork)
    /// job is dropped instead, and its process continues.
    pub const fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }

    /// Sets how long a worker may give no sign of life before it is ended. The default is 30
    /// seconds. Workers send heartbeats themselves; jobs need not do anything for this.
    pub const fn lease(mut self, time: Duration) -> Self {
        self.lease = time;
        self
    }

    /// Sets what happens to a job whose worker died while the job ran. By default, the job is
    /// handed out again until it has ended 3 workers.
    ///
    /// A death that may have an external cause (SIGKILL, SIGTERM) counts less: five times as many
    /// deaths are then needed before the job is blamed.
    pub const fn redeliver(mut self, redeliver: Redeliver) -> Self {
        (self.limits.max_deliveries, self.limits.max_unexplained) = match redeliver {
            Redeliver::Never => (1, 1),
            Redeliver::UpTo(workers) => (workers.get(), workers.get().saturating_mul(5)),
        };
        self
    }

    /// Sets how often a job that failed with a [transient](super::Failed::may_pass) error is
    /// retried. The default is 3.
    pub const fn retries(mut self, retries: u32) -> Self {
        self.limits.retries = retries;
        self
    }

    /// Sets how many workers may die within `period` without having done anything before the pool
    /// gives up. The default is 18 within a minute.
    pub const fn restart_intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.limits.restart_intensity = Intensity { restarts, period };
        self
    }

    /// Sets the number of jobs after which a worker is replaced. By default, workers are kept.
    pub const fn recycle_after(mut self, jobs: NonZeroU32) -> Self {
        self.limits.worker_tasks = Some(jobs);
        self
    }

    /// Calls `hook` when a worker has died, for logs and counters. The hook must not block.
    pub fn on_death(mut self, hook: impl FnMut(&Death) + Send + 'static) -> Self {
        self.hooks.death = Box::new(hook);
        self
    }

    /// Calls `hook` with each line that a worker writes to standard error. By default, these lines
    /// are written to the standard error of this process.
    pub fn on_line(mut self, hook: impl FnMut(&str) + Send + 'static) -> Self {
        self.hooks.line = Box::new(hook);
        self
    }

    /// Sets the program that becomes a worker. The default is the running program. In an
    /// integration test, use `env!("CARGO_BIN_EXE_…")`.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = path.into();
        self
    }

    /// Sets the test that becomes a worker, by its full name. For tests with the default harness.
    ///
    /// The only line of this test is the call of `pool::init`. Threads that the harness has already
    /// started are not in the sandbox of the worker.
    pub fn under_test(mut self, name: impl Into<String>) -> Self {
        self.test = Some(name.into());
        self
    }

    /// Starts the pool. The workers are started with the first jobs.
    ///
    /// # Errors
    ///
    /// Fails if this process is a worker, the setup cannot be encoded, the workers cannot be
    /// confined as requested, or a system call fails.
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
    /// Sets the number of jobs that each worker runs at once, from 1 to 1024. The default is 64.
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

/// The command that starts a worker.
struct Launch {
    program: PathBuf,
    kind: &'static str,
    test: Option<String>,
    /// The environment of the worker. `None` if it inherits that of this process.
    environment: Option<Vec<(OsString, OsString)>>,
}

impl Launch {
    fn command(&self, socket: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0(worker::NAME);
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment.iter().cloned());
            // The output of a worker in a sandbox is discarded.
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
                // The output of the test harness is discarded.
                .stdout(Stdio::null());
        }
        command
    }
}
