//! Leases on files (fcntl(2), `F_SETLEASE`): while this process holds a read lease, it notices if
//! another process opens the file for writing.
//!
//! rustix has no function for them.
#![allow(unsafe_code, reason = "fcntl with these commands has no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::io::Errno;

use crate::folder::Folder;

/// `F_SETSIG` of fcntl(2) has this value on every architecture; libc does not define it on all.
const F_SETSIG: i32 = 10;

/// Takes a read lease on `file`, which lasts until it is closed. Fails with `AGAIN` if a process
/// has the file open for writing, and with another error if the file system has no leases.
pub(super) fn take(file: &File) -> Result<(), Errno> {
    // `is_whole` shows whether a process tries to write, so the signal is not needed. The usual
    // one, SIGIO, would end this process; SIGURG is ignored.
    let commands = [(F_SETSIG, libc::SIGURG), (libc::F_SETLEASE, libc::F_RDLCK)];
    for (command, argument) in commands {
        // SAFETY: the descriptor is open while `file` is borrowed, and the argument of both
        // commands is a number. No memory is involved.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
        checked(result)?;
    }
    Ok(())
}

/// Returns whether a lease on `file` is whole: no process has tried to open it for writing.
pub(super) fn is_whole(file: &File) -> bool {
    // SAFETY: as above; F_GETLEASE has no argument.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) };
    checked(result) == Ok(libc::F_RDLCK)
}

/// Returns whether the file system of `folder` has leases.
///
/// # Errors
///
/// Fails if no file can be created in it.
pub fn has_leases(folder: &Folder) -> io::Result<bool> {
    // This process has the file open for writing, so a file system with leases fails with AGAIN.
    Ok(matches!(
        take(&folder.nameless()?),
        Ok(()) | Err(Errno::AGAIN)
    ))
}

fn checked(result: i32) -> Result<i32, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
