//! What one slot is doing: written by the slot and its engine, read by the heartbeat.
//!
//! It must not judge how long is too long; that limit is passed in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::{Phase, Progress, Running, TaskId};

use crate::page::Word;

/// What one slot is doing.
#[derive(Debug, Default)]
pub struct Activity {
    /// Its place on the page.
    word: Word,
    current: Mutex<Option<Current>>,
    abandoned: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Current {
    running: Running,
    moved: Instant,
}

impl Activity {
    /// Of a slot that is idle, and gives up what it does once `abandoned` is set.
    #[must_use]
    pub fn new(abandoned: Arc<AtomicBool>) -> Self {
        Self::with(Word::default(), abandoned)
    }

    /// The same, with a place on the page.
    pub(crate) const fn with(word: Word, abandoned: Arc<AtomicBool>) -> Self {
        Self {
            word,
            current: Mutex::new(None),
            abandoned,
        }
    }

    /// The slot takes up `task`; said before anything is done for it.
    pub(crate) fn take_up(&self, task: TaskId) {
        self.word.set(task);
        self.begin(task);
    }

    /// What became of the slot's task is among the reports to be sent.
    pub(crate) fn put_down(&self) {
        self.end();
        self.word.clear();
    }

    /// Heartbeats name `task` from now on.
    pub fn begin(&self, task: TaskId) {
        *self.lock() = Some(Current {
            running: Running {
                task,
                progress: Progress {
                    phase: Phase::Requesting,
                    bytes: 0,
                    expected: None,
                },
            },
            moved: Instant::now(),
        });
    }

    /// Heartbeats do not name the task any more.
    pub fn end(&self) {
        *self.lock() = None;
    }

    /// The task is in `phase` now, or in it once more.
    pub fn enter(&self, phase: Phase) {
        if let Some(current) = &mut *self.lock() {
            current.running.progress.phase = phase;
            current.moved = Instant::now();
        }
    }

    /// The task waits for what is nobody's fault.
    pub fn touch(&self) {
        if let Some(current) = &mut *self.lock() {
            current.moved = Instant::now();
        }
    }

    /// `bytes` of body are received by now, of as many as are `expected`, if that is known.
    pub fn received(&self, bytes: u64, expected: Option<u64>) {
        if let Some(current) = &mut *self.lock() {
            current.running.progress.bytes = bytes;
            current.running.progress.expected = expected;
            current.moved = Instant::now();
        }
    }

    /// Whether nobody waits for the task any more, so that the engine should give it up.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// What runs at `now`, unless it did not move for longer than `limit`.
    #[must_use]
    pub fn running(&self, now: Instant, limit: Duration) -> Option<Running> {
        self.lock()
            .as_ref()
            .filter(|current| now.saturating_duration_since(current.moved) <= limit)
            .map(|current| current.running)
    }

    /// Every update is whole in itself, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_does_not_move_is_left_out_until_it_moves_again() {
        let activity = Activity::default();
        let limit = Duration::from_secs(10);
        assert_eq!(activity.running(Instant::now(), limit), None);
        activity.begin(TaskId(7));
        let later = Instant::now() + limit + limit;
        assert!(activity.running(Instant::now(), limit).is_some());
        assert_eq!(activity.running(later, limit), None);
        activity.enter(Phase::Receiving);
        activity.received(5, Some(9));
        let running = activity.running(Instant::now(), limit).expect("it moved");
        assert_eq!(
            (running.progress.phase, running.progress.bytes),
            (Phase::Receiving, 5)
        );
        activity.end();
        assert_eq!(activity.running(Instant::now(), limit), None);
    }
}
