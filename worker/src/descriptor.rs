//! Closing a file descriptor with its error, which the standard library does not tell.
//!
//! It must hold nothing else: there is `unsafe` in it.
#![allow(
    unsafe_code,
    reason = "the call has no safe counterpart in std or rustix; the argument is below"
)]

use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};

/// Closes `descriptor` and says how that went, which dropping it would not: some file systems
/// report only now that what was written did not fit.
///
/// # Errors
///
/// What close(2) reports; the descriptor is closed all the same.
pub(crate) fn close(descriptor: OwnedFd) -> io::Result<()> {
    // SAFETY: `into_raw_fd` gives up ownership, so nobody else closes or uses this descriptor.
    let result = unsafe { libc::close(descriptor.into_raw_fd()) };
    let error = io::Error::last_os_error();
    // An interrupted close on Linux has closed (close(2), "Dealing with error returns").
    if result == 0 || error.kind() == io::ErrorKind::Interrupted {
        Ok(())
    } else {
        Err(error)
    }
}
