//! Injects faults from outside when they are due. Does nothing without `--inject`.

use std::time::Instant;

use super::Shell;

impl Shell {
    /// Sends due signals to the workers that the injector selects. Returns when the next are due.
    pub(super) fn inject(&mut self) -> Option<Instant> {
        let injector = self.parts.injector.as_mut()?;
        let due = injector.due()?;
        let now = Instant::now();
        if now < due {
            return Some(due);
        }
        match injector.strike(now, &self.parts.pool.live()) {
            Ok(signals) => {
                for (worker, signal) in signals {
                    tracing::info!(%worker, ?signal, "fault injected");
                    self.parts.pool.signal(worker, signal);
                }
            }
            Err(error) => self
                .parts
                .console
                .error(&format!("{error}; no more signals are injected")),
        }
        injector.due()
    }
}
