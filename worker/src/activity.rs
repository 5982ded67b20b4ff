//! What one slot is doing, where that is a download.

use protocol::{Phase, Progress};

/// What one slot is doing.
pub type Activity = pool::session::Activity<Progress>;

/// How an engine says how far a download is.
pub trait Downloading {
    /// The task is in `phase` now, or in it once more.
    fn enter(&self, phase: Phase);

    /// `bytes` of body are received by now, of as many as are `expected`, if that is known.
    fn received(&self, bytes: u64, expected: Option<u64>);
}

impl Downloading for Activity {
    fn enter(&self, phase: Phase) {
        self.advance(|progress| progress.phase = phase);
    }

    fn received(&self, bytes: u64, expected: Option<u64>) {
        self.advance(|progress| {
            progress.bytes = bytes;
            progress.expected = expected;
        });
    }
}
