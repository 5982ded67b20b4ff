//! Dispatch: which worker gets which task, and which gives some back.

use std::collections::BTreeMap;
use std::time::Instant;

use protocol::{JobFailure, TaskId};

use super::event::{Action, GroupId};
use super::slot::Slot;
use super::task::{Place, Task};
use super::{Dispatcher, Policy};

/// How many ready tasks per worker it takes for each task held ahead. Guided self-scheduling:
/// towards the end nobody holds what another could do now.
const READY_PER_PREFETCH: usize = 4;

impl<O, F: JobFailure> Dispatcher<O, F> {
    /// Hands out what can be handed out: suspects to empty workers, a task to each free place,
    /// and then, if there is plenty, tasks ahead, so that no worker waits for a message.
    ///
    /// Ahead a worker is given only tasks of a group that it is asking already as often as it can.
    /// So nothing waits behind a task of another group, which may never end.
    pub(super) fn assign(&mut self, now: Instant) {
        // While what is done is not seen to as fast, more would only pile up.
        if !self.queue.has_turn(now) || self.placing >= self.limits.placing {
            return;
        }
        self.assign_suspects(now);
        self.assign_others(now);
        // What is left of the pool when nothing else waits is for suspects, whatever they did.
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

    /// Hands out ahead, in the same batches.
    fn fill_up(&mut self, now: Instant, batches: &mut BTreeMap<usize, Vec<TaskId>>) {
        let concurrency = usize::from(self.limits.concurrency);
        let share =
            self.queue.groups().len() / (READY_PER_PREFETCH * self.slots.whole().in_use.max(1));
        if share == 0 {
            return;
        }
        let short: Vec<usize> = match self.queue.groups().least_load() {
            // A group that is asked nothing comes before all that workers hold tasks of: more of these come
            // along with a turn only.
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
                // A prerequisite is no turn of its group's, and takes a place of it as well.
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

    /// How many tasks the worker of slot `index` is to hold beyond those it runs.
    pub(super) fn prefetch_of(&self, index: usize) -> usize {
        self.slots[index].ahead(self.prefetch())
    }

    /// How many tasks a worker may hold beyond those it runs: none while a suspect waits for a worker that
    /// is empty.
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

    /// Takes a task out of the queue that slot `index` may hold ahead: of the group that it was just given a
    /// turn of, or whose turn it would be again.
    fn take_ahead(&mut self, index: usize, has_turn: bool) -> Option<TaskId> {
        let group = self.held_group(index)?;
        let fits = fits(&self.slots[index], &self.tasks, self.limits.credit_bytes);
        self.queue.take_ahead(group, has_turn, fits)
    }

    /// A group of which slot `index` can hold more without asking it more at once.
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

    /// Hands each suspect to an empty worker, and sees to it that workers become empty.
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

    /// A worker that does one task at a time is empty when that ends, if it holds nothing ahead. So while a
    /// suspect waits nobody does: whoever ends first takes it, and nobody stands idle for that.
    fn make_way(&mut self) {
        // As if others waited: those would, that were asked back.
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

    /// A worker that does several tasks at a time becomes empty only if it is given nothing more. So there is
    /// one for each suspect that waits.
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

    /// The open slot that holds least.
    fn least_held(&self) -> Option<usize> {
        (0..self.slots.len())
            .filter(|&index| self.slots[index].is_open())
            .min_by_key(|&index| self.slots[index].held())
    }

    /// Half of the pool at most makes room for suspects, the rest goes on.
    fn most_for_suspects(&mut self) -> usize {
        (self.slots.whole().in_use / 2).max(1)
    }

    /// Asks back what the worker of slot `index` has not started, so that a suspect waits for no
    /// more than what runs. Once at a time: a worker that does not read must not be sent much.
    fn recall(&mut self, index: usize) {
        let slot = &self.slots[index];
        if self.revoked(slot) == 0 {
            let tasks = slot.queue().iter().copied().collect();
            self.revoke(index, tasks);
        }
    }

    /// A ready slot that holds nothing.
    fn empty_slot(&self) -> Option<usize> {
        self.slots
            .iter()
            .position(|slot| slot.takes_tasks() && slot.held() == 0)
    }

    /// When a worker has nothing to do and another holds tasks ahead, asks for half of them back.
    ///
    /// Only tasks that the idle worker could run count, or the two would pass one back and forth.
    /// Says whether it asked for any: then another may have some as well.
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

    /// What slot `index` holds ahead that another could run now, the last first. What it is about
    /// to begin is not ahead.
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

    /// Keeps a group that is not heard from to half of the places, at least one, while there are
    /// others, or may be: what is read of the input so far may be all of one group. So those that
    /// come later find places that are not taken for as long as a silent group is waited for.
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

    /// Asks for nothing back that the worker turned out not to hold any more, by what was heard
    /// together with the reason for asking.
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

    /// How many of the tasks that `slot` holds it was asked to give back.
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

/// Which tasks the worker of `slot` may be sent, as far as bytes go.
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
