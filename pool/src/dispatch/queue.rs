//! Tasks that wait to be handed out.
//!
//! | a task waits | for |
//! | --- | --- |
//! | with its group (`groups.rs`) | the group's turn |
//! | among the prerequisites | their turn: prerequisites and groups alternate, so that neither waits until the other is empty |
//! | in the chunk of its slot | that slot, once the input has been split ([`Policy::Chunked`]) |
//! | delayed | the time of its next attempt |
//!
//! Suspects have a queue of their own (`suspects.rs`). If the rate is limited, nothing is handed
//! out before the next **turn**, whatever it is.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use protocol::{SlotId, TaskId};

use super::event::GroupId;
use super::groups::Groups;
use super::task::{Place, Task};
use super::{Limits, Policy};

/// How far into its chunk a slot looks for a task whose group has room.
const LOOK_AHEAD: usize = 64;

/// The waiting tasks, by where they wait.
#[derive(Debug)]
pub(super) struct Queue {
    policy: Policy,
    groups: Groups,
    prerequisites: VecDeque<(TaskId, GroupId)>,
    /// The last task handed out in turn was a prerequisite.
    prerequisite_was_last: bool,
    delayed: BTreeSet<(Instant, TaskId)>,
    /// The rest of each slot's chunk, for every slot that ever had one; and the number of tasks in
    /// all chunks.
    chunks: Vec<VecDeque<TaskId>>,
    in_chunks: usize,
    /// Shortest time between two tasks, whatever their groups, and between two of one group.
    spacing: (Duration, Duration),
    next_turn: Instant,
    /// A task of some group needs time before the next.
    is_spaced: bool,
}

/// An end of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Front,
    Back,
}

impl End {
    fn push<T>(self, queue: &mut VecDeque<T>, entry: T) {
        match self {
            Self::Front => queue.push_front(entry),
            Self::Back => queue.push_back(entry),
        }
    }
}

impl Queue {
    pub(super) const fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            policy: limits.policy,
            groups: Groups::new(limits.per_group),
            prerequisites: VecDeque::new(),
            prerequisite_was_last: false,
            delayed: BTreeSet::new(),
            chunks: Vec::new(),
            in_chunks: 0,
            spacing: (limits.spacing, limits.group_spacing),
            next_turn: now,
            is_spaced: false,
        }
    }

    /// Returns the groups, with the tasks that wait for their turns.
    pub(super) const fn groups(&self) -> &Groups {
        &self.groups
    }

    pub(super) const fn groups_mut(&mut self) -> &mut Groups {
        &mut self.groups
    }

    /// Queues a new task, and returns where it waits.
    pub(super) fn offer(&mut self, id: TaskId, task: &Task) -> Place {
        self.is_spaced |= task.spacing > Duration::ZERO;
        self.groups.enter(task.group);
        self.put(id, task, End::Back)
    }

    /// Puts `task`, which is in no place and not a suspect, at an end of the queue that it belongs
    /// to.
    pub(super) fn put(&mut self, id: TaskId, task: &Task, end: End) -> Place {
        if task.prerequisite {
            end.push(&mut self.prerequisites, (id, task.group));
            return Place::Prerequisites;
        }
        if let Some(slot) = task.chunk {
            end.push(self.chunk_mut(slot), id);
            self.in_chunks += 1;
            return Place::Chunk(slot);
        }
        match end {
            End::Front => self.groups.push_front(task.group, id),
            End::Back => self.groups.push_back(task.group, id),
        }
        Place::Ready
    }

    /// Makes `id`, which is in no place, wait until `until`.
    pub(super) fn delay(&mut self, id: TaskId, until: Instant) -> Place {
        self.delayed.insert((until, id));
        Place::Delayed(until)
    }

    /// Takes a task whose delay has ended.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<TaskId> {
        let is_due = self.next_due().is_some_and(|at| at <= now);
        is_due.then(|| self.delayed.pop_first())?.map(|(_, id)| id)
    }

    /// Returns when the next delay ends.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.delayed.first().map(|&(at, _)| at)
    }

    /// Returns the number of delayed tasks.
    pub(super) fn delayed(&self) -> usize {
        self.delayed.len()
    }

    /// Returns how many tasks could be given to any worker now.
    pub(super) fn for_anybody(&self) -> usize {
        let of_groups = match self.policy {
            Policy::Shared => self.groups.available(),
            Policy::Chunked => 0,
        };
        of_groups + self.prerequisites.len()
    }

    /// Returns the number of waiting tasks that are not delayed.
    pub(super) fn ready(&self) -> usize {
        self.groups.len() + self.prerequisites.len() + self.in_chunks
    }

    /// Returns whether a waiting task could be handed out, as far as groups are concerned.
    pub(super) fn is_available(&self) -> bool {
        self.groups.available() + self.prerequisites.len() > 0
    }

    /// Returns whether workers may hold more than they run. They may not while prerequisites wait,
    /// which would have to wait for all of that. They also may not if a group needs time between
    /// its tasks: a worker decides itself when it starts what it holds.
    pub(super) fn may_hold_ahead(&self) -> bool {
        !self.is_spaced && self.prerequisites.is_empty()
    }

    /// Returns whether the next turn has come.
    pub(super) fn has_turn(&self, now: Instant) -> bool {
        now >= self.next_turn
    }

    /// Notes that a task of `group` is handed out, which needs `spacing` before the group's next
    /// task.
    pub(super) fn hand_out(&mut self, now: Instant, group: GroupId, spacing: Duration) {
        let (any, of_group) = self.spacing;
        self.next_turn = now + any;
        let of_group = of_group.max(spacing);
        if of_group > Duration::ZERO {
            self.groups.rest(group, now + of_group);
        }
    }

    /// Returns when more can be handed out than now, if only time is missing. `suspects` suspects
    /// wait.
    pub(super) fn next_pace(&self, now: Instant, suspects: usize) -> Option<Instant> {
        let of_input = match self.policy {
            Policy::Shared => self.groups.available(),
            Policy::Chunked => self.in_chunks,
        };
        let waiting = of_input + self.prerequisites.len() + suspects;
        let turn = (waiting > 0 && self.next_turn > now).then_some(self.next_turn);
        turn.into_iter().chain(self.groups.next_wake()).min()
    }

    /// Takes the task whose turn it is, if it `fits` the worker that it is for.
    pub(super) fn take_in_turn(&mut self, fits: impl Fn(TaskId) -> bool) -> Option<TaskId> {
        let are_groups_first = std::mem::take(&mut self.prerequisite_was_last);
        let mut taken = None;
        if are_groups_first {
            taken = self.take_turn(&fits);
        }
        if taken.is_none() {
            taken = self.take_prerequisite(&fits);
            self.prerequisite_was_last = taken.is_some();
        }
        if taken.is_none() && !are_groups_first {
            taken = self.take_turn(&fits);
        }
        taken
    }

    /// Takes a task to be held ahead by a worker that holds tasks of `group`. The group must just
    /// have been given its turn, or be the next again.
    pub(super) fn take_ahead(
        &mut self,
        group: GroupId,
        was_given_turn: bool,
        fits: impl Fn(TaskId) -> bool,
    ) -> Option<TaskId> {
        if !was_given_turn && !self.groups.keeps_turn(group) {
            return None;
        }
        self.take_of(group, fits)
    }

    fn take_turn(&mut self, fits: impl Fn(TaskId) -> bool) -> Option<TaskId> {
        // Chunks are cut when the input has ended, which is after every prerequisite is done.
        let group = match self.policy {
            Policy::Shared => self.groups.next_group()?,
            Policy::Chunked => return None,
        };
        self.take_of(group, fits)
    }

    fn take_of(&mut self, group: GroupId, fits: impl Fn(TaskId) -> bool) -> Option<TaskId> {
        let task = self.groups.peek(group)?;
        fits(task).then(|| self.groups.pop(group))?
    }

    /// Takes the first prerequisite whose group has room, if it fits.
    fn take_prerequisite(&mut self, fits: impl Fn(TaskId) -> bool) -> Option<TaskId> {
        let mut waiting = self.prerequisites.iter();
        let position = waiting.position(|&(_, group)| self.groups.has_room(group))?;
        let (task, _) = self.prerequisites[position];
        fits(task).then(|| self.prerequisites.remove(position))?;
        Some(task)
    }

    /// Splits `ready`, all tasks that wait with their groups, into chunks for `slots`. The sizes
    /// differ by at most one. Returns which task is now in which slot's chunk.
    pub(super) fn split(&mut self, ready: &[TaskId], slots: &[SlotId]) -> Vec<(TaskId, SlotId)> {
        let Some(each) = ready.len().checked_div(slots.len()) else {
            // Every slot is retired, and the run ends.
            return Vec::new();
        };
        while let Some(group) = self.groups.any_group() {
            self.groups.pop(group);
        }
        let rest = ready.len() % slots.len();
        let mut tasks = ready.iter().copied();
        let mut split = Vec::with_capacity(ready.len());
        for (index, &slot) in slots.iter().enumerate() {
            let size = each + usize::from(index < rest);
            let of_slot = tasks.by_ref().take(size);
            split.extend(of_slot.map(|task| (task, slot)));
        }
        for &(task, slot) in &split {
            self.chunk_mut(slot).push_back(task);
        }
        self.in_chunks += split.len();
        split
    }

    /// Takes the first task out of the chunk of `slot` that `may_take` allows. Looks at several
    /// tasks, so that one whose group has no room does not hide the others.
    pub(super) fn take_of_chunk(
        &mut self,
        slot: SlotId,
        may_take: impl Fn(&Groups, TaskId) -> bool,
    ) -> Option<TaskId> {
        let chunk = self.chunks.get_mut(usize::from(slot.0))?;
        let mut near = chunk.iter().take(LOOK_AHEAD);
        let position = near.position(|&task| may_take(&self.groups, task))?;
        self.in_chunks -= 1;
        chunk.remove(position)
    }

    /// Moves the rest of the chunk of slot `from` to slot `to`, and returns the tasks that it
    /// moved.
    pub(super) fn bequeath(&mut self, from: SlotId, to: SlotId) -> Vec<TaskId> {
        let chunk = std::mem::take(self.chunk_mut(from));
        self.chunk_mut(to).extend(&chunk);
        chunk.into()
    }

    /// Returns the rest of the chunk of `slot`.
    pub(super) fn chunk(&self, slot: SlotId) -> impl ExactSizeIterator<Item = TaskId> + '_ {
        let chunk = self.chunks.get(usize::from(slot.0));
        chunk.map_or(Default::default(), VecDeque::iter).copied()
    }

    fn chunk_mut(&mut self, slot: SlotId) -> &mut VecDeque<TaskId> {
        let index = usize::from(slot.0);
        let slots = self.chunks.len().max(index + 1);
        self.chunks.resize_with(slots, VecDeque::new);
        &mut self.chunks[index]
    }

    /// Returns whether `id` is where its task says, if that is a place in this queue.
    pub(super) fn is_in_place(&self, id: TaskId, task: &Task) -> Option<bool> {
        match task.place {
            Place::Ready => Some(self.groups.has_ready(task.group)),
            Place::Prerequisites => Some(self.prerequisites.contains(&(id, task.group))),
            Place::Chunk(slot) => Some(self.chunk(slot).any(|other| other == id)),
            Place::Delayed(until) => Some(self.delayed.contains(&(until, id))),
            Place::Suspects | Place::Leased(_) | Place::Placing { .. } => None,
        }
    }

    /// Checks the counters against what they count.
    pub(super) fn audit(&self) -> Result<(), String> {
        let in_chunks: usize = self.chunks.iter().map(VecDeque::len).sum();
        if in_chunks != self.in_chunks {
            let counted = self.in_chunks;
            return Err(format!("{in_chunks} tasks in chunks, counted as {counted}"));
        }
        self.groups.audit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: GroupId = GroupId(1);
    const B: GroupId = GroupId(2);
    const SECOND: Duration = Duration::from_secs(1);

    fn queue(limits: &Limits) -> (Queue, Instant) {
        let now = Instant::now();
        (Queue::new(limits, now), now)
    }

    fn task(now: Instant, group: GroupId) -> Task {
        Task::new(now, group, 1)
    }

    fn prerequisite(now: Instant, group: GroupId) -> Task {
        Task {
            prerequisite: true,
            ..task(now, group)
        }
    }

    #[test]
    fn each_task_waits_in_one_place() {
        let (mut queue, now) = queue(&Limits::default());
        let in_chunk = Task {
            chunk: Some(SlotId(3)),
            ..task(now, A)
        };
        // Task; where it waits; then how many tasks wait, and how many could be given to any
        // worker.
        let rows = [
            (task(now, A), Place::Ready, (1, 1)),
            (prerequisite(now, A), Place::Prerequisites, (2, 2)),
            (in_chunk, Place::Chunk(SlotId(3)), (3, 2)),
        ];
        for (number, (mut task, place, (ready, for_anybody))) in rows.into_iter().enumerate() {
            let id = TaskId(number as u64);
            task.place = queue.offer(id, &task);
            assert_eq!(task.place, place);
            assert_eq!(queue.is_in_place(id, &task), Some(true));
            assert_eq!(
                queue.is_in_place(TaskId(9), &task).unwrap_or_default(),
                number == 0
            );
            assert_eq!((queue.ready(), queue.for_anybody()), (ready, for_anybody));
            queue.audit().expect("consistent");
        }
        assert_eq!(queue.delay(TaskId(7), now), Place::Delayed(now));
        assert_eq!((queue.ready(), queue.delayed()), (3, 1));
    }

    #[test]
    fn prerequisites_and_groups_take_turns() {
        // Tasks of A, prerequisites of A and of B; whether A has room; what is taken.
        let rows: [(_, _, _, _, &[u64]); 6] = [
            (2, 0, 0, true, &[0, 1]),
            (0, 2, 0, true, &[10, 11]),
            (3, 2, 0, true, &[10, 0, 11, 1, 2]),
            (2, 1, 2, true, &[10, 0, 20, 1, 21]),
            (2, 1, 2, false, &[20, 21]),
            (0, 0, 0, true, &[]),
        ];
        for (number, (tasks, of_a, of_b, has_room, expected)) in rows.into_iter().enumerate() {
            let (mut queue, now) = queue(&Limits::default());
            for id in 0..tasks {
                queue.offer(TaskId(id), &task(now, A));
            }
            for (first, count, group) in [(10, of_a, A), (20, of_b, B)] {
                for id in first..first + count {
                    queue.offer(TaskId(id), &prerequisite(now, group));
                }
            }
            if !has_room {
                queue.groups_mut().rest(A, now + SECOND);
            }
            let taken = std::iter::from_fn(|| queue.take_in_turn(|_| true));
            let taken: Vec<_> = taken.map(|task| task.0).collect();
            assert_eq!(taken, expected, "row {number}");
        }
    }

    #[test]
    fn what_does_not_fit_stays_where_it_is() {
        let (mut queue, now) = queue(&Limits::default());
        queue.offer(TaskId(0), &task(now, A));
        queue.offer(TaskId(1), &prerequisite(now, A));
        let other_than = |large| move |id| id != TaskId(large);
        assert_eq!(queue.take_in_turn(other_than(1)), Some(TaskId(0)));
        queue.put(TaskId(0), &task(now, A), End::Front);
        assert_eq!(queue.take_ahead(A, true, other_than(0)), None);
        assert_eq!(queue.ready(), 2);
        assert!(!queue.may_hold_ahead());
        assert_eq!(queue.take_in_turn(other_than(0)), Some(TaskId(1)));
        assert!(queue.may_hold_ahead());
    }

    #[test]
    fn what_is_delayed_is_due_in_the_order_of_time() {
        let (mut queue, now) = queue(&Limits::default());
        for (task, seconds) in [(1, 2), (2, 1), (3, 1)] {
            queue.delay(TaskId(task), now + seconds * SECOND);
        }
        assert_eq!(queue.next_due(), Some(now + SECOND));
        assert_eq!(queue.take_due(now), None);
        let due = |queue: &mut Queue| queue.take_due(now + SECOND).map(|task| task.0);
        let taken = [due(&mut queue), due(&mut queue), due(&mut queue)];
        assert_eq!(taken, [Some(2), Some(3), None]);
        assert_eq!(queue.delayed(), 1);
    }

    #[test]
    fn the_input_is_split_evenly_and_a_chunk_can_be_inherited() {
        let ids = |tasks: &[u64]| -> Vec<TaskId> { tasks.iter().copied().map(TaskId).collect() };
        // Tasks, slots; the chunk of each.
        let rows: [(_, &[u16], &[&[u64]]); 4] = [
            (0, &[0, 1], &[&[], &[]]),
            (5, &[0, 1], &[&[0, 1, 2], &[3, 4]]),
            (2, &[0, 2, 4], &[&[0], &[1], &[]]),
            (3, &[], &[]),
        ];
        let limits = Limits {
            policy: Policy::Chunked,
            ..Limits::default()
        };
        for (number, (tasks, slots, expected)) in rows.into_iter().enumerate() {
            let (mut queue, now) = queue(&limits);
            for id in 0..tasks {
                queue.offer(TaskId(id), &task(now, A));
            }
            assert_eq!(queue.take_in_turn(|_| true), None, "they wait for the end");
            let ready: Vec<_> = (0..tasks).map(TaskId).collect();
            let of: Vec<_> = slots.iter().copied().map(SlotId).collect();
            queue.split(&ready, &of);
            for (&slot, &expected) in of.iter().zip(expected) {
                let found: Vec<_> = queue.chunk(slot).collect();
                assert_eq!(found, ids(expected), "row {number}, {slot}");
            }
            queue.audit().expect("consistent");
        }
        let (mut queue, _) = queue(&limits);
        let [one, two] = [SlotId(1), SlotId(2)];
        queue.split(&ids(&[1, 2, 3, 4]), &[one, two]);
        assert_eq!(
            queue.take_of_chunk(two, |_, id| id != TaskId(3)),
            Some(TaskId(4))
        );
        assert_eq!(queue.bequeath(two, one), ids(&[3]));
        assert_eq!(queue.chunk(one).collect::<Vec<_>>(), ids(&[1, 2, 3]));
        assert_eq!((queue.chunk(two).len(), queue.ready()), (0, 3));
        assert_eq!(queue.take_of_chunk(two, |_, _| true), None);
    }

    #[test]
    fn turns_keep_their_times() {
        // Time between tasks, between tasks of a group, and the time that this task needs; number
        // of waiting suspects; when the next turn is, and when more can be handed out.
        let rows = [
            ((0, 0, 0), 0, 0, None),
            ((3, 0, 0), 0, 3, None),
            ((3, 0, 0), 1, 3, Some(3)),
            ((0, 2, 1), 0, 0, Some(2)),
            ((0, 2, 5), 0, 0, Some(5)),
            ((3, 0, 1), 1, 3, Some(1)),
        ];
        for (number, ((any, of_group, wanted), suspects, turn, more)) in
            rows.into_iter().enumerate()
        {
            let (mut queue, now) = queue(&Limits {
                spacing: any * SECOND,
                group_spacing: of_group * SECOND,
                ..Limits::default()
            });
            let task = Task {
                spacing: wanted * SECOND,
                ..task(now, A)
            };
            queue.offer(TaskId(0), &task);
            queue.take_in_turn(|_| true).expect("a task");
            queue.hand_out(now, A, task.spacing);
            assert!(queue.has_turn(now + turn * SECOND), "row {number}");
            assert_eq!(queue.has_turn(now), turn == 0, "row {number}");
            let more = more.map(|seconds| now + seconds * SECOND);
            assert_eq!(queue.next_pace(now, suspects), more, "row {number}");
            assert_eq!(queue.may_hold_ahead(), wanted == 0, "row {number}");
        }
    }
}
