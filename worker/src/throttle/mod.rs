//! `--limit-rate`: how the downloads of all workers share one rate.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A) over one word of memory: the time at
//! which all that was admitted so far will have passed, if it passes at the rate. Who wants to read
//! on takes a **turn** of so many bytes: he moves the word on by the time that they take, with one
//! compare-and-swap, and the turn is his once the time has come that the word showed before. So
//! turns are had in the order in which they were asked for, by whoever asks and by nobody else, and
//! a worker that is killed at any point leaves a word that is good.
//!
//! What was read is paid for before more is read. It must not read a clock, or wait: times are
//! passed in, in nanoseconds of `CLOCK_MONOTONIC`, and the waiting is the engines'.

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

/// Time in which everybody has had a turn, if all want one.
const ROUND: u64 = 100 * MILLISECOND;

/// How long a turn may take at the rate. As many turns end in a second as threads are woken in it,
/// at most: so not too short; and it should not be felt that there are turns.
const TURN: RangeInclusive<u64> = MILLISECOND..=20 * MILLISECOND;

/// Time that can be made up for, where somebody came late to his turn. What was not used before
/// that is lost, so that no pause, however long, is followed by a rush.
const TOLERANCE: u64 = 100 * MILLISECOND;

/// Bytes read at once: few, so that a server sees a steady client and not one that takes a lot
/// after each long wait; but a system call should be worth it.
const READ: RangeInclusive<u64> = 4 * 1024..=64 * 1024;

/// The word is shared with workers that may have been taken over, so nobody waits longer than a line
/// of this many turns takes, whatever the word says: twice as many as downloads share the rate, each
/// of which stands in the line once, and at least these, because the pool may grow. So a worker that
/// writes what it likes at most doubles the time in which the others have their turns.
const LEAST_LINE: u64 = 64;

/// Attempts at moving the word on while others do the same. After that it is written regardless: a
/// turn of somebody else may count twice, and nobody tries for ever.
const TRIES: u32 = 1_000;

/// The rate that all downloads share.
#[derive(Clone, Debug)]
pub struct Throttle {
    line: Line,
    /// Bytes per second, for all downloads of this process.
    rate: Arc<AtomicU64>,
    /// Nanoseconds that a turn is to take.
    time: u64,
    /// How many turns the line is taken to have at most.
    longest: u64,
}

/// So many bytes, which take so many nanoseconds at the rate.
#[derive(Clone, Copy, Debug)]
struct Turn {
    bytes: u64,
    cost: u64,
}

/// The time at which the line ends.
#[derive(Clone, Debug)]
enum Line {
    /// Of the downloads of one process.
    Own(Arc<AtomicU64>),
    /// Of those of several.
    Shared(&'static AtomicU64),
}

impl Throttle {
    /// For workers that are all in this process, each with a clone of it.
    #[must_use]
    pub fn local(limit: &LimitRate) -> Self {
        Self::new(limit, Line::Own(Arc::default()))
    }

    /// For workers in processes of their own, each with a descriptor of the same
    /// [`shared_memory`](pool::memory::shared_memory), of one word. The descriptor is of no use afterwards.
    ///
    /// # Errors
    ///
    /// If `memory` is something else, or the system does not map it.
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

    /// Sets the rate for turns that are taken from now on, by the downloads of this process.
    pub fn set_rate(&self, bytes_per_second: NonZeroU64) {
        // Nothing else is published with it.
        self.rate.store(bytes_per_second.get(), Ordering::Relaxed);
    }

    fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    fn turn(&self) -> Turn {
        let rate = u128::from(self.rate());
        let bytes = (rate * u128::from(self.time) / u128::from(SECOND)).max(1);
        // Rounded up: a rate is never more than was asked for.
        let cost = (bytes * u128::from(SECOND)).div_ceil(rate);
        let [bytes, cost] = [bytes, cost].map(|number| u64::try_from(number).unwrap_or(u64::MAX));
        Turn { bytes, cost }
    }

    /// Most bytes to read at once.
    pub(crate) fn read_size(&self) -> usize {
        let size = self.turn().bytes.clamp(*READ.start(), *READ.end());
        usize::try_from(size).unwrap_or(usize::MAX)
    }

    /// Bytes that a server may send ahead, where we have a say in it: what comes in a second, within
    /// `bounds`.
    pub(crate) fn window(&self, bounds: RangeInclusive<u32>) -> u32 {
        let rate = u32::try_from(self.rate()).unwrap_or(u32::MAX);
        rate.clamp(*bounds.start(), *bounds.end())
    }

    /// Takes the next turn; when it begins comes back, which may be in the past, and how many bytes it is.
    fn take(&self, now: u64) -> (u64, u64) {
        let Turn { bytes, cost } = self.turn();
        (self.take_time(now, cost), bytes)
    }

    fn take_time(&self, now: u64, cost: u64) -> u64 {
        let line = self.line();
        // Nothing else is published with the word, so no ordering is needed.
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

    /// When a turn begins that is taken now, at the end of the line.
    fn begin(&self, end: u64, now: u64, cost: u64) -> u64 {
        end.clamp(
            now.saturating_sub(TOLERANCE),
            now.saturating_add(cost.saturating_mul(self.longest)),
        )
    }
}

/// What one download after the other has of the rate.
#[derive(Debug)]
pub(crate) struct Allowance {
    throttle: Throttle,
    /// Bytes that may be read without another turn.
    left: u64,
    /// Bytes that were read and are not paid for.
    owed: u64,
    /// When the turn begins that was taken last, if it is still to come, and its bytes.
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

    /// Pays for `bytes` that were read. Whether that is all: otherwise, [`wait`](Self::wait).
    pub(crate) const fn pay(&mut self, bytes: u64) -> bool {
        self.owed = self.owed.saturating_add(bytes);
        if self.owed > self.left {
            return false;
        }
        self.left -= self.owed;
        self.owed = 0;
        true
    }

    /// How long to wait before it is asked again, and before anything is read; nothing once all is
    /// paid for.
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
