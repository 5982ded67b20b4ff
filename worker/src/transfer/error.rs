//! What can go wrong below HTTP semantics, in words that every engine shares.
//!
//! It must not know any engine's own errors.

use protocol::{FailureKind, HttpOptions};
use url::Url;

use crate::fault::Fault;
use crate::resolver::ResolveError;

/// A transport that failed. Texts say the cause, in the words of whoever noticed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The host has no address.
    #[error(transparent)]
    Resolve(ResolveError),
    /// No TCP connection.
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
    /// What came is not HTTP.
    #[error("not http: {0}")]
    Protocol(String),
    /// A connection that others use as well broke off over something that is not HTTP; who is to
    /// blame is not known.
    #[error("connection is not http: {0}")]
    Broken(String),
    /// The body is longer or shorter than announced; which of them is not known.
    #[error("wrong length: {0}")]
    WrongLength(String),
    /// It is HTTP, but not clear where the body ends.
    #[error("bad framing: {0}")]
    Framing(String),
    /// The head is too large.
    #[error("head too large: {0}")]
    HeadTooLarge(String),
    /// The proxy did not make the connection.
    #[error("proxy: {cause}")]
    Proxy {
        /// The proxy, and what it said.
        cause: String,
        /// It would say so again.
        lasting: bool,
    },
    /// Nothing came for `--speed-time`.
    #[error("stalled")]
    Stalled,
    /// `--max-time` is over.
    #[error("out of time")]
    Timeout,
    /// The engine was used wrongly.
    #[error("internal: {0}")]
    Internal(String),
}

impl TransportError {
    /// The failure of a request to `url` that got no complete response head, or of a body that did
    /// not end for one of these reasons.
    pub(super) fn into_fault(self, url: &Url, options: &HttpOptions) -> Fault {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        match self {
            Self::Resolve(error @ ResolveError::NoSuchHost { .. }) => {
                Fault::permanent(FailureKind::Resolve, error.to_string())
            }
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
                    options.max_time.unwrap_or_default()
                ),
            ),
            Self::Internal(cause) => Fault::permanent(
                FailureKind::Internal,
                format!("request to {host}:{port} could not be made: {cause}"),
            ),
        }
    }
}
