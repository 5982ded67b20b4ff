//! Resource limits and the sandbox of a process that downloads: its [confinement](pool::confine).
//!
//! Only this module knows which files it reads and how much memory it takes.

use std::path::PathBuf;

use pool::confine::{self, ConfineError, Confinement, InForce, Network};
use protocol::{Engine, Sandbox, Setup, Trust};

use crate::session;

/// Private writable memory of a worker without its threads, in bytes: its data segment, one
/// download and TLS. Measured, with a margin: see docs/decisions/sandbox.md.
const BASE: u64 = 6 << 20;

/// Bytes for each further thread: its stack, at the size that the standard library uses, and the
/// memory that malloc(3) takes for it.
const PER_THREAD: u64 = (2 << 20) + (256 << 10);

/// Bytes for each download in flight: buffers and TLS state.
const PER_DOWNLOAD: u64 = 1 << 20;

/// Bytes for reading the rules that apply to a redirect, one robots.txt at a time. The worst case
/// is a robots.txt of line ends only: each takes a place in a list that grows by doubling.
const ROBOTS: u64 = 24 << 20;

/// Descriptors of a worker: the three it starts with, its links, the folders of its store and those
/// of an event loop.
const DESCRIPTORS: u64 = 64;

/// Descriptors for each connection of a download in flight, in addition: the connection itself,
/// idle connections kept for reuse, its file and its note, and lookups whose caller has stopped
/// waiting.
const DESCRIPTORS_PER_DOWNLOAD: u64 = 32;

/// How much larger than the largest body a file may become, in bytes. The piece that shows that a
/// body is too large may be written, and a note takes some space whatever the limit is.
const BEYOND_LARGEST_BODY: u64 = 1 << 20;

/// Where distributions keep trusted certificates, and the targets of links there. Private keys are
/// elsewhere.
const CERTIFICATE_PLACES: [&str; 11] = [
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates",
    "/var/lib/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
];

/// Reason why a limit cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// The memory limit is too low for a worker to start.
    #[error(
        "{asked} bytes are too little memory for a worker with {concurrency} downloads in flight \
         (--worker-memory); give it {smallest} or more, or a smaller --concurrency"
    )]
    TooLittleMemory {
        /// The requested limit, in bytes.
        asked: u64,
        /// The smallest limit that works, in bytes.
        smallest: u64,
        /// Downloads in flight.
        concurrency: u16,
    },
    /// The sandbox cannot be set up.
    #[error("{0}{way_out}", way_out = way_out(.0))]
    Confine(#[from] ConfineError),
}

/// Returns the option to change, as the end of an error message.
fn way_out(error: &ConfineError) -> &'static str {
    match error {
        ConfineError::AboveHardLimit { .. } => " (--worker-memory; ulimit -H -d)",
        ConfineError::Memory { .. } => " (--worker-memory)",
        ConfineError::Nice { .. } => " (--worker-nice)",
        ConfineError::Ports(_) => " (--connect-ports)",
        ConfineError::Unsupported(_)
        | ConfineError::Seccomp(_)
        | ConfineError::Capabilities(_)
        | ConfineError::Privileges(_) => {
            " (--sandbox on); use --sandbox best-effort to take what there is"
        }
        ConfineError::Lower { .. }
        | ConfineError::Folder { .. }
        | ConfineError::Refused(_)
        | ConfineError::Thread(_)
        | _ => " (--sandbox)",
    }
}

/// Returns how a worker with this setup is confined.
#[must_use]
pub fn confinement(setup: &Setup) -> Confinement {
    let limits = &setup.limits;
    Confinement {
        memory: limits.memory,
        nice: limits.nice,
        sandbox: match limits.sandbox {
            Sandbox::Off => None,
            Sandbox::BestEffort => Some(sandbox(setup, false)),
            Sandbox::On => Some(sandbox(setup, true)),
        },
    }
}

fn sandbox(setup: &Setup, strict: bool) -> confine::Sandbox {
    let downloads = u64::from(session::slots(setup));
    let connections = downloads * u64::from(setup.http.split.max(1));
    // The targets of redirects are checked against the rules in this folder.
    let robots = setup.robots.as_ref().map(|robots| &robots.folder);
    let (trusted, public) = match &setup.http.trust {
        Trust::File(file) => (Some(file), Vec::new()),
        Trust::System => (None, certificate_places()),
        Trust::WebRoots | Trust::Pem(_) => (None, Vec::new()),
    };
    confine::Sandbox {
        strict,
        read: robots
            .into_iter()
            .chain(trusted)
            .map(PathBuf::from)
            .collect(),
        read_public: public,
        write: vec![PathBuf::from(&setup.partial)],
        network: match setup.limits.connect_ports.as_slice() {
            [] => Network::Any,
            ports => Network::Ports(ports.to_owned()),
        },
        descriptors: Some(DESCRIPTORS + DESCRIPTORS_PER_DOWNLOAD * connections),
        file_size: setup
            .http
            .max_filesize
            .map(|largest| largest.saturating_add(BEYOND_LARGEST_BODY)),
    }
}

/// Returns the places of the system's certificates (SSL_CTX_load_verify_locations(3)) that
/// everybody may read.
fn certificate_places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = CERTIFICATE_PLACES.iter().map(PathBuf::from).collect();
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if let Some(value) = std::env::var_os(name) {
            places.extend(std::env::split_paths(&value));
        }
    }
    places
}

/// Applies the limits of `setup` to this process, or to the calling thread and all that it starts
/// later. They cannot be lifted.
///
/// # Errors
///
/// Fails if one of them cannot be applied.
pub fn apply(setup: &Setup) -> Result<InForce, LimitsError> {
    Ok(confinement(setup).apply()?)
}

/// Checks whether a worker could [`apply`] `setup`, without any effect on this process.
///
/// # Errors
///
/// Returns the error that a worker would meet, or an error for a memory limit that is too low.
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
    }
    Ok(confinement(setup).try_out()?)
}

/// Returns the smallest memory, in bytes, in which a worker with this setup can work. The size of a
/// body does not matter, because bodies are never held in memory.
#[must_use]
pub fn smallest_memory(setup: &Setup) -> u64 {
    let downloads = u64::from(session::slots(setup));
    let threads = match setup.engine {
        // A slot and a host lookup for each download, and the heartbeat.
        Engine::Blocking => 2 * downloads + 1,
        // The event loop, and a lookup for each download.
        Engine::Async => downloads + 1,
    };
    let robots = setup.robots.as_ref().map_or(0, |_| ROBOTS);
    BASE + threads * PER_THREAD + downloads * PER_DOWNLOAD + robots
}
