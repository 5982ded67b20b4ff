//! Leases on files (fcntl(2), `F_SETLEASE`): as long as one for reading is held, nobody can open the
//! file for writing without this process noticing.
//!
//! rustix has no function for them.
#![allow(unsafe_code, reason = "fcntl with these commands has no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::io::Errno;

use crate::folder::Folder;

/// `F_SETSIG` of fcntl(2), on every architecture; libc does not have it on all.
const F_SETSIG: i32 = 10;

/// Takes a lease for reading on `file`, until it is closed. Fails with `AGAIN` while somebody has
/// the file open for writing, and with another error where the file system has no leases.
pub(super) fn take(file: &File) -> Result<(), Errno> {
    // Who wants to write to it shows by `is_whole`; the signal for that would end this process if
    // it was SIGIO, the usual one. SIGURG is ignored.
    let commands = [(F_SETSIG, libc::SIGURG), (libc::F_SETLEASE, libc::F_RDLCK)];
    for (command, argument) in commands {
        // SAFETY: the descriptor is open for as long as `file` is borrowed, and the argument of
        // both commands is a number. No memory is involved.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
        checked(result)?;
    }
    Ok(())
}

/// Whether a lease that was taken on `file` is whole: nobody wants to open it for writing.
pub(super) fn is_whole(file: &File) -> bool {
    // SAFETY: as above; F_GETLEASE has no argument.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) };
    checked(result) == Ok(libc::F_RDLCK)
}

/// Whether the file system of `folder` has leases.
///
/// # Errors
///
/// If no file can be made in it.
pub fn has_leases(folder: &Folder) -> io::Result<bool> {
    // Such a file is open for writing, here: where there are leases, this one is refused for that.
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
