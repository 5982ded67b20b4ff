//! What readers need of a line, borrowed from it.

use std::borrow::Cow;

use protocol::{FailureKind, TaskId};
use serde::Deserialize;

use super::{Digest, FormatVersion, Moment, Outcome, RecordedExec, RecordedTiming};

/// What resume and the results need of a record; the rest of the line is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Brief<'a> {
    pub(super) v: FormatVersion,
    /// The task's number in the run that wrote the line.
    pub task: TaskId,
    /// Its URL, normalised.
    #[serde(borrow)]
    pub url: Cow<'a, str>,
    /// How it ended.
    pub outcome: Outcome,
    /// Status of the last response.
    #[serde(default)]
    pub status: Option<u16>,
    #[serde(borrow)]
    pub(super) path: Option<Text<'a>>,
    /// Size of the file.
    pub bytes: Option<u64>,
    /// SHA-256 of the file.
    pub sha256: Option<Digest>,
    /// How often it was tried and answered for.
    #[serde(default)]
    pub attempts: u32,
    /// How often it was delivered, the first time included.
    #[serde(default)]
    pub deliveries: u32,
    /// When its last worker took it up.
    #[serde(default)]
    pub started: Option<Moment>,
    /// Where the time went.
    #[serde(default)]
    pub timing_ms: RecordedTiming,
    /// Why it failed.
    #[serde(borrow, default)]
    pub error: Option<BriefProblem<'a>>,
    #[serde(borrow, default)]
    pub(super) out: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) range: Option<Text<'a>>,
    /// What the program of `--exec` left, if it was run.
    #[serde(default)]
    pub exec: Option<RecordedExec>,
    /// The run was simulated.
    #[serde(default)]
    pub simulated: bool,
    /// The file has the name that its server suggested.
    #[serde(default)]
    pub server_named: bool,
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BriefProblem<'a> {
    /// Of a closed list.
    pub kind: FailureKind,
    /// One line for a person.
    #[serde(borrow)]
    pub message: Cow<'a, str>,
}

/// Serde borrows a `Cow`, but copies within an `Option<Cow>`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl Brief<'_> {
    /// The file, relative to the output folder, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_ref().map(|text| text.0.as_ref())
    }

    /// In which way it failed, if it did.
    #[must_use]
    pub fn kind(&self) -> Option<FailureKind> {
        self.error.as_ref().map(|error| error.kind)
    }

    /// The part of the resource that the list asked for: `first-last`.
    #[must_use]
    pub fn range(&self) -> Option<&str> {
        self.range.as_ref().map(|text| text.0.as_ref())
    }

    /// The name that the list gave the file.
    #[must_use]
    pub fn out(&self) -> Option<&str> {
        self.out.as_ref().map(|text| text.0.as_ref())
    }
}

/// What a summary needs of a line in the log of deaths.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BriefDeath<'a> {
    v: FormatVersion,
    #[serde(borrow)]
    exit: BriefExit<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct BriefExit<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

impl BriefDeath<'_> {
    /// How the worker ended, in words.
    #[must_use]
    pub fn exit(&self) -> &str {
        &self.exit.text
    }
}
