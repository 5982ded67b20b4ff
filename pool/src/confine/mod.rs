//! Limits of a worker process: memory, niceness, and its sandbox.
//!
//! A worker sets its own limits when it has received its setup, before it has a second thread. The
//! coordinator tries them first ([`Confinement::try_out`]), so that a refusal is reported once,
//! before anything is started, and not by every worker.

mod calls;
mod rights;
mod sandbox;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use landlock::{PathFdError, RulesetError};
use rustix::process::{
    Resource, Rlimit, getpriority_process, getrlimit, setpriority_process, setrlimit,
};
use serde::{Deserialize, Serialize};

pub use sandbox::InForce;

/// The environment variables that a worker in a sandbox inherits: those that the dynamic loader,
/// the memory allocator, the resolver and the log read. Others may contain secrets.
const ENVIRONMENT: [&str; 13] = [
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "GLIBC_TUNABLES",
    "MALLOC_ARENA_MAX",
    "RES_OPTIONS",
    "LOCALDOMAIN",
    "HOSTALIASES",
    "TZ",
    "NO_COLOR",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "RUST_MIN_STACK",
];

/// Returns the part of this process's environment that a worker in a sandbox receives, including
/// the variables of `more`.
#[must_use]
pub fn environment(more: &[&str]) -> Vec<(OsString, OsString)> {
    let known = ENVIRONMENT.iter().chain(more);
    known
        .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)))
        .collect()
}
use sandbox::{Extent, NEEDED, PORTS};

/// Maximum size of a core dump of a confined worker, in bytes. A limit of 1 prevents core dumps
/// even where a program receives them, to which 0 does not apply (core(5), `RLIMIT_CORE`).
const CORE: u64 = 1;

/// Limits of a worker process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Maximum private writable memory, in bytes (`RLIMIT_DATA` in setrlimit(2)).
    pub memory: Option<u64>,
    /// Nice value, -20 to 19 (setpriority(2)).
    pub nice: Option<i32>,
    /// What the worker can reach. `None` if it can reach everything that its user can.
    pub sandbox: Option<Sandbox>,
}

/// What a worker in a sandbox can reach. In any case it cannot start a program or a process, and
/// keeps no capability that it does not need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// If set, workers run only if the kernel can provide the whole sandbox. Otherwise they run
    /// with the part that it can provide, and [`InForce::lacks`] describes what is missing.
    pub strict: bool,
    /// Files that may be read, and folders in which files may be read.
    pub read: Vec<PathBuf>,
    /// Like `read`, but names of files may be listed as well; only as far as all users may do that.
    pub read_public: Vec<PathBuf>,
    /// Folders in which files may be created, read, written and removed, but not folders.
    pub write: Vec<PathBuf>,
    /// Where the worker may connect to.
    pub network: Network,
    /// Maximum number of open descriptors.
    pub descriptors: Option<u64>,
    /// Maximum size of a file that the worker writes, in bytes.
    pub file_size: Option<u64>,
}

/// Where a worker in a sandbox may connect to. Nothing can connect to the worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Nowhere: it cannot create sockets.
    #[default]
    None,
    /// Anywhere, over TCP and UDP. It may read the files that name lookups need.
    Any,
    /// Like [`Any`](Self::Any), but over TCP only to these ports and to that of name servers.
    /// Workers do not run without this limit, even if the sandbox is not strict.
    Ports(Vec<u16>),
}

/// Reasons why a worker cannot be confined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfineError {
    /// The hard limit on memory is lower than the requested limit.
    #[error("{asked} bytes of memory are more than the {hard} that the hard limit allows")]
    AboveHardLimit {
        /// The requested limit, in bytes.
        asked: u64,
        /// The hard limit, in bytes.
        hard: u64,
    },
    /// The system refuses the limit on memory.
    #[error("cannot limit memory to {bytes} bytes: {cause}")]
    Memory { bytes: u64, cause: io::Error },
    /// The system refuses the nice value.
    #[error("cannot give workers the nice value {wanted}: {cause}; ask for {current} or more")]
    Nice {
        /// The requested nice value.
        wanted: i32,
        /// The nice value of this process.
        current: i32,
        cause: io::Error,
    },
    /// The system refuses a limit that belongs to the sandbox.
    #[error("cannot limit the {what} of a worker to {most}: {cause}")]
    Lower {
        /// Name of the limit.
        what: &'static str,
        most: u64,
        cause: io::Error,
    },
    /// The kernel cannot confine a worker completely.
    #[error(
        "this kernel cannot confine workers: it takes Landlock ABI {} (Linux 6.2), enabled \
         (lsm=landlock)", NEEDED as i32
    )]
    Unsupported(#[source] RulesetError),
    /// The kernel cannot limit the ports that a worker connects to.
    #[error(
        "this kernel cannot limit the ports that workers connect to: it takes Landlock ABI {} (Linux \
         6.7), enabled (lsm=landlock)", PORTS as i32
    )]
    Ports(#[source] RulesetError),
    /// A folder that may be written to cannot be opened.
    #[error("cannot open the folder {} for the sandbox: {cause}", .folder.display())]
    Folder { folder: PathBuf, cause: PathFdError },
    /// The kernel has Landlock, but refused its rules.
    #[error("cannot confine workers with Landlock: {0}")]
    Refused(#[from] RulesetError),
    /// The kernel cannot filter system calls.
    #[error("this kernel cannot limit the system calls of workers: {0}; it takes seccomp filters")]
    Seccomp(#[from] seccompiler::Error),
    /// The kernel cannot drop capabilities.
    #[error("cannot give up the capabilities of workers: {0}")]
    Capabilities(#[source] io::Error),
    /// The kernel cannot set `no_new_privs`.
    #[error("cannot give up new privileges: {0}")]
    Privileges(#[source] io::Error),
    /// The thread that tries the limits could not be started.
    #[error("cannot start a thread to try the limits of workers: {0}")]
    Thread(#[source] io::Error),
}

impl Confinement {
    /// Confines this process permanently, if the caller is its only thread; otherwise the calling
    /// thread and whatever it starts.
    ///
    /// # Errors
    ///
    /// Fails if the process cannot be confined as requested.
    pub fn apply(&self) -> Result<InForce, ConfineError> {
        self.be_nice()?;
        if let Some(bytes) = self.memory {
            let limit = Rlimit {
                current: Some(bytes),
                maximum: Some(bytes),
            };
            setrlimit(Resource::Data, limit).map_err(|errno| ConfineError::Memory {
                bytes,
                cause: errno.into(),
            })?;
        }
        if let Some(sandbox) = &self.sandbox {
            sandbox.lower_limits()?;
        }
        self.enter(Extent::Process)
    }

    /// Checks whether a worker could [`apply`](Self::apply) the confinement, without effect on this
    /// process: what can be tried is tried on a thread that then ends.
    ///
    /// # Errors
    ///
    /// Returns the error that a worker would meet.
    pub fn try_out(&self) -> Result<InForce, ConfineError> {
        if let Some(asked) = self.memory
            && let Some(hard) = getrlimit(Resource::Data).maximum
            && asked > hard
        {
            return Err(ConfineError::AboveHardLimit { asked, hard });
        }
        std::thread::scope(|scope| {
            let trial = std::thread::Builder::new()
                .name("limits".to_owned())
                .spawn_scoped(scope, || {
                    self.be_nice()?;
                    self.enter(Extent::Thread)
                })
                .map_err(ConfineError::Thread)?;
            trial
                .join()
                .unwrap_or_else(|_| Err(ConfineError::Thread(io::Error::other("it panicked"))))
        })
    }

    /// Sets the nice value, which belongs to a thread and is inherited (setpriority(2), BUGS).
    fn be_nice(&self) -> Result<(), ConfineError> {
        let Some(wanted) = self.nice else {
            return Ok(());
        };
        setpriority_process(None, wanted).map_err(|errno| ConfineError::Nice {
            wanted,
            current: getpriority_process(None).unwrap_or_default(),
            cause: errno.into(),
        })
    }

    fn enter(&self, extent: Extent) -> Result<InForce, ConfineError> {
        match &self.sandbox {
            Some(sandbox) => sandbox::enter(sandbox, extent),
            None => Ok(InForce::default()),
        }
    }
}

impl Sandbox {
    fn lower_limits(&self) -> Result<(), ConfineError> {
        lower(Resource::Core, "memory image", CORE)?;
        if let Some(most) = self.descriptors {
            lower(Resource::Nofile, "descriptors", most)?;
        }
        if let Some(most) = self.file_size {
            lower(Resource::Fsize, "file size", most)?;
        }
        Ok(())
    }
}

/// Sets a limit of this process to `most` permanently, unless it is already lower.
fn lower(resource: Resource, what: &'static str, most: u64) -> Result<(), ConfineError> {
    let at_most = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    let Rlimit { current, maximum } = getrlimit(resource);
    let limit = Rlimit {
        current: at_most(current),
        maximum: at_most(maximum),
    };
    setrlimit(resource, limit).map_err(|errno| ConfineError::Lower {
        what,
        most,
        cause: errno.into(),
    })
}
