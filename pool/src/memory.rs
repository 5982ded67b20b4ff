//! Words of memory that processes share: not on disk, and only for as long as a process has them.
//!
//! Must not know what the words mean.
#![allow(
    unsafe_code,
    reason = "mapping a file has no safe counterpart in std or rustix; the arguments are below"
)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;
use std::slice;
use std::sync::atomic::AtomicU64;

use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};
use rustix::io::Errno;

/// Size of a word, in bytes.
pub const WORD: usize = size_of::<AtomicU64>();

/// Creates memory for `words` words, which are zero. `name` is shown in `/proc`. The descriptor is
/// closed on exec unless it is passed on. The size cannot be changed.
///
/// # Errors
///
/// Fails if a system call fails.
pub fn shared_memory(name: &CStr, words: usize) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL);
    let memory = match made {
        // Linux before 6.3.
        Err(Errno::INVAL) => memfd_create(name, flags),
        made => made,
    }?;
    ftruncate(&memory, (words * WORD) as u64)?;
    fcntl_add_seals(
        &memory,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    Ok(memory)
}

/// Maps `memory`, which has `words` words, for the lifetime of this process.
///
/// # Errors
///
/// Fails if `memory` is not [`shared_memory`] of that size, or cannot be mapped.
pub fn map(memory: impl AsFd, words: usize) -> io::Result<&'static [AtomicU64]> {
    let memory = memory.as_fd();
    let bytes = words * WORD;
    let size = fstat(memory)?.st_size;
    // Only a file in memory has seals.
    if usize::try_from(size) != Ok(bytes) || !fcntl_get_seals(memory)?.contains(SealFlags::SHRINK) {
        return Err(io::Error::other("it is not memory that was made for this"));
    }
    // SAFETY: a new mapping at an address that the system chooses touches no memory in use.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            memory.as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the address is the start of a page, so it is aligned. `words` words from there can be
    // read and written for as long as the process lives: the file cannot be shortened (the seal,
    // checked above), and the mapping is never removed, so the lifetime is 'static. All bytes are
    // valid numbers. This process has no other access to the words, and other processes map them
    // with this function as well, so all access is atomic.
    Ok(unsafe { slice::from_raw_parts(address.cast(), words) })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn two_mappings_are_the_same_words_which_begin_at_zero() {
        let memory = shared_memory(c"test", 3).expect("memory");
        let one = map(&memory, 3).expect("mapped");
        let other = map(memory.try_clone().expect("a descriptor"), 3).expect("mapped");
        drop(memory);
        assert!(other.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        one[2].store(7, Ordering::Relaxed);
        let words = other.iter().map(|word| word.load(Ordering::Relaxed));
        assert_eq!(words.collect::<Vec<_>>(), [0, 0, 7]);
    }

    #[test]
    fn nobody_can_cut_the_ground_from_under_it() {
        let memory = shared_memory(c"test", 1).expect("memory");
        assert_eq!(ftruncate(&memory, 0), Err(Errno::PERM));
    }

    #[test]
    fn what_is_not_made_for_it_is_not_mapped() {
        let null = std::fs::File::open("/dev/null").expect("it is there");
        assert!(map(null, 1).is_err());
        let smaller = shared_memory(c"test", 1).expect("memory");
        assert!(map(smaller, 2).is_err());
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let unsealed = memfd_create(c"test", flags).expect("memory");
        ftruncate(&unsealed, WORD as u64).expect("it grows");
        assert!(map(unsealed, 1).is_err());
    }
}
