//! Signs of life, on a clock of their own.
//!
//! They come from a thread that does no task, so that they say something about the slots: a
//! running task that does not move for longer than its limits allow is left out. The same thread
//! sends reports that nobody else sends in time.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use protocol::message::{Report, Running};

use super::post::{Call, Post, Weighed};
use super::{Activity, Overrun};
use crate::job::{Broken, Job};
use crate::link::Outbox;

/// Shortest interval: a setup that asks for none gets no busy loop.
pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// What the heartbeat needs to know.
pub(super) struct Pulse<P> {
    pub(super) activities: Vec<Arc<Activity<P>>>,
    pub(super) interval: Duration,
    /// Longest time that a task may go without moving.
    pub(super) rest: Duration,
    /// Longest time that a task may take, and who is told of one that takes longer.
    pub(super) overrun: Option<Overrun>,
}

/// Sends a heartbeat every `interval`, and what is due of `post`, until that is closed or nobody
/// listens any more. Tasks that did not move for too long are left out.
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
    /// What runs, and moves.
    pub(super) fn running(&self) -> Vec<Running<P>> {
        let now = Instant::now();
        let running = self.activities.iter();
        running
            .filter_map(|activity| activity.running(now, self.rest))
            .collect()
    }

    /// When the first of the tasks that run now has had its time.
    fn next_overrun(&self) -> Option<Instant> {
        let limit = self.overrun.as_ref()?.limit;
        let begun = self
            .activities
            .iter()
            .filter_map(|activity| activity.begun());
        begun.min()?.checked_add(limit)
    }

    /// Says of each task that has had its time that it failed, and then who wants to know is told.
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
