//! Threads that help to place bodies if the file system is slow: operations that wait for the disk
//! and not for a processor can run in parallel.
//!
//! They start when they are first needed, and wait for work until their owner is dropped.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use super::{Found, Mover, Timed};

/// Maximum number of bodies that are placed at once, including the one on the owner's thread.
const MOST_AT_ONCE: usize = 16;

/// The helper threads.
#[derive(Debug)]
pub(super) struct Helpers {
    work: Arc<Work>,
    done: Receiver<Timed>,
}

/// Bodies that no thread has taken yet.
#[derive(Debug, Default)]
struct Work {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Found>,
    /// Whether no more bodies will come.
    closed: bool,
}

impl Helpers {
    /// Starts as many threads as the system allows. It may be none, because the owner works too.
    pub(super) fn new(mover: &Arc<Mover>) -> Self {
        let work = Arc::<Work>::default();
        let (tell, done) = channel();
        for _ in 1..MOST_AT_ONCE {
            let (mover, work, tell) = (Arc::clone(mover), Arc::clone(&work), tell.clone());
            let started = Builder::new()
                .name("placement".to_owned())
                .spawn(move || work.help(&mover, &tell));
            if let Err(error) = started {
                tracing::debug!(%error, "fewer bodies are placed at once");
                break;
            }
        }
        Self { work, done }
    }

    /// Places bodies together with `mover`, and waits for all of them.
    pub(super) fn place(&self, mover: &Mover, bodies: Vec<Found>) -> Vec<Timed> {
        let count = bodies.len();
        self.work.lock().waiting.extend(bodies);
        self.work.bell.notify_all();
        let next = || self.work.lock().waiting.pop_front();
        let mut results = Vec::with_capacity(count);
        while let Some(body) = next() {
            results.push(mover.place_timed(body));
        }
        let others = count - results.len();
        results.extend(self.done.iter().take(others));
        results
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.work.lock().closed = true;
        self.work.bell.notify_all();
    }
}

impl Work {
    fn help(&self, mover: &Mover, tell: &Sender<Timed>) {
        while let Some(body) = self.next() {
            if tell.send(mover.place_timed(body)).is_err() {
                return;
            }
        }
    }

    /// Waits for the next body. Returns `None` when no more will come.
    fn next(&self) -> Option<Found> {
        let is_idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let waited = self.bell.wait_while(self.lock(), is_idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting.pop_front()
    }

    /// No change is left half done, so a panic on another thread does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
