//! Socket errors, which mean the same in every engine.
//!
//! Must not decide what follows from an error: the transfer does.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "std's enum of kinds is open, and may grow with any release"
)]

use std::io;

use super::tls::explain;
use crate::transfer::TransportError;

/// A transport error inside an I/O error.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Carried(pub(super) TransportError);

/// Wraps `error` for code that passes only I/O errors.
pub(super) fn carry(error: TransportError) -> io::Error {
    io::Error::other(Carried(error))
}

/// Converts an error of a connected stream, with or without TLS.
pub(super) fn of_io(error: &io::Error) -> TransportError {
    let inner = error.get_ref();
    if let Some(Carried(error)) = inner.and_then(|cause| cause.downcast_ref()) {
        return error.clone();
    }
    // rustls wraps its errors in io::Error once a connection carries data.
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
