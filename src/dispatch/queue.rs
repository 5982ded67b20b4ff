//! The ready queue: fair turns between hosts, and a cap on what one host is asked at once.
//!
//! Hosts with ready tasks and room under the cap stand in a rotation; each turn takes one task of
//! the host at its head. A host at its cap steps out of the rotation until it has room again, so
//! that it costs the others nothing.
//!
//! A host can also be at **rest**: until a moment, it gets nothing.
//!
//! A host's **load** is the most downloads that can run against it at once: over all workers, the
//! tasks of the host that the worker holds, or its concurrency if that is less. (A worker that
//! holds nine tasks of a host and runs one at a time asks that host once at a time.)

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use protocol::TaskId;

use super::event::HostId;

#[derive(Debug, Default)]
struct Host {
    tasks: VecDeque<TaskId>,
    load: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct ReadyQueue {
    cap: Option<u32>,
    hosts: BTreeMap<HostId, Host>,
    /// Until when hosts are at rest; and the same in the order of time.
    resting: BTreeMap<HostId, Instant>,
    wakes: BTreeSet<(Instant, HostId)>,
    /// Exactly the hosts with tasks and room that are not at rest, each once.
    rotation: VecDeque<HostId>,
    len: usize,
    /// Tasks of the hosts in the rotation.
    available: usize,
}

impl ReadyQueue {
    pub(super) const fn new(cap: Option<u32>) -> Self {
        Self {
            cap,
            hosts: BTreeMap::new(),
            resting: BTreeMap::new(),
            wakes: BTreeSet::new(),
            rotation: VecDeque::new(),
            len: 0,
            available: 0,
        }
    }

    /// Ready tasks in all.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Ready tasks of hosts that have room.
    pub(super) const fn available(&self) -> usize {
        self.available
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
        self.rotation.front().copied()
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
        let load = self.hosts.get(&host).map_or(0, |entry| entry.load);
        self.cap.is_none_or(|cap| load < cap) && !self.is_resting(host)
    }

    /// Whether `host` is to get nothing now.
    pub(super) fn is_resting(&self, host: HostId) -> bool {
        self.resting.contains_key(&host)
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

    /// Takes the next task of `host`, which goes to the back of the rotation.
    pub(super) fn pop(&mut self, host: HostId) -> Option<TaskId> {
        let was = self.standing(host);
        let task = self.hosts.get_mut(&host)?.tasks.pop_front()?;
        self.len -= 1;
        if was.is_some() && self.rotation.front() == Some(&host) {
            self.rotation.rotate_left(1);
        }
        self.update(host, was);
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

    /// How many tasks `host` has in the rotation, if it stands there.
    fn standing(&self, host: HostId) -> Option<usize> {
        let entry = self.hosts.get(&host)?;
        let room = self.cap.is_none_or(|cap| entry.load < cap) && !self.is_resting(host);
        (room && !entry.tasks.is_empty()).then_some(entry.tasks.len())
    }

    /// Puts `host` where it belongs after a change; `was` is where it stood before.
    fn update(&mut self, host: HostId, was: Option<usize>) {
        let is = self.standing(host);
        self.available = self.available - was.unwrap_or(0) + is.unwrap_or(0);
        match (was, is) {
            (None, Some(_)) => self.rotation.push_back(host),
            (Some(_), None) => self.leave_rotation(host),
            (Some(_), Some(_)) | (None, None) => {}
        }
        if self
            .hosts
            .get(&host)
            .is_some_and(|entry| entry.tasks.is_empty() && entry.load == 0)
        {
            self.hosts.remove(&host);
        }
    }

    /// Nearly always the host whose turn it is or just was, so the search is rare.
    fn leave_rotation(&mut self, host: HostId) {
        if self.rotation.back() == Some(&host) {
            self.rotation.pop_back();
        } else if self.rotation.front() == Some(&host) {
            self.rotation.pop_front();
        } else {
            self.rotation.retain(|&other| other != host);
        }
    }

    /// Checks the counters against what they count.
    pub(super) fn audit(&self) -> Result<(), String> {
        let len: usize = self.hosts.values().map(|host| host.tasks.len()).sum();
        if len != self.len {
            return Err(format!("ready queue counts {} of {len} tasks", self.len));
        }
        let mut rotation: Vec<_> = self.rotation.iter().copied().collect();
        rotation.sort_unstable();
        let standing: Vec<_> = self
            .hosts
            .keys()
            .copied()
            .filter(|&host| self.standing(host).is_some())
            .collect();
        if rotation != standing {
            return Err(format!(
                "hosts {rotation:?} have turns, {standing:?} should"
            ));
        }
        let available: usize = standing
            .iter()
            .filter_map(|&host| self.standing(host))
            .sum();
        if available != self.available {
            return Err(format!(
                "{} tasks are counted available, {available} are",
                self.available
            ));
        }
        Ok(())
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
            queue.push_back(A, TaskId(n));
        }
        queue.push_back(B, TaskId(10));
        queue.push_back(B, TaskId(11));
        let order: Vec<_> = std::iter::from_fn(|| take(&mut queue)).collect();
        assert_eq!(order, [0, 10, 1, 11, 2, 3]);
    }

    #[test]
    fn a_host_at_its_cap_steps_aside_until_it_has_room() {
        let mut queue = ReadyQueue::new(Some(1));
        queue.push_back(A, TaskId(0));
        queue.push_back(A, TaskId(1));
        queue.push_back(B, TaskId(10));
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
        queue.push_back(A, TaskId(0));
        queue.push_back(A, TaskId(1));
        queue.rest(A, now + 2 * second);
        queue.rest(A, now + second);
        queue.push_back(B, TaskId(10));
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
        queue.push_back(A, TaskId(1));
        queue.push_front(A, TaskId(0));
        assert_eq!(take(&mut queue), Some(0));
        assert_eq!(take(&mut queue), Some(1));
    }
}
