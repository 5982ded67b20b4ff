//! Signs of life, on a clock of their own.
//!
//! They come from a thread that does no task, so that they say something about the slots: a
//! running task that does not move for longer than its limits allow is left out. The same thread
//! sends reports that nobody else sends in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::post::{Call, Post};
use crate::activity::Activity;
use crate::job::Download;
use pool::link::Outbox;

/// Shortest interval: a setup that asks for none gets no busy loop.
pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Sends a heartbeat every `interval`, and what is due of `post`, until that is closed or nobody
/// listens any more. Tasks that did not move for longer than `limit` are left out.
pub(super) fn beat<O: Outbox<Download>>(
    post: &Post<O>,
    activities: &[Arc<Activity>],
    interval: Duration,
    limit: Duration,
) {
    let interval = interval.max(MIN_INTERVAL);
    let mut next = Instant::now() + interval;
    while let Some(call) = post.wait(next) {
        match call {
            Call::Due => post.send_held(),
            Call::Beat => {
                next = Instant::now() + interval;
                let listens = post.beat(|| {
                    let now = Instant::now();
                    let running = activities.iter();
                    running
                        .filter_map(|activity| activity.running(now, limit))
                        .collect()
                });
                if !listens {
                    return;
                }
            }
        }
    }
}
