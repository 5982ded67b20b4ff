//! What workers say of the time, in terms of this process.

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
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        let shared = Duration::try_from(clock_gettime(ClockId::Monotonic));
        Self {
            own: Instant::now(),
            shared: shared.unwrap_or_default(),
        }
    }

    /// The moment that a worker names; now, if it is none in the past.
    #[must_use]
    pub fn instant(self, at: MonotonicNanos) -> Instant {
        let age = self.shared.saturating_sub(Duration::from_nanos(at.0));
        self.own.checked_sub(age).unwrap_or(self.own)
    }
}
