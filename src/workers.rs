//! The workers of a run: the pool's, for downloads, and how their processes are started.

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

/// The workers of a run. `M` is what its inbox takes.
pub type Pool<M> = workers::Pool<Download, M>;

/// What a worker did.
pub type WorkerEvent = workers::WorkerEvent<Download>;

/// Something for the pool to digest.
pub type Message = workers::Message<Download>;

/// What a message means for the run.
pub type Digested = workers::Digested<Download>;

/// What a worker in a sandbox is given of this process's environment beside what every worker gets:
/// what the lookup of the system's certificates reads, and the place for temporary files.
const ENVIRONMENT: [&str; 3] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR"];

/// Why there are no workers.
#[derive(Debug, thiserror::Error)]
pub enum WorkersError {
    /// The options are too long for the workers to be told.
    #[error("the options for HTTP are too long to hand to a worker: {0}; give fewer headers")]
    Options(EncodeError),
    /// The system does not make memory that workers can share.
    #[error("cannot make memory for the workers to share one rate in (--limit-rate): {0}")]
    Memory(io::Error),
    /// There is nothing that workers can connect to.
    #[error("cannot make sockets for the workers: {0}")]
    Sockets(io::Error),
    /// The pool does not hear them.
    #[error(transparent)]
    Pool(PoolError),
}

/// Workers that are processes, work as `setup` says, and connect in `sockets` or, where that cannot
/// hold sockets, in a temporary folder. Messages go to `inbox`.
///
/// # Errors
///
/// If `setup` does not fit a frame, or what it takes is not to be had.
pub fn processes<M: From<Message> + Send + 'static>(
    launcher: Launcher,
    mut setup: Setup,
    sockets: Folder,
    inbox: Sender<M>,
) -> Result<Pool<M>, WorkersError> {
    let sockets = socket_folder(sockets).map_err(WorkersError::Sockets)?;
    // Each has a folder of its own, and works in it.
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

/// Workers that are threads of this process, and work as `setup` says. Messages go to `inbox`.
#[must_use]
pub fn threads<M: From<Message> + Send + 'static>(mut setup: Setup, inbox: Sender<M>) -> Pool<M> {
    setup.partial = Path::new(&setup.partial).join(LOCAL).into();
    // They share it.
    let throttle = setup.limit_rate.as_ref().map(Throttle::local);
    Pool::Local(LocalPool::new(
        move |hears, says| {
            let served = worker::serve(hears, says, &setup, throttle.clone());
            served.map(|_| ()).map_err(|error| error.to_string())
        },
        inbox,
    ))
}

/// How the processes of workers are started.
#[derive(Debug)]
pub struct Launcher {
    verbose: u8,
    /// The folder with the workers' folders.
    partial: PathBuf,
    /// The environment of workers, if it is not this process's.
    environment: Option<Vec<(OsString, OsString)>>,
    /// What the workers share to keep to one rate, if there is a limit.
    rate: Option<OwnedFd>,
    /// Which of them never begin.
    start_faults: Option<StartFaults>,
    /// What the first worker of the first slot tries, as one that was taken over.
    attempt: Option<&'static str>,
}

impl Launcher {
    /// For workers that work as `setup` says. Some never begin, as `start_faults` say; the first worker
    /// of the first slot tries `attempt`, as one that was taken over.
    ///
    /// # Errors
    ///
    /// If the system does not make memory that workers can share.
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

    /// How to start the process of `worker`, whose folder is there, and which is to connect to
    /// `socket`.
    fn command(&self, worker: WorkerId, socket: &Path) -> io::Result<Command> {
        // A worker has nothing to write there. So this is how it gets what it shares with others
        // without a descriptor too many, a name that others could open, or a message with one.
        let stdout = match &self.rate {
            Some(memory) => memory.try_clone()?.into(),
            None => Stdio::null(),
        };
        // What runs now, even if the file has been replaced since.
        let mut command = Command::new("/proc/self/exe");
        std::os::unix::process::CommandExt::arg0(&mut command, "coordinator")
            .arg("worker")
            .args(["--slot", &worker.slot.to_string()])
            .args(["--epoch", &worker.epoch.to_string()])
            .arg("--socket")
            .arg(socket)
            .args(["--parent", &std::process::id().to_string()])
            // The worker enters it: a spawn waits for what happens before exec, and the disk may hang.
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

/// The environment of workers, if it is not to be this process's.
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
