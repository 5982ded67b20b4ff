//! Starts, terminates and replaces workers. `blame.rs` decides who is to blame for a death.

use std::collections::BTreeSet;
use std::time::Instant;

use protocol::{JobFailure, TaskId, WorkerId};

use super::Dispatcher;
use super::backoff::restart_delay;
use super::blame::Cause;
use super::event::{Action, Ending, Exit, GiveUp, KillReason, Notice, Verdict};
use super::slot::{Slot, SlotState};
use super::task::Place;

impl<O, F: JobFailure> Dispatcher<O, F> {
    /// Spawns workers where they are wanted.
    pub(super) fn staff(&mut self, now: Instant) {
        let coming = self.slots.whole().coming;
        let mut shared = self.wanted_workers(coming);
        let vacant: Vec<_> = self.slots.whole().vacant.iter().copied().collect();
        for index in vacant {
            let may_come = self.slots[index].not_before().is_some_and(|at| at <= now);
            if !may_come || (shared == 0 && !self.wants_worker_for_chunk(index)) {
                continue;
            }
            shared = shared.saturating_sub(1);
            let limits = &self.limits;
            let deadline = now + limits.start_timeout;
            let worker = self.slots[index].spawn(deadline, limits.worker_tasks, limits.workers);
            self.counts.spawned += 1;
            self.actions.push_back(Action::Spawn { worker });
        }
    }

    /// Returns how many more workers could start at once on tasks that any worker may run, in
    /// addition to those that are `coming` or have nothing to do.
    pub(super) fn wanted_workers(&self, coming: usize) -> usize {
        if !self.course.is_running() {
            return 0;
        }
        let waiting = self.queue.for_anybody() + self.suspects.len();
        waiting.saturating_sub(coming)
    }

    pub(super) fn on_ready(&mut self, worker: WorkerId) {
        match self.slots.of(worker).map(Slot::state) {
            Some(SlotState::Starting { .. }) => {
                self.slots[worker.slot].begin();
            }
            // The worker was asked to exit before the core received this.
            Some(SlotState::Dying { .. }) => {}
            Some(
                SlotState::Vacant { .. }
                | SlotState::Retired
                | SlotState::Ready
                | SlotState::Leaving { .. },
            )
            | None => self.stale(worker),
        }
    }

    pub(super) fn on_violation(&mut self, worker: WorkerId) {
        if self.slots.of(worker).is_some() {
            self.kill(usize::from(worker.slot.0), KillReason::ProtocolViolation);
        } else {
            self.stale(worker);
        }
    }

    /// Terminates the workers whose leases have expired.
    pub(super) fn on_listened(&mut self, now: Instant) {
        for id in self.leases.listened() {
            if let Some(task) = self.tasks.get(&id)
                && let Place::Leased(lease) = task.place
            {
                let reason = match lease.overdue {
                    true => KillReason::LeaseExpired(id),
                    false => KillReason::Silent,
                };
                self.terminate(now, usize::from(lease.worker.slot.0), reason);
            }
        }
    }

    /// Asks the worker of slot `index` to exit, unless there is none, or it was asked or killed
    /// before.
    pub(super) fn terminate(&mut self, now: Instant, index: usize, reason: KillReason) {
        if self.slots[index].is_vacant() || self.slots[index].is_dying() {
            return;
        }
        let kill_at = Some(now + self.limits.kill_after);
        self.condemn(index, reason.clone(), kill_at);
        let worker = self.slots[index].worker();
        self.actions.push_back(Action::Terminate { worker, reason });
    }

    /// Kills the worker of slot `index`, unless there is none, or it was killed before.
    pub(super) fn kill(&mut self, index: usize, reason: KillReason) {
        let slot = &self.slots[index];
        if slot.is_dying() {
            self.hasten(index);
        } else if !slot.is_vacant() {
            let worker = slot.worker();
            self.condemn(index, reason.clone(), None);
            self.actions.push_back(Action::Kill { worker, reason });
        }
    }

    /// Kills the worker of slot `index` if it was asked to exit and not killed yet.
    pub(super) fn hasten(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if let Some(reason) = slot.hurry() {
            let worker = slot.worker();
            self.actions.push_back(Action::Kill { worker, reason });
        }
    }

    /// Gives up the worker of slot `index`; its leases no longer expire.
    fn condemn(&mut self, index: usize, reason: KillReason, kill_at: Option<Instant>) {
        let slot = &mut self.slots[index];
        slot.condemn(reason, kill_at);
        for id in slot.all_held() {
            if let Some(Place::Leased(lease)) = self.tasks.get(&id).map(|task| task.place) {
                self.leases.forget(lease.deadline, id);
            }
        }
    }

    /// Takes back the tasks of a worker that is gone. Those that it did not run return to their
    /// queues: it had not started them, or had ended them without a report. Only its page shows
    /// what it ran, whatever it reported.
    pub(super) fn on_exited(
        &mut self,
        now: Instant,
        worker: WorkerId,
        exit: Exit,
        ran: Option<Vec<TaskId>>,
    ) {
        let Some(slot) = self.slots.of(worker) else {
            return self.stale(worker);
        };
        let cause = Cause::of(slot.told(), &exit);
        // Workers start tasks in the order of assignment.
        let ran = ran.map(BTreeSet::from_iter);
        let ran = ran.as_ref().unwrap_or(slot.running());
        let (running, others): (Vec<_>, Vec<_>) = slot.all_held().partition(|id| ran.contains(id));
        let progress = slot.has_progress() || !running.is_empty();
        let killed = match slot.state() {
            SlotState::Dying { reason, .. } => Some(reason.clone()),
            SlotState::Vacant { .. }
            | SlotState::Retired
            | SlotState::Starting { .. }
            | SlotState::Ready
            | SlotState::Leaving { .. } => None,
        };
        if cause != Cause::Wanted {
            self.counts.deaths += 1;
            // This comes before any task is recorded as finished, so that the notice can still say
            // what the worker did.
            self.actions.push_back(Action::Notify(Notice::WorkerDied {
                worker,
                exit: exit.clone(),
                killed,
                running: running.clone(),
                queued: others.len(),
            }));
        }
        for id in &running {
            if let Some(task) = self.tasks.get_mut(id) {
                task.begun.get_or_insert(now);
            }
        }
        for id in others.into_iter().rev() {
            self.unlease(id);
            self.make_ready(now, id);
        }
        for &id in running.iter().rev() {
            if cause == Cause::Wanted {
                self.unlease(id);
                self.make_ready(now, id);
            } else {
                self.blame(id, cause, running.len() == 1);
                self.redeliver(now, worker, id, &exit);
            }
        }
        self.slots[worker.slot].vacate(now);
        if cause != Cause::Wanted && !progress {
            self.died_without_progress(now, worker, &exit);
        }
    }

    /// Charges task `id`, which ran when its worker died, `alone` or with others.
    fn blame(&mut self, id: TaskId, cause: Cause, alone: bool) {
        if let Some(task) = self.tasks.get_mut(&id) {
            let charge = cause.charge(id, alone);
            task.suspect |= charge.suspect;
            task.kills += u32::from(charge.kill);
            task.unexplained += u32::from(charge.unexplained);
        }
    }

    /// Spends a delivery of task `id`, and returns the task to its queue, or quarantines it after
    /// the last tolerated death.
    fn redeliver(&mut self, now: Instant, worker: WorkerId, id: TaskId, exit: &Exit) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        task.broken += 1;
        let (deliveries, kills) = (task.broken, task.kills);
        if kills >= self.limits.max_deliveries
            || kills + task.unexplained >= self.limits.max_unexplained
        {
            self.counts.quarantined += self.weight(id);
            self.finish(worker, id, Verdict::Quarantined(exit.clone()));
            return;
        }
        self.counts.redeliveries += 1;
        self.unlease(id);
        self.make_ready(now, id);
        self.actions.push_back(Action::Notify(Notice::Redelivering {
            task: id,
            deliveries,
            kills,
        }));
    }

    /// Counts a death without progress against the restart intensity and the slot, which is vacant
    /// now. The slot stays empty for a while, or permanently.
    fn died_without_progress(&mut self, now: Instant, worker: WorkerId, exit: &Exit) {
        let in_a_row = self.slots[worker.slot].died_without_progress();
        if self.course.is_running() && !self.restarts.tolerates(now) {
            let reason = GiveUp::RestartIntensity {
                deaths: self.restarts.deaths(),
                period: self.restarts.period(),
                last: exit.clone(),
            };
            self.end(now, Ending::GivenUp(reason));
        }
        if in_a_row >= self.limits.slot_deaths {
            return self.retire(now, worker, in_a_row, exit);
        }
        let delay = restart_delay(self.limits.restart_backoff, in_a_row, &mut self.rng);
        self.slots[worker.slot].vacate(now + delay);
        self.actions
            .push_back(Action::Notify(Notice::BackingOff { worker, delay }));
    }

    fn retire(&mut self, now: Instant, worker: WorkerId, deaths: u32, last: &Exit) {
        self.slots[worker.slot].retire();
        self.actions
            .push_back(Action::Notify(Notice::Retired { worker, deaths }));
        self.bequeath(usize::from(worker.slot.0));
        if !self.slots.iter().any(Slot::is_in_use) {
            let last = last.clone();
            self.end(now, Ending::GivenUp(GiveUp::AllRetired { last }));
        }
    }
}
