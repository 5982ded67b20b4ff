//! A pool that runs.

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

/// Why a job is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// It is too large, or cannot be encoded.
    #[error("the job cannot be handed to a worker: {0}")]
    Encode(#[from] EncodeError),
    /// As many jobs are unfinished as may be.
    #[error("the pool is full")]
    Full,
    /// The pool has ended, or is about to.
    #[error("the pool takes no more jobs")]
    Closed,
}

/// Processes that do jobs. Threads can share it.
///
/// Dropping it ends all of them at once; jobs that are not finished then are
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
    /// What a pool is to be like, whose workers are all told `setup`.
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

    /// Hands in `job`. If too many are unfinished, it waits until one of them is finished.
    ///
    /// # Errors
    ///
    /// If it is too large, or the pool ends.
    pub fn submit(&self, job: W::Job) -> Result<Handle<W::Output>, SubmitError> {
        let (handle, reply) = Handle::new();
        match self.desk.submit(submission::<W>(&job, reply)?) {
            Ok(()) => Ok(handle),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Hands in `job`, and waits for nothing: for those who must not wait, such as an event loop.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Full`] if too many are unfinished; else as for [`submit`](Self::submit).
    pub fn try_submit(&self, job: W::Job) -> Result<Handle<W::Output>, SubmitError> {
        let (handle, reply) = Handle::new();
        match self.desk.try_submit(submission::<W>(&job, reply)?) {
            Ok(()) => Ok(handle),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Does all of `jobs`: yields the number of each, counted from 0, and its outcome, as they are
    /// finished. Jobs are taken from the iterator as there is room for them.
    pub fn run<I: IntoIterator<Item = W::Job>>(&self, jobs: I) -> Run<'_, W, I::IntoIter> {
        Run::new(self, jobs.into_iter())
    }

    /// Does all of `jobs`: yields their outcomes in the order of the jobs.
    pub fn run_ordered<I: IntoIterator<Item = W::Job>>(
        &self,
        jobs: I,
    ) -> Ordered<'_, W, I::IntoIter> {
        Ordered::new(self.run(jobs))
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.desk.counts()
    }

    /// Waits until all jobs that were submitted are finished, and ends.
    #[must_use = "a pool may have given up"]
    pub fn finish(self) -> Ended {
        self.end(Wish::Finish)
    }

    /// Lets the jobs that run finish, abandons all others, and ends.
    pub fn drain(self) -> Ended {
        self.end(Wish::Drain)
    }

    /// Ends at once. Jobs that are not finished are abandoned.
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
            // A panic of its own is told by `drive`, and ends the pool like any other.
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

/// `job`, to be handed in; `reply` is told what becomes of it.
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
