//! What a worker process may use: memory, its share of the processor, and the sandbox.
//!
//! Limits are the worker's own doing: it sets them when it has its setup, before it has a second
//! thread. The coordinator tries them first ([`try_out`]), so that what is refused is told once,
//! before anything is started, and not by every worker. It must not know what a limit is for.

use std::io;

use protocol::{Engine, Sandbox, Setup};
use rustix::process::{
    Resource, Rlimit, getpriority_process, getrlimit, setpriority_process, setrlimit,
};

use crate::sandbox::{self, Extent};
pub use crate::sandbox::{InForce, SandboxError};
use crate::session;

pub use pool::EXIT_OUT_OF_MEMORY;

/// Private writable memory of a worker, its data segment, one download and TLS included; without
/// its threads. Measured, with a margin: see docs/decisions/sandbox.md.
const BASE: u64 = 6 << 20;

/// For each further thread: its stack, as the standard library makes it, and what malloc(3) takes
/// for it.
const PER_THREAD: u64 = (2 << 20) + (256 << 10);

/// For each download in flight: buffers, and the state of TLS.
const PER_DOWNLOAD: u64 = 1 << 20;

/// To read the rules that a redirect is held against, one after the other: of a robots.txt that is
/// nothing but line ends, each of which takes a place in a list that grows by doubling.
const ROBOTS: u64 = 24 << 20;

/// Descriptors of a worker: three that it has from the start, its links, the folders of its store,
/// and what an event loop takes.
const DESCRIPTORS: u64 = 64;

/// And for each connection of a download in flight: itself, those that are kept for the next, its
/// file and its note, and lookups that nobody waits for any more.
const DESCRIPTORS_PER_DOWNLOAD: u64 = 32;

/// How much larger than the largest body a file may become: by the piece with which a body turns
/// out to be too large; and a note takes some room, whatever the size of bodies.
const BEYOND_LARGEST_BODY: u64 = 1 << 20;

/// The most that a memory image may take, in bytes. With 1 there is none at all, also where a
/// program is to receive it, to which 0 would mean nothing (core(5), `RLIMIT_CORE`).
const CORE: u64 = 1;

/// Why a limit cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// A worker could not even begin.
    #[error(
        "{asked} bytes are too little memory for a worker with {concurrency} downloads in flight \
         (--worker-memory); give it {smallest} or more, or a smaller --concurrency"
    )]
    TooLittleMemory {
        /// What was asked for.
        asked: u64,
        /// What it takes.
        smallest: u64,
        /// Downloads in flight.
        concurrency: u16,
    },
    /// The system's limit is lower.
    #[error(
        "{asked} bytes of memory (--worker-memory) are more than the {hard} that the hard limit \
         allows (ulimit -H -d)"
    )]
    AboveHardLimit {
        /// What was asked for.
        asked: u64,
        /// The hard limit.
        hard: u64,
    },
    /// The system does not take the limit on memory.
    #[error("cannot limit memory to {bytes} bytes (--worker-memory): {cause}")]
    Memory {
        /// The limit.
        bytes: u64,
        /// Why.
        cause: io::Error,
    },
    /// The system does not give the nice value.
    #[error(
        "cannot give workers the nice value {wanted} (--worker-nice): {cause}; ask for {current} \
         or more"
    )]
    Nice {
        /// What was asked for.
        wanted: i32,
        /// What this process has.
        current: i32,
        /// Why.
        cause: io::Error,
    },
    /// The system does not take a limit that belongs to the sandbox.
    #[error("cannot limit the {what} of a worker to {most} (--sandbox): {cause}")]
    Lower {
        /// Of what.
        what: &'static str,
        /// The limit.
        most: u64,
        /// Why.
        cause: io::Error,
    },
    /// There is no sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Nothing could be tried.
    #[error("cannot start a thread to try the limits of workers: {0}")]
    Thread(#[source] io::Error),
}

/// Sets the limits of `setup`, for this process or the calling thread and whatever it will start.
/// They cannot be lifted again.
///
/// # Errors
///
/// If one of them cannot be had.
pub fn apply(setup: &Setup) -> Result<InForce, LimitsError> {
    be_nice(setup)?;
    if let Some(bytes) = setup.limits.memory {
        let limit = Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        setrlimit(Resource::Data, limit).map_err(|errno| LimitsError::Memory {
            bytes,
            cause: errno.into(),
        })?;
    }
    if setup.limits.sandbox != Sandbox::Off {
        lower_limits(setup)?;
    }
    Ok(sandbox::enter(setup, Extent::Process)?)
}

/// Lets this process have no more of the system than its work takes.
fn lower_limits(setup: &Setup) -> Result<(), LimitsError> {
    let downloads = u64::from(session::slots(setup));
    let connections = downloads * u64::from(setup.http.split.max(1));
    let descriptors = DESCRIPTORS + DESCRIPTORS_PER_DOWNLOAD * connections;
    lower(Resource::Nofile, "descriptors", descriptors)?;
    lower(Resource::Core, "memory image", CORE)?;
    if let Some(largest) = setup.http.max_filesize {
        let most = largest.saturating_add(BEYOND_LARGEST_BODY);
        lower(Resource::Fsize, "file size", most)?;
    }
    Ok(())
}

/// Sets a limit of this process to `most`, for good, if it is not lower already.
fn lower(resource: Resource, what: &'static str, most: u64) -> Result<(), LimitsError> {
    let at_most = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    let Rlimit { current, maximum } = getrlimit(resource);
    let limit = Rlimit {
        current: at_most(current),
        maximum: at_most(maximum),
    };
    setrlimit(resource, limit).map_err(|errno| LimitsError::Lower {
        what,
        most,
        cause: errno.into(),
    })
}

/// Finds out whether a worker could [`apply`] `setup`, without any effect on this process: what can
/// be tried is tried on a thread that ends at once.
///
/// # Errors
///
/// What a worker would meet; and a limit on memory under which it could not work.
pub fn try_out(setup: &Setup) -> Result<InForce, LimitsError> {
    if let Some(asked) = setup.limits.memory {
        let smallest = smallest_memory(setup);
        if asked < smallest {
            return Err(LimitsError::TooLittleMemory {
                asked,
                smallest,
                concurrency: setup.concurrency,
            });
        }
        if let Some(hard) = getrlimit(Resource::Data).maximum
            && asked > hard
        {
            return Err(LimitsError::AboveHardLimit { asked, hard });
        }
    }
    std::thread::scope(|scope| {
        let trial = std::thread::Builder::new()
            .name("limits".to_owned())
            .spawn_scoped(scope, || {
                be_nice(setup)?;
                Ok(sandbox::enter(setup, Extent::Thread)?)
            })
            .map_err(LimitsError::Thread)?;
        trial
            .join()
            .unwrap_or_else(|_| Err(LimitsError::Thread(io::Error::other("it panicked"))))
    })
}

/// The least memory, in bytes, that a worker with this setup can do its work in: for any body,
/// since those are never held in memory.
#[must_use]
pub fn smallest_memory(setup: &Setup) -> u64 {
    let downloads = u64::from(session::slots(setup));
    let threads = match setup.engine {
        // A slot, and a lookup of its host, each; and the heartbeat.
        Engine::Blocking => 2 * downloads + 1,
        // The event loop, and as many lookups.
        Engine::Async => downloads + 1,
    };
    let robots = setup.robots.as_ref().map_or(0, |_| ROBOTS);
    BASE + threads * PER_THREAD + downloads * PER_DOWNLOAD + robots
}

/// On Linux a nice value belongs to a thread, and is inherited (setpriority(2), BUGS).
pub(crate) fn be_nice(setup: &Setup) -> Result<(), LimitsError> {
    let Some(wanted) = setup.limits.nice else {
        return Ok(());
    };
    setpriority_process(None, wanted).map_err(|errno| LimitsError::Nice {
        wanted,
        current: getpriority_process(None).unwrap_or_default(),
        cause: errno.into(),
    })
}
