//! `--limit-rate` of a run that is part of a larger one: how much of it is this run's at this moment.
//!
//! Workers share the rate without a message, and are told when it changes: when they say something, so
//! a second later at most.

use std::num::NonZeroU64;

use protocol::codec::EncodeError;
use protocol::{Notice, WorkerId};

use super::Shell;
use super::placing::Told;
use crate::watch::Share;

/// Most changes that a worker is told while it says nothing of its tasks: it may not have read them, and
/// a socket holds some hundreds.
const MOST_UNREAD: u8 = 32;

/// The rate of all, and what is this run's of it.
#[derive(Debug)]
pub(in crate::run) struct SharedRate {
    pub(in crate::run) bytes_per_second: NonZeroU64,
    pub(in crate::run) share: Share,
}

impl SharedRate {
    /// What this run has of it now: something, since what runs is to end.
    fn now(&self) -> NonZeroU64 {
        let (part, of) = self.share.get().part();
        let bytes = u128::from(self.bytes_per_second.get()) * u128::from(part) / u128::from(of);
        let bytes = u64::try_from(bytes).ok().and_then(NonZeroU64::new);
        bytes.unwrap_or(NonZeroU64::MIN)
    }
}

/// What a worker knows.
#[derive(Debug, Default)]
pub(super) struct Known {
    rate: Option<NonZeroU64>,
    unread: u8,
}

impl Shell {
    /// Tells `worker` the rate, if it has changed.
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

    /// `worker` has said something of a task: it reads what it is told.
    pub(super) fn reads(&mut self, worker: WorkerId) {
        if let Some(known) = self.rates.get_mut(&worker) {
            known.unread = 0;
        }
    }
}
