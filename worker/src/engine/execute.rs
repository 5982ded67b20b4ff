//! The command on a file that an engine has put in place: the last step of a task that has one.
//!
//! It must not judge how a command ended.

use std::time::Instant;

use protocol::{Assignment, Executed};

use super::Shared;
use crate::activity::Activity;
use crate::fault::Fault;
use crate::store::{Committed, Store};
use crate::transfer::Transfer;

/// A file and its task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    pub(super) assignment: &'a Assignment,
    pub(super) file: Committed,
}

/// What a command left of its file; nothing if none was run.
pub(super) type Outcome = Result<(Committed, Option<Executed>), Fault>;

/// Runs the command of `shared`, if there is one, on the thread that calls.
pub(super) fn execute(
    shared: &Shared,
    transfer: &mut Transfer<'_>,
    placed: Placed<'_>,
    activity: &Activity,
) -> Outcome {
    let Some(commands) = &shared.commands else {
        return Ok((placed.file, None));
    };
    let unproven = Unproven::new(shared, placed);
    let begun = Instant::now();
    let result = commands.run(&placed.order(transfer), activity);
    transfer.timing().exec += begun.elapsed();
    result.map(|executed| (unproven.prove(), Some(executed)))
}

/// The same on an event loop. Dropped halfway, it leaves no file.
pub(super) async fn execute_async(
    shared: &Shared,
    transfer: &mut Transfer<'_>,
    placed: Placed<'_>,
    activity: &Activity,
) -> Outcome {
    let Some(commands) = &shared.commands else {
        return Ok((placed.file, None));
    };
    let unproven = Unproven::new(shared, placed);
    let begun = Instant::now();
    let result = commands.run_async(&placed.order(transfer), activity).await;
    transfer.timing().exec += begun.elapsed();
    result.map(|executed| (unproven.prove(), Some(executed)))
}

impl Placed<'_> {
    fn order(&self, transfer: &Transfer<'_>) -> protocol::CommandOrder {
        transfer.order(self.assignment, self.file.bytes, self.file.sha256)
    }
}

/// A file in place whose command has not succeeded yet. Dropped so, it is removed: where a file is,
/// its command has succeeded. The command may have moved it or put something else there.
#[derive(Debug)]
struct Unproven<'s> {
    store: &'s Store,
    placed: Placed<'s>,
    is_proven: bool,
}

impl<'s> Unproven<'s> {
    fn new(shared: &'s Shared, placed: Placed<'s>) -> Self {
        Self {
            store: &shared.store,
            placed,
            is_proven: false,
        }
    }

    /// The command succeeded.
    fn prove(mut self) -> Committed {
        self.is_proven = true;
        self.placed.file
    }
}

impl Drop for Unproven<'_> {
    fn drop(&mut self) {
        if !self.is_proven {
            self.store.remove(&self.placed.assignment.path);
        }
    }
}
