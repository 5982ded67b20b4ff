//! Iterators over the outcomes of many jobs.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Fuse;
use std::sync::mpsc::{Receiver, Sender, channel};

use protocol::codec::EncodeError;

use super::desk::{Refusal, Reply, Submission};
use super::outcome::{Outcome, Raw};
use super::pool::{Pool, submission};
use super::work::{AnyWork, Failed};

/// Outcomes of many jobs in the order in which the jobs finish. Returned by [`Pool::run`].
pub struct Run<'p, W: AnyWork, I> {
    pool: &'p Pool<W>,
    jobs: Fuse<I>,
    /// The next job, if there was no room for it.
    held: Option<Submission>,
    /// Number of jobs taken from the iterator.
    taken: usize,
    /// Number of outcomes that the caller has received.
    passed: usize,
    /// Number of jobs whose outcome is still to be received from the channel.
    open: usize,
    says: Sender<(usize, Raw)>,
    hears: Receiver<(usize, Raw)>,
}

impl<W: AnyWork, I> fmt::Debug for Run<'_, W, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("taken", &self.taken)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl<'p, W: AnyWork, I: Iterator<Item = W::Job>> Run<'p, W, I> {
    pub(super) fn new(pool: &'p Pool<W>, jobs: I) -> Self {
        let (says, hears) = channel();
        Self {
            pool,
            jobs: jobs.fuse(),
            held: None,
            taken: 0,
            passed: 0,
            open: 0,
            says,
            hears,
        }
    }

    /// Submits jobs while there is room.
    fn feed(&mut self) {
        while self.taken - self.passed < self.pool.desk().room() {
            let submission = match self.held.take().map(Ok).or_else(|| self.next_job()) {
                None => return,
                Some(Ok(submission)) => submission,
                Some(Err(error)) => {
                    self.say(Outcome::Failed(Failed::new(error)));
                    continue;
                }
            };
            let desk = self.pool.desk();
            // With no job in the pool there is no outcome to wait for: block until there is room.
            let submitted = match self.open {
                0 => desk.submit(submission),
                _ => desk.try_submit(submission),
            };
            match submitted {
                Ok(()) => self.open += 1,
                Err(Refusal::Full(submission)) => {
                    self.held = Some(submission);
                    return;
                }
                Err(Refusal::Closed) => self.say(Outcome::Abandoned),
            }
        }
    }

    /// Takes the next job and encodes it for submission.
    fn next_job(&mut self) -> Option<Result<Submission, EncodeError>> {
        let job = self.jobs.next()?;
        let number = self.taken;
        self.taken += 1;
        let reply = Reply::Run(number, self.says.clone());
        Some(submission::<W>(&job, reply))
    }

    /// Delivers the outcome of the last job taken, which was not submitted.
    fn say(&mut self, outcome: Raw) {
        self.open += 1;
        // `self` holds the receiver.
        let _ = self.says.send((self.taken - 1, outcome));
    }

    fn next_outcome(&mut self) -> Option<(usize, Outcome<W::Output>)> {
        self.feed();
        if self.open == 0 {
            return None;
        }
        let (number, outcome) = self.hears.recv().ok()?;
        self.open -= 1;
        Some((number, outcome.decoded()))
    }
}

impl<W: AnyWork, I: Iterator<Item = W::Job>> Iterator for Run<'_, W, I> {
    type Item = (usize, Outcome<W::Output>);

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_outcome();
        self.passed += usize::from(next.is_some());
        next
    }
}

/// Outcomes of many jobs in the order of the jobs. Returned by [`Pool::run_ordered`].
pub struct Ordered<'p, W: AnyWork, I> {
    run: Run<'p, W, I>,
    /// Outcomes that arrived before those of earlier jobs.
    early: BTreeMap<usize, Outcome<W::Output>>,
}

impl<W: AnyWork, I> fmt::Debug for Ordered<'_, W, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ordered").field(&self.run).finish()
    }
}

impl<'p, W: AnyWork, I: Iterator<Item = W::Job>> Ordered<'p, W, I> {
    pub(super) const fn new(run: Run<'p, W, I>) -> Self {
        Self {
            run,
            early: BTreeMap::new(),
        }
    }
}

impl<W: AnyWork, I: Iterator<Item = W::Job>> Iterator for Ordered<'_, W, I> {
    type Item = Outcome<W::Output>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(outcome) = self.early.remove(&self.run.passed) {
                self.run.passed += 1;
                return Some(outcome);
            }
            let (number, outcome) = self.run.next_outcome()?;
            self.early.insert(number, outcome);
        }
    }
}
