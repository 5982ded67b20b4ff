//! Engines: they run a [`Transfer`] over real sockets and files.
//!
//! An engine must not decide what a response means: the transfer does.

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

/// Thresholds from which a body gets a note.
const NOTE_AFTER: Notable = Notable {
    bytes: 128 * 1024,
    time: Duration::from_secs(1),
};

/// Thresholds for notes, so that a kill does not lose all of a large body. Small bodies and the
/// first pieces of large ones are not worth a note.
struct Notable {
    bytes: u64,
    time: Duration,
}

impl Notable {
    /// Writes `note`, if there is none yet and a threshold is reached. Call before the next write.
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

/// Longest wait for a share of the rate before the state is checked again.
const NAP: Duration = Duration::from_millis(100);

/// Returns the next part of a `wait` for the rate, for an attempt with `left` time remaining.
fn nap(wait: Duration, left: Option<Duration>) -> Duration {
    wait.min(left.unwrap_or(NAP)).min(NAP)
}

/// Returns the current time as [`Allowance`](crate::throttle::Allowance) expects it.
fn monotonic() -> u64 {
    u64::try_from(crate::spans::monotonic().as_nanos()).unwrap_or(u64::MAX)
}

/// Largest body that is read and discarded so that its connection can be reused, in bytes.
const DRAIN: u64 = 64 * 1024;

/// State that all engines of a worker share.
#[derive(Debug)]
pub struct Shared {
    pub(crate) options: protocol::HttpOptions,
    pub(crate) spans: bool,
    pub(crate) cpu_per_task: Duration,
    pub(crate) store: Arc<Store>,
    pub(crate) resolver: Resolver,
    /// Addresses that did not answer.
    pub(crate) late: Late,
    pub(crate) tls: Tls,
    /// Rules of robots.txt, if they are obeyed.
    robots: Option<KnownRobots>,
    pub(crate) throttle: Option<Throttle>,
    pub(crate) logins: Arc<Logins>,
}

/// Reason why a worker cannot use its setup.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The folder of the setup is not usable.
    #[error("cannot store anything: {0}")]
    Store(#[source] std::io::Error),
    /// The file with certificates cannot be read.
    #[error("cannot read certificates from {file}: {cause}")]
    TrustFile { file: String, cause: std::io::Error },
    /// There is no usable certificate.
    #[error("{place} holds no usable certificate: {cause}")]
    Certificates {
        /// Where the certificates come from.
        place: String,
        cause: String,
    },
}

impl Shared {
    /// Opens the folders and reads the certificates of `setup`. `throttle` enforces its rate limit.
    ///
    /// # Errors
    ///
    /// Fails if one of them is not usable.
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

    /// Returns the logins of this worker.
    #[must_use]
    pub const fn logins(&self) -> &Arc<Logins> {
        &self.logins
    }

    /// Fails if a known robots.txt of this run forbids the next request of `transfer`, which
    /// follows a redirect.
    pub(crate) fn check_robots(&self, transfer: &Transfer<'_>) -> Result<(), Fault> {
        match &self.robots {
            Some(robots) if !transfer.is_robots() => robots.check(transfer.url().as_str()),
            Some(_) | None => Ok(()),
        }
    }
}

/// Returns the report about the task.
fn answer(
    transfer: Transfer<'_>,
    result: Result<Committed, Fault>,
) -> Result<Box<Stored>, Box<Failure>> {
    match result {
        Ok(body) => Ok(transfer.stored(body.bytes, body.sha256, body.unchanged)),
        Err(fault) => Err(transfer.failed(fault)),
    }
}

/// Converts a time of day. Times before 1970 become 0; no machine with a network has them.
pub(crate) fn timestamp(now: SystemTime) -> Timestamp {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Returns whether the server will close the connection after this response.
fn is_closing(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("close"))
}
