//! The codings of a body (RFC 9110 section 8.4), from its headers.
//!
//! Must not decode anything.

use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// Largest number of codings of one body. One is usual, and each costs memory.
const MOST: usize = 3;

/// A coding that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// gzip (RFC 1952).
    Gzip,
    /// Brotli (RFC 7932).
    Brotli,
    /// Zstandard (RFC 8878), with a window of at most 8 MiB (RFC 9659).
    Zstd,
}

/// Returns the codings of a body, in the order in which they were applied.
///
/// # Errors
///
/// Returns a description if one of them is unknown, or if there are too many.
pub(super) fn of(headers: &HeaderMap) -> Result<Vec<Coding>, String> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in value.as_bytes().split(|byte| *byte == b',') {
            let name = name.trim_ascii().to_ascii_lowercase();
            codings.push(match &name[..] {
                other if is_none(other) => continue,
                b"gzip" | b"x-gzip" => Coding::Gzip,
                b"br" => Coding::Brotli,
                b"zstd" => Coding::Zstd,
                other => {
                    let other = String::from_utf8_lossy(other);
                    return Err(format!(
                        "body is coded as {other:?}, which was not asked for"
                    ));
                }
            });
        }
    }
    if codings.len() > MOST {
        return Err(format!("body is coded {} times over", codings.len()));
    }
    Ok(codings)
}

/// Returns whether a lower-case name means no coding: object stores and frameworks put character
/// sets, media types and transfer methods there.
pub(super) fn is_none(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 14] = [
        b"",
        b"identity",
        b"none",
        b"null",
        b"raw",
        b"plain",
        b"text",
        b"binary",
        b"7bit",
        b"8bit",
        b"chunked",
        b"aws-chunked",
        b"us-ascii",
        b"ascii",
    ];
    const CHARSETS: [&[u8]; 4] = [b"utf", b"iso-8859-", b"iso8859", b"windows-12"];
    NAMES.contains(&name)
        || CHARSETS.iter().any(|charset| name.starts_with(charset))
        || name.contains(&b'/')
}
