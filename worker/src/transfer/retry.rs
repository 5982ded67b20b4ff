//! Transient statuses, and the time that a server asks for before a retry.
//!
//! Must not decide whether to retry: the coordinator does.

use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use protocol::{FailureKind, Severity};

use super::Head;
use crate::fault::Fault;
use crate::login;

/// Longest `Retry-After` that is honoured. A server must not delay a task to the end of the run.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Returns the failure for a response that is not a success.
pub(super) fn status_fault(head: &Head<'_>, now: SystemTime) -> Fault {
    let severity = if is_transient(head.status) {
        Severity::Transient {
            retry_after: retry_after(head.headers, now),
        }
    } else {
        Severity::Permanent
    };
    let reason = head.status.canonical_reason().unwrap_or("");
    let status = head.status.as_u16();
    Fault::new(
        FailureKind::Status,
        severity,
        format!("the server answered {status} {reason}")
            .trim_end()
            .to_owned()
            + &asked(head),
    )
}

/// Returns the authentication that a server asks for, as text.
fn asked(head: &Head<'_>) -> String {
    let schemes = match head.status {
        StatusCode::UNAUTHORIZED => login::schemes(head.headers),
        _ => String::new(),
    };
    match schemes.is_empty() {
        true => schemes,
        false => format!(" (it asks for {schemes})"),
    }
}

/// Returns whether another attempt may get another answer: request timeout (408), too early (425),
/// too many requests (429), and failures of servers and gateways (500, 502 to 504, and 522 and 524,
/// which a large content network uses for its own timeouts).
const fn is_transient(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        408 | 425 | 429 | 500 | 502 | 503 | 504 | 522 | 524
    )
}

/// Returns `Retry-After` (RFC 9110 section 10.2.3), in seconds or as a date, as a time from `now`.
/// The maximum is one hour; `None` if it cannot be read. A date is relative to the server's clock,
/// which the `Date` of the response shows; without `Date`, that clock is assumed to be right. A
/// date in the past means at once.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.trim());
    let date = |text| httpdate::parse_http_date(text).ok();
    let value = text(RETRY_AFTER)?;
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        value.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let sent = text(DATE).and_then(date).unwrap_or(now);
        date(value)?.duration_since(sent).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}
