//! Order and time of the connection attempts to a host's addresses (Happy Eyeballs version 2, RFC
//! 8305 sections 4 and 5). The two families alternate, each attempt starts a short time after the
//! previous one, and the first connection wins. Addresses that did not answer by then are tried
//! last for a minute.
//!
//! Must not do I/O: each engine does its own.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::transfer::TransportError;

/// How long to wait before the next attempt: the value that RFC 8305 section 8 recommends.
const DELAY: Duration = Duration::from_millis(250);

/// How long an address that did not answer is remembered.
const LATE_FOR: Duration = Duration::from_secs(60);

/// Largest number of addresses of a name that are tried.
const MAX_ADDRS: usize = 16;

/// Largest number of addresses that are remembered.
const MAX_LATE: usize = 4096;

/// Addresses that did not answer in time, for all downloads of a worker.
#[derive(Debug, Default)]
pub(crate) struct Late(Mutex<HashMap<IpAddr, Instant>>);

impl Late {
    fn note(&self, addr: SocketAddr, now: Instant) {
        let mut late = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if late.len() >= MAX_LATE {
            late.clear();
        }
        late.insert(addr.ip(), now);
    }

    fn knows(&self, addr: &SocketAddr, now: Instant) -> bool {
        let late = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = late.get(&addr.ip());
        noted.is_some_and(|at| now.saturating_duration_since(*at) < LATE_FOR)
    }
}

/// The attempts at one connection.
#[derive(Debug)]
pub(super) struct Race<'l> {
    late: &'l Late,
    waiting: VecDeque<SocketAddr>,
    /// In order of their start.
    running: Vec<SocketAddr>,
    /// When the next attempt starts.
    next: Instant,
}

impl<'l> Race<'l> {
    /// Creates a race between `addrs`, best first.
    pub(super) fn new(late: &'l Late, addrs: &[SocketAddr], now: Instant) -> Self {
        let addrs = &addrs[..addrs.len().min(MAX_ADDRS)];
        let (last, first) = in_turn(addrs)
            .into_iter()
            .partition::<Vec<_>, _>(|addr| late.knows(addr, now));
        Self {
            late,
            waiting: first.into_iter().chain(last).collect(),
            running: Vec::new(),
            next: now,
        }
    }

    /// Returns the address to connect to at `now`, if it is time for another attempt.
    pub(super) fn begin(&mut self, now: Instant) -> Option<SocketAddr> {
        if !self.running.is_empty() && now < self.next {
            return None;
        }
        let addr = self.waiting.pop_front()?;
        self.running.push(addr);
        self.next = now + DELAY;
        Some(addr)
    }

    /// Returns the end of the wait for running attempts: the next start, but no later than `limit`.
    pub(super) fn until(&self, limit: Instant) -> Instant {
        if self.waiting.is_empty() {
            limit
        } else {
            self.next.min(limit)
        }
    }

    /// Ends the race won by `addr`. Attempts that started before it count as not answered.
    pub(super) fn won(&self, addr: SocketAddr, now: Instant) {
        for late in self.running.iter().take_while(|other| **other != addr) {
            self.late.note(*late, now);
        }
    }

    /// Removes the failed attempt at `addr`, so that the next one starts at once.
    ///
    /// # Errors
    ///
    /// Fails if no address is left, or if the error would affect the other addresses too.
    pub(super) fn lost(
        &mut self,
        addr: SocketAddr,
        error: &io::Error,
        now: Instant,
    ) -> Result<(), TransportError> {
        self.running.retain(|other| *other != addr);
        self.next = now;
        let over = self.running.is_empty() && self.waiting.is_empty();
        if over || !concerns_one_address(error) {
            return Err(TransportError::Connect(error.to_string()));
        }
        Ok(())
    }

    /// Ends the race at its time limit: none of the running attempts was answered.
    pub(super) fn timed_out(&self, now: Instant) {
        for addr in &self.running {
            self.late.note(*addr, now);
        }
    }
}

/// Returns `addrs` with the families alternating, starting with that of the first address.
fn in_turn(addrs: &[SocketAddr]) -> Vec<SocketAddr> {
    let first = addrs.first().is_some_and(SocketAddr::is_ipv6);
    let of = |v6: bool| addrs.iter().filter(move |addr| addr.is_ipv6() == v6);
    let (mut these, mut others) = (of(first), of(!first));
    let mut ordered = Vec::with_capacity(addrs.len());
    while ordered.len() < addrs.len() {
        ordered.extend(these.next());
        ordered.extend(others.next());
    }
    ordered
}

/// Returns whether another address may work: this one refused or is unreachable.
fn concerns_one_address(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable
    ) || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
        let parsed = texts.iter().map(|text| text.parse().expect("an address"));
        parsed.collect()
    }

    const MIXED: [&str; 4] = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"];

    #[test]
    fn the_families_take_turns_and_each_address_has_its_time() {
        let (late, mut now) = (Late::default(), Instant::now());
        let mut race = Race::new(&late, &addrs(&MIXED), now);
        for expect in ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"] {
            let begun = race.begin(now).map(|addr| addr.to_string());
            assert_eq!(begun.as_deref(), Some(expect));
            assert_eq!(race.begin(now), None);
            let far = now + 100 * DELAY;
            let last = expect == "[::3]:1";
            assert_eq!(race.until(far), if last { far } else { now + DELAY });
            now += DELAY;
        }
        assert_eq!(race.begin(now), None);
    }

    #[test]
    fn after_a_failure_the_next_begins_at_once_and_the_last_one_is_told() {
        let (late, now) = (Late::default(), Instant::now());
        let list = addrs(&["[::1]:1", "1.1.1.1:1"]);
        let mut race = Race::new(&late, &list, now);
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(race.begin(now), Some(list[0]));
        assert_eq!(race.lost(list[0], &refused, now), Ok(()));
        assert_eq!(race.begin(now), Some(list[1]));
        assert!(race.lost(list[1], &refused, now).is_err());

        let mut race = Race::new(&late, &list, now);
        race.begin(now);
        let own = io::Error::from_raw_os_error(libc::EMFILE);
        assert!(race.lost(list[0], &own, now).is_err(), "no other can help");
    }

    #[test]
    fn what_was_late_comes_last_for_a_while() {
        let (late, now) = (Late::default(), Instant::now());
        let list = addrs(&["[::1]:1", "1.1.1.1:1", "[::2]:1"]);
        let mut race = Race::new(&late, &list, now);
        race.begin(now);
        race.begin(now + DELAY);
        race.begin(now + 2 * DELAY);
        race.won(list[1], now + 2 * DELAY);
        let first = |now| Race::new(&late, &list, now).begin(now);
        assert_eq!(first(now + 3 * DELAY), Some(list[1]));
        assert_eq!(first(now + 2 * DELAY + LATE_FOR), Some(list[0]));

        race.timed_out(now);
        assert_eq!(first(now), Some(list[0]), "all of them are late");
    }
}
