//! Places that a prerequisite asks before any of their tasks is offered, as for robots.txt.

use std::time::Duration;

use coordinator::dispatch::{Event, HostId};
use protocol::TaskId;

use super::{Happening, World};

/// The number of the first prerequisite.
const FIRST_PREREQUISITE: u64 = 1 << 52;

impl World {
    /// Offers a task of `host`, which has two places, once its place has been asked.
    pub(super) fn ask_first(&mut self, host: HostId, event: Event) -> Result<(), String> {
        let place = 2 * host.0 + self.rng.u32(..2);
        if let Some(&spacing) = self.asked.get(&place) {
            let event = self.judged(event, spacing);
            return self.tell_core(event);
        }
        if let Some((_, waiting)) = self.asking.get_mut(&place) {
            waiting.push(event);
            return Ok(());
        }
        let task = TaskId(FIRST_PREREQUISITE + u64::from(place));
        self.asking.insert(place, (task, vec![event]));
        self.hosts.insert(task, host);
        let size = self.rng.u32(20..500);
        self.tell_core(Event::PrerequisiteOffered {
            task,
            group: host,
            size,
        })
    }

    fn judged(&mut self, mut event: Event, wanted: Duration) -> Event {
        if self.rng.f64() < self.scenario.refused {
            return Event::TaskRefused;
        }
        if let Event::TaskOffered { spacing, .. } = &mut event {
            *spacing = wanted;
        }
        event
    }

    /// If `task` was a prerequisite, offers or refuses the tasks that waited for it.
    pub(super) fn answered(&mut self, task: TaskId) {
        let mut asking = self.asking.iter();
        let Some((&place, _)) = asking.find(|(_, (prerequisite, _))| *prerequisite == task) else {
            return;
        };
        let spacing = self.scenario.spacing;
        let spacing = spacing * self.rng.u32(..2);
        self.asked.insert(place, spacing);
        for event in self
            .asking
            .remove(&place)
            .map_or(Vec::new(), |(_, all)| all)
        {
            let event = self.judged(event, spacing);
            self.released += 1;
            self.at(self.now, Happening::Heard(event));
        }
    }
}
