//! How the blocking engine connects: name, TCP and TLS under one time limit, each measured.
//!
//! ureq asks its resolver before every request, also when it then takes a pooled connection. So
//! ureq is given a resolver that does nothing, and names are resolved in here, where a new
//! connection is really made. One limit then covers all three steps, and each failure is known
//! for what it is.
//!
//! It must not send requests.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "ureq's enum of errors is open, and may grow with any release"
)]

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::SpanPhase;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector, Transport,
    time,
};

use super::error;
use crate::engine::Shared;
use crate::spans::Recorder;
use crate::transfer::TransportError;

/// What happened below one request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Observed {
    /// Time spent on the name.
    pub(super) resolve: Duration,
    /// Time spent on the TCP connection.
    pub(super) connect: Duration,
    /// Time spent on the TLS handshake.
    pub(super) tls: Duration,
    /// The request went out on a new connection, not on a pooled one.
    pub(super) connected: bool,
    /// Something of a response came.
    pub(super) answered: bool,
}

impl Observed {
    /// Time until there was a connection.
    pub(super) fn connecting(&self) -> Duration {
        self.resolve + self.connect + self.tls
    }
}

/// Where connector and transports note what they see; the engine that owns them reads it. One
/// thread uses it at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Observer(Arc<Mutex<Observed>>);

impl Observer {
    /// What was observed since the last call.
    pub(super) fn take(&self) -> Observed {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Observed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error of ours on its way through ureq.
#[derive(Debug)]
pub(super) struct Carried(pub(super) TransportError);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Carried {}

fn carry(error: TransportError) -> Error {
    Error::Other(Box::new(Carried(error)))
}

/// Resolves nothing: the connector does.
#[derive(Debug)]
pub(super) struct Deferred;

impl Resolver for Deferred {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
}

type Tcp = <TcpConnector as Connector<()>>::Out;
type Tls = <RustlsConnector as Connector<Tcp>>::Out;

/// Name, TCP, TLS.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) shared: Arc<Shared>,
    pub(super) observer: Observer,
    pub(super) spans: Recorder,
}

impl Connector<()> for Dial {
    type Out = Watched;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Watched>, Error> {
        self.observer.lock().connected = true;
        self.spans.enter(SpanPhase::Resolve);
        let started = Instant::now();

        let addrs = self.resolve(details)?;
        let resolved = Instant::now();
        self.observer.lock().resolve = resolved - started;

        let stage = self.stage(details, addrs.clone(), started)?;
        self.spans.enter(SpanPhase::Connect);
        let tcp = TcpConnector::default()
            .connect(&stage, None)
            .map_err(|error| match error {
                Error::Io(cause) => carry(TransportError::Connect(cause.to_string())),
                // ureq blames its connect timeout also when the attempt as a whole is out of time.
                Error::Timeout(_) => Error::Timeout(stage.timeout.reason),
                error => error,
            });
        let connected = Instant::now();
        self.observer.lock().connect = connected - resolved;

        let tcp = tcp?;
        let stage = self.stage(details, addrs, started)?;
        let needs_tls = details.needs_tls();
        if needs_tls {
            self.spans.enter(SpanPhase::Tls);
        }
        let tls = self
            .shared
            .tls
            .connect(&stage, tcp)
            .map_err(|error| carry(error::of_handshake(error)));
        if needs_tls {
            self.observer.lock().tls = connected.elapsed();
        }
        self.spans.enter(SpanPhase::FirstByte);
        Ok(tls?.map(|inner| Watched {
            inner,
            observer: self.observer.clone(),
            idle: false,
        }))
    }
}

impl Dial {
    fn resolve(&self, details: &ConnectionDetails<'_>) -> Result<ResolvedSocketAddrs, Error> {
        let uri = details.uri;
        let https = details.needs_tls();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let host = uri.host().unwrap_or_default();
        let patience = match details.timeout.after {
            time::Duration::Exact(left) => left,
            time::Duration::NotHappening => self.shared.options.connect_timeout,
        };
        let found = self
            .shared
            .resolver
            .resolve(https, host, port, patience)
            .map_err(|error| carry(TransportError::Resolve(error)))?;
        let mut addrs = Deferred.empty();
        for addr in found {
            // A name with more addresses than fit is reached by the first ones or not at all.
            if addrs.try_push(addr).is_err() {
                break;
            }
        }
        Ok(addrs)
    }

    /// `details` for the next step of a connection begun at `started`: with the addresses, and what
    /// is left of the limit, which counts for the connection as a whole and not for each read.
    fn stage<'a>(
        &self,
        details: &ConnectionDetails<'a>,
        addrs: ResolvedSocketAddrs,
        started: Instant,
    ) -> Result<ConnectionDetails<'a>, Error> {
        let now = Instant::now();
        let mut timeout = details.timeout;
        timeout.per_read = None;
        timeout.per_write = None;
        if let time::Duration::Exact(limit) = timeout.after {
            let left = limit.saturating_sub(now - started);
            if left.is_zero() {
                return Err(Error::Timeout(timeout.reason));
            }
            timeout.after = time::Duration::Exact(left);
        }
        Ok(ConnectionDetails {
            uri: details.uri,
            addrs,
            config: details.config,
            // The TLS configuration is the same for every request, and is kept only on this level.
            request_level: false,
            resolver: details.resolver,
            now: time::Instant::Exact(now),
            timeout,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::clone(&details.run_connector),
            register_shutdown: Arc::clone(&details.register_shutdown),
        })
    }
}

/// A connection that notes what it sees.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Tls,
    observer: Observer,
    /// Back in the pool, not yet taken out again.
    idle: bool,
}

impl Transport for Watched {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let more = self.inner.await_input(timeout).map_err(unmistakable)?;
        if more {
            self.observer.lock().answered = true;
        }
        Ok(more)
    }

    /// ureq asks twice: when it puts a connection into the pool and when it takes it out. The
    /// second answer decides; the first costs three system calls per download and is left out.
    fn is_open(&mut self) -> bool {
        self.idle = !self.idle;
        self.idle || self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// A reset, or TLS without its closing message, is not the end of a body. ureq takes these kinds of
/// error for one when a body lasts until the connection closes; so they get another kind (RFC 9112
/// section 8: such a body is incomplete).
fn unmistakable(error: Error) -> Error {
    match error {
        Error::Io(cause)
            if matches!(
                cause.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset
            ) =>
        {
            carry(TransportError::Disconnected(cause.to_string()))
        }
        error => error,
    }
}
