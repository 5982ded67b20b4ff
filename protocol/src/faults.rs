//! Faults that a worker is to bring about in itself, for people who test what a crash costs.
//!
//! Data only: when a fault is due, and what it does, is the worker's business. All is bounded, so
//! that a [`Setup`](crate::Setup) with it fits a frame.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Most poisons of a setup.
pub const MAX_POISONS: usize = 32;

/// Longest text of a poison, in bytes.
pub const MAX_POISON_TEXT: usize = 256;

/// What happens to a worker when it takes up a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskFault {
    /// It dies by SIGSEGV.
    Segv,
    /// It dies by SIGABRT, as a failed assertion in C does.
    Abort,
    /// It leaves with exit code 0 in the middle of its work.
    Exit,
    /// It takes memory until it dies of that.
    Eat,
    /// The task never goes on, and heartbeats do not name it.
    Hang,
    /// It says something that is not of the protocol.
    Garbage,
}

impl TaskFault {
    /// All of them, in their order.
    pub const ALL: [Self; 6] = [
        Self::Segv,
        Self::Abort,
        Self::Exit,
        Self::Eat,
        Self::Hang,
        Self::Garbage,
    ];

    /// The name in options and messages.
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

/// A share from none to all, in steps of a millionth.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Share(u32);

impl Share {
    /// All, in millionths.
    pub const WHOLE: u32 = 1_000_000;

    /// So many millionths; nothing if that is more than all.
    #[must_use]
    pub const fn from_millionths(millionths: u32) -> Option<Self> {
        if millionths <= Self::WHOLE {
            Some(Self(millionths))
        } else {
            None
        }
    }

    /// In millionths.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// Draws a place for `of` between 0 and [`WHOLE`](Self::WHOLE), which it never reaches, in
    /// millionths. Places are distributed uniformly.
    ///
    /// It is the first 8 bytes of the SHA-256 of `seed` (8 bytes) and `of`, all little endian, scaled
    /// down; so it is the same on every machine and in every version.
    #[must_use]
    pub fn draw(seed: u64, of: &[u8]) -> u32 {
        let hash = Sha256::new()
            .chain_update(seed.to_le_bytes())
            .chain_update(of)
            .finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        let place = (u128::from(u64::from_le_bytes(first)) * u128::from(Self::WHOLE)) >> 64;
        // Below `WHOLE` by construction.
        u32::try_from(place).unwrap_or(Self::WHOLE)
    }
}

/// A fault that befalls every URL that contains a text, every time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Poison {
    /// What happens.
    pub fault: TaskFault,
    /// To which URLs: those with this text somewhere in them. At most [`MAX_POISON_TEXT`] bytes.
    pub text: String,
}

/// The faults of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Changes which URLs are drawn.
    pub seed: u64,
    /// Which share of the URLs is drawn for each fault. A fault that is drawn happens with the
    /// URL's first delivery in a run and not again. The shares add up to at most all.
    pub drawn: BTreeMap<TaskFault, Share>,
    /// At most [`MAX_POISONS`]; the first that fits counts, before any share.
    pub poisons: Vec<Poison>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_the_same_in_every_version() {
        // As computed by: printf '\1\0\0\0\0\0\0\0https://a.example/' | sha256sum
        assert_eq!(Share::draw(1, b"https://a.example/"), 524_443);
    }
}
