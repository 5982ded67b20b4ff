//! The modification time of a file (`--remote-time`), as the server reports it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::Timestamp;

use super::body::Body;

/// Sets the modification times of files.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// Whether the user was warned that times cannot be set.
    told: AtomicBool,
}

impl Times {
    /// Gives `body` the modification time that the server reports, if it is not before 1970 and not
    /// later than now. `--refresh` would take a later time for a change by another program. An
    /// error does not fail the task.
    pub(super) fn set(&self, body: &Body, modified: Timestamp, path: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let seconds = modified.0.div_euclid(1_000_000);
        if !(0..=now).contains(&seconds) {
            tracing::debug!(path, seconds, "no time of a file");
            return;
        }
        if let Err(errno) = body.set_modified(seconds)
            && !self.told.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "cannot set the time of {path} (--remote-time): {errno}; files keep the time of their download"
            );
        }
    }
}
