//! Checks whether a failure that a worker calls fatal is fatal: a worker may have been taken over,
//! and one message must not end a run. The coordinator tries the operations that every task needs.

use std::io::{self, Write};

use protocol::{Failure, Severity, WorkerId};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::Hand;
use crate::folder::Folder;

/// A disk with less space than this is full.
const ROOM: u64 = 64 * 1024 * 1024;

impl Hand {
    /// Leaves a failure fatal only if the check confirms it, and makes it transient otherwise.
    pub(super) fn proven(&self, worker: WorkerId, mut failure: Box<Failure>) -> Box<Failure> {
        match store(&self.partial).and_then(|()| store(&self.mover.output)) {
            Err(error) => tracing::debug!(%error, "no task can succeed"),
            Ok(()) => {
                tracing::info!(%worker, %failure, "the coordinator finds nothing wrong");
                failure.severity = Severity::Transient { retry_after: None };
            }
        }
        failure
    }
}

/// Stores data in `folder`, and leaves nothing there.
fn store(folder: &Folder) -> io::Result<()> {
    let mut file = folder.nameless()?;
    file.write_all(&[0; 4096])?;
    // A write beyond the limit on file sizes would kill this process (setrlimit(2), RLIMIT_FSIZE).
    let most = getrlimit(Resource::Fsize).current.unwrap_or(ROOM);
    match fallocate(&file, FallocateFlags::empty(), 0, ROOM.min(most)) {
        Ok(()) => {}
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let room = fstatvfs(&file)?;
            if room.f_bavail.saturating_mul(room.f_frsize) < ROOM {
                return Err(Errno::NOSPC.into());
            }
        }
        Err(error) => return Err(error.into()),
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_room_is_no_reason_and_a_folder_that_is_gone_is_one() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder::named(temporary.path()).expect("it is there");
        store(&folder).expect("there is room");
        assert_eq!(folder.names().expect("a folder").len(), 0);
        drop(temporary);
        store(&folder).expect_err("it is gone");
    }
}
