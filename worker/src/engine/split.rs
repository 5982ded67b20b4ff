//! One body over several connections, for either engine: which piece comes next, and how far the
//! file is.
//!
//! It must not connect, or wait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::NOTE_AFTER;
use crate::activity::{Activity, Downloading as _};
use crate::decode::Body;
use crate::fault::Fault;
use crate::store::Ahead;
use crate::transfer::{Claim, Pieces, Transfer};

/// A body that comes over several connections.
#[derive(Debug)]
pub(super) struct Split {
    pieces: Mutex<Pieces>,
    file: Ahead,
    /// Connections beside the first that are at work.
    helpers: AtomicUsize,
}

impl Split {
    /// What follows of `body`, if it may come in pieces.
    pub(super) fn begin(transfer: &Transfer<'_>, body: &mut Body) -> Option<Self> {
        let pieces = transfer.pieces()?;
        let partial = body.plain()?;
        let file = partial.ahead().ok()?;
        partial.spread(transfer.note()?).then(|| Self {
            pieces: Mutex::new(pieces),
            file,
            helpers: AtomicUsize::new(0),
        })
    }

    /// Connections beside the first that it is worth.
    pub(super) fn most_helpers(&self) -> usize {
        self.lock().connections().saturating_sub(1)
    }

    /// One more is at work, until the place that it has is dropped.
    pub(super) fn enlist(&self) -> Enlisted<'_> {
        self.helpers.fetch_add(1, Ordering::AcqRel);
        Enlisted(&self.helpers)
    }

    /// Whether some are at work.
    pub(super) fn has_helpers(&self) -> bool {
        self.helpers.load(Ordering::Acquire) > 0
    }

    /// The part of the first connection, which is at byte `at`.
    pub(super) fn lead(&self, at: u64) -> Lead<'_> {
        Lead {
            split: self,
            at,
            left: Some(self.lock().left(at)),
        }
    }

    /// The next piece that nobody gets.
    pub(super) fn claim(&self) -> Option<Claim> {
        self.lock().claim()
    }

    /// What was claimed is coming. Where it goes to; nothing if somebody else gets it by now.
    pub(super) fn hold(&self, claim: &Claim) -> Option<Arrival<'_>> {
        self.lock().hold(claim).then(|| Arrival {
            split: self,
            claim: *claim,
            at: claim.first,
        })
    }

    /// What was claimed was refused.
    pub(super) fn release(&self, claim: &Claim) {
        self.lock().release(claim, false);
    }

    /// How many bytes of the body are there.
    pub(super) fn received(&self) -> u64 {
        self.lock().received()
    }

    /// Whether all of it is.
    pub(super) fn is_whole(&self) -> bool {
        self.lock().is_whole()
    }

    /// Counts what came over all connections, notes what is there without gaps, and hashes some of
    /// it. Whether all is hashed that can be.
    ///
    /// # Errors
    ///
    /// If the body comes too slowly, or cannot be read again.
    pub(super) fn tend(
        &self,
        transfer: &mut Transfer<'_>,
        body: &mut Body,
        activity: &Activity,
    ) -> Result<bool, Fault> {
        let (received, front) = {
            let pieces = self.lock();
            transfer.put_together(&pieces);
            (pieces.received(), pieces.front())
        };
        transfer.has(received)?;
        transfer.keeps_pace(Instant::now())?;
        if let Some(partial) = body.plain() {
            partial.grow(front);
        }
        NOTE_AFTER.note(body, None, Instant::now());
        activity.received(received, transfer.expected());
        body.plain().map_or(Ok(true), |partial| partial.rehash())
    }

    /// Every update is whole in itself, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a helper.
#[derive(Debug)]
pub(super) struct Enlisted<'s>(&'s AtomicUsize);

impl Drop for Enlisted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Where the first connection is.
#[derive(Debug)]
pub(super) struct Lead<'s> {
    split: &'s Split,
    at: u64,
    /// What is left of its piece; nothing once it brought the last one.
    left: Option<u64>,
}

impl Lead<'_> {
    /// How many of `size` bytes may be taken in before they are [`took`](Self::took).
    pub(super) fn most(&self, size: usize) -> usize {
        let left = self.left.unwrap_or(u64::MAX);
        usize::try_from(left).map_or(size, |left| left.min(size))
    }

    /// So many more bytes are in the file. Whether the connection goes on: otherwise, what follows is
    /// coming over another.
    pub(super) fn took(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let mut pieces = self.split.lock();
        pieces.add(self.at, bytes);
        self.at += bytes;
        let left = self.left.map(|left| left.saturating_sub(bytes));
        self.left = match left {
            Some(0) if pieces.ends_at(self.at) => None,
            Some(0) => Some(pieces.left(self.at)),
            left => left,
        };
        self.left != Some(0)
    }
}

/// A piece that comes. Dropped before its end, it leaves the rest of it to others.
#[derive(Debug)]
pub(super) struct Arrival<'s> {
    split: &'s Split,
    claim: Claim,
    at: u64,
}

impl Arrival<'_> {
    /// Writes `data`, which is what follows.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), Fault> {
        self.split.file.write(data, self.at)?;
        let bytes = data.len() as u64;
        self.split.lock().add(self.at, bytes);
        self.at += bytes;
        Ok(())
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if self.at < self.claim.end {
            self.split.lock().release(&self.claim, true);
        }
    }
}
