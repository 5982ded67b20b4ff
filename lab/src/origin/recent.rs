//! A map that forgets entries not used for long: bounded memory for an endless list of URLs.
//!
//! Must not know what it contains.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// A map of two generations. When the young one is full it becomes the old one, and the previous
/// old one is dropped. So an entry is kept until `limit` other entries have been added or used
/// after it, and there are never more than twice `limit` entries. Unlike in a linked list of uses,
/// a hit costs one lookup and no bookkeeping.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    limit: usize,
    turns: u64,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// Creates an empty map with generations of `limit` entries.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            limit,
            turns: 0,
        }
    }

    /// Returns the value of `key` if it is still in the map. Counts as a use.
    pub(super) fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// Adds an entry that is not in the map.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.limit {
            self.old = std::mem::take(&mut self.young);
            self.turns += 1;
        }
        self.young.insert(key, value);
    }

    /// Returns how many generations were dropped, including the first, empty one.
    pub(super) const fn turns(&self) -> u64 {
        self.turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_by_two_generations() {
        let mut recent = Recent::new(10);
        for key in 0..1_000 {
            recent.insert(key, ());
            assert!(recent.young.len() + recent.old.len() <= 20);
        }
        assert_eq!(recent.turns(), 99);
    }

    #[test]
    fn an_entry_in_use_outlives_any_number_of_others() {
        let mut recent = Recent::new(10);
        recent.insert(u32::MAX, 0_u32);
        for key in 0..1_000 {
            recent.insert(key, 0);
            *recent.get_mut(&u32::MAX).expect("it was just used") += 1;
        }
        assert_eq!(recent.get_mut(&u32::MAX), Some(&mut 1_000));
        assert_eq!(recent.get_mut(&0), None);
    }
}
