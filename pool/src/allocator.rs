//! The allocator of a process that may have a memory limit: the system's, except that the process
//! ends with a message when it reaches the limit.
//!
//! If an allocation fails, the standard library ends the process with SIGABRT, as for any other
//! abort. Under a limit ([`RLIMIT_DATA`]) this would hide the cause, so the process ends with
//! [`EXIT_OUT_OF_MEMORY`] instead. Without a limit, nothing changes.
//!
//! One of the modules of this crate that use `unsafe`; it must contain nothing else.
//!
//! [`RLIMIT_DATA`]: https://man7.org/linux/man-pages/man2/setrlimit.2.html
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe to implement; so is ending without running exit handlers"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Resource, getrlimit};

use crate::EXIT_OUT_OF_MEMORY;

/// The system's allocator, except under a memory limit (`RLIMIT_DATA`): there, an allocation that
/// is refused ends the process with [`EXIT_OUT_OF_MEMORY`] and one line on standard error.
///
/// Make it the `#[global_allocator]` of a program whose processes are workers.
#[derive(Debug)]
pub struct Allocator {
    /// What sets the limit. Shown in the line.
    set_by: &'static str,
    /// Set by the first thread whose allocation is refused: one line is enough.
    ending: AtomicBool,
}

impl Allocator {
    /// Creates an allocator for a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self::limited_by("ulimit -d")
    }

    /// Creates an allocator; `set_by` names the setting that has to be changed to raise the limit.
    #[must_use]
    pub const fn limited_by(set_by: &'static str) -> Self {
        Self {
            set_by,
            ending: AtomicBool::new(false),
        }
    }

    /// Returns `block` unless it is null. Must not allocate.
    fn granted(&self, block: *mut u8, size: usize) -> *mut u8 {
        if !block.is_null() {
            return block;
        }
        // The limit belongs to the process, so it is read from the system and not kept here.
        let Some(limit) = getrlimit(Resource::Data).current else {
            return block;
        };
        if !self.ending.swap(true, Ordering::SeqCst) {
            let mut line = [0; 160];
            let mut rest = &mut line[..];
            // The buffer is long enough; if it were not, part of the line would do.
            let _ = writeln!(
                rest,
                "out of memory: {size} bytes more are refused at the limit of {limit} bytes \
                 ({})",
                self.set_by
            );
            let left = rest.len();
            let text = &line[..line.len() - left];
            // Not through the standard library: this thread may hold the lock of its handle.
            let _ = rustix::io::write(rustix::stdio::stderr(), text);
        }
        // SAFETY: it takes an integer and does not return. Handlers and destructors do not run, so
        // nothing is used that this thread, in the middle of an allocation, left half done.
        unsafe { libc::_exit(EXIT_OUT_OF_MEMORY) }
    }
}

impl Default for Allocator {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: every method passes its arguments to `System`, which requires the same of the caller, and
// returns the result of `System` or does not return.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller guarantees what `System` requires.
        self.granted(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above; every block comes from `System`.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        self.granted(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        self.granted(unsafe { System.realloc(block, layout, size) }, size)
    }
}
