//! `--limit-rate`: one rate, shared by the downloads of all workers.
//!
//! This is the generic cell rate algorithm (ITU-T I.371, annex A) over one word of memory. The word
//! is the time at which everything admitted so far will have passed at the rate. To read more, a
//! download takes a **turn** of a number of bytes: one compare-and-swap moves the word on by the
//! time that these bytes take, and the turn begins at the time that the word held before. So turns
//! are granted in the order of the requests, without a process that manages them, and a worker that
//! is killed at any point leaves the word valid.
//!
//! Bytes that were read are paid for before more are read. This module must not read a clock or
//! wait: times are passed in, in nanoseconds of `CLOCK_MONOTONIC`, and the engines do the waiting.

use std::io;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::LimitRate;

use pool::memory;

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// Time in which every download gets a turn, if all need one, in nanoseconds.
const ROUND: u64 = 100 * MILLISECOND;

/// How long a turn may take at the rate, in nanoseconds. Each turn may wake a thread, so turns must
/// not be too short. They must not be long enough to be noticed either.
const TURN: RangeInclusive<u64> = MILLISECOND..=20 * MILLISECOND;

/// Time that a download can make up for after it was late for its turn, in nanoseconds. Earlier
/// unused time is lost, so no pause, however long, is followed by a burst.
const TOLERANCE: u64 = 100 * MILLISECOND;

/// Bytes read at once. Few, so that a server sees a steady client and not one that reads a lot
/// after each long wait; but enough to be worth a system call.
const READ: RangeInclusive<u64> = 4 * 1024..=64 * 1024;

/// Least number of turns in the longest line that a download waits for. The word is shared with
/// workers that may be compromised, so the wait is limited whatever the word says: to twice as many
/// turns as downloads share the rate, each of which waits for one turn at a time, and at least to
/// this number, because the pool may grow. So a worker that writes arbitrary values can at most
/// double the time between the turns of the others.
const LEAST_LINE: u64 = 64;

/// Attempts to move the word on while other downloads do the same. After that it is written
/// unconditionally: one turn of another download may count twice, but no download tries forever.
const TRIES: u32 = 1_000;

/// The rate that all downloads share.
#[derive(Clone, Debug)]
pub struct Throttle {
    line: Line,
    /// Bytes per second, for all downloads of this process.
    rate: Arc<AtomicU64>,
    /// Duration of a turn in nanoseconds, before rounding to bytes.
    time: u64,
    /// Largest number of turns in the line.
    longest: u64,
}

/// Bytes, and the nanoseconds that they take at the rate.
#[derive(Clone, Copy, Debug)]
struct Turn {
    bytes: u64,
    cost: u64,
}

/// The word: the time at which the line ends.
#[derive(Clone, Debug)]
enum Line {
    /// For the downloads of one process.
    Own(Arc<AtomicU64>),
    /// For those of several processes.
    Shared(&'static AtomicU64),
}

impl Throttle {
    /// Creates a throttle for workers in this process, each of which gets a clone.
    #[must_use]
    pub fn local(limit: &LimitRate) -> Self {
        Self::new(limit, Line::Own(Arc::default()))
    }

    /// Creates a throttle for workers in separate processes. Each has a descriptor of the same
    /// [`shared_memory`](pool::memory::shared_memory) of one word, and does not need it afterwards.
    ///
    /// # Errors
    ///
    /// Fails if `memory` is something else, or cannot be mapped.
    pub fn shared(limit: &LimitRate, memory: impl AsFd) -> io::Result<Self> {
        let words = memory::map(memory, 1)?;
        Ok(Self::new(limit, Line::Shared(&words[0])))
    }

    fn new(limit: &LimitRate, line: Line) -> Self {
        Self {
            line,
            rate: Arc::new(AtomicU64::new(limit.bytes_per_second.get())),
            time: (ROUND / u64::from(limit.sharers.max(1))).clamp(*TURN.start(), *TURN.end()),
            longest: LEAST_LINE.max(2 * u64::from(limit.sharers)),
        }
    }

    /// Sets the rate for turns that downloads of this process take from now on.
    pub fn set_rate(&self, bytes_per_second: NonZeroU64) {
        // No other data is published with it, so no ordering is needed.
        self.rate.store(bytes_per_second.get(), Ordering::Relaxed);
    }

    fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    fn turn(&self) -> Turn {
        let rate = u128::from(self.rate());
        let bytes = (rate * u128::from(self.time) / u128::from(SECOND)).max(1);
        // Rounded up, so that the rate never exceeds the limit.
        let cost = (bytes * u128::from(SECOND)).div_ceil(rate);
        let [bytes, cost] = [bytes, cost].map(|number| u64::try_from(number).unwrap_or(u64::MAX));
        Turn { bytes, cost }
    }

    /// Returns the largest number of bytes to read at once.
    pub(crate) fn read_size(&self) -> usize {
        let size = self.turn().bytes.clamp(*READ.start(), *READ.end());
        usize::try_from(size).unwrap_or(usize::MAX)
    }

    /// Returns how many bytes a server may send ahead, where the protocol lets us choose: those of
    /// one second, within `bounds`.
    pub(crate) fn window(&self, bounds: RangeInclusive<u32>) -> u32 {
        let rate = u32::try_from(self.rate()).unwrap_or(u32::MAX);
        rate.clamp(*bounds.start(), *bounds.end())
    }

    /// Takes the next turn and returns when it begins, which may be in the past, and its bytes.
    fn take(&self, now: u64) -> (u64, u64) {
        let Turn { bytes, cost } = self.turn();
        (self.take_time(now, cost), bytes)
    }

    fn take_time(&self, now: u64, cost: u64) -> u64 {
        let line = self.line();
        // No other data is published with the word, so no ordering is needed.
        let mut end = line.load(Ordering::Relaxed);
        for _ in 0..TRIES {
            let begin = self.begin(end, now, cost);
            let next = begin.saturating_add(cost);
            match line.compare_exchange_weak(end, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return begin,
                Err(changed) => end = changed,
            }
        }
        let begin = self.begin(end, now, cost);
        line.store(begin.saturating_add(cost), Ordering::Relaxed);
        begin
    }

    fn line(&self) -> &AtomicU64 {
        match &self.line {
            Line::Own(line) => line,
            Line::Shared(line) => line,
        }
    }

    /// Returns when a turn begins that is taken now, with the line ending at `end`.
    fn begin(&self, end: u64, now: u64, cost: u64) -> u64 {
        end.clamp(
            now.saturating_sub(TOLERANCE),
            now.saturating_add(cost.saturating_mul(self.longest)),
        )
    }
}

/// Share of the rate of one slot, for one download after the other.
#[derive(Debug)]
pub(crate) struct Allowance {
    throttle: Throttle,
    /// Bytes that may be read without another turn.
    left: u64,
    /// Bytes that were read and are not paid for.
    owed: u64,
    /// When the last turn that was taken begins, if that is in the future, and its bytes.
    next: Option<(u64, u64)>,
}

impl Allowance {
    pub(crate) const fn new(throttle: Throttle) -> Self {
        Self {
            throttle,
            left: 0,
            owed: 0,
            next: None,
        }
    }

    /// Pays for `bytes` that were read. If it returns `false`, call [`wait`](Self::wait).
    pub(crate) const fn pay(&mut self, bytes: u64) -> bool {
        self.owed = self.owed.saturating_add(bytes);
        if self.owed > self.left {
            return false;
        }
        self.left -= self.owed;
        self.owed = 0;
        true
    }

    /// Returns how long to wait before the next call and before any read, or `None` once all bytes
    /// are paid for.
    pub(crate) fn wait(&mut self, now: u64) -> Option<Duration> {
        while !self.pay(0) {
            let (begin, bytes) = match self.next {
                Some(turn) => turn,
                None => *self.next.insert(self.throttle.take(now)),
            };
            if begin > now {
                return Some(Duration::from_nanos(begin - now));
            }
            self.next = None;
            self.left = self.left.saturating_add(bytes);
        }
        None
    }
}

#[cfg(test)]
mod tests;
