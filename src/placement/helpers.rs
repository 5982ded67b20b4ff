//! Threads that help to put bodies in place where the file system takes long: what takes its time
//! there, and not a processor's, can be done several times at once.
//!
//! They begin when they are first needed, and wait for work until their owner is gone.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use super::{Found, Mover, Timed};

/// Most bodies that are placed at once, the one of the owner's thread included.
const MOST_AT_ONCE: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Helpers {
    work: Arc<Work>,
    done: Receiver<Timed>,
}

/// Bodies that nobody has taken up.
#[derive(Debug, Default)]
struct Work {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Found>,
    /// There will be no more.
    closed: bool,
}

impl Helpers {
    /// Starts as many as the system gives, or none: their owner works as well.
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

    /// Puts bodies in place, together with `mover`; waits for all of them.
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

    /// Waits for the next body; nothing once there will be none.
    fn next(&self) -> Option<Found> {
        let is_idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let waited = self.bell.wait_while(self.lock(), is_idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting.pop_front()
    }

    /// Every change is whole in itself, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
