//! Submission of jobs: the part of a pool that all threads share.

use std::fmt;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::blob::Blob;
use super::drive::{LoopEvent, Wish};
use super::handle::Promise;
use super::outcome::{Ended, Raw};
use super::work::Progress;
use crate::dispatch::Counts;

/// Receiver of the outcome of a job.
pub(super) enum Reply {
    /// The handle of the job.
    Handle(Arc<Promise>),
    /// An iterator over the outcomes of many jobs, in which this job has this number.
    Run(usize, Sender<(usize, Raw)>),
}

impl Reply {
    /// Delivers the outcome.
    pub(super) fn tell(self, outcome: Raw) {
        match self {
            Self::Handle(promise) => promise.keep(outcome),
            // The iterator may have been dropped.
            Self::Run(number, says) => drop(says.send((number, outcome))),
        }
    }

    /// Publishes the progress of the job; `None` if the job has just been started again.
    pub(super) fn show(&self, progress: Option<Progress>) {
        match self {
            Self::Handle(promise) => promise.show(progress),
            Self::Run(..) => {}
        }
    }
}

/// A submitted job.
pub(super) struct Submission {
    pub(super) job: Blob,
    pub(super) reply: Reply,
}

/// The queue of submitted jobs, with a limit on the number of unfinished jobs.
pub(super) struct Desk {
    state: Mutex<State>,
    /// Notified when there is room, when the desk closes and when the loop has ended.
    changed: Condvar,
    loop_hears: Mutex<Sender<LoopEvent>>,
    room: usize,
}

struct State {
    submitted: Vec<Submission>,
    unfinished: usize,
    counts: Counts,
    /// No more jobs are accepted.
    closed: bool,
    ended: Option<Ended>,
}

/// Reason why a job is not accepted.
pub(super) enum Refusal {
    Full(Submission),
    Closed,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Desk")
            .field("unfinished", &state.unfinished)
            .field("room", &self.room)
            .field("ended", &state.ended)
            .finish_non_exhaustive()
    }
}

impl Desk {
    pub(super) fn new(room: usize, loop_hears: Sender<LoopEvent>) -> Self {
        let state = State {
            submitted: Vec::new(),
            unfinished: 0,
            counts: Counts::default(),
            closed: false,
            ended: None,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            loop_hears: Mutex::new(loop_hears),
            room: room.max(1),
        }
    }

    pub(super) const fn room(&self) -> usize {
        self.room
    }

    /// Accepts a job if there is room now.
    pub(super) fn try_submit(&self, submission: Submission) -> Result<(), Refusal> {
        self.take(self.lock(), submission)
    }

    /// Accepts a job. Blocks until there is room.
    pub(super) fn submit(&self, submission: Submission) -> Result<(), Refusal> {
        let mut state = self.lock();
        while state.unfinished >= self.room && !state.closed {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        self.take(state, submission)
    }

    fn take(
        &self,
        mut state: MutexGuard<'_, State>,
        submission: Submission,
    ) -> Result<(), Refusal> {
        if state.closed {
            return Err(Refusal::Closed);
        }
        if state.unfinished >= self.room {
            return Err(Refusal::Full(submission));
        }
        state.unfinished += 1;
        state.submitted.push(submission);
        // If other jobs are in the list, the loop was notified of them and has not taken them yet.
        if state.submitted.len() == 1 {
            drop(state);
            self.tell(LoopEvent::Submitted);
        }
        Ok(())
    }

    /// Accepts no more jobs. `wish` determines what happens to the jobs accepted so far.
    pub(super) fn close(&self, wish: Wish) {
        self.lock().closed = true;
        self.changed.notify_all();
        self.tell(LoopEvent::Wish(wish));
    }

    /// Blocks until the loop has ended.
    pub(super) fn ended(&self) -> Ended {
        let mut state = self.lock();
        loop {
            if let Some(ended) = &state.ended {
                return ended.clone();
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Takes the jobs submitted since the last call. For the loop.
    pub(super) fn submitted(&self) -> Vec<Submission> {
        std::mem::take(&mut self.lock().submitted)
    }

    /// Frees the room of `jobs` finished jobs. For the loop.
    pub(super) fn finished(&self, jobs: usize, counts: Counts) {
        let mut state = self.lock();
        state.counts = counts;
        state.unfinished -= jobs;
        if jobs > 0 {
            self.changed.notify_all();
        }
    }

    /// Closes the desk at the end of the loop. Returns the jobs that the loop has not taken.
    pub(super) fn end(&self, ended: Ended) -> Vec<Submission> {
        let mut state = self.lock();
        state.closed = true;
        state.counts = ended.counts;
        state.ended = Some(ended);
        self.changed.notify_all();
        std::mem::take(&mut state.submitted)
    }

    fn tell(&self, heard: LoopEvent) {
        let loop_hears = self.loop_hears.lock();
        // Fails only if the loop has ended.
        let _ = loop_hears
            .unwrap_or_else(PoisonError::into_inner)
            .send(heard);
    }

    /// Ignores poisoning: each change leaves a consistent state, so a panic elsewhere does no harm.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
