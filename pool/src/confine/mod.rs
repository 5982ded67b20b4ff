//! What a worker process may use: memory, its share of the processor, and its sandbox.
//!
//! Limits are the worker's own doing: it sets them when it has its setup, before it has a second
//! thread. The coordinator tries them first ([`Confinement::try_out`]), so that what is refused is
//! told once, before anything is started, and not by every worker.

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

/// What a worker in a sandbox is given of its parent's environment, which may hold secrets: what the
/// dynamic loader, the memory allocator, the resolver and the log read.
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

/// What of this process's environment a worker in a sandbox is given, with the variables of `more`.
#[must_use]
pub fn environment(more: &[&str]) -> Vec<(OsString, OsString)> {
    let known = ENVIRONMENT.iter().chain(more);
    known
        .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)))
        .collect()
}
use sandbox::{Extent, NEEDED, PORTS};

/// The most that a memory image of a confined worker may take, in bytes. With 1 there is none at
/// all, also where a program is to receive it, to which 0 would mean nothing (core(5),
/// `RLIMIT_CORE`).
const CORE: u64 = 1;

/// What a worker process may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Most private writable memory, in bytes (`RLIMIT_DATA` in setrlimit(2)).
    pub memory: Option<u64>,
    /// Nice value, -20 to 19 (setpriority(2)).
    pub nice: Option<i32>,
    /// What it may reach; everything that its user can, if there is none.
    pub sandbox: Option<Sandbox>,
}

/// What a worker in a sandbox may reach. It starts no program and no process, whatever is said here,
/// and keeps no capability that it can do without.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Where the kernel cannot do all of it, there is to be no worker. If not, there is as much of a
    /// sandbox as the kernel can do, and [`InForce::lacks`] says what is missing.
    pub strict: bool,
    /// Files that may be read, and folders in which files may be.
    pub read: Vec<PathBuf>,
    /// The same, where names of files may be listed as well; as far as everybody may do that.
    pub read_public: Vec<PathBuf>,
    /// Folders in which files may be made, read, written to and removed; not folders.
    pub write: Vec<PathBuf>,
    /// Whom it may connect to.
    pub network: Network,
    /// Most descriptors that may be open.
    pub descriptors: Option<u64>,
    /// Largest file that may be written, in bytes.
    pub file_size: Option<u64>,
}

/// Whom a worker in a sandbox may connect to. Nobody can connect to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Nobody: it makes no socket.
    #[default]
    None,
    /// Everybody, over TCP and UDP. It may read what it takes to look up names.
    Any,
    /// As with [`Any`](Self::Any), but over TCP these ports alone, and that of name servers. This is
    /// insisted on, however strict the sandbox is.
    Ports(Vec<u16>),
}

/// Why a worker cannot be confined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfineError {
    /// The system's limit on memory is lower.
    #[error("{asked} bytes of memory are more than the {hard} that the hard limit allows")]
    AboveHardLimit {
        /// What was asked for.
        asked: u64,
        /// The hard limit.
        hard: u64,
    },
    /// The system does not take the limit on memory.
    #[error("cannot limit memory to {bytes} bytes: {cause}")]
    Memory { bytes: u64, cause: io::Error },
    /// The system does not give the nice value.
    #[error("cannot give workers the nice value {wanted}: {cause}; ask for {current} or more")]
    Nice {
        /// What was asked for.
        wanted: i32,
        /// What this process has.
        current: i32,
        cause: io::Error,
    },
    /// The system does not take a limit that belongs to the sandbox.
    #[error("cannot limit the {what} of a worker to {most}: {cause}")]
    Lower {
        /// Of what.
        what: &'static str,
        most: u64,
        cause: io::Error,
    },
    /// The kernel cannot confine a worker in full.
    #[error(
        "this kernel cannot confine workers: it takes Landlock ABI {} (Linux 6.2), enabled \
         (lsm=landlock)", NEEDED as i32
    )]
    Unsupported(#[source] RulesetError),
    /// The kernel cannot keep a worker to some ports.
    #[error(
        "this kernel cannot limit the ports that workers connect to: it takes Landlock ABI {} (Linux \
         6.7), enabled (lsm=landlock)", PORTS as i32
    )]
    Ports(#[source] RulesetError),
    /// A folder that may be written to is not there.
    #[error("cannot open the folder {} for the sandbox: {cause}", .folder.display())]
    Folder { folder: PathBuf, cause: PathFdError },
    /// The kernel has Landlock, and refused.
    #[error("cannot confine workers with Landlock: {0}")]
    Refused(#[from] RulesetError),
    /// The kernel does not filter system calls.
    #[error("this kernel cannot limit the system calls of workers: {0}; it takes seccomp filters")]
    Seccomp(#[from] seccompiler::Error),
    /// The kernel does not take capabilities away.
    #[error("cannot give up the capabilities of workers: {0}")]
    Capabilities(#[source] io::Error),
    /// The kernel does not take this from a process.
    #[error("cannot give up new privileges: {0}")]
    Privileges(#[source] io::Error),
    /// Nothing could be tried.
    #[error("cannot start a thread to try the limits of workers: {0}")]
    Thread(#[source] io::Error),
}

impl Confinement {
    /// Confines this process, whose only thread calls, for good; or at least the calling thread and
    /// whatever it will start, where there are others.
    ///
    /// # Errors
    ///
    /// If it cannot be had.
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

    /// Finds out whether a worker could [`apply`](Self::apply) it, without any effect on this process:
    /// what can be tried is tried on a thread that ends at once.
    ///
    /// # Errors
    ///
    /// What a worker would meet.
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

    /// On Linux a nice value belongs to a thread, and is inherited (setpriority(2), BUGS).
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

/// Sets a limit of this process to `most`, for good, if it is not lower already.
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
