//! Tasks that wait for a slot: a thread, or a task of an event loop.
//!
//! Must not know what a task is for.

use std::collections::{HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use protocol::{Assigned, TaskId};
use tokio::sync::Notify;

/// Tasks that wait for a slot, in the order in which they arrived.
#[derive(Debug)]
pub(super) struct Queue<J> {
    state: Mutex<State<J>>,
    bell: Bell,
}

/// Wakes waiting slots. A queue has only one kind, because each notification costs a system call.
#[derive(Debug)]
enum Bell {
    Threads(Condvar),
    Tasks(Notify),
}

#[derive(Debug)]
struct State<J> {
    waiting: VecDeque<Assigned<J>>,
    closed: bool,
}

impl<J> Queue<J> {
    /// Creates a queue for threads, which wait with [`pop`](Self::pop).
    pub(super) fn for_threads() -> Self {
        Self {
            state: Mutex::new(State::new()),
            bell: Bell::Threads(Condvar::new()),
        }
    }

    /// Creates a queue for the tasks of an event loop, which wait with [`next`](Self::next).
    pub(super) fn for_tasks() -> Self {
        Self {
            state: Mutex::new(State::new()),
            bell: Bell::Tasks(Notify::new()),
        }
    }

    /// Appends `assigned` in order.
    pub(super) fn push(&self, assigned: Vec<Assigned<J>>) {
        let many = assigned.len() > 1;
        self.lock().waiting.extend(assigned);
        match &self.bell {
            Bell::Threads(bell) if many => bell.notify_all(),
            Bell::Threads(bell) => bell.notify_one(),
            // The slot that takes a task wakes the next slot while there are more tasks.
            Bell::Tasks(bell) => bell.notify_one(),
        }
    }

    /// Takes the first task if there is one now.
    pub(super) fn try_pop(&self) -> Option<Assigned<J>> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.waiting.pop_front()
    }

    /// Waits for a task and takes it. Returns `None` once the queue is closed.
    pub(super) fn pop(&self) -> Option<Assigned<J>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(assigned) = state.waiting.pop_front() {
                return Some(assigned);
            }
            let Bell::Threads(bell) = &self.bell else {
                return None;
            };
            state = bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Like [`pop`](Self::pop), for tasks of an event loop.
    pub(super) async fn next(&self) -> Option<Assigned<J>> {
        loop {
            {
                let mut state = self.lock();
                if state.closed {
                    // Each waiting slot wakes the next one: see `close`.
                    if let Bell::Tasks(bell) = &self.bell {
                        bell.notify_one();
                    }
                    return None;
                }
                if let Some(assigned) = state.waiting.pop_front() {
                    if !state.waiting.is_empty()
                        && let Bell::Tasks(bell) = &self.bell
                    {
                        bell.notify_one();
                    }
                    return Some(assigned);
                }
            }
            let Bell::Tasks(bell) = &self.bell else {
                return None;
            };
            bell.notified().await;
        }
    }

    /// Returns the number of waiting tasks.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Removes those of `tasks` that still wait, and returns them.
    pub(super) fn revoke(&self, tasks: &[TaskId]) -> Vec<TaskId> {
        let revoked: HashSet<TaskId> = tasks.iter().copied().collect();
        let mut released = Vec::new();
        self.lock().waiting.retain(|assigned| {
            let stays = !revoked.contains(&assigned.task);
            if !stays {
                released.push(assigned.task);
            }
            stays
        });
        released
    }

    /// Ends all waits. Tasks that are still queued are not run.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        match &self.bell {
            Bell::Threads(bell) => bell.notify_all(),
            // A slot may be between its check and its wait, on another thread: `notify_waiters`
            // would miss it. `notify_one` stores a permit, which each slot passes on.
            Bell::Tasks(bell) => bell.notify_one(),
        }
    }

    /// Ignores poisoning: each change leaves a consistent state, so a panic elsewhere does no harm.
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J> State<J> {
    const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            closed: false,
        }
    }
}
