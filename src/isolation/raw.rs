//! System calls by number, for actions that no library supports.
//!
//! This is the only module of the attacker with `unsafe` code.
#![allow(
    unsafe_code,
    reason = "a worker that was taken over does not call safe functions"
)]

mod arg;

use std::ffi::CString;
use std::io;
use std::os::fd::BorrowedFd;

pub use arg::Arg;

/// Makes a system call, and returns its result.
///
/// # Errors
///
/// Returns the error of the system call.
pub fn call(number: libc::c_long, arguments: &[Arg<'_>]) -> io::Result<i64> {
    let mut words = [0_i64; 6];
    for (word, argument) in words.iter_mut().zip(arguments) {
        *word = argument.word();
    }
    let [a, b, c, d, e, f] = words;
    // SAFETY: the memory that is pointed to lives until the call returns. Callers pass all memory
    // that the call reads, and enough room for what it writes. None of the calls that they make
    // frees memory of this process.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Forks a process in a new session. It creates the file `path`, and then ends, or stays until it
/// is killed. Does not wait for it.
///
/// # Errors
///
/// Fails if the process cannot be created.
pub fn fork(path: &CString, stays: bool) -> io::Result<()> {
    // SAFETY: the child makes system calls only. It takes no lock, allocates nothing and never
    // returns, so it does not matter which locks other threads of this process held.
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
            // SAFETY: the function takes a number, and does not return.
            unsafe { libc::_exit(0) }
        }
        _ => Ok(()),
    }
}

/// Maps `size` bytes of memory, writes to all of it, and keeps it.
///
/// # Errors
///
/// Fails if the kernel does not provide the memory.
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
    // SAFETY: the mapping has this size, is writable, and belongs to this function alone.
    unsafe { memory.write_bytes(1, size) };
    Ok(())
}

/// Makes a system call with two numbers through the 32-bit ABI.
#[cfg(target_arch = "x86_64")]
pub fn call_32_bit(number: u32, first: i32, second: i32) {
    // SAFETY: callers pass calls that take two numbers and touch no memory. The call changes no
    // register but these. LLVM reserves rbx, so its value is swapped out and back around the call.
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

/// This processor has no such calls.
#[cfg(not(target_arch = "x86_64"))]
pub fn call_32_bit(_number: u32, _first: i32, _second: i32) {}

/// Returns the open descriptors of this process from 3 up, whatever owns them.
#[must_use]
pub fn descriptors() -> Vec<BorrowedFd<'static>> {
    let is_open = |number: &i32| {
        let words = [(*number).into(), libc::F_GETFD.into()];
        call(libc::SYS_fcntl, &words).is_ok()
    };
    // SAFETY: each is open. Its owner may close it. A call then fails or affects another object of
    // this process, which is what compromising a process means.
    let borrow = |number| unsafe { BorrowedFd::borrow_raw(number) };
    (3..128).filter(is_open).map(borrow).collect()
}
