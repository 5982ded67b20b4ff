//! What must hold between hosts: turns are fair, no task waits behind another host's, and no silent
//! host takes all places.

use std::collections::{BTreeMap, BTreeSet};

use coordinator::dispatch::Policy;
use protocol::{TaskId, WorkerId};

use super::{Observer, Verified};

/// A task that was assigned in this step.
#[derive(Debug)]
pub(super) struct Given {
    worker: WorkerId,
    task: TaskId,
    pub(super) host: u32,
    /// The load of its host, including this task. Prerequisites and suspects of the same step do
    /// not count: they may have been assigned later, because a step's assignments are sent worker
    /// by worker.
    load: u32,
    way: Way,
}

/// The kind of place that the task took.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// It is a suspect, which goes before all others, or a prerequisite, which has its own turns.
    Apart,
    /// A free place: it adds to the load of its host.
    Place,
    /// It is held ahead, in a worker that got a place for its host in the same step.
    Along,
    /// It is held ahead, in a worker that had no free place before this step.
    Ahead,
}

impl Observer {
    /// Returns the most that can run against each host at once, whichever tasks each worker starts.
    pub(super) fn loads(&self) -> BTreeMap<u32, u32> {
        let mut loads: BTreeMap<u32, u32> = BTreeMap::new();
        for seen in self.workers.values() {
            let mut of_worker: BTreeMap<u32, u32> = BTreeMap::new();
            for id in seen.held.keys() {
                *of_worker.entry(self.tasks[id].host).or_default() += 1;
            }
            for (host, held) in of_worker {
                *loads.entry(host).or_default() += held.min(self.limits.concurrency.into());
            }
        }
        loads
    }

    pub(super) fn hear(&mut self, task: TaskId, heard: bool) {
        let host = self.tasks[&task].host;
        if heard {
            self.heard.insert(host);
        } else {
            self.heard.remove(&host);
        }
    }

    fn hosts_with_work(&self) -> BTreeSet<u32> {
        let unfinished = self.tasks.values().filter(|task| !task.finished);
        unfinished.map(|task| task.host).collect()
    }

    /// Forgets the host of `task` if that was its last task.
    pub(super) fn forget_host_of(&mut self, task: TaskId) {
        self.forget_host(self.tasks[&task].host);
    }

    /// Forgets `host`, which a task has left, if that was its last task.
    pub(super) fn forget_host(&mut self, host: u32) {
        if !self.hosts_with_work().contains(&host) {
            self.heard.remove(&host);
        }
    }

    /// Notes that `worker` is about to hold `task` as well.
    pub(super) fn give(
        &mut self,
        worker: WorkerId,
        task: TaskId,
        host: u32,
        apart: bool,
    ) -> Verified {
        let held = &self.workers[&worker].held;
        let concurrency = usize::from(self.limits.concurrency);
        let of_host = held.keys().filter(|id| self.tasks[id].host == host);
        let way = if apart {
            Way::Apart
        } else if held.len() < concurrency {
            Way::Place
        } else if self.limits.policy == Policy::Shared && of_host.count() < concurrency {
            return Err(format!(
                "8: task {task} waits in {worker} behind other hosts"
            ));
        } else if self
            .given
            .iter()
            .any(|given| given.worker == worker && given.way == Way::Place)
        {
            Way::Along
        } else {
            Way::Ahead
        };
        let with_apart = self.loads().get(&host).copied().unwrap_or(0);
        let apart = |given: &&Given| given.host == host && given.way == Way::Apart;
        let apart = self.given.iter().filter(apart).count();
        let load = with_apart.saturating_sub(u32::try_from(apart).unwrap_or(u32::MAX));
        self.given.push(Given {
            worker,
            task,
            host,
            load: load + u32::from(way == Way::Place),
            way,
        });
        Ok(())
    }

    /// Checks the assignments of this step, which is complete.
    pub fn settle(&mut self, now: u64) -> Verified {
        let given = std::mem::take(&mut self.given);
        if self.limits.policy == Policy::Chunked || self.ending || self.finished {
            return Ok(());
        }
        let loads = self.loads();
        let load = |host: u32| loads.get(&host).copied().unwrap_or(0);
        let most = self.most_of_a_silent_host();
        for Given {
            task, host, way, ..
        } in &given
        {
            let silent = !self.heard.contains(host);
            if matches!(way, Way::Apart | Way::Place)
                && silent
                && most.is_some_and(|most| load(*host) > most)
            {
                return Err(format!(
                    "8: task {task} gives {} places to host {host}, which does not answer",
                    load(*host)
                ));
            }
        }
        for waiting in self.waiting(now, &loads, most) {
            for Given {
                task,
                host,
                load: with_it,
                way,
                ..
            } in &given
            {
                // With one place less, the host would have as few as the waiting one.
                let unfair = match way {
                    Way::Apart => false,
                    Way::Place | Way::Along => *with_it > load(waiting) + 1,
                    Way::Ahead => *with_it > load(waiting),
                };
                if unfair && *host != waiting {
                    return Err(format!(
                        "8: task {task} of host {host} was assigned before one of {waiting}, \
                         loads are {loads:?}"
                    ));
                }
            }
            if let Some(idle) = self.idle(now) {
                return Err(format!("8: {idle} is idle while host {waiting} waits"));
            }
        }
        Ok(())
    }

    /// Returns the most places that a silent host may get, if there is such a limit.
    fn most_of_a_silent_host(&self) -> Option<u32> {
        let retired = |slot: &u16| {
            let deaths = self.barren_slots.get(slot).copied().unwrap_or(0);
            deaths >= self.limits.slot_deaths
        };
        let slots = (0..self.limits.workers).filter(|slot| !retired(slot));
        let places = slots.count() * usize::from(self.limits.concurrency);
        let unfinished = self.tasks.values().filter(|task| !task.finished).count();
        let may_come = !self.input_ended && unfinished < self.limits.lookahead_max;
        let alone = self.hosts_with_work().len() < 2 && !may_come;
        (places > 1 && !alone).then(|| u32::try_from(places / 2).unwrap_or(u32::MAX))
    }

    /// Returns the hosts with a task of the input that could be assigned now.
    fn waiting(&self, now: u64, loads: &BTreeMap<u32, u32>, most: Option<u32>) -> BTreeSet<u32> {
        let ready = self.tasks.iter().filter(|(_, task)| {
            let apart = task.suspect || task.prerequisite;
            !task.finished && !apart && task.leased.is_none() && task.not_before <= now
        });
        let ready = ready
            .filter(|(id, _)| !self.placing.contains_key(id))
            .map(|(_, task)| task);
        let mut hosts: BTreeSet<u32> = ready.map(|task| task.host).collect();
        hosts.retain(|host| {
            let load = loads.get(host).copied().unwrap_or(0);
            let rests = self.next_of_host.get(host).is_some_and(|&at| at > now);
            let silent = !self.heard.contains(host);
            let is_held_back = rests || self.pushing.contains(host);
            !is_held_back
                && self.limits.per_group.is_none_or(|cap| load < cap)
                && !(silent && most.is_some_and(|most| load >= most))
        });
        hosts
    }

    /// Returns a worker that could be assigned a task and has none.
    fn idle(&self, now: u64) -> Option<WorkerId> {
        let suspects = |task: &super::Task| !task.finished && task.suspect;
        let full = self.placing.len() >= self.limits.placing;
        if full || now < self.next_turn || self.tasks.values().any(suspects) {
            return None;
        }
        let most = self.limits.worker_tasks.map_or(u32::MAX, u32::from);
        let mut idle = self.workers.iter().filter(|(worker, seen)| {
            seen.is_idle() && worker.slot.0 < self.limits.workers && seen.given < most
        });
        idle.next().map(|(&worker, _)| worker)
    }
}
