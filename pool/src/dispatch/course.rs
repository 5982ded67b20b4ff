//! The course of a run as a whole.
//!
//! ```text
//!   running ---- end: no new leases ----> ending, until a deadline ---- finish ----> finished
//! ```
//!
//! It also knows whether more input may come, and when the time limit of the run expires.

use std::time::{Duration, Instant};

use super::event::Ending;

/// The state of a run as a whole.
#[derive(Debug)]
pub(super) struct Course<F> {
    stage: Stage<F>,
    input_open: bool,
    time_is_up: Option<Instant>,
}

#[derive(Debug)]
enum Stage<F> {
    /// Tasks are handed out.
    Running,
    /// Workers leave when they are empty. At the deadline they are terminated.
    Ending {
        ending: Ending<F>,
        deadline: Instant,
    },
    Finished,
}

impl<F> Course<F> {
    /// Creates the course of a run that starts at `now` and may take `run_time`.
    pub(super) fn new(now: Instant, run_time: Option<Duration>) -> Self {
        Self {
            stage: Stage::Running,
            input_open: true,
            time_is_up: run_time.and_then(|time| now.checked_add(time)),
        }
    }

    /// Returns whether tasks are still handed out.
    pub(super) const fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running)
    }

    pub(super) const fn is_finished(&self) -> bool {
        matches!(self.stage, Stage::Finished)
    }

    /// Returns whether the input may have more tasks.
    pub(super) const fn is_input_open(&self) -> bool {
        self.input_open
    }

    pub(super) const fn end_input(&mut self) {
        self.input_open = false;
    }

    /// Returns when the time limit expires, if the run has one and is still running.
    pub(super) fn time_is_up(&self) -> Option<Instant> {
        self.time_is_up.filter(|_| self.is_running())
    }

    /// Begins to end the run, by `deadline` at the latest. Returns false if it is ending already:
    /// the first reason stays.
    pub(super) fn end(&mut self, ending: Ending<F>, deadline: Instant) -> bool {
        let is_first = self.is_running();
        if is_first {
            self.stage = Stage::Ending { ending, deadline };
        }
        is_first
    }

    /// Returns the deadline of a run that is ending.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Ending { deadline, .. } => Some(deadline),
            Stage::Running | Stage::Finished => None,
        }
    }

    /// Brings the deadline of a run that is ending forward to `by`, if it is later.
    pub(super) fn hurry(&mut self, by: Instant) {
        if let Stage::Ending { deadline, .. } = &mut self.stage {
            *deadline = by.min(*deadline);
        }
    }

    /// Extends the deadline of a run that is ending by `pause`.
    pub(super) fn extend(&mut self, pause: Duration) {
        if let Stage::Ending { deadline, .. } = &mut self.stage {
            *deadline += pause;
        }
    }

    /// Finishes a run that was ending, and returns how it ended.
    pub(super) fn finish(&mut self) -> Option<Ending<F>> {
        match std::mem::replace(&mut self.stage, Stage::Finished) {
            Stage::Ending { ending, .. } => Some(ending),
            Stage::Running | Stage::Finished => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Step {
        End(Ending<()>, u64),
        Hurry(u64),
        Extend(u64),
        Finish(Option<Ending<()>>),
    }

    #[test]
    fn a_run_ends_once_for_the_first_reason_and_by_its_deadline() {
        use Ending::{Completed, Interrupted};
        use Step::{End, Extend, Finish, Hurry};
        // Steps; then whether the run is running, its deadline, and whether it is finished.
        let rows = [
            (vec![], (true, None, false)),
            (vec![Hurry(1), Extend(1)], (true, None, false)),
            (vec![End(Completed, 9)], (false, Some(9), false)),
            (
                vec![End(Completed, 9), End(Interrupted, 3)],
                (false, Some(9), false),
            ),
            (
                vec![End(Completed, 9), Hurry(5), Hurry(7)],
                (false, Some(5), false),
            ),
            (
                vec![End(Completed, 9), Extend(2), Extend(3)],
                (false, Some(14), false),
            ),
            (
                vec![End(Interrupted, 9), Finish(Some(Interrupted))],
                (false, None, true),
            ),
            (
                vec![End(Completed, 9), Finish(Some(Completed)), Finish(None)],
                (false, None, true),
            ),
        ];
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let up = begin + 60 * second;
        for (number, (steps, expected)) in rows.into_iter().enumerate() {
            let mut course = Course::new(begin, Some(60 * second));
            for step in steps {
                let at = |seconds| begin + Duration::from_secs(seconds);
                match step {
                    End(ending, by) => {
                        let was_running = course.is_running();
                        assert_eq!(course.end(ending, at(by)), was_running, "row {number}");
                    }
                    Hurry(by) => course.hurry(at(by)),
                    Extend(pause) => course.extend(Duration::from_secs(pause)),
                    Finish(ending) => assert_eq!(course.finish(), ending, "row {number}"),
                }
            }
            let deadline = course.deadline().map(|at| (at - begin).as_secs());
            let found = (course.is_running(), deadline, course.is_finished());
            assert_eq!(found, expected, "row {number}");
            // The time limit applies only while the run is running.
            assert_eq!(course.time_is_up(), found.0.then_some(up), "row {number}");
        }
    }
}
