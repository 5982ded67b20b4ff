//! Conditional requests for a file that is in place (RFC 9110 sections 13.1.2 and 13.1.3), and the
//! validators for the next time.
//!
//! A validator distinguishes the states of one resource, so it is sent only to the URL that the
//! file came from. This module must not touch a file.

use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::{Known, Timestamp, Validator, Validators};

use super::Head;
use super::resume::{MAX_ETAG, settled, text};
use crate::engine::timestamp;

/// Condition under which a body is requested.
#[derive(Clone, Copy, Debug)]
pub(super) struct Condition<'k>(&'k Known);

impl<'k> Condition<'k> {
    /// Creates the condition that the server has another state than `known`.
    pub(super) const fn new(known: &'k Known) -> Self {
        Self(known)
    }

    /// Returns whether it may be sent to `url`.
    pub(super) fn is_for(&self, url: &str) -> bool {
        self.0.url == url && self.header().is_some()
    }

    /// Returns the header, if there is a validator that can be sent. A tag is more precise than a
    /// date, and servers have to ignore the date if both are sent.
    pub(super) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let Validators {
            etag,
            last_modified,
        } = &self.0.validators;
        let value = |text: &str| HeaderValue::try_from(text).ok();
        match (etag, last_modified) {
            (Some(etag), _) => Some((IF_NONE_MATCH, value(etag)?)),
            (None, Some(date)) => Some((IF_MODIFIED_SINCE, value(date)?)),
            (None, None) => None,
        }
    }

    /// Returns whether a 304 refers to the requested state: it must not name another tag.
    pub(super) fn is_met_by(&self, head: &Head<'_>) -> bool {
        match (&self.0.validators.etag, text(head.headers, &ETAG)) {
            (Some(asked), Some(now)) => opaque(asked) == opaque(now),
            (_, _) => true,
        }
    }

    /// Returns the file that it is about.
    pub(super) const fn known(&self) -> &'k Known {
        self.0
    }
}

/// Returns the validators of a response that another run can use.
pub(super) fn validators(headers: &HeaderMap) -> Validators {
    let etag = text(headers, &ETAG).filter(|tag| is_tag(opaque(tag)) && tag.len() <= MAX_ETAG);
    Validators {
        etag: etag.map(ToOwned::to_owned),
        last_modified: settled(headers).map(ToOwned::to_owned),
    }
}

/// Returns when the body was last modified, as far as the response says.
pub(super) fn modified(headers: &HeaderMap) -> Option<Timestamp> {
    text(headers, &LAST_MODIFIED).and_then(moment)
}

/// Converts an HTTP date (RFC 9110 section 5.6.7). None is before 1970.
pub(super) fn moment(date: &str) -> Option<Timestamp> {
    httpdate::parse_http_date(date).ok().map(timestamp)
}

/// Returns the validators of a body whose rest is in this response, given the `validator` for the
/// whole.
pub(super) fn of_rest(headers: &HeaderMap, validator: &Validator) -> Validators {
    let mut found = validators(headers);
    match validator {
        Validator::Etag(tag) => found.etag = Some(tag.clone()),
        Validator::LastModified(date) => found.last_modified = Some(date.clone()),
    }
    found
}

/// Returns an entity tag without its weakness mark. For this purpose an equivalent file is good
/// enough (RFC 9110 section 8.8.3.2).
fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// Returns whether `text` is a strong entity tag.
pub(super) fn is_tag(text: &str) -> bool {
    let inner = text.strip_prefix('"');
    let inner = inner.and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| !inner.contains('"'))
}
