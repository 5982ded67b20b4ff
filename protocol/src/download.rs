//! Downloads in messages: assignments and progress.

use std::fmt;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::{Algorithm, Checksum, Failure, Login, Setup, Stored, Validators, message};

/// Message from the coordinator.
pub type ToWorker = message::ToWorker<Setup, Notice, Assignment>;

/// Information for a worker that belongs to no task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// How to log in at hosts.
    Logins(Vec<Login>),
    /// The bytes per second that all workers of the run may read together from now on. Only if the
    /// [setup](Setup::limit_rate) has a limit.
    LimitRate(NonZeroU64),
}

/// Message from a worker.
pub type FromWorker = message::FromWorker<Progress, Stored, Failure>;

/// Report on one download.
pub type Report = message::Report<Stored, Failure>;

/// A running download in a heartbeat.
pub type Running = message::Running<Progress>;

/// A download, as it is assigned to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Kind of task.
    pub kind: TaskKind,
    /// What to download: an absolute http or https URL.
    pub url: String,
    /// Whether the URL is a mirror of one in the list: its robots.txt has not been checked yet.
    pub mirror: bool,
    /// Name of the body in the worker's folder. Only the coordinator can predict it; it is unique.
    pub partial: String,
    /// What the list specifies for the file. A file that differs is not put in place.
    pub expect: Option<Box<Expect>>,
    /// Part of the resource that is the file, if it is not the whole.
    pub range: Option<ByteRange>,
    /// Request headers for this task, name and value. Each replaces those of the same name in
    /// [`HttpOptions`](crate::HttpOptions).
    pub headers: Vec<(String, String)>,
    /// Number of this delivery in the run, from 1. Those that ended before the start do not count.
    pub delivery: u32,
    /// The file that is in place, if the server has to be asked whether it is still current.
    pub known: Option<Box<Known>>,
    /// Whether a worker may have started the task before, in this run or in an earlier one, and
    /// left a partial body. If not, the worker does not look for one.
    pub begun: bool,
}

impl Assignment {
    /// Creates the assignment of a URL for which the list specifies nothing else, in its first
    /// delivery, where an earlier run may have left a partial body.
    #[must_use]
    pub fn new(url: impl Into<String>, partial: impl Into<String>) -> Self {
        Self {
            kind: TaskKind::Listed,
            url: url.into(),
            mirror: false,
            partial: partial.into(),
            expect: None,
            range: None,
            headers: Vec::new(),
            delivery: 1,
            known: None,
            begun: true,
        }
    }
}

/// Kinds of tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskKind {
    /// A URL of the list.
    #[default]
    Listed,
    /// The robots.txt of an authority: fetched as RFC 9309 section 2.3.1 requires. At most
    /// [`MAX_ROBOTS`](crate::robots::MAX_ROBOTS) bytes are stored.
    RobotsTxt,
}

/// What is known about a file before it is downloaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// Checksums of the file, at most one for each algorithm.
    pub checksums: Vec<Checksum>,
    /// Size of the file, in bytes.
    pub size: Option<u64>,
}

impl Expect {
    /// Returns the checksum by `algorithm`, if it is known.
    #[must_use]
    pub fn checksum(&self, algorithm: Algorithm) -> Option<&Checksum> {
        let mut checksums = self.checksums.iter();
        checksums.find(|checksum| checksum.algorithm == algorithm)
    }
}

/// A part of a resource, at least one byte long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ByteRange {
    /// First byte, counted from 0.
    pub first: u64,
    /// Last byte, not before the first.
    pub last: u64,
}

impl ByteRange {
    /// Parses `first-last` in decimal digits. Nothing else is accepted.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        let (first, last) = text.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        // The largest offset limits the length of a file.
        (first <= last && i64::try_from(last).is_ok()).then_some(Self { first, last })
    }

    /// Returns the length in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// Writes `first-last`, as in a list.
impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// What an earlier run recorded about a file that is still in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// URL that the file came from, after redirects and without credentials. Its validators are
    /// valid only for this URL.
    pub url: String,
    /// Validators to ask the server with. Empty if it sent none, so that the file has to be
    /// downloaded to find changes.
    pub validators: Validators,
    /// Size of the file, in bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// `Content-Type` of the response.
    pub content_type: Option<String>,
}

impl Known {
    /// Returns the length of all texts, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let content_type = self.content_type.as_ref().map_or(0, String::len);
        self.url.len() + self.validators.text_bytes() + content_type
    }
}

/// Progress of a running download.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What the download is doing.
    pub phase: Phase,
    /// Bytes of body received so far.
    pub bytes: u64,
    /// Total number of bytes, if the server has sent it.
    pub expected: Option<u64>,
}

/// Phases of a running download.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Resolving, connecting, TLS, request sent: no response yet.
    #[default]
    Requesting,
    /// The body is being received.
    Receiving,
    /// The body is being written safely to disk.
    Storing,
    /// The program of `--exec` is running on the file.
    Executing,
}

impl Phase {
    /// Returns the name used in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requesting => "requesting",
            Self::Receiving => "receiving",
            Self::Storing => "storing",
            Self::Executing => "executing",
        }
    }
}
