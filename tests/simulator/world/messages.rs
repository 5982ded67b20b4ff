//! Messages to the core: of workers, and of whoever places bodies.

use coordinator::dispatch::Event;
use protocol::{Stored, TaskId, WorkerId};

use super::{Happening, World};
use crate::worker::draw_placement;

impl World {
    /// A worker says something: it arrives in order, and perhaps a second time.
    pub(super) fn send_up(&mut self, worker: WorkerId, event: Event) {
        let delay = self.rng.u64(..2_000_000);
        let Some(model) = self.workers.get_mut(&worker) else {
            return;
        };
        let at = (self.now + delay).max(model.uplink_busy_until);
        model.uplink_busy_until = at;
        if self.rng.f64() < self.scenario.echo && !matches!(event, Event::WorkerExited { .. }) {
            let late = at + self.rng.u64(..500_000_000);
            // Mostly stale by then. If not, the core cannot tell, and the observer follows it.
            self.at(late, Happening::Heard(event.clone()));
        }
        self.at(at, Happening::Heard(event));
    }

    /// A body is put in place, or is not; that is told after a while.
    pub(super) fn place(&mut self, worker: WorkerId, task: TaskId, stored: Box<Stored>) {
        let result = draw_placement(&self.scenario, &mut self.rng, stored);
        let event = Event::Placed {
            worker,
            task,
            result,
        };
        self.after(self.scenario.placing, Happening::Heard(event));
    }
}
