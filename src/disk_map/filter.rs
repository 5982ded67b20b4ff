//! A set of keys with false positives and no false negatives: ten bits per key.
//!
//! A blocked Bloom filter (Putze, Sanders and Singler 2007): all bits of a key are in one block of
//! 512 bits, which is one line of the processor's cache. Keys are hashes, so their own bits choose
//! the block and the bits in it.

use super::Key;

/// Bits per key.
const BITS: usize = 10;

/// Bits set per key. With ten bits per key, about one absent key in sixty gives a false positive.
const PROBES: u32 = 6;

/// Bits of a key that choose one bit in a block.
const CHOICE: u32 = 9;

type Block = [u64; 8];

#[derive(Debug)]
pub(super) struct Filter {
    blocks: Vec<Block>,
}

impl Filter {
    /// Creates an empty filter for this number of keys.
    pub(super) fn new(keys: usize) -> Self {
        let blocks = (keys * BITS).div_ceil(Block::default().len() * 64).max(1);
        Self {
            blocks: vec![Block::default(); blocks],
        }
    }

    pub(super) fn insert(&mut self, key: &Key) {
        let (at, bits) = self.place(key);
        for (word, bit) in positions(bits) {
            self.blocks[at][word] |= bit;
        }
    }

    /// Returns whether `key` may have been inserted.
    pub(super) fn may_contain(&self, key: &Key) -> bool {
        let (at, bits) = self.place(key);
        positions(bits).all(|(word, bit)| self.blocks[at][word] & bit != 0)
    }

    /// Returns its size in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.blocks.len() * size_of::<Block>()
    }

    /// Returns the block of a key, from its first bits, and its last bits, which choose bits there.
    fn place(&self, key: &Key) -> (usize, u64) {
        let [a, b, c, d, e, f, g, h, i, j] = *key;
        let head = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let tail = u64::from_be_bytes([c, d, e, f, g, h, i, j]);
        let at = (u128::from(head) * self.blocks.len() as u128) >> 64;
        // Less than the number of blocks, so in range.
        #[expect(clippy::cast_possible_truncation, reason = "below a length")]
        let at = at as usize;
        (at, tail)
    }
}

fn positions(bits: u64) -> impl Iterator<Item = (usize, u64)> {
    (0..PROBES).map(move |probe| {
        let position = (bits >> (probe * CHOICE)) & ((1 << CHOICE) - 1);
        let word = (position / 64) as usize;
        (word, 1 << (position % 64))
    })
}
