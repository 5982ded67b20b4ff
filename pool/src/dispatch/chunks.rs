//! The `chunked` policy: the input is split ahead, and each slot works on its own chunk.

use std::time::Instant;

use protocol::{JobFailure, SlotId, TaskId};

use super::task::Place;
use super::{Dispatcher, Policy};

/// How far into its chunk a slot looks for a task whose group has room.
const LOOK_AHEAD: usize = 64;

impl<O, F: JobFailure> Dispatcher<O, F> {
    pub(super) fn on_input_ended(&mut self) {
        self.course.end_input();
        if self.limits.policy == Policy::Chunked {
            self.split();
        }
    }

    /// Splits what was offered into chunks of one size, or of two that differ by one.
    fn split(&mut self) {
        let tasks: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.place == Place::Ready)
            .map(|(&id, _)| id)
            .collect();
        while let Some(group) = self.ready.any_group() {
            self.ready.pop(group);
        }
        let slots = self.slots.iter().filter(|slot| slot.is_in_use()).count();
        let Some(each) = tasks.len().checked_div(slots) else {
            // Every slot is retired, and the run ends.
            return self.leave_in_queue(&tasks);
        };
        let rest = tasks.len() % slots;
        let mut tasks = tasks.into_iter();
        let in_use = self.slots.iter_mut().filter(|slot| slot.is_in_use());
        for (index, slot) in in_use.enumerate() {
            let size = each + usize::from(index < rest);
            for id in tasks.by_ref().take(size) {
                if let Some(task) = self.tasks.get_mut(&id) {
                    task.chunk = Some(slot.id);
                    task.place = Place::Chunk(slot.id);
                    slot.chunk.push_back(id);
                }
            }
        }
    }

    fn leave_in_queue(&mut self, tasks: &[TaskId]) {
        for &id in tasks {
            self.ready.push_back(self.tasks[&id].group, id);
        }
    }

    /// Whose chunk it is now that was slot `chunk`'s: its own, or that of the first slot in use if
    /// that one has been given up. If no slot is in use, the run ends, and it does not matter.
    pub(super) fn heir_of(&self, chunk: SlotId) -> SlotId {
        if self.slots[usize::from(chunk.0)].is_in_use() {
            return chunk;
        }
        let heir = self.slots.iter().find(|slot| slot.is_in_use());
        heir.map_or(chunk, |slot| slot.id)
    }

    /// Slot `index` was given up: what is left of its chunk goes to its heir.
    pub(super) fn bequeath(&mut self, index: usize) {
        let heir = self.heir_of(self.slots[index].id);
        let chunk = std::mem::take(&mut self.slots[index].chunk);
        for id in &chunk {
            if let Some(task) = self.tasks.get_mut(id) {
                task.chunk = Some(heir);
                task.place = Place::Chunk(heir);
            }
        }
        self.slots[usize::from(heir.0)].chunk.extend(chunk);
    }

    /// Hands each slot what it can hold of its own chunk.
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
            while now >= self.next_turn
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
        let slot = &self.slots[index];
        let position = slot.chunk.iter().take(LOOK_AHEAD).position(|id| {
            self.tasks.get(id).is_some_and(|task| {
                let held = slot.groups.get(&task.group).copied().unwrap_or(0);
                let may_run = self.ready.has_room(task.group)
                    || (held >= concurrency && self.ready.may_hold_ahead(task.group));
                // One that is too large now must not hide others until something else changes.
                may_run && self.has_credit(index, *id)
            })
        })?;
        self.slots[index].chunk.remove(position)
    }

    /// Whether slot `index` has work of its own that waits for a worker.
    pub(super) fn wants_worker_for_chunk(&self, index: usize) -> bool {
        self.limits.policy == Policy::Chunked
            && !self.course.is_input_open()
            && self.slots[index].is_in_use()
            && !self.slots[index].chunk.is_empty()
    }

    /// What `place` of a chunk says is true.
    pub(super) fn is_in_chunk(&self, chunk: SlotId, id: TaskId) -> bool {
        self.slots[usize::from(chunk.0)].chunk.contains(&id)
    }
}
