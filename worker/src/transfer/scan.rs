//! Checks HTTP/1 responses byte by byte before a parser receives them.
//!
//! Each engine has its own parser, and each parser tolerates other errors. Tolerated errors are how
//! one message can be taken for two, or half a body for a whole one. So all engines pass responses
//! through this scanner first. It holds back a head until it is whole, and rewrites it. It stops a
//! body that violates RFC 9112, with a separate kind of failure. It removes what parsers treat
//! differently: chunk extensions, trailers, bytes after the end.
//!
//! Must not decode a body or decide what a response means.

use super::TransportError;
use super::framing::{self, Framing};
use super::head::{self, GROWTH, Head};
pub use super::head::{MAX_SHOWN, MAX_SHOWN_HEADERS};

/// Largest response head without interim responses, in bytes: curl's limit.
pub const MAX_HEAD: usize = 300 * 1024;

/// Largest number of lines in a response head.
pub const MAX_HEADERS: usize = 5000;

/// Largest number of interim responses before the final one. Each counts as a sign of life, so no
/// other limit would end an endless sequence.
const MAX_INTERIM: u32 = 20;

/// Longest line with the size of a chunk, including extensions, in bytes.
const MAX_CHUNK_LINE: usize = 8 * 1024;

/// Longest trailer section, in bytes.
const MAX_TRAILERS: usize = 16 * 1024;

/// Largest number of digits in the size of a chunk.
const MAX_DIGITS: usize = 16;

/// Checks the responses on one connection.
#[derive(Debug)]
pub struct Scanner {
    state: State,
    /// The head or the trailer line so far.
    held: Vec<u8>,
    interim: u32,
    broken: Option<TransportError>,
    /// Number of complete lines of the head.
    lines: usize,
    /// The head to pass on, if the last data completed one.
    shown: Vec<u8>,
    /// Whether no further response may use the connection.
    spent: bool,
}

/// Data for a parser: the head, then the first bytes of the data that was fed.
#[derive(Debug)]
pub struct Passed<'s> {
    /// A head, or empty.
    pub head: &'s [u8],
    /// How many bytes of the data to keep.
    pub kept: usize,
}

impl Passed<'_> {
    /// Inserts the head before the kept data, at the front of `buffer`. Returns the total length.
    ///
    /// # Errors
    ///
    /// Fails if there is no room for it, because more was read than [`Scanner::most`] allows.
    pub fn put(&self, buffer: &mut [u8]) -> Result<usize, TransportError> {
        let end = self.head.len() + self.kept;
        if self.head.is_empty() {
            return Ok(end);
        }
        if end > buffer.len() {
            let what = "no room for it beside the body".to_owned();
            return Err(TransportError::HeadTooLarge(what));
        }
        buffer.copy_within(..self.kept, self.head.len());
        buffer[..self.head.len()].copy_from_slice(self.head);
        Ok(end)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No request was sent, or its response is complete.
    Idle,
    Head,
    /// This many bytes of body are still to come.
    Counted(u64),
    UntilClose,
    Chunked(Chunk),
}

/// Position in a chunked body (RFC 9112 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    /// In the size: its value so far and the number of digits.
    Size(u64, usize),
    /// In blanks after the size, with their number: only extensions may follow.
    Blank(u64, usize),
    /// After the size: bytes of the line that were skipped.
    Extension(u64, usize),
    /// At the line feed of the size line.
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// In the trailers: their length so far.
    Trailers(usize),
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// Creates a scanner for a new connection.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Idle,
            held: Vec::new(),
            interim: 0,
            broken: None,
            lines: 0,
            shown: Vec::new(),
            spent: false,
        }
    }

    /// Prepares for the response to a request that is being sent.
    pub fn begin(&mut self) {
        self.state = State::Head;
        self.held.clear();
        self.lines = 0;
        self.interim = 0;
    }

    /// Returns whether another request may follow: the last response is whole, and the connection
    /// is not spent.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle && !self.spent && self.broken.is_none()
    }

    /// Returns whether no further response on the connection can be trusted, because of bytes
    /// outside a response or an odd head.
    pub const fn is_spent(&self) -> bool {
        self.spent
    }

    /// Returns how many bytes may be read at once into a buffer of `room` bytes: a head that was
    /// held back must fit in before them.
    #[must_use]
    pub fn most(&self, room: usize) -> usize {
        match self.state {
            State::Head => {
                let head = self.held.len().min(MAX_SHOWN) + GROWTH;
                room.saturating_sub(head).max(1)
            }
            State::Idle | State::Counted(_) | State::UntilClose | State::Chunked(_) => room,
        }
    }

    /// Checks received data, and moves what a parser should receive to the front of `data`. After
    /// an error nothing more is passed on, and [`verdict`](Self::verdict) returns it.
    pub fn feed(&mut self, data: &mut [u8]) -> Passed<'_> {
        self.shown.clear();
        let (mut read, mut kept) = (0, 0);
        while read < data.len() && self.broken.is_none() {
            let (taken, passed) = match self.step(&data[read..]) {
                Ok(step) => step,
                Err(error) => {
                    self.broken = Some(error);
                    break;
                }
            };
            if read != kept {
                data.copy_within(read..read + passed, kept);
            }
            read += taken;
            kept += passed;
        }
        Passed {
            head: &self.shown,
            kept,
        }
    }

    /// Checks whether reading may continue. Call when all data was passed on.
    ///
    /// # Errors
    ///
    /// Returns the error in the data.
    pub fn verdict(&self) -> Result<(), TransportError> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    /// Handles the end of the connection.
    ///
    /// # Errors
    ///
    /// Fails if a response had begun and is incomplete.
    pub fn end(&self) -> Result<(), TransportError> {
        let place = match self.state {
            State::Idle | State::UntilClose => return Ok(()),
            State::Head if self.held.is_empty() => "before the response".to_owned(),
            State::Head => "within the head of the response".to_owned(),
            State::Counted(left) => format!("{left} bytes are missing"),
            State::Chunked(Chunk::Data(left)) => {
                format!("{left} bytes of a chunk are missing")
            }
            State::Chunked(_) => "before the last chunk".to_owned(),
        };
        Err(TransportError::Disconnected(place))
    }

    /// Takes one step. Returns how many bytes of `data` it takes, and how many of these, from the
    /// first on, are passed on.
    fn step(&mut self, data: &[u8]) -> Result<(usize, usize), TransportError> {
        match self.state {
            State::Idle => {
                self.spent = true;
                Ok((data.len(), 0))
            }
            State::UntilClose => Ok((data.len(), data.len())),
            State::Counted(left) => {
                let taken = shorter(data.len(), left);
                self.state = match left - taken as u64 {
                    0 => State::Idle,
                    left => State::Counted(left),
                };
                Ok((taken, taken))
            }
            State::Head => self.head(data),
            State::Chunked(chunk) => self.chunk(chunk, data),
        }
    }

    fn head(&mut self, data: &[u8]) -> Result<(usize, usize), TransportError> {
        let before = self.held.len();
        let mut held = std::mem::take(&mut self.held);
        // A head that comes at once is read in place.
        let seen = if before == 0 {
            data
        } else {
            held.extend_from_slice(data);
            &held
        };
        starts_like_http(seen)?;
        // Searches from slightly before the new part, because the end may be split.
        let end = head_end(seen, before.saturating_sub(3));
        let head = &seen[..end.unwrap_or(seen.len())];
        let taken = head.len() - before;
        self.lines += memchr::memchr_iter(b'\n', &data[..taken]).count();
        if head.len() > MAX_HEAD {
            let what = format!("more than {MAX_HEAD} bytes");
            return Err(TransportError::HeadTooLarge(what));
        }
        if self.lines > MAX_HEADERS {
            let what = format!("more than {MAX_HEADERS} lines");
            return Err(TransportError::HeadTooLarge(what));
        }
        if end.is_some() {
            self.lines = 0;
            self.state = self.body(head)?;
        } else {
            if before == 0 {
                held.extend_from_slice(data);
            }
            self.held = held;
        }
        Ok((taken, 0))
    }

    /// Returns the state that follows `head`.
    fn body(&mut self, head: &[u8]) -> Result<State, TransportError> {
        let (framing, last) = match head::read(head, &mut self.shown)? {
            Head::Interim => {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    let what = format!("more than {MAX_INTERIM} interim responses");
                    return Err(TransportError::Protocol(what));
                }
                return Ok(State::Head);
            }
            Head::Final { framing, last } => (framing, last),
        };
        self.spent |= last;
        Ok(match framing {
            Framing::Length(0) => State::Idle,
            Framing::Length(length) => State::Counted(length),
            Framing::Chunked => State::Chunked(Chunk::Size(0, 0)),
            Framing::UntilClose => State::UntilClose,
        })
    }

    fn chunk(&mut self, chunk: Chunk, data: &[u8]) -> Result<(usize, usize), TransportError> {
        let Some(&byte) = data.first() else {
            return Ok((0, 0));
        };
        let bad = |what: &str| Err(TransportError::Framing(what.to_owned()));
        let (next, passed) = match chunk {
            Chunk::Size(size, digits) => match char::from(byte).to_digit(16) {
                Some(digit) => {
                    let size = size.checked_mul(16).map(|size| size + u64::from(digit));
                    match size.filter(|size| *size <= framing::MAX_LENGTH) {
                        Some(size) if digits < MAX_DIGITS => (Chunk::Size(size, digits + 1), 1),
                        Some(_) | None => return bad("a chunk's size is too large"),
                    }
                }
                None if digits == 0 => return bad("a chunk has no size"),
                None => match byte {
                    b'\r' => (Chunk::SizeEnd(size), 1),
                    b';' => (Chunk::Extension(size, 1), 0),
                    b' ' | b'\t' => (Chunk::Blank(size, 1), 0),
                    _ => return bad("a chunk's size is not a number"),
                },
            },
            Chunk::Blank(size, skipped) => match byte {
                b'\r' => (Chunk::SizeEnd(size), 1),
                b';' => (Chunk::Extension(size, skipped), 0),
                b' ' | b'\t' if skipped < MAX_CHUNK_LINE => (Chunk::Blank(size, skipped + 1), 0),
                _ => return bad("a chunk's size is followed by something else"),
            },
            Chunk::Extension(size, skipped) => match byte {
                b'\r' => (Chunk::SizeEnd(size), 1),
                b'\n' | 0 => return bad("a chunk extension holds a control character"),
                _ if skipped >= MAX_CHUNK_LINE => return bad("a chunk extension is too long"),
                _ => (Chunk::Extension(size, skipped + 1), 0),
            },
            Chunk::SizeEnd(_) if byte != b'\n' => return bad("a chunk's size has no line end"),
            Chunk::SizeEnd(0) => {
                self.held.clear();
                (Chunk::Trailers(0), 1)
            }
            Chunk::SizeEnd(size) => (Chunk::Data(size), 1),
            Chunk::Data(left) => {
                let taken = shorter(data.len(), left);
                self.state = State::Chunked(match left - taken as u64 {
                    0 => Chunk::DataCr,
                    left => Chunk::Data(left),
                });
                return Ok((taken, taken));
            }
            Chunk::DataCr if byte == b'\r' => (Chunk::DataLf, 1),
            Chunk::DataLf if byte == b'\n' => (Chunk::Size(0, 0), 1),
            Chunk::DataCr | Chunk::DataLf => return bad("a chunk is longer than its size"),
            Chunk::Trailers(length) => return self.trailer(length, data),
        };
        self.state = State::Chunked(next);
        Ok((1, passed))
    }

    /// Handles a trailer line or a part of one. Only the last line, which is empty, is passed on.
    fn trailer(&mut self, length: usize, data: &[u8]) -> Result<(usize, usize), TransportError> {
        let bad = |what: &str| Err(TransportError::Framing(what.to_owned()));
        let line = memchr::memchr(b'\n', data);
        let taken = line.map_or(data.len(), |at| at + 1);
        let length = length + taken;
        if length > MAX_TRAILERS {
            return bad("its trailers are too long");
        }
        self.state = State::Chunked(Chunk::Trailers(length));
        // The empty line may come in two pieces. The first is then passed on too.
        if self.held.is_empty() && data.starts_with(b"\r") && taken == 1 {
            self.held.push(b'\r');
            return Ok((1, 1));
        }
        let pieces = self.held.len();
        self.held.extend_from_slice(&data[..taken]);
        if line.is_none() {
            return Ok((taken, 0));
        }
        if self.held == b"\r\n" {
            self.state = State::Idle;
            self.held.clear();
            return Ok((taken, 2 - pieces));
        }
        let sound = self
            .held
            .strip_suffix(b"\r\n")
            .is_some_and(|line| head::header(line).is_some());
        self.held.clear();
        if sound {
            Ok((taken, 0))
        } else {
            bad("a trailer is not a header line")
        }
    }
}

/// Returns the smaller of the two.
fn shorter(length: usize, left: u64) -> usize {
    usize::try_from(left).map_or(length, |left| left.min(length))
}

/// Returns where the head ends: after the first empty line that is not at its start. A line may end
/// with a line feed alone (RFC 9112 section 2.2).
fn head_end(held: &[u8], from: usize) -> Option<usize> {
    let start = held.iter().position(|byte| !b"\r\n".contains(byte))?;
    let from = from.max(start);
    memchr::memchr_iter(b'\n', &held[from..])
        .map(|at| from + at)
        .find_map(|at| match held.get(at + 1..)? {
            [b'\n', ..] => Some(at + 2),
            [b'\r', b'\n', ..] => Some(at + 3),
            _ => None,
        })
}

/// Fails if `held` cannot become a response head, for servers that never end a line.
fn starts_like_http(held: &[u8]) -> Result<(), TransportError> {
    const START: &[u8] = b"HTTP/1.";
    let start = held.iter().position(|byte| !b"\r\n".contains(byte));
    let line = &held[start.unwrap_or(held.len())..];
    let seen = line.len().min(START.len());
    if line[..seen] == START[..seen] {
        return Ok(());
    }
    Err(TransportError::Protocol(
        "it does not begin with a status line".to_owned(),
    ))
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
