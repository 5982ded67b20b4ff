//! The activity of one slot: written by the slot and its engine, read by the heartbeat.
//!
//! Must not decide how long is too long; that limit is a parameter.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::TaskId;
use protocol::message::Running;

use crate::page::Word;

/// The activity of one slot.
pub struct Activity<P> {
    /// The slot's place on the page.
    word: Word,
    current: Mutex<Option<Current<P>>>,
    abandoned: Arc<AtomicBool>,
    /// Requests an early heartbeat.
    hurry: Option<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Debug)]
struct Current<P> {
    running: Running<P>,
    begun: Instant,
    moved: Instant,
}

impl<P: fmt::Debug> fmt::Debug for Activity<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activity")
            .field("word", &self.word)
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

/// The activity of an idle slot whose tasks are never abandoned.
impl<P> Default for Activity<P> {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl<P> Activity<P> {
    /// Creates the activity of an idle slot. Its tasks are abandoned once `abandoned` is set.
    #[must_use]
    pub const fn new(abandoned: Arc<AtomicBool>) -> Self {
        Self {
            word: Word::NONE,
            current: Mutex::new(None),
            abandoned,
            hurry: None,
        }
    }

    /// Creates an activity with a place on the page and the effect of [`show`](Self::show).
    pub(super) fn with(
        word: Word,
        abandoned: Arc<AtomicBool>,
        hurry: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            word,
            hurry: Some(Box::new(hurry)),
            ..Self::new(abandoned)
        }
    }

    /// Removes the task from heartbeats. Returns whether there was one.
    pub fn end(&self) -> bool {
        self.lock().take().is_some()
    }

    /// Updates the progress of the task. The task counts as moving.
    pub fn advance(&self, update: impl FnOnce(&mut P)) {
        if let Some(current) = &mut *self.lock() {
            update(&mut current.running.progress);
            current.moved = Instant::now();
        }
    }

    /// Like [`advance`](Self::advance), but reports the progress before the next regular heartbeat.
    pub fn show(&self, update: impl FnOnce(&mut P)) {
        self.advance(update);
        if let Some(hurry) = &self.hurry {
            hurry();
        }
    }

    /// Marks the task as moving while it waits for something that it cannot influence.
    pub fn touch(&self) {
        self.advance(|_| {});
    }

    /// Returns whether the result of the task is no longer needed, so that the engine should stop.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Clears the word. The outcome of the task must be among the reports to be sent.
    pub(super) fn clear_word(&self) {
        self.word.clear();
    }

    /// Removes the task if it started before `moment`. The slot then must not report its outcome.
    pub(super) fn take_away(&self, moment: Instant) -> Option<TaskId> {
        let mut current = self.lock();
        current
            .take_if(|current| current.begun <= moment)
            .map(|current| current.running.task)
    }

    /// Returns when the slot's task started, if there is one.
    pub(super) fn begun(&self) -> Option<Instant> {
        self.lock().as_ref().map(|current| current.begun)
    }

    /// Ignores poisoning: each update leaves a consistent state, so a panic elsewhere does no harm.
    fn lock(&self) -> MutexGuard<'_, Option<Current<P>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Default> Activity<P> {
    /// Records that the slot starts `task`. Called before anything is done for the task.
    pub(super) fn take_up(&self, task: TaskId) {
        self.word.set(task);
        self.begin(task);
    }

    /// Adds `task` to heartbeats.
    pub fn begin(&self, task: TaskId) {
        let now = Instant::now();
        *self.lock() = Some(Current {
            running: Running {
                task,
                progress: P::default(),
            },
            begun: now,
            moved: now,
        });
    }
}

impl<P: Clone> Activity<P> {
    /// Returns the task that runs at `now`, unless it has not moved for longer than `limit`.
    #[must_use]
    pub fn running(&self, now: Instant, limit: Duration) -> Option<Running<P>> {
        self.lock()
            .as_ref()
            .filter(|current| now.saturating_duration_since(current.moved) <= limit)
            .map(|current| current.running.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_does_not_move_is_left_out_until_it_moves_again() {
        let activity = Activity::<u64>::default();
        let limit = Duration::from_secs(10);
        assert_eq!(activity.running(Instant::now(), limit), None);
        activity.begin(TaskId(7));
        let later = Instant::now() + limit + limit;
        assert!(activity.running(Instant::now(), limit).is_some());
        assert_eq!(activity.running(later, limit), None);
        activity.advance(|bytes| *bytes = 5);
        let running = activity.running(Instant::now(), limit).expect("it moved");
        assert_eq!(running.progress, 5);
        assert!(activity.end());
        assert_eq!(activity.running(Instant::now(), limit), None);
    }

    #[test]
    fn only_one_says_what_becomes_of_a_task() {
        let activity = Activity::<()>::default();
        let before = Instant::now();
        activity.begin(TaskId(7));
        assert_eq!(activity.take_away(before - Duration::from_secs(1)), None);
        let later = Instant::now();
        assert_eq!(activity.take_away(later), Some(TaskId(7)));
        assert!(!activity.end());
        activity.begin(TaskId(8));
        assert!(activity.end());
        assert_eq!(activity.take_away(Instant::now()), None);
    }
}
