//! The randomness of the origin: a sequence of words, any of which can be computed at once.
//!
//! This is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
//! 2014), which is a counter behind a mixing function. That makes it seekable, which a `Range`
//! request needs. It also fixes the bytes permanently: no upgrade of a crate changes a body. It
//! must not be used for secrets.

/// The odd constant added to the counter of SplitMix64: 2^64 divided by the golden ratio.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// An endless sequence of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words {
    start: u64,
    mask: u64,
}

impl Words {
    /// Creates the sequence for these 128 bits.
    ///
    /// All sequences use one cycle of 2^64 states, so two of them may overlap. `mask` keeps their
    /// words different even then.
    pub(super) const fn new(start: u64, mask: u64) -> Self {
        Self { start, mask }
    }

    /// Returns the word at `index`, counted from 0.
    #[inline]
    pub(super) const fn at(self, index: u64) -> u64 {
        let steps = index.wrapping_add(1);
        mix(self.start.wrapping_add(GAMMA.wrapping_mul(steps))) ^ self.mask
    }
}

/// The mixing function of SplitMix64: every bit of the input changes about half of the output.
#[inline]
pub(super) const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// Maps a uniform word to a uniform number below `bound`; 0 if `bound` is 0.
#[inline]
pub(super) const fn below(word: u64, bound: u64) -> u64 {
    ((word as u128 * bound as u128) >> 64) as u64
}

/// Maps a uniform word to a uniform number in `0.0..1.0`.
#[inline]
pub(super) const fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_reference_implementation() {
        let words = Words::new(1_234_567, 0);
        let first: Vec<u64> = (0..5).map(|index| words.at(index)).collect();
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ]
        );
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        assert_eq!(below(u64::MAX, 10), 9);
        assert_eq!(below(0, 10), 0);
        assert_eq!(below(u64::MAX, 0), 0);
        assert!(unit(u64::MAX) < 1.0);
        assert!(unit(0).abs() < f64::EPSILON);
    }
}
