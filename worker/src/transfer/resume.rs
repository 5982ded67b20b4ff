//! What a successful answer brings: the whole body, or the rest of one of which a part is on disk
//! (RFC 9110 sections 13.1.5 and 14).
//!
//! Status, `Content-Range`, length, and what is known of the body before are judged together. Only
//! what a strong validator vouches for is put together from two answers. An answer to a range that
//! does not fit exactly makes the transfer start over; an answer that does not bring the whole body
//! when the whole was asked for is a failure. It must not touch a file.

use std::time::Duration;

use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, LAST_MODIFIED,
};
use http::{HeaderMap, StatusCode, Version};
use protocol::{ByteRange, FailureKind, PartialNote, Validator};

use super::condition::{self, is_tag};
use super::{Head, Next, Transfer, coding, disposition, expect};
use crate::fault::Fault;

/// Longest entity tag that is kept.
pub(super) const MAX_ETAG: usize = 512;

/// How long after a modification a date vouches for a body: within its second there may be another
/// one (RFC 9110 section 8.8.2.2).
const SETTLED: Duration = Duration::from_secs(1);

impl Transfer<'_> {
    /// The offer, if the next request goes to where it came from: a validator tells the states of
    /// one resource apart, and not one resource from another.
    pub(super) fn fitting_offer(&self) -> Option<&Offer> {
        let url = self.redirects.url().as_str();
        self.offer.as_ref().filter(|offer| offer.note.url == url)
    }

    /// Whether the whole body is to be asked for, after an answer to a range that does not fit.
    /// A server that is busy is not asked for more.
    pub(super) fn starts_over(&mut self, status: StatusCode) -> bool {
        match status.as_u16() {
            408 | 425 | 429 | 503 => false,
            // A gateway may say so of any request, and of a range that the server chokes on.
            500 | 502 | 504 | 522 | 524 => self.gives_in(),
            _ => self.closes_offer(),
        }
    }

    /// Whether to send a request again at once after `fault`: one for a range that got no answer.
    pub fn asks_again(&mut self, fault: &Fault) -> bool {
        use FailureKind::{Disconnected, Framing, HeadTooLarge, Protocol, Stalled};
        if matches!(fault.kind, Disconnected | Stalled) {
            return self.gives_in();
        }
        matches!(fault.kind, Protocol | Framing | HeadTooLarge) && self.closes_offer()
    }

    /// Whether the request is to be sent again after one for a range that failed: the same once
    /// more, since the network may be to blame, and then one for the whole body. What is on disk is
    /// kept until that is answered.
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

    /// Whether a range was asked for, and is no more.
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

    /// What is missing of a body of `length` bytes follows.
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

/// What a success (2xx) brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The whole body, of this length if it is known.
    Whole(Option<u64>),
    /// Exactly what is missing of a body that has this length as a whole.
    Rest(u64),
}

/// What `head`, the head of a success, brings. `offer` is what is known of the body, if an earlier
/// attempt got a part of it from the same URL.
///
/// # Errors
///
/// If it does not fit. While the offer is open, the whole body is to be asked for; else this is the
/// failure.
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

/// What `head`, the head of a success, brings, if a part was asked for that the list wants as it is.
///
/// # Errors
///
/// If it is not exactly that part. A whole body is not cut: servers that do not know ranges would send
/// all of it for each part.
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

/// The length of the whole body, as far as it is known, if `head` by itself says that this is what
/// it brings.
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

/// Whether a `Content-Range` speaks of bytes. Other units count records, for example, of which the
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

/// The answer to a request for the whole body is not the whole body.
fn not_whole(head: &Head<'_>) -> Fault {
    let kind = match head.status {
        StatusCode::PARTIAL_CONTENT => FailureKind::Status,
        _ => FailureKind::Protocol,
    };
    misfit(head, kind, "the whole body")
}

/// An answer is not what was asked for: `wanted`.
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

/// A part of a body that is on disk, and what is known of the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) note: PartialNote,
    /// How much of it is there.
    pub(super) have: u64,
    /// Whether the rest is asked for. No more once an answer to that did not fit; what is known of
    /// the body still counts.
    pub(super) is_open: bool,
    /// A request for the rest failed in a way that may pass.
    failed: bool,
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
        (have > 0).then_some(Self {
            note,
            have,
            is_open: true,
            failed: false,
        })
    }

    /// What `Range` says.
    pub(super) fn range(&self) -> String {
        format!("bytes={}-", self.have)
    }

    /// The length of the whole body, if a 206 brings exactly what is missing of it.
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

    /// The length of a whole body, if it does not contradict what is known.
    ///
    /// An answer to a range is believed only if it announces the known length: one that calls
    /// itself whole may still be a part. When no range was sent, another length is believed only with
    /// another validator, which shows that the body changed.
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

    /// Whether a response names another state than that which the offer is of.
    fn is_of_another(&self, headers: &HeaderMap) -> bool {
        is_of_another(&self.note, headers)
    }
}

/// Whether `head` brings exactly `range` of the body that `note` is of.
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

/// Whether a response names another state than that which `note` is of.
fn is_of_another(note: &PartialNote, headers: &HeaderMap) -> bool {
    let (name, known) = match &note.validator {
        Validator::Etag(etag) => (ETAG, etag),
        Validator::LastModified(date) => (LAST_MODIFIED, date),
    };
    text(headers, &name).is_some_and(|now| now != known)
}

/// A body is said to have another length than the same body had before. Which is right may show
/// with the next attempt.
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

/// The note for the body that `head` announces, its boot left empty; nothing if another request
/// could not go on with it. `length` is that of the whole body.
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
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|name| !coding::is_none(&name.trim_ascii().to_ascii_lowercase()))
}

/// First byte, last byte, length of the whole (RFC 9110 section 14.4).
fn content_range(value: &str) -> Option<(u64, u64, u64)> {
    let (first, last, length) = parts(value)?;
    Some((first, last, number(length)?))
}

/// First and last byte; the length of the whole may be unknown (`*`), and has to be longer.
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
