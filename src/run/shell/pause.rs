//! Pauses of the coordinator, and changes of the pool's size: both are requested by signals.
//!
//! If the coordinator was stopped, the core must not conclude that the workers were silent. So the
//! shell records until when it ran, or slept as planned. If it wakes up much later than that, it
//! reports the pause to the core first.

use std::time::{Duration, Instant};

use signal_hook::consts::SIGSTOP;

use super::Shell;
use crate::dispatch::Event;
use crate::run::descriptors::make_room;

/// A longer gap is a pause. Messages that were sent in the pause get this much more time to be
/// read.
const PAUSE: Duration = Duration::from_secs(1);

/// Detects pauses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wakefulness {
    until: Instant,
}

impl Wakefulness {
    pub(super) const fn new(now: Instant) -> Self {
        Self { until: now }
    }

    /// Records that a sleep ended at `now`. The sleep was to end at `due`, or with a message.
    pub(super) fn slept(&mut self, now: Instant, due: Option<Instant>) {
        self.until = self.until.max(due.map_or(now, |due| due.min(now)));
    }

    /// Returns the pause that ends at `now`, if there was one.
    pub(super) fn wakes(&mut self, now: Instant) -> Option<Duration> {
        let gap = now.saturating_duration_since(self.until);
        self.until = now;
        (gap > PAUSE).then(|| gap + PAUSE)
    }
}

impl Shell {
    /// Stops the workers and then this process, until it is continued (`fg`).
    pub(super) fn suspend(&mut self) {
        // Finished tasks must be on disk, however long the pause is and however it ends.
        let written = self.parts.log.flush();
        self.check_log(written);
        self.parts.pool.stop_all();
        self.parts.placement.stop();
        let mut console = std::mem::take(&mut self.parts.console);
        let stopped = console.suspend(&self.parts.stats, || signal_hook::low_level::raise(SIGSTOP));
        self.parts.console = console;
        if let Err(error) = stopped {
            tracing::warn!(%error, "cannot stop this process");
        }
        // The process continues here. The clock shows how long the pause was.
        self.parts.placement.resume();
        self.parts.pool.continue_all();
        self.tell_core(Event::Tick);
    }

    /// Adds or removes one slot.
    pub(super) fn resize(&mut self, more: bool) {
        let now = self.parts.core.workers();
        let wanted = if more {
            now.saturating_add(1)
        } else {
            now.saturating_sub(1).max(1)
        };
        if !self.parts.pool.can_resize() {
            let text = "the number of workers can only be changed with --mode processes";
            return self.parts.console.error(text);
        }
        if let Err(error) = make_room(wanted) {
            return self.parts.console.error(&error.to_string());
        }
        self.pids
            .resize(self.pids.len().max(usize::from(wanted)), 0);
        let text = match wanted {
            1 => "1 worker from now on".to_owned(),
            _ => format!("{wanted} workers from now on"),
        };
        self.parts.console.line(&text);
        self.tell_core(Event::Resized { workers: wanted });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_sleep_that_was_asked_for_is_no_pause() {
        let begun = Instant::now();
        let mut wakefulness = Wakefulness::new(begun);
        wakefulness.slept(begun + 9 * SECOND, Some(begun + 9 * SECOND));
        assert_eq!(wakefulness.wakes(begun + 9 * SECOND), None);
        wakefulness.slept(begun + 99 * SECOND, None);
        assert_eq!(wakefulness.wakes(begun + 99 * SECOND), None);
    }

    #[test]
    fn time_beyond_it_is_and_is_told_once() {
        let begun = Instant::now();
        let mut wakefulness = Wakefulness::new(begun);
        wakefulness.slept(begun + 9 * SECOND, Some(begun + 2 * SECOND));
        let now = begun + 9 * SECOND;
        assert_eq!(wakefulness.wakes(now), Some(7 * SECOND + PAUSE));
        assert_eq!(wakefulness.wakes(now), None);
    }

    #[test]
    fn so_is_time_that_work_took() {
        let begun = Instant::now();
        let mut wakefulness = Wakefulness::new(begun);
        assert_eq!(
            wakefulness.wakes(begun + 3 * SECOND),
            Some(3 * SECOND + PAUSE)
        );
    }
}
