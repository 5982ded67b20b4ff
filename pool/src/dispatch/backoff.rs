//! How long a task waits before a retry, and a slot before its next worker.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::limits::{Intensity, RetryDelay};

/// Returns the delay before the attempt that follows failure number `failed` (counted from 1).
///
/// A server's `Retry-After` is a lower bound; `max` bounds everything.
pub(super) fn retry_delay(
    policy: RetryDelay,
    failed: u32,
    retry_after: Option<Duration>,
    max: Duration,
    rng: &mut fastrand::Rng,
) -> Duration {
    let own = match policy {
        RetryDelay::Fixed(delay) => delay,
        RetryDelay::Exponential(base) => half_jitter(exponential(base, failed, max), rng),
    };
    own.max(retry_after.unwrap_or_default()).min(max)
}

/// Returns the pause of a slot after `deaths` deaths in a row without progress (counted from 1).
pub(super) fn restart_delay(
    (shortest, longest): (Duration, Duration),
    deaths: u32,
    rng: &mut fastrand::Rng,
) -> Duration {
    half_jitter(exponential(shortest, deaths, longest), rng)
}

fn exponential(base: Duration, nth: u32, max: Duration) -> Duration {
    // 2^31 times any useful base is beyond any useful limit.
    let doublings = nth.saturating_sub(1).min(31);
    base.saturating_mul(1 << doublings).min(max)
}

fn half_jitter(delay: Duration, rng: &mut fastrand::Rng) -> Duration {
    delay.mul_f64(0.5 + 0.5 * rng.f64())
}

/// Deaths without progress, in a sliding window.
#[derive(Debug)]
pub(super) struct RestartWindow {
    intensity: Intensity,
    deaths: VecDeque<Instant>,
}

impl RestartWindow {
    pub(super) const fn new(intensity: Intensity) -> Self {
        Self {
            intensity,
            deaths: VecDeque::new(),
        }
    }

    /// Counts one more death. Returns false if that is one too many.
    pub(super) fn tolerates(&mut self, now: Instant) -> bool {
        while let Some(&oldest) = self.deaths.front() {
            if now.saturating_duration_since(oldest) < self.intensity.period {
                break;
            }
            self.deaths.pop_front();
        }
        self.deaths.push_back(now);
        self.deaths.len() <= self.intensity.restarts as usize
    }

    /// Returns the number of deaths in the window.
    pub(super) fn deaths(&self) -> u32 {
        u32::try_from(self.deaths.len()).unwrap_or(u32::MAX)
    }

    /// Returns the length of the window.
    pub(super) const fn period(&self) -> Duration {
        self.intensity.period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn exponential_waits_double_within_their_jitter_and_stop_at_the_limit() {
        let mut rng = fastrand::Rng::with_seed(7);
        let policy = RetryDelay::Exponential(Duration::from_secs(1));
        for (failed, full) in [
            (1, 1.0),
            (2, 2.0),
            (3, 4.0),
            (6, 32.0),
            (7, 60.0),
            (99, 60.0),
        ] {
            let delay = retry_delay(policy, failed, None, MINUTE, &mut rng).as_secs_f64();
            assert!((full / 2.0..=full).contains(&delay), "{failed}: {delay}");
        }
    }

    #[test]
    fn a_server_can_ask_for_more_time_but_not_for_more_than_the_limit() {
        let mut rng = fastrand::Rng::with_seed(7);
        let policy = RetryDelay::Fixed(Duration::from_secs(2));
        let mut delay = |after| retry_delay(policy, 1, after, MINUTE, &mut rng).as_secs();
        assert_eq!(delay(None), 2);
        assert_eq!(delay(Some(Duration::from_secs(1))), 2);
        assert_eq!(delay(Some(Duration::from_secs(9))), 9);
        assert_eq!(delay(Some(Duration::MAX)), 60);
    }

    #[test]
    fn the_window_forgets_deaths_older_than_its_period() {
        let start = Instant::now();
        let mut window = RestartWindow::new(Intensity {
            restarts: 2,
            period: MINUTE,
        });
        assert!(window.tolerates(start));
        assert!(window.tolerates(start + MINUTE / 2));
        assert!(window.tolerates(start + MINUTE));
        assert!(!window.tolerates(start + MINUTE));
        assert_eq!(window.deaths(), 3);
    }
}
