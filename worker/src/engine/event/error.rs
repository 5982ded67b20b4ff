//! From hyper's errors to ours.
//!
//! It must not decide what follows from an error: that is the transfer's.

use std::error::Error;
use std::io;

use super::super::error::of_io;
use crate::transfer::TransportError;

/// An error of a request or its response, head or body.
pub(super) fn of_hyper(error: &hyper::Error) -> TransportError {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return of_stream(io);
        }
        cause = inner.source();
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return TransportError::Disconnected(error.to_string());
    }
    if error.is_user() {
        return TransportError::Internal(error.to_string());
    }
    TransportError::Protocol(with_cause(error))
}

/// hyper reports bad chunks as errors of the stream, which has none of these kinds itself.
fn of_stream(error: &io::Error) -> TransportError {
    let of_system = error.raw_os_error().is_some();
    let of_tls = error
        .get_ref()
        .is_some_and(|cause| cause.is::<rustls::Error>());
    let malformed = matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
    );
    if malformed && !of_system && !of_tls {
        return TransportError::Protocol(error.to_string());
    }
    of_io(error)
}

/// hyper's own words are short without their cause.
fn with_cause(error: &hyper::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
