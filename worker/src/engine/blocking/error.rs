//! Conversion of ureq's errors to transport errors.
//!
//! Must not decide what follows from an error: the transfer does.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "ureq's enum of errors is open, and may grow with any release"
)]

use ureq::{Error, Timeout};

use crate::engine::error::{Carried, of_io};
use crate::transfer::TransportError;

/// Converts an error of a request or its response, head or body.
pub(super) fn of_request(error: Error) -> TransportError {
    match error {
        Error::Other(cause) => match cause.downcast::<Carried>() {
            Ok(carried) => carried.0,
            Err(cause) => TransportError::Internal(cause.to_string()),
        },
        Error::Io(cause) => of_io(&cause),
        Error::Timeout(timeout) => of_timeout(timeout),
        Error::Protocol(ureq_proto) => TransportError::Protocol(ureq_proto.to_string()),
        error @ Error::LargeResponseHeader(..) => TransportError::HeadTooLarge(error.to_string()),
        // A body that ends within a chunk header is reported as this.
        Error::BodyStalled => TransportError::Disconnected("within a chunk header".to_owned()),
        Error::Rustls(cause) => TransportError::Tls(cause.to_string()),
        Error::ConnectionFailed => TransportError::Connect("no reason is known".to_owned()),
        error => TransportError::Internal(error.to_string()),
    }
}

pub(super) fn of_timeout(timeout: Timeout) -> TransportError {
    match timeout {
        Timeout::Global | Timeout::PerCall => TransportError::Timeout,
        Timeout::Resolve | Timeout::Connect => TransportError::ConnectTimeout,
        // All others limit the time without progress. `Timeout` is ureq's enum and may grow.
        _ => TransportError::Stalled,
    }
}
