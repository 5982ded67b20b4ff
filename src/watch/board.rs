//! The board that holds the state of a run for the server.
//!
//! A request is answered with a state that is at most [`FRESH`] old. If the state is older, the run
//! is asked once for all requests. A run without viewers is never asked.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::state::{OVER, State};
use super::{memory, view};

/// Maximum age of a state.
const FRESH: Duration = Duration::from_millis(250);

/// Maximum time that the run may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A posted state, and what is derived from it for all requests.
#[derive(Debug)]
pub(super) struct Posted {
    state: State,
    at: Instant,
    measured: OnceLock<State>,
    fragment: OnceLock<String>,
}

impl Posted {
    /// Returns whether the run has ended and this is the last state.
    pub(super) fn is_last(&self) -> bool {
        self.state.progress.event == OVER
    }

    /// Returns the state with measurements of processes, which are taken here, not by the run.
    pub(super) fn measured(&self) -> &State {
        self.measured.get_or_init(|| State {
            memory: memory::of(&self.state.pids),
            ..self.state.clone()
        })
    }

    /// Returns the part of the page that shows the state.
    pub(super) fn fragment(&self) -> &str {
        self.fragment.get_or_init(|| {
            view::fragment(self.measured()).unwrap_or_else(|error| {
                tracing::warn!(%error, "the page of the run cannot be made");
                String::new()
            })
        })
    }
}

/// Holds the latest state, and asks the run for new ones.
#[derive(Debug)]
pub(super) struct Board {
    posted: watch::Sender<Option<Arc<Posted>>>,
    patience: Duration,
    /// Asks the run. `waits` is whether an answer is pending.
    ask: Mutex<Ask>,
}

struct Ask {
    run: Box<dyn Fn() + Send>,
    waits: bool,
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").field("waits", &self.waits).finish()
    }
}

impl Board {
    pub(super) fn new(ask: impl Fn() + Send + 'static) -> Self {
        Self {
            posted: watch::Sender::new(None),
            patience: PATIENCE,
            ask: Mutex::new(Ask {
                run: Box::new(ask),
                waits: false,
            }),
        }
    }

    /// Sets another time limit for the run's answer.
    #[cfg(test)]
    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Posts a state, for all requests that wait for one.
    pub(super) fn post(&self, state: State) {
        self.ask().waits = false;
        self.posted.send_replace(Some(Arc::new(Posted {
            state,
            at: Instant::now(),
            measured: OnceLock::new(),
            fragment: OnceLock::new(),
        })));
    }

    /// Returns a fresh state, or `None` if the run does not answer.
    pub(super) async fn look(&self) -> Option<Arc<Posted>> {
        let mut posted = self.posted.subscribe();
        let latest = posted.borrow_and_update().clone();
        let fresh = |posted: &Arc<Posted>| posted.is_last() || posted.at.elapsed() < FRESH;
        if let Some(latest) = latest.filter(fresh) {
            return Some(latest);
        }
        {
            let mut ask = self.ask();
            if !ask.waits {
                ask.waits = true;
                (ask.run)();
            }
        }
        // The channel cannot close while `self` exists.
        let _ = tokio::time::timeout(self.patience, posted.changed())
            .await
            .ok()?;
        posted.borrow().clone()
    }

    /// Waits until the run has ended.
    pub(super) async fn over(&self) {
        let mut posted = self.posted.subscribe();
        let over = |posted: &Option<Arc<Posted>>| posted.as_ref().is_some_and(|it| it.is_last());
        let _ = posted.wait_for(over).await;
    }

    fn ask(&self) -> std::sync::MutexGuard<'_, Ask> {
        self.ask.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_run_is_asked_once_for_all_who_ask_and_not_at_all_while_its_state_is_fresh() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let board = Arc::new(Board::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        }));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let looks = (0..3).map(|_| {
                let board = Arc::clone(&board);
                tokio::spawn(async move { board.look().await })
            });
            let looks: Vec<_> = looks.collect();
            while asked.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            board.post(State::default());
            for look in looks {
                assert!(look.await.expect("no panic").is_some());
            }
            assert!(board.look().await.is_some());
        });
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
