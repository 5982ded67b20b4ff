//! Outcomes of tasks: [`Stored`] or [`Failure`], each with its [`Exchange`].

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Cookie, JobFailure, Severity};

/// A moment of wall-clock time, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// Duration of each phase of a transfer. It is zero for phases that did not happen (a pooled
/// connection, plain http, a body that was not read). The times of redirects are added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Resolving the name to addresses.
    pub resolve: Duration,
    /// Opening the TCP connection.
    pub connect: Duration,
    /// TLS handshake.
    pub tls: Duration,
    /// From the request until the response head was read.
    pub first_byte: Duration,
    /// From the response head until the last byte of the body, without the time spent in the store.
    pub body: Duration,
    /// Hashing, writing and putting the file in place.
    pub store: Duration,
    /// Running the program of `--exec`.
    pub exec: Duration,
}

/// What was observed of the exchange with the server, whether or not it succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// When the worker started the task.
    pub started: Timestamp,
    /// Duration of each phase.
    pub timing: Timing,
    /// Status of the last response, if there was one.
    pub status: Option<u16>,
    /// URL of the last request, if redirects changed it from the task's URL.
    pub final_url: Option<String>,
    /// The phases in order, if the setup requests them: at most [`MAX_SPANS`].
    pub spans: Vec<Span>,
    /// Cookies that servers set, including those to be deleted, if the setup requests them: at most
    /// [`MAX_COOKIES`](crate::MAX_COOKIES) bytes of text.
    pub cookies: Vec<Cookie>,
}

/// Maximum number of spans of an exchange, so that a report fits a frame.
pub const MAX_SPANS: usize = 64;

/// A time on the clock that all processes of a machine share (`CLOCK_MONOTONIC`,
/// `clock_gettime(2)`), in nanoseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MonotonicNanos(pub u64);

/// One measured phase of an exchange. Spans of an exchange do not overlap.
///
/// A phase that repeats (body and store alternate for a large file) has a span each time. If there
/// would be more than [`MAX_SPANS`], neighbouring spans are merged: the times of each phase stay
/// exact, and only the order among a few neighbours is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The phase.
    pub phase: SpanPhase,
    /// Start of the phase.
    pub start: MonotonicNanos,
    /// Duration of the phase.
    pub wall: Duration,
    /// Processor time of the phase, by the clock of the thread that ran it
    /// (`CLOCK_THREAD_CPUTIME_ID`). For the rest of the duration it waited: for the network, for
    /// the disk, or for a processor.
    pub cpu: Duration,
}

/// The phases that spans distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanPhase {
    /// Resolving the name to addresses.
    Resolve,
    /// Opening the TCP connection.
    Connect,
    /// TLS handshake.
    Tls,
    /// From the request until the response head was read.
    FirstByte,
    /// From the response head until the last byte of the body, without the time spent in the store.
    Body,
    /// Work requested by [`Setup::cpu_per_task`](crate::Setup::cpu_per_task).
    Cpu,
    /// Hashing, writing and renaming.
    Store,
}

impl SpanPhase {
    /// All phases, in the order in which they occur.
    pub const ALL: [Self; 7] = [
        Self::Resolve,
        Self::Connect,
        Self::Tls,
        Self::FirstByte,
        Self::Body,
        Self::Cpu,
        Self::Store,
    ];

    /// Returns the name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::FirstByte => "first_byte",
            Self::Body => "body",
            Self::Cpu => "cpu",
            Self::Store => "store",
        }
    }
}

/// Validators of a file (RFC 9110 section 8.8), as the server sent them. A later run uses them to
/// ask whether the file is still current.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Validators {
    /// Entity tag, strong or weak, including its quotes.
    pub etag: Option<String>,
    /// Date of the last modification, if it distinguishes versions of the file.
    pub last_modified: Option<String>,
}

impl Validators {
    /// Returns the length of all texts, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let texts = [&self.etag, &self.last_modified];
        texts.into_iter().flatten().map(String::len).sum()
    }
}

/// The task has a file. In a report of a worker, the body is whole. In the coordinator's record,
/// the file is in place under its final name; if it was put there now, the program of `--exec` has
/// succeeded on it, if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// What was observed on the way.
    pub exchange: Exchange,
    /// Size of the file, in bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// `Content-Type` of the response, truncated if it is too long.
    pub content_type: Option<String>,
    /// What the program of `--exec` left of the file, if it was run.
    pub executed: Option<Executed>,
    /// The validators of the file that can be used.
    pub validators: Validators,
    /// When the file was last modified, according to the server.
    pub modified: Option<Timestamp>,
    /// Whether the file was in place before (see [`Known`](crate::Known)) and was not replaced.
    pub unchanged: bool,
    /// Name for the file that the server suggests (`Content-Disposition`): one part of a path, at
    /// most 255 bytes long. It may still be invalid as the name of a file.
    pub suggested_name: Option<String>,
}

/// A **nack**: the task was tried and failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was observed on the way.
    pub exchange: Exchange,
    /// Kind of failure, from a closed list.
    pub kind: FailureKind,
    /// One line for people: the operation and what went wrong.
    pub message: String,
    /// Whether another attempt could help. [`Severity::Unprepared`]: the task needs the
    /// [`Login`](crate::Login) of its current host (that of [`Exchange::final_url`], or else of its
    /// own URL), which the worker does not have.
    pub severity: Severity,
}

impl JobFailure for Failure {
    fn severity(&self) -> Severity {
        self.severity
    }

    fn refusal(&self) -> Option<u32> {
        self.is_pushback().then_some(self.kind as u32)
    }

    fn is_silence(&self) -> bool {
        self.kind.is_silence()
    }

    fn is_own(&self) -> bool {
        use FailureKind::{DiskFull, Internal, Store};
        matches!(self.kind, DiskFull | Internal | Store)
    }
}

impl Failure {
    /// Returns whether the host refused to serve the task now, but may have served it later or
    /// under less load: it answered 429 or 503, accepted no connection, or closed one unanswered.
    #[must_use]
    pub const fn is_pushback(&self) -> bool {
        let may_pass = matches!(self.severity, Severity::Transient { .. });
        let is_said = matches!(self.kind, FailureKind::Status)
            && matches!(self.exchange.status, Some(429 | 503));
        let is_cut_off = matches!(
            self.kind,
            FailureKind::Connect | FailureKind::ConnectTimeout | FailureKind::Disconnected
        );
        may_pass && (is_said || is_cut_off)
    }
}

/// All kinds of failures. In the run log, their names are written in `snake_case`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The host's name did not resolve to an address.
    Resolve,
    /// robots.txt forbids the URL, or the target of a redirect (`--robots`).
    Robots,
    /// robots.txt is unreachable, which forbids everything for now (RFC 9309 section 2.3.1.4).
    RobotsUnreachable,
    /// The host has only addresses that `--block-private` excludes.
    Blocked,
    /// There was no TCP connection: refused or unreachable.
    Connect,
    /// There was no TCP connection within `--connect-timeout`.
    ConnectTimeout,
    /// The proxy cannot be reached, or did not open the connection.
    Proxy,
    /// The TLS handshake failed, or the certificate is not trusted.
    Tls,
    /// The connection was closed or reset before the response head was complete.
    Disconnected,
    /// The response is not HTTP as RFC 9112 defines it.
    Protocol,
    /// The end of the body is unspecified, ambiguous or wrong (RFC 9112 sections 6 and 7).
    Framing,
    /// The response head is larger than any valid one.
    HeadTooLarge,
    /// The body has a coding that was not requested, or cannot be decoded.
    Encoding,
    /// The body ended before its announced length (RFC 9112 section 8).
    Truncated,
    /// The status of the response is not a success.
    Status,
    /// There were more redirects than `--max-redirs`.
    TooManyRedirects,
    /// A redirect that cannot or must not be followed: no or invalid `Location`, or another scheme.
    BadRedirect,
    /// Nothing was received for `--speed-time`.
    Stalled,
    /// The transfer took longer than `--max-time`.
    Timeout,
    /// The body is larger than `--max-filesize`.
    TooLarge,
    /// The size of the file differs from the list.
    SizeMismatch,
    /// A checksum of the file differs from the list.
    ChecksumMismatch,
    /// The file could not be written; the disk is not full.
    Store,
    /// The disk or the quota is full.
    DiskFull,
    /// The program of `--exec` failed on the file, took too long, or could not be started.
    Exec,
    /// The worker died repeatedly with the task while it ran no other task.
    WorkerDied,
    /// A defect of this program; please report it.
    Internal,
}

impl FailureKind {
    /// Returns whether a response did not come: from the host, or from a server on the way to it.
    /// Such a failure takes long, and the next task of the host may fail in the same way.
    #[must_use]
    pub const fn is_silence(self) -> bool {
        match self {
            Self::Resolve
            | Self::Connect
            | Self::ConnectTimeout
            | Self::Proxy
            | Self::Stalled
            | Self::Timeout => true,
            Self::Blocked
            | Self::Tls
            | Self::Disconnected
            | Self::Protocol
            | Self::Framing
            | Self::HeadTooLarge
            | Self::Encoding
            | Self::Truncated
            | Self::Status
            | Self::TooManyRedirects
            | Self::BadRedirect
            | Self::TooLarge
            | Self::SizeMismatch
            | Self::ChecksumMismatch
            | Self::Robots
            | Self::RobotsUnreachable
            | Self::Exec
            | Self::Store
            | Self::DiskFull
            | Self::WorkerDied
            | Self::Internal => false,
        }
    }

    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 27] = [
        Self::Resolve,
        Self::Robots,
        Self::RobotsUnreachable,
        Self::Blocked,
        Self::Connect,
        Self::ConnectTimeout,
        Self::Proxy,
        Self::Tls,
        Self::Disconnected,
        Self::Protocol,
        Self::Framing,
        Self::HeadTooLarge,
        Self::Encoding,
        Self::Truncated,
        Self::Status,
        Self::TooManyRedirects,
        Self::BadRedirect,
        Self::Stalled,
        Self::Timeout,
        Self::TooLarge,
        Self::SizeMismatch,
        Self::ChecksumMismatch,
        Self::Store,
        Self::DiskFull,
        Self::Exec,
        Self::WorkerDied,
        Self::Internal,
    ];

    /// Returns the name used in the run log and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Robots => "robots",
            Self::RobotsUnreachable => "robots_unreachable",
            Self::Blocked => "blocked",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Disconnected => "disconnected",
            Self::Protocol => "protocol",
            Self::Framing => "framing",
            Self::HeadTooLarge => "head_too_large",
            Self::Encoding => "encoding",
            Self::Truncated => "truncated",
            Self::Status => "status",
            Self::TooManyRedirects => "too_many_redirects",
            Self::BadRedirect => "bad_redirect",
            Self::Stalled => "stalled",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::SizeMismatch => "size_mismatch",
            Self::ChecksumMismatch => "checksum_mismatch",
            Self::Store => "store",
            Self::DiskFull => "disk_full",
            Self::Exec => "exec",
            Self::WorkerDied => "worker_died",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

/// A command was run on the file and succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executed {
    /// Size of the file that is in place now, in bytes. `None` if the command removed it or
    /// replaced it with something else.
    pub left: Option<u64>,
}
