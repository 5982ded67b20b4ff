//! One word of memory that processes share. It lives as long as one of them does, and is nowhere on
//! disk.
//!
//! It must not know what the word means.
#![allow(
    unsafe_code,
    reason = "mapping a file has no safe counterpart in std or rustix; the arguments are below"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::AtomicU64;

use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};
use rustix::io::Errno;

/// Bytes of the word.
const SIZE: usize = size_of::<AtomicU64>();

/// Memory for the word of a [`Throttle`](super::Throttle), which is zero. It is closed when this
/// process becomes another program, unless it is handed on.
///
/// # Errors
///
/// If the system does not make it.
pub fn shared_memory() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = memfd_create(c"limit-rate", flags | MemfdFlags::NOEXEC_SEAL);
    let memory = match made {
        // Linux before 6.3.
        Err(Errno::INVAL) => memfd_create(c"limit-rate", flags),
        made => made,
    }?;
    ftruncate(&memory, SIZE as u64)?;
    fcntl_add_seals(
        &memory,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    Ok(memory)
}

/// Maps `memory` for as long as this process lives.
///
/// # Errors
///
/// If `memory` is not [`shared_memory`], or the system does not map it.
pub(super) fn map(memory: impl AsFd) -> io::Result<&'static AtomicU64> {
    let memory = memory.as_fd();
    let size = fstat(memory)?.st_size;
    // Only a file in memory has seals.
    if usize::try_from(size) != Ok(SIZE) || !fcntl_get_seals(memory)?.contains(SealFlags::SHRINK) {
        return Err(io::Error::other("it is not memory that was made for this"));
    }
    // SAFETY: a new mapping at an address of the system's choice touches no memory that is in use.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            memory.as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the address is that of a page, so it is aligned; `SIZE` bytes from there can be read
    // and written, and never cease to be: nobody can make the file shorter (the seal, checked
    // above), and nobody unmaps it, which is why the lifetime is 'static. Any bytes are a valid
    // number. This process has no other access to them than this one, and the others have theirs
    // from this function as well, so all access is atomic.
    Ok(unsafe { AtomicU64::from_ptr(address.cast()) })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn two_mappings_are_one_word_which_begins_at_zero() {
        let memory = shared_memory().expect("memory");
        let one = map(&memory).expect("mapped");
        let other = map(memory.try_clone().expect("a descriptor")).expect("mapped");
        drop(memory);
        assert_eq!(other.load(Ordering::Relaxed), 0);
        one.store(7, Ordering::Relaxed);
        assert_eq!(other.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn nobody_can_cut_the_ground_from_under_it() {
        let memory = shared_memory().expect("memory");
        assert_eq!(ftruncate(&memory, 0), Err(Errno::PERM));
    }

    #[test]
    fn what_is_not_made_for_it_is_not_mapped() {
        let null = std::fs::File::open("/dev/null").expect("it is there");
        assert!(map(null).is_err());
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let unsealed = memfd_create(c"test", flags).expect("memory");
        ftruncate(&unsealed, SIZE as u64).expect("it grows");
        assert!(map(unsealed).is_err());
    }
}
