//! A running pool.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::thread::JoinHandle;

use protocol::codec::EncodeError;

use super::blob::Blob;
use super::builder::Builder;
use super::desk::{Desk, Refusal, Reply, Submission};
use super::drive::Wish;
use super::handle::Handle;
use super::outcome::Ended;
use super::run::{Ordered, Run};
use super::work::AnyWork;
use crate::dispatch::Counts;

/// Reasons why a job is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The job is too large or cannot be encoded.
    #[error("the job cannot be handed to a worker: {0}")]
    Encode(#[from] EncodeError),
    /// The pool has the maximum number of unfinished jobs.
    #[error("the pool is full")]
    Full,
    /// The pool has ended or is about to end.
    #[error("the pool takes no more jobs")]
    Closed,
}

/// A pool of worker processes that run jobs. Threads can share it.
///
/// Dropping the pool ends all workers immediately. Unfinished jobs are then
/// [abandoned](super::Outcome::Abandoned).
pub struct Pool<W: AnyWork> {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
    work: PhantomData<fn(W)>,
}

impl<W: AnyWork> fmt::Debug for Pool<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.desk).finish()
    }
}

impl<W: AnyWork> Pool<W> {
    /// Creates a builder for a pool. Each of its workers receives `setup`.
    pub fn builder(setup: W::Setup) -> Builder<W> {
        Builder::new(setup)
    }

    pub(super) fn new(desk: Arc<Desk>, thread: JoinHandle<()>) -> Self {
        Self {
            desk,
            thread: Some(thread),
            work: PhantomData,
        }
    }

    /// Submits `job`. Blocks while [too many](Builder::room) jobs are unfinished.
    ///
    /// # Errors
    ///
    /// Fails if the job is too large or cannot be encoded, or if the pool ends.
    pub fn submit(&self, job: W::Job) -> Result<Handle<W::Output>, SubmitError> {
        let (handle, reply) = Handle::new();
        match self.desk.submit(submission::<W>(&job, reply)?) {
            Ok(()) => Ok(handle),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Submits `job` without blocking, for callers that must not block, such as an event loop.
    ///
    /// # Errors
    ///
    /// Returns [`SubmitError::Full`] if too many jobs are unfinished. Otherwise fails as
    /// [`submit`](Self::submit) does.
    pub fn try_submit(&self, job: W::Job) -> Result<Handle<W::Output>, SubmitError> {
        let (handle, reply) = Handle::new();
        match self.desk.try_submit(submission::<W>(&job, reply)?) {
            Ok(()) => Ok(handle),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Runs all `jobs`, which are taken from the iterator when there is room for them. Yields the
    /// number of each job, counted from 0, with its outcome, in the order in which the jobs finish.
    pub fn run<I: IntoIterator<Item = W::Job>>(&self, jobs: I) -> Run<'_, W, I::IntoIter> {
        Run::new(self, jobs.into_iter())
    }

    /// Runs all `jobs`. The returned iterator yields their outcomes in the order of the jobs.
    pub fn run_ordered<I: IntoIterator<Item = W::Job>>(
        &self,
        jobs: I,
    ) -> Ordered<'_, W, I::IntoIter> {
        Ordered::new(self.run(jobs))
    }

    /// Returns the totals so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.desk.counts()
    }

    /// Waits until all submitted jobs are finished, then ends the pool.
    #[must_use = "a pool may have given up"]
    pub fn finish(self) -> Ended {
        self.end(Wish::Finish)
    }

    /// Waits until the running jobs are finished, abandons all others, and ends the pool.
    pub fn drain(self) -> Ended {
        self.end(Wish::Drain)
    }

    /// Ends the pool immediately. Unfinished jobs are abandoned.
    pub fn abort(self) -> Ended {
        self.end(Wish::Abort)
    }

    fn end(mut self, wish: Wish) -> Ended {
        self.desk.close(wish);
        self.join();
        self.desk.ended()
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // `drive` catches panics and ends the pool with an error, so the result adds nothing.
            let _ = thread.join();
        }
    }

    pub(super) const fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }
}

impl<W: AnyWork> Drop for Pool<W> {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.desk.close(Wish::Abort);
            self.join();
        }
    }
}

/// Encodes `job` for submission. `reply` will receive its outcome.
pub(super) fn submission<W: AnyWork>(
    job: &W::Job,
    reply: Reply,
) -> Result<Submission, EncodeError> {
    let job = Blob::encode(job)?;
    Ok(Submission { job, reply })
}

impl From<Refusal> for SubmitError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full(_) => Self::Full,
            Refusal::Closed => Self::Closed,
        }
    }
}
