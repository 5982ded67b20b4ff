//! Errors of sockets, which mean the same to every engine.
//!
//! It must not decide what follows from an error: that is the transfer's.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "std's enum of kinds is open, and may grow with any release"
)]

use std::io;

use super::tls::explain;
use crate::transfer::TransportError;

/// An error of ours on its way through someone else's.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Carried(pub(super) TransportError);

/// `error`, for who passes on errors of streams only.
pub(super) fn carry(error: TransportError) -> io::Error {
    io::Error::other(Carried(error))
}

/// An error of a stream, TLS or not, that was connected.
pub(super) fn of_io(error: &io::Error) -> TransportError {
    let inner = error.get_ref();
    if let Some(Carried(error)) = inner.and_then(|cause| cause.downcast_ref()) {
        return error.clone();
    }
    // rustls hands its errors through io::Error once a connection carries data.
    if let Some(cause) = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>())
    {
        return TransportError::Tls(explain(cause));
    }
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => TransportError::Stalled,
        _ => TransportError::Disconnected(error.to_string()),
    }
}
