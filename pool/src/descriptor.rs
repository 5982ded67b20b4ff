//! Closing all file descriptors that were inherited, which the standard library cannot.
//!
//! It must hold nothing else: there is `unsafe` in it.
#![allow(
    unsafe_code,
    reason = "neither call has a safe counterpart in std or rustix; the arguments are below"
)]

use std::io;

/// Closes every descriptor from 3 up: whatever a parent leaked into this process.
///
/// To be called as the first thing a process does, before it has opened anything: descriptors that
/// an object of this process owns would be closed under it.
///
/// # Errors
///
/// If more than one thread runs, which shows that this is not the first thing the process does;
/// or if there is neither `close_range` (Linux before 5.9, or a container that refuses it) nor a
/// list of descriptors in `/proc`.
pub fn close_inherited() -> io::Result<()> {
    let threads = std::fs::read_dir("/proc/self/task")?.take(2).count();
    if threads != 1 {
        return Err(io::Error::other(
            "inherited descriptors can only be closed before any thread is started",
        ));
    }
    // SAFETY: close_range(2) touches no memory of ours. What it could break is the promise behind
    // `OwnedFd`, that an open descriptor belongs to its owner alone. No owner exists: this is a
    // process that has just been started, its only thread is in here (checked above; the folder
    // read for it is closed again), the standard library opens nothing before `main` but 0 to 2,
    // and its callers, workers and runners, do this before anything else. The system call is used,
    // not libc's function, because older versions of glibc lack it.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    if result == 0 {
        return Ok(());
    }
    // The list is read to its end first: the descriptor that it is read from is closed by then.
    let names: Vec<_> = std::fs::read_dir("/proc/self/fd")?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<_>>()?;
    let numbers = names.iter().filter_map(|name| name.to_str()?.parse().ok());
    for number in numbers.filter(|&number: &i32| number > 2) {
        // SAFETY: as above, and close(2) touches no memory. It fails for the descriptor that the
        // list was read from, which is closed, and that is no harm: this is the only thread, so no
        // other descriptor has its number.
        unsafe { libc::close(number) };
    }
    Ok(())
}
