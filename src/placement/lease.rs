//! Leases on files (fcntl(2), `F_SETLEASE`): as long as one for reading is held, nobody can open the
//! file for writing without this process noticing.
//!
//! rustix has no function for them.
#![allow(unsafe_code, reason = "fcntl with these commands has no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::io::Errno;

use crate::folder::Folder;

/// Keeps SIGIO from ending this process: it is sent to the holder of a lease when somebody wants to
/// write to the file. Who that is shows by [`is_whole`], so nothing is done with the signal.
///
/// # Errors
///
/// If it cannot be handled.
pub(super) fn expect_signals() -> io::Result<()> {
    signal_hook::flag::register(libc::SIGIO, Arc::new(AtomicBool::new(false))).map(drop)
}

/// Takes a lease for reading on `file`, until it is closed. Fails with `AGAIN` while somebody has
/// the file open for writing, and with another error where the file system has no leases.
pub(super) fn take(file: &File) -> Result<(), Errno> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the argument of the
    // command is a number. No memory is involved.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
    checked(result).map(drop)
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    #[test]
    fn whoever_wants_to_write_breaks_the_lease_and_ends_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("body");
        std::fs::write(&path, "abc").expect("written");
        expect_signals().expect("handled");
        let file = File::open(&path).expect("there");
        take(&file).expect("nobody writes");
        assert!(is_whole(&file));
        // It would wait for the end of the lease, if it waited.
        let mut options = File::options();
        let opened = options
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path);
        assert_eq!(
            opened.expect_err("leased").kind(),
            io::ErrorKind::WouldBlock
        );
        assert!(!is_whole(&file));
    }
}
