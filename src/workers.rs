//! The workers of a run: the pool for downloads, and how worker processes are started.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;

use lab::inject::StartFaults;
use pool::workers::{self, LocalPool, PoolError, ProcessPool, SocketFolder};
use protocol::codec::EncodeError;
use protocol::{Sandbox, Setup, WorkerId};
use worker::{Download, Throttle, session};

use crate::folder::Folder;
use crate::placement::{LOCAL, folder_of};

pub use pool::workers::Death;
pub use worker::limits::{LimitsError, try_out as try_limits};

/// The pool of a run. `M` is the message type of its inbox.
pub type Pool<M> = workers::Pool<Download, M>;

/// An event from a worker.
pub type WorkerEvent = workers::WorkerEvent<Download>;

/// A message for the pool to process.
pub type Message = workers::Message<Download>;

/// The meaning of a message for the run.
pub type Digested = workers::Digested<Download>;

/// Environment variables that a sandboxed worker gets in addition to those that every worker gets:
/// for finding the system's certificates, and for temporary files.
const ENVIRONMENT: [&str; 3] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR"];

/// Reason why the workers cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum WorkersError {
    /// The options are too long for a message to the workers.
    #[error("the options for HTTP are too long to hand to a worker: {0}; give fewer headers")]
    Options(EncodeError),
    /// The system cannot create memory that workers can share.
    #[error("cannot make memory for the workers to share one rate in (--limit-rate): {0}")]
    Memory(io::Error),
    /// There is no socket that workers can connect to.
    #[error("cannot make sockets for the workers: {0}")]
    Sockets(io::Error),
    /// The pool cannot listen for workers.
    #[error(transparent)]
    Pool(PoolError),
}

/// Creates a pool of processes that work as `setup` says. They connect in `sockets` or, if that
/// folder cannot hold sockets, in a temporary folder. Messages go to `inbox`.
///
/// # Errors
///
/// Fails if `setup` does not fit a frame, or if the sockets cannot be created.
pub fn processes<M: From<Message> + Send + 'static>(
    launcher: Launcher,
    mut setup: Setup,
    sockets: Folder,
    inbox: Sender<M>,
) -> Result<Pool<M>, WorkersError> {
    let sockets = socket_folder(sockets).map_err(WorkersError::Sockets)?;
    // Each worker works in its own folder.
    setup.partial = ".".into();
    let (slots, pass_on) = (session::slots(&setup), launcher.verbose > 0);
    let launch = move |worker: WorkerId, socket: &Path| launcher.command(worker, socket);
    let pool = ProcessPool::new(Box::new(launch), setup, slots, pass_on, sockets, inbox);
    match pool {
        Ok(pool) => Ok(Pool::Processes(Box::new(pool))),
        Err(PoolError::Setup(error)) => Err(WorkersError::Options(error)),
        Err(error @ PoolError::Listen(_)) => Err(WorkersError::Pool(error)),
    }
}

/// Creates a pool of threads of this process that work as `setup` says. Messages go to `inbox`.
#[must_use]
pub fn threads<M: From<Message> + Send + 'static>(mut setup: Setup, inbox: Sender<M>) -> Pool<M> {
    setup.partial = Path::new(&setup.partial).join(LOCAL).into();
    // All workers share it.
    let throttle = setup.limit_rate.as_ref().map(Throttle::local);
    Pool::Local(LocalPool::new(
        move |hears, says| {
            let served = worker::serve(hears, says, &setup, throttle.clone());
            served.map(|_| ()).map_err(|error| error.to_string())
        },
        inbox,
    ))
}

/// Starts the processes of workers.
#[derive(Debug)]
pub struct Launcher {
    verbose: u8,
    /// The folder that contains the workers' folders.
    partial: PathBuf,
    /// The environment of workers, if it differs from that of this process.
    environment: Option<Vec<(OsString, OsString)>>,
    /// The memory that workers share to keep one rate, if there is a limit.
    rate: Option<OwnedFd>,
    /// Which workers never start.
    start_faults: Option<StartFaults>,
    /// The attempt of `coordinator isolation` that the first worker of the first slot makes.
    attempt: Option<&'static str>,
}

impl Launcher {
    /// Creates a launcher for workers that work as `setup` says. `start_faults` selects workers
    /// that never start. The first worker of the first slot makes `attempt`.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot create memory that workers can share.
    pub fn new(
        setup: &Setup,
        verbose: u8,
        start_faults: Option<StartFaults>,
        attempt: Option<&'static str>,
    ) -> io::Result<Self> {
        let rate = setup
            .limit_rate
            .map(|_| pool::memory::shared_memory(c"limit-rate", 1));
        Ok(Self {
            verbose,
            partial: PathBuf::from(&setup.partial),
            environment: environment(setup),
            rate: rate.transpose()?,
            start_faults,
            attempt,
        })
    }

    /// Returns the command that starts the process of `worker`. The folder of the worker exists,
    /// and the worker will connect to `socket`.
    fn command(&self, worker: WorkerId, socket: &Path) -> io::Result<Command> {
        // A worker writes nothing to its standard output, so this descriptor carries the shared
        // memory. This avoids an additional descriptor, a name that others could open, and a
        // message with a descriptor.
        let stdout = match &self.rate {
            Some(memory) => memory.try_clone()?.into(),
            None => Stdio::null(),
        };
        // The running program, even if its file has been replaced since.
        let mut command = Command::new("/proc/self/exe");
        std::os::unix::process::CommandExt::arg0(&mut command, "coordinator")
            .arg("worker")
            .args(["--slot", &worker.slot.to_string()])
            .args(["--epoch", &worker.epoch.to_string()])
            .arg("--socket")
            .arg(socket)
            .args(["--parent", &std::process::id().to_string()])
            // The worker enters it itself: a spawn waits until exec, and the disk may hang.
            .arg("--folder")
            .arg(self.partial.join(folder_of(worker)))
            .args(std::iter::repeat_n("-v", usize::from(self.verbose)))
            .stdout(stdout);
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
}

/// Returns the environment of workers, if it differs from that of this process.
fn environment(setup: &Setup) -> Option<Vec<(OsString, OsString)>> {
    let reduced = setup.limits.sandbox != Sandbox::Off;
    reduced.then(|| pool::confine::environment(&ENVIRONMENT))
}

fn socket_folder(folder: Folder) -> io::Result<SocketFolder> {
    let path = folder.path().to_owned();
    let descriptor = std::os::fd::AsFd::as_fd(&folder).try_clone_to_owned()?;
    SocketFolder::open(path, descriptor, move || {
        let cleared = folder.clear(|_| false);
        cleared.map(|_| ()).map_err(|(_, error)| error)
    })
}
