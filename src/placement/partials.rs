//! Moves partial bodies from one worker to another.
//!
//! A download resumes from its partial body, whichever worker wrote it. A worker that has exited
//! cannot change it any more. A worker that still runs must not have it open for writing.

use std::sync::Arc;

use protocol::{NOTE_SUFFIX, WorkerId};

use super::Hand;
use super::body::{Body, Leases};
use super::leftovers::{self, KEPT, folder_of};
use crate::folder::Replace;

impl Hand {
    /// Moves a partial body with its note to the folder of `worker`. If there is a problem with it,
    /// it is removed and the download starts over.
    pub(super) fn fetch(&mut self, worker: WorkerId, last: Option<WorkerId>, name: &str) {
        let Ok(to) = self.folder(worker) else {
            return;
        };
        let mut from = Vec::new();
        if let Some(last) = last.filter(|last| self.folder_name(*last) != self.folder_name(worker))
        {
            from.extend(self.folder(last).ok());
        }
        from.extend(self.partial.folder(KEPT).ok().map(Arc::new));
        let note = format!("{name}{}", NOTE_SUFFIX);
        for from in from {
            // Both are held under a lease, so that no process can open them for writing unnoticed.
            let sound = Body::open(&from, name, Leases::Taken)
                .and_then(|body| Ok((body, Body::open(&from, &note, Leases::Taken)?)));
            let moved = sound.map(|(body, told)| {
                // An existing note would describe another body.
                let _ = to.remove_file(&note);
                let moved = from
                    .rename(name, &to, name, Replace::Yes)
                    .and_then(|()| from.rename(&note, &to, &note, Replace::Yes));
                let whole = moved.is_ok() && body.is_untouched() && told.is_untouched();
                if !whole {
                    let _ = to.remove_file(&note);
                    let _ = to.remove_file(name);
                }
                whole
            });
            if moved == Ok(true) {
                return;
            }
            for name in [&*note, name] {
                let _ = from.remove_file(name);
            }
        }
    }

    /// Keeps the resumable partial bodies of a worker that has exited, and removes its folder.
    pub(super) fn salvage(&mut self, worker: WorkerId) {
        self.folders.remove(&worker);
        if self.mover.local {
            return;
        }
        let partial = self.partial.path();
        let (folder, kept) = (partial.join(folder_of(worker)), partial.join(KEPT));
        if let Err(error) = leftovers::salvage(&folder, &kept, self.boot.as_deref()) {
            // The end of the run tries again, and reports an error if it fails.
            tracing::debug!(%worker, %error, "the folder of a worker that is gone stays");
        }
    }
}
