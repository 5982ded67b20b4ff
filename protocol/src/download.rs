//! Downloads, as they travel: what is assigned, and how far one is.

use std::fmt;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::{Algorithm, Checksum, Failure, Login, Setup, Stored, Validators, message};

/// What the coordinator says.
pub type ToWorker = message::ToWorker<Setup, Notice, Assignment>;

/// What a worker is told beside its tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// How to log in at hosts.
    Logins(Vec<Login>),
    /// How many bytes per second all workers of the run may read together from now on. Only where the
    /// [setup](Setup::limit_rate) has a limit.
    LimitRate(NonZeroU64),
}

/// What a worker says.
pub type FromWorker = message::FromWorker<Progress, Stored, Failure>;

/// News of one download.
pub type Report = message::Report<Stored, Failure>;

/// One running download in a heartbeat.
pub type Running = message::Running<Progress>;

/// One download, as it is handed to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// What sort of task.
    pub kind: TaskKind,
    /// What to download: an absolute http or https URL.
    pub url: String,
    /// That is a mirror of what the list names: nobody has asked its robots.txt about it.
    pub mirror: bool,
    /// The name of its body in the worker's folder. Nobody but the coordinator can tell it, and no
    /// other task has it.
    pub partial: String,
    /// What the list says of the file: one that is otherwise is not put in place.
    pub expect: Option<Box<Expect>>,
    /// The part of the resource that is the file, if it is not the whole.
    pub range: Option<ByteRange>,
    /// Request headers for this task, name and value. Each takes the place of those of the same
    /// name in [`HttpOptions`](crate::HttpOptions).
    pub headers: Vec<(String, String)>,
    /// How often it was handed out in this run, this time included, not counting those that ended
    /// before it was started: 1 for the first time.
    pub delivery: u32,
    /// The file that is in place, if the server is to be asked whether it is still current.
    pub known: Option<Box<Known>>,
    /// A worker may have begun it before, in this run or in an earlier one, and may have left a
    /// partial body. If not, nobody has to look for one.
    pub begun: bool,
}

impl Assignment {
    /// The task of a list that says nothing but its URL, handed out for the first time, of which an
    /// earlier run may have left a partial body.
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

/// What sort of task an assignment is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskKind {
    /// A URL of the list.
    #[default]
    Listed,
    /// The robots.txt of an authority: fetched as RFC 9309 section 2.3.1 says, and stored at most
    /// [`MAX_ROBOTS`](crate::robots::MAX_ROBOTS) long.
    RobotsTxt,
}

/// What is known of a file before it is downloaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// Its checksums, at most one of each algorithm.
    pub checksums: Vec<Checksum>,
    /// Its size in bytes.
    pub size: Option<u64>,
}

impl Expect {
    /// Its checksum by `algorithm`, if that is known.
    #[must_use]
    pub fn checksum(&self, algorithm: Algorithm) -> Option<&Checksum> {
        let mut checksums = self.checksums.iter();
        checksums.find(|checksum| checksum.algorithm == algorithm)
    }
}

/// A part of a resource, at least one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ByteRange {
    /// Its first byte, counted from 0.
    pub first: u64,
    /// Its last byte; not before the first.
    pub last: u64,
}

impl ByteRange {
    /// What `text` says: `first-last`, in decimal digits, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        let (first, last) = text.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        // No file is longer than the largest offset.
        (first <= last && i64::try_from(last).is_ok()).then_some(Self { first, last })
    }

    /// How many bytes it is.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// As in a list: `first-last`.
impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// What an earlier run recorded of a file that is still in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Where it came from, after redirects and without credentials: its validators mean nothing
    /// anywhere else.
    pub url: String,
    /// What to ask by; nothing if the server sent none, and the file has to be downloaded to know.
    pub validators: Validators,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// `Content-Type` of its response.
    pub content_type: Option<String>,
}

impl Known {
    /// How much text it holds, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let content_type = self.content_type.as_ref().map_or(0, String::len);
        self.url.len() + self.validators.text_bytes() + content_type
    }
}

/// How far a running download is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Bytes of body received so far.
    pub bytes: u64,
    /// How many there will be, if the server has said so.
    pub expected: Option<u64>,
}

/// What a running task is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Resolving, connecting, TLS, request sent: no response yet.
    #[default]
    Requesting,
    /// The body is being received.
    Receiving,
    /// The body is made safe.
    Storing,
    /// The program of `--exec` runs on the file.
    Executing,
}

impl Phase {
    /// The word for it in messages.
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
