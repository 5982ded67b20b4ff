//! System calls by their numbers, for a worker that does what no library would do for it.
//!
//! The one module of these tests with `unsafe` in it.
#![allow(
    unsafe_code,
    reason = "a worker that was taken over does not call safe functions"
)]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

/// An argument of a system call.
#[derive(Clone, Copy)]
pub enum Arg<'a> {
    Number(i64),
    /// Something that ends with a nul byte.
    Text(&'a CString),
    /// Memory of the size that the call reads; it writes nothing there.
    Bytes(&'a [u8]),
}

impl From<i32> for Arg<'_> {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<i64> for Arg<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// Makes a system call that writes to no memory of this process, and returns what it returns.
pub fn call(number: libc::c_long, arguments: &[Arg<'_>]) -> io::Result<i64> {
    let mut words = [0_i64; 6];
    for (word, argument) in words.iter_mut().zip(arguments) {
        *word = match argument {
            Arg::Number(number) => *number,
            Arg::Text(text) => text.as_ptr() as i64,
            Arg::Bytes(bytes) => bytes.as_ptr() as i64,
        };
    }
    let [a, b, c, d, e, f] = words;
    // SAFETY: what is pointed to lives until the call returns, and callers pass what the call reads
    // at most; none of the calls that they make writes to memory of this process or takes some away.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// The owner of the descriptor that a call has returned.
pub fn own(number: i64) -> OwnedFd {
    let number = i32::try_from(number).expect("a descriptor");
    // SAFETY: callers pass what a call that makes a descriptor has returned, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Starts a process that is a copy of this one, in a session of its own: there it writes a file,
/// and ends. Waits for that.
pub fn fork(file: &Path) -> io::Result<()> {
    // SAFETY: no other thread runs in a worker that is not at work yet, so no lock is held for ever
    // in the copy; it returns to nobody.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let written = call(libc::SYS_setsid, &[]).and_then(|_| fs::write(file, "x"));
            // SAFETY: it takes a number, and does not return.
            unsafe { libc::_exit(i32::from(written.is_err())) }
        }
        child => {
            let mut status = 0;
            // SAFETY: the pointer is to a number that lives on, which is what waitpid(2) writes.
            let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
            match (waited, status) {
                (-1, _) => Err(io::Error::last_os_error()),
                (_, 0) => Ok(()),
                (_, _) => Err(io::Error::other("the copy failed")),
            }
        }
    }
}

/// Takes memory of a kind, writes to all of it, and keeps it.
pub fn map(flags: i32) -> io::Result<()> {
    const SIZE: usize = 1 << 20;
    // SAFETY: a new mapping, at an address that the system chooses.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            flags | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is as large, may be written to, and is nobody else's.
    unsafe { memory.write_bytes(1, SIZE) };
    Ok(())
}

/// Asks for its own number by the calls of another ABI: as a program of 32 bits would, or as one of
/// x32.
#[cfg(target_arch = "x86_64")]
pub fn of_another_abi(x32: bool) {
    if x32 {
        let _ = call(libc::SYS_getpid | 0x4000_0000, &[]);
        return;
    }
    // SAFETY: getpid of 32 bits (20) touches no memory; the call changes no register but these.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("rax") 20_u64 => _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn of_another_abi(_x32: bool) {}
