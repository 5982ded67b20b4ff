//! Signs of life, on a clock of their own.
//!
//! They come from a thread that does nothing else, so that they say something about the slots: a
//! running task that does not move for longer than its limits allow is left out.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::FromWorker;

use crate::activity::Activity;
use crate::link::Outbox;

/// Shortest interval: a setup that asks for none gets no busy loop.
pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Ends the heartbeat from outside.
#[derive(Debug, Default)]
pub(super) struct Heart {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Heart {
    /// Sends a heartbeat every `interval` until it is stopped, or nobody listens any more. Tasks
    /// that did not move for longer than `limit` are left out.
    pub(super) fn beat(
        &self,
        outbox: &impl Outbox,
        activities: &[Arc<Activity>],
        interval: Duration,
        limit: Duration,
    ) {
        let interval = interval.max(MIN_INTERVAL);
        while self.wait(interval) {
            let now = Instant::now();
            let running = activities
                .iter()
                .filter_map(|activity| activity.running(now, limit))
                .collect();
            if outbox.send(FromWorker::Heartbeat(running)).is_err() {
                return;
            }
        }
    }

    /// Ends the heartbeat.
    pub(super) fn stop(&self) {
        *self.lock() = true;
        self.changed.notify_all();
    }

    /// Waits for `interval`; `false` once stopped.
    fn wait(&self, interval: Duration) -> bool {
        let (stopped, _) = self
            .changed
            .wait_timeout_while(self.lock(), interval, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        !*stopped
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
