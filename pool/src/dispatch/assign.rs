//! Assignment: which worker gets which task, and which worker gives tasks back.

use std::collections::BTreeMap;
use std::time::Instant;

use protocol::{JobFailure, TaskId};

use super::event::{Action, GroupId};
use super::slot::Slot;
use super::task::{Place, Task};
use super::{Dispatcher, Policy};

/// Ready tasks per worker that justify one task held ahead. This is guided self-scheduling: near
/// the end, no worker holds a task that another could run now.
const READY_PER_PREFETCH: usize = 4;

impl<O, F: JobFailure> Dispatcher<O, F> {
    /// Hands out what can be handed out: suspects to empty workers, a task to each free place, and
    /// then, if many tasks wait, tasks ahead, so that no worker waits for a message.
    ///
    /// A worker gets tasks ahead only of a group of which it holds as many tasks as it can run at
    /// once. So no task waits behind a task of another group, which may never end.
    pub(super) fn assign(&mut self, now: Instant) {
        // If placement is slower than the workers, more answers would only pile up.
        if !self.queue.has_turn(now) || self.placing >= self.limits.placing {
            return;
        }
        self.assign_suspects(now);
        self.assign_others(now);
        // If nothing else waits, any empty worker may take a suspect, guilty or not.
        if !self.suspects.is_empty() {
            self.assign_suspects(now);
        }
    }

    fn assign_others(&mut self, now: Instant) {
        if self.queue.ready() == 0 {
            return;
        }
        let mut batches: BTreeMap<usize, Vec<TaskId>> = BTreeMap::new();
        while self.queue.has_turn(now)
            && let Some(index) = self.slots.whole().least_loaded()
        {
            let Some(task) = self.take_in_turn(index) else {
                break;
            };
            let index = self.slot_with_connection(index, task);
            self.lease(now, index, task);
            batches.entry(index).or_default().push(task);
        }
        if self.limits.policy == Policy::Shared {
            self.fill_up(now, &mut batches);
        }
        for (index, tasks) in batches {
            self.send(index, tasks);
        }
        if self.limits.policy == Policy::Chunked {
            self.assign_chunks(now);
        }
    }

    /// Adds tasks held ahead to the same batches.
    fn fill_up(&mut self, now: Instant, batches: &mut BTreeMap<usize, Vec<TaskId>>) {
        let concurrency = usize::from(self.limits.concurrency);
        let share =
            self.queue.groups().len() / (READY_PER_PREFETCH * self.slots.whole().in_use.max(1));
        if share == 0 {
            return;
        }
        let short: Vec<usize> = match self.queue.groups().least_load() {
            // A group without load comes before all groups of which workers hold tasks. These get
            // more tasks only together with a turn.
            Some(0) => batches.keys().copied().collect(),
            Some(_) | None => self.slots.whole().short.iter().copied().collect(),
        };
        for index in short {
            let ahead = share.min(self.prefetch_of(index));
            // Refilled at half, so that one message carries several tasks.
            if ahead > 0
                && self.slots[index].is_open()
                && self.slots[index].held() <= concurrency + ahead / 2
            {
                // A prerequisite is not a turn of its group, but takes one of its places.
                let is_prerequisite = |id| self.tasks.get(id).is_some_and(|task| task.prerequisite);
                let batch = batches.get(&index);
                let has_turn = batch.is_some_and(|batch| !batch.iter().any(is_prerequisite));
                while self.slots[index].is_open()
                    && self.slots[index].held() < concurrency + ahead
                    && let Some(task) = self.take_ahead(index, has_turn)
                {
                    self.lease(now, index, task);
                    batches.entry(index).or_default().push(task);
                }
            }
        }
    }

    pub(super) fn send(&mut self, index: usize, tasks: Vec<TaskId>) {
        if !tasks.is_empty() {
            let worker = self.slots[index].worker();
            self.actions.push_back(Action::Assign { worker, tasks });
        }
    }

    /// Returns how many tasks the worker of slot `index` should hold beyond those it runs.
    pub(super) fn prefetch_of(&self, index: usize) -> usize {
        self.slots[index].ahead(self.prefetch())
    }

    /// Returns how many tasks a worker may hold beyond those it runs: none while a suspect waits
    /// for an empty worker.
    pub(super) fn prefetch(&self) -> usize {
        match self.queue.may_hold_ahead() && !self.suspects.makes_way() {
            true => self.limits.prefetch.into(),
            false => 0,
        }
    }

    fn take_in_turn(&mut self, index: usize) -> Option<TaskId> {
        let fits = fits(&self.slots[index], &self.tasks, self.limits.credit_bytes);
        self.queue.take_in_turn(fits)
    }

    /// Takes a task for slot `index` to hold ahead: of the group that this slot was just given a
    /// turn of, or that would have the next turn again.
    fn take_ahead(&mut self, index: usize, has_turn: bool) -> Option<TaskId> {
        let group = self.held_group(index)?;
        let fits = fits(&self.slots[index], &self.tasks, self.limits.credit_bytes);
        self.queue.take_ahead(group, has_turn, fits)
    }

    /// Returns a group of which slot `index` can hold more tasks without adding to its load.
    fn held_group(&self, index: usize) -> Option<GroupId> {
        let concurrency = u32::from(self.limits.concurrency);
        self.slots[index]
            .groups()
            .iter()
            .find(|&(&group, &held)| {
                held >= concurrency
                    && self.queue.groups().has_ready(group)
                    && self.queue.groups().may_hold_ahead(group)
            })
            .map(|(&group, _)| group)
    }

    /// Assigns suspects to empty workers, and makes other workers become empty.
    fn assign_suspects(&mut self, now: Instant) {
        while self.queue.has_turn(now)
            && !self.suspects.is_empty()
            && let Some(index) = self.empty_slot()
        {
            let guilty = match self.queue.is_available() {
                true => self.most_for_suspects(),
                false => usize::MAX,
            };
            let has_room = |group| self.queue.groups().has_room(group);
            let Some(task) = self.suspects.take(guilty, has_room) else {
                break;
            };
            self.slots[index].reserve(false);
            self.lease(now, index, task);
            self.send(index, vec![task]);
        }
        if self.limits.concurrency == 1 {
            self.make_way();
        } else {
            self.reserve();
        }
    }

    /// Lets no worker hold tasks ahead while a suspect can run. A worker that runs one task at a
    /// time is then empty when that task ends. The first such worker takes the suspect, and no
    /// worker is idle.
    fn make_way(&mut self) {
        // The limit is the one for a queue that is not empty, because tasks that are asked back
        // will wait there.
        let guilty = self.most_for_suspects();
        let has_room = |group| self.queue.groups().has_room(group);
        let makes_way = self.suspects.can_run(guilty, has_room);
        self.suspects.make_way(makes_way);
        if makes_way {
            for index in 0..self.slots.len() {
                if self.slots[index].is_open() {
                    self.recall(index);
                }
            }
        }
    }

    /// Reserves a worker for each suspect that waits, within half of the pool. A worker that runs
    /// several tasks at a time becomes empty only if it gets no more.
    fn reserve(&mut self) {
        let waiting = self.suspects.len();
        if waiting == 0 && self.slots.whole().reserved == 0 {
            return;
        }
        let most = self.most_for_suspects();
        let mut reserved = 0;
        for slot in self.slots.iter_mut() {
            slot.reserve(slot.is_reserved() && reserved < waiting);
            reserved += usize::from(slot.is_reserved());
        }
        let alone = self.slots.iter().filter(|slot| slot.is_alone()).count();
        while reserved < waiting
            && reserved + alone < most
            && let Some(index) = self.least_held()
        {
            self.slots[index].reserve(true);
            reserved += 1;
            self.recall(index);
        }
    }

    /// Returns the open slot that holds the fewest tasks.
    fn least_held(&self) -> Option<usize> {
        (0..self.slots.len())
            .filter(|&index| self.slots[index].is_open())
            .min_by_key(|&index| self.slots[index].held())
    }

    /// Returns how many workers may make room for suspects: half of the pool. The others continue.
    fn most_for_suspects(&mut self) -> usize {
        (self.slots.whole().in_use / 2).max(1)
    }

    /// Asks the worker of slot `index` to give back what it has not started, so that a suspect
    /// waits only for tasks that run. Does nothing while an earlier request is open: a worker that
    /// does not read must not be sent much.
    fn recall(&mut self, index: usize) {
        let slot = &self.slots[index];
        if self.revoked(slot) == 0 {
            let tasks = slot.queue().iter().copied().collect();
            self.revoke(index, tasks);
        }
    }

    /// Returns a ready slot that holds nothing.
    fn empty_slot(&self) -> Option<usize> {
        self.slots
            .iter()
            .position(|slot| slot.takes_tasks() && slot.held() == 0)
    }

    /// If a worker has nothing to do and another holds tasks ahead, asks for half of them back.
    ///
    /// Only tasks that the idle worker could run count. Otherwise the two would pass a task back
    /// and forth. Returns whether it asked for any: another worker may then have some as well.
    pub(super) fn rebalance(&mut self) -> bool {
        if self.limits.policy == Policy::Chunked || self.queue.groups().available() > 0 {
            return false;
        }
        let (free, ahead) = (self.slots.whole().places, self.slots.whole().ahead);
        if free == 0 || ahead == 0 {
            return false;
        }
        let coming: usize = self.slots.iter().map(|slot| self.revoked(slot)).sum();
        let richest = (0..self.slots.len())
            .filter(|&index| self.slots[index].is_ready() && self.revoked(&self.slots[index]) == 0)
            .max_by_key(|&index| self.runnable_ahead(index).count());
        let Some(index) = richest else {
            return false;
        };
        let ahead = self.runnable_ahead(index).count();
        let wanted = ahead.div_ceil(2).min(free.saturating_sub(coming));
        let tasks: Vec<_> = self.runnable_ahead(index).take(wanted).collect();
        let asked = !tasks.is_empty();
        self.revoke(index, tasks);
        asked
    }

    /// Returns the tasks that slot `index` holds ahead and that another slot could run now, the
    /// last first. Tasks that it is about to start are not ahead.
    fn runnable_ahead(&self, index: usize) -> impl Iterator<Item = TaskId> + '_ {
        let slot = &self.slots[index];
        let ahead = slot
            .held()
            .saturating_sub(usize::from(self.limits.concurrency));
        slot.queue().iter().rev().take(ahead).copied().filter(|id| {
            self.tasks
                .get(id)
                .is_some_and(|task| !task.suspect && self.queue.groups().has_room(task.group))
        })
    }

    /// Limits a silent group to half of the places while there are other groups, or may be: all of
    /// the input read so far may be of one group. Groups that come later then find free places,
    /// however long the run waits for a silent group.
    pub(super) fn restrain(&mut self) {
        let places = self.places();
        let may_come = self.course.is_input_open() && self.tasks.len() < self.limits.lookahead_max;
        let others = self.queue.groups().groups() > 1 || may_come;
        let restrained = self.limits.policy == Policy::Shared && places > 1 && others;
        self.queue
            .groups_mut()
            .restrain(restrained.then_some(places / 2));
    }

    /// Asks the worker of slot `index` to give `tasks` back.
    pub(super) fn revoke(&mut self, index: usize, tasks: Vec<TaskId>) {
        if tasks.is_empty() {
            return;
        }
        let worker = self.slots[index].worker();
        for id in &tasks {
            if let Some(lease) = self
                .tasks
                .get_mut(id)
                .and_then(|task| task.lease_of(worker))
            {
                lease.revoked = true;
            }
        }
        self.actions.push_back(Action::Revoke { worker, tasks });
    }

    /// Drops requests for tasks that the worker no longer holds, according to events that came
    /// together with the reason for the request.
    pub(super) fn forget_revocations(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        actions.retain_mut(|action| {
            let Action::Revoke { worker, tasks } = action else {
                return true;
            };
            tasks.retain(|&task| self.holds(*worker, task));
            !tasks.is_empty()
        });
        self.actions = actions;
    }

    /// Returns how many of the tasks that `slot` holds it was asked to give back.
    fn revoked(&self, slot: &Slot) -> usize {
        slot.queue()
            .iter()
            .filter(|id| {
                self.tasks
                    .get(id)
                    .is_some_and(|task| matches!(task.place, Place::Leased(lease) if lease.revoked))
            })
            .count()
    }
}

/// Returns a check of whether the worker of `slot` has credit for a task.
pub(super) fn fits<'a>(
    slot: &'a Slot,
    tasks: &'a BTreeMap<TaskId, Task>,
    credit: u32,
) -> impl Fn(TaskId) -> bool + 'a {
    move |id| {
        let size = tasks.get(&id).map_or(0, |task| task.size);
        slot.has_credit(size, credit)
    }
}
