//! Counts of what a run has done so far: for progress, the summary and the exit code.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use protocol::FailureKind;

/// The counts of a run.
#[derive(Clone, Debug)]
pub struct Stats {
    /// When the run began.
    pub begun: Instant,
    /// Files stored.
    pub stored: u64,
    /// Path of the first stored file, relative to the output folder.
    pub first_stored: Option<String>,
    /// Bytes in stored files.
    pub bytes: u64,
    /// Bytes of bodies received in this run, including unfinished downloads.
    pub received: u64,
    /// Files that were already in place and are current.
    pub unchanged: u64,
    /// Tasks that failed, by kind.
    pub failed: BTreeMap<FailureKind, u64>,
    /// Tasks quarantined by this run.
    pub quarantined: u64,
    /// Bodies that were not put in place, because their partition of a fleet was lost.
    pub fenced: u64,
    /// Lines that name a URL again.
    pub duplicates: u64,
    /// Lines whose file earlier runs stored, and that were left alone.
    pub stored_earlier: u64,
    /// Lines that earlier runs quarantined.
    pub quarantined_earlier: u64,
    /// Lines, or whole lists, that cannot be read as URLs.
    pub unusable: u64,
    /// Tasks given to the core so far.
    pub offered: u64,
    /// Fraction of the input that has been read, from 0 to 1, if it is known.
    pub fraction: Option<f64>,
    /// Entries of the input, counted ahead, if earlier runs did none of them.
    pub counted: Option<u64>,
    /// Whether the input has been read to its end.
    pub input_ended: bool,
}

impl Stats {
    /// Creates counts of zero for a run that began at `begun`.
    #[must_use]
    pub const fn new(begun: Instant) -> Self {
        Self {
            begun,
            stored: 0,
            first_stored: None,
            bytes: 0,
            received: 0,
            unchanged: 0,
            failed: BTreeMap::new(),
            quarantined: 0,
            fenced: 0,
            duplicates: 0,
            stored_earlier: 0,
            quarantined_earlier: 0,
            unusable: 0,
            offered: 0,
            fraction: None,
            counted: None,
            input_ended: false,
        }
    }

    /// Returns the number of tasks that failed, of all kinds.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Returns the number of finished tasks of this run.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.stored + self.unchanged + self.failures() + self.quarantined + self.fenced
    }

    /// Returns the number of input lines that name a URL, so far.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.offered + self.duplicates + self.stored_earlier + self.quarantined_earlier
    }

    /// Returns why an input without lines leaves nothing to do, unless another message says so.
    #[must_use]
    pub const fn why_nothing(&self) -> Option<&'static str> {
        match self.unusable {
            0 => Some("there is no URL in the input: nothing to do"),
            1 => None,
            _ => Some("there is no URL in the input that can be downloaded: nothing to do"),
        }
    }

    /// Returns whether every line read so far is stored.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failures() + self.quarantined + self.quarantined_earlier + self.unusable == 0
    }

    /// Returns the total number of tasks of this run. It is estimated until the input is read.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate, for a progress bar"
    )]
    pub fn expected(&self) -> Option<u64> {
        if self.input_ended {
            return Some(self.offered);
        }
        if let Some(counted) = self.counted {
            // Lines that were examined and are not tasks do not count.
            let looked_at = self.lines() + self.unusable;
            return Some(self.offered + counted.saturating_sub(looked_at));
        }
        match self.fraction {
            Some(fraction) if fraction > 0.0 => Some((self.offered as f64 / fraction) as u64),
            Some(_) | None => None,
        }
    }

    /// Returns whether that number is exact.
    #[must_use]
    pub const fn is_counted(&self) -> bool {
        self.input_ended || self.counted.is_some()
    }

    /// Returns the average number of files stored per second after `elapsed`.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    pub fn rate(&self, elapsed: Duration) -> f64 {
        self.stored as f64 / elapsed.as_secs_f64().max(1e-9)
    }
}
