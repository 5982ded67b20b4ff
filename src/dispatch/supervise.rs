//! Workers: spawned, ready, ended, gone. Who is blamed for a death.

use std::time::{Duration, Instant};

use protocol::{TaskId, WorkerId};

use super::backoff::restart_delay;
use super::event::{Action, Ending, Exit, GiveUp, KillReason, Notice, Verdict};
use super::slot::{Slot, SlotState};
use super::task::Place;
use super::{Dispatcher, Policy};

impl Dispatcher {
    /// Spawns workers where one is wanted.
    pub(super) fn staff(&mut self, now: Instant) {
        let mut shared = self.wanted_workers();
        for index in 0..self.slots.len() {
            let SlotState::Vacant { not_before } = self.slots[index].state else {
                continue;
            };
            let own = self.wants_worker_for_chunk(index);
            if not_before > now || (shared == 0 && !own) {
                continue;
            }
            shared = shared.saturating_sub(1);
            let slot = &mut self.slots[index];
            slot.epoch += 1;
            slot.progress = false;
            slot.state = SlotState::Starting {
                deadline: now + self.limits.start_timeout,
            };
            let worker = slot.worker();
            self.counts.spawned += 1;
            self.actions.push_back(Action::Spawn { worker });
        }
    }

    /// How many more workers could be put to work at once on what anybody may do.
    pub(super) fn wanted_workers(&self) -> usize {
        if !self.is_running() {
            return 0;
        }
        let waiting = match self.limits.policy {
            Policy::Shared => self.ready.available() + self.suspects.len(),
            Policy::Chunked => self.suspects.len(),
        };
        let coming = self
            .slots
            .iter()
            .filter(|slot| match slot.state {
                SlotState::Starting { .. } => true,
                SlotState::Ready => slot.held() == 0,
                SlotState::Vacant { .. } | SlotState::Leaving { .. } | SlotState::Dying { .. } => {
                    false
                }
            })
            .count();
        waiting.saturating_sub(coming)
    }

    pub(super) fn on_ready(&mut self, worker: WorkerId) {
        match self.slot_of(worker).map(|slot| &slot.state) {
            Some(SlotState::Starting { .. }) => {
                self.slots[usize::from(worker.slot.0)].state = SlotState::Ready;
            }
            // It was being ended when it said so.
            Some(SlotState::Dying { .. }) => {}
            Some(SlotState::Vacant { .. } | SlotState::Ready | SlotState::Leaving { .. })
            | None => self.stale(worker),
        }
    }

    pub(super) fn on_violation(&mut self, worker: WorkerId) {
        if self.slot_of(worker).is_some() {
            self.kill(usize::from(worker.slot.0), KillReason::ProtocolViolation);
        } else {
            self.stale(worker);
        }
    }

    pub(super) fn on_lease_expired(&mut self, at: Instant, id: TaskId) {
        self.leases.remove(&(at, id));
        if let Some(task) = self.tasks.get(&id)
            && let Place::Leased(lease) = task.place
        {
            let index = usize::from(lease.worker.slot.0);
            self.kill(index, KillReason::LeaseExpired(id));
        }
    }

    /// Ends the worker of slot `index`, if there is one that is not being ended already.
    pub(super) fn kill(&mut self, index: usize, reason: KillReason) {
        let slot = &mut self.slots[index];
        match slot.state {
            SlotState::Vacant { .. } | SlotState::Dying { .. } => return,
            SlotState::Starting { .. } | SlotState::Ready | SlotState::Leaving { .. } => {}
        }
        slot.state = SlotState::Dying {
            reason: reason.clone(),
        };
        for id in slot.queue.iter().chain(&slot.running) {
            if let Some(Place::Leased(lease)) = self.tasks.get(id).map(|task| task.place) {
                self.leases.remove(&(lease.deadline, *id));
            }
        }
        let worker = slot.worker();
        self.actions.push_back(Action::Kill { worker, reason });
    }

    pub(super) fn kill_all(&mut self, reason: &KillReason) {
        for index in 0..self.slots.len() {
            self.kill(index, reason.clone());
        }
    }

    pub(super) fn on_exited(&mut self, now: Instant, worker: WorkerId, exit: Exit) {
        let Some(slot) = self.slot_of(worker) else {
            return self.stale(worker);
        };
        // Whether the coordinator wanted it gone for a reason that is none of its tasks' fault.
        let wanted = match &slot.state {
            SlotState::Leaving { .. } => slot.held() == 0,
            SlotState::Dying { reason } => match reason {
                KillReason::Overstayed | KillReason::GraceExpired | KillReason::RunEnds => true,
                KillReason::StartTimeout
                | KillReason::LeaseExpired(_)
                | KillReason::ProtocolViolation => false,
            },
            SlotState::Vacant { .. } | SlotState::Starting { .. } | SlotState::Ready => false,
        };
        let running: Vec<_> = slot.running.iter().copied().collect();
        let progress = slot.progress || !running.is_empty();
        let unstarted: Vec<_> = slot.queue.iter().copied().collect();
        let killed = match &slot.state {
            SlotState::Dying { reason } => Some(reason.clone()),
            SlotState::Vacant { .. }
            | SlotState::Starting { .. }
            | SlotState::Ready
            | SlotState::Leaving { .. } => None,
        };
        if !wanted {
            self.counts.deaths += 1;
            // Before any task is recorded as finished, so that it can be told what it was doing.
            self.actions.push_back(Action::Notify(Notice::WorkerDied {
                worker,
                exit: exit.clone(),
                killed,
                running: running.clone(),
                queued: unstarted.len(),
            }));
        }
        for id in unstarted.into_iter().rev() {
            self.unlease(id);
            self.make_ready(now, id);
        }
        for &id in running.iter().rev() {
            if wanted {
                self.unlease(id);
                self.make_ready(now, id);
            } else {
                self.blame(now, worker, id, running.len() == 1, &exit);
            }
        }
        let backoff = if wanted || progress {
            Duration::ZERO
        } else {
            self.died_without_progress(now, worker, &exit)
        };
        let slot = &mut self.slots[usize::from(worker.slot.0)];
        slot.reserved = false;
        slot.state = SlotState::Vacant {
            not_before: now + backoff,
        };
    }

    /// The worker died, and task `id` was running: it spends a delivery, becomes a suspect, and
    /// is quarantined if it was alone once too often.
    fn blame(&mut self, now: Instant, worker: WorkerId, id: TaskId, alone: bool, exit: &Exit) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        task.suspect = true;
        task.broken += 1;
        task.kills += u32::from(alone);
        let (deliveries, kills) = (task.broken, task.kills);
        if kills >= self.limits.max_deliveries {
            self.counts.quarantined += 1;
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

    /// Counts the death against the restart intensity; returns the pause of the slot.
    fn died_without_progress(&mut self, now: Instant, worker: WorkerId, exit: &Exit) -> Duration {
        let slot = &mut self.slots[usize::from(worker.slot.0)];
        slot.barren = slot.barren.saturating_add(1);
        let barren = slot.barren;
        if self.is_running() && !self.restarts.tolerates(now) {
            let reason = GiveUp::RestartIntensity {
                deaths: self.restarts.deaths(),
                period: self.restarts.period(),
                last: exit.clone(),
            };
            self.end(now, Ending::GivenUp(reason));
        }
        let delay = restart_delay(self.limits.restart_backoff, barren, &mut self.rng);
        self.actions
            .push_back(Action::Notify(Notice::BackingOff { worker, delay }));
        delay
    }

    /// The slot that `worker` is in, if it is there now.
    pub(super) fn slot_of(&self, worker: WorkerId) -> Option<&Slot> {
        self.slots
            .get(usize::from(worker.slot.0))
            .filter(|slot| slot.worker() == worker && !slot.is_vacant())
    }
}
