//! Decides which targets the member's run gets, and when. Partitions take turns, here and in the
//! run's list, so that a new partition does not wait for targets that were taken on before it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::partition::Held;
use crate::fence::{Fence, FencedTarget};
use crate::fleet::lease::{PARTITIONS, Partition};
use crate::input::{FedWriter, UrlKey};

/// Lower bounds of the limits on targets that the run has at once, in total and per partition.
/// Targets of slow hosts must not keep out those of other hosts.
const FEWEST: u64 = 1024;
const FEWEST_OF_EACH: usize = 16;

/// Longest time between two targets of the fleet: a year.
const LONGEST_SPACING: Duration = Duration::from_secs(365 * 24 * 3600);

/// Largest delay that later targets make up for (`--rate`).
const LATE: Duration = Duration::from_millis(20);

/// A target that the run has.
#[derive(Debug)]
struct Given {
    partition: Partition,
    /// Its number in the partition.
    task: u64,
    /// Its line in the run's list, kept because it may have to be handed out again.
    line: String,
}

impl Given {
    const fn fenced(&self) -> FencedTarget {
        (self.partition.0, self.task)
    }
}

/// The targets of the run, and the order in which they are handed out.
#[derive(Debug)]
pub(super) struct HandOut {
    /// The run's list; `None` once it has ended.
    list: Option<FedWriter>,
    /// Targets that the run has and has not yet recorded.
    outstanding: HashMap<UrlKey, Given>,
    /// Records which of these targets may be placed.
    fence: Fence,
    /// Largest number of targets that the run may have at once.
    most: usize,
    /// Time between two targets that the whole fleet begins (`--rate`), and the time at which this
    /// member hands out its next target.
    spacing: Duration,
    next_target: Instant,
    /// Number of targets that were handed out.
    given: u64,
}

impl HandOut {
    /// Creates the state for a run with `at_once` concurrent downloads.
    pub(super) fn new(list: FedWriter, fence: Fence, at_once: u64, spacing: Duration) -> Self {
        let most = FEWEST.max(at_once.saturating_mul(16));
        Self {
            list: Some(list),
            outstanding: HashMap::new(),
            fence,
            most: usize::try_from(most).unwrap_or(usize::MAX),
            spacing: spacing.min(LONGEST_SPACING),
            next_target: Instant::now(),
            given: 0,
        }
    }

    /// Ends the run's list.
    pub(super) fn end(&mut self) {
        self.list = None;
    }

    /// Returns whether the run accepts more targets.
    pub(super) const fn is_open(&self) -> bool {
        self.list.is_some()
    }

    /// Returns the number of targets that the run has.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Returns whether the run has this target.
    pub(super) fn has(&self, key: &UrlKey) -> bool {
        self.outstanding.contains_key(key)
    }

    /// Notes that the run recorded a target's outcome. Returns the target, if the run was given it.
    pub(super) fn recorded(&mut self, key: &UrlKey) -> Option<(Partition, u64)> {
        let given = self.outstanding.remove(key)?;
        self.fence.forget(given.fenced());
        Some((given.partition, given.task))
    }

    /// Handles a body that the run did not place. If this member owns the target now, it hands it
    /// out again; otherwise it removes the target from those that the run has.
    pub(super) fn refused(&mut self, key: UrlKey) {
        let Some(given) = self.outstanding.get(&key) else {
            return;
        };
        match &self.list {
            Some(list) if self.fence.is_granted(given.fenced()) => {
                list.push(given.partition.0, key, given.line.clone());
            }
            Some(_) | None => drop(self.outstanding.remove(&key)),
        }
    }

    /// Gives a target to the run. If the run still has it from an earlier claim on the partition,
    /// its body may be placed again.
    pub(super) fn give(
        &mut self,
        partition: Partition,
        handed: &mut HashSet<u64>,
        (task, key, line): (u64, UrlKey, String),
    ) {
        handed.insert(task);
        self.fence.grant((partition.0, task));
        if !self.has(&key)
            && let Some(list) = &self.list
        {
            list.push(partition.0, key, line.clone());
        }
        let given = Given {
            partition,
            task,
            line,
        };
        self.outstanding.insert(key, given);
    }

    /// Takes back the targets of a partition that the run has not read, for the next owner.
    pub(super) fn take_back(&mut self, partition: Partition, held: Option<&mut Held>) {
        let taken = self
            .list
            .iter()
            .flat_map(|list| list.take_back(partition.0));
        let taken: Vec<_> = taken
            .filter_map(|key| self.outstanding.remove(&key))
            .collect();
        for given in &taken {
            self.fence.forget(given.fenced());
        }
        if let Some(held) = held {
            for given in taken {
                held.handed.remove(&given.task);
            }
        }
    }

    /// Takes back the targets of a partition that may have another owner now. Also prevents the
    /// placement of those that the run has read.
    pub(super) fn revoke(&mut self, partition: Partition) {
        self.fence.revoke(partition.0);
        self.take_back(partition, None);
    }

    /// Returns when the next target may be handed out, if a target waits for that time.
    pub(super) fn wake(&self, all: &BTreeMap<Partition, Held>, now: Instant) -> Option<Instant> {
        let limit = self.limit(all);
        let paced = self.next_target > now && all.values().any(|held| self.may_have(held, limit));
        paced.then_some(self.next_target)
    }

    /// Hands targets to the run, one of each partition in turn. With `--rate`, the pace is at most
    /// this member's share of it.
    pub(super) fn go_on(&mut self, all: &mut BTreeMap<Partition, Held>, now: Instant) {
        if self.list.is_none() {
            return;
        }
        let share = f64::from(PARTITIONS) / all.len().max(1) as f64;
        let spacing = self.spacing.mul_f64(share);
        // Later targets make up for a small delay.
        let earliest = now.checked_sub(LATE).unwrap_or(now);
        self.next_target = self.next_target.max(earliest);
        let limit = self.limit(all);
        while self.next_target <= now {
            let waiting = all
                .iter_mut()
                .filter(|(_, held)| self.may_have(held, limit));
            let Some((partition, held)) = waiting.min_by_key(|(_, held)| held.turn) else {
                break;
            };
            let Some(target) = held.held_back.pop_front() else {
                break;
            };
            let progress = held.progress.as_ref();
            if progress.is_some_and(|progress| progress.has_outcome(target.0)) {
                // The run had it from an earlier claim on the partition.
                continue;
            }
            self.given += 1;
            held.turn = self.given;
            self.give(*partition, &mut held.handed, target);
            self.next_target += spacing;
        }
    }

    /// Returns how many targets of one partition the run may have.
    fn limit(&self, all: &BTreeMap<Partition, Held>) -> usize {
        let waiting = all.values().filter(|held| held.waits_for_run()).count();
        FEWEST_OF_EACH.max(self.most / waiting.max(1))
    }

    /// Returns whether the run may get a target of this partition. It may have one of each
    /// partition even if it has enough in total.
    fn may_have(&self, held: &Held, limit: usize) -> bool {
        let limit = match self.outstanding.len() < self.most {
            true => limit,
            false => 1,
        };
        held.waits_for_run() && held.handed.len() < limit
    }
}
