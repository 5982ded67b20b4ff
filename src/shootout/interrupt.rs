//! Ctrl-C and SIGTERM, as a question that the measuring loop asks.
//!
//! It must not end anything itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Whether the shootout was asked to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// Listens to SIGINT and SIGTERM from now on, for as long as the process lives.
    ///
    /// # Errors
    ///
    /// If a handler cannot be installed.
    pub fn listen() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // Signal numbers are small and positive.
            let number = usize::try_from(signal).unwrap_or(0);
            signal_hook::flag::register_usize(signal, Arc::clone(&interrupt.0), number)?;
        }
        Ok(interrupt)
    }

    /// The signal that asked for the end, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<u8> {
        u8::try_from(self.0.load(Ordering::Relaxed))
            .ok()
            .filter(|&signal| signal > 0)
    }
}

#[cfg(test)]
impl Interrupt {
    /// Stands in for the signal.
    pub(super) fn raise(&self, signal: usize) {
        self.0.store(signal, Ordering::Relaxed);
    }
}
