//! Closes a file descriptor and returns the error, which the standard library does not.
//!
//! Must not contain anything else, because of its `unsafe`.
#![allow(
    unsafe_code,
    reason = "the call has no safe counterpart in std or rustix; the argument is below"
)]

use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};

/// Closes `descriptor` and returns the result. Dropping it would ignore errors, and some file
/// systems report only now that the written data did not fit.
///
/// # Errors
///
/// Returns the error of close(2). The descriptor is closed in any case.
pub(crate) fn close(descriptor: OwnedFd) -> io::Result<()> {
    // SAFETY: `into_raw_fd` gives up ownership, so no other code closes or uses this descriptor.
    let result = unsafe { libc::close(descriptor.into_raw_fd()) };
    let error = io::Error::last_os_error();
    // On Linux, an interrupted close has closed (close(2), "Dealing with error returns").
    if result == 0 || error.kind() == io::ErrorKind::Interrupted {
        Ok(())
    } else {
        Err(error)
    }
}
