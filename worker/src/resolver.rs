//! Names to addresses: one cache for all slots of a worker.
//!
//! In this order: the built-in origin if it stands in for everything, `--resolve`, literal
//! addresses, the cache, and the system's resolver. The last one runs on a thread of its own, so
//! that a name server that hangs cannot hang a slot beyond its `--connect-timeout`; lookups of one
//! name at the same time share one such thread.
//!
//! It must not connect, or know which engine asks.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use protocol::{HttpOptions, ResolveOverride, Simulated};

/// How long an answer is good, also the answer that there is no such host. The system's resolver
/// does not tell the records' own lifetimes.
const LIFETIME: Duration = Duration::from_secs(60);

/// How long a temporary failure is repeated without asking again.
const FAILURE_LIFETIME: Duration = Duration::from_secs(1);

/// Most names remembered.
const CAPACITY: usize = 4096;

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist, or has no address.
    #[error("no such host {host}: {cause}")]
    NoSuchHost {
        /// The name.
        host: String,
        /// The resolver's words.
        cause: String,
    },
    /// The answer did not come, or was no answer.
    #[error("cannot look up {host} now: {cause}")]
    Temporary {
        /// The name.
        host: String,
        /// The resolver's words.
        cause: String,
    },
}

type Answer = Result<Arc<[IpAddr]>, ResolveError>;
type Lookup = dyn Fn(&str) -> Result<Vec<IpAddr>, ResolveError> + Send + Sync;

/// The caching resolver.
pub struct Resolver {
    simulated: Option<Simulated>,
    overrides: Vec<ResolveOverride>,
    cache: Mutex<HashMap<String, Entry>>,
    lookup: Arc<Lookup>,
}

/// One name in the cache: asked for at some time, and perhaps answered.
#[derive(Clone)]
struct Entry {
    since: Instant,
    pending: Arc<Pending>,
}

#[derive(Default)]
struct Pending {
    answer: Mutex<Option<(Instant, Answer)>>,
    answered: Condvar,
}

impl Resolver {
    /// A resolver that asks the system.
    #[must_use]
    pub fn new(options: &HttpOptions) -> Self {
        Self::with_lookup(options, Arc::new(ask_system))
    }

    fn with_lookup(options: &HttpOptions, lookup: Arc<Lookup>) -> Self {
        Self {
            simulated: options.simulated,
            overrides: options.resolve.clone(),
            cache: Mutex::default(),
            lookup,
        }
    }

    /// The addresses to connect to for `host` and `port`, best first, never none. The host is as
    /// URLs write it: in lower case, IPv6 addresses in brackets.
    ///
    /// # Errors
    ///
    /// If there is none, or no answer within `patience`.
    pub fn resolve(
        &self,
        https: bool,
        host: &str,
        port: u16,
        patience: Duration,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Some(simulated) = self.simulated {
            return Ok(vec![if https {
                simulated.https
            } else {
                simulated.http
            }]);
        }
        let host = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let overridden: Vec<SocketAddr> = self
            .overrides
            .iter()
            .filter(|entry| entry.port == port && entry.host == host)
            .map(|entry| SocketAddr::new(entry.addr, port))
            .collect();
        if !overridden.is_empty() {
            return Ok(overridden);
        }
        if let Ok(literal) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(literal, port)]);
        }
        let addresses = self.look_up(host, Instant::now(), patience)?;
        Ok(addresses
            .iter()
            .map(|addr| SocketAddr::new(*addr, port))
            .collect())
    }

    fn look_up(&self, name: &str, now: Instant, patience: Duration) -> Answer {
        let (pending, ours) = self.entry(name, now);
        if ours {
            let (asked, lookup) = (Arc::clone(&pending), Arc::clone(&self.lookup));
            let host = name.to_owned();
            let spawned = thread::Builder::new()
                .name("resolve".to_owned())
                .spawn(move || {
                    let answer = lookup(&host).and_then(|addresses| some(&host, addresses));
                    asked.settle(answer);
                });
            if let Err(error) = spawned {
                pending.settle(Err(temporary(name, error)));
            }
        }
        pending.wait(name, patience)
    }

    /// The entry of `name` that is good at `now`, and whether the caller is the one to fill it.
    fn entry(&self, name: &str, now: Instant) -> (Arc<Pending>, bool) {
        let mut cache = lock(&self.cache);
        if let Some(entry) = cache.get(name)
            && entry.is_good(now)
        {
            return (Arc::clone(&entry.pending), false);
        }
        if cache.len() >= CAPACITY {
            cache.retain(|_, entry| entry.is_good(now));
        }
        if cache.len() >= CAPACITY {
            // A run over that many names gains little from remembering them.
            cache.clear();
        }
        let entry = Entry {
            since: now,
            pending: Arc::default(),
        };
        let pending = Arc::clone(&entry.pending);
        cache.insert(name.to_owned(), entry);
        (pending, true)
    }
}

impl Entry {
    fn is_good(&self, now: Instant) -> bool {
        let (since, lifetime) = match &*lock(&self.pending.answer) {
            Some((at, Err(ResolveError::Temporary { .. }))) => (*at, FAILURE_LIFETIME),
            Some((at, Ok(_) | Err(ResolveError::NoSuchHost { .. }))) => (*at, LIFETIME),
            // Still asking. The system gives up well before this.
            None => (self.since, LIFETIME),
        };
        now.saturating_duration_since(since) < lifetime
    }
}

impl Pending {
    fn settle(&self, answer: Answer) {
        *lock(&self.answer) = Some((Instant::now(), answer));
        self.answered.notify_all();
    }

    fn wait(&self, name: &str, patience: Duration) -> Answer {
        let (answer, _) = self
            .answered
            .wait_timeout_while(lock(&self.answer), patience, |answer| answer.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        match &*answer {
            Some((_, answer)) => answer.clone(),
            None => Err(temporary(name, format!("no answer within {patience:?}"))),
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// Nothing in here leaves half-done work behind a lock, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn temporary(host: &str, cause: impl ToString) -> ResolveError {
    ResolveError::Temporary {
        host: host.to_owned(),
        cause: cause.to_string(),
    }
}

fn some(host: &str, addresses: Vec<IpAddr>) -> Answer {
    if addresses.is_empty() {
        return Err(ResolveError::NoSuchHost {
            host: host.to_owned(),
            cause: "it has no address".to_owned(),
        });
    }
    Ok(addresses.into())
}

fn ask_system(host: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let hints = AddrInfoHints {
        socktype: SockType::Stream.into(),
        ..AddrInfoHints::default()
    };
    match getaddrinfo(Some(host), None, Some(hints)) {
        Ok(found) => Ok(found
            .filter_map(Result::ok)
            .map(|info| info.sockaddr.ip())
            .collect()),
        Err(error) => Err(match error.kind() {
            LookupErrorKind::NoName | LookupErrorKind::NoData => ResolveError::NoSuchHost {
                host: host.to_owned(),
                cause: error.to_string(),
            },
            LookupErrorKind::Again
            | LookupErrorKind::Badflags
            | LookupErrorKind::Fail
            | LookupErrorKind::Family
            | LookupErrorKind::Socktype
            | LookupErrorKind::Service
            | LookupErrorKind::Memory
            | LookupErrorKind::System
            | LookupErrorKind::Unknown
            | LookupErrorKind::IO => temporary(host, error),
        }),
    }
}

#[cfg(test)]
mod tests;
