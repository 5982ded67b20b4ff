//! Messages between the core and its workers, and how long they take.

use coordinator::dispatch::{Action, Event};
use protocol::WorkerId;

use super::{Happening, World, nanos};

impl World {
    pub(super) fn send_down(&mut self, worker: WorkerId, action: Action) {
        let delay = self.rng.u64(..2_000_000);
        let Some(model) = self.workers.get_mut(&worker) else {
            return;
        };
        let at = (self.now + delay).max(model.downlink_busy_until);
        model.downlink_busy_until = at;
        self.at(at, Happening::Told(worker, action));
    }

    /// Sends a message of a worker. Messages arrive in order, and some of them a second time later.
    pub(super) fn send_up(&mut self, worker: WorkerId, event: Event) {
        let echoes = !matches!(event, Event::WorkerExited { .. });
        self.send_frame(worker, Happening::Heard(event), echoes);
    }

    /// Sends several messages of a worker that arrive together.
    pub(super) fn send_up_all(&mut self, worker: WorkerId, events: Vec<Event>) {
        self.send_frame(worker, Happening::Reported(events), true);
    }

    fn send_frame(&mut self, worker: WorkerId, frame: Happening, echoes: bool) {
        // Sometimes it is not read for longer than any lease lasts.
        let clogged = self.rng.f64() < self.scenario.clogged;
        let lease = nanos(self.scenario.limits.lease_timeout);
        let delay = match clogged {
            true => self.rng.u64(..2 * lease),
            false => self.rng.u64(..2_000_000),
        };
        let Some(model) = self.workers.get_mut(&worker) else {
            return;
        };
        let at = (self.now + delay).max(model.uplink_busy_until);
        model.uplink_busy_until = at;
        if self.rng.f64() < self.scenario.echo && echoes {
            let late = at + self.rng.u64(..500_000_000);
            // By then it is usually stale. If not, the core cannot tell, and the observer follows
            // the core.
            self.at(late, frame.clone());
        }
        self.at(at, frame);
    }

    /// Reports that everything has been received, once all that any worker has sent by now has
    /// arrived.
    pub(super) fn listen(&mut self) {
        let busy = self.workers.values().map(|model| model.uplink_busy_until);
        let at = busy.max().unwrap_or_default().max(self.now);
        self.at(at, Happening::Heard(Event::Listened));
    }
}
