//! Tasks that wait for a slot.
//!
//! It must not know what a task is for.

use std::collections::{HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use protocol::{Assignment, TaskId};

/// Tasks that wait for a slot, first come, first served.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Assignment>,
    closed: bool,
}

impl Queue {
    /// Adds `assignments`, in their order.
    pub(super) fn push(&self, assignments: Vec<Assignment>) {
        let many = assignments.len() > 1;
        self.lock().waiting.extend(assignments);
        if many {
            self.changed.notify_all();
        } else {
            self.changed.notify_one();
        }
    }

    /// Takes the first task, if there is one now.
    pub(super) fn try_pop(&self) -> Option<Assignment> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.waiting.pop_front()
    }

    /// Waits for a task and takes it; `None` once the queue is closed.
    pub(super) fn pop(&self) -> Option<Assignment> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(assignment) = state.waiting.pop_front() {
                return Some(assignment);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes those of `tasks` that still wait out again, and tells which these are.
    pub(super) fn revoke(&self, tasks: &[TaskId]) -> Vec<TaskId> {
        let revoked: HashSet<TaskId> = tasks.iter().copied().collect();
        let mut released = Vec::new();
        self.lock().waiting.retain(|assignment| {
            let stays = !revoked.contains(&assignment.task);
            if !stays {
                released.push(assignment.task);
            }
            stays
        });
        released
    }

    /// Lets nobody wait any more. What is still queued stays undone.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Every change is whole in itself, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
