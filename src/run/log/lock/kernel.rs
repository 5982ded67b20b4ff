//! The kernel's locks on a file that belong to the open file description, and end with it.

#![expect(
    unsafe_code,
    reason = "no crate here has locks of open file descriptions"
)]

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::AsRawFd as _;

use rustix::io::Errno;

/// The kinds of kernel locks. They do not affect each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// flock(2).
    Flock,
    /// Lock of an open file description (`F_OFD_SETLK`, fcntl(2)). The file must be open for
    /// writing.
    Description,
}

impl Kernel {
    /// All kinds, in the order in which they are tried.
    pub(super) const ALL: [Self; 2] = [Self::Flock, Self::Description];

    /// Locks the file without waiting. Returns false if it is locked already.
    pub(super) fn try_lock(self, file: &File) -> io::Result<bool> {
        match self {
            Self::Flock => match file.try_lock() {
                Ok(()) => Ok(true),
                Err(TryLockError::WouldBlock) => Ok(false),
                Err(TryLockError::Error(error)) => Err(error),
            },
            Self::Description => match lock_description(file, libc::F_OFD_SETLK) {
                Ok(()) => Ok(true),
                Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
                Err(errno) => Err(errno.into()),
            },
        }
    }

    /// Waits until the file is not locked, and locks it.
    pub(super) fn lock(self, file: &File) -> io::Result<()> {
        match self {
            Self::Flock => file.lock(),
            Self::Description => Ok(lock_description(file, libc::F_OFD_SETLKW)?),
        }
    }
}

/// Returns whether the error says that the file system has no such locks: Lustre with default mount
/// options, some FUSE and SMB file systems, NFS without its lock service.
pub(super) fn has_none(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    let none = [Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOLCK, Errno::INVAL];
    errno.is_some_and(|errno| none.contains(&errno))
}

fn lock_description(file: &File, command: libc::c_int) -> Result<(), Errno> {
    // SAFETY: `flock` is a struct of integers, and zero is a valid value of each of them.
    let mut whole: libc::flock = unsafe { std::mem::zeroed() };
    whole.l_type = libc::F_WRLCK as libc::c_short;
    whole.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open while `file` is borrowed, and these commands read a `flock`
    // that lives until the call returns.
    let locked = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw const whole) };
    match locked {
        -1 => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok(()),
    }
}
