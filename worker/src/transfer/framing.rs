//! How the end of a body is determined from the headers (RFC 9112 section 6).
//!
//! Must not look at the body.

use http::Version;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

use super::Head;

/// Longest body, in bytes: every system uses signed numbers for lengths somewhere.
pub(super) const MAX_LENGTH: u64 = i64::MAX as u64;

/// How the end of a body is determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After this many bytes.
    Length(u64),
    /// After its last chunk.
    Chunked,
    /// At the end of the connection.
    UntilClose,
}

/// How the end of a body is determined, and whether it was announced in an odd way. If so, no
/// further response may be read from the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) framing: Framing,
    pub(super) odd: bool,
}

/// Evaluates the values of `Transfer-Encoding` and `Content-Length`. Chunks have priority over
/// lengths (RFC 9112 section 6.3, rule 3), and HTTP/1.0 may use them (section 6.1).
///
/// # Errors
///
/// Returns a description if there are different lengths, or a coding that was not requested, which
/// would be stored as the file.
pub(super) fn of<'v>(
    version: Version,
    codings: impl Iterator<Item = &'v [u8]>,
    lengths: impl Iterator<Item = &'v [u8]>,
) -> Result<Found, String> {
    let mut lengths = lengths.peekable();
    let Codings { chunked, odd } = coding(codings)?;
    if chunked {
        return Ok(Found {
            framing: Framing::Chunked,
            odd: odd || version < Version::HTTP_11 || lengths.peek().is_some(),
        });
    }
    let (length, repeated) = length(lengths)?;
    Ok(Found {
        framing: length.map_or(Framing::UntilClose, Framing::Length),
        odd: odd || repeated,
    })
}

/// Checks a head that an engine has read, as [`of`] does. HTTP/2 has its own framing, but the same
/// rules for the form of a length (RFC 9113 section 8.1.1).
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

struct Codings {
    chunked: bool,
    /// Whether there are others without meaning.
    odd: bool,
}

/// Evaluates the transfer codings. Ignores `identity`, retired by RFC 7230, and empty values.
fn coding<'v>(values: impl Iterator<Item = &'v [u8]>) -> Result<Codings, String> {
    let mut found = Codings {
        chunked: false,
        odd: false,
    };
    for coding in values.flat_map(|value| value.split(|byte| *byte == b',')) {
        let coding = coding.trim_ascii();
        if coding.is_empty() || coding.eq_ignore_ascii_case(b"identity") {
            found.odd = true;
        } else if !coding.eq_ignore_ascii_case(b"chunked") {
            let coding = String::from_utf8_lossy(coding);
            return Err(format!("its transfer coding is {coding:?}"));
        } else if std::mem::replace(&mut found.chunked, true) {
            return Err("it is chunked twice".to_owned());
        }
    }
    Ok(found)
}

/// Returns the content length, if there is one, and whether it is repeated, which RFC 9110 section
/// 8.6 allows a recipient to accept.
fn length<'v>(values: impl Iterator<Item = &'v [u8]>) -> Result<(Option<u64>, bool), String> {
    let (mut found, mut repeated) = (None, false);
    for value in values.flat_map(|value| value.split(|byte| *byte == b',')) {
        let value = value.trim_ascii();
        let text = String::from_utf8_lossy(value);
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let length = text.parse().ok().filter(|length| *length <= MAX_LENGTH);
        let (true, Some(length)) = (digits, length) else {
            return Err(format!("{text:?} is no content length"));
        };
        match found.replace(length) {
            Some(other) if other != length => {
                return Err(format!("it has two content lengths: {other} and {length}"));
            }
            Some(_) => repeated = true,
            None => {}
        }
    }
    Ok((found, repeated))
}
