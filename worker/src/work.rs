//! Simulated processing of a body, as another program might do it: hashing for a given time.
//!
//! The time is measured on the processor clock of the thread, not in rounds. So the amount of work
//! is the same on every machine, and a thread that waits for a processor does not do less.

use std::hint::black_box;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::spans::thread_time;

/// Bytes hashed between two readings of the clock: some microseconds of work.
const BLOCK: usize = 4096;

/// Hashes until this thread has used `amount` of processor time.
pub(crate) fn spend(amount: Duration) {
    if amount.is_zero() {
        return;
    }
    let begun = thread_time();
    let block = [0x5a; BLOCK];
    let mut hash = Sha256::new();
    while thread_time().saturating_sub(begun) < amount {
        hash.update(black_box(&block));
    }
    black_box(hash.finalize());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_as_much_as_asked_is_spent_and_nothing_for_nothing() {
        let begun = thread_time();
        let amount = Duration::from_millis(5);
        spend(amount);
        assert!(thread_time() - begun >= amount);
        spend(Duration::ZERO);
    }
}
