//! Connecting in the blocking engine: name, TCP and TLS under one time limit, each measured.
//!
//! ureq calls its resolver before every request, even if it then uses a pooled connection. So ureq
//! gets a resolver that does nothing, and this module resolves names when it opens a connection.
//! One limit then covers all three steps, and the cause of each failure is known.
//!
//! Must not send requests.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "ureq's enum of errors is open, and may grow with any release"
)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::{ProxyScheme, SpanPhase};
use rustls::{ClientConfig, ClientConnection};
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport, time,
};

use super::error::of_timeout;
use super::stream::{Line, Socket, Stream};
use crate::engine::Shared;
use crate::engine::connect::{Limit, Plan};
use crate::engine::error::{Carried, of_io};
use crate::engine::tls::{Audience, Offer, server_name};
use crate::resolver::Found;
use crate::route::Route;
use crate::spans::Recorder;
use crate::throttle::Throttle;
use crate::transfer::TransportError;
use crate::transfer::scan::Scanner;
use crate::tunnel::{Tunnel, Want};

/// Observations about one request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Observed {
    /// Time to resolve the name.
    pub(super) resolve: Duration,
    /// Time to establish the TCP connection.
    pub(super) connect: Duration,
    /// Time of the TLS handshake.
    pub(super) tls: Duration,
    /// Whether the request was sent on a new connection, not on a pooled one.
    pub(super) connected: bool,
    /// Whether any bytes of a response came.
    pub(super) answered: bool,
}

impl Observed {
    /// Returns the total time to connect.
    pub(super) fn connecting(&self) -> Duration {
        self.resolve + self.connect + self.tls
    }
}

/// Collects the observations of connector and transports for the engine that owns them. Only one
/// thread uses it at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Observer(Arc<Mutex<Observed>>);

impl Observer {
    /// Returns the observations since the last call.
    pub(super) fn take(&self) -> Observed {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Observed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wraps a transport error so that ureq cannot take it, like some stream errors, for the end of a
/// body.
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

/// Connector for name, TCP, proxy and TLS.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) shared: Arc<Shared>,
    pub(super) observer: Observer,
    pub(super) spans: Recorder,
    pub(super) audience: Audience,
    /// Handle that can cut off its connections.
    pub(super) line: Option<Line>,
}

impl Connector<()> for Dial {
    type Out = Watched;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Watched>, Error> {
        self.observer.lock().connected = true;
        let stream = self.dial(details).map_err(carry);
        self.spans.enter(SpanPhase::FirstByte);
        let config = details.config;
        Ok(Some(Watched {
            stream: stream?,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            scanner: Scanner::new(),
            origin_form: self.absolute(details.uri),
            sending: false,
            ended: false,
            read_size: self.shared.throttle.as_ref().map(Throttle::read_size),
            observer: self.observer.clone(),
            idle: false,
        }))
    }
}

impl Dial {
    fn dial(&self, details: &ConnectionDetails<'_>) -> Result<Stream, TransportError> {
        let limit = limit(details.timeout, &self.shared);
        let plan = Plan::of(&self.shared, details.uri);
        self.spans.enter(SpanPhase::Resolve);
        let started = Instant::now();
        let found = plan.find().and_then(|found| wait(found, &limit));
        let target = match &found {
            Ok(_) if plan.resolves_for_proxy() => wait(plan.find_host(), &limit),
            Ok(_) | Err(_) => Ok(Vec::new()),
        };
        let resolved = Instant::now();
        self.observer.lock().resolve = resolved - started;

        let addrs = found.map_err(|error| plan.explain(error))?;
        let target = target?;
        self.spans.enter(SpanPhase::Connect);
        let line = self.line.as_ref().inspect(|line| line.let_go());
        let stream = Socket::connect(&addrs, &limit, &self.shared.late, line)
            .map_err(|error| plan.explain(error))
            .and_then(|socket| {
                let destination = plan.destination(target.first().copied());
                self.through_proxy(&plan, Stream::Plain(socket), destination)
            });
        let connected = Instant::now();
        self.observer.lock().connect = connected - resolved;

        if !plan.https {
            return stream;
        }
        let stream = stream?;
        self.spans.enter(SpanPhase::Tls);
        let Shared { tls, logins, .. } = &*self.shared;
        let secured = tls
            .config_of(plan.host, logins, Offer::Http1, self.audience)
            .and_then(|config| secure(stream, plan.host, config));
        self.observer.lock().tls = connected.elapsed();
        secured
    }

    /// Asks the proxy, if there is one, to connect to the destination.
    fn through_proxy(
        &self,
        plan: &Plan<'_>,
        mut stream: Stream,
        destination: crate::tunnel::Destination,
    ) -> Result<Stream, TransportError> {
        let Some(proxy) = plan.proxy() else {
            return Ok(stream);
        };
        if proxy.scheme == ProxyScheme::Https {
            let config = self.shared.tls.config(Offer::Http1, Audience::Others)?;
            stream = secure(stream, &proxy.host, config)?;
        }
        if let Route::Tunnel(proxy) = plan.route {
            let mut tunnel = Tunnel::new(proxy, destination);
            converse(&mut tunnel, &mut stream)?;
        }
        Ok(stream)
    }

    /// Returns what precedes the path in a request to a proxy; ureq itself writes only the path.
    fn absolute(&self, uri: &Uri) -> Option<String> {
        match Plan::of(&self.shared, uri).route {
            Route::Forward(_) => {
                let authority = crate::engine::event::authority(uri);
                Some(format!("http://{authority}"))
            }
            Route::Direct | Route::Tunnel(_) => None,
        }
    }
}

fn secure(stream: Stream, host: &str, config: Arc<ClientConfig>) -> Result<Stream, TransportError> {
    let connection = ClientConnection::new(config, server_name(host)?)
        .map_err(|error| TransportError::Tls(error.to_string()))?;
    stream.with_tls(connection)
}

/// Exchanges messages with a proxy until the connection is established.
fn converse(tunnel: &mut Tunnel<'_>, stream: &mut Stream) -> Result<(), TransportError> {
    use std::io::{Read, Write};
    let mut buffer = [0; 1024];
    loop {
        match tunnel.next()? {
            Want::Write(data) => stream
                .write_all(&data)
                .and_then(|()| stream.flush())
                .map_err(|error| of_io(&error))?,
            Want::Read(most) => {
                let most = most.min(buffer.len());
                let read = stream
                    .read(&mut buffer[..most])
                    .map_err(|error| of_io(&error))?;
                tunnel.feed(&buffer[..read])?;
            }
            Want::Done => return Ok(()),
        }
    }
}

fn wait(found: Found, limit: &Limit) -> Result<Vec<std::net::SocketAddr>, TransportError> {
    let answer = match found {
        Found::Known(answer) => answer,
        Found::Asked(question) => question.wait(limit.left(Instant::now())?),
    };
    answer.map_err(TransportError::Resolve)
}

/// Returns one limit for all steps of the connection together.
fn limit(timeout: NextTimeout, shared: &Shared) -> Limit {
    let after = match timeout.after {
        time::Duration::Exact(left) => left,
        time::Duration::NotHappening => shared.options.connect_timeout,
    };
    Limit {
        at: Instant::now() + after.min(super::LONGEST),
        over: of_timeout(timeout.reason),
    }
}

/// A connection that checks responses before ureq reads them, and notes its observations.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Stream,
    buffers: LazyBuffers,
    scanner: Scanner,
    /// Text before the path in a request line.
    origin_form: Option<String>,
    /// Whether the last operation was a write.
    sending: bool,
    /// Whether the server has closed its side.
    ended: bool,
    /// Largest number of bytes to read at once, if limited.
    read_size: Option<usize>,
    observer: Observer,
    /// Whether it is in the pool.
    idle: bool,
}

impl Watched {
    fn limit(&mut self, timeout: NextTimeout, stall: Option<time::Duration>) {
        let exact = |duration| match duration {
            time::Duration::Exact(duration) => Some(duration),
            time::Duration::NotHappening => None,
        };
        let limit = exact(timeout.after).map(|left| Limit {
            at: Instant::now() + left.min(super::LONGEST),
            over: of_timeout(timeout.reason),
        });
        self.stream.limit(limit, stall.and_then(exact));
    }

    fn send(&mut self, amount: usize) -> std::io::Result<()> {
        use std::io::Write;
        let data = &self.buffers.output()[..amount];
        match (&self.origin_form, data.strip_prefix(b"GET ")) {
            (Some(origin), Some(rest)) if !self.sending => {
                let line = [b"GET ", origin.as_bytes(), rest].concat();
                self.stream.write_all(&line)?;
            }
            (_, _) => self.stream.write_all(data)?,
        }
        self.stream.flush()
    }

    fn receive(&mut self) -> Result<bool, TransportError> {
        use std::io::Read;
        loop {
            self.scanner.verdict()?;
            if self.ended {
                self.scanner.end()?;
                return Ok(false);
            }
            let buffer = self.buffers.input_append_buf();
            let most = self.scanner.most(buffer.len());
            let most = most.min(self.read_size.unwrap_or(usize::MAX));
            let read = self.stream.read(&mut buffer[..most]);
            let read = read.map_err(|error| of_io(&error))?;
            self.ended = read == 0;
            if read > 0 {
                self.observer.lock().answered = true;
            }
            let kept = self.scanner.feed(&mut buffer[..read]).put(buffer)?;
            self.buffers.input_appended(kept);
            if kept > 0 {
                return Ok(true);
            }
        }
    }
}

impl Transport for Watched {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.limit(timeout, timeout.per_write);
        if !self.sending {
            self.scanner.begin();
        }
        self.send(amount).map_err(|error| carry(of_io(&error)))?;
        self.sending = true;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.sending = false;
        self.limit(timeout, timeout.per_read);
        self.receive().map_err(carry)
    }

    /// ureq asks twice: when it puts a connection into the pool and when it takes it out. Only the
    /// second answer matters; the first would cost three system calls per download and is skipped.
    fn is_open(&mut self) -> bool {
        self.idle = !self.idle;
        let whole = self.scanner.is_idle() && !self.ended;
        whole && (self.idle || self.stream.is_silent())
    }

    fn is_tls(&self) -> bool {
        self.stream.is_tls()
    }
}
