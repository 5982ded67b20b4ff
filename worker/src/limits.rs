//! What a process that downloads may use: how it is [confined](pool::confine).
//!
//! Which files it reads, and how much memory it takes, is known here and nowhere else.

use std::path::PathBuf;

use pool::confine::{self, ConfineError, Confinement, InForce, Network};
use protocol::{Engine, Sandbox, Setup, Trust};

use crate::session;

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

/// Where distributions put the certificates that they trust, and what links in there lead to. Keys
/// are elsewhere.
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
    /// It cannot be confined.
    #[error("{0}{way_out}", way_out = way_out(.0))]
    Confine(#[from] ConfineError),
}

/// The option that is to be changed, as the end of a line.
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

/// How a worker with this setup is confined.
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
    // Where a redirect leads is held against what is there.
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

/// Where the system's certificates are (SSL_CTX_load_verify_locations(3)), as far as they may be
/// read by everybody.
fn certificate_places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = CERTIFICATE_PLACES.iter().map(PathBuf::from).collect();
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if let Some(value) = std::env::var_os(name) {
            places.extend(std::env::split_paths(&value));
        }
    }
    places
}

/// Sets the limits of `setup`, for this process or the calling thread and whatever it will start.
/// They cannot be lifted again.
///
/// # Errors
///
/// If one of them cannot be had.
pub fn apply(setup: &Setup) -> Result<InForce, LimitsError> {
    Ok(confinement(setup).apply()?)
}

/// Finds out whether a worker could [`apply`] `setup`, without any effect on this process.
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
    }
    Ok(confinement(setup).try_out()?)
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
