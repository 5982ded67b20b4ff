//! What one slot is doing: written by the slot and its engine, read by the heartbeat.
//!
//! It must not judge how long is too long; that limit is passed in.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::TaskId;
use protocol::message::Running;

use crate::page::Word;

/// What one slot is doing.
pub struct Activity<P> {
    /// Its place on the page.
    word: Word,
    current: Mutex<Option<Current<P>>>,
    abandoned: Arc<AtomicBool>,
    /// Has the heartbeat sent before its time.
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

/// Of a slot that is idle, and that nobody tells to give up what it does.
impl<P> Default for Activity<P> {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl<P> Activity<P> {
    /// Of a slot that is idle, and gives up what it does once `abandoned` is set.
    #[must_use]
    pub const fn new(abandoned: Arc<AtomicBool>) -> Self {
        Self {
            word: Word::NONE,
            current: Mutex::new(None),
            abandoned,
            hurry: None,
        }
    }

    /// The same, with a place on the page, and with what [`show`](Self::show) does.
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

    /// Heartbeats do not name the task any more. Whether they did.
    pub fn end(&self) -> bool {
        self.lock().take().is_some()
    }

    /// The task has got so far as `update` says.
    pub fn advance(&self, update: impl FnOnce(&mut P)) {
        if let Some(current) = &mut *self.lock() {
            update(&mut current.running.progress);
            current.moved = Instant::now();
        }
    }

    /// As [`advance`](Self::advance), and the coordinator is told soon: it does not wait for the next heartbeat.
    pub fn show(&self, update: impl FnOnce(&mut P)) {
        self.advance(update);
        if let Some(hurry) = &self.hurry {
            hurry();
        }
    }

    /// The task waits for what is nobody's fault.
    pub fn touch(&self) {
        self.advance(|_| {});
    }

    /// Whether nobody waits for the task any more, so that the engine should give it up.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// The outcome of the slot's task is among the reports to be sent.
    pub(super) fn clear_word(&self) {
        self.word.clear();
    }

    /// Takes the task away from the slot if it was begun before `moment`: what becomes of it is not
    /// the slot's to say any more.
    pub(super) fn take_away(&self, moment: Instant) -> Option<TaskId> {
        let mut current = self.lock();
        current
            .take_if(|current| current.begun <= moment)
            .map(|current| current.running.task)
    }

    /// When its task was begun, if it has one.
    pub(super) fn begun(&self) -> Option<Instant> {
        self.lock().as_ref().map(|current| current.begun)
    }

    /// Every update is whole in itself, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, Option<Current<P>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Default> Activity<P> {
    /// The slot takes up `task`; said before anything is done for it.
    pub(super) fn take_up(&self, task: TaskId) {
        self.word.set(task);
        self.begin(task);
    }

    /// Heartbeats name `task` from now on.
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
    /// What runs at `now`, unless it did not move for longer than `limit`.
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
