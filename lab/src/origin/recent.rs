//! A map that forgets what was not used for long: bounded memory for an endless list of URLs.
//!
//! It must not know what it holds.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// A map of two generations. When the young one is full it becomes the old one, and what was old
/// is forgotten. So an entry is safe until `limit` other entries have come or been used after it,
/// and never more than twice `limit` are held. Unlike a linked list of uses, a hit costs one look
/// and no bookkeeping.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    limit: usize,
    turns: u64,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// An empty map with generations of `limit` entries.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            limit,
            turns: 0,
        }
    }

    /// The value of `key`, unless forgotten. Counts as a use.
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

    /// How many times a generation was forgotten, the first, empty one included.
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
