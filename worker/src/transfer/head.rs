//! The head of an HTTP/1 response: judged line by line, and written anew for a parser.
//!
//! A parser is shown the headers that the worker reads, each in one form, and nothing else; so
//! parsers agree, and neither long nor odd heads matter to them. A line that is malformed is dropped
//! unless it bears on the body, and no further request uses the connection (RFC 9112 sections 2.2
//! and 5).
//!
//! It must not look at the body.

use std::borrow::Cow;

use http::header::{
    ACCEPT_RANGES, CONNECTION, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, LAST_MODIFIED, LOCATION, RETRY_AFTER, SET_COOKIE,
    TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use http::{HeaderName, Version};

use super::TransportError;
use super::framing::{self, Found, Framing};

/// Largest head that a parser is shown, in bytes.
pub const MAX_SHOWN: usize = 40 * 1024;

/// Most headers that a parser is shown.
pub const MAX_SHOWN_HEADERS: usize = 96;

/// What each line may have more than the one that it is made of, together.
pub(super) const GROWTH: usize = 1024;

/// What a head begins with, as long as nothing is known of it.
const STATUS_LINE: &[u8] = b"HTTP/1.1 200 \r\n";

/// Headers that say what the body is, where it ends and where it is instead. They decide what is
/// stored: if one of them is malformed or does not fit, the response is refused.
const VITAL: [HeaderName; 7] = [
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONTENT_ENCODING,
    CONTENT_RANGE,
    LOCATION,
    ETAG,
    LAST_MODIFIED,
];

/// Other headers that are shown, if they are well-formed and fit.
const SHOWN: [HeaderName; 7] = [
    ACCEPT_RANGES,
    CONTENT_DISPOSITION,
    CONTENT_TYPE,
    DATE,
    RETRY_AFTER,
    SET_COOKIE,
    WWW_AUTHENTICATE,
];

/// A head that may be passed on.
#[derive(Debug)]
pub(super) enum Head {
    /// Of an interim response: another head follows.
    Interim,
    /// Of the response.
    Final {
        /// What a parser is shown.
        shown: Vec<u8>,
        framing: Framing,
        /// No further request may use the connection.
        last: bool,
    },
}

/// Reads `head`, up to and with the empty line that ends it.
///
/// # Errors
///
/// If it is no head, or what it says of the body can be read in more than one way.
pub(super) fn read(head: &[u8]) -> Result<Head, TransportError> {
    let start = head.iter().position(|byte| !b"\r\n".contains(byte));
    let mut lines = head[start.unwrap_or(head.len())..]
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let (version, status) = status_line(lines.next().unwrap_or_default())?;
    let mut builder = Builder::new(head.len());
    let mut header = Cow::Borrowed(&[][..]);
    for line in lines.take_while(|line| !line.is_empty()) {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            // RFC 9112 section 5.2: the line before goes on.
            let header = header.to_mut();
            header.push(b' ');
            header.extend_from_slice(trim(line));
        } else {
            builder.line(std::mem::replace(&mut header, Cow::Borrowed(line)))?;
        }
    }
    builder.line(header)?;
    builder.finish(version, status)
}

/// Version and status.
fn status_line(line: &[u8]) -> Result<(Version, u16), TransportError> {
    let line = [line, b"\r\n\r\n"].concat();
    let mut response = httparse::Response::new(&mut []);
    let parsed = response.parse(&line);
    let (Ok(httparse::Status::Complete(_)), Some(version), Some(status)) =
        (parsed, response.version, response.code)
    else {
        let cause = parsed.err().map(|error| error.to_string());
        let cause = cause.unwrap_or_else(|| "its status line is cut off".to_owned());
        return Err(TransportError::Protocol(cause));
    };
    if status < 100 {
        let what = format!("its status is {status:03}");
        return Err(TransportError::Protocol(what));
    }
    let version = match version {
        0 => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    Ok((version, status))
}

/// A head in the making. Values that stand in one line are not copied.
#[derive(Debug)]
struct Builder<'h> {
    /// What a parser is shown, so far.
    shown: Vec<u8>,
    count: usize,
    /// The values of `Transfer-Encoding`, as one list.
    codings: Option<Cow<'h, [u8]>>,
    /// The values of `Content-Length`, as one list.
    lengths: Option<Cow<'h, [u8]>>,
    /// The last value of `Connection`.
    connection: Option<Cow<'h, [u8]>>,
    last: bool,
}

impl<'h> Builder<'h> {
    /// For a head of so many bytes.
    fn new(bytes: usize) -> Self {
        let mut shown = Vec::with_capacity(bytes.min(MAX_SHOWN) + GROWTH);
        shown.extend_from_slice(STATUS_LINE);
        Self {
            shown,
            count: 0,
            codings: None,
            lengths: None,
            connection: None,
            last: false,
        }
    }

    /// Takes in one header, unfolded. An empty one comes before the first.
    fn line(&mut self, line: Cow<'h, [u8]>) -> Result<(), TransportError> {
        match line {
            Cow::Borrowed(line) => self.take(line, Cow::Borrowed),
            Cow::Owned(line) => self.take(&line, |value| Cow::Owned(value.to_vec())),
        }
    }

    fn take<'l>(
        &mut self,
        line: &'l [u8],
        keep: impl FnOnce(&'l [u8]) -> Cow<'h, [u8]>,
    ) -> Result<(), TransportError> {
        match header(line) {
            _ if line.is_empty() => Ok(()),
            Some((name, value)) => self.header(&name, value, keep),
            None if is_vital(line) => {
                let line = String::from_utf8_lossy(&line[..line.len().min(80)]);
                let what = format!("its header {line:?} is malformed");
                Err(TransportError::Protocol(what))
            }
            None => {
                self.last = true;
                Ok(())
            }
        }
    }

    fn header<'l>(
        &mut self,
        name: &HeaderName,
        value: &'l [u8],
        keep: impl FnOnce(&'l [u8]) -> Cow<'h, [u8]>,
    ) -> Result<(), TransportError> {
        let vital = VITAL.contains(name);
        if *name == CONTENT_LENGTH {
            add(&mut self.lengths, keep(value));
        } else if *name == TRANSFER_ENCODING {
            add(&mut self.codings, keep(value));
        } else if *name == CONNECTION {
            let mut parts = value.windows(5);
            self.last |= parts.any(|part| part.eq_ignore_ascii_case(b"close"));
            self.connection = Some(keep(value));
        } else if vital || SHOWN.contains(name) {
            // Cookies are many, and the least of what is shown.
            let share = if *name == SET_COOKIE { 2 } else { 1 };
            let fits = self.shown.len() + value.len() <= MAX_SHOWN / share
                && self.count < MAX_SHOWN_HEADERS / share;
            if fits {
                self.show(name, value);
            } else if vital {
                let what = format!("no room for its header {name}");
                return Err(TransportError::HeadTooLarge(what));
            }
        }
        Ok(())
    }

    fn show(&mut self, name: &HeaderName, value: &[u8]) {
        for part in [name.as_str().as_bytes(), b":", value, b"\r\n"] {
            self.shown.extend_from_slice(part);
        }
        self.count += 1;
    }

    fn finish(mut self, version: Version, status: u16) -> Result<Head, TransportError> {
        if (100..200).contains(&status) && status != 101 {
            // RFC 9112 section 6.3 and RFC 9110 section 8.6: they have no body, and do not say so.
            if self.lengths.is_some() || self.codings.is_some() {
                let what = "an interim response announces a body";
                return Err(TransportError::Framing(what.to_owned()));
            }
            return Ok(Head::Interim);
        }
        let codings = self.codings.as_deref().into_iter();
        let lengths = self.lengths.as_deref().into_iter();
        let Found { framing, odd } =
            framing::of(version, codings, lengths).map_err(TransportError::Framing)?;
        let last = self.last || odd;
        // RFC 9112 section 6.3, rule 1.
        let framing = match status {
            101 | 204 | 304 => Framing::Length(0),
            _ => framing,
        };
        let minor = if version == Version::HTTP_10 && framing != Framing::Chunked {
            0
        } else {
            1
        };
        match framing {
            Framing::Length(_) if matches!(status, 101 | 204 | 304) => {}
            Framing::Length(length) => self.show(&CONTENT_LENGTH, length.to_string().as_bytes()),
            Framing::Chunked => self.show(&TRANSFER_ENCODING, b"chunked"),
            Framing::UntilClose => {}
        }
        if last {
            self.show(&CONNECTION, b"close");
        } else if let Some(value) = self.connection.take() {
            self.show(&CONNECTION, &value);
        }
        let mut shown = self.shown;
        let status_line = format!("HTTP/1.{minor} {status} \r\n");
        shown[..STATUS_LINE.len()].copy_from_slice(status_line.as_bytes());
        shown.extend_from_slice(b"\r\n");
        Ok(Head::Final {
            shown,
            framing,
            last,
        })
    }
}

/// Adds `value` to a list, which is one header as well as several (RFC 9110 section 5.3).
fn add<'h>(list: &mut Option<Cow<'h, [u8]>>, value: Cow<'h, [u8]>) {
    match list {
        None => *list = Some(value),
        Some(list) => {
            let list = list.to_mut();
            list.push(b',');
            list.extend_from_slice(&value);
        }
    }
}

/// Name and value of a well-formed header.
pub(super) fn header(line: &[u8]) -> Option<(HeaderName, &[u8])> {
    let at = memchr::memchr(b':', line)?;
    let name = HeaderName::from_bytes(&line[..at]).ok()?;
    let value = trim(&line[at + 1..]);
    // As `HeaderValue` has it.
    let sound = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    value.iter().all(sound).then_some((name, value))
}

/// `text` without blanks around it.
fn trim(text: &[u8]) -> &[u8] {
    let solid = |byte: &u8| !b" \t".contains(byte);
    let first = text.iter().position(solid).unwrap_or(text.len());
    let last = text.iter().rposition(solid).map_or(first, |at| at + 1);
    &text[first..last]
}

/// Whether a malformed line may be meant as a vital header: its letters are those of one.
fn is_vital(line: &[u8]) -> bool {
    let colon = memchr::memchr(b':', line);
    let name = line[..colon.unwrap_or(line.len())].iter();
    let letters: Vec<u8> = name
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(u8::to_ascii_lowercase)
        .collect();
    VITAL.iter().any(|vital| {
        let vital: Vec<u8> = vital
            .as_str()
            .bytes()
            .filter(|byte| *byte != b'-')
            .collect();
        match colon {
            Some(_) => letters == vital,
            None => letters.starts_with(&vital),
        }
    })
}
