//! The `chunked` policy: the input is split in advance, and each slot works on its own chunk.

use std::time::Instant;

use protocol::{JobFailure, TaskId};

use super::assign::fits;
use super::slot::Slot;
use super::task::Place;
use super::{Dispatcher, Policy};

impl<O, F: JobFailure> Dispatcher<O, F> {
    pub(super) fn on_input_ended(&mut self) {
        self.course.end_input();
        if self.limits.policy == Policy::Chunked {
            self.split();
        }
    }

    /// Splits the offered tasks into chunks.
    fn split(&mut self) {
        let ready = self
            .tasks
            .iter()
            .filter(|(_, task)| task.place == Place::Ready);
        let ready: Vec<_> = ready.map(|(&id, _)| id).collect();
        let slots = self.slots.iter().filter(|slot| slot.is_in_use());
        let slots: Vec<_> = slots.map(Slot::id).collect();
        for (id, slot) in self.queue.split(&ready, &slots) {
            if let Some(task) = self.tasks.get_mut(&id) {
                task.chunk = Some(slot);
                task.place = Place::Chunk(slot);
            }
        }
    }

    /// Gives the rest of the chunk of slot `index`, which was given up, to its heir.
    pub(super) fn bequeath(&mut self, index: usize) {
        let slot = self.slots[index].id();
        let heir = self.slots.heir_of(slot);
        for id in self.queue.bequeath(slot, heir) {
            if let Some(task) = self.tasks.get_mut(&id) {
                task.chunk = Some(heir);
                task.place = Place::Chunk(heir);
            }
        }
    }

    /// Assigns to each slot what it can hold of its own chunk.
    pub(super) fn assign_chunks(&mut self, now: Instant) {
        let concurrency = usize::from(self.limits.concurrency);
        for index in 0..self.slots.len() {
            let prefetch = self.prefetch_of(index);
            // Refilled at half, so that one message carries several tasks.
            if !self.slots[index].is_open()
                || self.slots[index].held() >= concurrency.max(1) + prefetch / 2
            {
                continue;
            }
            let mut batch = Vec::new();
            while self.queue.has_turn(now)
                && self.slots[index].is_open()
                && self.slots[index].held() < concurrency + prefetch
                && let Some(task) = self.take_of_chunk(index)
            {
                self.lease(now, index, task);
                batch.push(task);
            }
            self.send(index, batch);
        }
    }

    fn take_of_chunk(&mut self, index: usize) -> Option<TaskId> {
        let concurrency = u32::from(self.limits.concurrency);
        let (slot, tasks) = (&self.slots[index], &self.tasks);
        let fits = fits(slot, tasks, self.limits.credit_bytes);
        self.queue.take_of_chunk(slot.id(), |groups, id| {
            tasks.get(&id).is_some_and(|task| {
                let may_run = groups.has_room(task.group)
                    || (slot.held_of(task.group) >= concurrency
                        && groups.may_hold_ahead(task.group));
                may_run && fits(id)
            })
        })
    }

    /// Returns whether the chunk of slot `index` waits for a worker.
    pub(super) fn wants_worker_for_chunk(&self, index: usize) -> bool {
        let slot = &self.slots[index];
        slot.is_in_use() && self.queue.chunk(slot.id()).len() > 0
    }
}
