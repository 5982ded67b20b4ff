//! The time that a file gets (`--remote-time`): that which the server says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::Timestamp;

use super::body::Body;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// That it cannot be set was said.
    told: AtomicBool,
}

impl Times {
    /// Gives `body` the time at which a server says that it was modified, if that can be: not before
    /// 1970, and not later than now, where `--refresh` would take it for what somebody wrote since.
    /// That it cannot be set is no reason to give up the file.
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
