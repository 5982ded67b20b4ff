//! What all downloads of one event loop share: idle connections, and the TLS configuration.
//!
//! It must not connect, or send anything.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;
use rustls::{ALL_VERSIONS, ClientConfig};
use tokio_rustls::TlsConnector;

use super::dial::is_https;
use super::wire::Wire;
use crate::engine::Shared;
use crate::transfer::TransportError;

/// Longest time for which an idle connection is kept.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// What all downloads of one event loop share.
#[derive(Debug)]
pub struct Hub {
    pub(super) shared: Arc<Shared>,
    idle: Mutex<Vec<Idle>>,
    /// Most idle connections.
    capacity: usize,
    tls: OnceLock<Arc<ClientConfig>>,
}

/// A connection that nobody uses at the moment.
#[derive(Debug)]
struct Idle {
    place: Place,
    wire: Wire,
    since: Instant,
}

/// What a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    https: bool,
    /// Host and port as URLs write them.
    authority: String,
}

impl Place {
    pub(super) fn of(uri: &Uri) -> Self {
        Self {
            https: is_https(uri),
            authority: authority(uri).to_owned(),
        }
    }
}

/// Host and port of `uri`, without credentials: what `Host` says (RFC 9110 section 7.2).
pub(super) fn authority(uri: &Uri) -> &str {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, place)| place)
}

impl Hub {
    /// A hub for `downloads` at once.
    #[must_use]
    pub fn new(shared: Arc<Shared>, downloads: u16) -> Self {
        Self {
            shared,
            idle: Mutex::default(),
            capacity: usize::from(downloads).max(16),
            tls: OnceLock::new(),
        }
    }

    /// Takes out the connection to `place` that was used last; the others have been idle longer.
    pub(super) fn take(&self, place: &Place) -> Option<Wire> {
        let mut idle = self.idle();
        let found = idle.iter().rposition(|idle| idle.place == *place)?;
        let taken = idle.remove(found);
        if taken.since.elapsed() <= MAX_IDLE {
            return Some(taken.wire);
        }
        idle.retain(|idle| idle.place != *place);
        None
    }

    /// Keeps `wire`; the one that was idle for longest has to go when there are too many.
    pub(super) fn keep(&self, place: Place, wire: Wire) {
        let mut idle = self.idle();
        if idle.len() >= self.capacity {
            idle.remove(0);
        }
        idle.push(Idle {
            place,
            wire,
            since: Instant::now(),
        });
    }

    /// The TLS configuration, made with the first connection that needs it. It trusts what the
    /// blocking engine trusts, and remembers sessions.
    pub(super) fn tls(&self) -> Result<TlsConnector, TransportError> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config).into());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(ALL_VERSIONS)
            .map_err(|error| TransportError::Internal(error.to_string()))?
            .with_root_certificates(self.shared.roots.for_rustls())
            .with_no_client_auth();
        let config = self.tls.get_or_init(|| Arc::new(config));
        Ok(Arc::clone(config).into())
    }

    /// Nothing in here is left half done, so a panic elsewhere does not matter.
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
