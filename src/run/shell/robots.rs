//! robots.txt: what the shell does with targets before the core hears of them.
//!
//! Without `--robots` there is nothing to do here.

use protocol::{TaskId, TaskKind};

use super::input::size_in_channel;
use super::{Entry, Shell, facts};
use crate::dispatch::{Event, Verdict};
use crate::input::Target;
use crate::run::ledger::LedgerError;
use crate::run::log::Record;
use crate::run::robots::{Ruling, Standing};

impl Shell {
    /// Whether nothing waits to be offered.
    pub(super) fn has_offered_all(&self) -> bool {
        self.parts
            .doorman
            .as_ref()
            .is_none_or(|doorman| doorman.held() == 0)
    }

    /// Lets a target of the input through to the core, refuses it, or sends somebody to ask.
    pub(super) fn ask_doorman(&mut self, task: TaskId, target: Target) {
        match self.judged(task, target) {
            Ok(event) => {
                if let Some(event) = event {
                    self.tell_core(event);
                }
            }
            Err(error) => {
                self.give_up(error.to_string());
                self.tell_core(Event::Tick);
            }
        }
    }

    /// What the core is to hear of a target, if anything yet.
    fn judged(&mut self, task: TaskId, target: Target) -> Result<Option<Event>, LedgerError> {
        let Some(doorman) = &mut self.parts.doorman else {
            return Ok(None);
        };
        Ok(match doorman.ruling(&target)? {
            Ruling::Allowed(spacing) => Some(self.enter(task, target, spacing)),
            Ruling::Forbidden(failure) => {
                self.text = self.text.saturating_sub(target.text_bytes());
                let facts = facts(task, target);
                self.tell_of_failure(&facts, &failure);
                self.write(&Record::failed(facts, *failure));
                Some(Event::TaskRefused)
            }
            Ruling::Unknown => doorman.hold(task, target).map(|(task, asked)| {
                let size = size_in_channel(&asked);
                self.text += asked.text_bytes();
                let host = self.keep(task, asked, TaskKind::RobotsTxt);
                Event::ErrandOffered { task, host, size }
            }),
        })
    }

    /// A robots.txt was fetched, or not: those that waited for it go on.
    pub(super) fn on_robots(&mut self, entry: Entry, verdict: &Verdict) {
        let Some(doorman) = &mut self.parts.doorman else {
            return;
        };
        let learnt = doorman.learn(&entry.target, verdict);
        let judged = learnt.and_then(|(standing, waited)| {
            self.tell_of_standing(&entry.target.url, standing, verdict);
            for (task, target) in waited {
                // The core is told once it has said all that it has to say.
                let event = self.judged(task, target)?;
                self.pending.extend(event);
            }
            Ok(())
        });
        // Only now: a host that is forgotten in between would lose its pause.
        self.hosts.leave(entry.host);
        if let Err(error) = judged {
            self.give_up(error.to_string());
        }
        if self.parts.tally.input_ended && self.has_offered_all() {
            self.pending.push_back(Event::InputEnded);
        }
    }

    fn tell_of_standing(&self, robots: &str, standing: Standing, verdict: &Verdict) {
        match (standing, verdict) {
            (Standing::Unreachable(..), Verdict::Failed(failure)) => self.parts.console.line(
                &format!("{robots} is out of reach, its URLs fail for now: {failure}"),
            ),
            (Standing::Unreachable(..), Verdict::Stored(_) | Verdict::Quarantined(_)) => self
                .parts
                .console
                .line(&format!("{robots} is out of reach, its URLs fail for now")),
            (Standing::Open(delay), _) => {
                tracing::info!(robots, ?delay, "everything is allowed");
            }
            (Standing::Ruled(delay), _) => tracing::info!(robots, ?delay, "there are rules"),
        }
    }
}
