//! What all downloads of one event loop share: idle connections, and those of HTTP/2.
//!
//! It must not connect, or send anything.

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

/// Most places of which it is remembered whether they speak HTTP/2.
const MAX_ENTRIES: usize = 4096;

/// What all downloads of one event loop share.
#[derive(Debug)]
pub struct Connections {
    pub(super) shared: Arc<Shared>,
    idle: Mutex<Vec<Idle>>,
    /// Most idle connections.
    capacity: usize,
    entries: Mutex<HashMap<Destination, Arc<Http2Entry>>>,
}

/// The way into a destination that may speak HTTP/2. The first to come connects; the others wait for what
/// that shows, and share its connection or make one each.
#[derive(Debug, Default)]
pub(super) struct Http2Entry {
    /// Held by whoever finds out.
    pub(super) turn: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

/// What is known of a destination.
#[derive(Clone, Debug, Default)]
enum Known {
    #[default]
    Nothing,
    /// Nothing is gained from waiting: it speaks HTTP/1.1, or there was no connection.
    Alone,
    Shared(Http2),
}

impl Http2Entry {
    /// The connection that is shared, if there is a good one.
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

    /// Whether to wait for one's turn.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(*lock(&self.known), Known::Nothing)
    }

    /// What a connection showed.
    pub(super) fn learn(&self, wire: Option<&Http2>) {
        *lock(&self.known) = wire.map_or(Known::Alone, |wire| Known::Shared(wire.clone()));
    }

    /// The connection that was shared is of no use.
    pub(super) fn forget(&self) {
        *lock(&self.known) = Known::Nothing;
    }
}

/// A connection that nobody uses at the moment.
#[derive(Debug)]
struct Idle {
    destination: Destination,
    wire: Http1,
    since: Instant,
}

/// What a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    https: bool,
    /// Host and port as URLs write them.
    authority: String,
    /// Whether the user's certificate may have been shown.
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

/// Host and port of `uri`, without credentials: what `Host` says (RFC 9110 section 7.2).
pub(in crate::engine) fn authority(uri: &Uri) -> &str {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, place)| place)
}

impl Connections {
    /// Connections for `downloads` at once.
    #[must_use]
    pub fn new(shared: Arc<Shared>, downloads: u16) -> Self {
        Self {
            shared,
            idle: Mutex::default(),
            capacity: usize::from(downloads).max(16),
            entries: Mutex::default(),
        }
    }

    /// Takes out the connection to `destination` that was used last; the others have been idle longer.
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

    /// Keeps `wire`; the one that was idle for longest has to go when there are too many.
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

    /// The entry of `destination`, if it may speak HTTP/2: only over TLS, where it says so.
    pub(super) fn entry(&self, destination: &Destination) -> Option<Arc<Http2Entry>> {
        if !destination.https {
            return None;
        }
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get(destination) {
            return Some(Arc::clone(entry));
        }
        if entries.len() >= MAX_ENTRIES {
            // Whoever uses a connection has his own end of it.
            entries.clear();
        }
        Some(Arc::clone(entries.entry(destination.clone()).or_default()))
    }
}

/// Nothing in here is left half done, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
