//! Asking whether a file that is in place is still current (RFC 9110 sections 13.1.2 and 13.1.3),
//! and the validators to ask by the next time.
//!
//! A validator tells the states of one resource apart: it is sent to nobody but the URL that the
//! file came from. It must not touch a file.

use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::{Known, Timestamp, Validator, Validators};

use super::Head;
use super::resume::{MAX_ETAG, settled, text};
use crate::engine::timestamp;

/// A condition under which a body is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Condition<'k>(&'k Known);

impl<'k> Condition<'k> {
    /// That the server has another state of the file than this.
    pub(super) const fn new(known: &'k Known) -> Self {
        Self(known)
    }

    /// Where it may be sent.
    pub(super) fn is_for(&self, url: &str) -> bool {
        self.0.url == url && self.header().is_some()
    }

    /// How it is said; nothing if there is nothing that can be sent. A tag says more than a date,
    /// which servers then have to ignore.
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

    /// Whether a 304 speaks of the state that was asked about: it may name no other tag.
    pub(super) fn is_met_by(&self, head: &Head<'_>) -> bool {
        match (&self.0.validators.etag, text(head.headers, &ETAG)) {
            (Some(asked), Some(now)) => opaque(asked) == opaque(now),
            (_, _) => true,
        }
    }

    /// The file it is about.
    pub(super) const fn known(&self) -> &'k Known {
        self.0
    }
}

/// The validators of a response that another run can ask by.
pub(super) fn validators(headers: &HeaderMap) -> Validators {
    let etag = text(headers, &ETAG).filter(|tag| is_tag(opaque(tag)) && tag.len() <= MAX_ETAG);
    Validators {
        etag: etag.map(ToOwned::to_owned),
        last_modified: settled(headers).map(ToOwned::to_owned),
    }
}

/// When the body was last modified, as far as the response says it.
pub(super) fn modified(headers: &HeaderMap) -> Option<Timestamp> {
    text(headers, &LAST_MODIFIED).and_then(moment)
}

/// The moment of an HTTP date (RFC 9110 section 5.6.7). None is before 1970.
pub(super) fn moment(date: &str) -> Option<Timestamp> {
    httpdate::parse_http_date(date).ok().map(timestamp)
}

/// Those of a body of which this response brought the rest, and `validator` vouches for the whole.
pub(super) fn of_rest(headers: &HeaderMap, validator: &Validator) -> Validators {
    let mut found = validators(headers);
    match validator {
        Validator::Etag(tag) => found.etag = Some(tag.clone()),
        Validator::LastModified(date) => found.last_modified = Some(date.clone()),
    }
    found
}

/// An entity tag without its sign of weakness: a file that means the same is as good (RFC 9110
/// section 8.8.3.2).
fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// Whether `text` is a strong entity tag.
pub(super) fn is_tag(text: &str) -> bool {
    let inner = text.strip_prefix('"');
    let inner = inner.and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| !inner.contains('"'))
}
