//! A slot of the pool, and the worker in it.
//!
//! ```text
//!              Spawn              WorkerReady             Dismiss
//!   Vacant -----------> Starting -------------> Ready -------------> Leaving
//!     ^                    |                      |                     |
//!     |                    | Terminate, Kill      | Terminate, Kill     | Terminate, Kill
//!     |                    v                      v                     v
//!     |                    +-------------------> Dying <----------------+
//!     |                                           |  | Kill, if it was only asked to end
//!     +---- WorkerExited (from any state) --------+--+
//!     |
//!     +---- after too many deaths without progress --> Retired
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use protocol::{Epoch, SlotId, TaskId, WorkerId};

use super::blame::Before;
use super::event::{DeadlineCause, GroupId, KillReason};
use super::task::Task;

/// How much work a worker should hold, so that it need not wait for the coordinator: more than it
/// takes the coordinator to get processor time on a busy machine.
const AHEAD: Duration = Duration::from_millis(20);
/// Tasks held ahead while it is unknown how long they take.
const UNKNOWN_AHEAD: usize = 16;
/// Fewest tasks held ahead, however long they take: the end of one is known only after a moment.
const LEAST_AHEAD: usize = 2;

/// The state of a slot and its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SlotState {
    /// No worker, and none may start before this time.
    Vacant { not_before: Instant },
    /// Permanently without a worker, because too many in a row died without progress.
    Retired,
    /// Spawned, not ready yet.
    Starting { deadline: Instant },
    /// Ready for tasks.
    Ready,
    /// Told to leave.
    Leaving { deadline: Instant },
    /// Asked to exit, and killed at `kill_at`; or killed already, if that is `None`.
    Dying {
        reason: KillReason,
        kill_at: Option<Instant>,
    },
}

/// A slot of the pool.
#[derive(Debug)]
pub(super) struct Slot {
    id: SlotId,
    /// The epoch of the current worker, or of the last one while vacant; 0 before the first.
    epoch: u32,
    state: SlotState,
    /// Leased and not known to have started, in the order of assignment.
    queue: VecDeque<TaskId>,
    /// Leased and started, as far as the worker has reported. It reports late: it may have ended
    /// some of these, or started some of `queue`. It then reports that before its next sign of
    /// life.
    running: BTreeSet<TaskId>,
    /// Bytes of the assignments in `queue`: at least what is still unread in the worker's channel.
    bytes: u32,
    /// Leases by group.
    groups: BTreeMap<GroupId, u32>,
    /// It holds a suspect, and may hold nothing else.
    alone: bool,
    /// It gets nothing more until it is empty, and then takes a suspect.
    reserved: bool,
    /// The pool was made smaller: the slot gets no more tasks and workers, unless the pool grows
    /// again.
    closed: bool,
    /// Tasks that the worker may still be given before it is replaced; `None` is no limit.
    quota: Option<u32>,
    /// The group that served the worker's latest answer.
    served_by: Option<GroupId>,
    /// When the worker last started a task, and the mean time between recent starts, if it has
    /// started two.
    began: Option<Instant>,
    pace: Option<Duration>,
    /// When a worker last answered a task.
    answered: Option<Instant>,
    /// The current worker has answered a task.
    progress: bool,
    /// Deaths in a row without progress.
    deaths_without_progress: u32,
}

impl Slot {
    pub(super) const fn new(id: SlotId, now: Instant) -> Self {
        Self {
            id,
            epoch: 0,
            state: SlotState::Vacant { not_before: now },
            queue: VecDeque::new(),
            running: BTreeSet::new(),
            bytes: 0,
            groups: BTreeMap::new(),
            alone: false,
            reserved: false,
            closed: false,
            quota: None,
            served_by: None,
            began: None,
            pace: None,
            answered: None,
            progress: false,
            deaths_without_progress: 0,
        }
    }

    /// Returns the current worker, or the last one.
    pub(super) const fn worker(&self) -> WorkerId {
        WorkerId {
            slot: self.id,
            epoch: Epoch(self.epoch),
        }
    }

    pub(super) const fn id(&self) -> SlotId {
        self.id
    }

    pub(super) const fn state(&self) -> &SlotState {
        &self.state
    }

    /// Returns whether `worker` is in the slot now.
    pub(super) fn is(&self, worker: WorkerId) -> bool {
        self.worker() == worker && !self.is_vacant()
    }

    /// Returns the number of leases that it holds.
    pub(super) fn held(&self) -> usize {
        self.queue.len() + self.running.len()
    }

    /// Returns whether it has no worker.
    pub(super) const fn is_vacant(&self) -> bool {
        matches!(self.state, SlotState::Vacant { .. } | SlotState::Retired)
    }

    /// Returns whether it can have workers, now or later.
    pub(super) const fn is_in_use(&self) -> bool {
        !self.closed && !matches!(self.state, SlotState::Retired)
    }

    /// Returns whether its worker has been asked to exit or killed.
    pub(super) const fn is_dying(&self) -> bool {
        matches!(self.state, SlotState::Dying { .. })
    }

    pub(super) const fn is_ready(&self) -> bool {
        matches!(self.state, SlotState::Ready)
    }

    /// Returns whether it may be assigned ordinary tasks, as far as the slot itself is concerned.
    pub(super) const fn is_open(&self) -> bool {
        self.takes_tasks() && !self.alone && !self.reserved
    }

    /// Returns whether its worker is ready and will not leave when it is empty, whatever it holds.
    pub(super) const fn takes_tasks(&self) -> bool {
        self.is_ready() && !self.closed && !matches!(self.quota, Some(0))
    }

    /// Returns what the core has told the worker that is now gone.
    pub(super) fn told(&self) -> Before<'_> {
        match &self.state {
            SlotState::Leaving { .. } if self.held() == 0 => Before::Dismissed,
            SlotState::Dying { reason, .. } => Before::Condemned(reason),
            SlotState::Vacant { .. }
            | SlotState::Retired
            | SlotState::Starting { .. }
            | SlotState::Ready
            | SlotState::Leaving { .. } => Before::Unasked,
        }
    }

    /// Returns when the core must act on the worker, whatever the worker sends, and why.
    pub(super) const fn due(&self) -> Option<(Instant, DeadlineCause)> {
        match self.state {
            SlotState::Starting { deadline } => Some((deadline, DeadlineCause::Start)),
            SlotState::Leaving { deadline } => Some((deadline, DeadlineCause::Leave)),
            SlotState::Dying {
                kill_at: Some(at), ..
            } => Some((at, DeadlineCause::Kill)),
            SlotState::Dying { kill_at: None, .. }
            | SlotState::Vacant { .. }
            | SlotState::Retired
            | SlotState::Ready => None,
        }
    }

    /// Returns the earliest time at which it may get a worker, if it has none.
    pub(super) const fn not_before(&self) -> Option<Instant> {
        match self.state {
            SlotState::Vacant { not_before } if !self.closed => Some(not_before),
            SlotState::Vacant { .. }
            | SlotState::Retired
            | SlotState::Starting { .. }
            | SlotState::Ready
            | SlotState::Leaving { .. }
            | SlotState::Dying { .. } => None,
        }
    }

    /// Starts the next worker, which must be ready by `deadline` and may be assigned `tasks` tasks.
    /// The first worker of one of `slots` slots gets fewer.
    pub(super) fn spawn(
        &mut self,
        deadline: Instant,
        tasks: Option<NonZeroU32>,
        slots: u16,
    ) -> WorkerId {
        self.epoch += 1;
        self.progress = false;
        self.quota = tasks.map(|tasks| quota(tasks, slots, self.worker()));
        self.state = SlotState::Starting { deadline };
        self.worker()
    }

    /// Notes that the worker, which was starting, is ready.
    pub(super) fn begin(&mut self) {
        debug_assert!(matches!(self.state, SlotState::Starting { .. }));
        self.state = SlotState::Ready;
    }

    /// Notes that the worker, which holds nothing, has been told to leave.
    pub(super) fn dismiss(&mut self, deadline: Instant) -> WorkerId {
        self.state = SlotState::Leaving { deadline };
        self.worker()
    }

    /// Gives up the worker. It is killed at `kill_at`, or has been killed if that is `None`.
    pub(super) fn condemn(&mut self, reason: KillReason, kill_at: Option<Instant>) {
        self.state = SlotState::Dying { reason, kill_at };
    }

    /// Notes that the worker, which was asked to exit, is killed now, and returns why it was asked.
    /// Returns `None` if it was not asked, or is killed already.
    pub(super) fn hurry(&mut self) -> Option<KillReason> {
        match &mut self.state {
            SlotState::Dying { reason, kill_at } => kill_at.take().map(|_| reason.clone()),
            SlotState::Vacant { .. }
            | SlotState::Retired
            | SlotState::Starting { .. }
            | SlotState::Ready
            | SlotState::Leaving { .. } => None,
        }
    }

    /// Removes the worker, which is gone. The next may start at `not_before`.
    pub(super) fn vacate(&mut self, not_before: Instant) {
        self.reserved = false;
        self.state = SlotState::Vacant { not_before };
    }

    /// Counts a death without progress, and returns how many there have been in a row.
    pub(super) const fn died_without_progress(&mut self) -> u32 {
        self.deaths_without_progress = self.deaths_without_progress.saturating_add(1);
        self.deaths_without_progress
    }

    /// Gives up the slot permanently.
    pub(super) fn retire(&mut self) {
        self.state = SlotState::Retired;
    }

    /// Applies a new size of the pool: the slot is closed or in use. A retired slot gets another
    /// chance.
    pub(super) fn resize(&mut self, now: Instant, is_closed: bool) {
        self.closed = is_closed;
        if self.state == SlotState::Retired {
            self.deaths_without_progress = 0;
            self.state = SlotState::Vacant { not_before: now };
        }
    }

    /// Extends the deadline of the worker, if it has one, by `pause`.
    pub(super) fn extend(&mut self, pause: Duration) {
        match &mut self.state {
            SlotState::Starting { deadline } | SlotState::Leaving { deadline } => {
                *deadline += pause;
            }
            SlotState::Dying { kill_at, .. } => *kill_at = kill_at.map(|at| at + pause),
            SlotState::Vacant { .. } | SlotState::Retired | SlotState::Ready => {}
        }
    }

    /// Returns what is leased and not known to have started, in the order of assignment.
    pub(super) const fn queue(&self) -> &VecDeque<TaskId> {
        &self.queue
    }

    /// Returns what is leased and started, as far as the worker has reported.
    pub(super) const fn running(&self) -> &BTreeSet<TaskId> {
        &self.running
    }

    /// Returns all leased tasks, in the order in which they start.
    pub(super) fn all_held(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.running.iter().chain(&self.queue).copied()
    }

    /// Returns the number of leases by group.
    pub(super) const fn groups(&self) -> &BTreeMap<GroupId, u32> {
        &self.groups
    }

    /// Returns the number of leases on tasks of `group`.
    pub(super) fn held_of(&self, group: GroupId) -> u32 {
        self.groups.get(&group).copied().unwrap_or(0)
    }

    /// Returns the bytes of assignments that may still be unread.
    pub(super) const fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Returns whether its worker may be sent `size` more bytes, if it may have `most` unread. One
    /// task is always allowed.
    pub(super) const fn has_credit(&self, size: u32, most: u32) -> bool {
        self.bytes == 0 || self.bytes.saturating_add(size) <= most
    }

    /// Assigns `id` to the worker, and returns how many tasks of that group it then holds.
    pub(super) fn hold(&mut self, id: TaskId, task: &Task) -> u32 {
        self.queue.push_back(id);
        self.quota = self.quota.map(|quota| quota.saturating_sub(1));
        self.bytes += task.size;
        self.alone = task.suspect;
        let of_group = self.groups.entry(task.group).or_insert(0);
        *of_group += 1;
        *of_group
    }

    /// Notes that the worker started `id` at this time. It has read the assignment by now.
    pub(super) fn start(&mut self, id: TaskId, task: &Task, at: Instant) {
        self.unqueue(id, task);
        self.running.insert(id);
        if let Some(before) = self.began.replace(at) {
            let gap = at.saturating_duration_since(before);
            // The worker may have been without a task for a while.
            self.pace = Some(
                self.pace
                    .map_or(gap, |pace| (pace * 3 + gap.min(pace * 2)) / 4),
            );
        }
    }

    /// Removes `id` from the worker's tasks, and returns how many of that group it still holds.
    pub(super) fn drop(&mut self, id: TaskId, task: &Task) -> u32 {
        if !self.running.remove(&id) {
            self.unqueue(id, task);
        }
        self.alone = false;
        let Some(of_group) = self.groups.get_mut(&task.group) else {
            return 0;
        };
        *of_group -= 1;
        let left = *of_group;
        if left == 0 {
            self.groups.remove(&task.group);
        }
        left
    }

    fn unqueue(&mut self, id: TaskId, task: &Task) {
        self.bytes -= task.size;
        // Workers start tasks in the order of assignment, so it is nearly always the first.
        if self.queue.front() == Some(&id) {
            self.queue.pop_front();
        } else {
            self.queue.retain(|&other| other != id);
        }
    }

    /// Returns a task to the worker's quota, because the worker gave it back.
    pub(super) fn refund(&mut self) {
        self.quota = self.quota.map(|quota| quota + 1);
    }

    /// Notes that the worker answered a task.
    pub(super) const fn answered(&mut self, now: Instant) {
        self.answered = Some(now);
        self.progress = true;
        self.deaths_without_progress = 0;
    }

    /// Returns when a worker last answered a task.
    pub(super) const fn last_answer(&self) -> Option<Instant> {
        self.answered
    }

    /// Returns whether the current worker has answered a task.
    pub(super) const fn has_progress(&self) -> bool {
        self.progress
    }

    /// Notes that `group` served the worker's latest answer.
    pub(super) const fn served(&mut self, group: GroupId) {
        self.served_by = Some(group);
    }

    /// Returns the group that served the worker's latest answer.
    pub(super) const fn served_by(&self) -> Option<GroupId> {
        self.served_by
    }

    /// Sets whether it gets nothing more until it is empty, and then takes a suspect.
    pub(super) const fn reserve(&mut self, is_reserved: bool) {
        self.reserved = is_reserved;
    }

    pub(super) const fn is_reserved(&self) -> bool {
        self.reserved
    }

    /// Returns whether it holds a suspect, and may hold nothing else.
    pub(super) const fn is_alone(&self) -> bool {
        self.alone
    }

    /// Returns whether it was closed when the pool was made smaller.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns how many tasks the worker should hold beyond those it runs: as many as take it
    /// [`AHEAD`], and at most `most`.
    pub(super) fn ahead(&self, most: usize) -> usize {
        let Some(pace) = self.pace else {
            return most.min(UNKNOWN_AHEAD);
        };
        let tasks = AHEAD.as_nanos() / pace.as_nanos().max(1);
        usize::try_from(tasks)
            .unwrap_or(most)
            .clamp(most.min(LEAST_AHEAD), most)
    }
}

/// Returns the quota of `worker`, in one of `slots` slots. For the first workers of the slots it
/// falls evenly from `tasks` to half of that, so that not all leave at the same time.
fn quota(tasks: NonZeroU32, slots: u16, worker: WorkerId) -> u32 {
    let tasks = tasks.get();
    if worker.epoch.0 > 1 {
        return tasks;
    }
    let (slot, slots) = (u64::from(worker.slot.0), u64::from(slots).max(1));
    let less = u64::from(tasks / 2) * (slot % slots) / slots;
    tasks - u32::try_from(less).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn slot(now: Instant) -> Slot {
        Slot::new(SlotId(0), now)
    }

    fn task(now: Instant, group: u32, size: u32) -> Task {
        Task::new(now, GroupId(group), size)
    }

    #[test]
    fn a_worker_comes_and_goes() {
        use DeadlineCause::{Kill, Leave, Start};
        type Step = fn(&mut Slot, Instant);
        let spawn: Step = |slot, now| {
            slot.spawn(now + SECOND, None, 1);
        };
        let begin: Step = |slot, _| slot.begin();
        let dismiss: Step = |slot, now| {
            slot.dismiss(now + 2 * SECOND);
        };
        let ask: Step = |slot, now| slot.condemn(KillReason::Silent, Some(now + 3 * SECOND));
        let kill: Step = |slot, _| slot.condemn(KillReason::RunEnds, None);
        let hurry: Step = |slot, _| assert_eq!(slot.hurry(), Some(KillReason::Silent));
        let no_hurry: Step = |slot, _| assert_eq!(slot.hurry(), None);
        let extend: Step = |slot, _| slot.extend(SECOND);
        let vacate: Step = |slot, now| slot.vacate(now + 4 * SECOND);
        let retire: Step = |slot, _| slot.retire();
        let close: Step = |slot, now| slot.resize(now, true);
        let reopen: Step = |slot, now| slot.resize(now, false);
        // Steps; then whether it takes tasks and can have workers; what is due and when; and when
        // its next worker may start.
        let rows: [(&[Step], _, _, _); 14] = [
            (&[], [false, true], None, Some(0)),
            (&[spawn], [false, true], Some((1, Start)), None),
            (&[spawn, extend], [false, true], Some((2, Start)), None),
            (&[spawn, begin, no_hurry], [true, true], None, None),
            (
                &[spawn, begin, dismiss],
                [false, true],
                Some((2, Leave)),
                None,
            ),
            (
                &[spawn, dismiss, extend],
                [false, true],
                Some((3, Leave)),
                None,
            ),
            (&[spawn, ask], [false, true], Some((3, Kill)), None),
            (&[spawn, ask, extend], [false, true], Some((4, Kill)), None),
            (
                &[spawn, ask, hurry, no_hurry, extend],
                [false, true],
                None,
                None,
            ),
            (&[spawn, kill, no_hurry], [false, true], None, None),
            (&[spawn, begin, vacate], [false, true], None, Some(4)),
            (&[spawn, retire], [false, false], None, None),
            (&[spawn, begin, close], [false, false], None, None),
            (&[spawn, retire, reopen], [false, true], None, Some(0)),
        ];
        for (number, (steps, [takes, in_use], due, not_before)) in rows.into_iter().enumerate() {
            let now = Instant::now();
            let mut slot = slot(now);
            steps.iter().for_each(|step| step(&mut slot, now));
            assert_eq!(slot.takes_tasks(), takes, "row {number}");
            assert_eq!(slot.is_in_use(), in_use, "row {number}");
            let due = due.map(|(seconds, cause)| (now + seconds * SECOND, cause));
            assert_eq!(slot.due(), due, "row {number}");
            let not_before = not_before.map(|seconds| now + seconds * SECOND);
            assert_eq!(slot.not_before(), not_before, "row {number}");
        }
    }

    #[test]
    fn what_a_worker_had_been_told_is_known_when_it_is_gone() {
        let now = Instant::now();
        let mut slot = slot(now);
        slot.spawn(now, None, 1);
        assert!(matches!(slot.told(), Before::Unasked));
        slot.begin();
        slot.hold(TaskId(1), &task(now, 1, 1));
        slot.dismiss(now);
        // It still had work.
        assert!(matches!(slot.told(), Before::Unasked));
        slot.drop(TaskId(1), &task(now, 1, 1));
        assert!(matches!(slot.told(), Before::Dismissed));
        slot.condemn(KillReason::Overstayed, None);
        assert!(matches!(
            slot.told(),
            Before::Condemned(KillReason::Overstayed)
        ));
    }

    #[test]
    fn what_a_worker_holds_is_counted() {
        let now = Instant::now();
        let mut slot = slot(now);
        slot.spawn(now, NonZeroU32::new(3), 1);
        slot.begin();
        let [small, large] = [task(now, 1, 10), task(now, 2, 90)];
        let suspect = Task {
            suspect: true,
            ..task(now, 1, 5)
        };
        assert!(slot.has_credit(500, 100), "the first may be of any size");
        assert_eq!(slot.hold(TaskId(1), &small), 1);
        assert_eq!(slot.hold(TaskId(2), &small), 2);
        assert_eq!(
            (slot.has_credit(80, 100), slot.has_credit(81, 100)),
            (true, false)
        );
        assert_eq!(slot.hold(TaskId(3), &large), 1);
        assert_eq!(
            (slot.held(), slot.bytes(), slot.takes_tasks()),
            (3, 110, false)
        );
        // It has used up its quota, but gives a task back.
        slot.refund();
        assert!(slot.takes_tasks());
        slot.start(TaskId(2), &small, now);
        assert_eq!((slot.held(), slot.bytes()), (3, 100));
        let held: Vec<_> = slot.all_held().map(|task| task.0).collect();
        assert_eq!(held, [2, 1, 3]);
        assert_eq!(slot.drop(TaskId(2), &small), 1);
        assert_eq!(slot.drop(TaskId(1), &small), 0);
        assert_eq!((slot.held(), slot.bytes()), (1, 90));
        assert_eq!((slot.held_of(GroupId(1)), slot.held_of(GroupId(2))), (0, 1));
        slot.drop(TaskId(3), &large);
        slot.hold(TaskId(4), &suspect);
        assert_eq!((slot.is_alone(), slot.is_open()), (true, false));
        slot.drop(TaskId(4), &suspect);
        assert_eq!((slot.is_alone(), slot.held(), slot.bytes()), (false, 0, 0));
    }

    #[test]
    fn as_much_is_held_ahead_as_takes_a_moment() {
        // Milliseconds between the starts of tasks; how many of 64 tasks are worth holding ahead.
        let rows: [(&[u64], usize); 6] = [
            (&[], UNKNOWN_AHEAD),
            (&[1], 20),
            (&[0], 64),
            (&[10], 2),
            (&[100], LEAST_AHEAD),
            // A worker that waited long for its next task is not slow.
            (&[1, 1000], 16),
        ];
        for (number, (gaps, ahead)) in rows.into_iter().enumerate() {
            let now = Instant::now();
            let mut slot = slot(now);
            let mut at = now;
            let mut begin = |at| {
                slot.hold(TaskId(1), &task(now, 1, 1));
                slot.start(TaskId(1), &task(now, 1, 1), at);
                slot.drop(TaskId(1), &task(now, 1, 1));
            };
            begin(at);
            for &gap in gaps {
                at += Duration::from_millis(gap);
                begin(at);
            }
            assert_eq!(slot.ahead(64), ahead, "row {number}");
            assert_eq!(slot.ahead(1), 1, "row {number}");
        }
    }

    #[test]
    fn deaths_without_progress_are_counted_in_a_row() {
        let now = Instant::now();
        let mut slot = slot(now);
        assert_eq!([(); 2].map(|()| slot.died_without_progress()), [1, 2]);
        assert!(!slot.has_progress());
        slot.answered(now);
        assert!(slot.has_progress() && slot.last_answer() == Some(now));
        assert_eq!(slot.died_without_progress(), 1);
        slot.spawn(now, None, 1);
        assert!(!slot.has_progress(), "that was another worker");
        slot.retire();
        slot.resize(now, false);
        assert_eq!(slot.died_without_progress(), 1);
    }

    #[test]
    fn the_first_workers_have_shares_that_end_one_after_the_other() {
        // Tasks for each worker; slot (of four) and epoch; quota.
        for (tasks, slot, epoch, share) in [
            (100, 0, 1, 100),
            (100, 1, 1, 88),
            (100, 2, 1, 75),
            (100, 3, 1, 63),
            (100, 3, 2, 100),
            // A slot beyond the initial number.
            (100, 5, 1, 88),
            (1, 3, 1, 1),
        ] {
            let worker = WorkerId {
                slot: SlotId(slot),
                epoch: Epoch(epoch),
            };
            let tasks = NonZeroU32::new(tasks).expect("some");
            assert_eq!(quota(tasks, 4, worker), share, "{tasks} {slot} {epoch}");
        }
    }
}
