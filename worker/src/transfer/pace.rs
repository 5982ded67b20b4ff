//! The minimum speed of a body (`--speed-limit`).
//!
//! Must not wait, or know why reading pauses.

use std::time::{Duration, Instant};

use protocol::FailureKind;

use super::Transfer;
use crate::fault::Fault;

impl Transfer<'_> {
    /// Checks the speed at time `now`, after another piece of the body: in each `--speed-time` it
    /// must be at least `--speed-limit`.
    ///
    /// # Errors
    ///
    /// Returns [`FailureKind::Stalled`] if it was not.
    pub fn keeps_pace(&mut self, now: Instant) -> Result<(), Fault> {
        let Some(limit) = self.options.speed_limit else {
            return Ok(());
        };
        let (since, before) = *self.paced.get_or_insert((now, self.received));
        let passed = now.saturating_duration_since(since);
        if passed < self.options.stall_timeout {
            return Ok(());
        }
        let came = self.received - before;
        if u128::from(came) * 1000 < u128::from(limit) * passed.as_millis() {
            let host = self.url().host_str().unwrap_or_default();
            return Err(Fault::transient(
                FailureKind::Stalled,
                format!(
                    "too slow: {host} sent {came} bytes in {passed:.1?}, less than {limit} a second"
                ),
            ));
        }
        self.paced = Some((now, self.received));
        Ok(())
    }

    /// Excludes a pause in reading that our own limit caused, not the server.
    pub fn paused(&mut self, pause: Duration) {
        if let Some((since, _)) = &mut self.paced {
            *since += pause;
        }
    }
}
