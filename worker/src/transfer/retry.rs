//! Which statuses may pass, and when the server wants us back.
//!
//! It must not decide whether to retry: that is the coordinator's.

use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use protocol::{FailureKind, Severity};

use super::Head;
use crate::fault::Fault;
use crate::login;

/// Longest `Retry-After` honoured: a server must not park a task for the rest of the run.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A response that is no success.
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

/// What a server that wants to know who is there asks for.
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

/// Whether another attempt may get another answer: request timeout (408), too early (425), too
/// many requests (429), and the failures of servers and gateways (500, 502 to 504, and 522 and 524,
/// which a large content network uses for its own timeouts).
const fn is_transient(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        408 | 425 | 429 | 500 | 502 | 503 | 504 | 522 | 524
    )
}

/// `Retry-After` (RFC 9110 section 10.2.3) as a time from `now`: seconds or a date, at most one
/// hour; `None` if there is none that can be read. A date is one of the server's clock, which the
/// `Date` of the response shows; without one it is taken for right. A date that has passed means at
/// once.
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
