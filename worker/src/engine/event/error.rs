//! Conversion of hyper's errors to transport errors.
//!
//! Must not decide what follows from an error: the transfer does.

use std::error::Error;
use std::io;

use h2::Reason;

use super::super::error::of_io;
use crate::transfer::TransportError;

/// Converts an error of a request or its response, head or body.
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

/// Converts an error of a body over HTTP/2. With this reason, h2 refuses only one response: its
/// body does not have the announced length (RFC 9113 section 8.1.1), or its trailers are malformed.
pub(super) fn of_http2_body(error: &hyper::Error) -> TransportError {
    let h2 = error.source().and_then(|cause| cause.downcast_ref());
    match h2.filter(|error: &&h2::Error| error.is_reset() && error.is_library()) {
        Some(error) if error.reason() == Some(Reason::PROTOCOL_ERROR) => {
            TransportError::WrongLength(error.to_string())
        }
        Some(_) | None => of_hyper(error),
    }
}

/// Converts an error of HTTP/2. An error of one stream or of the connection (RFC 9113 section 7)
/// may not happen on another connection; an error of one request and its response would.
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

/// Converts an error of a stream. hyper reports bad chunks as stream errors of kinds that streams
/// never have themselves.
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

/// Returns the message of `error` with its cause, which hyper leaves out.
fn with_cause(error: &hyper::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
