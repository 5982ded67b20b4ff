//! From hyper's errors to ours.
//!
//! It must not decide what follows from an error: that is the transfer's.

use std::error::Error;
use std::io;

use h2::Reason;

use super::super::error::of_io;
use crate::transfer::TransportError;

/// An error of a request or its response, head or body.
pub(super) fn of_hyper(error: &hyper::Error) -> TransportError {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(h2) = inner.downcast_ref::<h2::Error>() {
            return of_h2(h2);
        }
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return of_stream(io);
        }
        cause = inner.source();
    }
    if error.is_parse_too_large() {
        return TransportError::HeadTooLarge(error.to_string());
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return TransportError::Disconnected(error.to_string());
    }
    if error.is_user() {
        return TransportError::Internal(error.to_string());
    }
    TransportError::Protocol(with_cause(error))
}

/// An error of a body over HTTP/2. With this reason h2 refuses, of one response alone, a body that
/// has not the announced length (RFC 9113 section 8.1.1), or malformed trailers.
pub(super) fn of_http2_body(error: &hyper::Error) -> TransportError {
    let h2 = error.source().and_then(|cause| cause.downcast_ref());
    match h2.filter(|error: &&h2::Error| error.is_reset() && error.is_library()) {
        Some(error) if error.reason() == Some(Reason::PROTOCOL_ERROR) => {
            TransportError::WrongLength(error.to_string())
        }
        Some(_) | None => of_hyper(error),
    }
}

/// An error of HTTP/2. What it says of one stream or of the whole connection (RFC 9113 section 7),
/// passes with another connection; what it says of one request and its response does not.
fn of_h2(error: &h2::Error) -> TransportError {
    if let Some(io) = error.get_io() {
        return of_stream(io);
    }
    let malformed = matches!(
        error.reason(),
        Some(Reason::PROTOCOL_ERROR | Reason::FRAME_SIZE_ERROR | Reason::COMPRESSION_ERROR)
    );
    if error.is_go_away() && (malformed || error.is_library()) {
        return TransportError::Broken(error.to_string());
    }
    if malformed {
        return TransportError::Protocol(error.to_string());
    }
    TransportError::Disconnected(error.to_string())
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
        return TransportError::Framing(error.to_string());
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
