//! How the end of a body is found (RFC 9112 section 6), for whoever has the headers.
//!
//! It must not look at the body.

use http::Version;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

use super::Head;

/// Longest body: lengths are sums of signed numbers somewhere in every system below.
pub(super) const MAX_LENGTH: u64 = i64::MAX as u64;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After its last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// What the values of `Transfer-Encoding` and `Content-Length` announce.
///
/// # Errors
///
/// If that could be read in more than one way, or is a coding that nobody asked for, whose result
/// would be stored in place of the file. Says what is wrong.
pub(super) fn of<'v>(
    version: Version,
    codings: impl Iterator<Item = &'v [u8]>,
    lengths: impl Iterator<Item = &'v [u8]>,
) -> Result<Framing, String> {
    let coding = coding(codings)?;
    let length = length(lengths)?;
    match (coding, length) {
        (Some(_), _) if version < Version::HTTP_11 => {
            Err("HTTP/1.0 has no transfer codings".to_owned())
        }
        (Some(_), Some(_)) => Err("it has both a transfer coding and a content length".to_owned()),
        (Some(Coding::Chunked), None) => Ok(Framing::Chunked),
        (Some(Coding::Identity) | None, None) => Ok(Framing::UntilClose),
        (None, Some(length)) => Ok(Framing::Length(length)),
    }
}

/// As [`of`], for a head that an engine has read; HTTP/2 has a framing of its own, and the same
/// rules for what a length looks like (RFC 9113 section 8.1.1).
pub(super) fn check(head: &Head<'_>) -> Result<(), String> {
    let of_name = |name| {
        let values = head.headers.get_all(name).iter();
        values.map(http::HeaderValue::as_bytes)
    };
    of(
        head.version,
        of_name(TRANSFER_ENCODING),
        of_name(CONTENT_LENGTH),
    )
    .map(|_| ())
}

enum Coding {
    Chunked,
    Identity,
}

/// The one transfer coding, if there is one.
fn coding<'v>(values: impl Iterator<Item = &'v [u8]>) -> Result<Option<Coding>, String> {
    let mut found = None;
    for value in values {
        for coding in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let known = if coding.eq_ignore_ascii_case(b"chunked") {
                Coding::Chunked
            } else if coding.eq_ignore_ascii_case(b"identity") {
                // Retired by RFC 7230; it never meant anything.
                Coding::Identity
            } else {
                let coding = String::from_utf8_lossy(coding);
                return Err(format!("its transfer coding is {coding:?}"));
            };
            if found.replace(known).is_some() {
                return Err("it has more than one transfer coding".to_owned());
            }
        }
    }
    Ok(found)
}

/// The one content length, if there is one. The same length twice is refused as well: whoever
/// repeats a header has put two messages together.
fn length<'v>(values: impl Iterator<Item = &'v [u8]>) -> Result<Option<u64>, String> {
    let mut found = None;
    for value in values {
        let value = value.trim_ascii();
        let text = String::from_utf8_lossy(value);
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        if value.contains(&b',') {
            return Err(format!("it has more than one content length: {text:?}"));
        }
        let length = text.parse().ok().filter(|length| *length <= MAX_LENGTH);
        let (true, Some(length)) = (digits, length) else {
            return Err(format!("{text:?} is no content length"));
        };
        if found.replace(length).is_some() {
            return Err("it has more than one content length".to_owned());
        }
    }
    Ok(found)
}
