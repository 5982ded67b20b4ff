//! Workers that never start: which, and how.

use std::fmt;
use std::str::FromStr;

use protocol::{Share, WorkerId};

/// What happens to a worker at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StartFault {
    /// Its process runs, but never connects.
    NoConnect,
    /// Its process exits at once, with code 1.
    NoStart,
}

impl StartFault {
    /// All variants, in order.
    pub const ALL: [Self; 2] = [Self::NoConnect, Self::NoStart];

    /// Returns the name in options and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoConnect => "no-connect",
            Self::NoStart => "no-start",
        }
    }
}

impl fmt::Display for StartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for StartFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|fault| fault.name() == text);
        named.ok_or_else(|| format!("there is no fault '{text}' for the start of a worker"))
    }
}

/// Shares of the workers that never start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartFaults {
    /// Changes which workers are drawn.
    pub seed: u64,
    /// Share of the workers that never connect.
    pub no_connect: Share,
    /// Share of the workers that exit at once. The two add up to at most 100%.
    pub no_start: Share,
}

impl StartFaults {
    /// Returns what happens to `worker`. The shares lie side by side, and the [draw](Share::draw)
    /// of the worker selects one. The draw uses its slot (2 bytes) and epoch (4 bytes), both little
    /// endian.
    #[must_use]
    pub fn of(&self, worker: WorkerId) -> Option<StartFault> {
        let [a, b] = worker.slot.0.to_le_bytes();
        let [c, d, e, f] = worker.epoch.0.to_le_bytes();
        let place = Share::draw(self.seed, &[a, b, c, d, e, f]);
        let never = self.no_connect.millionths();
        if place < never {
            Some(StartFault::NoConnect)
        } else if place - never < self.no_start.millionths() {
            Some(StartFault::NoStart)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Epoch, SlotId};

    use super::*;

    #[test]
    fn each_fault_has_its_share_of_the_workers() {
        let share = |millionths| Share::from_millionths(millionths).expect("at most all");
        let faults = StartFaults {
            seed: 3,
            no_connect: share(200_000),
            no_start: share(300_000),
        };
        let workers = (0..10).flat_map(|slot| (1..=1000).map(move |epoch| (slot, epoch)));
        let all: Vec<_> = workers
            .map(|(slot, epoch)| {
                faults.of(WorkerId {
                    slot: SlotId(slot),
                    epoch: Epoch(epoch),
                })
            })
            .collect();
        let count = |fault| all.iter().filter(|planned| **planned == fault).count();
        // 5 standard deviations are at most 250.
        assert!(count(Some(StartFault::NoConnect)).abs_diff(2000) < 250);
        assert!(count(Some(StartFault::NoStart)).abs_diff(3000) < 250);
    }

    #[test]
    fn names_are_read_back() {
        for fault in StartFault::ALL {
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        assert!("segv".parse::<StartFault>().is_err());
    }
}
