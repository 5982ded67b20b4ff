//! The input: handles each line before it reaches the core.

use std::time::Duration;

use protocol::{Exchange, Failure, FailureKind, Severity, TaskKind};

use super::{Entry, Shell, facts};
use crate::dispatch::Event;
use crate::run::intake::{Batch, Item};
use crate::run::log::Record;
use crate::run::robots::{Candidate, RobotsGate};

/// Space that a message takes in a socket buffer beyond twice its bytes: measured on Linux with
/// messages of 100 bytes to 60 KB.
const MESSAGE_OVERHEAD: usize = 768;

impl Shell {
    pub(super) fn on_batch(&mut self, batch: Batch) {
        self.parts.intake.received();
        let stats = &mut self.parts.stats;
        stats.stored_earlier += batch.stored_earlier;
        stats.quarantined_earlier += batch.quarantined_earlier;
        stats.fraction = batch.fraction;
        let mut offers = Vec::with_capacity(batch.items.len());
        for item in batch.items {
            match item {
                Item::Task(task, target, known) => offers.extend(self.admit(Candidate {
                    task,
                    target,
                    known,
                })),
                Item::Duplicate(task, target) => {
                    self.parts.stats.duplicates += 1;
                    // The name of the first one's file is not known yet.
                    let is_open = target.suggestible;
                    let record = Record::duplicate(facts(task, target));
                    let path = record.path.clone().filter(|_| !is_open);
                    self.write(Record { path, ..record });
                }
                Item::Refused(task, target, problem) => {
                    let failure = Failure {
                        exchange: Exchange::default(),
                        kind: FailureKind::Store,
                        message: problem,
                        severity: Severity::Permanent,
                    };
                    let facts = facts(task, target);
                    self.tell_of_failure(&facts, &failure);
                    self.write(Record::failed(facts, failure));
                }
                Item::Problem(problem) => {
                    self.parts.stats.unusable += 1;
                    let unusable = self.parts.stats.unusable;
                    self.parts.console.problem(unusable, &problem);
                }
            }
        }
        if !offers.is_empty() {
            self.tell_core_all(offers);
        }
        if let Some(reason) = batch.broken {
            self.give_up(reason);
            self.tell_core(Event::Tick);
        }
        if batch.ended {
            self.parts.stats.input_ended = true;
            if self.has_offered_all() {
                self.tell_core(Event::InputEnded);
            }
        }
    }

    /// Accepts a target of the input, and returns the event for the core, or `None` if its
    /// robots.txt decides first.
    fn admit(&mut self, candidate: Candidate) -> Option<Event> {
        self.text += candidate.text_bytes();
        self.parts.stats.offered += 1;
        if self.parts.robots_gate.is_some() {
            self.ask_robots_gate(candidate);
            return None;
        }
        Some(self.enter(candidate, Duration::ZERO))
    }

    /// Stores a target of the input, whose text is counted already. Returns the event for the core.
    pub(super) fn enter(&mut self, candidate: Candidate, spacing: Duration) -> Event {
        let size = size_in_channel(candidate.text_bytes());
        let Candidate {
            task,
            target,
            known,
        } = candidate;
        let host = self.hosts.enter(&target.host);
        let mirrors: Vec<_> = target
            .mirrors()
            .iter()
            .map(|mirror| self.hosts.enter(&mirror.host))
            .collect();
        let entry = Entry {
            known,
            mirrors: mirrors.clone(),
            ..Entry::new(target, host, TaskKind::Listed)
        };
        self.tasks.insert(task, entry);
        Event::TaskOffered {
            task,
            group: host,
            alternatives: mirrors,
            size,
            spacing,
        }
    }

    /// Returns the number of targets that were accepted and are not finished.
    pub(super) fn unfinished(&self) -> u64 {
        let listed = self.tasks.values();
        let listed = listed
            .filter(|entry| entry.kind == TaskKind::Listed)
            .count();
        listed as u64 + self.waiting_for_robots()
    }

    /// Returns how many of them wait for a robots.txt.
    pub(super) fn waiting_for_robots(&self) -> u64 {
        self.parts.robots_gate.as_ref().map_or(0, RobotsGate::held) as u64
    }
}

/// Returns how much of a worker's credit an assignment with this amount of text uses.
pub(super) fn size_in_channel(text: usize) -> u32 {
    u32::try_from(MESSAGE_OVERHEAD + 2 * text).unwrap_or(u32::MAX)
}
