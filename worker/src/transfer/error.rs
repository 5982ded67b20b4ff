//! Errors below HTTP semantics, in the same words for all engines.
//!
//! Must not know the errors of any engine.

use std::time::Duration;

use protocol::{Exchange, Failure, FailureKind, HttpOptions};
use url::Url;

use crate::fault::Fault;
use crate::resolver::ResolveError;

/// A failure of the transport. The text gives the cause, as the failing layer describes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The host has no address.
    #[error(transparent)]
    Resolve(ResolveError),
    /// There is no TCP connection.
    #[error("no connection: {0}")]
    Connect(String),
    /// Name, TCP connection and TLS handshake together took longer than `--connect-timeout`.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// The TLS handshake failed.
    #[error("tls handshake failed: {0}")]
    Tls(String),
    /// The connection was closed or reset.
    #[error("disconnected: {0}")]
    Disconnected(String),
    /// The received data is not HTTP.
    #[error("not http: {0}")]
    Protocol(String),
    /// A shared connection broke because of data that is not HTTP, for an unknown request.
    #[error("connection is not http: {0}")]
    Broken(String),
    /// The body is longer or shorter than announced; which of them is unknown.
    #[error("wrong length: {0}")]
    WrongLength(String),
    /// It is HTTP, but the end of the body is unclear.
    #[error("bad framing: {0}")]
    Framing(String),
    /// The head is too large.
    #[error("head too large: {0}")]
    HeadTooLarge(String),
    /// The proxy did not establish the connection.
    #[error("proxy: {cause}")]
    Proxy {
        /// The proxy, and its answer.
        cause: String,
        /// Whether it would answer the same again.
        lasting: bool,
    },
    /// No data came for `--speed-time`.
    #[error("stalled")]
    Stalled,
    /// `--max-time` has expired.
    #[error("out of time")]
    Timeout,
    /// The engine was used incorrectly.
    #[error("internal: {0}")]
    Internal(String),
}

impl TransportError {
    /// Converts the error of a request to `url` without a complete response head, or of a body that
    /// did not end. `limit` is the time for the whole transfer.
    pub(super) fn into_fault(
        self,
        url: &Url,
        options: &HttpOptions,
        limit: Option<Duration>,
    ) -> Fault {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        match self {
            Self::Resolve(
                error @ (ResolveError::NoSuchHost { .. } | ResolveError::OtherFamily { .. }),
            ) => Fault::permanent(FailureKind::Resolve, error.to_string()),
            Self::Resolve(error @ ResolveError::Temporary { .. }) => {
                Fault::transient(FailureKind::Resolve, error.to_string())
            }
            Self::Resolve(error @ ResolveError::Blocked { .. }) => {
                Fault::permanent(FailureKind::Blocked, error.to_string())
            }
            Self::Connect(cause) => Fault::transient(
                FailureKind::Connect,
                format!("cannot connect to {host}:{port}: {cause}"),
            ),
            Self::ConnectTimeout => Fault::transient(
                FailureKind::ConnectTimeout,
                format!(
                    "no connection to {host}:{port} within {:?}",
                    options.connect_timeout
                ),
            ),
            Self::Tls(cause) => Fault::permanent(
                FailureKind::Tls,
                format!("tls handshake with {host}:{port} failed: {cause}"),
            ),
            Self::Disconnected(cause) => Fault::transient(
                FailureKind::Disconnected,
                format!("{host}:{port} closed the connection before it answered: {cause}"),
            ),
            Self::Protocol(cause) => Fault::permanent(
                FailureKind::Protocol,
                format!("response of {host}:{port} is not http: {cause}"),
            ),
            Self::Broken(cause) => Fault::transient(
                FailureKind::Protocol,
                format!("what came over the connection to {host}:{port} is not http: {cause}"),
            ),
            Self::WrongLength(cause) => Fault::permanent(
                FailureKind::Protocol,
                format!("body from {host}:{port} does not end as it should: {cause}"),
            ),
            Self::Framing(cause) => Fault::permanent(
                FailureKind::Framing,
                format!("response of {host}:{port} does not say clearly where it ends: {cause}"),
            ),
            Self::HeadTooLarge(cause) => Fault::permanent(
                FailureKind::HeadTooLarge,
                format!("response of {host}:{port} has too large a head: {cause}"),
            ),
            Self::Proxy { cause, lasting } => {
                let message = format!("no way to {host}:{port} through the proxy {cause}");
                match lasting {
                    true => Fault::permanent(FailureKind::Proxy, message),
                    false => Fault::transient(FailureKind::Proxy, message),
                }
            }
            Self::Stalled => Fault::transient(
                FailureKind::Stalled,
                format!(
                    "nothing received from {host}:{port} for {:?}",
                    options.stall_timeout
                ),
            ),
            Self::Timeout => Fault::transient(
                FailureKind::Timeout,
                format!(
                    "transfer not finished within {:?}",
                    limit.unwrap_or_default()
                ),
            ),
            Self::Internal(cause) => Fault::permanent(
                FailureKind::Internal,
                format!("request to {host}:{port} could not be made: {cause}"),
            ),
        }
    }
}

/// Creates the nack for `fault`, after `exchange`.
pub(super) fn failure(exchange: Exchange, fault: Fault) -> Box<Failure> {
    Box::new(Failure {
        exchange,
        kind: fault.kind,
        message: fault.message,
        severity: fault.severity,
    })
}
