//! Progress of running tasks from heartbeats: bytes and speed.

use std::time::Instant;

use protocol::{Progress, Running, WorkerId};

use super::{Shell, Sign};
use crate::format::duration;
use crate::run::report::Activity;

/// Weight of the last second in a speed, so that it does not jump or lag.
const NEWEST: f64 = 0.5;

impl Shell {
    /// Stores what `worker` reported at `now` about a task that it holds, and counts the new bytes.
    pub(super) fn hear(&mut self, worker: WorkerId, running: &Running, now: Instant) {
        let &Running {
            task,
            progress:
                Progress {
                    phase,
                    bytes,
                    expected,
                },
        } = running;
        let earlier = self.heard.get(&task).filter(|sign| sign.worker == worker);
        let (new, speed) = match earlier {
            Some(sign) => {
                let new = bytes.saturating_sub(sign.heard.bytes);
                let over = now.saturating_duration_since(sign.at).as_secs_f64();
                #[allow(clippy::cast_precision_loss, reason = "a speed for people")]
                let last = new as f64 / over.max(1e-3);
                let speed = match sign.heard.speed {
                    Some(speed) => NEWEST.mul_add(last - speed, speed),
                    None => last,
                };
                (new, Some(speed))
            }
            // Part of the body is from an earlier attempt or run.
            None if self.is_resumed(running) => (0, None),
            None => (bytes, None),
        };
        self.parts.stats.received = self.parts.stats.received.saturating_add(new);
        let heard = Activity {
            phase,
            bytes,
            expected,
            speed,
        };
        let sign = Sign {
            worker,
            at: now,
            heard,
        };
        self.heard.insert(task, sign);
    }

    /// Returns whether a part of the body may have existed before its worker started.
    fn is_resumed(&self, running: &Running) -> bool {
        let task = running.task;
        self.parts.core.delivery(task) > 1
            || self.tasks.get(&task).is_some_and(|entry| {
                let partial = self.parts.partial_names.of(entry.kind, &entry.target);
                self.parts.partials_left.contains(&partial)
            })
    }

    /// Returns the message for a signal, with this number, that ends the run.
    pub(super) fn farewell(&self, number: i32) -> String {
        let slots = self.parts.core.slots();
        let running = slots.map(|slot| slot.running.len());
        // Includes downloads that are being placed or whose command runs.
        let running = running.sum::<usize>() + self.parts.core.placing();
        let what = match running {
            0 => "stopping".to_owned(),
            1 => "finishing 1 download".to_owned(),
            running => format!("finishing {running} downloads"),
        };
        let again = match number {
            signal_hook::consts::SIGINT => "press Ctrl-C again to stop now",
            _ => "a second signal stops at once",
        };
        let grace = duration(self.parts.grace);
        match running {
            0 => what,
            _ => format!("{what} ({again}; {grace} at most)"),
        }
    }
}
