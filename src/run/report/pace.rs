//! The rates of a run over the last minute, and the time left.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::text::RunningLine;
use crate::run::stats::Stats;

/// Period over which rates are measured.
const WINDOW: Duration = Duration::from_secs(60);

/// Minimum time between two samples.
const SAMPLE: Duration = Duration::from_millis(900);

/// Minimum period for an estimate of the time left.
const LEAST: Duration = Duration::from_secs(3);

/// Samples of the last minute.
#[derive(Debug)]
pub(super) struct Pace {
    samples: VecDeque<Sample>,
}

/// The progress at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    finished: u64,
    received: u64,
}

/// Rates per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// URLs finished, with any outcome.
    pub(super) files: f64,
    /// Bytes of bodies received.
    pub(super) bytes: f64,
    /// The period of the rates.
    pub(super) over: Duration,
}

impl Pace {
    /// Starts at `begun`, when nothing is done.
    pub(super) fn new(begun: Instant) -> Self {
        Self {
            samples: VecDeque::from([Sample {
                at: begun,
                finished: 0,
                received: 0,
            }]),
        }
    }

    /// Returns the rates at `now`, and keeps a sample for later ones.
    pub(super) fn at(&mut self, now: Instant, stats: &Stats) -> Rates {
        let sample = Sample {
            at: now,
            finished: stats.finished(),
            received: stats.received,
        };
        let age = |sample: &Sample| now.saturating_duration_since(sample.at);
        while self.samples.len() > 1 && self.samples.front().is_some_and(|old| age(old) > WINDOW) {
            self.samples.pop_front();
        }
        let rates = self.samples.front().map(|first| first.rates_to(&sample));
        if self.samples.back().is_none_or(|last| age(last) >= SAMPLE) {
            self.samples.push_back(sample);
        }
        rates.unwrap_or_default()
    }

    /// Restarts at `now` after a pause: earlier samples say nothing about the time since.
    pub(super) fn restart(&mut self, now: Instant, stats: &Stats) {
        self.samples.clear();
        self.samples.push_back(Sample {
            at: now,
            finished: stats.finished(),
            received: stats.received,
        });
    }
}

impl Sample {
    #[allow(clippy::cast_precision_loss, reason = "rates for people")]
    fn rates_to(&self, later: &Self) -> Rates {
        let over = later.at.saturating_duration_since(self.at);
        let seconds = over.as_secs_f64().max(1e-3);
        Rates {
            files: later.finished.saturating_sub(self.finished) as f64 / seconds,
            bytes: later.received.saturating_sub(self.received) as f64 / seconds,
            over,
        }
    }
}

/// Estimates the time left, if possible: from the missing bytes if only running downloads are left,
/// otherwise from the number of files.
#[allow(clippy::cast_precision_loss, reason = "an estimate")]
pub(super) fn time_left(stats: &Stats, rates: Rates, running: &[RunningLine]) -> Option<Duration> {
    if rates.over < LEAST {
        return None;
    }
    let left = stats.expected()?.saturating_sub(stats.finished());
    let missing: Option<u64> = running
        .iter()
        .map(|line| {
            let heard = line.heard.as_ref()?;
            Some(heard.expected?.saturating_sub(heard.bytes))
        })
        .sum();
    let seconds = match missing {
        Some(missing) if stats.input_ended && left == running.len() as u64 => {
            missing as f64 / rates.bytes
        }
        _ => left as f64 / rates.files,
    };
    // A rate of zero gives no estimate.
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use protocol::Phase;

    use super::super::text::Activity;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn stats(begun: Instant, stored: u64, offered: u64) -> Stats {
        Stats {
            stored,
            offered,
            received: stored * 1000,
            input_ended: true,
            ..Stats::new(begun)
        }
    }

    #[test]
    fn rates_are_of_the_last_minute() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        // Ten per second for a minute, then one per second.
        let mut stored = 0;
        for second in 1..=150_u32 {
            stored += if second <= 60 { 10 } else { 1 };
            let now = begun + SECOND * second;
            let rates = pace.at(now, &stats(begun, stored, 10_000));
            let expected = match second {
                30 | 60 => 10.0,
                125.. => 1.0,
                _ => continue,
            };
            assert!((rates.files - expected).abs() < 0.2, "{second}: {rates:?}");
            assert!((rates.bytes - expected * 1000.0).abs() < 200.0, "{rates:?}");
        }
    }

    #[test]
    fn the_time_left_is_told_only_when_it_is_known() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        let mut left = |at: Duration, stats: &Stats, running: &[RunningLine]| {
            let rates = pace.at(begun + at, stats);
            time_left(stats, rates, running)
        };
        assert_eq!(left(SECOND, &stats(begun, 5, 100), &[]), None, "too early");
        assert_eq!(
            left(10 * SECOND, &stats(begun, 0, 100), &[]),
            None,
            "nothing"
        );
        let half = left(20 * SECOND, &stats(begun, 50, 100), &[]).expect("known");
        assert_eq!(half.as_secs(), 20);
        let unknown = Stats {
            input_ended: false,
            ..stats(begun, 50, 100)
        };
        assert_eq!(left(20 * SECOND, &unknown, &[]), None, "a pipe has no end");
    }

    #[test]
    fn what_runs_is_left_by_its_bytes() {
        let begun = Instant::now();
        let stats = Stats {
            received: 1_000_000,
            ..stats(begun, 0, 1)
        };
        let rates = Pace::new(begun).at(begun + 10 * SECOND, &stats);
        let line = RunningLine {
            url: "http://h/x".to_owned(),
            elapsed: 10 * SECOND,
            heard: Some(Activity {
                phase: Phase::Receiving,
                bytes: 1_000_000,
                expected: Some(5_000_000),
                speed: None,
            }),
        };
        let left = time_left(&stats, rates, &[line]).expect("known");
        assert_eq!(left.as_secs(), 40);
    }
}
