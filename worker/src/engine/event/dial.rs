//! Connecting in the event engine: name, TCP and TLS under one time limit, each measured.
//!
//! The rules are those of the blocking engine and of ureq below it, so that both fail alike.
//!
//! Must not send requests.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::Uri;
use protocol::{ProxyScheme, SpanPhase, Timing};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;

use super::Connections;
use super::alarm::after;
use super::stream::Stream;
use crate::engine::Shared;
use crate::engine::connect::{Limit, Plan};
use crate::engine::error::of_io;
use crate::engine::race::{Late, Race};
use crate::engine::tls::{Audience, Offer, server_name};
use crate::resolver::Found;
use crate::route::Route;
use crate::spans::Recorder;
use crate::transfer::TransportError;
use crate::tunnel::{Destination, Tunnel, Want};

/// Connects to the server of `uri`. `max` is the end of the whole attempt.
pub(super) async fn dial(
    connections: &Connections,
    (uri, audience): (&Uri, Audience),
    max: Option<Instant>,
    timing: &mut Timing,
    spans: &Recorder,
) -> Result<Stream, TransportError> {
    let started = Instant::now();
    let limit = limit(connections, started, max);
    let plan = Plan::of(&connections.shared, uri);

    spans.enter(SpanPhase::Resolve);
    let found = match plan.find() {
        Ok(found) => wait(found, &limit, started).await,
        Err(error) => Err(error),
    };
    let target = match &found {
        Ok(_) if plan.resolves_for_proxy() => wait(plan.find_host(), &limit, started).await,
        Ok(_) | Err(_) => Ok(Vec::new()),
    };
    let resolved = Instant::now();
    timing.resolve += resolved - started;

    let addrs = found.map_err(|error| plan.explain(error))?;
    let target = target?;
    spans.enter(SpanPhase::Connect);
    let stream = match connect(&addrs, &limit, &connections.shared.late).await {
        Ok(tcp) => {
            let destination = plan.destination(target.first().copied());
            through_proxy(connections, &plan, Stream::Plain(tcp), destination, &limit).await
        }
        Err(error) => Err(plan.explain(error)),
    };
    let connected = Instant::now();
    timing.connect += connected - resolved;

    let stream = if plan.https {
        let stream = stream?;
        spans.enter(SpanPhase::Tls);
        let Shared { tls, logins, .. } = &*connections.shared;
        let secured = match tls.config_of(plan.host, logins, Offer::Http2, audience) {
            Ok(config) => secure(plan.host, stream, config, &limit).await,
            Err(error) => Err(error),
        };
        timing.tls += connected.elapsed();
        secured
    } else {
        stream
    };
    spans.enter(SpanPhase::FirstByte);
    stream
}

fn limit(connections: &Connections, started: Instant, max: Option<Instant>) -> Limit {
    let at = after(started, connections.shared.options.connect_timeout);
    match max {
        Some(max) if max < at => Limit {
            at: max,
            over: TransportError::Timeout,
        },
        Some(_) | None => Limit {
            at,
            over: TransportError::ConnectTimeout,
        },
    }
}

async fn wait(
    found: Found,
    limit: &Limit,
    started: Instant,
) -> Result<Vec<SocketAddr>, TransportError> {
    let answer = match found {
        Found::Known(answer) => answer,
        Found::Asked(question) => {
            let answer = poll_fn(|context| question.poll(context));
            timeout_at(limit.at.into(), answer)
                .await
                .unwrap_or_else(|_| Err(question.unanswered(limit.at - started)))
        }
    };
    answer.map_err(TransportError::Resolve)
}

/// Connects to the address of `addrs` that answers first.
async fn connect(
    addrs: &[SocketAddr],
    limit: &Limit,
    late: &Late,
) -> Result<TcpStream, TransportError> {
    let mut race = Race::new(late, addrs, Instant::now());
    // Dropping it ends the remaining attempts.
    let mut running = JoinSet::new();
    loop {
        while let Some(addr) = race.begin(Instant::now()) {
            running.spawn(async move { (addr, TcpStream::connect(addr).await) });
        }
        let until = race.until(limit.at).into();
        match timeout_at(until, running.join_next()).await {
            Ok(Some(Ok((addr, Ok(stream))))) => {
                race.won(addr, Instant::now());
                // Requests are written as a whole, so delaying a packet gains nothing.
                return match stream.set_nodelay(true) {
                    Ok(()) => Ok(stream),
                    Err(error) => Err(TransportError::Connect(error.to_string())),
                };
            }
            Ok(Some(Ok((addr, Err(error))))) => race.lost(addr, &error, Instant::now())?,
            Ok(Some(Err(error))) => return Err(TransportError::Connect(error.to_string())),
            Ok(None) => return Err(TransportError::Connect("no address".to_owned())),
            Err(_) => {
                let now = Instant::now();
                limit.left(now).inspect_err(|_| race.timed_out(now))?;
            }
        }
    }
}

/// Asks the proxy, if there is one, to connect to the destination.
async fn through_proxy(
    connections: &Connections,
    plan: &Plan<'_>,
    mut stream: Stream,
    destination: Destination,
    limit: &Limit,
) -> Result<Stream, TransportError> {
    let Some(proxy) = plan.proxy() else {
        return Ok(stream);
    };
    if proxy.scheme == ProxyScheme::Https {
        let config = connections
            .shared
            .tls
            .config(Offer::Http1, Audience::Others)?;
        stream = secure(&proxy.host, stream, config, limit).await?;
    }
    if let Route::Tunnel(proxy) = plan.route {
        let mut tunnel = Tunnel::new(proxy, destination);
        timeout_at(limit.at.into(), converse(&mut tunnel, &mut stream))
            .await
            .unwrap_or_else(|_| Err(limit.over.clone()))?;
    }
    Ok(stream)
}

/// Exchanges messages with a proxy until the connection is established.
async fn converse(tunnel: &mut Tunnel<'_>, stream: &mut Stream) -> Result<(), TransportError> {
    let mut buffer = [0; 1024];
    loop {
        match tunnel.next()? {
            Want::Write(data) => {
                let sent = async {
                    stream.write_all(&data).await?;
                    stream.flush().await
                };
                sent.await.map_err(|error| of_io(&error))?;
            }
            Want::Read(most) => {
                let most = most.min(buffer.len());
                let read = stream.read(&mut buffer[..most]).await;
                tunnel.feed(&buffer[..read.map_err(|error| of_io(&error))?])?;
            }
            Want::Done => return Ok(()),
        }
    }
}

async fn secure(
    host: &str,
    stream: Stream,
    config: Arc<ClientConfig>,
    limit: &Limit,
) -> Result<Stream, TransportError> {
    let connector = TlsConnector::from(config);
    let handshake = connector.connect(server_name(host)?, stream);
    match timeout_at(limit.at.into(), handshake).await {
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(of_io(&error)),
        Err(_) => Err(limit.over.clone()),
    }
}
