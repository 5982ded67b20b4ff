//! Whether what a worker calls fatal is: a worker may have been taken over, and one message must not
//! end a run. So the coordinator tries by itself what every task needs.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use protocol::FailureKind;
use rustix::fs::{Access, AtFlags, CWD, FallocateFlags, accessat, fallocate, fstatvfs};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// Less room than this is a full disk.
const ROOM: u64 = 64 * 1024 * 1024;

/// What every task needs.
#[derive(Clone, Debug)]
pub(in crate::run) struct Proof {
    /// The folders that files are stored in, on one file system.
    pub(in crate::run) folders: [PathBuf; 2],
    /// The program of `--exec`.
    pub(in crate::run) program: Option<OsString>,
}

impl Proof {
    /// Why no task can succeed that needs what failed with `kind`; nothing if one can.
    pub(in crate::run) fn of(&self, kind: FailureKind) -> Option<io::Error> {
        let tried = match (kind, &self.program) {
            (FailureKind::Exec, Some(program)) => {
                accessat(CWD, program, Access::EXEC_OK, AtFlags::EACCESS).map_err(io::Error::from)
            }
            _ => self.folders.iter().try_for_each(|folder| store(folder)),
        };
        tried.err()
    }
}

/// Stores something in `folder`, and leaves nothing there.
fn store(folder: &Path) -> io::Result<()> {
    let mut file: File = tempfile::tempfile_in(folder)?;
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
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_room_is_no_reason_and_a_folder_that_is_gone_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let proof = Proof {
            folders: [folder.path().to_owned(), folder.path().to_owned()],
            program: None,
        };
        assert!(proof.of(FailureKind::DiskFull).is_none());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        drop(folder);
        assert!(proof.of(FailureKind::Store).is_some());
    }

    #[test]
    fn only_a_program_that_cannot_be_run_is_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let with = |program: &str| Proof {
            folders: [folder.path().to_owned(), folder.path().to_owned()],
            program: Some(program.into()),
        };
        assert!(with("/bin/sh").of(FailureKind::Exec).is_none());
        assert!(with("/nonexistent").of(FailureKind::Exec).is_some());
        assert!(with("/nonexistent").of(FailureKind::Store).is_none());
    }
}
