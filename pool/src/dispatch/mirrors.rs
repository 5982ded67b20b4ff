//! Mirrors: other hosts at which a task can be done.
//!
//! A task is for one host at a time, whose limits it keeps and in whose turns it takes part. When it
//! has failed for good there, or has had all its attempts, it is for the next. Each has as many
//! attempts as a task without mirrors. It never goes back, and the next run begins with the first.

use std::time::{Duration, Instant};

use protocol::{Failure, FailureKind, Severity, TaskId};

use super::Dispatcher;
use super::answers::End;
use super::event::Action;

impl Dispatcher {
    /// Whether `id`, which fails like this if it is not tried elsewhere, can be.
    pub(super) fn may_turn_to_mirror(&self, id: TaskId, failure: &Failure) -> bool {
        use FailureKind::{DiskFull, Internal, Store};
        // These are not about the host.
        let is_ours = matches!(failure.kind, DiskFull | Internal | Store);
        let has_mirror = self
            .tasks
            .get(&id)
            .is_some_and(|task| !task.mirrors.is_empty());
        has_mirror && !is_ours && failure.severity != Severity::Fatal
    }

    /// Has `id`, which a worker has failed with, done at its next mirror.
    pub(super) fn turn_to_mirror(&mut self, now: Instant, id: TaskId, failure: Box<Failure>) {
        // While it still counts for the host that it leaves.
        self.unlease(id);
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let Some(host) = task.mirrors.pop_front() else {
            return;
        };
        let left = std::mem::replace(&mut task.host, host);
        task.earlier_attempts = task.all_attempts();
        task.attempts = 0;
        // That was between it and the host that it leaves.
        task.refused = None;
        task.spacing = Duration::ZERO;
        self.ready.enter(host);
        self.ready.leave(left);
        self.counts.retries += 1;
        self.actions
            .push_back(Action::TurnToMirror { task: id, failure });
        self.queue_up(now, id, End::Back);
    }
}
