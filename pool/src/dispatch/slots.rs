//! All slots, and totals of the pool that can be read without looking at each slot.
//!
//! The totals ([`Whole`]) are brought up to date with the slots that changed since they were last
//! read. The cost of reading them therefore does not depend on the size of the pool. This module
//! must not decide anything.

use std::collections::BTreeSet;
use std::ops::{Deref, Index, IndexMut};
use std::time::Instant;

use protocol::{SlotId, WorkerId};

use super::slot::{Slot, SlotState};

/// The slots of the pool, in order. They can be read as a slice. Changes must be made through
/// [`IndexMut`] or [`iter_mut`](Self::iter_mut), which note what changed.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// Tasks that each worker runs at once, and the most that it may hold beyond those.
    concurrency: usize,
    prefetch: usize,
    /// What each slot contributes to `whole`.
    parts: Vec<Part>,
    whole: Whole,
    /// Slots that changed since `whole` was up to date, each once; and the same as flags.
    changed: Vec<usize>,
    is_changed: Vec<bool>,
}

/// The totals of the pool.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Whole {
    /// Slots that can have workers, now or later.
    pub(super) in_use: usize,
    /// Workers that are starting or have nothing to do.
    pub(super) coming: usize,
    /// Workers that have not been asked to exit or killed.
    pub(super) living: usize,
    /// Slots that are reserved for a suspect.
    pub(super) reserved: usize,
    /// How many more tasks could run at once than are held.
    pub(super) places: usize,
    /// Tasks that are held beyond those that can run at once.
    pub(super) ahead: usize,
    /// Vacant slots that may get a worker.
    pub(super) vacant: BTreeSet<usize>,
    /// Workers that are empty and get no more tasks.
    pub(super) spent: BTreeSet<usize>,
    /// When the core must act on a worker, whatever the worker sends.
    pub(super) due: BTreeSet<(Instant, usize)>,
    /// Slots that can run more than they hold, those that hold the fewest tasks first.
    pub(super) free: BTreeSet<(usize, usize)>,
    /// Slots that hold at most half of what they may hold ahead.
    pub(super) short: BTreeSet<usize>,
}

/// What one slot contributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    in_use: bool,
    coming: bool,
    living: bool,
    reserved: bool,
    vacant: bool,
    spent: bool,
    due: Option<Instant>,
    /// How many tasks it holds, if it can run more.
    free: Option<usize>,
    places: usize,
    ahead: usize,
    short: bool,
}

impl Part {
    fn of(slot: &Slot, concurrency: usize, prefetch: usize) -> Self {
        let held = slot.held();
        let (is_ready, takes_tasks) = (slot.is_ready(), slot.takes_tasks());
        let room = concurrency.saturating_sub(held);
        let places = if slot.is_open() { room } else { 0 };
        Self {
            in_use: slot.is_in_use(),
            coming: matches!(slot.state(), SlotState::Starting { .. })
                || (takes_tasks && held == 0),
            living: !slot.is_vacant() && !slot.is_dying(),
            reserved: slot.is_reserved(),
            vacant: slot.not_before().is_some(),
            spent: is_ready && !takes_tasks && held == 0,
            due: slot.due().map(|(at, _)| at),
            free: (places > 0).then_some(held),
            places,
            ahead: if is_ready {
                held.saturating_sub(concurrency)
            } else {
                0
            },
            short: slot.is_open() && held <= concurrency + slot.ahead(prefetch) / 2,
        }
    }
}

impl Whole {
    /// Replaces the contribution `was` of slot `index` by `is`.
    fn exchange(&mut self, index: usize, was: Part, is: Part) {
        let count = |whole: &mut usize, was: usize, is: usize| *whole = *whole - was + is;
        count(&mut self.in_use, was.in_use.into(), is.in_use.into());
        count(&mut self.coming, was.coming.into(), is.coming.into());
        count(&mut self.living, was.living.into(), is.living.into());
        count(&mut self.reserved, was.reserved.into(), is.reserved.into());
        count(&mut self.places, was.places, is.places);
        count(&mut self.ahead, was.ahead, is.ahead);
        let member = |of: bool| of.then_some(index);
        replace(&mut self.vacant, member(was.vacant), member(is.vacant));
        replace(&mut self.spent, member(was.spent), member(is.spent));
        replace(&mut self.short, member(was.short), member(is.short));
        let key = |due: Option<Instant>| due.map(|at| (at, index));
        replace(&mut self.due, key(was.due), key(is.due));
        let key = |free: Option<usize>| free.map(|held| (held, index));
        replace(&mut self.free, key(was.free), key(is.free));
    }

    /// Returns the slot that holds the fewest tasks among those that can run more.
    pub(super) fn least_loaded(&self) -> Option<usize> {
        self.free.first().map(|&(_, index)| index)
    }

    /// Returns the slots on which the core must act by now, in order.
    pub(super) fn due_by(&self, now: Instant) -> Vec<usize> {
        let due = self.due.range(..=(now, usize::MAX));
        let mut due: Vec<_> = due.map(|&(_, index)| index).collect();
        due.sort_unstable();
        due
    }
}

fn replace<K: Ord>(set: &mut BTreeSet<K>, was: Option<K>, is: Option<K>) {
    if was != is {
        if let Some(was) = was {
            set.remove(&was);
        }
        set.extend(is);
    }
}

impl Slots {
    /// Creates an empty pool, for workers that run `concurrency` tasks at once and may hold
    /// `prefetch` more.
    pub(super) fn new(concurrency: u16, prefetch: u16) -> Self {
        Self {
            slots: Vec::new(),
            concurrency: concurrency.into(),
            prefetch: prefetch.into(),
            parts: Vec::new(),
            whole: Whole::default(),
            changed: Vec::new(),
            is_changed: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, slot: Slot) {
        self.slots.push(slot);
        self.parts.push(Part::default());
        self.is_changed.push(false);
        self.mark(self.slots.len() - 1);
    }

    /// Returns all slots, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        for index in 0..self.slots.len() {
            self.mark(index);
        }
        self.slots.iter_mut()
    }

    /// Brings the totals up to date and returns them.
    pub(super) fn whole(&mut self) -> &Whole {
        while let Some(index) = self.changed.pop() {
            self.is_changed[index] = false;
            let is = Part::of(&self.slots[index], self.concurrency, self.prefetch);
            let was = std::mem::replace(&mut self.parts[index], is);
            if was != is {
                self.whole.exchange(index, was, is);
            }
        }
        &self.whole
    }

    /// Returns the totals as of the last call of [`whole`](Self::whole), which is at the end of
    /// each step.
    pub(super) fn as_known(&self) -> &Whole {
        debug_assert!(self.changed.is_empty(), "slots changed unnoticed");
        &self.whole
    }

    /// Returns the slot of `worker`, if `worker` is in it now.
    pub(super) fn of(&self, worker: WorkerId) -> Option<&Slot> {
        let slot = self.slots.get(usize::from(worker.slot.0));
        slot.filter(|slot| slot.is(worker))
    }

    /// Returns the slot that owns the chunk of slot `chunk`: that slot, or the first slot in use if
    /// that slot has been given up. If no slot is in use, the run ends, and the result does not
    /// matter.
    pub(super) fn heir_of(&self, chunk: SlotId) -> SlotId {
        if self[chunk].is_in_use() {
            return chunk;
        }
        let heir = self.slots.iter().find(|slot| slot.is_in_use());
        heir.map_or(chunk, Slot::id)
    }

    /// Checks the totals against the slots.
    pub(super) fn audit(&self) -> Result<(), String> {
        let mut whole = Whole::default();
        for (index, slot) in self.slots.iter().enumerate() {
            let part = Part::of(slot, self.concurrency, self.prefetch);
            whole.exchange(index, Part::default(), part);
        }
        match whole == self.whole {
            true => Ok(()),
            false => Err(format!("the pool is {whole:?}, known as {:?}", self.whole)),
        }
    }

    fn mark(&mut self, index: usize) {
        if !std::mem::replace(&mut self.is_changed[index], true) {
            self.changed.push(index);
        }
    }
}

impl Deref for Slots {
    type Target = [Slot];

    fn deref(&self) -> &[Slot] {
        &self.slots
    }
}

impl Index<SlotId> for Slots {
    type Output = Slot;

    fn index(&self, slot: SlotId) -> &Slot {
        &self.slots[usize::from(slot.0)]
    }
}

impl IndexMut<SlotId> for Slots {
    fn index_mut(&mut self, slot: SlotId) -> &mut Slot {
        &mut self[usize::from(slot.0)]
    }
}

impl Index<usize> for Slots {
    type Output = Slot;

    fn index(&self, index: usize) -> &Slot {
        &self.slots[index]
    }
}

impl IndexMut<usize> for Slots {
    fn index_mut(&mut self, index: usize) -> &mut Slot {
        self.mark(index);
        &mut self.slots[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::KillReason;
    use crate::dispatch::event::GroupId;
    use crate::dispatch::task::Task;
    use protocol::TaskId;

    /// Three slots, with workers that run two tasks at once and may hold four more.
    fn slots(now: Instant) -> Slots {
        let mut slots = Slots::new(2, 4);
        for number in 0..3 {
            slots.push(Slot::new(SlotId(number), now));
        }
        slots
    }

    fn hold(slot: &mut Slot, now: Instant, tasks: u64) {
        let task = Task::new(now, GroupId(0), 1);
        for id in 0..tasks {
            slot.hold(TaskId(id), &task);
        }
    }

    #[test]
    fn the_pool_is_known_as_its_slots_are() {
        type Step = fn(&mut Slot, Instant);
        let spawn: Step = |slot, now| {
            slot.spawn(now, None, 1);
        };
        let begin: Step = |slot, _| slot.begin();
        let one: Step = |slot, now| hold(slot, now, 1);
        let five: Step = |slot, now| hold(slot, now, 5);
        let reserve: Step = |slot, _| slot.reserve(true);
        let kill: Step = |slot, _| slot.condemn(KillReason::Silent, None);
        let retire: Step = |slot, _| slot.retire();
        let close: Step = |slot, now| slot.resize(now, true);
        // Steps of the second of three slots; then the number of slots that are in use, coming,
        // living, reserved and vacant, and the number of places and of tasks held ahead.
        let rows: [(&[Step], _); 9] = [
            (&[], [3, 0, 0, 0, 3, 0, 0]),
            (&[spawn], [3, 1, 1, 0, 2, 0, 0]),
            (&[spawn, begin], [3, 1, 1, 0, 2, 2, 0]),
            (&[spawn, begin, one], [3, 0, 1, 0, 2, 1, 0]),
            (&[spawn, begin, five], [3, 0, 1, 0, 2, 0, 3]),
            (&[spawn, begin, one, reserve], [3, 0, 1, 1, 2, 0, 0]),
            (&[spawn, begin, one, kill], [3, 0, 0, 0, 2, 0, 0]),
            (&[retire], [2, 0, 0, 0, 2, 0, 0]),
            (&[spawn, begin, close], [2, 0, 1, 0, 2, 0, 0]),
        ];
        for (number, (steps, expected)) in rows.into_iter().enumerate() {
            let now = Instant::now();
            let mut slots = slots(now);
            for step in steps {
                // The totals are updated between steps in every second row.
                if number % 2 == 0 {
                    slots.whole();
                }
                step(&mut slots[SlotId(1)], now);
            }
            let whole = slots.whole();
            let known = [
                whole.in_use,
                whole.coming,
                whole.living,
                whole.reserved,
                whole.vacant.len(),
                whole.places,
                whole.ahead,
            ];
            assert_eq!(known, expected, "row {number}");
            assert_eq!(whole.spent.contains(&1), number == 8, "row {number}");
            slots.audit().expect("consistent");
        }
    }

    #[test]
    fn who_holds_least_and_who_is_due_is_known() {
        let now = Instant::now();
        let second = std::time::Duration::from_secs(1);
        let mut slots = slots(now);
        for (index, deadline) in [(0, 2), (1, 3), (2, 1)] {
            slots[index].spawn(now + deadline * second, None, 1);
        }
        assert_eq!(slots.whole().due_by(now), [0; 0]);
        assert_eq!(slots.whole().due_by(now + 2 * second), [0, 2]);
        for slot in slots.iter_mut() {
            slot.begin();
        }
        hold(&mut slots[0], now, 1);
        assert_eq!(slots.whole().least_loaded(), Some(1));
        for index in [1, 2] {
            hold(&mut slots[index], now, 2);
        }
        assert_eq!(slots.whole().least_loaded(), Some(0));
        assert_eq!(slots.whole().due_by(now + 9 * second), [0; 0]);
    }

    #[test]
    fn a_chunk_is_inherited_by_the_first_slot_in_use() {
        let now = Instant::now();
        let mut slots = slots(now);
        let [one, two, three] = [SlotId(0), SlotId(1), SlotId(2)];
        assert_eq!(slots.heir_of(three), three);
        slots[one].retire();
        slots[three].retire();
        assert_eq!(slots.heir_of(three), two);
        slots[two].retire();
        assert_eq!(slots.heir_of(three), three, "nobody is left");
    }

    #[test]
    fn a_worker_is_found_only_while_it_is_there() {
        let now = Instant::now();
        let mut slots = slots(now);
        let first = slots[1].spawn(now, None, 1);
        assert!(slots.of(first).is_some());
        slots[1].vacate(now);
        assert!(slots.of(first).is_none());
        let second = slots[1].spawn(now, None, 1);
        assert!(slots.of(first).is_none() && slots.of(second).is_some());
        let beyond = WorkerId {
            slot: SlotId(7),
            ..second
        };
        assert!(slots.of(beyond).is_none());
    }
}
