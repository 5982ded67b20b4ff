//! An attempt: what is attempted, and how its effect is recognised.

use std::io;

use serde::Serialize;

use super::attempts::FAMILIES;
use super::ground::Ground;
use super::view::View;

/// Something that a compromised worker attempts and must not be able to do.
#[derive(Debug)]
pub struct Attempt {
    /// The name in options and output.
    pub id: &'static str,
    /// A description of the attempt: `write a new file elsewhere`.
    pub does: &'static str,
    /// What must hold it.
    pub held_by: HeldBy,
    /// Whether it can be played if the worker is a thread of the coordinator.
    pub as_thread: AsThread,
    /// What happens to the run after it.
    pub then: Then,
    /// Options that the run needs for it.
    pub options: &'static [&'static str],
    /// The attacker's code. Its result is only logged.
    pub play: fn(&mut Ground<'_>) -> io::Result<()>,
    /// Returns whether its effect is visible from outside.
    pub seen: fn(&View<'_>) -> bool,
    /// Text that the run prints when it has received the attempt. Set for attempts without another
    /// visible effect, because an attempt that never arrived proves nothing.
    pub met: Option<&'static str>,
}

/// What holds an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// The limits that a worker sets when it starts: rights, system calls, memory, descriptors.
    /// Without them, the effect must be visible.
    Worker,
    /// The checks that the coordinator makes on messages and bodies from workers. It makes them
    /// without a sandbox too, so the effect is visible in no column.
    Coordinator,
    /// Nothing: a worker is allowed to do it.
    Nothing,
}

/// What happens to an attempt if the worker is a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsThread {
    /// It is played.
    Played,
    /// It is not played, because it would end the coordinator or change the whole process.
    Ends,
    /// It has no target, because there is no other worker or no link.
    NoTarget,
}

/// What happens to the run in which the attempt is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It must store its whole list.
    Completes,
    /// It is killed, to find processes that outlive it.
    IsKilled,
}

impl Attempt {
    /// Creates a plain attempt: held by the worker's limits, and played everywhere.
    pub(super) const fn new(
        id: &'static str,
        does: &'static str,
        play: fn(&mut Ground<'_>) -> io::Result<()>,
        seen: fn(&View<'_>) -> bool,
    ) -> Self {
        Self {
            id,
            does,
            held_by: HeldBy::Worker,
            as_thread: AsThread::Played,
            then: Then::Completes,
            options: &[],
            play,
            seen,
            met: None,
        }
    }

    /// Marks an attempt that would end the coordinator if played in it.
    pub(super) const fn ends_coordinator(mut self) -> Self {
        self.as_thread = AsThread::Ends;
        self
    }

    /// Marks an attempt against another worker.
    pub(super) const fn against_worker(mut self) -> Self {
        self.as_thread = AsThread::NoTarget;
        self
    }

    /// Marks an attempt over the link. The coordinator must hold it.
    pub(super) const fn over_link(mut self) -> Self {
        self.held_by = HeldBy::Coordinator;
        self.as_thread = AsThread::NoTarget;
        self
    }

    /// Sets the text that the coordinator prints about it.
    pub(super) const fn met_by(mut self, words: &'static str) -> Self {
        self.met = Some(words);
        self
    }

    /// Marks what a worker is allowed to do.
    pub(super) const fn allowed(mut self) -> Self {
        self.held_by = HeldBy::Nothing;
        self
    }

    /// Sets options for the run.
    pub(super) const fn with(mut self, options: &'static [&'static str]) -> Self {
        self.options = options;
        self
    }

    /// Kills the run after the attempt.
    pub(super) const fn and_kill(mut self) -> Self {
        self.then = Then::IsKilled;
        self
    }
}

/// Returns all attempts, with the names of their families.
pub fn all() -> impl Iterator<Item = (&'static str, &'static Attempt)> {
    FAMILIES
        .iter()
        .flat_map(|(family, attempts)| attempts.iter().map(|attempt| (*family, attempt)))
}

/// Returns the attempt with this name.
///
/// # Errors
///
/// Fails if there is no such attempt.
pub fn named(id: &str) -> Result<&'static Attempt, String> {
    let found = all().find(|(_, attempt)| attempt.id == id);
    found
        .map(|(_, attempt)| attempt)
        .ok_or_else(|| format!("there is no attempt '{id}'"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        let mut names = BTreeSet::new();
        for (family, attempt) in all() {
            assert!(names.insert(attempt.id), "{} twice", attempt.id);
            assert!(FAMILIES.iter().all(|(name, _)| *name != attempt.id));
            assert!(!family.is_empty());
            assert_eq!(named(attempt.id).map(|found| found.id), Ok(attempt.id));
        }
        assert!(names.len() >= 60, "{}", names.len());
    }
}
