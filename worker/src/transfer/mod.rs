//! One attempt at one task, as a state machine that does no I/O.
//!
//! An engine drives it: it sends [`Transfer::request`], passes on what it receives (head, chunks,
//! end, errors), and does what the transfer returns. There is no socket, file or clock here; times
//! are passed in. So all engines make the same decisions, and a table can test them all.
//!
//! ```text
//!   request ──> on_head ──> Follow ──> request …
//!                  ├──────> Receive, Resume ──> on_chunk* ──> on_end ──> stored
//!                  ├──────> Keep ──────────────────────────────────────> stored, as it is
//!                  └──────> Err(Fault)                           └─────> failed
//! ```

mod coding;
mod condition;
mod cookies;
mod disposition;
mod error;
mod expect;
mod framing;
mod head;
mod login;
mod pace;
mod pieces;
mod redirect;
mod request;
mod resume;
mod retry;
mod robots;
pub mod scan;

use std::time::{Duration, Instant, SystemTime};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode, Version};
use protocol::{
    Assignment, ByteRange, Exchange, Expect, Failure, FailureKind, HttpOptions, Known, PartialNote,
    Severity, Span, Stored, TaskKind, Timestamp, Timing, Validators,
};
use url::Url;

use crate::fault::{Fault, cut};
use crate::login::Logins;
use crate::store::Committed;

pub use coding::Coding;
use condition::Condition;
pub use error::TransportError;
use error::failure;
pub(crate) use expect::too_large;
use pieces::Piece;
pub(crate) use pieces::{Claim, Pieces};
use redirect::Redirects;
pub use redirect::without_credentials;
use request::Wanted;
use resume::{Extent, Offer};

/// Longest `Content-Type` that is reported, in bytes.
const MAX_CONTENT_TYPE: usize = 256;

/// A response head as the engine read it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The final status; the engine skips interim responses (1xx).
    pub status: StatusCode,
    /// HTTP version of the response.
    pub version: Version,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Length of the body, if the framing announces one (RFC 9112 section 6.3).
    pub length: Option<u64>,
}

/// What to do next about a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Discard this response and send [`Transfer::request`] again. It now has another URL, asks for
    /// the whole body, or answers a challenge.
    Follow,
    /// Read the body into the store, decoded as [`Transfer::codings`] says.
    Receive,
    /// Read the body into the store, after the first `from` bytes that are there.
    Resume {
        /// How many bytes are kept.
        from: u64,
    },
    /// No body follows: the file in place is current, and has this size and SHA-256.
    Keep {
        /// Size in bytes.
        bytes: u64,
        /// SHA-256 of the file.
        sha256: [u8; 32],
    },
}

/// One attempt at one task.
#[derive(Clone, Debug)]
pub struct Transfer<'o> {
    options: &'o HttpOptions,
    /// Headers of this task only.
    headers: &'o [(String, String)],
    /// What the list says about the file.
    expect: Expect,
    /// The part of the resource that becomes the file.
    range: Option<ByteRange>,
    /// Kind of task.
    kind: TaskKind,
    /// The file in place.
    known: Option<&'o Known>,
    /// Condition of the request: no body if the file in place is current.
    condition: Option<Condition<'o>>,
    redirects: Redirects,
    /// Logins that the worker may use.
    logins: Option<&'o Logins>,
    /// How often a challenge of the current URL was answered.
    answered: u8,
    taken_up: Instant,
    deadline: Option<Instant>,
    /// What is on disk of the body.
    offer: Option<Offer>,
    /// The piece of the body that this transfer fetches, if not all of it.
    piece: Option<Piece>,
    /// Whether the server accepts requests for pieces of the body.
    divisible: bool,
    receiving: bool,
    /// Whether a part of the body is from an earlier attempt.
    resumed: bool,
    /// Bytes of body, including those on disk.
    received: u64,
    expected: Option<u64>,
    /// Start of the speed measurement, and the bytes received by then.
    paced: Option<(Instant, u64)>,
    codings: Vec<Coding>,
    /// What another attempt needs to know to continue this body.
    note: Option<PartialNote>,
    content_type: Option<String>,
    suggested_name: Option<String>,
    validators: Validators,
    modified: Option<Timestamp>,
    exchange: Exchange,
}

impl<'o> Transfer<'o> {
    /// Creates an attempt at `url` that began at `started`, which is `now` on the monotonic clock.
    ///
    /// # Errors
    ///
    /// Fails if `url` is not an absolute http or https URL. The coordinator ensures that it is.
    pub fn new(
        url: &str,
        options: &'o HttpOptions,
        started: Timestamp,
        now: Instant,
    ) -> Result<Self, Box<Failure>> {
        let exchange = Exchange {
            started,
            ..Exchange::default()
        };
        match Redirects::new(url) {
            Ok(redirects) => Ok(Self {
                options,
                headers: &[],
                expect: Expect::default(),
                range: None,
                kind: TaskKind::Listed,
                known: None,
                condition: None,
                redirects,
                logins: None,
                answered: 0,
                taken_up: now,
                deadline: options.max_time.and_then(|limit| now.checked_add(limit)),
                offer: None,
                piece: None,
                divisible: false,
                receiving: false,
                resumed: false,
                received: 0,
                expected: None,
                paced: None,
                codings: Vec::new(),
                note: None,
                content_type: None,
                suggested_name: None,
                validators: Validators::default(),
                modified: None,
                exchange,
            }),
            Err(fault) => Err(failure(exchange, fault)),
        }
    }

    /// Applies the rest of `assignment`: kind of task, headers, expected file and file in place.
    #[must_use]
    pub fn of(mut self, assignment: &'o Assignment) -> Self {
        self.headers = &assignment.headers;
        self.expect = assignment.expect.as_deref().cloned().unwrap_or_default();
        self.range = assignment.range;
        self.kind = assignment.kind;
        self.hurry();
        self.known = assignment.known.as_deref();
        self.condition = self
            .known
            .filter(|_| {
                self.range.is_none() && !request::has_own_condition(self.options, self.headers)
            })
            .map(Condition::new);
        self
    }

    /// Offers the first `have` bytes of a body, left by an earlier attempt. Call before the first
    /// request, if at all.
    pub fn offer(&mut self, note: PartialNote, have: u64) {
        // A part that the list asks for is always fetched as a whole.
        if !self.is_robots()
            && self.range.is_none()
            && !request::has_own_range(self.options, self.headers)
        {
            self.offer = Offer::new(note, have);
        }
    }

    /// Returns the URL of the next request, without credentials and fragment.
    #[must_use]
    pub const fn url(&self) -> &Url {
        self.redirects.url()
    }

    /// Returns the headers of the next request, except `Host`, which the engine adds.
    ///
    /// Headers of the task replace those of all tasks. The user's headers are sent unchanged, with
    /// one exception: once a redirect has left the origin of the task's URL, those with credentials
    /// are left out.
    ///
    /// # Errors
    ///
    /// Fails if the coordinator must first be asked for a login, or if a header of the options
    /// cannot be sent. The coordinator ensures that headers can be sent.
    pub fn request(&self) -> Result<HeaderMap, Fault> {
        self.check_login()?;
        let range = match (&self.piece, self.range) {
            (Some(piece), _) => Some(Wanted::Piece(piece)),
            (None, Some(range)) => Some(Wanted::Part(range)),
            (None, None) => {
                let open = self.fitting_offer().filter(|offer| offer.is_open);
                open.map(Wanted::Rest)
            }
        };
        let condition = self.fitting_condition().and_then(|asked| asked.header());
        request::headers(
            self.options,
            self.headers,
            &self.redirects,
            self.authorization(),
            range,
            condition,
        )
    }

    /// Returns the condition if the next request has the URL that the file in place came from.
    fn fitting_condition(&self) -> Option<Condition<'o>> {
        let url = self.redirects.url().as_str();
        self.condition.filter(|condition| condition.is_for(url))
    }

    /// Returns the time left of `--max-time` at `now`, or `None` if there is no limit.
    ///
    /// # Errors
    ///
    /// Returns [`FailureKind::Timeout`] if no time is left.
    pub fn remaining(&self, now: Instant) -> Result<Option<Duration>, Fault> {
        let Some(deadline) = self.deadline else {
            return Ok(None);
        };
        let left = deadline.saturating_duration_since(now);
        if left.is_zero() {
            return Err(self.on_error(TransportError::Timeout));
        }
        Ok(Some(left))
    }

    /// Handles a response head. `now` is the time of day, which a `Retry-After` date refers to.
    ///
    /// # Errors
    ///
    /// Fails if the response is neither stored nor followed.
    pub fn on_head(&mut self, head: Head<'_>, now: SystemTime) -> Result<Next, Fault> {
        framing::check(&head).map_err(|what| self.on_error(TransportError::Framing(what)))?;
        if self.piece.is_some() {
            return self.on_piece(&head, now);
        }
        self.exchange.status = Some(head.status.as_u16());
        self.keep_cookies(head.headers);
        if redirect::is_redirect(head.status) {
            self.redirects.follow(&head, self.max_redirects())?;
            self.exchange.final_url = Some(self.redirects.url().to_string());
            self.answered = 0;
            self.take_cookies();
            return Ok(Next::Follow);
        }
        if self.answers(head.status, head.headers) {
            return Ok(Next::Follow);
        }
        if head.status == StatusCode::NOT_MODIFIED
            && let Some(condition) = self.fitting_condition()
        {
            return Ok(self.not_modified(condition, &head));
        }
        let judged = match head.status.is_success() {
            true => match self.range {
                Some(range) => resume::judge_part(&head, range),
                None => resume::judge(&head, self.fitting_offer()),
            },
            false => Err(retry::status_fault(&head, now)),
        };
        match judged {
            Ok(Extent::Whole(length)) => self.receive(&head, length),
            Ok(Extent::Rest(length)) => self.resume(&head, length),
            Err(_) if self.starts_over(head.status) => Ok(Next::Follow),
            Err(fault) => Err(fault),
        }
    }

    /// Handles a 304. The file in place is current, or the server means another state and is asked
    /// again, for the body.
    fn not_modified(&mut self, condition: Condition<'_>, head: &Head<'_>) -> Next {
        if !condition.is_met_by(head) {
            self.condition = None;
            return Next::Follow;
        }
        let Known {
            bytes,
            sha256,
            content_type,
            validators,
            url: _,
        } = condition.known();
        self.content_type.clone_from(content_type);
        self.validators.clone_from(validators);
        Next::Keep {
            bytes: *bytes,
            sha256: *sha256,
        }
    }

    /// Prepares for the whole body.
    fn receive(&mut self, head: &Head<'_>, length: Option<u64>) -> Result<Next, Fault> {
        // Some servers code a body whatever the request says, and these tasks need it decoded.
        if self.options.compressed || self.is_robots() {
            self.codings = coding::of(head.headers)
                .map_err(|what| Fault::permanent(FailureKind::Encoding, what))?;
        }
        if let Some(length) = length
            && self.codings.is_empty()
        {
            self.check_size(length)?;
            expect::check_size(&self.expect, length, false)?;
        }
        self.receiving = true;
        self.expected = length;
        self.divisible = pieces::are_offered(head);
        self.note = match self.range {
            Some(_) => None,
            None => resume::note(head, length, self.redirects.url().as_str()),
        };
        self.validators = condition::validators(head.headers);
        self.modified = condition::modified(head.headers);
        self.suggested_name = disposition::suggested_name(head.headers);
        self.content_type = head.headers.get(CONTENT_TYPE).map(|value| {
            let mut text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            cut(&mut text, MAX_CONTENT_TYPE);
            text
        });
        Ok(Next::Receive)
    }

    /// Adds `length` bytes of body.
    ///
    /// # Errors
    ///
    /// Fails if the body is now larger than allowed or announced.
    pub fn on_chunk(&mut self, length: u64) -> Result<(), Fault> {
        self.received = self.received.saturating_add(length);
        if self.codings.is_empty() {
            self.check_size(self.received)?;
            expect::check_size(&self.expect, self.received, true)?;
        }
        match self.expected {
            Some(expected) if self.received > expected => Err(Fault::permanent(
                FailureKind::Protocol,
                format!("body is longer than the announced {expected} bytes"),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Handles the end of the body, as far as its framing shows.
    ///
    /// # Errors
    ///
    /// Fails if the body is shorter than announced.
    pub fn on_end(&self) -> Result<(), Fault> {
        match self.expected {
            Some(expected) if self.received < expected => Err(self.truncated("it ended")),
            Some(_) | None => Ok(()),
        }
    }

    /// Checks a whole file before it is put in place.
    ///
    /// # Errors
    ///
    /// Fails if it is not the file that the list describes.
    pub fn check_file(&self, file: &Committed) -> Result<(), Fault> {
        let checked = expect::check_size(&self.expect, file.bytes, false)
            .and_then(|()| expect::check_sums(&self.expect, file));
        checked.map_err(|fault| match self.resumed {
            // The parts do not fit together, whatever the validator says. A whole body may be
            // right.
            true => Fault::transient(fault.kind, fault.message),
            false => fault,
        })
    }

    /// Converts a transport error. The result depends on how far the transfer is.
    #[must_use]
    pub fn on_error(&self, error: TransportError) -> Fault {
        let is_short = self.expected.is_some_and(|length| self.received < length);
        if let TransportError::Disconnected(cause) | TransportError::Broken(cause) = &error
            && self.receiving
        {
            return self.truncated(cause);
        }
        if let TransportError::WrongLength(cause) = &error
            && is_short
        {
            return self.truncated(cause);
        }
        let limit = self
            .deadline
            .map(|at| at.saturating_duration_since(self.taken_up));
        error.into_fault(self.redirects.url(), self.options, limit)
    }

    /// Returns the codings of the body, in the order applied; none if it is stored as sent.
    #[must_use]
    pub fn codings(&self) -> &[Coding] {
        &self.codings
    }

    /// Returns the note that another attempt needs to continue this body; the store fills in its
    /// boot. Returns `None` if another attempt has to start over.
    #[must_use]
    pub fn note(&self) -> Option<&PartialNote> {
        self.note.as_ref().filter(|_| self.can_be_resumed())
    }

    /// Returns the bytes of body received so far.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Returns the length of the whole body in bytes, if the server announced it.
    #[must_use]
    pub const fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// Returns the times of this attempt, which the engine adds to.
    pub const fn timing(&mut self) -> &mut Timing {
        &mut self.exchange.timing
    }

    /// Stores the phases that the engine recorded, if it did.
    pub fn record(&mut self, spans: Vec<Span>) {
        self.exchange.spans = spans;
    }

    /// Returns the report for a whole body. `unchanged` means that the file in place is current.
    #[must_use]
    pub fn stored(self, bytes: u64, sha256: [u8; 32], unchanged: bool) -> Box<Stored> {
        Box::new(Stored {
            exchange: self.exchange,
            bytes,
            sha256,
            content_type: self.content_type,
            executed: None,
            validators: self.validators,
            modified: self.modified,
            unchanged,
            suggested_name: self.suggested_name,
        })
    }

    /// Returns the nack of a failed attempt.
    #[must_use]
    pub fn failed(self, mut fault: Fault) -> Box<Failure> {
        let insists = self.options.retry_all_errors && !self.is_answer(&fault);
        if insists && fault.severity == Severity::Permanent {
            fault.severity = Severity::Transient { retry_after: None };
        }
        failure(self.exchange, fault)
    }

    fn check_size(&self, size: u64) -> Result<(), Fault> {
        match self.options.max_filesize {
            Some(limit) if size > limit && !self.is_robots() => Err(too_large(limit)),
            Some(_) | None => Ok(()),
        }
    }

    fn truncated(&self, cause: &str) -> Fault {
        let announced = self.expected.map_or_else(
            || "an unannounced length".to_owned(),
            |expected| format!("{expected} bytes"),
        );
        let received = self.received;
        Fault::transient(
            FailureKind::Truncated,
            format!("body is cut off after {received} bytes of {announced}: {cause}"),
        )
    }
}

#[cfg(test)]
mod tests;
