//! The placement of bodies, and its reports.

use coordinator::dispatch::Event;
use protocol::{Failure, Stored, TaskId, WorkerId};

use super::{Happening, World};
use crate::worker::{draw_placement, draw_proof};

impl World {
    /// Places a body, or fails to, and reports that after a while.
    pub(super) fn place(&mut self, worker: WorkerId, task: TaskId, stored: Box<Stored>) {
        let result = draw_placement(&self.scenario, &mut self.rng, stored);
        let event = Event::Placed {
            worker,
            task,
            result,
        };
        self.after(self.scenario.placing, Happening::Heard(event));
    }
    /// Confirms or denies that a failure is fatal, and reports that after a while.
    pub(super) fn prove(&mut self, worker: WorkerId, task: TaskId, failure: Box<Failure>) {
        let event = Event::Placed {
            worker,
            task,
            result: Err(draw_proof(&mut self.rng, failure)),
        };
        self.after(self.scenario.placing, Happening::Heard(event));
    }
}
