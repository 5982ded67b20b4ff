//! How the event engine connects: name, TCP and TLS under one time limit, each measured.
//!
//! The rules are those of the blocking engine and of ureq below it, so that both fail alike.
//!
//! It must not send requests.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::Uri;
use protocol::{SpanPhase, Timing};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::Hub;
use super::alarm::after;
use super::wire::{Stream, Wire};
use crate::engine::error::of_io;
use crate::resolver::Found;
use crate::spans::Recorder;
use crate::transfer::TransportError;

/// Most addresses of a name that are tried.
const MAX_ADDRS: usize = 16;

/// Shortest time for one of several addresses.
const MIN_PER_ADDR: Duration = Duration::from_millis(10);

/// The time limit of one connection, and what it means when it is over.
#[derive(Clone, Debug)]
struct Limit {
    at: Instant,
    over: TransportError,
}

/// Connects to the server of `uri`. `max` is the end of the attempt as a whole.
pub(super) async fn dial(
    hub: &Hub,
    uri: &Uri,
    max: Option<Instant>,
    timing: &mut Timing,
    spans: &Recorder,
) -> Result<Wire, TransportError> {
    let started = Instant::now();
    let limit = limit(hub, started, max);

    spans.enter(SpanPhase::Resolve);
    let addrs = resolve(hub, uri, &limit, started).await;
    let resolved = Instant::now();
    timing.resolve += resolved - started;

    let addrs = addrs?;
    spans.enter(SpanPhase::Connect);
    let tcp = connect(&addrs, &limit).await;
    let connected = Instant::now();
    timing.connect += connected - resolved;

    let stream = tcp?;
    let wire = if is_https(uri) {
        spans.enter(SpanPhase::Tls);
        let tls = handshake(hub, uri, stream, &limit).await;
        timing.tls += connected.elapsed();
        Wire::new(tls?).await
    } else {
        Wire::new(Stream::Plain(stream)).await
    };
    spans.enter(SpanPhase::FirstByte);
    wire
}

pub(super) fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&http::uri::Scheme::HTTPS)
}

fn limit(hub: &Hub, started: Instant, max: Option<Instant>) -> Limit {
    let at = after(started, hub.shared.options.connect_timeout);
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

async fn resolve(
    hub: &Hub,
    uri: &Uri,
    limit: &Limit,
    started: Instant,
) -> Result<Vec<SocketAddr>, TransportError> {
    let https = is_https(uri);
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    let host = uri.host().unwrap_or_default();
    let answer = match hub.shared.resolver.find(https, host, port) {
        Found::Known(addrs) => return Ok(addrs),
        Found::Asked(question) => {
            let answer = poll_fn(|context| question.poll(context));
            timeout_at(limit.at.into(), answer)
                .await
                .unwrap_or_else(|_| Err(question.unanswered(limit.at - started)))
        }
    };
    answer.map_err(TransportError::Resolve)
}

/// One address after the other, the first with about half of the time left, each further one with
/// half as much as the one before, so that a dead first address leaves time for the second.
async fn connect(addrs: &[SocketAddr], limit: &Limit) -> Result<TcpStream, TransportError> {
    let addrs = &addrs[..addrs.len().min(MAX_ADDRS)];
    let total = limit.at.saturating_duration_since(Instant::now());
    if total.is_zero() {
        return Err(limit.over.clone());
    }
    let mut failure = TransportError::Connect("no address".to_owned());
    for (number, addr) in addrs.iter().enumerate() {
        let share = share(total, number, addrs.len());
        let until = (Instant::now() + share).min(limit.at);
        failure = match timeout_at(until.into(), TcpStream::connect(addr)).await {
            Ok(Ok(stream)) => {
                // Requests are written whole; there is nothing to wait for.
                return match stream.set_nodelay(true) {
                    Ok(()) => Ok(stream),
                    Err(error) => Err(TransportError::Connect(error.to_string())),
                };
            }
            Ok(Err(error)) if concerns_one_address(&error) => {
                TransportError::Connect(error.to_string())
            }
            Ok(Err(error)) => return Err(TransportError::Connect(error.to_string())),
            Err(_) if Instant::now() >= limit.at => return Err(limit.over.clone()),
            Err(_) => limit.over.clone(),
        };
    }
    Err(failure)
}

/// What address `number` of `count` gets of `total`.
fn share(total: Duration, number: usize, count: usize) -> Duration {
    let weight = |number: usize| 0.5_f64.powi(i32::try_from(number).unwrap_or(i32::MAX));
    let sum: f64 = (0..count).map(weight).sum();
    total.mul_f64(weight(number) / sum).max(MIN_PER_ADDR)
}

/// Whether the next address may do better: this one refused, or there is no way to it.
fn concerns_one_address(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable
    )
}

async fn handshake(
    hub: &Hub,
    uri: &Uri,
    stream: TcpStream,
    limit: &Limit,
) -> Result<Stream, TransportError> {
    let host = uri.host().unwrap_or_default();
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    let name = ServerName::try_from(bare.to_owned())
        .map_err(|error| TransportError::Tls(error.to_string()))?;
    let handshake = hub.tls()?.connect(name, stream);
    match timeout_at(limit.at.into(), handshake).await {
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(of_io(&error)),
        Err(_) => Err(limit.over.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_share_the_time_and_none_is_left_out() {
        let total = Duration::from_secs(15);
        let shares: Vec<u64> = (0..4).map(|n| share(total, n, 4).as_secs()).collect();
        assert_eq!(shares, [8, 4, 2, 1]);
        assert_eq!(share(total, 0, 1), total);
        assert_eq!(share(Duration::ZERO, 3, 4), MIN_PER_ADDR);
    }
}
