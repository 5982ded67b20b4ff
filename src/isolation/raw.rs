//! System calls by their numbers, for code that does what no library would do for it.
//!
//! The one module of the attacker with `unsafe` in it.
#![allow(
    unsafe_code,
    reason = "a worker that was taken over does not call safe functions"
)]

mod arg;

use std::ffi::CString;
use std::io;
use std::os::fd::BorrowedFd;

pub use arg::Arg;

/// Makes a system call, and returns what it returns.
///
/// # Errors
///
/// What the system call fails with.
pub fn call(number: libc::c_long, arguments: &[Arg<'_>]) -> io::Result<i64> {
    let mut words = [0_i64; 6];
    for (word, argument) in words.iter_mut().zip(arguments) {
        *word = argument.word();
    }
    let [a, b, c, d, e, f] = words;
    // SAFETY: what is pointed to lives until the call returns. Callers pass what the call reads at
    // most, and room for what it writes at most; none of the calls that they make takes memory of
    // this process away.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Starts a process that is a copy of this one, in a session of its own: it makes the file `path`,
/// and then ends, or stays until it is killed. Does not wait for it.
///
/// # Errors
///
/// If there is no such process.
pub fn fork(path: &CString, stays: bool) -> io::Result<()> {
    // SAFETY: the copy makes system calls only. It takes no lock, allocates nothing, and returns to
    // nobody, so it does not matter what other threads of this process held.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
            let _ = call(libc::SYS_setsid, &[]);
            let words = [
                libc::AT_FDCWD.into(),
                Arg::Text(path),
                flags.into(),
                0o600.into(),
            ];
            let _ = call(libc::SYS_openat, &words);
            if stays {
                loop {
                    let _ = call(libc::SYS_ppoll, &[0.into(), 0.into(), 0.into(), 0.into()]);
                }
            }
            // SAFETY: it takes a number, and does not return.
            unsafe { libc::_exit(0) }
        }
        _ => Ok(()),
    }
}

/// Takes `size` bytes of memory of a kind, writes to all of it, and keeps it.
///
/// # Errors
///
/// If the system does not give it.
pub fn map(flags: i32, size: usize) -> io::Result<()> {
    // SAFETY: a new mapping, at an address that the system chooses.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
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
    unsafe { memory.write_bytes(1, size) };
    Ok(())
}

/// Makes a system call with two numbers as a program of 32 bits would.
#[cfg(target_arch = "x86_64")]
pub fn call_32_bit(number: u32, first: i32, second: i32) {
    // SAFETY: callers pass calls that take two numbers and touch no memory. The call changes no
    // register but these. LLVM keeps rbx for itself, so it is swapped around the call.
    unsafe {
        std::arch::asm!(
            "xchg {first:r}, rbx",
            "int 0x80",
            "xchg {first:r}, rbx",
            first = inout(reg) i64::from(first) => _,
            inlateout("rax") i64::from(number) => _,
            in("rcx") i64::from(second),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
}

/// There are no such calls on this processor.
#[cfg(not(target_arch = "x86_64"))]
pub fn call_32_bit(_number: u32, _first: i32, _second: i32) {}

/// The descriptors from 3 up that this process has open, whoever owns them.
#[must_use]
pub fn descriptors() -> Vec<BorrowedFd<'static>> {
    let is_open = |number: &i32| {
        let words = [(*number).into(), libc::F_GETFD.into()];
        call(libc::SYS_fcntl, &words).is_ok()
    };
    // SAFETY: each is open. Whoever owns it may close it; then a call with it fails or concerns
    // another object of this process, which is what taking a process over means.
    let borrow = |number| unsafe { BorrowedFd::borrow_raw(number) };
    (3..128).filter(is_open).map(borrow).collect()
}
