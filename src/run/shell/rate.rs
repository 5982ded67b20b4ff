//! `--limit-rate` of a member of a fleet: its workers get the member's share of the rate.
//!
//! Workers are told when the share has changed: before they get tasks, and with their heartbeats.

use std::num::NonZeroU64;

use protocol::codec::EncodeError;
use protocol::{Notice, WorkerId};

use super::Shell;
use super::placing::Told;
use crate::watch::Share;

/// Largest number of changes that a worker is told without a report from it. A worker that does not
/// read must not fill its socket.
const MOST_UNREAD: u8 = 32;

/// The rate of the whole fleet, and this member's share of it.
#[derive(Debug)]
pub(in crate::run) struct SharedRate {
    pub(in crate::run) bytes_per_second: NonZeroU64,
    pub(in crate::run) share: Share,
}

impl SharedRate {
    /// Returns this member's current rate.
    fn now(&self) -> NonZeroU64 {
        let (part, of) = self.share.get().part();
        let bytes = u128::from(self.bytes_per_second.get()) * u128::from(part) / u128::from(of);
        let bytes = u64::try_from(bytes).ok().and_then(NonZeroU64::new);
        bytes.unwrap_or(NonZeroU64::MIN)
    }
}

/// What a worker was told.
#[derive(Debug, Default)]
pub(super) struct Known {
    rate: Option<NonZeroU64>,
    unread: u8,
}

impl Shell {
    /// Tells `worker` the rate if it has changed.
    pub(super) fn tell_rate(&mut self, worker: WorkerId) {
        let Some(shared) = &self.parts.shared_rate else {
            return;
        };
        let rate = shared.now();
        let known = self.rates.entry(worker).or_default();
        if known.rate == Some(rate) || known.unread == MOST_UNREAD {
            return;
        }
        known.rate = Some(rate);
        known.unread += 1;
        let told: Result<(), EncodeError> =
            self.tell(worker, Told::Notice(Notice::LimitRate(rate)));
        self.check_sent(told);
    }

    /// Notes a report from `worker`, which therefore reads its messages.
    pub(super) fn reads(&mut self, worker: WorkerId) {
        if let Some(known) = self.rates.get_mut(&worker) {
            known.unread = 0;
        }
    }
}
