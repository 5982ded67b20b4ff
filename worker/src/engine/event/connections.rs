//! Connections that all downloads of an event loop share: idle ones, and those of HTTP/2.
//!
//! Must not connect or send.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;

use super::http1::Http1;
use super::http2::Http2;
use crate::engine::Shared;
use crate::engine::connect::is_https;
use crate::engine::tls::Audience;

/// Longest time for which an idle connection is kept.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// Largest number of destinations whose HTTP/2 support is remembered.
const MAX_ENTRIES: usize = 4096;

/// Connections that all downloads of an event loop share.
#[derive(Debug)]
pub struct Connections {
    pub(super) shared: Arc<Shared>,
    idle: Mutex<Vec<Idle>>,
    /// Largest number of idle connections.
    capacity: usize,
    entries: Mutex<HashMap<Destination, Arc<Http2Entry>>>,
}

/// What is known of a destination that may speak HTTP/2. The first download connects. The others
/// wait for the result, and share its connection or open their own.
#[derive(Debug, Default)]
pub(super) struct Http2Entry {
    /// Held by the download that finds out.
    pub(super) turn: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

/// HTTP/2 support of a destination.
#[derive(Clone, Debug, Default)]
enum Known {
    #[default]
    Nothing,
    /// Waiting is useless: the server speaks HTTP/1.1, or there was no connection.
    Alone,
    Shared(Http2),
}

impl Http2Entry {
    /// Returns the shared connection, if it is usable.
    pub(super) fn shared(&self) -> Option<Http2> {
        let mut known = lock(&self.known);
        match &*known {
            Known::Shared(wire) if wire.is_usable() => Some(wire.clone()),
            Known::Shared(_) => {
                *known = Known::Nothing;
                None
            }
            Known::Nothing | Known::Alone => None,
        }
    }

    /// Returns whether a download has to wait for its turn.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(*lock(&self.known), Known::Nothing)
    }

    /// Records the result of a connection.
    pub(super) fn learn(&self, wire: Option<&Http2>) {
        *lock(&self.known) = wire.map_or(Known::Alone, |wire| Known::Shared(wire.clone()));
    }

    /// Removes the shared connection, which is unusable.
    pub(super) fn forget(&self) {
        *lock(&self.known) = Known::Nothing;
    }
}

/// A connection that is not in use.
#[derive(Debug)]
struct Idle {
    destination: Destination,
    wire: Http1,
    since: Instant,
}

/// Destination of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    https: bool,
    /// Host and port as written in URLs.
    authority: String,
    /// Whether the user's certificate may have been presented.
    identified: bool,
}

impl Destination {
    pub(super) fn of(uri: &Uri, audience: Audience) -> Self {
        Self {
            https: is_https(uri),
            authority: authority(uri).to_owned(),
            identified: audience == Audience::Meant,
        }
    }
}

/// Returns host and port of `uri` without credentials, as in `Host` (RFC 9110 section 7.2).
pub(in crate::engine) fn authority(uri: &Uri) -> &str {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, place)| place)
}

impl Connections {
    /// Creates a set of connections for `downloads` at once.
    #[must_use]
    pub fn new(shared: Arc<Shared>, downloads: u16) -> Self {
        Self {
            shared,
            idle: Mutex::default(),
            capacity: usize::from(downloads).max(16),
            entries: Mutex::default(),
        }
    }

    /// Takes the connection to `destination` that was used last; the others were idle for longer.
    pub(super) fn take(&self, destination: &Destination) -> Option<Http1> {
        let mut idle = lock(&self.idle);
        let found = idle
            .iter()
            .rposition(|idle| idle.destination == *destination)?;
        let taken = idle.remove(found);
        if taken.since.elapsed() <= MAX_IDLE {
            return Some(taken.wire);
        }
        idle.retain(|idle| idle.destination != *destination);
        None
    }

    /// Keeps `wire`. If there are too many, the connection that was idle for longest is closed.
    pub(super) fn keep(&self, destination: Destination, wire: Http1) {
        let mut idle = lock(&self.idle);
        if idle.len() >= self.capacity {
            idle.remove(0);
        }
        idle.push(Idle {
            destination,
            wire,
            since: Instant::now(),
        });
    }

    /// Returns the entry of `destination` if it may speak HTTP/2, which requires TLS.
    pub(super) fn entry(&self, destination: &Destination) -> Option<Arc<Http2Entry>> {
        if !destination.https {
            return None;
        }
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get(destination) {
            return Some(Arc::clone(entry));
        }
        if entries.len() >= MAX_ENTRIES {
            // Downloads in progress keep their own handles to their connections.
            entries.clear();
        }
        Some(Arc::clone(entries.entry(destination.clone()).or_default()))
    }
}

/// Locks `mutex`. No update here is left incomplete, so a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
