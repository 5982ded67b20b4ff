//! One attempt at one task, as a state machine that does no I/O.
//!
//! An engine drives it: it sends [`Transfer::request`], feeds what comes back (head, chunks, end,
//! errors), and does what it is told next. No socket, no file and no clock in here but times that
//! are passed in, so that every engine makes the same decisions, and a table can test them all.
//!
//! ```text
//!   request ──> on_head ──> Follow ──> request …
//!                  ├──────> Receive ──> on_chunk* ──> on_end ──> stored
//!                  └──────> Err(Fault)                   └─────> failed
//! ```
//!
//! Where later work belongs: a request header that depends on what is already on disk (`Range`,
//! `If-None-Match`) in [`Transfer::request`]; what the answer to it means (206, 304) and how the
//! body is coded in [`Transfer::on_head`]. Until then bodies are stored as sent, and a 206 that
//! nobody asked for is a failure.

mod error;
mod expect;
mod framing;
mod redirect;
mod retry;

use std::time::{Duration, Instant, SystemTime};

use data_encoding::BASE64;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use percent_encoding::percent_decode_str;
use protocol::{
    Assignment, Exchange, Expect, Failure, FailureKind, HttpOptions, Severity, Span, Stored,
    Timestamp, Timing,
};
use url::Url;

use crate::fault::{Fault, cut};

pub use error::TransportError;
use redirect::Redirects;

/// Longest `Content-Type` reported, in bytes.
const MAX_CONTENT_TYPE: usize = 256;

/// A response head, as the engine read it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The final status; interim responses (1xx) are the engine's to skip.
    pub status: StatusCode,
    /// The version of HTTP that the response is in.
    pub version: Version,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Length of the body, if the framing announces one (RFC 9112 section 6.3).
    pub length: Option<u64>,
}

/// What to do next about a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Forget this response and send [`Transfer::request`] again: it has another URL now.
    Follow,
    /// Read the body into the store.
    Receive,
}

/// One attempt at one task.
#[derive(Debug)]
pub struct Transfer<'o> {
    options: &'o HttpOptions,
    /// Headers of this task alone.
    headers: &'o [(String, String)],
    /// What the list says of the file.
    expect: Expect,
    redirects: Redirects,
    deadline: Option<Instant>,
    receiving: bool,
    received: u64,
    expected: Option<u64>,
    content_type: Option<String>,
    exchange: Exchange,
}

impl<'o> Transfer<'o> {
    /// An attempt at `url`, taken up at `started`, which is `now` on the monotonic clock.
    ///
    /// # Errors
    ///
    /// If `url` is not an absolute http or https URL. The coordinator promises that it is.
    pub fn new(
        url: &str,
        options: &'o HttpOptions,
        started: Timestamp,
        now: Instant,
    ) -> Result<Self, Box<Failure>> {
        let exchange = Exchange {
            started,
            ..Exchange::default()
        };
        match Redirects::new(url) {
            Ok(redirects) => Ok(Self {
                options,
                headers: &[],
                expect: Expect::default(),
                redirects,
                deadline: options.max_time.and_then(|limit| now.checked_add(limit)),
                receiving: false,
                received: 0,
                expected: None,
                content_type: None,
                exchange,
            }),
            Err(fault) => Err(failure(exchange, fault)),
        }
    }

    /// As `assignment` says beyond its URL: headers of its own, and what its file must be.
    #[must_use]
    pub fn of(mut self, assignment: &'o Assignment) -> Self {
        self.headers = &assignment.headers;
        self.expect = assignment.expect.as_deref().copied().unwrap_or_default();
        self
    }

    /// What the next request goes to. Its fragment, if it has one, is not part of a request.
    #[must_use]
    pub const fn url(&self) -> &Url {
        self.redirects.url()
    }

    /// The headers of the next request, `Host` left to the engine.
    ///
    /// The task's own headers take the place of those that all tasks have. The user's headers come
    /// as they are, with one exception: once a redirect has left the
    /// origin of the task's URL, those that carry credentials stay behind.
    ///
    /// # Errors
    ///
    /// If a header of the options cannot be sent. The coordinator promises that they can.
    pub fn request(&self) -> Result<HeaderMap, Fault> {
        let mut headers = HeaderMap::with_capacity(self.options.headers.len() + 3);
        let replaced = |name: &str| {
            let mut own = self.headers.iter();
            own.any(|(other, _)| other.eq_ignore_ascii_case(name))
        };
        let common = self.options.headers.iter();
        let common = common.filter(|(name, _)| !replaced(name));
        for (name, value) in common.chain(self.headers) {
            let (Ok(name), Ok(value)) = (
                HeaderName::try_from(name.as_str()),
                HeaderValue::try_from(value.as_str()),
            ) else {
                return Err(Fault::permanent(
                    FailureKind::Internal,
                    format!("request header {name:?} cannot be sent: not valid in HTTP"),
                ));
            };
            if self.redirects.may_send(&name) {
                headers.append(name, value);
            }
        }
        if !headers.contains_key(AUTHORIZATION)
            && let Some(value) = credentials(self.redirects.url())
        {
            headers.insert(AUTHORIZATION, value);
        }
        if !headers.contains_key(USER_AGENT) && !self.options.user_agent.is_empty() {
            let value = HeaderValue::try_from(self.options.user_agent.as_str()).map_err(|_| {
                Fault::permanent(
                    FailureKind::Internal,
                    "the user agent cannot be sent: not valid in HTTP",
                )
            })?;
            headers.insert(USER_AGENT, value);
        }
        headers
            .entry(ACCEPT)
            .or_insert(HeaderValue::from_static("*/*"));
        headers
            .entry(ACCEPT_ENCODING)
            .or_insert(HeaderValue::from_static("identity"));
        Ok(headers)
    }

    /// What is left of `--max-time` at `now`; `None` if there is no limit.
    ///
    /// # Errors
    ///
    /// [`FailureKind::Timeout`] if nothing is left.
    pub fn remaining(&self, now: Instant) -> Result<Option<Duration>, Fault> {
        let Some(deadline) = self.deadline else {
            return Ok(None);
        };
        let left = deadline.saturating_duration_since(now);
        if left.is_zero() {
            return Err(self.on_error(TransportError::Timeout));
        }
        Ok(Some(left))
    }

    /// A response head arrived; `now` is the time of day, which a `Retry-After` date refers to.
    ///
    /// # Errors
    ///
    /// If the response is not to be stored and not to be followed.
    pub fn on_head(&mut self, head: Head<'_>, now: SystemTime) -> Result<Next, Fault> {
        self.exchange.status = Some(head.status.as_u16());
        framing::check(&head).map_err(|what| self.on_error(TransportError::Protocol(what)))?;
        if redirect::is_redirect(head.status) {
            self.redirects.follow(&head, self.options.max_redirects)?;
            self.exchange.final_url = Some(self.redirects.url().to_string());
            return Ok(Next::Follow);
        }
        if !head.status.is_success() || head.status == StatusCode::PARTIAL_CONTENT {
            return Err(status_fault(&head, now));
        }
        if let Some(length) = head.length {
            self.check_size(length)?;
            expect::check_size(&self.expect, length, false)?;
        }
        self.receiving = true;
        self.expected = head.length;
        self.content_type = head.headers.get(CONTENT_TYPE).map(|value| {
            let mut text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            cut(&mut text, MAX_CONTENT_TYPE);
            text
        });
        Ok(Next::Receive)
    }

    /// `length` more bytes of the body arrived.
    ///
    /// # Errors
    ///
    /// If the body is now larger than allowed, or than announced.
    pub fn on_chunk(&mut self, length: u64) -> Result<(), Fault> {
        self.received = self.received.saturating_add(length);
        self.check_size(self.received)?;
        expect::check_size(&self.expect, self.received, true)?;
        match self.expected {
            Some(expected) if self.received > expected => Err(Fault::permanent(
                FailureKind::Protocol,
                format!("body is longer than the announced {expected} bytes"),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// The body ended, as far as its framing shows.
    ///
    /// # Errors
    ///
    /// If it is shorter than announced.
    pub fn on_end(&self) -> Result<(), Fault> {
        match self.expected {
            Some(expected) if self.received < expected => Err(self.truncated("it ended")),
            Some(_) | None => Ok(()),
        }
    }

    /// The file is whole, and not in place yet.
    ///
    /// # Errors
    ///
    /// If it is not the one that the list names.
    pub fn check_file(&self, bytes: u64, sha256: &[u8; 32]) -> Result<(), Fault> {
        expect::check_size(&self.expect, bytes, false)?;
        expect::check_sha256(&self.expect, sha256)
    }

    /// The transport failed. What that means depends on how far the transfer came.
    #[must_use]
    pub fn on_error(&self, error: TransportError) -> Fault {
        if self.receiving
            && let TransportError::Disconnected(cause) = &error
        {
            return self.truncated(cause);
        }
        error.into_fault(self.redirects.url(), self.options)
    }

    /// Bytes of body received so far.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Where the engine adds up the time that passed.
    pub const fn timing(&mut self) -> &mut Timing {
        &mut self.exchange.timing
    }

    /// The engine's record of the phases, if it was to make one.
    pub fn record(&mut self, spans: Vec<Span>) {
        self.exchange.spans = spans;
    }

    /// The task's file is in place: the ack.
    #[must_use]
    pub fn stored(self, bytes: u64, sha256: [u8; 32]) -> Box<Stored> {
        Box::new(Stored {
            exchange: self.exchange,
            bytes,
            sha256,
            content_type: self.content_type,
        })
    }

    /// The attempt failed: the nack.
    #[must_use]
    pub fn failed(self, fault: Fault) -> Box<Failure> {
        failure(self.exchange, fault)
    }

    fn check_size(&self, size: u64) -> Result<(), Fault> {
        match self.options.max_filesize {
            Some(limit) if size > limit => Err(Fault::permanent(
                FailureKind::TooLarge,
                format!("body is larger than the limit of {limit} bytes"),
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn truncated(&self, cause: &str) -> Fault {
        let announced = self.expected.map_or_else(
            || "an unannounced length".to_owned(),
            |expected| format!("{expected} bytes"),
        );
        let received = self.received;
        Fault::transient(
            FailureKind::Truncated,
            format!("body is cut off after {received} bytes of {announced}: {cause}"),
        )
    }
}

/// `Authorization` for a URL that holds credentials (RFC 7617 section 2).
fn credentials(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(&pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn failure(exchange: Exchange, fault: Fault) -> Box<Failure> {
    Box::new(Failure {
        exchange,
        kind: fault.kind,
        message: fault.message,
        severity: fault.severity,
    })
}

fn status_fault(head: &Head<'_>, now: SystemTime) -> Fault {
    let severity = if retry::is_transient(head.status) {
        Severity::Transient {
            retry_after: retry::retry_after(head.headers, now),
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
            .to_owned(),
    )
}

#[cfg(test)]
mod tests;
