//! The attempts of a compromised worker, by family.
//!
//! Each attempt has separate objects in a separate folder, so that one attempt cannot hide the
//! effect of another.

mod files;
mod kernel;
pub mod link;
mod memory;
mod network;
mod others;
mod output;
mod processes;
mod reads;
mod rights;
mod sockets;

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::attempt::Attempt;
use super::raw::{Arg, call};

pub(super) use link::COMMANDS;
pub(super) use others::{FORGED, SCORE, SPACE};

/// All attempts, by family.
pub const FAMILIES: &[(&str, &[Attempt])] = &[
    ("files", files::ATTEMPTS),
    ("output", output::ATTEMPTS),
    ("reads", reads::ATTEMPTS),
    ("processes", processes::ATTEMPTS),
    ("others", others::ATTEMPTS),
    ("sockets", sockets::ATTEMPTS),
    ("memory", memory::ATTEMPTS),
    ("kernel", kernel::ATTEMPTS),
    ("rights", rights::ATTEMPTS),
    ("link", link::ATTEMPTS),
    ("network", network::ATTEMPTS),
];

/// Returns a path in the form that a system call needs.
fn text(path: impl AsRef<Path>) -> io::Result<CString> {
    Ok(CString::new(path.as_ref().as_os_str().as_bytes())?)
}

/// Keeps a descriptor open until the process ends, so that it is visible from outside.
fn leak<T: AsRawFd>(owner: T) {
    std::mem::forget(owner);
}

/// Calls `fcntl` with a command that takes a number.
fn fcntl(file: &impl AsRawFd, command: i32, argument: i32) -> io::Result<()> {
    let words = [file.as_raw_fd().into(), command.into(), argument.into()];
    call(libc::SYS_fcntl, &words).map(drop)
}

/// Makes a call with a path relative to the working directory, followed by `rest`.
fn at(number: libc::c_long, path: &CStr, rest: &[Arg<'_>]) -> io::Result<()> {
    let mut words = vec![libc::AT_FDCWD.into(), Arg::Text(path)];
    words.extend_from_slice(rest);
    call(number, &words).map(drop)
}
