//! The allocator of a process that may be limited in memory: the system's, and a decent end when
//! the limit is reached.
//!
//! The standard library ends a process that gets no memory with SIGABRT, like any other abort.
//! Under a limit ([`RLIMIT_DATA`]) that would hide the one fact that matters, so there the process
//! ends with [`EXIT_OUT_OF_MEMORY`] instead. Without a limit nothing is different.
//!
//! One of the modules of this crate with `unsafe` in it; it must hold nothing else.
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

/// The system's allocator, but under a limit on memory (`RLIMIT_DATA`) an allocation that is
/// refused ends the process with [`EXIT_OUT_OF_MEMORY`] and one line on standard error.
///
/// To be made the `#[global_allocator]` of a program whose processes are workers.
#[derive(Debug)]
pub struct Allocator {
    /// What sets the limit, for the line.
    set_by: &'static str,
    /// Set by the first thread that is refused: one line is enough.
    ending: AtomicBool,
}

impl Allocator {
    /// For a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self::limited_by("ulimit -d")
    }

    /// The same; `set_by` is what people have to look at who want to raise the limit.
    #[must_use]
    pub const fn limited_by(set_by: &'static str) -> Self {
        Self {
            set_by,
            ending: AtomicBool::new(false),
        }
    }

    /// Passes `block` on, if there is one. Here nothing may allocate.
    fn granted(&self, block: *mut u8, size: usize) -> *mut u8 {
        if !block.is_null() {
            return block;
        }
        // The limit belongs to the process; so it is asked of the system, and not kept here.
        let Some(limit) = getrlimit(Resource::Data).current else {
            return block;
        };
        if !self.ending.swap(true, Ordering::SeqCst) {
            let mut line = [0; 160];
            let mut rest = &mut line[..];
            // It is long enough; and if it were not, a part would do.
            let _ = writeln!(
                rest,
                "out of memory: {size} bytes more are refused at the limit of {limit} bytes \
                 ({})",
                self.set_by
            );
            let left = rest.len();
            let text = &line[..line.len() - left];
            // Not through the standard library, whose handle may be locked by this very thread.
            let _ = rustix::io::write(rustix::stdio::stderr(), text);
        }
        // SAFETY: it takes an integer and does not return. Handlers and destructors do not run,
        // so nothing is used that this thread, in the middle of an allocation, left half done.
        unsafe { libc::_exit(EXIT_OUT_OF_MEMORY) }
    }
}

impl Default for Allocator {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: every method hands its arguments to `System`, for which the caller's promises are the
// same, and returns what that returns, or does not return.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those of `System`.
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
