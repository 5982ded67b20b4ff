//! Converts times that workers report to the clock of this process.

use std::time::{Duration, Instant};

use protocol::MonotonicNanos;
use rustix::time::{ClockId, clock_gettime};

/// One moment on two clocks: that of this process, and that of all processes.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    own: Instant,
    shared: Duration,
}

impl Clock {
    /// Returns the current moment.
    #[must_use]
    pub fn now() -> Self {
        let shared = Duration::try_from(clock_gettime(ClockId::Monotonic));
        Self {
            own: Instant::now(),
            shared: shared.unwrap_or_default(),
        }
    }

    /// Converts the moment that a worker reports. A moment in the future becomes that of `self`.
    #[must_use]
    pub fn instant(self, at: MonotonicNanos) -> Instant {
        let age = self.shared.saturating_sub(Duration::from_nanos(at.0));
        self.own.checked_sub(age).unwrap_or(self.own)
    }
}
