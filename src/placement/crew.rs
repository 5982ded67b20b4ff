//! The threads that wait for commands: one for each running command.
//!
//! A file whose command did not succeed is removed, so each file in place had a successful command.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Instant;

use protocol::FailureKind;
use worker::Fault;
use worker::transfer::without_credentials;

use super::place::Move;
use super::{Order, PlacementEvent, done, failed};
use crate::exec::{CommandOrder, Executor, Outcome};
use crate::folder::Folder;

/// Receives placement events.
pub(super) type Tell = dyn Fn(Vec<PlacementEvent>) + Send + Sync;

/// Runs the commands of placed files.
pub(super) struct Crew {
    executor: Executor,
    /// Maximum number of commands at once.
    most: usize,
    insist: bool,
    output: Arc<Folder>,
    tell: Arc<Tell>,
    state: Mutex<State>,
    /// Notified when a thread ends.
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Order>,
    /// Number of threads.
    busy: usize,
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Crew {
    pub(super) fn new(
        executor: Executor,
        most: usize,
        insist: bool,
        output: Arc<Folder>,
        tell: Arc<Tell>,
    ) -> Self {
        Self {
            executor,
            most: most.max(1),
            insist,
            output,
            tell,
            state: Mutex::default(),
            left: Condvar::new(),
        }
    }

    pub(super) const fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Runs the command on the file of `order`, which is in place, on another thread.
    pub(super) fn take(self: &Arc<Self>, order: Order) {
        let mut state = self.state();
        state.waiting.push_back(order);
        if state.busy >= self.most {
            return;
        }
        state.busy += 1;
        drop(state);
        let crew = Arc::clone(self);
        let started = Builder::new()
            .name("command".to_owned())
            .spawn(move || crew.work());
        if let Err(error) = started {
            let mut state = self.state();
            state.busy -= 1;
            // Running threads take the order when they are done. If there are none, it fails.
            let stranded = match state.busy {
                0 => std::mem::take(&mut state.waiting),
                _ => VecDeque::new(),
            };
            drop(state);
            for order in stranded {
                let message = format!("cannot start a thread for a command (--exec): {error}");
                let fault = Fault::transient(FailureKind::Exec, message);
                self.give_up(order, Some(fault));
            }
        }
    }

    /// Ends all commands and starts no more.
    pub(super) fn abandon(&self) {
        self.executor.abandon();
    }

    /// Waits until all threads have ended, at the latest until `deadline`.
    pub(super) fn wait(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let state = self.state();
        // After the deadline, files without a record may stay.
        let _ = self
            .left
            .wait_timeout_while(state, left, |state| state.busy > 0);
    }

    fn work(&self) {
        loop {
            let mut state = self.state();
            let Some(order) = state.waiting.pop_front() else {
                state.busy -= 1;
                self.left.notify_all();
                return;
            };
            drop(state);
            self.run(order);
        }
    }

    fn run(&self, mut order: Order) {
        let command = CommandOrder {
            path: order.path.clone(),
            url: without_credentials(&order.url),
            bytes: order.stored.bytes,
            sha256: order.stored.sha256,
            content_type: order.stored.content_type.as_ref().map(|text| {
                // A server must not send control characters to the terminal.
                text.replace(char::is_control, "")
            }),
        };
        let begun = Instant::now();
        let outcome = self.executor.run(&command);
        order.stored.exchange.timing.exec += begun.elapsed();
        match outcome {
            Outcome::Succeeded(executed) => {
                order.stored.executed = Some(executed);
                (self.tell)(vec![done(order)]);
            }
            Outcome::Failed(fault) => self.give_up(order, Some(fault)),
            Outcome::Abandoned => self.give_up(order, None),
        }
    }

    /// Removes the file, and reports `fault` if given. The command may have moved or replaced the
    /// file.
    fn give_up(&self, order: Order, fault: Option<Fault>) {
        let place = Move {
            output: &self.output,
            folder: &self.output,
            name: "",
            path: &order.path,
            replace: false,
        };
        place.take_away();
        if let Some(fault) = fault {
            (self.tell)(vec![failed(order, fault, self.insist)]);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change is left half done, so a panic on another thread does not matter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
