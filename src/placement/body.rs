//! Checks of the bodies that workers leave in their folders.
//!
//! A worker may have been taken over by data that it downloaded. So its folder may contain links,
//! fifos, and files that a process has open for writing.

use std::fs::File;
use std::io;

use rustix::fs::{FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fstat, futimens};
use rustix::io::Errno;

use super::lease;
use crate::folder::Folder;

/// A file without another name, which no other process has open for writing while this value
/// exists.
#[derive(Debug)]
pub(super) struct Body {
    file: File,
    bytes: u64,
    leased: bool,
}

/// Reason why a directory entry is not a body.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoBody {
    #[error("it cannot be opened: {0}")]
    Unopened(io::ErrorKind),
    #[error("it is not a regular file with one name")]
    NotPlain,
    #[error("a process has it open for writing")]
    Open,
}

/// Whether to take a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leases {
    /// Take a lease, if the file system supports leases.
    Taken,
    /// Take no lease: all processes that can write to the file are trusted.
    Needless,
}

impl Body {
    /// Opens the file `name` in `folder`. Takes three system calls.
    pub(super) fn open(folder: &Folder, name: &str, leases: Leases) -> Result<Self, NoBody> {
        let unopened = |error: io::Error| NoBody::Unopened(error.kind());
        let file = folder.open(name, OFlags::RDONLY, Mode::empty());
        let file = file.map_err(unopened)?;
        let stat = fstat(&file).map_err(|errno| unopened(errno.into()))?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let (true, Ok(bytes), 1) = (is_file, u64::try_from(stat.st_size), stat.st_nlink) else {
            return Err(NoBody::NotPlain);
        };
        let leased = match leases {
            Leases::Needless => false,
            Leases::Taken => match lease::take(&file) {
                Ok(()) => true,
                Err(Errno::AGAIN) => return Err(NoBody::Open),
                Err(errno) => {
                    tracing::debug!(%errno, "the file system of the output folder has no leases");
                    false
                }
            },
        };
        Ok(Self {
            file,
            bytes,
            leased,
        })
    }

    /// Returns its size.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sets its modification time, in seconds since 1970. This does not break a lease.
    pub(super) fn set_modified(&self, seconds: i64) -> Result<(), Errno> {
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: seconds,
                tv_nsec: 0,
            },
        };
        futimens(&self.file, &times)
    }

    /// Returns whether no process has tried to open it for writing, as far as that can be known.
    pub(super) fn is_untouched(&self) -> bool {
        !self.leased || lease::is_whole(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use rustix::fs::{CWD, openat};

    use super::*;

    fn body(folder: &Folder, name: &str) -> Result<u64, NoBody> {
        Body::open(folder, name, Leases::Taken).map(|body| body.bytes())
    }

    #[test]
    fn only_a_plain_file_with_one_name_is_a_body() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let path = temporary.path();
        let folder = Folder::named(path).expect("a folder");
        fs::write(path.join("good"), "12345").expect("written");
        fs::write(path.join("twice"), "").expect("written");
        fs::hard_link(path.join("twice"), path.join("again")).expect("linked");
        std::os::unix::fs::symlink("good", path.join("link")).expect("linked");
        fs::create_dir(path.join("folder")).expect("created");
        rustix::fs::mkfifoat(&folder, "fifo", Mode::from_raw_mode(0o600)).expect("created");
        assert_eq!(body(&folder, "good"), Ok(5));
        for name in ["twice", "again", "folder", "fifo"] {
            assert_eq!(body(&folder, name), Err(NoBody::NotPlain), "{name}");
        }
        for name in ["link", "missing"] {
            let found = body(&folder, name);
            assert!(matches!(found, Err(NoBody::Unopened(_))), "{found:?}");
        }
    }

    #[test]
    fn a_file_that_somebody_can_write_to_is_none_and_one_that_wants_to_is_seen() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let path = temporary.path().join("body");
        let folder = Folder::named(temporary.path()).expect("a folder");
        fs::write(&path, "12345").expect("written");
        let writer = OpenOptions::new().write(true).open(&path).expect("opened");
        assert_eq!(body(&folder, "body"), Err(NoBody::Open));
        drop(writer);
        let kept = Body::open(&folder, "body", Leases::Taken).expect("a body");
        assert!(kept.is_untouched());
        // A blocking open would wait for the lease. A nonblocking one fails, and is detected too.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        let refused = openat(CWD, &path, flags, Mode::empty());
        assert_eq!(refused.map(drop), Err(Errno::AGAIN));
        assert!(!kept.is_untouched());
    }
}
