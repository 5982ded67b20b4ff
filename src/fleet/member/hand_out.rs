//! What the member's run is given, and when. Partitions take turns, here and in the run's list, so that
//! one that was just taken over does not wait for what was taken on before it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::partition::Held;
use crate::fence::{Fence, FencedTarget};
use crate::fleet::lease::{PARTITIONS, Partition};
use crate::input::{FedWriter, UrlKey};

/// Fewest targets that the run may have at once, in all and of a partition: hosts that are asked
/// slowly must not keep those of others away.
const FEWEST: u64 = 1024;
const FEWEST_OF_EACH: usize = 16;

/// Longest time between two targets of the fleet: a year.
const LONGEST_SPACING: Duration = Duration::from_secs(365 * 24 * 3600);

/// How late a target may be handed out (`--rate`) without a gap to those after it.
const LATE: Duration = Duration::from_millis(20);

/// A target that the run has.
#[derive(Debug)]
struct Given {
    partition: Partition,
    /// Its number there.
    task: u64,
    /// Its line in the run's list: it may have to be handed out again.
    line: String,
}

impl Given {
    const fn fenced(&self) -> FencedTarget {
        (self.partition.0, self.task)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct HandOut {
    /// The run's list; gone once it is to end.
    list: Option<FedWriter>,
    /// What the run has and has not recorded.
    outstanding: HashMap<UrlKey, Given>,
    /// What of that may be put in place.
    fence: Fence,
    /// How many targets the run may have at once.
    most: usize,
    /// Time between two targets that the whole fleet begins (`--rate`), and when this member hands
    /// out the next.
    spacing: Duration,
    next_target: Instant,
    /// How many targets were handed out.
    given: u64,
}

impl HandOut {
    /// For a run that downloads so many at once.
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

    /// The run's list ends.
    pub(super) fn end(&mut self) {
        self.list = None;
    }

    /// Whether the run takes more.
    pub(super) const fn is_open(&self) -> bool {
        self.list.is_some()
    }

    /// How many targets the run has.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Whether the run has this target.
    pub(super) fn has(&self, key: &UrlKey) -> bool {
        self.outstanding.contains_key(key)
    }

    /// The run has recorded the outcome of a target: which one it is, if it was given it.
    pub(super) fn recorded(&mut self, key: &UrlKey) -> Option<(Partition, u64)> {
        let given = self.outstanding.remove(key)?;
        self.fence.forget(given.fenced());
        Some((given.partition, given.task))
    }

    /// The run has not put the body of a target in place. If the target is this member's by now, it is
    /// handed out again; if not, the run does not have it any more.
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

    /// Gives a target to the run. If the run has it from an earlier time that this member owned the
    /// partition, its body may be put in place again.
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

    /// Takes back what the run has not read of a partition: it is for the next owner.
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

    /// The same of a partition that may be another's now: what the run has read of it must not be put in
    /// place.
    pub(super) fn revoke(&mut self, partition: Partition) {
        self.fence.revoke(partition.0);
        self.take_back(partition, None);
    }

    /// When the next target may be handed out, if there is one and it has to wait for that.
    pub(super) fn wake(&self, all: &BTreeMap<Partition, Held>, now: Instant) -> Option<Instant> {
        let limit = self.limit(all);
        let paced = self.next_target > now && all.values().any(|held| self.may_have(held, limit));
        paced.then_some(self.next_target)
    }

    /// Hands targets to the run, one of each partition in turn; with `--rate` no faster than this
    /// member's share of it.
    pub(super) fn go_on(&mut self, all: &mut BTreeMap<Partition, Held>, now: Instant) {
        if self.list.is_none() {
            return;
        }
        let share = f64::from(PARTITIONS) / all.len().max(1) as f64;
        let spacing = self.spacing.mul_f64(share);
        // Who comes late to his turn may make up for a little.
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
                // The run had it from an earlier time that this member owned the partition.
                continue;
            }
            self.given += 1;
            held.turn = self.given;
            self.give(*partition, &mut held.handed, target);
            self.next_target += spacing;
        }
    }

    /// How many targets of one partition the run may have.
    fn limit(&self, all: &BTreeMap<Partition, Held>) -> usize {
        let waiting = all.values().filter(|held| held.waits_for_run()).count();
        FEWEST_OF_EACH.max(self.most / waiting.max(1))
    }

    /// Whether the run may have a target of this partition: one of each, even if it has enough.
    fn may_have(&self, held: &Held, limit: usize) -> bool {
        let limit = match self.outstanding.len() < self.most {
            true => limit,
            false => 1,
        };
        held.waits_for_run() && held.handed.len() < limit
    }
}
