//! Another number of slots while the run goes on, workers that have had their share of tasks, and
//! what a pause of the coordinator means for everybody's deadlines.

use std::time::{Duration, Instant};

use protocol::{JobFailure, SlotId};

use super::Dispatcher;
use super::event::{Action, KillReason, Notice};
use super::slot::{Slot, SlotState};
use super::task::Place;

impl<O, F: JobFailure> Dispatcher<O, F> {
    /// Slots beyond `workers` get nothing any more, and their workers leave when they are empty.
    /// Those that were retired get another chance: who asks for workers wants them.
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

    /// Sends workers away that are empty and get nothing any more, because their slot was given
    /// up or because they have had their share.
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

    /// Nobody is to blame for what could not be heard: every deadline for others moves on.
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
