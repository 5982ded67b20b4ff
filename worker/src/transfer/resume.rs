//! Judgement of a successful response: the whole body, or the rest of one that is partly on disk
//! (RFC 9110 sections 13.1.5 and 14).
//!
//! Status, `Content-Range`, length and what is known about the body are judged together. Two
//! answers are put together only if a strong validator vouches for it. If the answer to a range
//! does not fit exactly, the transfer starts over. If the whole body was requested and the answer
//! is not the whole body, the attempt fails. This module must not touch a file.

use std::time::Duration;

use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, LAST_MODIFIED,
};
use http::{HeaderMap, StatusCode, Version};
use protocol::{ByteRange, FailureKind, PartialNote, Validator};

use super::condition::{self, is_tag};
use super::{Head, Next, Transfer, coding, disposition, expect};
use crate::fault::Fault;

/// Longest entity tag that is kept, in bytes.
pub(super) const MAX_ETAG: usize = 512;

/// How long after a modification a date vouches for a body. A second modification may follow within
/// the same second (RFC 9110 section 8.8.2.2).
const SETTLED: Duration = Duration::from_secs(1);

impl Transfer<'_> {
    /// Returns the offer if the next request has its URL: a validator distinguishes the states of
    /// one resource, not two resources.
    pub(super) fn fitting_offer(&self) -> Option<&Offer> {
        let url = self.redirects.url().as_str();
        self.offer.as_ref().filter(|offer| offer.note.url == url)
    }

    /// Returns whether to request the whole body after an answer to a range that does not fit. A
    /// busy server is not asked again.
    pub(super) fn starts_over(&mut self, status: StatusCode) -> bool {
        match status.as_u16() {
            408 | 425 | 429 | 503 => false,
            // A gateway may answer this to any request, or because the range makes the server fail.
            500 | 502 | 504 | 522 | 524 => self.gives_in(),
            _ => self.closes_offer(),
        }
    }

    /// Returns whether to repeat the request at once after `fault`, because a range got no answer.
    pub fn asks_again(&mut self, fault: &Fault) -> bool {
        use FailureKind::{Disconnected, Framing, HeadTooLarge, Protocol, Stalled};
        if matches!(fault.kind, Disconnected | Stalled) {
            return self.gives_in();
        }
        matches!(fault.kind, Protocol | Framing | HeadTooLarge) && self.closes_offer()
    }

    /// Returns whether to send another request after a failed request for a range: the same one
    /// once more, because the network may have failed, and then one for the whole body. What is on
    /// disk is kept until that is answered.
    fn gives_in(&mut self) -> bool {
        let url = self.redirects.url().as_str();
        match &mut self.offer {
            Some(offer) if offer.is_open && offer.note.url == url && !offer.failed => {
                offer.failed = true;
                true
            }
            Some(_) | None => self.closes_offer(),
        }
    }

    /// Stops requesting a range. Returns whether one was requested before.
    fn closes_offer(&mut self) -> bool {
        let url = self.redirects.url().as_str();
        match &mut self.offer {
            Some(offer) if offer.is_open && offer.note.url == url => {
                offer.is_open = false;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Prepares for the missing part of a body of `length` bytes.
    pub(super) fn resume(&mut self, head: &Head<'_>, length: u64) -> Result<Next, Fault> {
        let Some(Offer { note, have, .. }) = self.offer.take() else {
            return Ok(Next::Follow);
        };
        self.check_size(length)?;
        expect::check_size(&self.expect, length, false)?;
        self.receiving = true;
        self.resumed = true;
        self.received = have;
        self.divisible = head.version != Version::HTTP_2;
        self.expected = Some(length);
        self.content_type.clone_from(&note.content_type);
        self.suggested_name = disposition::suggested_name(head.headers);
        self.validators = condition::of_rest(head.headers, &note.validator);
        self.modified = condition::modified(head.headers).or(match &note.validator {
            Validator::LastModified(date) => condition::moment(date),
            Validator::Etag(_) => None,
        });
        self.note = Some(note);
        Ok(Next::Resume { from: have })
    }
}

/// Content of a success (2xx).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The whole body, with its length if it is known.
    Whole(Option<u64>),
    /// Exactly the missing part of a body with this total length.
    Rest(u64),
}

/// Returns the content of a success with this `head`. `offer` is what is known about the body, if
/// an earlier attempt received a part of it from the same URL.
///
/// # Errors
///
/// Fails if it does not fit. While the offer is open, the whole body is then requested; otherwise
/// the attempt fails.
pub(super) fn judge(head: &Head<'_>, offer: Option<&Offer>) -> Result<Extent, Fault> {
    let open = offer.filter(|offer| offer.is_open);
    if let Some(offer) = open
        && head.status == StatusCode::PARTIAL_CONTENT
    {
        return match offer.fits(head) {
            Some(length) => Ok(Extent::Rest(length)),
            None => Err(not_whole(head)),
        };
    }
    let length = whole(head)?;
    match offer {
        Some(offer) => offer.admits(head, length).map(Extent::Whole),
        None => Ok(Extent::Whole(length)),
    }
}

/// Returns the content of a success with this `head`, if the list asks for a part of the resource.
///
/// # Errors
///
/// Fails if it is not exactly that part. A whole body is not cut: servers without support for
/// ranges would send all of it for each part.
pub(super) fn judge_part(head: &Head<'_>, wanted: ByteRange) -> Result<Extent, Fault> {
    let length = wanted.bytes();
    let fits = head.status == StatusCode::PARTIAL_CONTENT
        && text(head.headers, &CONTENT_RANGE).and_then(part) == Some((wanted.first, wanted.last))
        && head.length.is_none_or(|announced| announced == length)
        && !is_coded(head.headers)
        && !is_multipart(head.headers);
    match fits {
        true => Ok(Extent::Whole(Some(length))),
        false => {
            let wanted = format!("the range {wanted} of the list");
            Err(misfit(head, FailureKind::Status, &wanted))
        }
    }
}

/// Returns the length of the whole body, if known. Fails if `head` alone shows none.
fn whole(head: &Head<'_>) -> Result<Option<u64>, Fault> {
    let is_partial = head.status == StatusCode::PARTIAL_CONTENT;
    if !is_partial && !has_byte_range(head.headers) {
        return Ok(head.length);
    }
    let range = text(head.headers, &CONTENT_RANGE).and_then(content_range);
    match range {
        Some((0, last, length))
            if last.checked_add(1) == Some(length)
                && head.length.is_none_or(|announced| announced == length)
                && !(is_partial && is_multipart(head.headers)) =>
        {
            Ok(Some(length))
        }
        Some(_) | None => Err(not_whole(head)),
    }
}

/// Returns whether a `Content-Range` counts bytes. Another unit may count records, of which the
/// body is a page; that page is the whole body of its URL.
fn has_byte_range(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_RANGE).iter().any(|value| {
        let value = value.as_bytes().trim_ascii_start();
        let unit = value.get(..5).unwrap_or_default();
        unit.eq_ignore_ascii_case(b"bytes")
    })
}

fn is_multipart(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|value| {
        let value = value.as_bytes().trim_ascii_start().to_ascii_lowercase();
        value.starts_with(b"multipart/byteranges")
    })
}

/// Returns the failure for a response that should be the whole body and is not.
fn not_whole(head: &Head<'_>) -> Fault {
    let kind = match head.status {
        StatusCode::PARTIAL_CONTENT => FailureKind::Status,
        _ => FailureKind::Protocol,
    };
    misfit(head, kind, "the whole body")
}

/// Returns the failure for a response that is not the requested one: `wanted`.
pub(super) fn misfit(head: &Head<'_>, kind: FailureKind, wanted: &str) -> Fault {
    let status = head.status.as_u16();
    let length = match head.length {
        Some(length) => format!("{length} bytes"),
        None => "a body of unknown length".to_owned(),
    };
    let range = match head.headers.get(CONTENT_RANGE) {
        Some(value) => format!(
            "content range {:?}",
            String::from_utf8_lossy(value.as_bytes())
        ),
        None => "no content range".to_owned(),
    };
    Fault::permanent(
        kind,
        format!("the server answered {status} with {length}, which is not {wanted}: {range}"),
    )
}

/// A part of a body that is on disk, and what is known about the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) note: PartialNote,
    /// Bytes that are there.
    pub(super) have: u64,
    /// Whether the rest is requested. False once an answer did not fit; what is known about the
    /// body still counts.
    pub(super) is_open: bool,
    /// Whether a request for the rest failed in a way that may not happen again.
    failed: bool,
}

impl Offer {
    /// Creates an offer of the first `have` bytes, if they are useful.
    pub(super) fn new(note: PartialNote, have: u64) -> Option<Self> {
        let have = match note.length {
            Some(length) if have > length => return None,
            // The body is whole but not in place. The last byte is requested, since a range must
            // not be empty, and the answer shows whether the server still has the same body.
            Some(length) if have == length => have.checked_sub(1)?,
            Some(_) | None => have,
        };
        (have > 0).then_some(Self {
            note,
            have,
            is_open: true,
            failed: false,
        })
    }

    /// Returns the value of `Range`.
    pub(super) fn range(&self) -> String {
        format!("bytes={}-", self.have)
    }

    /// Returns the length of the whole body, if a 206 contains exactly its missing part.
    fn fits(&self, head: &Head<'_>) -> Option<u64> {
        let headers = head.headers;
        let range = text(headers, &CONTENT_RANGE)?;
        let (first, last, length) = content_range(range)?;
        let rest = length.checked_sub(self.have)?;
        let fits = first == self.have
            && last.checked_add(1)? == length
            && head.length.is_none_or(|announced| announced == rest)
            && self.note.length.is_none_or(|known| known == length)
            && !self.is_of_another(headers)
            && !is_coded(headers)
            && !is_multipart(headers);
        fits.then_some(length)
    }

    /// Returns the length of a whole body, if it does not contradict what is known.
    ///
    /// An answer to a range is accepted only if it announces the known length: a body that is
    /// called whole may still be a part. If no range was requested, another length is accepted only
    /// with another validator, which shows that the body changed.
    fn admits(&self, head: &Head<'_>, length: Option<u64>) -> Result<Option<u64>, Fault> {
        let known = self.note.length;
        let is_another = self.is_of_another(head.headers) || is_coded(head.headers);
        match (known, length) {
            (Some(known), Some(length)) if known == length => Ok(Some(length)),
            (_, _) if self.is_open => Err(not_known(known, length)),
            (_, _) if is_another => Ok(length),
            (Some(_), Some(_)) => Err(not_known(known, length)),
            (known, length) => Ok(length.or(known)),
        }
    }

    /// Returns whether a response has another state than the offer.
    fn is_of_another(&self, headers: &HeaderMap) -> bool {
        is_of_another(&self.note, headers)
    }
}

/// Returns whether `head` contains exactly `range` of the body that `note` describes.
pub(super) fn brings(head: &Head<'_>, range: ByteRange, note: &PartialNote) -> bool {
    let found = text(head.headers, &CONTENT_RANGE).and_then(content_range);
    head.status == StatusCode::PARTIAL_CONTENT
        && found.is_some_and(|(first, last, length)| {
            (first, last, Some(length)) == (range.first, range.last, note.length)
        })
        && head
            .length
            .is_none_or(|announced| announced == range.bytes())
        && !is_of_another(note, head.headers)
        && !is_coded(head.headers)
        && !is_multipart(head.headers)
}

/// Returns whether a response has another state than `note`.
fn is_of_another(note: &PartialNote, headers: &HeaderMap) -> bool {
    let (name, known) = match &note.validator {
        Validator::Etag(etag) => (ETAG, etag),
        Validator::LastModified(date) => (LAST_MODIFIED, date),
    };
    text(headers, &name).is_some_and(|now| now != known)
}

/// Returns the failure for a body that now has another length than before. The next attempt may
/// show which is right.
fn not_known(known: Option<u64>, length: Option<u64>) -> Fault {
    let said = |length: Option<u64>| {
        length.map_or_else(
            || "no length".to_owned(),
            |length| format!("{length} bytes"),
        )
    };
    Fault::transient(
        FailureKind::Protocol,
        format!(
            "the server announced {} for a body that had {} before, and no validator shows a change",
            said(length),
            said(known)
        ),
    )
}

/// Returns the note for the body of `head`, with an empty boot, or `None` if another request could
/// not continue it. `length` is that of the whole body.
pub(super) fn note(head: &Head<'_>, length: Option<u64>, url: &str) -> Option<PartialNote> {
    let headers = head.headers;
    if is_coded(headers) || text(headers, &ACCEPT_RANGES) == Some("none") {
        return None;
    }
    Some(PartialNote {
        v: PartialNote::VERSION,
        boot: String::new(),
        url: url.to_owned(),
        validator: validator(headers)?,
        length,
        content_type: text(headers, &CONTENT_TYPE).map(ToOwned::to_owned),
        whole: None,
    })
}

/// Returns the strong validator of a response, if there is one.
fn validator(headers: &HeaderMap) -> Option<Validator> {
    if let Some(etag) = text(headers, &ETAG) {
        let strong = is_tag(etag) && etag.len() <= MAX_ETAG;
        // A weak tag means that there is no strong validator, whatever the date is.
        return strong.then(|| Validator::Etag(etag.to_owned()));
    }
    settled(headers).map(|date| Validator::LastModified(date.to_owned()))
}

/// Returns the modification date, if it distinguishes this body from a later one.
pub(super) fn settled(headers: &HeaderMap) -> Option<&str> {
    let text_of_date = text(headers, &LAST_MODIFIED)?;
    let modified = httpdate::parse_http_date(text_of_date).ok()?;
    let date = httpdate::parse_http_date(text(headers, &DATE)?).ok()?;
    let settled = date.duration_since(modified).ok()? >= SETTLED;
    settled.then_some(text_of_date)
}

/// Returns a header that occurs exactly once, as text.
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
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|name| !coding::is_none(&name.trim_ascii().to_ascii_lowercase()))
}

/// Parses the first byte, last byte and total length (RFC 9110 section 14.4).
fn content_range(value: &str) -> Option<(u64, u64, u64)> {
    let (first, last, length) = parts(value)?;
    Some((first, last, number(length)?))
}

/// Parses the first and last byte. The total length may be unknown (`*`) and must be larger.
fn part(value: &str) -> Option<(u64, u64)> {
    let (first, last, length) = parts(value)?;
    let fits = length == "*" || number(length)? > last;
    fits.then_some((first, last))
}

fn parts(value: &str) -> Option<(u64, u64, &str)> {
    let (unit, rest) = value.split_once(' ')?;
    let (range, length) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    unit.eq_ignore_ascii_case("bytes").then_some(())?;
    Some((number(first)?, number(last)?, length))
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
#[path = "resume_tests.rs"]
mod tests;
