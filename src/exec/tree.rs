//! Ends all processes below this one, and no others.
//!
//! This process adopts orphans, so every process that a command started is below it. SIGKILL is
//! sent only to direct children, one generation at a time: the id of a child cannot be reused until
//! it is reaped, and only this process reaps its children. This module must not be used where
//! anything else waits for children.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, pidfd_open, pidfd_send_signal, wait,
};

/// Time between two checks of which processes have died.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The result of reaping: children that have ended, one at a time, and whether any are left.
#[derive(Debug)]
pub(super) enum Reaped {
    /// This child has ended.
    One(Pid, WaitStatus),
    /// No child has ended, but there are children.
    Alive,
    /// There are no children.
    Alone,
}

/// Reaps a child that has ended, if there is one.
pub(super) fn reap() -> Reaped {
    loop {
        return match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => Reaped::One(pid, status),
            Ok(None) => Reaped::Alive,
            Err(Errno::INTR) => continue,
            Err(_) => Reaped::Alone,
        };
    }
}

/// Ends every child, and the orphans that they leave, with SIGKILL. Processes of other users stay;
/// processes that wait for a disk end after that. Costs one system call if there are no children.
pub(super) fn end_all(within: Duration) {
    let deadline = Instant::now() + within;
    loop {
        loop {
            match reap() {
                Reaped::One(..) => {}
                Reaped::Alive => break,
                Reaped::Alone => return,
            }
        }
        let me = getpid();
        let struck: Vec<_> = parents()
            .into_iter()
            .filter(|&(_, parent)| parent == me)
            .filter_map(|(pid, _)| pidfd_open(pid, PidfdFlags::empty()).ok())
            .filter(|process| pidfd_send_signal(process, Signal::KILL).is_ok())
            .collect();
        if struck.is_empty() || Instant::now() >= deadline {
            return;
        }
        wait_for_any(&struck, LOOK_EVERY);
    }
}

/// Sends `signal` to every process below this one, and continues it so that it receives the signal.
///
/// A process that is not a direct child may end and be reaped between the check and the signal, and
/// its id may be reused. So a pidfd is opened first, and the process is then checked again.
pub(super) fn signal_all(signal: Signal) {
    let table = parents();
    let mut below = vec![getpid()];
    let mut next = 0;
    while let Some(&parent) = below.get(next) {
        next += 1;
        for &(pid, _) in table.iter().filter(|(_, of)| *of == parent) {
            let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            if parent_of(pid) == Some(parent) {
                // It may have ended, or may belong to another user.
                let _ = pidfd_send_signal(&process, signal);
                let _ = pidfd_send_signal(&process, Signal::CONT);
                below.push(pid);
            }
        }
    }
}

/// Waits until one of `processes`, given as pidfds, has ended, or until `within` has passed.
pub(super) fn wait_for_any(processes: &[OwnedFd], within: Duration) {
    let mut polled: Vec<_> = processes
        .iter()
        .map(|process| PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN))
        .collect();
    // If this fails or is interrupted, the next check is only a little early.
    let _ = poll(&mut polled, Some(&timespec(within)));
}

/// Converts a time for system calls.
pub(super) fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// Returns every process with its parent.
fn parents() -> Vec<(Pid, Pid)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let pid = Pid::from_raw(pid)?;
            Some((pid, parent_of(pid)?))
        })
        .collect()
}

fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    parent_in(&stat)
}

/// Returns the parent from `/proc/PID/stat` (proc_pid_stat(5)): the second field after the name,
/// which is in parentheses and may contain any characters.
fn parent_in(stat: &[u8]) -> Option<Pid> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let fields = std::str::from_utf8(&stat[end + 1..]).ok()?;
    Pid::from_raw(fields.split_whitespace().nth(1)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_whatever_name() {
        let parent = |stat: &[u8]| parent_in(stat).map(|pid| pid.as_raw_nonzero().get());
        assert_eq!(parent(b"17 (a) b) (\xff) S 5 17 17 0"), Some(5));
        assert_eq!(parent(b"1 (init) S 0 1 1"), None);
        assert_eq!(parent(b"17 (a"), None);
        assert_eq!(parent_of(getpid()), rustix::process::getppid());
    }
}
