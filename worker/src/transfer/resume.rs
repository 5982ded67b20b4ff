//! Going on with a body of which a part is on disk (RFC 9110 sections 13.1.5 and 14).
//!
//! Only what a strong validator vouches for is put together from two answers. Whatever does not
//! fit exactly makes the transfer start over. It must not touch a file.

use std::time::Duration;

use http::HeaderMap;
use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, LAST_MODIFIED,
};
use protocol::{PartialNote, Validator};

use super::Head;
use super::condition::is_tag;

/// Longest entity tag that is kept.
pub(super) const MAX_ETAG: usize = 512;

/// How long after a modification a date vouches for a body: within its second there may be another
/// one (RFC 9110 section 8.8.2.2).
const SETTLED: Duration = Duration::from_secs(1);

/// A part of a body that is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) note: PartialNote,
    /// How much of it is there.
    pub(super) have: u64,
}

impl Offer {
    /// An offer of the first `have` bytes, if there is anything to gain from them.
    pub(super) fn new(note: PartialNote, have: u64) -> Option<Self> {
        let have = match note.length {
            Some(length) if have > length => return None,
            // Whole, and not yet in place: a range must not be empty, and the answer shows that
            // the server still has the same body.
            Some(length) if have == length => have.checked_sub(1)?,
            Some(_) | None => have,
        };
        (have > 0).then_some(Self { note, have })
    }

    /// What `Range` says.
    pub(super) fn range(&self) -> String {
        format!("bytes={}-", self.have)
    }

    /// The length of the whole body, if a 206 brings exactly what is missing of it.
    pub(super) fn fits(&self, head: &Head<'_>) -> Option<u64> {
        let headers = head.headers;
        let range = text(headers, &CONTENT_RANGE)?;
        let (first, last, length) = content_range(range)?;
        let rest = length.checked_sub(self.have)?;
        let whole = first == self.have
            && last.checked_add(1)? == length
            && head.length.is_none_or(|announced| announced == rest)
            && self.note.length.is_none_or(|known| known == length);
        let same = match &self.note.validator {
            Validator::Etag(etag) => text(headers, &ETAG).is_none_or(|now| now == etag),
            Validator::LastModified(date) => {
                text(headers, &LAST_MODIFIED).is_none_or(|now| now == date)
            }
        };
        (whole && same && !is_coded(headers)).then_some(length)
    }
}

/// The note for the body that `head` announces, its boot left empty; nothing if another request
/// could not go on with it.
pub(super) fn note(head: &Head<'_>, url: &str) -> Option<PartialNote> {
    let headers = head.headers;
    if is_coded(headers) || text(headers, &ACCEPT_RANGES) == Some("none") {
        return None;
    }
    Some(PartialNote {
        v: PartialNote::VERSION,
        boot: String::new(),
        url: url.to_owned(),
        validator: validator(headers)?,
        length: head.length,
        content_type: text(headers, &CONTENT_TYPE).map(ToOwned::to_owned),
    })
}

/// The strong validator of a response, if it has one.
fn validator(headers: &HeaderMap) -> Option<Validator> {
    if let Some(etag) = text(headers, &ETAG) {
        let strong = is_tag(etag) && etag.len() <= MAX_ETAG;
        // A weak one says that there is no strong one, whatever the date is.
        return strong.then(|| Validator::Etag(etag.to_owned()));
    }
    settled(headers).map(|date| Validator::LastModified(date.to_owned()))
}

/// The date of modification, if it tells this body from a later one.
pub(super) fn settled(headers: &HeaderMap) -> Option<&str> {
    let text_of_date = text(headers, &LAST_MODIFIED)?;
    let modified = httpdate::parse_http_date(text_of_date).ok()?;
    let date = httpdate::parse_http_date(text(headers, &DATE)?).ok()?;
    let settled = date.duration_since(modified).ok()? >= SETTLED;
    settled.then_some(text_of_date)
}

/// A header that is there once, as text.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &http::HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        (_, _) => None,
    }
}

fn is_coded(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// First byte, last byte, length of the whole (RFC 9110 section 14.4).
fn content_range(value: &str) -> Option<(u64, u64, u64)> {
    let (unit, rest) = value.split_once(' ')?;
    let (range, length) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    unit.eq_ignore_ascii_case("bytes").then_some(())?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    Some((number(first)?, number(last)?, number(length)?))
}

#[cfg(test)]
#[path = "resume_tests.rs"]
mod tests;
