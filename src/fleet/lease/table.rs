//! What members agree on: who is there, and who owns which partition.
//!
//! It is one value under one key, and every change of it is a compare-and-swap by revision. So each
//! member decides from a consistent picture, and a change of many partitions is one write.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Partitions of a run; a host belongs to one of them.
pub const PARTITIONS: u16 = 256;

/// The number of a partition, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition(pub u16);

/// One stay of a member: drawn at random when it joins, and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Session(pub u64);

/// How often the table was written, as the store counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its name, for people.
    pub machine: String,
    /// Counts up with each write of its own: the lease is renewed by it.
    pub beats: u64,
    /// It finishes what it has, and takes nothing new.
    pub leaving: bool,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Who is there.
    pub members: BTreeMap<Session, Row>,
    /// The owner of each partition, if it has one.
    pub owners: Vec<Option<Session>>,
}

impl Table {
    /// Nobody is there.
    #[must_use]
    pub fn new(partitions: u16) -> Self {
        Self {
            members: BTreeMap::new(),
            owners: vec![None; usize::from(partitions)],
        }
    }

    /// Each partition with its owner.
    pub fn owners(&self) -> impl Iterator<Item = (Partition, Option<Session>)> + '_ {
        (0..).map(Partition).zip(self.owners.iter().copied())
    }

    /// The partitions that `session` owns.
    pub fn owned_by(&self, session: Session) -> impl Iterator<Item = Partition> + '_ {
        self.owners()
            .filter(move |(_, owner)| *owner == Some(session))
            .map(|(partition, _)| partition)
    }

    /// How many partitions `session` is to own: those that stay share all of them evenly, and the
    /// first of them take what is left over.
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

    /// Where `session` begins to look for free partitions, so that two that join at once seldom want
    /// the same.
    pub(super) fn start(&self, session: Session) -> usize {
        let rank = self.members.range(..session).count();
        rank * self.owners.len() / self.members.len().max(1)
    }

    /// Removes a member; what it owns is free.
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
