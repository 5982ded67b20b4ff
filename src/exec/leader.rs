//! The first process of a command, and how it is bound to its runner.
//!
//! This is the only module of `--exec` with `unsafe` code, and must contain nothing else.
#![allow(
    unsafe_code,
    reason = "a process can only set its own parent-death signal, between fork and exec"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Makes the process that `command` starts die with this process, however that ends. Processes that
/// it starts itself are not bound (`PR_SET_PDEATHSIG` in prctl(2)).
///
/// Call this and start the command on one thread: the signal is sent when that thread ends.
pub(super) fn die_with_this_process(command: &mut Command) {
    let parent = getpid();
    let bind = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above. Then there will be no signal.
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ESRCH))
        }
    };
    // SAFETY: between fork and exec of a process with several threads, only async-signal-safe
    // functions may be called, and memory of the parent must not be relied on. The closure makes
    // two system calls, prctl(2) and getppid(2), allocates nothing (an error from an error number
    // holds only the number), takes no lock, and uses one captured number.
    unsafe {
        command.pre_exec(bind);
    }
}
