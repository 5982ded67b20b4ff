//! Where jobs are handed in: the part of a pool that all threads share.

use std::fmt;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::blob::Blob;
use super::drive::{LoopEvent, Wish};
use super::handle::Promise;
use super::outcome::{Ended, Raw};
use super::work::Progress;
use crate::dispatch::Counts;

/// Who is told what became of a job.
pub(super) enum Reply {
    /// Whoever has its handle.
    Handle(Arc<Promise>),
    /// Whoever reads the outcomes of many, of which it has this number.
    Run(usize, Sender<(usize, Raw)>),
}

impl Reply {
    /// This became of it.
    pub(super) fn tell(self, outcome: Raw) {
        match self {
            Self::Handle(promise) => promise.keep(outcome),
            // Nobody need wait for it.
            Self::Run(number, says) => drop(says.send((number, outcome))),
        }
    }

    /// It is so far, or has just begun.
    pub(super) fn show(&self, progress: Option<Progress>) {
        match self {
            Self::Handle(promise) => promise.show(progress),
            Self::Run(..) => {}
        }
    }
}

/// A job that was handed in.
pub(super) struct Submission {
    pub(super) job: Blob,
    pub(super) reply: Reply,
}

/// Where jobs are handed in, as many at once as there is room for.
pub(super) struct Desk {
    state: Mutex<State>,
    /// There is room, or will be none any more.
    changed: Condvar,
    loop_hears: Mutex<Sender<LoopEvent>>,
    room: usize,
}

struct State {
    submitted: Vec<Submission>,
    unfinished: usize,
    counts: Counts,
    /// Jobs are taken no more.
    closed: bool,
    ended: Option<Ended>,
}

/// Why a job is not taken.
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

    /// Takes a job, if there is room now.
    pub(super) fn try_submit(&self, submission: Submission) -> Result<(), Refusal> {
        self.take(self.lock(), submission)
    }

    /// Takes a job once there is room.
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
        // Who finds others there has told of them, and they are not taken yet.
        if state.submitted.len() == 1 {
            drop(state);
            self.tell(LoopEvent::Submitted);
        }
        Ok(())
    }

    /// From now on no job is taken. `wish` is what is to become of those that were.
    pub(super) fn close(&self, wish: Wish) {
        self.lock().closed = true;
        self.changed.notify_all();
        self.tell(LoopEvent::Wish(wish));
    }

    /// Waits until the loop has ended.
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

    /// What was handed in since this was last asked. For the loop.
    pub(super) fn submitted(&self) -> Vec<Submission> {
        std::mem::take(&mut self.lock().submitted)
    }

    /// So many jobs are finished. For the loop.
    pub(super) fn finished(&self, jobs: usize, counts: Counts) {
        let mut state = self.lock();
        state.counts = counts;
        state.unfinished -= jobs;
        if jobs > 0 {
            self.changed.notify_all();
        }
    }

    /// The loop has ended, and takes nothing more; what it has not taken comes back. For the loop.
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
        // If it is gone it has ended.
        let _ = loop_hears
            .unwrap_or_else(PoisonError::into_inner)
            .send(heard);
    }

    /// Every change is whole in itself, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
