//! The `chunked` policy: the input is split ahead, and each slot works on its own chunk.

use std::time::Instant;

use protocol::{SlotId, TaskId};

use super::task::Place;
use super::{Dispatcher, Policy};

/// How far into its chunk a slot looks for a task whose host has room.
const LOOK_AHEAD: usize = 64;

impl Dispatcher {
    pub(super) fn on_input_ended(&mut self) {
        self.input_open = false;
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
        while let Some(host) = self.ready.any_host() {
            self.ready.pop(host);
        }
        let slots = self.slots.len();
        let (each, rest) = (tasks.len() / slots, tasks.len() % slots);
        let mut tasks = tasks.into_iter();
        for (index, slot) in self.slots.iter_mut().enumerate() {
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

    /// Hands each slot what it can hold of its own chunk.
    pub(super) fn assign_chunks(&mut self, now: Instant) {
        let concurrency = usize::from(self.limits.concurrency);
        let prefetch = usize::from(self.limits.prefetch);
        for index in 0..self.slots.len() {
            // Refilled at half, so that one message carries several tasks.
            if !self.slots[index].is_open()
                || self.slots[index].held() >= concurrency.max(1) + prefetch / 2
            {
                continue;
            }
            let mut batch = Vec::new();
            while self.slots[index].held() < concurrency + prefetch
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
                let held = slot.hosts.get(&task.host).copied().unwrap_or(0);
                held >= concurrency || self.ready.has_room(task.host)
            })
        })?;
        let task = slot.chunk[position];
        if !self.has_credit(index, task) {
            return None;
        }
        self.slots[index].chunk.remove(position)
    }

    /// Whether slot `index` has work of its own that waits for a worker.
    pub(super) fn wants_worker_for_chunk(&self, index: usize) -> bool {
        self.limits.policy == Policy::Chunked
            && !self.input_open
            && !self.slots[index].chunk.is_empty()
    }

    /// Tasks that wait in chunks.
    pub(super) fn in_chunks(&self) -> usize {
        self.slots.iter().map(|slot| slot.chunk.len()).sum()
    }

    /// What `place` of a chunk says is true.
    pub(super) fn is_in_chunk(&self, chunk: SlotId, id: TaskId) -> bool {
        self.slots[usize::from(chunk.0)].chunk.contains(&id)
    }
}
