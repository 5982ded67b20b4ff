//! Updates the index of the run log on its own thread during a run, so that after a kill the next
//! run need not read the whole log.
//!
//! The thread reads the log as the next run would, so the index agrees with the log. Nothing waits
//! for the thread, not even the end of the run.

use std::fmt;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::kept::{Extent, FILE};
use super::{Index, Source, is_long};
use crate::folder::OwnFolder;
use crate::run::log::RESULTS;

/// Why the index could not be updated. This only costs time.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Updates the index of the run log while the log grows.
pub struct Keeper {
    own: Arc<OwnFolder>,
    /// The part of the log that the index covers.
    kept: Extent,
    at_work: Option<JoinHandle<Result<Extent, Failure>>>,
    /// An update failed, and no other is tried.
    failed: bool,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

impl Keeper {
    /// Continues from this index.
    #[must_use]
    pub fn new(index: &Index, own: OwnFolder) -> Self {
        Self {
            own: Arc::new(own),
            kept: index.kept,
            at_work: None,
            failed: false,
        }
    }

    /// Notes that the log now has this many bytes, and starts an update if it is due.
    pub fn grown(&mut self, bytes: u64) {
        if self.failed || !is_long(self.kept.bytes, bytes) {
            return;
        }
        if self
            .at_work
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
        {
            return;
        }
        if let Some(thread) = self.at_work.take() {
            self.done(thread);
            return;
        }
        let (own, known) = (Arc::clone(&self.own), self.kept);
        let work = Builder::new()
            .name("index".to_owned())
            .spawn(move || keep(&own, known));
        match work {
            Ok(thread) => self.at_work = Some(thread),
            Err(error) => {
                tracing::warn!(%error, "the index of the run log is not kept");
                self.failed = true;
            }
        }
    }

    fn done(&mut self, thread: JoinHandle<Result<Extent, Failure>>) {
        match thread.join() {
            Ok(Ok(kept)) => self.kept = kept,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the index of the run log is not kept");
                self.failed = true;
            }
            Err(_) => self.failed = true,
        }
    }

    #[cfg(test)]
    pub(super) const fn kept(&self) -> Extent {
        self.kept
    }

    #[cfg(test)]
    pub(super) fn wait(&mut self) {
        let thread = self.at_work.take().expect("it is at work");
        self.done(thread);
    }
}

fn keep(own: &OwnFolder, known: Extent) -> Result<Extent, Failure> {
    let folder = own.as_folder();
    let source = Source {
        results: folder.read(RESULTS)?,
        path: &folder.path().join(RESULTS),
        folder: folder.path().to_owned(),
        kept: own.read_private(FILE),
    };
    let mut index = Index::load_to_keep(source, known)?;
    index.keep(own)?;
    Ok(index.kept)
}
