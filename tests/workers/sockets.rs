//! The sockets that this process has open, whoever owns them.
#![allow(
    unsafe_code,
    reason = "a worker that misbehaves uses descriptors that belong to ipc-channel"
)]

use std::fs;
use std::os::fd::BorrowedFd;

/// Each of them, for as long as the process lives: it is about to end badly, and closes none.
pub fn own_sockets() -> Vec<BorrowedFd<'static>> {
    let numbers = fs::read_dir("/proc/self/fd").expect("there is a process table");
    let sockets = numbers.filter_map(|entry| {
        let entry = entry.ok()?;
        let target = fs::read_link(entry.path()).ok()?;
        let is_socket = target.to_str()?.starts_with("socket:");
        entry
            .file_name()
            .to_str()?
            .parse()
            .ok()
            .filter(|_| is_socket)
    });
    // SAFETY: each number was that of an open socket a moment ago, and nothing closes one until the
    // process ends: the links are held by the caller, which ends it.
    sockets
        .map(|number| unsafe { BorrowedFd::borrow_raw(number) })
        .collect()
}
