//! A set of keys that may say yes in error, and never no: ten bits a key.
//!
//! A blocked Bloom filter (Putze, Sanders and Singler 2007): all bits of a key lie in one block of
//! 512, which is one line of the processor's cache. Keys are hashes themselves, so that their own
//! bits choose the block and the bits in it.

use super::Key;

/// Bits for each key.
const BITS: usize = 10;

/// Bits set for each key. With ten bits a key, about one absent key in sixty is let through.
const PROBES: u32 = 6;

/// Bits of a key that choose one bit in a block.
const CHOICE: u32 = 9;

type Block = [u64; 8];

#[derive(Debug)]
pub(super) struct Filter {
    blocks: Vec<Block>,
}

impl Filter {
    /// An empty filter for as many keys as given.
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

    /// Whether `key` may have been inserted.
    pub(super) fn may_contain(&self, key: &Key) -> bool {
        let (at, bits) = self.place(key);
        positions(bits).all(|(word, bit)| self.blocks[at][word] & bit != 0)
    }

    /// Bytes it takes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.blocks.len() * size_of::<Block>()
    }

    /// The block of a key, by its first bits, and what chooses the bits in it: its last ones.
    fn place(&self, key: &Key) -> (usize, u64) {
        let [a, b, c, d, e, f, g, h, i, j] = *key;
        let head = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let tail = u64::from_be_bytes([c, d, e, f, g, h, i, j]);
        let at = (u128::from(head) * self.blocks.len() as u128) >> 64;
        // Below the number of blocks, and so in range.
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
