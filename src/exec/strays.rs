//! Ends processes of a command that a killed runner could not end.
//!
//! They are found by their environment, which names the file that the command ran on. So no other
//! process can be hit, and the coordinator does not have to adopt orphans. A process is not found
//! if it belongs to another user, or if it has left its process group and removed
//! `COORDINATOR_PATH` from its environment.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use super::DIE_WITHIN;
use super::tree::wait_for_any;

/// Time between two checks of which processes have died.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Ends the processes of the command that ran on `file`, an absolute path.
pub(super) fn end(file: &Path) {
    let mark = [b"COORDINATOR_PATH=", file.as_os_str().as_bytes()].concat();
    let deadline = Instant::now() + DIE_WITHIN;
    loop {
        // A process that starts now inherits the mark, and the next pass finds it.
        let struck: Vec<_> = processes()
            .filter(|&pid| pid != getpid() && bears(pid, &mark))
            .filter_map(|pid| strike(pid, &mark))
            .collect();
        if struck.is_empty() || Instant::now() >= deadline {
            return;
        }
        wait_for_any(&struck, LOOK_EVERY);
    }
}

/// Sends SIGKILL to a process with this mark, and returns its pidfd.
fn strike(pid: Pid, mark: &[u8]) -> Option<OwnedFd> {
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // The process that was found may have ended, and its id may have been reused.
    if !bears(pid, mark) {
        return None;
    }
    pidfd_send_signal(&process, Signal::KILL).ok()?;
    Some(process)
}

fn bears(pid: Pid, mark: &[u8]) -> bool {
    fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).is_ok_and(|environment| {
        environment
            .split(|&byte| byte == 0)
            .any(|entry| entry == mark)
    })
}

/// Returns all processes.
fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?))
}
