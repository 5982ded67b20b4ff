//! The state that members share: the members, and the owner of each partition.
//!
//! It is one value under one key, and every change is a compare-and-swap by revision. So each
//! member decides on a consistent state, and one write can change many partitions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Number of partitions of a run. Each host belongs to one of them.
pub const PARTITIONS: u16 = 256;

/// The number of a partition, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition(pub u16);

/// One stay of a member: a random number that is drawn when it joins and not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Session(pub u64);

/// Revision of the table, as counted by the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// The row of a member. The member writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Display name.
    pub machine: String,
    /// Number that increases with each write of the member, which renews its lease.
    pub beats: u64,
    /// Whether the member finishes its targets and takes no new ones.
    pub leaving: bool,
}

/// The members and the owners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The members.
    pub members: BTreeMap<Session, Row>,
    /// The owner of each partition, if it has one.
    pub owners: Vec<Option<Session>>,
}

impl Table {
    /// Creates a table without members.
    #[must_use]
    pub fn new(partitions: u16) -> Self {
        Self {
            members: BTreeMap::new(),
            owners: vec![None; usize::from(partitions)],
        }
    }

    /// Returns each partition with its owner.
    pub fn owners(&self) -> impl Iterator<Item = (Partition, Option<Session>)> + '_ {
        (0..).map(Partition).zip(self.owners.iter().copied())
    }

    /// Returns the partitions that `session` owns.
    pub fn owned_by(&self, session: Session) -> impl Iterator<Item = Partition> + '_ {
        self.owners()
            .filter(move |(_, owner)| *owner == Some(session))
            .map(|(partition, _)| partition)
    }

    /// Returns how many partitions `session` should own. Members that stay have equal shares. If
    /// there is a remainder, the first of them get one more.
    #[must_use]
    pub fn share(&self, session: Session) -> usize {
        let mut staying = self.members.iter().filter(|(_, row)| !row.leaving);
        let members = staying.clone().count();
        let Some(rank) = staying.position(|(other, _)| *other == session) else {
            return 0;
        };
        let partitions = self.owners.len();
        partitions / members + usize::from(rank < partitions % members)
    }

    /// Returns where `session` begins to look for free partitions, so that two members that join at
    /// once seldom claim the same.
    pub(super) fn start(&self, session: Session) -> usize {
        let rank = self.members.range(..session).count();
        rank * self.owners.len() / self.members.len().max(1)
    }

    /// Removes a member and frees its partitions.
    pub(super) fn remove(&mut self, session: Session) {
        self.members.remove(&session);
        for owner in &mut self.owners {
            owner.take_if(|owner| *owner == session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_add_up_whoever_leaves() {
        for members in 1..20 {
            let mut table = Table::new(PARTITIONS);
            for session in 0..members {
                let row = Row {
                    machine: String::new(),
                    beats: 0,
                    leaving: session % 3 == 2,
                };
                table.members.insert(Session(session), row);
            }
            let shares: Vec<_> = (0..members).map(|n| table.share(Session(n))).collect();
            assert_eq!(shares.iter().sum::<usize>(), 256, "{shares:?}");
            let staying = shares.iter().filter(|share| **share > 0);
            let (least, most) = (staying.clone().min(), staying.max());
            let apart = most.zip(least).map(|(most, least)| most - least);
            assert!(apart.is_some_and(|apart| apart <= 1), "{shares:?}");
        }
    }
}
