//! Heartbeats at regular intervals.
//!
//! They come from a thread that runs no task, and describe the slots: a running task that has not
//! moved for longer than its limit is left out. The same thread sends reports that are due.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use protocol::message::{Report, Running};

use super::post::{Call, Post, Weighed};
use super::{Activity, Overrun};
use crate::job::{Broken, Job};
use crate::link::Outbox;

/// Minimum interval, so that a setup with an interval of zero does not cause a busy loop.
pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// What the heartbeat needs to know.
pub(super) struct Pulse<P> {
    pub(super) activities: Vec<Arc<Activity<P>>>,
    pub(super) interval: Duration,
    /// Maximum time that a task may go without moving.
    pub(super) rest: Duration,
    /// Time limit of a task, and the function to call when a task exceeds it.
    pub(super) overrun: Option<Overrun>,
}

/// Sends a heartbeat every `interval`, and the reports of `post` that are due, until the post is
/// closed. Tasks that have not moved for too long are left out.
pub(super) fn beat<J: Job>(post: &Post<J, impl Outbox<J>>, pulse: &Pulse<J::Progress>) {
    let interval = pulse.interval.max(MIN_INTERVAL);
    let mut next = Instant::now() + interval;
    while let Some(call) = post.wait(pulse.next_overrun().map_or(next, |at| at.min(next))) {
        match call {
            Call::Due => post.send_held(),
            Call::Beat | Call::Show => {
                pulse.end_overrun::<J>(post);
                if call == Call::Beat && Instant::now() < next {
                    continue;
                }
                next = Instant::now() + interval;
                if !post.beat(|| pulse.running()) {
                    return;
                }
            }
        }
    }
}

impl<P: Clone> Pulse<P> {
    /// Returns the running tasks that move.
    pub(super) fn running(&self) -> Vec<Running<P>> {
        let now = Instant::now();
        let running = self.activities.iter();
        running
            .filter_map(|activity| activity.running(now, self.rest))
            .collect()
    }

    /// Returns when the first of the running tasks reaches its time limit.
    fn next_overrun(&self) -> Option<Instant> {
        let limit = self.overrun.as_ref()?.limit;
        let begun = self
            .activities
            .iter()
            .filter_map(|activity| activity.begun());
        begun.min()?.checked_add(limit)
    }

    /// Reports the failure of each task that exceeded its limit, then calls [`Overrun::then`].
    fn end_overrun<J: Job<Progress = P>>(&self, post: &Post<J, impl Outbox<J>>) {
        let Some(overrun) = &self.overrun else {
            return;
        };
        let Some(moment) = Instant::now().checked_sub(overrun.limit) else {
            return;
        };
        let mut any = false;
        for activity in &self.activities {
            let Some(task) = activity.take_away(moment) else {
                continue;
            };
            any = true;
            let begun = SystemTime::now() - overrun.limit;
            let failure = Box::new(J::broken(Broken::Overran(overrun.limit), begun));
            post.end(Weighed::new(Report::Nacked { task, failure }), "", 0);
            activity.clear_word();
        }
        if any {
            (overrun.then)();
        }
    }
}
