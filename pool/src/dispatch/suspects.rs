//! Suspects: tasks that ran when their worker died. Each runs alone, so that the next death can be
//! blamed on it.
//!
//! ```text
//!   its worker died ----> waiting ---- handed to an empty worker ----> under way ----> finished
//!                            ^                                             |
//!                            +----------- given back, failed, died --------+
//! ```
//!
//! A suspect that is known to have killed a worker is **guilty**. It may kill another, and take
//! long to do so. While other tasks wait, only a limited number of guilty suspects therefore run at
//! once.

use std::collections::{BTreeSet, VecDeque};

use protocol::TaskId;

use super::event::GroupId;

/// The suspects that wait, and the guilty ones that run.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// In the order of their turns.
    waiting: VecDeque<Suspect>,
    /// Guilty suspects that are with workers.
    guilty_under_way: BTreeSet<TaskId>,
    /// A suspect waits for the first worker that becomes empty, so nothing is handed out ahead.
    makes_way: bool,
}

#[derive(Debug)]
struct Suspect {
    task: TaskId,
    group: GroupId,
    is_guilty: bool,
}

impl Suspects {
    /// Returns how many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns whether `task` waits.
    pub(super) fn contains(&self, task: TaskId) -> bool {
        self.waiting.iter().any(|suspect| suspect.task == task)
    }

    /// Queues `task` behind all others. At the front it would overtake those that have waited
    /// longest, whenever a worker died.
    pub(super) fn push(&mut self, task: TaskId, group: GroupId, is_guilty: bool) {
        self.waiting.push_back(Suspect {
            task,
            group,
            is_guilty,
        });
    }

    /// Returns whether a suspect can run now: its group has room, and fewer than `guilty` guilty
    /// ones run.
    pub(super) fn can_run(&self, guilty: usize, has_room: impl Fn(GroupId) -> bool) -> bool {
        self.next(guilty, has_room).is_some()
    }

    /// Takes the first suspect that can run now, for an empty worker.
    pub(super) fn take(
        &mut self,
        guilty: usize,
        has_room: impl Fn(GroupId) -> bool,
    ) -> Option<TaskId> {
        let position = self.next(guilty, has_room)?;
        let suspect = self.waiting.remove(position)?;
        if suspect.is_guilty {
            self.guilty_under_way.insert(suspect.task);
        }
        Some(suspect.task)
    }

    fn next(&self, guilty: usize, has_room: impl Fn(GroupId) -> bool) -> Option<usize> {
        let all = self.guilty_under_way.len() < guilty;
        let can_run = |suspect: &Suspect| (all || !suspect.is_guilty) && has_room(suspect.group);
        self.waiting.iter().position(can_run)
    }

    /// Notes that `task`, which may be a suspect, is no longer with a worker.
    pub(super) fn returned(&mut self, task: TaskId) {
        self.guilty_under_way.remove(&task);
    }

    /// Sets whether workers must become empty for a suspect.
    pub(super) const fn make_way(&mut self, makes_way: bool) {
        self.makes_way = makes_way;
    }

    pub(super) const fn makes_way(&self) -> bool {
        self.makes_way
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: GroupId = GroupId(1);
    const B: GroupId = GroupId(2);

    #[test]
    fn suspects_have_turns_and_the_guilty_among_them_so_many_places() {
        let guilty = |task| (task, A, true);
        let other = |task| (task, A, false);
        let of_b = |task| (task, B, false);
        // Waiting suspects; how many guilty ones may run; whether A has room; which are taken.
        let rows: [(&[_], _, _, &[u64]); 7] = [
            (&[], 9, true, &[]),
            (&[other(2), other(1), of_b(3)], 0, true, &[2, 1, 3]),
            (&[other(2), other(1), of_b(3)], 0, false, &[3]),
            (&[guilty(1), other(2)], 0, true, &[2]),
            (&[guilty(1), other(2), guilty(3)], 1, true, &[1, 2]),
            (&[guilty(1), guilty(3), other(2)], 2, true, &[1, 3, 2]),
            (&[guilty(1), of_b(2)], 9, false, &[2]),
        ];
        for (number, (waiting, most, a_has_room, expected)) in rows.into_iter().enumerate() {
            let mut suspects = Suspects::default();
            for &(task, group, is_guilty) in waiting {
                suspects.push(TaskId(task), group, is_guilty);
            }
            let has_room = |group| group != A || a_has_room;
            let mut taken = Vec::new();
            while suspects.can_run(most, has_room) {
                taken.extend(suspects.take(most, has_room));
            }
            let expected: Vec<_> = expected.iter().copied().map(TaskId).collect();
            assert_eq!(taken, expected, "row {number}");
            assert_eq!(suspects.take(most, has_room), None, "row {number}");
            let left = waiting.len() - expected.len();
            assert_eq!((suspects.len(), suspects.is_empty()), (left, left == 0));
        }
    }

    #[test]
    fn a_guilty_one_that_is_back_makes_room_for_another() {
        let mut suspects = Suspects::default();
        for task in [1, 2] {
            suspects.push(TaskId(task), A, true);
        }
        assert_eq!(suspects.take(1, |_| true), Some(TaskId(1)));
        assert_eq!(suspects.take(1, |_| true), None);
        suspects.returned(TaskId(7));
        assert_eq!(suspects.take(1, |_| true), None);
        suspects.returned(TaskId(1));
        suspects.push(TaskId(1), A, true);
        assert_eq!(suspects.take(1, |_| true), Some(TaskId(2)));
        assert!(suspects.contains(TaskId(1)) && !suspects.contains(TaskId(2)));
    }
}
