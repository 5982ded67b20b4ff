//! Groups and their ready tasks: fair turns between groups, and a cap on the load of one group.
//!
//! Groups that have ready tasks and room under the cap are in a rotation. The group with the least
//! load is next, and among those with the same load the one that has waited longest (max-min
//! fairness). While others wait, a slow group therefore keeps no more than its share of places,
//! however many tasks it has. A group at its cap leaves the rotation until it has room again, so
//! that it costs the others nothing.
//!
//! A group can also **rest**: it gets nothing until a given time.
//!
//! A group's **load** is the most tasks that can run against it at once: the sum, over all workers,
//! of the tasks of the group that the worker holds, or of its concurrency if that is less. (A
//! worker that holds nine tasks of a group and runs one at a time adds one to the load.)
//!
//! A group that pushes back has limits of its own, below the cap (`groups/manners.rs`).
//!
//! A group is **silent** until it answers a task, and again while the latest task failed without an
//! answer. The load of silent groups can be limited ([`Groups::restrain`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use protocol::TaskId;

use super::event::GroupId;

mod manners;

use manners::Manners;

/// A group with unfinished tasks, wherever those are.
#[derive(Debug, Default)]
struct Group {
    /// The ready tasks.
    tasks: VecDeque<TaskId>,
    load: u32,
    unfinished: u32,
    heard: bool,
    /// How it treats requests.
    manners: Manners,
    /// When it last moved to the end of those with its load, counted in turns.
    turn: u64,
}

/// The place of a group in the rotation: those with the least load are first.
type Standing = (u32, u64, GroupId);

/// All groups with unfinished tasks, and their rotation.
#[derive(Debug)]
pub(super) struct Groups {
    cap: Option<u32>,
    /// The most load of a silent group.
    restraint: Option<u32>,
    /// Exactly the groups with unfinished tasks.
    groups: BTreeMap<GroupId, Group>,
    /// Until when groups rest; and the same in order of time.
    resting: BTreeMap<GroupId, Instant>,
    wakes: BTreeSet<(Instant, GroupId)>,
    /// Exactly the groups that have ready tasks and room and do not rest, each once.
    rotation: BTreeSet<Standing>,
    /// Number of turns so far.
    turns: u64,
    len: usize,
    /// Ready tasks of the groups in the rotation.
    available: usize,
}

impl Groups {
    pub(super) const fn new(cap: Option<u32>) -> Self {
        Self {
            cap,
            restraint: None,
            groups: BTreeMap::new(),
            resting: BTreeMap::new(),
            wakes: BTreeSet::new(),
            rotation: BTreeSet::new(),
            turns: 0,
            len: 0,
            available: 0,
        }
    }

    /// Adds an unfinished task to `group`.
    pub(super) fn enter(&mut self, group: GroupId) {
        self.groups.entry(group).or_default().unfinished += 1;
    }

    /// Removes a finished task of `group`, which is in no queue and with no worker. A group without
    /// tasks is forgotten.
    pub(super) fn leave(&mut self, group: GroupId) {
        if let Some(entry) = self.groups.get_mut(&group) {
            entry.unfinished -= 1;
            if entry.unfinished == 0 {
                self.groups.remove(&group);
            }
        }
    }

    /// Returns the number of groups with unfinished tasks.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Notes whether `group` answered its latest task.
    pub(super) fn hear(&mut self, group: GroupId, heard: bool) {
        if let Some(entry) = self.groups.get_mut(&group) {
            entry.heard = heard;
        }
    }

    /// Gives a silent group no more turns that would take its load beyond `most`.
    pub(super) fn restrain(&mut self, most: Option<u32>) {
        self.restraint = most;
    }

    /// Returns the number of ready tasks.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of ready tasks of groups that may have a turn.
    pub(super) fn available(&self) -> usize {
        let restrained = self.restraint.map_or(0, |most| {
            let loaded = self.rotation.range((most, 0, GroupId(0))..);
            loaded
                .filter_map(|(_, _, group)| self.groups.get(group))
                .filter(|entry| !entry.heard)
                .map(|entry| entry.tasks.len())
                .sum()
        });
        self.available - restrained
    }

    pub(super) fn push_back(&mut self, group: GroupId, task: TaskId) {
        self.push(group, |tasks| tasks.push_back(task));
    }

    pub(super) fn push_front(&mut self, group: GroupId, task: TaskId) {
        self.push(group, |tasks| tasks.push_front(task));
    }

    fn push(&mut self, group: GroupId, put: impl FnOnce(&mut VecDeque<TaskId>)) {
        let was = self.standing(group);
        put(&mut self.groups.entry(group).or_default().tasks);
        self.len += 1;
        self.update(group, was);
    }

    /// Returns the group whose turn is next.
    pub(super) fn next_group(&self) -> Option<GroupId> {
        self.turns().map(|(_, group)| group).next()
    }

    /// Returns the load of the group whose turn is next.
    pub(super) fn least_load(&self) -> Option<u32> {
        self.turns().map(|(load, _)| load).next()
    }

    /// Returns whether `group`, which was just given a task, may be given more before another group
    /// has its turn: if it gave up a place, it would be the next to get it.
    pub(super) fn keeps_turn(&self, group: GroupId) -> bool {
        let load = self.groups.get(&group).map_or(0, |entry| entry.load);
        self.turns()
            .find(|&(_, other)| other != group)
            .is_none_or(|(least, _)| least >= load)
    }

    /// Returns the groups that may have a turn, in the order of their turns, each with its load.
    fn turns(&self) -> impl Iterator<Item = (u32, GroupId)> + '_ {
        self.rotation
            .iter()
            .filter(|(_, _, group)| {
                self.groups
                    .get(group)
                    .is_some_and(|entry| !self.is_restrained(entry))
            })
            .map(|&(load, _, group)| (load, group))
    }

    fn is_restrained(&self, entry: &Group) -> bool {
        !entry.heard && self.restraint.is_some_and(|most| entry.load >= most)
    }

    /// Returns a group with a ready task, whether it has room or not.
    pub(super) fn any_group(&self) -> Option<GroupId> {
        self.groups
            .iter()
            .find(|(_, group)| !group.tasks.is_empty())
            .map(|(&id, _)| id)
    }

    /// Returns whether `group` has a ready task.
    pub(super) fn has_ready(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_some_and(|h| !h.tasks.is_empty())
    }

    /// Returns whether one more task may run against `group` now.
    pub(super) fn has_room(&self, group: GroupId) -> bool {
        self.groups
            .get(&group)
            .is_none_or(|entry| entry.load < self.most_load(entry) && !self.is_restrained(entry))
            && !self.is_resting(group)
    }

    /// Returns whether `group` rests.
    pub(super) fn is_resting(&self, group: GroupId) -> bool {
        self.resting.contains_key(&group)
    }

    /// Returns whether a worker that runs as many tasks of `group` as it can may hold more of them
    /// ahead. The worker decides when it starts those.
    pub(super) fn may_hold_ahead(&self, group: GroupId) -> bool {
        !self.is_resting(group) && !self.is_under_pressure(group)
    }

    /// Makes `group` rest until `until`, or until a later time that was set before.
    pub(super) fn rest(&mut self, group: GroupId, until: Instant) {
        let was = self.standing(group);
        let earlier = self.resting.get(&group).copied();
        let until = earlier.map_or(until, |earlier| earlier.max(until));
        if let Some(earlier) = earlier {
            self.wakes.remove(&(earlier, group));
        }
        self.resting.insert(group, until);
        self.wakes.insert((until, group));
        self.update(group, was);
    }

    /// Ends every rest whose time has come.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some(&(until, group)) = self.wakes.first()
            && until <= now
        {
            let was = self.standing(group);
            self.wakes.pop_first();
            self.resting.remove(&group);
            self.update(group, was);
        }
    }

    /// Returns when the next rest ends.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.wakes.first().map(|&(until, _)| until)
    }

    /// Returns the task at the front of `group`'s queue, and leaves it there.
    pub(super) fn peek(&self, group: GroupId) -> Option<TaskId> {
        self.groups.get(&group)?.tasks.front().copied()
    }

    /// Takes the next task of `group`, and moves the group behind the others of its load.
    pub(super) fn pop(&mut self, group: GroupId) -> Option<TaskId> {
        let was = self.standing(group);
        let task = self.groups.get_mut(&group)?.tasks.pop_front()?;
        self.len -= 1;
        self.update(group, was);
        self.queue_up(group);
        Some(task)
    }

    /// Adds one to the load of `group`.
    pub(super) fn add_load(&mut self, group: GroupId) {
        let was = self.standing(group);
        self.groups.entry(group).or_default().load += 1;
        self.update(group, was);
    }

    /// Subtracts one from the load of `group`.
    pub(super) fn remove_load(&mut self, group: GroupId) {
        let was = self.standing(group);
        if let Some(entry) = self.groups.get_mut(&group) {
            entry.load = entry.load.saturating_sub(1);
        }
        self.update(group, was);
    }

    /// Returns the place of `group` in the rotation and the number of its ready tasks, if it is
    /// there.
    fn standing(&self, group: GroupId) -> Option<(Standing, usize)> {
        let entry = self.groups.get(&group)?;
        let room = entry.load < self.most_load(entry) && !self.is_resting(group);
        let stands = room && !entry.tasks.is_empty();
        stands.then_some(((entry.load, entry.turn, group), entry.tasks.len()))
    }

    /// Moves `group` to its place after a change; `was` is its earlier place.
    fn update(&mut self, group: GroupId, was: Option<(Standing, usize)>) {
        let is = self.standing(group);
        let tasks = |standing: Option<(Standing, usize)>| standing.map_or(0, |(_, tasks)| tasks);
        self.available = self.available - tasks(was) + tasks(is);
        match (was, is) {
            (None, Some((standing, _))) => {
                self.rotation.insert(standing);
                self.queue_up(group);
            }
            (Some((standing, _)), None) => {
                self.rotation.remove(&standing);
            }
            (Some((before, _)), Some((after, _))) => {
                if before != after {
                    self.rotation.remove(&before);
                    self.rotation.insert(after);
                }
            }
            (None, None) => {}
        }
    }

    /// Moves `group` behind the others of its load, if it is in the rotation.
    fn queue_up(&mut self, group: GroupId) {
        let Some((standing, _)) = self.standing(group) else {
            return;
        };
        self.turns += 1;
        self.rotation.remove(&standing);
        self.rotation.insert((standing.0, self.turns, group));
        if let Some(entry) = self.groups.get_mut(&group) {
            entry.turn = self.turns;
        }
    }

    /// Checks the counters against what they count.
    pub(super) fn audit(&self) -> Result<(), String> {
        let len: usize = self.groups.values().map(|group| group.tasks.len()).sum();
        if len != self.len {
            return Err(format!("the groups count {} of {len} tasks", self.len));
        }
        let standings = || self.groups.keys().filter_map(|&group| self.standing(group));
        let standing: BTreeSet<_> = standings().map(|(standing, _)| standing).collect();
        if self.rotation != standing {
            let rotation = &self.rotation;
            return Err(format!(
                "groups {rotation:?} have turns, {standing:?} should"
            ));
        }
        let available: usize = standings().map(|(_, tasks)| tasks).sum();
        if available != self.available {
            return Err(format!(
                "{} tasks are counted available, {available} are",
                self.available
            ));
        }
        Ok(())
    }

    /// Returns the number of unfinished tasks of each group.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = (GroupId, u32)> + '_ {
        self.groups
            .iter()
            .map(|(&group, entry)| (group, entry.unfinished))
    }

    /// Returns the load of each group that has any.
    pub(super) fn loads(&self) -> impl Iterator<Item = (GroupId, u32)> + '_ {
        self.groups
            .iter()
            .filter(|(_, entry)| entry.load > 0)
            .map(|(&group, entry)| (group, entry.load))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: GroupId = GroupId(1);
    const B: GroupId = GroupId(2);

    fn put(groups: &mut Groups, group: GroupId, task: u64) {
        groups.enter(group);
        groups.push_back(group, TaskId(task));
    }

    fn take(groups: &mut Groups) -> Option<u64> {
        let group = groups.next_group()?;
        groups.add_load(group);
        let task = groups.pop(group)?;
        groups.audit().expect("consistent");
        Some(task.0)
    }

    #[test]
    fn groups_take_turns() {
        let mut groups = Groups::new(None);
        for n in 0..4 {
            put(&mut groups, A, n);
        }
        put(&mut groups, B, 10);
        put(&mut groups, B, 11);
        let order: Vec<_> = std::iter::from_fn(|| take(&mut groups)).collect();
        assert_eq!(order, [0, 10, 1, 11, 2, 3]);
    }

    #[test]
    fn the_group_that_waits_longest_is_next_among_those_with_as_little_load() {
        let mut groups = Groups::new(None);
        for n in 0..3 {
            put(&mut groups, A, n);
            put(&mut groups, B, 10 + n);
        }
        let order = std::iter::from_fn(|| {
            let group = groups.next_group()?;
            let task = take(&mut groups)?;
            // It ends at once.
            groups.remove_load(group);
            Some(task)
        });
        assert_eq!(order.collect::<Vec<_>>(), [0, 10, 1, 11, 2, 12]);
    }

    #[test]
    fn a_group_at_its_cap_steps_aside_until_it_has_room() {
        let mut groups = Groups::new(Some(1));
        put(&mut groups, A, 0);
        put(&mut groups, A, 1);
        put(&mut groups, B, 10);
        assert_eq!(take(&mut groups), Some(0));
        assert_eq!(groups.available(), 1);
        assert_eq!(take(&mut groups), Some(10));
        assert_eq!(take(&mut groups), None);
        assert_eq!(groups.len(), 1);
        groups.remove_load(A);
        assert_eq!(take(&mut groups), Some(1));
    }

    #[test]
    fn a_group_at_rest_gets_nothing_until_it_is_over() {
        let now = Instant::now();
        let second = std::time::Duration::from_secs(1);
        let mut groups = Groups::new(None);
        put(&mut groups, A, 0);
        put(&mut groups, A, 1);
        groups.rest(A, now + 2 * second);
        groups.rest(A, now + second);
        put(&mut groups, B, 10);
        assert_eq!((take(&mut groups), take(&mut groups)), (Some(10), None));
        assert_eq!(groups.next_wake(), Some(now + 2 * second));
        groups.wake(now + second);
        assert_eq!(take(&mut groups), None);
        groups.wake(now + 2 * second);
        assert_eq!((take(&mut groups), groups.next_wake()), (Some(0), None));
    }

    #[test]
    fn what_comes_back_goes_first() {
        let mut groups = Groups::new(None);
        put(&mut groups, A, 1);
        groups.enter(A);
        groups.push_front(A, TaskId(0));
        assert_eq!(take(&mut groups), Some(0));
        assert_eq!(take(&mut groups), Some(1));
    }

    #[test]
    fn a_group_whose_tasks_do_not_end_keeps_its_share_and_no_more() {
        let mut groups = Groups::new(None);
        for n in 0..100 {
            put(&mut groups, A, n);
            put(&mut groups, B, 100 + n);
        }
        // There are six places. Tasks of A never end, and those of B end at once.
        let mut of_a = 0;
        for _ in 0..30 {
            let mut of_b = 0;
            while of_a + of_b < 6 {
                match take(&mut groups) {
                    Some(..100) => of_a += 1,
                    Some(_) => of_b += 1,
                    None => panic!("there is enough for all"),
                }
            }
            (0..of_b).for_each(|_| groups.remove_load(B));
        }
        assert_eq!(of_a, 3);
    }

    #[test]
    fn a_turn_is_kept_only_while_nobody_has_less() {
        let mut groups = Groups::new(None);
        for n in 0..3 {
            put(&mut groups, A, n);
        }
        assert_eq!(take(&mut groups), Some(0));
        assert!(groups.keeps_turn(A), "there is nobody else");
        put(&mut groups, B, 10);
        put(&mut groups, B, 11);
        assert!(!groups.keeps_turn(A), "B has nothing");
        assert_eq!(take(&mut groups), Some(10));
        assert!(
            groups.keeps_turn(A) && groups.keeps_turn(B),
            "both have one"
        );
    }

    #[test]
    fn a_group_that_is_not_heard_from_is_held_back_until_it_is() {
        let mut groups = Groups::new(None);
        for n in 0..4 {
            put(&mut groups, A, n);
        }
        groups.restrain(Some(2));
        assert_eq!((take(&mut groups), take(&mut groups)), (Some(0), Some(1)));
        assert_eq!((groups.available(), groups.next_group()), (0, None));
        assert!(!groups.has_room(A));
        put(&mut groups, B, 10);
        assert_eq!((groups.available(), take(&mut groups)), (1, Some(10)));
        groups.hear(A, true);
        assert_eq!((groups.available(), take(&mut groups)), (2, Some(2)));
        groups.hear(A, false);
        assert_eq!(take(&mut groups), None);
        groups.restrain(None);
        assert_eq!(take(&mut groups), Some(3));
    }
}
