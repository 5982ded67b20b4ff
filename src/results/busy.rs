//! Computes how long downloads were in progress, from separate periods in any order.
//!
//! A run log may contain several runs, with a night between them that no rate should count. So
//! periods that overlap or are close together are merged, and the gaps between the merged ones are
//! left out. Memory is bounded: if there are too many periods, larger gaps are merged too.

use std::collections::BTreeMap;

/// Gaps below this number of milliseconds count as work.
const GAP: i64 = 60_000;

/// Maximum number of merged periods.
const MOST: usize = 4096;

/// Merged periods of work. Times are in milliseconds since any fixed moment.
#[derive(Clone, Debug)]
pub struct Busy {
    /// Start and end of each period. Periods are more than `gap` apart.
    stretches: BTreeMap<i64, i64>,
    gap: i64,
}

impl Default for Busy {
    fn default() -> Self {
        Self {
            stretches: BTreeMap::new(),
            gap: GAP,
        }
    }
}

impl Busy {
    /// Adds a period of work from `start` to `end`.
    pub fn add(&mut self, start: i64, end: i64) {
        let (mut start, mut end) = (start, end.max(start));
        let near = end.saturating_add(self.gap);
        while let Some((&from, &until)) = self.stretches.range(..=near).next_back()
            && until.saturating_add(self.gap) >= start
        {
            start = start.min(from);
            end = end.max(until);
            self.stretches.remove(&from);
        }
        self.stretches.insert(start, end);
        while self.stretches.len() > MOST {
            self.gap = self.gap.saturating_mul(2);
            let all = std::mem::take(&mut self.stretches);
            for (from, until) in all {
                self.join(from, until);
            }
        }
    }

    /// Adds a period after all others.
    fn join(&mut self, start: i64, end: i64) {
        match self.stretches.last_entry() {
            Some(mut last) if last.get().saturating_add(self.gap) >= start => {
                let until = (*last.get()).max(end);
                last.insert(until);
            }
            Some(_) | None => {
                self.stretches.insert(start, end);
            }
        }
    }

    /// Returns the first moment and the last.
    #[must_use]
    pub fn span(&self) -> Option<(i64, i64)> {
        let (&first, _) = self.stretches.first_key_value()?;
        let (_, &last) = self.stretches.last_key_value()?;
        Some((first, last))
    }

    /// Returns the total time of work in seconds.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of some years")]
    pub fn seconds(&self) -> f64 {
        let stretches = self.stretches.iter();
        let millis: i64 = stretches
            .map(|(start, end)| end.saturating_sub(*start))
            .sum();
        millis as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn busy(pieces: &[(i64, i64)]) -> Busy {
        let mut busy = Busy::default();
        for &(start, end) in pieces {
            busy.add(start, end);
        }
        busy
    }

    #[test]
    fn a_night_between_two_runs_does_not_count() {
        let night = 8 * 3_600_000;
        let busy = busy(&[(0, 1000), (500, 2000), (night, night + 3000)]);
        assert_eq!(busy.seconds(), 5.0);
        assert_eq!(busy.span(), Some((0, night + 3000)));
        assert_eq!(Busy::default().span(), None);
    }

    #[test]
    fn a_short_pause_does() {
        assert_eq!(busy(&[(0, 1000), (31_000, 32_000)]).seconds(), 32.0);
    }

    proptest! {
        #[test]
        fn the_order_does_not_matter(
            pieces in prop::collection::vec((0_i64..3_000_000, 0_i64..200_000), 1..40)
        ) {
            let pieces: Vec<_> = pieces.iter().map(|&(start, long)| (start, start + long)).collect();
            let mut sorted = pieces.clone();
            sorted.sort_unstable();
            // An independent calculation, from left to right.
            let (mut total, mut until) = (0, i64::MIN / 2);
            for &(start, end) in &sorted {
                let from = if start - until <= GAP { until } else { start };
                total += (end - from).max(0);
                until = until.max(end);
            }
            prop_assert_eq!(busy(&pieces).seconds(), total as f64 / 1000.0);
        }
    }

    #[test]
    fn memory_is_bounded_and_nonsense_is_survived() {
        let mut busy = Busy::default();
        for n in 0..20_000 {
            busy.add(n * 1_000_000, n * 1_000_000 + 1);
            assert!(busy.stretches.len() <= MOST);
        }
        busy.add(i64::MIN, i64::MAX);
        busy.add(5, 3);
        assert_eq!(busy.stretches.len(), 1);
    }
}
