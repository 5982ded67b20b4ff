//! Ctrl-C and SIGTERM as a flag that the measuring loop reads.
//!
//! This module must not end anything itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Whether a signal asked the shootout to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// Handles SIGINT and SIGTERM from now until the process ends.
    ///
    /// # Errors
    ///
    /// Fails if a handler cannot be installed.
    pub fn listen() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // Signal numbers are small and positive.
            let number = usize::try_from(signal).unwrap_or(0);
            signal_hook::flag::register_usize(signal, Arc::clone(&interrupt.0), number)?;
        }
        Ok(interrupt)
    }

    /// Returns the number of the signal, if one has arrived.
    #[must_use]
    pub fn signal(&self) -> Option<u8> {
        u8::try_from(self.0.load(Ordering::Relaxed))
            .ok()
            .filter(|&signal| signal > 0)
    }
}

#[cfg(test)]
impl Interrupt {
    /// Simulates the arrival of `signal`.
    pub(super) fn raise(&self, signal: usize) {
        self.0.store(signal, Ordering::Relaxed);
    }
}
