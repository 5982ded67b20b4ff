//! How the end of a body is found: what parsers below the engines differ on, decided once.
//!
//! It must not look at the body.

use http::Version;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

use super::Head;

/// Longest body: lengths are sums of signed numbers somewhere in every system below.
const MAX_LENGTH: u64 = i64::MAX as u64;

/// Refuses framing that could be read in more than one way (RFC 9112 section 6), and codings that
/// nobody asked for, whose result would be stored in place of the file. Says what is wrong.
pub(super) fn check(head: &Head<'_>) -> Result<(), String> {
    let mut codings = 0;
    for value in head.headers.get_all(TRANSFER_ENCODING) {
        for coding in value.as_bytes().split(|byte| *byte == b',') {
            let coding = coding.trim_ascii();
            if coding.eq_ignore_ascii_case(b"chunked") || coding.eq_ignore_ascii_case(b"identity") {
                codings += 1;
            } else if !coding.is_empty() {
                let coding = String::from_utf8_lossy(coding);
                return Err(format!("its transfer coding is {coding:?}"));
            }
        }
    }
    if codings > 1 {
        return Err("it has more than one transfer coding".to_owned());
    }
    if codings > 0 && head.version < Version::HTTP_11 {
        return Err("HTTP/1.0 has no transfer codings".to_owned());
    }
    for value in head.headers.get_all(CONTENT_LENGTH) {
        for length in value.as_bytes().split(|byte| *byte == b',') {
            let length = length.trim_ascii();
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let known = std::str::from_utf8(length)
                .ok()
                .and_then(|text| text.parse().ok());
            if !digits || known.is_none_or(|length: u64| length > MAX_LENGTH) {
                let length = String::from_utf8_lossy(length);
                return Err(format!("{length:?} is no length"));
            }
        }
    }
    Ok(())
}
