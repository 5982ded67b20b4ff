//! What the member's run is given, and when. Partitions take turns, here and in the run's list, so that
//! one that was just taken over does not wait for what was taken on before it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::partition::Held;
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

/// See the module.
#[derive(Debug)]
pub(super) struct HandOut {
    /// The run's list; gone once it is to end.
    list: Option<FedWriter>,
    /// What the run has and has not recorded: which task of the fleet it is.
    outstanding: HashMap<UrlKey, (Partition, u64)>,
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
    pub(super) fn new(list: FedWriter, at_once: u64, spacing: Duration) -> Self {
        let most = FEWEST.max(at_once.saturating_mul(16));
        Self {
            list: Some(list),
            outstanding: HashMap::new(),
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

    /// The run has recorded a target: which one it is, if it was given it.
    pub(super) fn recorded(&mut self, key: &UrlKey) -> Option<(Partition, u64)> {
        self.outstanding.remove(key)
    }

    /// Gives a target to the run, unless it has it from an earlier time that this member owned the
    /// partition.
    pub(super) fn give(
        &mut self,
        partition: Partition,
        held: &mut Held,
        (task, key, line): (u64, UrlKey, String),
    ) {
        held.handed.insert(task);
        if self.outstanding.insert(key, (partition, task)).is_none()
            && let Some(list) = &self.list
        {
            list.push(partition.0, key, line);
        }
    }

    /// Takes back what the run has not read of a partition: it is for the next owner.
    pub(super) fn take_back(&mut self, partition: Partition, held: Option<&mut Held>) {
        let taken = self
            .list
            .iter()
            .flat_map(|list| list.take_back(partition.0));
        let tasks: Vec<_> = taken
            .filter_map(|key| self.outstanding.remove(&key))
            .collect();
        if let Some(held) = held {
            for (_, task) in tasks {
                held.handed.remove(&task);
            }
        }
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
            self.give(*partition, held, target);
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
