//! A new number of slots during a run, workers that have used up their quota of tasks, and what a
//! pause of the coordinator does to deadlines.

use std::time::{Duration, Instant};

use protocol::{JobFailure, SlotId};

use super::Dispatcher;
use super::event::{Action, KillReason, Notice};
use super::slot::{Slot, SlotState};
use super::task::Place;

impl<O, F: JobFailure> Dispatcher<O, F> {
    /// Gives the pool `workers` slots. Slots beyond that get nothing more, and their workers leave
    /// when they are empty. Retired slots get another chance: the user has asked for workers.
    pub(super) fn on_resized(&mut self, now: Instant, workers: u16) {
        let workers = workers.max(1);
        while self.slots.len() < usize::from(workers) {
            let id = SlotId(u16::try_from(self.slots.len()).unwrap_or(u16::MAX));
            self.slots.push(Slot::new(id, now));
        }
        self.limits.workers = workers;
        for slot in self.slots.iter_mut() {
            slot.resize(now, slot.id().0 >= workers);
        }
        for index in usize::from(workers)..self.slots.len() {
            self.bequeath(index);
            match self.slots[index].state() {
                SlotState::Ready => {
                    let unstarted = self.slots[index].queue().iter().copied().collect();
                    self.revoke(index, unstarted);
                }
                SlotState::Starting { .. } => self.terminate(now, index, KillReason::Unwanted),
                SlotState::Vacant { .. }
                | SlotState::Retired
                | SlotState::Leaving { .. }
                | SlotState::Dying { .. } => {}
            }
        }
    }

    /// Dismisses workers that are empty and get no more tasks, because their slot was closed or
    /// because they have used up their quota.
    pub(super) fn retire_workers(&mut self, now: Instant) {
        let spent: Vec<_> = self.slots.whole().spent.iter().copied().collect();
        for index in spent {
            let slot = &mut self.slots[index];
            let worker = slot.dismiss(now + self.limits.grace);
            if !slot.is_closed() {
                self.counts.recycled += 1;
                self.actions
                    .push_back(Action::Notify(Notice::Recycling { worker }));
            }
            self.actions.push_back(Action::Dismiss { worker });
        }
    }

    /// Extends every deadline for workers by `pause`: the core could not receive their messages.
    pub(super) fn on_resumed(&mut self, pause: Duration) {
        self.leases.extend(pause);
        for task in self.tasks.values_mut() {
            if let Place::Leased(lease) = &mut task.place {
                lease.deadline += pause;
            }
        }
        for slot in self.slots.iter_mut() {
            slot.extend(pause);
        }
        self.course.extend(pause);
    }
}
