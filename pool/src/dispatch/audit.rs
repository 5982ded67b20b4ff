//! The invariants that can be checked in one state of the core.
//!
//! 1. Offered tasks = ready + delayed + leased + placing + finished, prerequisites not counted.
//!    Every unfinished task is in exactly the place that it names.
//! 2. The books of a slot (credit, groups, leases) agree with the tasks that it holds.
//! 3. A slot holds tasks only while it has a worker that has been ready. The load of a group never
//!    exceeds the cap.
//! 4. A suspect runs alone in its worker.
//! 5. Attempts and deliveries stay within their limits.
//!
//! Other invariants hold over time: a message from an earlier epoch changes nothing, every task
//! finishes exactly once, a drain always ends, deaths without progress stay within the restart
//! intensity, and the same seed gives the same trace. The simulator in `tests/` checks these from
//! outside.

use std::collections::BTreeMap;

use protocol::{JobFailure, TaskId};

use super::Dispatcher;
use super::slot::{Slot, SlotState};
use super::task::{Place, Task};

impl<O, F: JobFailure> Dispatcher<O, F> {
    /// Checks the invariants of the present state. For tests: it looks at everything.
    ///
    /// # Errors
    ///
    /// Returns a description of the first violation.
    pub fn audit(&self) -> Result<(), String> {
        self.queue.audit()?;
        self.audit_counts()?;
        for (&id, task) in &self.tasks {
            self.audit_task(id, task)
                .map_err(|violation| format!("task {id}: {violation}"))?;
        }
        let mut loads = BTreeMap::new();
        self.slots.audit()?;
        for slot in self.slots.iter() {
            self.audit_slot(slot)
                .map_err(|violation| format!("slot {}: {violation}", slot.id()))?;
            for (&group, &held) in slot.groups() {
                *loads.entry(group).or_insert(0) += held.min(u32::from(self.limits.concurrency));
            }
        }
        let counted: BTreeMap<_, _> = self.queue.groups().loads().collect();
        if counted != loads {
            return Err(format!("group loads are {loads:?}, counted as {counted:?}"));
        }
        match self.limits.per_group {
            Some(cap) if loads.values().any(|&load| load > cap) => {
                Err(format!("a group exceeds its cap of {cap}: {loads:?}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn audit_counts(&self) -> Result<(), String> {
        let leased: usize = self.slots.iter().map(Slot::held).sum();
        let dying = self.slots.iter().filter(|slot| slot.is_dying());
        let watched = leased - dying.map(Slot::held).sum::<usize>();
        if watched != self.leases.len() {
            let counted = self.leases.len();
            return Err(format!("{counted} leases are watched, {watched} should be"));
        }
        let waiting = self.queue.ready() + self.queue.delayed() + self.suspects.len();
        let is_placing = |task: &&Task| matches!(task.place, Place::Placing { .. });
        let placing = self.tasks.values().filter(is_placing).count();
        if placing != self.placing {
            return Err(format!(
                "{placing} tasks are placed, counted as {}",
                self.placing
            ));
        }
        let waiting = waiting + placing;
        let places = waiting + leased;
        if places != self.tasks.len() {
            return Err(format!(
                "{} unfinished tasks are in {places} places",
                self.tasks.len()
            ));
        }
        let mut of_groups = BTreeMap::new();
        for task in self.tasks.values() {
            *of_groups.entry(task.group).or_insert(0) += 1;
        }
        let counted: BTreeMap<_, _> = self.queue.groups().unfinished().collect();
        if counted != of_groups {
            return Err(format!(
                "groups have {of_groups:?} tasks, counted as {counted:?}"
            ));
        }
        let known = self.counts.finished() + self.unfinished() as u64;
        if self.counts.offered != known {
            return Err(format!(
                "{} tasks were offered, {known} are known",
                self.counts.offered
            ));
        }
        Ok(())
    }

    fn audit_task(&self, id: TaskId, task: &Task) -> Result<(), String> {
        let in_queue = self.queue.is_in_place(id, task) == Some(true);
        let here = match task.place {
            Place::Ready => in_queue && !task.suspect,
            Place::Prerequisites => in_queue && task.prerequisite && !task.suspect,
            Place::Suspects => self.suspects.contains(id) && task.suspect,
            Place::Chunk(slot) => in_queue && task.chunk == Some(slot),
            Place::Delayed(_) => in_queue,
            Place::Placing { .. } => true,
            Place::Leased(lease) => {
                let slot = &self.slots[lease.worker.slot];
                let at = match lease.started {
                    Some(_) => slot.running().contains(&id),
                    None => slot.queue().contains(&id),
                };
                let watched = self.leases.has(lease.deadline, id);
                at && slot.worker() == lease.worker && watched != slot.is_dying()
            }
        };
        if !here {
            return Err(format!("is not where it says: {task:?}"));
        }
        let blamed = task.kills + task.unexplained;
        if task.attempts > self.limits.retries + 1
            || task.kills >= self.limits.max_deliveries
            || blamed >= self.limits.max_unexplained
        {
            return Err(format!("is beyond its limits: {task:?}"));
        }
        if blamed > task.broken {
            return Err(format!("was blamed more often than redelivered: {task:?}"));
        }
        Ok(())
    }

    fn audit_slot(&self, slot: &Slot) -> Result<(), String> {
        let held: Vec<_> = slot.all_held().collect();
        match slot.state() {
            SlotState::Vacant { .. } | SlotState::Retired | SlotState::Starting { .. }
                if !held.is_empty() =>
            {
                return Err(format!("holds {held:?} without a ready worker"));
            }
            SlotState::Vacant { .. }
            | SlotState::Retired
            | SlotState::Starting { .. }
            | SlotState::Ready
            | SlotState::Leaving { .. }
            | SlotState::Dying { .. } => {}
        }
        let has_chunk = self.queue.chunk(slot.id()).len() > 0;
        if !slot.is_in_use() && has_chunk && self.course.is_running() {
            return Err("has a chunk that nobody will work on".to_owned());
        }
        let tasks: Vec<_> = held.iter().filter_map(|id| self.tasks.get(id)).collect();
        let unread = slot.queue().iter().filter_map(|id| self.tasks.get(id));
        let bytes: u32 = unread.map(|task| task.size).sum();
        if bytes != slot.bytes() || (slot.queue().len() > 1 && bytes > self.limits.credit_bytes) {
            return Err(format!(
                "credit of {bytes} bytes, counted as {}",
                slot.bytes()
            ));
        }
        if held.len() > usize::from(self.limits.concurrency) + usize::from(self.limits.prefetch) {
            return Err(format!("holds {} tasks, more than its credit", held.len()));
        }
        let suspects = tasks.iter().filter(|task| task.suspect).count();
        if (suspects > 0 && held.len() > 1) || (suspects > 0) != slot.is_alone() {
            return Err(format!("{suspects} suspects share it with {held:?}"));
        }
        let mut groups = BTreeMap::new();
        for task in tasks {
            *groups.entry(task.group).or_insert(0) += 1;
        }
        if groups != *slot.groups() {
            return Err(format!(
                "holds of groups {groups:?}, counted as {:?}",
                slot.groups()
            ));
        }
        Ok(())
    }
}
