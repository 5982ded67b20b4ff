//! The first process of a command: how it is tied to its runner.
//!
//! The one module of commands with `unsafe` in it; it must hold nothing else.
#![allow(
    unsafe_code,
    reason = "a process can only set its own parent-death signal, between fork and exec"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Lets what `command` starts die with this process, however that ends. What that process starts
/// itself is not bound by it (`PR_SET_PDEATHSIG` in prctl(2)).
///
/// To be called and used on one thread: the signal comes when the thread ends that started it.
pub(super) fn die_with_this_process(command: &mut Command) {
    let parent = getpid();
    let bind = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have died before the line above; then there will be no signal.
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ESRCH))
        }
    };
    // SAFETY: between fork and exec of a process with several threads only async-signal-safe
    // functions may be called, and memory of the parent must not be relied on. This makes two
    // system calls, prctl(2) and getppid(2), allocates nothing (an error from an error number holds
    // just that), takes no lock, and touches one captured number.
    unsafe {
        command.pre_exec(bind);
    }
}
