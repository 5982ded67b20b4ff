//! Waits for a child and returns the resources that it used.
//!
//! Unsafe: no safe crate returns the whole `rusage` of a child. Must not know what processes do.

#![allow(
    unsafe_code,
    reason = "wait4(2) fills in two plain structs of ours and touches nothing else"
)]

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// Resources of a process, and of descendants that their parents waited for (getrusage(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Number of times that a thread gave up the processor to wait.
    pub voluntary: u64,
    /// Number of times that the scheduler took the processor away.
    pub involuntary: u64,
    /// Peak resident memory of the process or of its largest descendant, in bytes.
    ///
    /// If a child shared its parent's memory until it executed another program (vfork(2),
    /// posix_spawn(3)), the kernel includes that time: the figure is at least the parent's peak
    /// before.
    pub peak_memory: u64,
}

/// Reaps the child `pid`. Waits for it if it still runs.
///
/// # Errors
///
/// Fails if `pid` is not a child of this process or has already been reaped.
pub fn reap(pid: u32) -> io::Result<(ExitStatus, Usage)> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are to live, writable memory of the type that wait4(2) requires,
        // and the kernel keeps neither.
        let reaped = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
        if reaped == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: `rusage` consists only of integers, for which zero is valid; it was zeroed above, and
    // a successful call has filled it in since.
    let usage = unsafe { usage.assume_init() };
    Ok((ExitStatus::from_raw(status), usage_of(&usage)))
}

fn usage_of(usage: &libc::rusage) -> Usage {
    // The figures are never negative.
    let positive = |value: libc::c_long| u64::try_from(value).unwrap_or(0);
    Usage {
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        voluntary: positive(usage.ru_nvcsw),
        involuntary: positive(usage.ru_nivcsw),
        // In units of 1024 bytes (getrusage(2)).
        peak_memory: positive(usage.ru_maxrss).saturating_mul(1024),
    }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[allow(clippy::zombie_processes, reason = "reaping it is what is tested")]
    fn work_of_grandchildren_counts_once_they_were_waited_for() {
        let child = Command::new("sh")
            .args([
                "-c",
                "sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'; exit 3",
            ])
            .spawn()
            .expect("there is a shell");
        let (status, usage) = reap(child.id()).expect("it is our child");
        assert_eq!(status.code(), Some(3));
        assert!(usage.user + usage.system > Duration::from_millis(5));
        assert!(usage.voluntary > 0);
    }

    #[test]
    fn what_is_no_child_is_an_error() {
        assert!(reap(1).is_err());
    }
}
