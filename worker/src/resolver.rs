//! Name resolution: one cache for all slots of a worker.
//!
//! Sources, in this order: the built-in origin if it replaces all hosts, `--resolve`, literal
//! addresses, localhost, the cache, and the system's resolver. The system's resolver runs on a
//! separate thread, so that a name server that does not answer cannot block a slot beyond its
//! `--connect-timeout`. Simultaneous lookups of one name share one thread.
//!
//! Must not connect, or know which engine is asking.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use dns_lookup::{AddrFamily, AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use protocol::{Family, HttpOptions, ResolveOverride, Simulated};

use crate::reserved::is_public;
use crate::route::bare;

/// How long an answer is valid, including the answer that there is no such host. The system's
/// resolver does not report the lifetimes of the records.
const LIFETIME: Duration = Duration::from_secs(60);

/// How long a temporary failure is returned again without a new lookup.
const FAILURE_LIFETIME: Duration = Duration::from_secs(1);

/// Largest number of names in the cache.
const CAPACITY: usize = 4096;

/// Reason why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist, or has no address.
    #[error("no such host {host}: {cause}")]
    NoSuchHost {
        host: String,
        /// The resolver's message.
        cause: String,
    },
    /// The host has addresses, and a connection to each of them is forbidden.
    #[error("{host} is at {addr}, which is not on the public internet (--block-private)")]
    Blocked {
        host: String,
        /// The first of its addresses.
        addr: IpAddr,
    },
    /// The host has addresses, but only of the family that `--ipv4` or `--ipv6` excludes.
    #[error("{host} has only {} addresses, such as {addr}; run without {}", family(*.addr), exclusion(*.addr))]
    OtherFamily {
        host: String,
        /// One of its addresses.
        addr: IpAddr,
    },
    /// No answer came, or an unusable one.
    #[error("cannot look up {host} now: {cause}")]
    Temporary {
        host: String,
        /// The resolver's message.
        cause: String,
    },
}

type Answer = Result<Arc<[IpAddr]>, ResolveError>;
type Lookup = dyn Fn(&str, Option<Family>) -> Result<Vec<IpAddr>, ResolveError> + Send + Sync;

/// A resolver with a cache.
pub struct Resolver {
    simulated: Option<Simulated>,
    overrides: Vec<ResolveOverride>,
    block_private: bool,
    /// The only address family to use; none to use both.
    family: Option<Family>,
    cache: Mutex<HashMap<String, Entry>>,
    lookup: Arc<Lookup>,
}

/// One name in the cache, with or without an answer.
#[derive(Clone)]
struct Entry {
    since: Instant,
    pending: Arc<Pending>,
}

/// A lookup that threads and async tasks wait for.
#[derive(Default)]
struct Pending {
    answer: Mutex<Option<(Instant, Answer)>>,
    answered: Condvar,
    tasks: Mutex<Vec<Waker>>,
}

/// What the resolver knows about a host without waiting.
pub(crate) enum Found {
    /// The addresses, or why there are none.
    Known(Result<Vec<SocketAddr>, ResolveError>),
    /// A lookup by the system that is in progress.
    Asked(Question),
}

/// Purpose of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The server of a URL.
    Origin {
        /// Whether over TLS.
        https: bool,
    },
    /// A proxy that the user chose. It may have any address.
    Proxy,
}

/// A lookup by the system's resolver, possibly answered by now.
pub(crate) struct Question {
    name: String,
    port: u16,
    /// Whether only addresses on the public internet are allowed.
    guarded: bool,
    pending: Arc<Pending>,
}

impl Question {
    /// Returns the answer if there is one; otherwise `context` is woken when it comes.
    pub(crate) fn poll(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Vec<SocketAddr>, ResolveError>> {
        let answer = lock(&self.pending.answer);
        if let Some((_, answer)) = &*answer {
            return Poll::Ready(self.addrs(answer));
        }
        // The answer is still locked, so it arrives after this and wakes every task in this list.
        let mut tasks = lock(&self.pending.tasks);
        if !tasks.iter().any(|task| task.will_wake(context.waker())) {
            tasks.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Returns the error for an answer that did not come within `patience`.
    pub(crate) fn unanswered(&self, patience: Duration) -> ResolveError {
        temporary(&self.name, format!("no answer within {patience:?}"))
    }

    /// Waits for the answer; the blocking form of [`poll`](Self::poll).
    pub(crate) fn wait(&self, patience: Duration) -> Result<Vec<SocketAddr>, ResolveError> {
        let pending = &self.pending;
        let (answer, _) = pending
            .answered
            .wait_timeout_while(lock(&pending.answer), patience, |answer| answer.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        match &*answer {
            Some((_, answer)) => self.addrs(answer),
            None => Err(self.unanswered(patience)),
        }
    }

    fn addrs(&self, answer: &Answer) -> Result<Vec<SocketAddr>, ResolveError> {
        let addresses = answer.as_ref().map_err(Clone::clone)?;
        let port = self.port;
        let addrs = addresses.iter().map(|addr| SocketAddr::new(*addr, port));
        admit(&self.name, addrs.collect(), self.guarded)
    }
}

impl Resolver {
    /// Creates a resolver that asks the system.
    #[must_use]
    pub fn new(options: &HttpOptions) -> Self {
        Self::with_lookup(options, Arc::new(ask_system))
    }

    fn with_lookup(options: &HttpOptions, lookup: Arc<Lookup>) -> Self {
        Self {
            simulated: options.simulated,
            overrides: options.resolve.clone(),
            block_private: options.block_private,
            family: options.family,
            cache: Mutex::default(),
            lookup,
        }
    }

    /// Returns the addresses to connect to for `host` and `port`, best first, never an empty list.
    /// The host is as written in URLs: in lower case, IPv6 addresses in brackets. `--block-private`
    /// applies to origins, not to proxies.
    pub(crate) fn find(&self, purpose: Purpose, host: &str, port: u16) -> Found {
        let guarded = match (purpose, self.simulated) {
            (Purpose::Origin { https: true }, Some(simulated)) => {
                return Found::Known(Ok(vec![simulated.https]));
            }
            (Purpose::Origin { https: false }, Some(simulated)) => {
                return Found::Known(Ok(vec![simulated.http]));
            }
            (Purpose::Origin { .. }, None) => self.block_private,
            (Purpose::Proxy, _) => false,
        };
        let host = bare(host);
        let overridden: Vec<SocketAddr> = self
            .overrides
            .iter()
            .filter(|entry| entry.port == port && entry.host == host)
            .map(|entry| SocketAddr::new(entry.addr, port))
            .collect();
        if !overridden.is_empty() {
            return Found::Known(admit(host, overridden, guarded));
        }
        if let Ok(literal) = host.parse::<IpAddr>() {
            let addr = SocketAddr::new(literal, port);
            return Found::Known(admit(host, vec![addr], guarded));
        }
        if is_localhost(host) {
            // RFC 6761 section 6.3, whatever the system's resolver would return.
            let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
            let loopback = [v6, Ipv4Addr::LOCALHOST.into()].into_iter();
            let addrs = loopback
                .filter(|addr| match self.family {
                    Some(Family::V4) => addr.is_ipv4(),
                    Some(Family::V6) => addr.is_ipv6(),
                    None => true,
                })
                .map(|addr| SocketAddr::new(addr, port));
            return Found::Known(admit(host, addrs.collect(), guarded));
        }
        Found::Asked(self.look_up(host, port, guarded, Instant::now()))
    }

    fn look_up(&self, name: &str, port: u16, guarded: bool, now: Instant) -> Question {
        let (pending, ours) = self.entry(name, now);
        if ours {
            let (asked, lookup) = (Arc::clone(&pending), Arc::clone(&self.lookup));
            let (host, family) = (name.to_owned(), self.family);
            let spawned = thread::Builder::new()
                .name("resolve".to_owned())
                .spawn(move || {
                    asked.settle(ask(&*lookup, &host, family));
                });
            if let Err(error) = spawned {
                pending.settle(Err(temporary(name, error)));
            }
        }
        Question {
            name: name.to_owned(),
            port,
            guarded,
            pending,
        }
    }

    /// Returns the entry of `name` that is valid at `now`, and whether the caller must fill it.
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
            // A run over that many names gains little from a cache.
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
            Some((
                at,
                Ok(_)
                | Err(
                    ResolveError::NoSuchHost { .. }
                    | ResolveError::Blocked { .. }
                    | ResolveError::OtherFamily { .. },
                ),
            )) => (*at, LIFETIME),
            // The lookup still runs. The system's resolver times out long before this.
            None => (self.since, LIFETIME),
        };
        now.saturating_duration_since(since) < lifetime
    }
}

impl Pending {
    fn settle(&self, answer: Answer) {
        *lock(&self.answer) = Some((Instant::now(), answer));
        self.answered.notify_all();
        for task in std::mem::take(&mut *lock(&self.tasks)) {
            task.wake();
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// Locks `mutex`. No update here is ever left incomplete, so a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn temporary(host: &str, cause: impl ToString) -> ResolveError {
    ResolveError::Temporary {
        host: host.to_owned(),
        cause: cause.to_string(),
    }
}

/// Returns the addresses of a host to which connections are allowed.
fn admit(
    host: &str,
    addrs: Vec<SocketAddr>,
    guarded: bool,
) -> Result<Vec<SocketAddr>, ResolveError> {
    if !guarded {
        return Ok(addrs);
    }
    let first = addrs.first().map(SocketAddr::ip);
    let public: Vec<_> = addrs
        .into_iter()
        .filter(|addr| is_public(addr.ip()))
        .collect();
    match first {
        Some(addr) if public.is_empty() => Err(ResolveError::Blocked {
            host: host.to_owned(),
            addr,
        }),
        Some(_) | None => Ok(public),
    }
}

/// Looks up the addresses of `host` that belong to `family`, if one is given.
fn ask(lookup: &Lookup, host: &str, family: Option<Family>) -> Answer {
    let answer = lookup(host, family).and_then(|addresses| some(host, addresses));
    let (Err(ResolveError::NoSuchHost { .. }), Some(family)) = (&answer, family) else {
        return answer;
    };
    // getaddrinfo(3) reports a name without an address of this family like an unknown name.
    let other = match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    };
    match lookup(host, Some(other))
        .ok()
        .and_then(|found| found.first().copied())
    {
        Some(addr) => Err(ResolveError::OtherFamily {
            host: host.to_owned(),
            addr,
        }),
        None => answer,
    }
}

/// Returns the name of the family of `addr`.
const fn family(addr: IpAddr) -> &'static str {
    match addr {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

/// Returns the option that excludes `addr`.
const fn exclusion(addr: IpAddr) -> &'static str {
    match addr {
        IpAddr::V4(_) => "--ipv6",
        IpAddr::V6(_) => "--ipv4",
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

/// Returns whether `host`, in lower case, is a name of this machine.
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host == "localhost" || host.ends_with(".localhost")
}

fn ask_system(host: &str, family: Option<Family>) -> Result<Vec<IpAddr>, ResolveError> {
    let hints = AddrInfoHints {
        socktype: SockType::Stream.into(),
        address: match family {
            Some(Family::V4) => AddrFamily::Inet.into(),
            Some(Family::V6) => AddrFamily::Inet6.into(),
            None => 0,
        },
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
