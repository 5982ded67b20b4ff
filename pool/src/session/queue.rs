//! Tasks that wait for a slot, be that a thread or a task of an event loop.
//!
//! It must not know what a task is for.

use std::collections::{HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use protocol::{Assigned, TaskId};
use tokio::sync::Notify;

/// Tasks that wait for a slot, first come, first served.
#[derive(Debug)]
pub(super) struct Queue<J> {
    state: Mutex<State<J>>,
    bell: Bell,
}

/// How those who wait are told. One kind only: ringing for nobody costs a system call.
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
    /// A queue that threads wait at, with [`pop`](Self::pop).
    pub(super) fn for_threads() -> Self {
        Self {
            state: Mutex::new(State::new()),
            bell: Bell::Threads(Condvar::new()),
        }
    }

    /// A queue that the tasks of an event loop wait at, with [`next`](Self::next).
    pub(super) fn for_tasks() -> Self {
        Self {
            state: Mutex::new(State::new()),
            bell: Bell::Tasks(Notify::new()),
        }
    }

    /// Adds `assigned`, in their order.
    pub(super) fn push(&self, assigned: Vec<Assigned<J>>) {
        let many = assigned.len() > 1;
        self.lock().waiting.extend(assigned);
        match &self.bell {
            Bell::Threads(bell) if many => bell.notify_all(),
            Bell::Threads(bell) => bell.notify_one(),
            // Who takes a task wakes the next one, as long as there are more.
            Bell::Tasks(bell) => bell.notify_one(),
        }
    }

    /// Takes the first task, if there is one now.
    pub(super) fn try_pop(&self) -> Option<Assigned<J>> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.waiting.pop_front()
    }

    /// Waits for a task and takes it; `None` once the queue is closed.
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

    /// As [`pop`](Self::pop), for tasks of an event loop.
    pub(super) async fn next(&self) -> Option<Assigned<J>> {
        loop {
            {
                let mut state = self.lock();
                if state.closed {
                    // Whoever else waits is told by the one before it: see `close`.
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

    /// How many tasks wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Takes those of `tasks` that still wait out again, and tells which these are.
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

    /// Lets nobody wait any more. What is still queued stays undone.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        match &self.bell {
            Bell::Threads(bell) => bell.notify_all(),
            // A task may be between its look at the state and its wait, on another thread:
            // `notify_waiters` would miss it. A permit is kept for it, and handed on from there.
            Bell::Tasks(bell) => bell.notify_one(),
        }
    }

    /// Every change is whole in itself, so a panic elsewhere does not matter.
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
