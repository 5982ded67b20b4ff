//! Activity of one slot that runs a download.

use protocol::{Phase, Progress};

/// Activity of one slot.
pub type Activity = pool::session::Activity<Progress>;

/// Reports of an engine about the progress of a download.
pub trait Downloading {
    /// Reports that `phase` of the task begins, possibly again.
    fn enter(&self, phase: Phase);

    /// Reports that `bytes` of body have been received, of `expected` in total if that is known.
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
