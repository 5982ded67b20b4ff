//! Facts that only the kernel knows about the process at the other end of a Unix socket.
//!
//! Must contain nothing else, because it uses `unsafe`.
#![allow(
    unsafe_code,
    reason = "rustix holds a process id to be positive, and 0 stands for one in another namespace; \
              it does not know SO_PASSRIGHTS"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `SO_PASSRIGHTS` (Linux 6.16), the same on all architectures that this program runs on.
const SO_PASSRIGHTS: libc::c_int = 83;

/// Returns the id of the process that connected `socket` or listens there, if in this namespace.
///
/// # Errors
///
/// Fails if `socket` is not a connected Unix socket.
pub(super) fn process_at(socket: impl AsFd) -> io::Result<Option<u32>> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both pointers are to live, writable memory of ours; the kernel writes at most
    // `length` bytes, the size of the first, and keeps neither. Any bytes are valid in a `ucred`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u32::try_from(credentials.pid).ok().filter(|&pid| pid > 0))
}

/// Makes the kernel refuse messages with descriptors to `socket` and to sockets accepted from it.
/// Without support for this, the kernel drops the descriptors when the message is received.
pub(super) fn refuse_descriptors(socket: impl AsFd) {
    let off: libc::c_int = 0;
    // SAFETY: the pointer is to a live integer of ours, with its size; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const off).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result != 0 {
        let error = io::Error::last_os_error();
        tracing::debug!(%error, "descriptors in messages are dropped, not refused");
    }
}
