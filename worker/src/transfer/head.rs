//! The head of an HTTP/1 response: checked line by line, and rewritten for a parser.
//!
//! The parser receives only the headers that the worker reads, each in one form. So all parsers
//! agree, and long or odd heads do not affect them. A malformed line is dropped unless it concerns
//! the body, and no further request uses the connection (RFC 9112 sections 2.2 and 5).
//!
//! Must not look at the body.

use std::borrow::Cow;

use http::Version;

use super::TransportError;
use super::framing::{self, Found, Framing};

/// Largest rewritten head, in bytes.
pub const MAX_SHOWN: usize = 40 * 1024;

/// Largest number of headers in it.
pub const MAX_SHOWN_HEADERS: usize = 96;

/// Bytes by which a rewritten head may be longer than the original, in total.
pub(super) const GROWTH: usize = 1024;

/// First line of a rewritten head until the real one is known.
const STATUS_LINE: &[u8] = b"HTTP/1.1 200 \r\n";

/// Purpose of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Length,
    Coding,
    Connection,
    /// Decides what is stored: it describes the body or says where it is. If it is malformed or
    /// does not fit, the response is refused.
    Vital,
    /// Passed on if it is well-formed and fits.
    Useful,
    /// As `Useful`, but there may be many, and they are the least important.
    Cookie,
}

impl Role {
    /// Returns whether the body is not known without it.
    const fn is_vital(self) -> bool {
        matches!(self, Self::Length | Self::Coding | Self::Vital)
    }
}

/// The headers that the worker reads, in the form that a parser receives.
const READ: [(&str, Role); 15] = [
    ("content-length", Role::Length),
    ("transfer-encoding", Role::Coding),
    ("connection", Role::Connection),
    ("content-encoding", Role::Vital),
    ("content-range", Role::Vital),
    ("location", Role::Vital),
    ("etag", Role::Vital),
    ("last-modified", Role::Vital),
    ("accept-ranges", Role::Useful),
    ("content-disposition", Role::Useful),
    ("content-type", Role::Useful),
    ("date", Role::Useful),
    ("retry-after", Role::Useful),
    ("www-authenticate", Role::Useful),
    ("set-cookie", Role::Cookie),
];

/// Result of reading a head.
#[derive(Debug)]
pub(super) enum Head {
    /// Interim response: another head follows.
    Interim,
    /// The response itself.
    Final {
        framing: Framing,
        /// Whether no further request may use the connection.
        last: bool,
    },
}

/// Reads `head`, including the empty line that ends it. Writes the rewritten head to `shown`,
/// replacing its content; nothing for an interim response.
///
/// # Errors
///
/// Fails if it is not a head, or if it describes the body ambiguously.
pub(super) fn read(head: &[u8], shown: &mut Vec<u8>) -> Result<Head, TransportError> {
    let start = head.iter().position(|byte| !b"\r\n".contains(byte));
    let mut lines = head[start.unwrap_or(head.len())..]
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let (version, status) = status_line(lines.next().unwrap_or_default())?;
    let mut builder = Builder::new(shown);
    let mut header = Cow::Borrowed(&[][..]);
    for line in lines.take_while(|line| !line.is_empty()) {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            // RFC 9112 section 5.2: continues the line before.
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

/// Parses version and status.
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

/// A head that is being rewritten. Values on a single line are not copied.
#[derive(Debug)]
struct Builder<'h> {
    /// The rewritten head so far.
    shown: &'h mut Vec<u8>,
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
    fn new(shown: &'h mut Vec<u8>) -> Self {
        shown.clear();
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

    /// Adds one header, unfolded. The first call has an empty line.
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
            Some((name, value)) => self.header(name, value, keep),
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
        name: &[u8],
        value: &'l [u8],
        keep: impl FnOnce(&'l [u8]) -> Cow<'h, [u8]>,
    ) -> Result<(), TransportError> {
        let mut read = READ.iter();
        let known = read.find(|(read, _)| read.as_bytes().eq_ignore_ascii_case(name));
        let Some((name, role)) = known else {
            return Ok(());
        };
        match role {
            Role::Length => add(&mut self.lengths, keep(value)),
            Role::Coding => add(&mut self.codings, keep(value)),
            Role::Connection => {
                let mut parts = value.windows(5);
                self.last |= parts.any(|part| part.eq_ignore_ascii_case(b"close"));
                self.connection = Some(keep(value));
            }
            Role::Vital | Role::Useful | Role::Cookie => {
                let share = if *role == Role::Cookie { 2 } else { 1 };
                let fits = self.shown.len() + value.len() <= MAX_SHOWN / share
                    && self.count < MAX_SHOWN_HEADERS / share;
                if fits {
                    self.show(name, value);
                } else if role.is_vital() {
                    let what = format!("no room for its header {name}");
                    return Err(TransportError::HeadTooLarge(what));
                }
            }
        }
        Ok(())
    }

    fn show(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), b":", value, b"\r\n"] {
            self.shown.extend_from_slice(part);
        }
        self.count += 1;
    }

    fn finish(mut self, version: Version, status: u16) -> Result<Head, TransportError> {
        if (100..200).contains(&status) && status != 101 {
            // RFC 9112 section 6.3 and RFC 9110 section 8.6: they have no body and announce none.
            if self.lengths.is_some() || self.codings.is_some() {
                let what = "an interim response announces a body";
                return Err(TransportError::Framing(what.to_owned()));
            }
            self.shown.clear();
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
            Framing::Length(length) => self.show("content-length", length.to_string().as_bytes()),
            Framing::Chunked => self.show("transfer-encoding", b"chunked"),
            Framing::UntilClose => {}
        }
        if last {
            self.show("connection", b"close");
        } else if let Some(value) = self.connection.take() {
            self.show("connection", &value);
        }
        let shown = self.shown;
        let status_line = format!("HTTP/1.{minor} {status} \r\n");
        shown[..STATUS_LINE.len()].copy_from_slice(status_line.as_bytes());
        shown.extend_from_slice(b"\r\n");
        Ok(Head::Final { framing, last })
    }
}

/// Adds `value` to a list, which may be one header or several (RFC 9110 section 5.3).
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

/// Returns name and value of a well-formed header.
pub(super) fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b':', line)?;
    let name = &line[..at];
    let value = trim(&line[at + 1..]);
    let sound = !name.is_empty() && name.iter().all(is_token) && value.iter().all(is_text);
    sound.then_some((name, value))
}

/// Returns whether a name may contain the byte: `tchar` of RFC 9110 section 5.6.2.
const fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Returns whether a value may contain the byte, by the rules of `http::HeaderValue`.
const fn is_text(byte: &u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// Returns `text` without surrounding blanks.
fn trim(text: &[u8]) -> &[u8] {
    let solid = |byte: &u8| !b" \t".contains(byte);
    let first = text.iter().position(solid).unwrap_or(text.len());
    let last = text.iter().rposition(solid).map_or(first, |at| at + 1);
    &text[first..last]
}

/// Returns whether a malformed line may be meant as a vital header: it has the same letters.
fn is_vital(line: &[u8]) -> bool {
    let colon = memchr::memchr(b':', line);
    let name = line[..colon.unwrap_or(line.len())].iter();
    let letters: Vec<u8> = name
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(u8::to_ascii_lowercase)
        .collect();
    let vital = READ.iter().filter(|(_, role)| role.is_vital());
    vital.map(|(name, _)| name.bytes()).any(|name| {
        let vital: Vec<u8> = name.filter(|byte| *byte != b'-').collect();
        match colon {
            Some(_) => letters == vital,
            None => letters.starts_with(&vital),
        }
    })
}
