//! What a command started and a runner that was killed could not end.
//!
//! These processes are found by their environment, which names the file that the command was run
//! on. So nothing else can be hit, and the coordinator needs to adopt nobody. Only a process that
//! has left its process group and has dropped `COORDINATOR_PATH` from its environment, or belongs
//! to another user, is not found.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use super::DIE_WITHIN;
use super::tree::wait_for_any;

/// Time between two looks at who died of what it was sent.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Ends the processes of the command that was run on `file`, an absolute path.
pub(super) fn end(file: &Path) {
    let mark = [b"COORDINATOR_PATH=", file.as_os_str().as_bytes()].concat();
    let deadline = Instant::now() + DIE_WITHIN;
    loop {
        // What is started meanwhile inherits the mark, and is found by the next look.
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

/// Sends SIGKILL to a process with this mark, and returns what it is held by.
fn strike(pid: Pid, mark: &[u8]) -> Option<OwnedFd> {
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // The one that was looked at may have ended, and its number become another's.
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

/// All there are.
fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?))
}
