//! Engines: what drives a [`Transfer`] over real sockets and files.
//!
//! An engine must not decide what a response means: that is the transfer's.

mod blocking;
mod connect;
mod error;
mod event;
mod race;
mod roots;
mod split;
mod tls;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use http::header::CONNECTION;
use protocol::{Failure, PartialNote, Setup, Stored, Timestamp};

pub use crate::activity::{Activity, Downloading};
use crate::decode::Body;
use crate::fault::Fault;
use crate::login::Logins;
use crate::resolver::Resolver;
use crate::robots::KnownRobots;
use crate::store::{Committed, Store};
use crate::throttle::Throttle;
use crate::transfer::Transfer;
pub use blocking::BlockingEngine;
pub use event::{AsyncEngine, Connections};
use race::Late;
use tls::Tls;

/// From when on a body is worth a note.
const NOTE_AFTER: Notable = Notable {
    bytes: 128 * 1024,
    time: Duration::from_secs(1),
};

/// When a body is worth a note, so that a kill does not cost all of it: neither the many small ones
/// nor the first pieces of large ones are.
struct Notable {
    bytes: u64,
    time: Duration,
}

impl Notable {
    /// Writes `note`, if there is none yet and it is worth it. To be called before more is written.
    fn note(&self, body: &mut Body, note: Option<&PartialNote>, begun: Instant) {
        if let (Some(note), Some(partial)) = (note, body.plain())
            && !partial.is_noted()
            && (partial.bytes() >= self.bytes || begun.elapsed() >= self.time)
        {
            partial.note(note);
        }
        if let Some(partial) = body.plain() {
            partial.vouch(self.time);
        }
    }
}

/// Longest time for which a download that waits for its share of the rate does not look up.
const NAP: Duration = Duration::from_millis(100);

/// Part of a `wait` for the rate, for an attempt with so much time `left`.
fn nap(wait: Duration, left: Option<Duration>) -> Duration {
    wait.min(left.unwrap_or(NAP)).min(NAP)
}

/// Now, as an [`Allowance`](crate::throttle::Allowance) wants it.
fn monotonic() -> u64 {
    u64::try_from(crate::spans::monotonic().as_nanos()).unwrap_or(u64::MAX)
}

/// Largest body of a response that is not stored, read only to use its connection again.
const DRAIN: u64 = 64 * 1024;

/// What all engines of a worker have in common.
#[derive(Debug)]
pub struct Shared {
    pub(crate) options: protocol::HttpOptions,
    pub(crate) spans: bool,
    pub(crate) cpu_per_task: Duration,
    pub(crate) store: Arc<Store>,
    pub(crate) resolver: Resolver,
    /// Addresses that do not answer.
    pub(crate) late: Late,
    pub(crate) tls: Tls,
    /// What robots.txt says, if it is obeyed.
    robots: Option<KnownRobots>,
    pub(crate) throttle: Option<Throttle>,
    pub(crate) logins: Arc<Logins>,
}

/// Why a worker cannot work as it was told to.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The folder of the setup is not usable.
    #[error("cannot store anything: {0}")]
    Store(#[source] std::io::Error),
    /// The file with certificates cannot be read.
    #[error("cannot read certificates from {file}: {cause}")]
    TrustFile { file: String, cause: std::io::Error },
    /// What should be certificates is not.
    #[error("{place} holds no usable certificate: {cause}")]
    Certificates {
        /// Where they come from.
        place: String,
        cause: String,
    },
}

impl Shared {
    /// Opens the folders and reads the certificates that `setup` names. `throttle` is for its limit
    /// on the rate.
    ///
    /// # Errors
    ///
    /// If one of them is not usable.
    pub fn new(setup: &Setup, throttle: Option<Throttle>) -> Result<Self, SetupError> {
        let store = Store::new(Path::new(&setup.partial), setup.boot.clone(), setup.fsync)
            .map_err(SetupError::Store)?;
        Ok(Self {
            options: setup.http.clone(),
            spans: setup.spans,
            cpu_per_task: setup.cpu_per_task,
            store: Arc::new(store),
            resolver: Resolver::new(&setup.http),
            late: Late::default(),
            tls: Tls::new(&setup.http)?,
            robots: setup.robots.as_ref().map(KnownRobots::new),
            throttle,
            logins: Arc::new(Logins::new(&setup.http.login)),
        })
    }

    /// What this worker may log in with.
    #[must_use]
    pub const fn logins(&self) -> &Arc<Logins> {
        &self.logins
    }

    /// Whether the next request of `transfer`, which follows a redirect, may be sent, as far as any
    /// robots.txt of this run is known.
    pub(crate) fn check_robots(&self, transfer: &Transfer<'_>) -> Result<(), Fault> {
        match &self.robots {
            Some(robots) if !transfer.is_robots() => robots.check(transfer.url().as_str()),
            Some(_) | None => Ok(()),
        }
    }
}

/// What to say of the task.
fn answer(
    transfer: Transfer<'_>,
    result: Result<Committed, Fault>,
) -> Result<Box<Stored>, Box<Failure>> {
    match result {
        Ok(body) => Ok(transfer.stored(body.bytes, body.sha256, body.unchanged)),
        Err(fault) => Err(transfer.failed(fault)),
    }
}

/// The time of day. Before 1970 is not a time that a computer with a network has.
pub(crate) fn timestamp(now: SystemTime) -> Timestamp {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Whether the server is going to close the connection after this response.
fn is_closing(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("close"))
}
