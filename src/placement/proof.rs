//! Whether what a worker calls fatal is: a worker may have been taken over, and one message must not
//! end a run. So the coordinator tries by itself what every task needs.

use std::io::{self, Write};

use protocol::{Failure, Severity, WorkerId};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::Hand;
use crate::folder::Folder;

/// Less room than this is a full disk.
const ROOM: u64 = 64 * 1024 * 1024;

impl Hand {
    /// What a worker says ends the run only if it is so; otherwise it may pass.
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

/// Stores something in `folder`, and leaves nothing there.
fn store(folder: &Folder) -> io::Result<()> {
    let mut file = folder.nameless()?;
    file.write_all(&[0; 4096])?;
    // Beyond its limit on file sizes this process would be killed (RLIMIT_FSIZE in setrlimit(2)).
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
