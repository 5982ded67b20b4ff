//! Faults that a worker causes in itself, for users who test the cost of a crash.
//!
//! This module contains only data: the worker decides when a fault is due and carries it out. All
//! sizes are limited, so that a [`Setup`](crate::Setup) with faults fits a frame.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Maximum number of poisons in a setup.
pub const MAX_POISONS: usize = 32;

/// Maximum length of the text of a poison, in bytes.
pub const MAX_POISON_TEXT: usize = 256;

/// What happens to a worker when it starts a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskFault {
    /// It is killed by SIGSEGV.
    Segv,
    /// It is killed by SIGABRT, as after a failed assertion in C.
    Abort,
    /// It exits with code 0 in the middle of its work.
    Exit,
    /// It allocates memory until it dies of it.
    Eat,
    /// The task hangs, and heartbeats do not name it.
    Hang,
    /// It breaks the protocol.
    Garbage,
}

impl TaskFault {
    /// All faults, in order.
    pub const ALL: [Self; 6] = [
        Self::Segv,
        Self::Abort,
        Self::Exit,
        Self::Eat,
        Self::Hang,
        Self::Garbage,
    ];

    /// Returns the name used in options and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Segv => "segv",
            Self::Abort => "abort",
            Self::Exit => "exit",
            Self::Eat => "eat",
            Self::Hang => "hang",
            Self::Garbage => "garbage",
        }
    }
}

/// A fraction from zero to one, in millionths.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Share(u32);

impl Share {
    /// One, in millionths.
    pub const WHOLE: u32 = 1_000_000;

    /// Creates a share. Returns `None` if `millionths` exceeds [`WHOLE`](Self::WHOLE).
    #[must_use]
    pub const fn from_millionths(millionths: u32) -> Option<Self> {
        if millionths <= Self::WHOLE {
            Some(Self(millionths))
        } else {
            None
        }
    }

    /// Returns the share in millionths.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// Draws a number for `of`, from 0 up to but not including [`WHOLE`](Self::WHOLE), in
    /// millionths. The numbers are distributed uniformly.
    ///
    /// The number is the first 8 bytes of the SHA-256 of `seed` (8 bytes) and `of`, all little
    /// endian, scaled down. It is therefore the same on every machine and in every version.
    #[must_use]
    pub fn draw(seed: u64, of: &[u8]) -> u32 {
        let hash = Sha256::new()
            .chain_update(seed.to_le_bytes())
            .chain_update(of)
            .finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        let place = (u128::from(u64::from_le_bytes(first)) * u128::from(Self::WHOLE)) >> 64;
        // Less than `WHOLE` by construction.
        u32::try_from(place).unwrap_or(Self::WHOLE)
    }
}

/// A fault that occurs at every start of a task whose URL contains a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Poison {
    /// The fault.
    pub fault: TaskFault,
    /// The text that these URLs contain, at most [`MAX_POISON_TEXT`] bytes long.
    pub text: String,
}

/// The faults of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Seed of the draw of URLs.
    pub seed: u64,
    /// Share of the URLs that is drawn for each fault. A drawn fault occurs at the first delivery
    /// of the URL in a run, and not again. The shares add up to at most one.
    pub drawn: BTreeMap<TaskFault, Share>,
    /// At most [`MAX_POISONS`]. The first that matches applies, before any share.
    pub poisons: Vec<Poison>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_the_same_in_every_version() {
        // Computed by: printf '\1\0\0\0\0\0\0\0https://a.example/' | sha256sum
        assert_eq!(Share::draw(1, b"https://a.example/"), 524_443);
    }
}
