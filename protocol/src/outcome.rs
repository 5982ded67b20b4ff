//! What became of a task: [`Stored`] or [`Failure`], each with the [`Exchange`] that led there.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Cookie, JobFailure, Severity};

/// A moment of wall-clock time, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// How long each phase of a transfer took. Phases that did not happen (a pooled connection, plain
/// http, a body never read) are zero. Redirects add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Name to addresses.
    pub resolve: Duration,
    /// TCP connection.
    pub connect: Duration,
    /// TLS handshake.
    pub tls: Duration,
    /// Request sent until the response head was read.
    pub first_byte: Duration,
    /// Response head until the last byte of the body, time spent in the store taken out.
    pub body: Duration,
    /// Hashing, writing, putting in place.
    pub store: Duration,
    /// The program of `--exec`.
    pub exec: Duration,
}

/// What was observed of the conversation with the server, whether or not it ended well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// When the worker took up the task.
    pub started: Timestamp,
    /// Where the time went.
    pub timing: Timing,
    /// Status of the last response, if there was one.
    pub status: Option<u16>,
    /// The URL that the last request went to, if redirects made it another than the task's.
    pub final_url: Option<String>,
    /// The phases in their order, if the setup asked for them: at most [`MAX_SPANS`].
    pub spans: Vec<Span>,
    /// The cookies that servers set, if the setup asked for them, those included that are to be
    /// forgotten; at most [`MAX_COOKIES`](crate::MAX_COOKIES) bytes of text.
    pub cookies: Vec<Cookie>,
}

/// Most spans of one exchange: a report must fit a frame.
pub const MAX_SPANS: usize = 64;

/// A moment on the clock that all processes of a machine share (`CLOCK_MONOTONIC`,
/// `clock_gettime(2)`), in nanoseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MonotonicNanos(pub u64);

/// One phase of an exchange, as it was measured. Spans of one exchange do not overlap.
///
/// A phase that comes again and again (body and store take turns over a large file) has a span
/// each time. Once there would be more than [`MAX_SPANS`], neighbours are put together: the times
/// of each phase stay exact, and only their order among a few neighbours is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Which phase.
    pub phase: SpanPhase,
    /// When it began.
    pub start: MonotonicNanos,
    /// How long it took.
    pub wall: Duration,
    /// How much of that a processor worked for it, by the clock of the thread it ran on
    /// (`CLOCK_THREAD_CPUTIME_ID`). The rest it waited: for the network, for the disk, and for
    /// its turn.
    pub cpu: Duration,
}

/// The phases that spans tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanPhase {
    /// Name to addresses.
    Resolve,
    /// TCP connection.
    Connect,
    /// TLS handshake.
    Tls,
    /// Request sent until the response head was read.
    FirstByte,
    /// Response head until the last byte of the body, time spent in the store taken out.
    Body,
    /// The work that [`Setup::cpu_per_task`](crate::Setup::cpu_per_task) asks for.
    Cpu,
    /// Hashing, writing, renaming.
    Store,
}

impl SpanPhase {
    /// Every phase, in the order in which they come.
    pub const ALL: [Self; 7] = [
        Self::Resolve,
        Self::Connect,
        Self::Tls,
        Self::FirstByte,
        Self::Body,
        Self::Cpu,
        Self::Store,
    ];

    /// The name in reports.
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

/// What tells one state of a file from another (RFC 9110 section 8.8), as the server sent it. A
/// later run asks by it whether the file is still current.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Validators {
    /// The entity tag, strong or weak, quotes included.
    pub etag: Option<String>,
    /// When it was modified, if that tells states apart.
    pub last_modified: Option<String>,
}

impl Validators {
    /// How much text it holds, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let texts = [&self.etag, &self.last_modified];
        texts.into_iter().flatten().map(String::len).sum()
    }
}

/// The task has a file: as a worker tells it, a body that is whole; as the coordinator records it,
/// a file in place under its final name, on which the program of `--exec`, if there is one,
/// succeeded if the file was put there now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// What was observed on the way.
    pub exchange: Exchange,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// `Content-Type` of the response, cut to a sane length.
    pub content_type: Option<String>,
    /// What the program of `--exec` left of it, if one was run.
    pub executed: Option<Executed>,
    /// Those of the file that can be used.
    pub validators: Validators,
    /// When it was last modified, as the server says.
    pub modified: Option<Timestamp>,
    /// The file was in place before (see [`Known`](crate::Known)), and still is: nothing was put
    /// there.
    pub unchanged: bool,
    /// The name for the file that the server suggests (`Content-Disposition`): one part of a path,
    /// of at most 255 bytes, which can still be a name that no file may have.
    pub suggested_name: Option<String>,
}

/// A **nack**: the task was tried and failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was observed on the way.
    pub exchange: Exchange,
    /// Which kind of failure, of a closed list.
    pub kind: FailureKind,
    /// One line for a person: the operation and what went wrong with it.
    pub message: String,
    /// Whether another attempt could help. [`Severity::Unprepared`]: it needs the
    /// [`Login`](crate::Login) of the host that it is at (that of [`Exchange::final_url`], or else of
    /// its own URL), which the worker does not have.
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
    /// Whether the host refused to serve now, and may have served at another moment, or if it had
    /// been asked less: it said so (429, 503), or made no connection, or closed one before it
    /// answered.
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

/// Every way in which a task can fail. The names in the run log are these in `snake_case`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The host's name did not resolve to an address.
    Resolve,
    /// robots.txt forbids it, or forbids where a redirect leads (`--robots`).
    Robots,
    /// robots.txt is out of reach, which forbids everything for now (RFC 9309 section 2.3.1.4).
    RobotsUnreachable,
    /// The host has only addresses that `--block-private` excludes.
    Blocked,
    /// No TCP connection: refused, unreachable.
    Connect,
    /// No TCP connection within `--connect-timeout`.
    ConnectTimeout,
    /// The proxy cannot be reached, or did not make the connection.
    Proxy,
    /// The TLS handshake failed, or the certificate is not trusted.
    Tls,
    /// The connection was closed or reset before the response head was complete.
    Disconnected,
    /// The response is not HTTP as RFC 9112 defines it.
    Protocol,
    /// Where the body ends is not said, said twice, or said wrong (RFC 9112 sections 6 and 7).
    Framing,
    /// The response head is larger than any real one.
    HeadTooLarge,
    /// The body is coded in a way that was not asked for, or cannot be decoded.
    Encoding,
    /// The body ended before its announced length (RFC 9112 section 8).
    Truncated,
    /// The server answered with a status that is not a success.
    Status,
    /// More redirects than `--max-redirs`.
    TooManyRedirects,
    /// A redirect that cannot or may not be followed: no or bad `Location`, another scheme.
    BadRedirect,
    /// Nothing was received for `--speed-time`.
    Stalled,
    /// The transfer took longer than `--max-time`.
    Timeout,
    /// The body is larger than `--max-filesize`.
    TooLarge,
    /// The file is not of the size that the list names.
    SizeMismatch,
    /// A checksum of the file is not the one that the list names.
    ChecksumMismatch,
    /// The file could not be written; the disk is not full.
    Store,
    /// The disk or the quota is full.
    DiskFull,
    /// The program of `--exec` failed on the file, took too long, or could not be started.
    Exec,
    /// The worker died with the task, again and again, while it ran nothing else.
    WorkerDied,
    /// A defect of this program; please report it.
    Internal,
}

impl FailureKind {
    /// Whether it means that somebody was waited for who did not answer: the host, or whoever
    /// knows the way to it. What fails so takes long, and the next one of that host may as well.
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

    /// Every kind, in the order of the documentation.
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

    /// The name in the run log and in messages.
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

/// A command was run on the file, and succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executed {
    /// The size of the file that is in place now; nothing if the command took it away, or put
    /// something else there.
    pub left: Option<u64>,
}
