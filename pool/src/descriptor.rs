//! Closes all inherited file descriptors, which the standard library cannot do.
//!
//! Must contain nothing else, because it uses `unsafe`.
#![allow(
    unsafe_code,
    reason = "neither call has a safe counterpart in std or rustix; the arguments are below"
)]

use std::io;

/// Closes every descriptor from 3 up, which a parent may have leaked into this process.
///
/// Call this first in a process, before it has opened anything: it also closes descriptors that
/// objects of this process own.
///
/// # Errors
///
/// Fails if more than one thread runs, which shows that this call comes too late; or if there is
/// neither `close_range` (Linux before 5.9, or a container that refuses it) nor a list of
/// descriptors in `/proc`.
pub fn close_inherited() -> io::Result<()> {
    let threads = std::fs::read_dir("/proc/self/task")?.take(2).count();
    if threads != 1 {
        return Err(io::Error::other(
            "inherited descriptors can only be closed before any thread is started",
        ));
    }
    // SAFETY: close_range(2) touches no memory of ours. It could break the guarantee of `OwnedFd`
    // that an open descriptor belongs to its owner alone. There is no owner: this process has just
    // been started, this is its only thread (checked above; the folder read for it is closed
    // again), the standard library opens only 0 to 2 before `main`, and the callers, workers and
    // runners, do this before anything else. The system call is used instead of libc's function
    // because older versions of glibc lack it.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    if result == 0 {
        return Ok(());
    }
    // The whole list is read first, because the descriptor that it is read from is closed as well.
    let names: Vec<_> = std::fs::read_dir("/proc/self/fd")?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<_>>()?;
    let numbers = names.iter().filter_map(|name| name.to_str()?.parse().ok());
    for number in numbers.filter(|&number: &i32| number > 2) {
        // SAFETY: as above, and close(2) touches no memory. It fails for the descriptor that the
        // list was read from, which is already closed. This does no harm: this is the only thread,
        // so no other descriptor has its number.
        unsafe { libc::close(number) };
    }
    Ok(())
}
