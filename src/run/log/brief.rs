//! The parts of a line that readers need, borrowed from it.

use std::borrow::Cow;

use protocol::{FailureKind, TaskId};
use serde::Deserialize;

use super::{Digest, FormatVersion, Moment, Outcome, RecordedExec, RecordedTiming};

/// The parts of a record that resume and the results need. The rest of the line is skipped.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Brief<'a> {
    pub(super) v: FormatVersion,
    /// The task's number in the run that wrote the line.
    pub task: TaskId,
    /// Its URL, normalised.
    #[serde(borrow)]
    pub url: Cow<'a, str>,
    /// Its outcome.
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
    /// Number of attempts.
    #[serde(default)]
    pub attempts: u32,
    /// Number of deliveries, including the first.
    #[serde(default)]
    pub deliveries: u32,
    /// When its last worker started it.
    #[serde(default)]
    pub started: Option<Moment>,
    /// The time of each phase.
    #[serde(default)]
    pub timing_ms: RecordedTiming,
    /// The error, if it failed.
    #[serde(borrow, default)]
    pub error: Option<BriefProblem<'a>>,
    #[serde(borrow, default)]
    pub(super) out: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) range: Option<Text<'a>>,
    /// The file after the program of `--exec`, if it ran.
    #[serde(default)]
    pub exec: Option<RecordedExec>,
    /// Whether the run was simulated.
    #[serde(default)]
    pub simulated: bool,
    /// Whether the file has the name that its server suggested.
    #[serde(default)]
    pub server_named: bool,
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BriefProblem<'a> {
    /// The kind of failure, from a closed list.
    pub kind: FailureKind,
    /// One line for people.
    #[serde(borrow)]
    pub message: Cow<'a, str>,
}

/// Serde borrows a `Cow`, but it copies one in an `Option<Cow>`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl Brief<'_> {
    /// Returns the path of the file, relative to the output folder, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_ref().map(|text| text.0.as_ref())
    }

    /// Returns the kind of failure, if it failed.
    #[must_use]
    pub fn kind(&self) -> Option<FailureKind> {
        self.error.as_ref().map(|error| error.kind)
    }

    /// Returns the part of the resource that the list asked for: `first-last`.
    #[must_use]
    pub fn range(&self) -> Option<&str> {
        self.range.as_ref().map(|text| text.0.as_ref())
    }

    /// Returns the name that the list gave the file.
    #[must_use]
    pub fn out(&self) -> Option<&str> {
        self.out.as_ref().map(|text| text.0.as_ref())
    }
}

/// The parts of a line of the log of deaths that a summary needs.
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
    /// Returns how the worker ended, as text.
    #[must_use]
    pub fn exit(&self) -> &str {
        &self.exit.text
    }
}
