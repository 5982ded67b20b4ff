//! What an attempt is: what is tried, and how its effect is seen.

use std::io;

use serde::Serialize;

use super::attempts::FAMILIES;
use super::ground::Ground;
use super::view::View;

/// Something that a worker must not do, and a worker that was taken over tries.
#[derive(Debug)]
pub struct Attempt {
    /// Its name in options and output.
    pub id: &'static str,
    /// What is tried, in words: `write a new file elsewhere`.
    pub does: &'static str,
    /// What is to hold it.
    pub held_by: HeldBy,
    /// Whether it can be played where the worker is a thread of the coordinator.
    pub as_thread: AsThread,
    /// How the run goes on.
    pub then: Then,
    /// Options that the run takes for it.
    pub options: &'static [&'static str],
    /// What the attacker does. What comes back is for the log alone.
    pub play: fn(&mut Ground<'_>) -> io::Result<()>,
    /// Whether its effect is seen from outside.
    pub seen: fn(&View<'_>) -> bool,
    /// What the run says if it has met an attempt that has no other effect; nothing is held that
    /// never arrived.
    pub met: Option<&'static str>,
}

/// What holds an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// What a worker gives up when it starts: rights, system calls, memory, descriptors. Without
    /// that, the effect must be seen.
    Worker,
    /// How the coordinator hears its workers and takes their bodies. It does that without a sandbox
    /// as well, so its effect is seen in no column.
    Coordinator,
    /// Nothing: it is what a worker may do.
    Nothing,
}

/// What comes of an attempt where the worker is a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsThread {
    /// It is played.
    Played,
    /// It would end the coordinator, or change all of it.
    Ends,
    /// There is nobody, or nothing, to attack: no other worker, no link.
    NoTarget,
}

/// What becomes of the run that the attempt is played in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It must store its whole list.
    Completes,
    /// It is killed, to see who outlives it.
    IsKilled,
}

impl Attempt {
    /// An attempt that needs nothing special: held by the worker's limits, played everywhere.
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

    /// It would end a coordinator that it is played in.
    pub(super) const fn ends_coordinator(mut self) -> Self {
        self.as_thread = AsThread::Ends;
        self
    }

    /// It is against another worker.
    pub(super) const fn against_worker(mut self) -> Self {
        self.as_thread = AsThread::NoTarget;
        self
    }

    /// It goes through the link, and the coordinator holds it.
    pub(super) const fn over_link(mut self) -> Self {
        self.held_by = HeldBy::Coordinator;
        self.as_thread = AsThread::NoTarget;
        self
    }

    /// The coordinator says this of it.
    pub(super) const fn met_by(mut self, words: &'static str) -> Self {
        self.met = Some(words);
        self
    }

    /// It is what a worker may do.
    pub(super) const fn allowed(mut self) -> Self {
        self.held_by = HeldBy::Nothing;
        self
    }

    /// The run gets these options.
    pub(super) const fn with(mut self, options: &'static [&'static str]) -> Self {
        self.options = options;
        self
    }

    /// The run is killed after it.
    pub(super) const fn and_kill(mut self) -> Self {
        self.then = Then::IsKilled;
        self
    }
}

/// All attempts, with the names of their families.
pub fn all() -> impl Iterator<Item = (&'static str, &'static Attempt)> {
    FAMILIES
        .iter()
        .flat_map(|(family, attempts)| attempts.iter().map(|attempt| (*family, attempt)))
}

/// The attempt with this name.
///
/// # Errors
///
/// If there is none.
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
