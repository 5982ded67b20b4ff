//! The result of one job, later.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use serde::de::DeserializeOwned;

use super::desk::Reply;
use super::outcome::{Outcome, Raw};
use super::work::Progress;

/// A job that was submitted. Wait for its outcome with [`wait`](Self::wait), or `.await` it. If it is
/// dropped, the job is done all the same.
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
    /// A handle, and what is to be told the outcome.
    pub(super) fn new() -> (Self, Reply) {
        let promise = Arc::<Promise>::default();
        let handle = Self {
            promise: Arc::clone(&promise),
            output: PhantomData,
        };
        (handle, Reply::Handle(promise))
    }

    /// How far the job is, once it has [said so](super::Context::progress). If it is begun again, that is not known until
    /// it says so again.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.promise.lock().progress
    }

    /// Waits until the job is finished, in whatever way.
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

    /// Must not be polled again once it is ready.
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

    /// Every change is whole in itself, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
