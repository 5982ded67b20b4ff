//! The ready queue: fair turns between hosts, and a cap on what one host is asked at once.
//!
//! Hosts with ready tasks and room under the cap stand in a rotation. The next turn is that of the
//! host with the least load, and among those of the one that has waited longest (max-min
//! fairness): while others wait, a host that is slow keeps no more places than its share, however
//! many tasks it has. A host at its cap steps out of the rotation until it has room again, so
//! that it costs the others nothing.
//!
//! A host can also be at **rest**: until a moment, it gets nothing.
//!
//! A host's **load** is the most downloads that can run against it at once: over all workers, the
//! tasks of the host that the worker holds, or its concurrency if that is less. (A worker that
//! holds nine tasks of a host and runs one at a time asks that host once at a time.)
//!
//! A host that pushes back has bounds of its own, below the cap (`queue/manners.rs`).
//!
//! A host is **heard** from if its latest download was answered. One that is not may be kept below
//! a load of its own ([`ReadyQueue::restrain`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use protocol::TaskId;

use super::event::HostId;

mod manners;

use manners::Manners;

/// A host with unfinished tasks, wherever those are.
#[derive(Debug, Default)]
struct Host {
    /// Its ready tasks.
    tasks: VecDeque<TaskId>,
    load: u32,
    unfinished: u32,
    heard: bool,
    /// How it takes what it is asked.
    manners: Manners,
    /// When it came to where it stands in the rotation, counted in turns.
    turn: u64,
}

/// Where a host stands in the rotation: those with the least load first.
type Standing = (u32, u64, HostId);

/// See the module.
#[derive(Debug)]
pub(super) struct ReadyQueue {
    cap: Option<u32>,
    /// Most load of a host that is not heard from.
    restraint: Option<u32>,
    /// Exactly the hosts with unfinished tasks.
    hosts: BTreeMap<HostId, Host>,
    /// Until when hosts are at rest; and the same in the order of time.
    resting: BTreeMap<HostId, Instant>,
    wakes: BTreeSet<(Instant, HostId)>,
    /// Exactly the hosts with tasks and room that are not at rest, each once.
    rotation: BTreeSet<Standing>,
    /// Turns so far.
    turns: u64,
    len: usize,
    /// Tasks of the hosts in the rotation.
    available: usize,
}

impl ReadyQueue {
    pub(super) const fn new(cap: Option<u32>) -> Self {
        Self {
            cap,
            restraint: None,
            hosts: BTreeMap::new(),
            resting: BTreeMap::new(),
            wakes: BTreeSet::new(),
            rotation: BTreeSet::new(),
            turns: 0,
            len: 0,
            available: 0,
        }
    }

    /// One more task of `host` is unfinished.
    pub(super) fn enter(&mut self, host: HostId) {
        self.hosts.entry(host).or_default().unfinished += 1;
    }

    /// A task of `host`, which is in no queue and with no worker, is finished. With its last task
    /// a host is forgotten.
    pub(super) fn leave(&mut self, host: HostId) {
        if let Some(entry) = self.hosts.get_mut(&host) {
            entry.unfinished -= 1;
            if entry.unfinished == 0 {
                self.hosts.remove(&host);
            }
        }
    }

    /// Hosts with unfinished tasks.
    pub(super) fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// Notes whether the latest download of `host` was answered.
    pub(super) fn hear(&mut self, host: HostId, heard: bool) {
        if let Some(entry) = self.hosts.get_mut(&host) {
            entry.heard = heard;
        }
    }

    /// From now on a host that is not heard from gets no turn that would take its load beyond
    /// `most`.
    pub(super) fn restrain(&mut self, most: Option<u32>) {
        self.restraint = most;
    }

    /// Ready tasks in all.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Ready tasks of hosts that may have a turn.
    pub(super) fn available(&self) -> usize {
        let restrained = self.restraint.map_or(0, |most| {
            let loaded = self.rotation.range((most, 0, HostId(0))..);
            loaded
                .filter_map(|(_, _, host)| self.hosts.get(host))
                .filter(|entry| !entry.heard)
                .map(|entry| entry.tasks.len())
                .sum()
        });
        self.available - restrained
    }

    pub(super) fn push_back(&mut self, host: HostId, task: TaskId) {
        self.push(host, |tasks| tasks.push_back(task));
    }

    pub(super) fn push_front(&mut self, host: HostId, task: TaskId) {
        self.push(host, |tasks| tasks.push_front(task));
    }

    fn push(&mut self, host: HostId, put: impl FnOnce(&mut VecDeque<TaskId>)) {
        let was = self.standing(host);
        put(&mut self.hosts.entry(host).or_default().tasks);
        self.len += 1;
        self.update(host, was);
    }

    /// The next host whose turn it is.
    pub(super) fn next_host(&self) -> Option<HostId> {
        self.turns().map(|(_, host)| host).next()
    }

    /// The load of that host.
    pub(super) fn least_load(&self) -> Option<u32> {
        self.turns().map(|(load, _)| load).next()
    }

    /// Whether `host`, which has been given something, may be given more before any other has
    /// its turn: if it gave up a place, that would be its own again.
    pub(super) fn keeps_turn(&self, host: HostId) -> bool {
        let load = self.hosts.get(&host).map_or(0, |entry| entry.load);
        self.turns()
            .find(|&(_, other)| other != host)
            .is_none_or(|(least, _)| least >= load)
    }

    /// The hosts that may have a turn, in the order of their turns, each with its load.
    fn turns(&self) -> impl Iterator<Item = (u32, HostId)> + '_ {
        self.rotation
            .iter()
            .filter(|(_, _, host)| {
                self.hosts
                    .get(host)
                    .is_some_and(|entry| !self.is_restrained(entry))
            })
            .map(|&(load, _, host)| (load, host))
    }

    fn is_restrained(&self, entry: &Host) -> bool {
        !entry.heard && self.restraint.is_some_and(|most| entry.load >= most)
    }

    /// A host with a ready task, whether it has room or not.
    pub(super) fn any_host(&self) -> Option<HostId> {
        self.hosts
            .iter()
            .find(|(_, host)| !host.tasks.is_empty())
            .map(|(&id, _)| id)
    }

    /// Whether `host` has a ready task.
    pub(super) fn has_ready(&self, host: HostId) -> bool {
        self.hosts.get(&host).is_some_and(|h| !h.tasks.is_empty())
    }

    /// Whether one more download may run against `host` now.
    pub(super) fn has_room(&self, host: HostId) -> bool {
        self.hosts
            .get(&host)
            .is_none_or(|entry| entry.load < self.most_load(entry) && !self.is_restrained(entry))
            && !self.is_resting(host)
    }

    /// Whether `host` is to get nothing now.
    pub(super) fn is_resting(&self, host: HostId) -> bool {
        self.resting.contains_key(&host)
    }

    /// Whether a worker that asks `host` as often as it can may hold more of it ahead: it begins that
    /// whenever it likes.
    pub(super) fn may_hold_ahead(&self, host: HostId) -> bool {
        !self.is_resting(host) && !self.is_under_pressure(host)
    }

    /// Gives `host` nothing until then, or for longer if that was said before.
    pub(super) fn rest(&mut self, host: HostId, until: Instant) {
        let was = self.standing(host);
        let earlier = self.resting.get(&host).copied();
        let until = earlier.map_or(until, |earlier| earlier.max(until));
        if let Some(earlier) = earlier {
            self.wakes.remove(&(earlier, host));
        }
        self.resting.insert(host, until);
        self.wakes.insert((until, host));
        self.update(host, was);
    }

    /// Ends every rest that is over.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some(&(until, host)) = self.wakes.first()
            && until <= now
        {
            let was = self.standing(host);
            self.wakes.pop_first();
            self.resting.remove(&host);
            self.update(host, was);
        }
    }

    /// When the next rest is over.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.wakes.first().map(|&(until, _)| until)
    }

    /// The task at the head of `host`'s queue, which stays there.
    pub(super) fn peek(&self, host: HostId) -> Option<TaskId> {
        self.hosts.get(&host)?.tasks.front().copied()
    }

    /// Takes the next task of `host`, which goes behind the others of its load.
    pub(super) fn pop(&mut self, host: HostId) -> Option<TaskId> {
        let was = self.standing(host);
        let task = self.hosts.get_mut(&host)?.tasks.pop_front()?;
        self.len -= 1;
        self.update(host, was);
        self.queue_up(host);
        Some(task)
    }

    /// One more download may run against `host`.
    pub(super) fn add_load(&mut self, host: HostId) {
        let was = self.standing(host);
        self.hosts.entry(host).or_default().load += 1;
        self.update(host, was);
    }

    /// One download less may run against `host`.
    pub(super) fn remove_load(&mut self, host: HostId) {
        let was = self.standing(host);
        if let Some(entry) = self.hosts.get_mut(&host) {
            entry.load = entry.load.saturating_sub(1);
        }
        self.update(host, was);
    }

    /// Where `host` stands in the rotation, if it does, and with how many tasks.
    fn standing(&self, host: HostId) -> Option<(Standing, usize)> {
        let entry = self.hosts.get(&host)?;
        let room = entry.load < self.most_load(entry) && !self.is_resting(host);
        let stands = room && !entry.tasks.is_empty();
        stands.then_some(((entry.load, entry.turn, host), entry.tasks.len()))
    }

    /// Puts `host` where it belongs after a change; `was` is where it stood before.
    fn update(&mut self, host: HostId, was: Option<(Standing, usize)>) {
        let is = self.standing(host);
        let tasks = |standing: Option<(Standing, usize)>| standing.map_or(0, |(_, tasks)| tasks);
        self.available = self.available - tasks(was) + tasks(is);
        match (was, is) {
            (None, Some((standing, _))) => {
                self.rotation.insert(standing);
                self.queue_up(host);
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

    /// Puts `host` behind the others of its load, if it stands in the rotation.
    fn queue_up(&mut self, host: HostId) {
        let Some((standing, _)) = self.standing(host) else {
            return;
        };
        self.turns += 1;
        self.rotation.remove(&standing);
        self.rotation.insert((standing.0, self.turns, host));
        if let Some(entry) = self.hosts.get_mut(&host) {
            entry.turn = self.turns;
        }
    }

    /// Checks the counters against what they count.
    pub(super) fn audit(&self) -> Result<(), String> {
        let len: usize = self.hosts.values().map(|host| host.tasks.len()).sum();
        if len != self.len {
            return Err(format!("ready queue counts {} of {len} tasks", self.len));
        }
        let standings = || self.hosts.keys().filter_map(|&host| self.standing(host));
        let standing: BTreeSet<_> = standings().map(|(standing, _)| standing).collect();
        if self.rotation != standing {
            let rotation = &self.rotation;
            return Err(format!(
                "hosts {rotation:?} have turns, {standing:?} should"
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

    /// How many unfinished tasks each host has.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = (HostId, u32)> + '_ {
        self.hosts
            .iter()
            .map(|(&host, entry)| (host, entry.unfinished))
    }

    /// The load of each host that has any.
    pub(super) fn loads(&self) -> impl Iterator<Item = (HostId, u32)> + '_ {
        self.hosts
            .iter()
            .filter(|(_, entry)| entry.load > 0)
            .map(|(&host, entry)| (host, entry.load))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: HostId = HostId(1);
    const B: HostId = HostId(2);

    fn put(queue: &mut ReadyQueue, host: HostId, task: u64) {
        queue.enter(host);
        queue.push_back(host, TaskId(task));
    }

    fn take(queue: &mut ReadyQueue) -> Option<u64> {
        let host = queue.next_host()?;
        queue.add_load(host);
        let task = queue.pop(host)?;
        queue.audit().expect("consistent");
        Some(task.0)
    }

    #[test]
    fn hosts_take_turns() {
        let mut queue = ReadyQueue::new(None);
        for n in 0..4 {
            put(&mut queue, A, n);
        }
        put(&mut queue, B, 10);
        put(&mut queue, B, 11);
        let order: Vec<_> = std::iter::from_fn(|| take(&mut queue)).collect();
        assert_eq!(order, [0, 10, 1, 11, 2, 3]);
    }

    #[test]
    fn a_host_at_its_cap_steps_aside_until_it_has_room() {
        let mut queue = ReadyQueue::new(Some(1));
        put(&mut queue, A, 0);
        put(&mut queue, A, 1);
        put(&mut queue, B, 10);
        assert_eq!(take(&mut queue), Some(0));
        assert_eq!(queue.available(), 1);
        assert_eq!(take(&mut queue), Some(10));
        assert_eq!(take(&mut queue), None);
        assert_eq!(queue.len(), 1);
        queue.remove_load(A);
        assert_eq!(take(&mut queue), Some(1));
    }

    #[test]
    fn a_host_at_rest_gets_nothing_until_it_is_over() {
        let now = Instant::now();
        let second = std::time::Duration::from_secs(1);
        let mut queue = ReadyQueue::new(None);
        put(&mut queue, A, 0);
        put(&mut queue, A, 1);
        queue.rest(A, now + 2 * second);
        queue.rest(A, now + second);
        put(&mut queue, B, 10);
        assert_eq!((take(&mut queue), take(&mut queue)), (Some(10), None));
        assert_eq!(queue.next_wake(), Some(now + 2 * second));
        queue.wake(now + second);
        assert_eq!(take(&mut queue), None);
        queue.wake(now + 2 * second);
        assert_eq!((take(&mut queue), queue.next_wake()), (Some(0), None));
    }

    #[test]
    fn what_comes_back_goes_first() {
        let mut queue = ReadyQueue::new(None);
        put(&mut queue, A, 1);
        queue.enter(A);
        queue.push_front(A, TaskId(0));
        assert_eq!(take(&mut queue), Some(0));
        assert_eq!(take(&mut queue), Some(1));
    }

    #[test]
    fn a_host_whose_downloads_do_not_end_keeps_its_share_and_no_more() {
        let mut queue = ReadyQueue::new(None);
        for n in 0..100 {
            put(&mut queue, A, n);
            put(&mut queue, B, 100 + n);
        }
        // Six places. What is asked of A never ends, what is asked of B does at once.
        let mut of_a = 0;
        for _ in 0..30 {
            let mut of_b = 0;
            while of_a + of_b < 6 {
                match take(&mut queue) {
                    Some(..100) => of_a += 1,
                    Some(_) => of_b += 1,
                    None => panic!("there is enough for all"),
                }
            }
            (0..of_b).for_each(|_| queue.remove_load(B));
        }
        assert_eq!(of_a, 3);
    }

    #[test]
    fn a_turn_is_kept_only_while_nobody_has_less() {
        let mut queue = ReadyQueue::new(None);
        for n in 0..3 {
            put(&mut queue, A, n);
        }
        assert_eq!(take(&mut queue), Some(0));
        assert!(queue.keeps_turn(A), "there is nobody else");
        put(&mut queue, B, 10);
        put(&mut queue, B, 11);
        assert!(!queue.keeps_turn(A), "B has nothing");
        assert_eq!(take(&mut queue), Some(10));
        assert!(queue.keeps_turn(A) && queue.keeps_turn(B), "both have one");
    }

    #[test]
    fn a_host_that_is_not_heard_from_is_held_back_until_it_is() {
        let mut queue = ReadyQueue::new(None);
        for n in 0..4 {
            put(&mut queue, A, n);
        }
        queue.restrain(Some(2));
        assert_eq!((take(&mut queue), take(&mut queue)), (Some(0), Some(1)));
        assert_eq!((queue.available(), queue.next_host()), (0, None));
        assert!(!queue.has_room(A));
        put(&mut queue, B, 10);
        assert_eq!((queue.available(), take(&mut queue)), (1, Some(10)));
        queue.hear(A, true);
        assert_eq!((queue.available(), take(&mut queue)), (2, Some(2)));
        queue.hear(A, false);
        assert_eq!(take(&mut queue), None);
        queue.restrain(None);
        assert_eq!(take(&mut queue), Some(3));
    }
}
