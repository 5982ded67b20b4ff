//! The figures of a run, computed from the records that count, one after the other.
//!
//! Memory stays bounded, however many records there are. This module must not print.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::PathBuf;

use protocol::{FailureKind, Timestamp};
use serde::Serialize;

use super::busy::Busy;
use super::failed::has_failed;
use super::filter::host;
use super::hosts::{HostCount, Hosts};
use crate::disk_map::DiskMapError;
use crate::run::log::{Brief, Moment, Outcome, RecordedTiming};

#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Counts and times.
    pub totals: Totals,
    /// Errors by kind, the most frequent first.
    pub errors_by_kind: Vec<KindCount>,
    /// The hosts with the most errors, at most [`SHOWN`](super::hosts::SHOWN).
    pub errors_by_host: Vec<HostCount>,
    /// Number of hosts with an error, including those that are not listed.
    pub hosts_with_errors: u64,
    /// The slowest downloads, slowest first.
    pub slowest: Vec<Slow>,
}

/// Counts and times.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// URLs whose file was downloaded.
    pub stored: u64,
    /// URLs whose file was in place and is still current.
    pub unchanged: u64,
    /// URLs that failed.
    pub failed: u64,
    /// URLs that are quarantined.
    pub quarantined: u64,
    /// URLs whose body was not put in place, since their partition of a fleet was lost.
    pub fenced: u64,
    /// Lines of lists that name a URL again.
    pub duplicates: u64,
    /// Bytes in the files that were downloaded.
    pub bytes: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Deliveries after the first.
    pub redeliveries: u64,
    /// Workers that died, by cause; `None` if the log of deaths was not read.
    pub worker_deaths: Option<BTreeMap<String, u64>>,
    /// When the first download began.
    pub first: Option<Moment>,
    /// When the last one ended.
    pub last: Option<Moment>,
    /// Total time of downloads between these two, without pauses of more than a minute.
    pub busy_s: f64,
}

impl Totals {
    /// Returns whether no URL counts.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.stored
            + self.unchanged
            + self.failed
            + self.quarantined
            + self.fenced
            + self.duplicates
            == 0
    }
}

/// Failures of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KindCount {
    pub kind: FailureKind,
    /// The status, if it is the error.
    pub status: Option<u16>,
    /// Number of URLs.
    pub urls: u64,
    /// One of these URLs.
    pub url: String,
    /// Its error message.
    pub message: String,
}

/// A slow download.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slow {
    /// Its URL.
    pub url: String,
    /// Its outcome.
    pub outcome: Outcome,
    /// Size of the file.
    pub bytes: Option<u64>,
    /// Time that it took after a worker started it.
    pub total_ms: f64,
    /// Time of each phase, and of waiting before.
    pub timing_ms: RecordedTiming,
}

/// Computes a summary.
#[derive(Debug)]
pub struct Counting {
    totals: Totals,
    kinds: BTreeMap<(FailureKind, Option<u16>), KindCount>,
    hosts: Hosts,
    busy: Busy,
    /// Keyed by duration in microseconds and by position in the log.
    slowest: BTreeMap<(u64, Reverse<u64>), Slow>,
    most_slow: usize,
    failures_are_slow: bool,
    records: u64,
}

impl Counting {
    /// Creates an empty count. Temporary files, if any are needed, are created in `folder`. At most
    /// `slowest` downloads are listed, failed ones only if `failures_are_slow`.
    #[must_use]
    pub fn new(folder: PathBuf, slowest: usize, failures_are_slow: bool) -> Self {
        Self {
            totals: Totals::default(),
            kinds: BTreeMap::new(),
            hosts: Hosts::new(folder),
            busy: Busy::default(),
            slowest: BTreeMap::new(),
            most_slow: slowest,
            failures_are_slow,
            records: 0,
        }
    }

    /// Counts a record.
    ///
    /// # Errors
    ///
    /// Fails if there is no room to count its host.
    pub fn add(&mut self, record: &Brief<'_>) -> Result<(), DiskMapError> {
        let totals = &mut self.totals;
        self.records += 1;
        match record.outcome {
            Outcome::Stored => totals.stored += 1,
            Outcome::Unchanged => totals.unchanged += 1,
            Outcome::Failed => totals.failed += 1,
            Outcome::Quarantined => totals.quarantined += 1,
            Outcome::Fenced => totals.fenced += 1,
            Outcome::Duplicate => {
                // The figures are counted with the task that it duplicates.
                totals.duplicates += 1;
                return Ok(());
            }
        }
        if record.outcome == Outcome::Stored {
            totals.bytes = totals
                .bytes
                .saturating_add(record.bytes.unwrap_or_default());
        }
        totals.retries += u64::from(record.attempts.saturating_sub(1));
        totals.redeliveries += u64::from(record.deliveries.saturating_sub(1));
        let took = record.timing_ms.took();
        if let Some(started) = record.started {
            let started = started.as_millis();
            let millis = i64::try_from(took / 1000).unwrap_or(i64::MAX);
            self.busy.add(started, started.saturating_add(millis));
        }
        self.add_kind(record);
        self.add_slow(record, took);
        self.hosts
            .count(&host(&record.url), has_failed(record.outcome))
    }

    fn add_kind(&mut self, record: &Brief<'_>) {
        let Some(error) = &record.error else {
            return;
        };
        // The status itself says more than the kind `status`.
        let status = record.status.filter(|_| error.kind == FailureKind::Status);
        let count = self.kinds.entry((error.kind, status));
        let count = count.or_insert_with(|| KindCount {
            kind: error.kind,
            status,
            urls: 0,
            url: record.url.to_string(),
            message: error.message.to_string(),
        });
        count.urls += 1;
    }

    fn add_slow(&mut self, record: &Brief<'_>, took: u64) {
        let rank = (took, Reverse(self.records));
        let is_full = self.slowest.len() >= self.most_slow;
        if took == 0
            || (has_failed(record.outcome) && !self.failures_are_slow)
            || (is_full
                && self
                    .slowest
                    .first_key_value()
                    .is_none_or(|(least, _)| rank <= *least))
        {
            return;
        }
        if is_full {
            self.slowest.pop_first();
        }
        #[allow(clippy::cast_precision_loss, reason = "microseconds of some years")]
        let total_ms = took as f64 / 1000.0;
        let slow = Slow {
            url: record.url.to_string(),
            outcome: record.outcome,
            bytes: record.bytes,
            total_ms,
            timing_ms: record.timing_ms,
        };
        self.slowest.insert(rank, slow);
    }

    /// Returns the figures.
    ///
    /// # Errors
    ///
    /// Fails if a temporary file cannot be read.
    pub fn finish(self) -> Result<Summary, DiskMapError> {
        let mut kinds: Vec<_> = self.kinds.into_values().collect();
        kinds.sort_by_key(|kind| Reverse(kind.urls));
        let span = self.busy.span();
        let moment = |millis: i64| Moment::from(Timestamp(millis.saturating_mul(1000)));
        Ok(Summary {
            totals: Totals {
                first: span.map(|(first, _)| moment(first)),
                last: span.map(|(_, last)| moment(last)),
                busy_s: self.busy.seconds(),
                ..self.totals
            },
            errors_by_kind: kinds,
            errors_by_host: self.hosts.worst()?,
            hosts_with_errors: self.hosts.failing(),
            slowest: self.slowest.into_values().rev().collect(),
        })
    }
}
