//! Handles: access to the outcome of a job.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use serde::de::DeserializeOwned;

use super::desk::Reply;
use super::outcome::{Outcome, Raw};
use super::work::Progress;

/// A handle to a submitted job. [`wait`](Self::wait) for its outcome, or `.await` the handle.
/// Dropping the handle does not cancel the job.
#[must_use = "the outcome of the job is not known otherwise"]
pub struct Handle<O> {
    promise: Arc<Promise>,
    output: PhantomData<fn() -> O>,
}

#[derive(Default)]
pub(super) struct Promise {
    state: Mutex<State>,
    kept: Condvar,
}

#[derive(Default)]
struct State {
    outcome: Option<Raw>,
    progress: Option<Progress>,
    waker: Option<Waker>,
}

impl<O> fmt::Debug for Handle<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("outcome", &self.promise.lock().outcome)
            .finish_non_exhaustive()
    }
}

impl<O: DeserializeOwned> Handle<O> {
    /// Creates a handle and the sender of its outcome.
    pub(super) fn new() -> (Self, Reply) {
        let promise = Arc::<Promise>::default();
        let handle = Self {
            promise: Arc::clone(&promise),
            output: PhantomData,
        };
        (handle, Reply::Handle(promise))
    }

    /// Returns the progress that the job has last [reported](super::Context::progress). If the job
    /// is started again, this is `None` until it reports again.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.promise.lock().progress
    }

    /// Blocks until the job has an outcome.
    pub fn wait(self) -> Outcome<O> {
        let mut state = self.promise.lock();
        loop {
            if let Some(outcome) = state.outcome.take() {
                return outcome.decoded();
            }
            let waited = self.promise.kept.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<O: DeserializeOwned> Future for Handle<O> {
    type Output = Outcome<O>;

    /// Must not be polled again after it has returned `Poll::Ready`.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome<O>> {
        let mut state = self.promise.lock();
        match state.outcome.take() {
            Some(outcome) => Poll::Ready(outcome.decoded()),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Promise {
    pub(super) fn keep(&self, outcome: Raw) {
        let mut state = self.lock();
        state.outcome = Some(outcome);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        self.kept.notify_all();
    }

    pub(super) fn show(&self, progress: Option<Progress>) {
        self.lock().progress = progress;
    }

    /// Ignores poisoning: each change leaves a consistent state, so a panic elsewhere does no harm.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
