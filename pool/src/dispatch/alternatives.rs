//! Alternatives: other groups at which a task can be done.
//!
//! A task is for one group at a time, whose limits it keeps and in whose turns it takes part. When it
//! has failed for good there, or has had all its attempts, it is for the next. Each has as many
//! attempts as a task without alternatives. It never goes back, and the next run begins with the first.

use std::time::{Duration, Instant};

use protocol::{JobFailure, Severity, TaskId};

use super::Dispatcher;
use super::event::Action;
use super::queue::End;

impl<O, F: JobFailure> Dispatcher<O, F> {
    /// Whether `id`, which fails like this if it is not tried elsewhere, can be.
    pub(super) fn may_turn_to_alternative(&self, id: TaskId, failure: &F) -> bool {
        let has_alternative = self
            .tasks
            .get(&id)
            .is_some_and(|task| !task.alternatives.is_empty());
        has_alternative && !failure.is_own() && failure.severity() != Severity::Fatal
    }

    /// Has `id`, which a worker has failed with, done at its next alternative.
    pub(super) fn turn_to_alternative(&mut self, now: Instant, id: TaskId, failure: Box<F>) {
        // While it still counts for the group that it leaves.
        self.unlease(id);
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let Some(group) = task.alternatives.pop_front() else {
            return;
        };
        let left = std::mem::replace(&mut task.group, group);
        task.earlier_attempts = task.all_attempts();
        task.attempts = 0;
        // That was between it and the group that it leaves.
        task.refused = None;
        task.spacing = Duration::ZERO;
        self.queue.groups_mut().enter(group);
        self.queue.groups_mut().leave(left);
        self.counts.retries += 1;
        self.actions
            .push_back(Action::TurnToAlternative { task: id, failure });
        self.queue_up(now, id, End::Back);
    }
}
