//! Partial bodies on their way from one worker to another.
//!
//! A download goes on with what is there of it, whoever wrote that. A worker that is gone can change
//! nothing any more; of one that lives, only what it has not open for writing goes to another.

use std::sync::Arc;

use protocol::{NOTE_SUFFIX, WorkerId};

use super::Hand;
use super::body::{Body, Leases};
use super::leftovers::{self, KEPT, folder_of};
use crate::folder::Replace;

impl Hand {
    /// Moves a partial body with its note to the folder of `worker`. If something is wrong with it,
    /// it is removed, and the download starts over.
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
            // Both are held, so that nobody can begin to write to them.
            let sound = Body::open(&from, name, Leases::Taken)
                .and_then(|body| Ok((body, Body::open(&from, &note, Leases::Taken)?)));
            let moved = sound.map(|(body, told)| {
                // One that is there would speak of another body.
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

    /// Keeps what can be resumed of a worker that is gone, and removes its folder.
    pub(super) fn salvage(&mut self, worker: WorkerId) {
        self.folders.remove(&worker);
        if self.mover.local {
            return;
        }
        let partial = self.partial.path();
        let (folder, kept) = (partial.join(folder_of(worker)), partial.join(KEPT));
        if let Err(error) = leftovers::salvage(&folder, &kept, self.boot.as_deref()) {
            // The end of the run tries again, and says so if it cannot.
            tracing::debug!(%worker, %error, "the folder of a worker that is gone stays");
        }
    }
}
