//! The command on a file that an engine has put in place: the last step of a task that has one.
//!
//! It must not judge how a command ended.

use std::time::Instant;

use protocol::{Assignment, CommandOrder, Executed, Failure, Stored, TaskKind};

use super::Shared;
use crate::activity::Activity;
use crate::exec::Commands;
use crate::fault::Fault;
use crate::store::{Committed, Store};
use crate::transfer::{Transfer, without_credentials};

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
    let Some(commands) = placed.commands(shared) else {
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
    let Some(commands) = placed.commands(shared) else {
        return Ok((placed.file, None));
    };
    let unproven = Unproven::new(shared, placed);
    let begun = Instant::now();
    let result = commands.run_async(&placed.order(transfer), activity).await;
    transfer.timing().exec += begun.elapsed();
    result.map(|executed| (unproven.prove(), Some(executed)))
}

/// What to say of the task.
pub(super) fn answer(
    transfer: Transfer<'_>,
    outcome: Outcome,
) -> Result<Box<Stored>, Box<Failure>> {
    match outcome {
        Ok((file, executed)) => {
            let mut stored = transfer.stored(file.bytes, file.sha256, file.unchanged);
            stored.executed = executed;
            Ok(stored)
        }
        Err(fault) => Err(transfer.failed(fault)),
    }
}

impl Placed<'_> {
    /// A file that was there before has been through its command, or was stored without one; and
    /// what is not of the list is none of the command's.
    fn commands<'s>(&self, shared: &'s Shared) -> Option<&'s Commands> {
        let is_for_it = !self.file.unchanged && self.assignment.kind == TaskKind::Listed;
        shared.commands.as_deref().filter(|_| is_for_it)
    }

    fn order(&self, transfer: &Transfer<'_>) -> CommandOrder {
        CommandOrder {
            path: self.assignment.path.clone(),
            url: without_credentials(&self.assignment.url),
            bytes: self.file.bytes,
            sha256: self.file.sha256,
            content_type: transfer.content_type().map(|text| {
                // Not the server's to command a terminal.
                text.replace(char::is_control, "")
            }),
        }
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
