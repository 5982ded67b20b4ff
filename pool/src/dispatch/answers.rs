//! Handles events about tasks: offered, started, answered, released, renewed.

use std::time::{Duration, Instant};

use protocol::{JobFailure, Severity, TaskId, WorkerId};

use super::Dispatcher;
use super::event::{Action, Ending, GiveUp, GroupId, Notice, Verdict};
use super::pressure::Asked;
use super::queue::End;
use super::slot::SlotState;
use super::task::{Lease, Place, Task};

impl<O, F: JobFailure> Dispatcher<O, F> {
    pub(super) fn on_offered(&mut self, id: TaskId, mut task: Task) {
        task.place = self.queue.offer(id, &task);
        let earlier = self.tasks.insert(id, task);
        debug_assert!(earlier.is_none(), "task {id} was offered twice");
    }

    pub(super) fn on_refused(&mut self, now: Instant) {
        self.counts.offered += 1;
        self.counts.failed += 1;
        self.count_failures(now);
    }

    pub(super) fn on_started(&mut self, now: Instant, worker: WorkerId, id: TaskId, at: Instant) {
        let Some(lease) = self.lease_of(worker, id) else {
            return self.stale(worker);
        };
        // The worker may start a task that it was asked to give back: the two messages crossed.
        lease.revoked = false;
        if lease.started.is_none() {
            let at = at.clamp(lease.asked.at, now);
            lease.started = Some(at);
            let Some(task) = self.tasks.get_mut(&id) else {
                return;
            };
            task.begun.get_or_insert(at);
            self.slots[worker.slot].start(id, task, at);
        }
    }

    pub(super) fn on_finished(
        &mut self,
        now: Instant,
        worker: WorkerId,
        id: TaskId,
        output: Box<O>,
    ) {
        let Some((group, asked)) = self.asked_of(worker, id) else {
            return self.stale(worker);
        };
        let places = self.places();
        self.queue.groups_mut().serve(now, group, asked, places);
        self.slots[worker.slot].served(group);
        self.answered(now, worker, id, true, true);
        self.hand_to_placement(now, worker, id);
        self.actions.push_back(Action::Place {
            worker,
            task: id,
            output,
        });
    }

    /// Ends the lease on `id`, which `worker` has answered. What remains is done by the
    /// coordinator.
    fn hand_to_placement(&mut self, now: Instant, worker: WorkerId, id: TaskId) {
        let started = self.lease_of(worker, id).and_then(|lease| lease.started);
        self.unlease(id);
        if let Some(task) = self.tasks.get_mut(&id) {
            let queued = started
                .unwrap_or(now)
                .saturating_duration_since(task.ready_at);
            task.place = Place::Placing { worker, queued };
        }
        self.placing += 1;
    }

    pub(super) fn on_placed(
        &mut self,
        now: Instant,
        worker: WorkerId,
        id: TaskId,
        result: Result<Box<O>, Box<F>>,
    ) {
        match self.tasks.get(&id).map(|task| task.place) {
            Some(Place::Placing { worker: by, .. }) if by == worker => {}
            Some(_) | None => return self.stale(worker),
        }
        match result {
            Ok(output) => {
                self.counts.done += self.weight(id);
                self.finish(worker, id, Verdict::Done(output));
            }
            Err(failure) => {
                let delay = match failure.severity() {
                    Severity::Transient { retry_after } => {
                        self.delay_of_retry(now, id, retry_after)
                    }
                    Severity::Permanent | Severity::Unprepared | Severity::Fatal => None,
                };
                self.failed(now, worker, id, failure, delay);
            }
        }
    }

    pub(super) fn on_nacked(
        &mut self,
        now: Instant,
        worker: WorkerId,
        id: TaskId,
        failure: Box<F>,
    ) {
        if self.lease_of(worker, id).is_none() {
            return self.stale(worker);
        }
        if failure.severity() == Severity::Unprepared {
            // No attempt was made: the task was handed out without something that it needs.
            self.answered(now, worker, id, true, false);
            self.unlease(id);
            return self.make_ready(now, id);
        }
        let pushback = self.judge(now, id, &failure);
        self.answered(now, worker, id, !failure.is_silence(), !pushback.excused);
        if failure.severity() == Severity::Fatal {
            self.hand_to_placement(now, worker, id);
            return self.actions.push_back(Action::Prove {
                worker,
                task: id,
                failure,
            });
        }
        let retry_after = failure.severity().retry_after();
        let delay = match failure.severity() {
            Severity::Transient { .. } if pushback.excused => {
                let wanted = retry_after.unwrap_or_default();
                Some(wanted.min(self.limits.retry_delay_max))
            }
            Severity::Transient { .. } => self.delay_of_retry(now, id, retry_after),
            Severity::Permanent | Severity::Unprepared | Severity::Fatal => None,
        };
        if delay.is_some() && !pushback.pause.is_zero() {
            self.rest_group(now, id, pushback.pause);
        }
        if delay.is_none() && self.may_turn_to_alternative(id, &failure) {
            return self.turn_to_alternative(now, id, failure);
        }
        self.failed(now, worker, id, failure, delay);
    }

    /// Handles a failed attempt at `id`, which is leased or being placed. The task is retried after
    /// `delay`, if there is one.
    fn failed(
        &mut self,
        now: Instant,
        worker: WorkerId,
        id: TaskId,
        failure: Box<F>,
        delay: Option<Duration>,
    ) {
        if let Some(delay) = delay {
            return self.retry(now, id, delay, failure);
        }
        if failure.severity() == Severity::Fatal {
            self.unlease(id);
            self.make_ready(now, id);
            return self.end(now, Ending::GivenUp(GiveUp::Fatal(failure)));
        }
        self.counts.failed += self.weight(id);
        self.finish(worker, id, Verdict::Failed(failure));
        self.count_failures(now);
    }

    /// Retries `id`, which failed, after `delay`. If that is zero, the task goes to the end of its
    /// queue.
    fn retry(&mut self, now: Instant, id: TaskId, delay: Duration, failure: Box<F>) {
        self.counts.retries += 1;
        self.unlease(id);
        if delay.is_zero() {
            self.queue_up(now, id, End::Back);
        } else {
            let place = self.queue.delay(id, now + delay);
            self.tasks.entry(id).and_modify(|task| task.place = place);
        }
        let attempts = self.tasks.get(&id).map_or(0, Task::all_attempts);
        self.actions.push_back(Action::Notify(Notice::Retrying {
            task: id,
            attempts,
            delay,
            failure,
        }));
    }

    pub(super) fn on_released(&mut self, now: Instant, worker: WorkerId, id: TaskId) {
        match self.lease_of(worker, id) {
            Some(lease) if lease.started.is_none() => {
                self.slots[worker.slot].refund();
                self.unlease(id);
                self.make_ready(now, id);
            }
            Some(_) | None => self.stale(worker),
        }
    }

    pub(super) fn on_heartbeat(&mut self, now: Instant, worker: WorkerId, running: &[TaskId]) {
        let Some(slot) = self.slots.of(worker) else {
            return self.stale(worker);
        };
        if !matches!(slot.state(), SlotState::Ready | SlotState::Leaving { .. }) {
            return;
        }
        // A worker that runs nothing has no reason to keep tasks waiting: it is alive, but does no
        // work.
        let waits = slot.running().is_empty();
        for id in slot.all_held() {
            let Some(lease) = self
                .tasks
                .get_mut(&id)
                .and_then(|task| task.lease_of(worker))
            else {
                continue;
            };
            lease.overdue = lease.started.is_some() && !running.contains(&id);
            if !lease.overdue && (lease.started.is_some() || !waits) {
                lease.deadline = self.leases.renew(now, lease.deadline, id);
            }
        }
    }

    /// Counts and reports a message that changes nothing.
    pub(super) fn stale(&mut self, worker: WorkerId) {
        self.counts.stale += 1;
        self.actions
            .push_back(Action::Notify(Notice::Stale { worker }));
    }

    /// Returns the lease on `id`, if `worker` holds it.
    fn lease_of(&mut self, worker: WorkerId, id: TaskId) -> Option<&mut Lease> {
        self.tasks.get_mut(&id)?.lease_of(worker)
    }

    /// Returns the group of `id`, and when and at what load it was assigned to `worker`, if
    /// `worker` holds it.
    fn asked_of(&mut self, worker: WorkerId, id: TaskId) -> Option<(GroupId, Asked)> {
        let task = self.tasks.get_mut(&id)?;
        let asked = task.lease_of(worker)?.asked;
        Some((task.group, asked))
    }

    /// Notes an answer. It spends an attempt if it `counts`. It shows that the worker works, and,
    /// if `heard`, that the group does.
    fn answered(&mut self, now: Instant, worker: WorkerId, id: TaskId, heard: bool, counts: bool) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.attempts += u32::from(counts);
            self.queue.groups_mut().hear(task.group, heard);
        }
        self.slots[worker.slot].answered(now);
    }

    /// Ends the lease on a task, and the task itself.
    pub(super) fn finish(&mut self, worker: WorkerId, id: TaskId, verdict: Verdict<O, F>) {
        self.unlease(id);
        let Some(task) = self.tasks.remove(&id) else {
            return;
        };
        self.queue.groups_mut().leave(task.group);
        let queued = match task.place {
            Place::Leased(lease) => lease
                .started
                .map(|at| at.saturating_duration_since(task.ready_at))
                .unwrap_or_default(),
            Place::Placing { queued, .. } => queued,
            Place::Ready
            | Place::Prerequisites
            | Place::Suspects
            | Place::Chunk(_)
            | Place::Delayed(_) => return,
        };
        let answered = match verdict {
            Verdict::Done(_) | Verdict::Failed(_) => 1,
            Verdict::Quarantined(_) => 0,
        };
        self.actions.push_back(Action::Record {
            task: id,
            worker,
            verdict,
            attempts: task.all_attempts(),
            deliveries: task.broken + answered,
            queued,
        });
    }

    /// Assigns `id` to the worker of slot `index`.
    pub(super) fn lease(&mut self, now: Instant, index: usize, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let slot = &mut self.slots[index];
        self.queue.hand_out(now, task.group, task.spacing);
        if slot.hold(id, task) <= u32::from(self.limits.concurrency) {
            self.queue.groups_mut().add_load(task.group);
        }
        task.place = Place::Leased(Lease {
            worker: slot.worker(),
            deadline: self.leases.grant(now, id),
            asked: self.queue.groups_mut().ask(now, task.group),
            started: None,
            revoked: false,
            overdue: false,
        });
    }

    /// Ends the lease or the placement of `id`. The caller must then set the task's place.
    pub(super) fn unlease(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let lease = match task.place {
            Place::Leased(lease) => lease,
            Place::Placing { .. } => {
                self.placing -= 1;
                return;
            }
            Place::Ready
            | Place::Prerequisites
            | Place::Suspects
            | Place::Chunk(_)
            | Place::Delayed(_) => return,
        };
        self.leases.forget(lease.deadline, id);
        self.suspects.returned(id);
        let of_group = self.slots[lease.worker.slot].drop(id, task);
        if of_group < u32::from(self.limits.concurrency) {
            self.queue.groups_mut().remove_load(task.group);
        }
    }

    /// Puts `id`, which is in no place, at the front of its queue.
    pub(super) fn make_ready(&mut self, now: Instant, id: TaskId) {
        self.queue_up(now, id, End::Front);
    }

    /// Puts `id`, which is in no place, at an end of its queue. A suspect always goes to the back.
    pub(super) fn queue_up(&mut self, now: Instant, id: TaskId, end: End) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        task.ready_at = now;
        if task.suspect {
            task.place = Place::Suspects;
            self.suspects.push(id, task.group, task.kills > 0);
        } else {
            task.chunk = task.chunk.map(|chunk| self.slots.heir_of(chunk));
            task.place = self.queue.put(id, task, end);
        }
    }

    /// Returns what `id` adds to the counters: nothing for a prerequisite, which is not part of the
    /// input.
    pub(super) fn weight(&self, id: TaskId) -> u64 {
        u64::from(self.tasks.get(&id).is_some_and(|task| !task.prerequisite))
    }
}
