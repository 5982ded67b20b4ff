//! One body over several connections, for both engines: the next piece, and the progress of the
//! file.
//!
//! Must not connect or wait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::NOTE_AFTER;
use crate::activity::{Activity, Downloading as _};
use crate::decode::Body;
use crate::fault::Fault;
use crate::store::Ahead;
use crate::transfer::{Claim, Pieces, Transfer};

/// A body that is received over several connections.
#[derive(Debug)]
pub(super) struct Split {
    pieces: Mutex<Pieces>,
    file: Ahead,
    /// Number of active connections beside the first.
    helpers: AtomicUsize,
}

impl Split {
    /// Starts a split of the rest of `body`, if it may be received in pieces.
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

    /// Returns how many connections beside the first are worthwhile.
    pub(super) fn most_helpers(&self) -> usize {
        self.lock().connections().saturating_sub(1)
    }

    /// Counts one more helper, until the returned value is dropped.
    pub(super) fn enlist(&self) -> Enlisted<'_> {
        self.helpers.fetch_add(1, Ordering::AcqRel);
        Enlisted(&self.helpers)
    }

    /// Returns whether any helper is active.
    pub(super) fn has_helpers(&self) -> bool {
        self.helpers.load(Ordering::Acquire) > 0
    }

    /// Returns the part of the first connection, which is at byte `at`.
    pub(super) fn lead(&self, at: u64) -> Lead<'_> {
        Lead {
            split: self,
            at,
            left: Some(self.lock().left(at)),
        }
    }

    /// Claims the next piece that no connection receives.
    pub(super) fn claim(&self) -> Option<Claim> {
        self.lock().claim()
    }

    /// Starts the claimed piece and returns its writer, or `None` if another connection has it now.
    pub(super) fn hold(&self, claim: &Claim) -> Option<Arrival<'_>> {
        self.lock().hold(claim).then(|| Arrival {
            split: self,
            claim: *claim,
            at: claim.first,
        })
    }

    /// Releases a claimed piece that the server refused.
    pub(super) fn release(&self, claim: &Claim) {
        self.lock().release(claim, false);
    }

    /// Returns how many bytes of the body have been received.
    pub(super) fn received(&self) -> u64 {
        self.lock().received()
    }

    /// Returns whether the whole body has been received.
    pub(super) fn is_whole(&self) -> bool {
        self.lock().is_whole()
    }

    /// Counts the bytes of all connections, notes how many are there without gaps, and hashes
    /// another piece. Returns whether everything that can be hashed is hashed.
    ///
    /// # Errors
    ///
    /// Fails if the body arrives too slowly, or if the file cannot be read back.
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

    /// Locks the pieces. Every update is complete in itself, so a panic elsewhere does no harm.
    fn lock(&self) -> MutexGuard<'_, Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts an active helper until it is dropped.
#[derive(Debug)]
pub(super) struct Enlisted<'s>(&'s AtomicUsize);

impl Drop for Enlisted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Position of the first connection.
#[derive(Debug)]
pub(super) struct Lead<'s> {
    split: &'s Split,
    at: u64,
    /// Bytes left of its piece; none once it has received the last piece.
    left: Option<u64>,
}

impl Lead<'_> {
    /// Returns how many of `size` bytes may be written before the next call of
    /// [`took`](Self::took).
    pub(super) fn most(&self, size: usize) -> usize {
        let left = self.left.unwrap_or(u64::MAX);
        usize::try_from(left).map_or(size, |left| left.min(size))
    }

    /// Records that `bytes` more were written to the file. Returns whether the connection
    /// continues; if not, another connection receives what follows.
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

/// A piece that is being received. If it is dropped early, other connections can claim its rest.
#[derive(Debug)]
pub(super) struct Arrival<'s> {
    split: &'s Split,
    claim: Claim,
    at: u64,
}

impl Arrival<'_> {
    /// Writes `data`, the next bytes of the piece.
    ///
    /// # Errors
    ///
    /// Fails if the data cannot be written.
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
