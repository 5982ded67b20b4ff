//! robots.txt: handles targets before they reach the core.
//!
//! Does nothing without `--robots`.

use protocol::TaskKind;

use super::input::size_in_channel;
use super::{Entry, Shell, facts, text_bytes};
use crate::disk_map::DiskMapError;
use crate::dispatch::{Event, Verdict};
use crate::run::log::Record;
use crate::run::robots::{Candidate, Ruling, Standing};

impl Candidate {
    /// Returns the size of its text in bytes.
    pub(super) fn text_bytes(&self) -> usize {
        text_bytes(&self.target, self.known.as_deref())
    }
}

impl Shell {
    /// Returns whether no target waits to be offered.
    pub(super) fn has_offered_all(&self) -> bool {
        self.parts
            .robots_gate
            .as_ref()
            .is_none_or(|robots_gate| robots_gate.held() == 0)
    }

    /// Passes a target of the input to the core, refuses it, or has its robots.txt fetched.
    pub(super) fn ask_robots_gate(&mut self, candidate: Candidate) {
        match self.judged(candidate) {
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

    /// Returns the event for the core about a target, if there is one yet.
    fn judged(&mut self, candidate: Candidate) -> Result<Option<Event>, DiskMapError> {
        let Some(robots_gate) = &mut self.parts.robots_gate else {
            return Ok(None);
        };
        Ok(match robots_gate.ruling(&candidate.target)? {
            Ruling::Allowed(spacing) => Some(self.enter(candidate, spacing)),
            Ruling::Forbidden(failure) => {
                self.text = self.text.saturating_sub(candidate.text_bytes());
                let facts = facts(candidate.task, candidate.target);
                self.tell_of_failure(&facts, &failure);
                self.write(Record::failed(facts, *failure));
                Some(Event::TaskRefused)
            }
            Ruling::Unknown => robots_gate.hold(candidate).map(|(task, asked)| {
                let text = asked.text_bytes();
                self.text += text;
                let host = self.hosts.enter(&asked.host);
                let entry = Entry::new(asked, host, TaskKind::RobotsTxt);
                self.tasks.insert(task, entry);
                Event::PrerequisiteOffered {
                    task,
                    group: host,
                    size: size_in_channel(text),
                }
            }),
        })
    }

    /// Handles the outcome of fetching a robots.txt, and releases the targets that waited for it.
    pub(super) fn on_robots(&mut self, entry: Entry, verdict: &Verdict) {
        let Some(robots_gate) = &mut self.parts.robots_gate else {
            return;
        };
        let learnt = robots_gate.learn(&entry.target, verdict);
        let judged = learnt.and_then(|(standing, waited)| {
            self.tell_of_standing(&entry.target.url, standing, verdict);
            for candidate in waited {
                // The core gets these after the event that it is processing.
                let event = self.judged(candidate)?;
                self.pending.extend(event);
            }
            Ok(())
        });
        // Only now: a host that is forgotten earlier would lose its delay.
        self.hosts.leave(entry.host);
        if let Err(error) = judged {
            self.give_up(error.to_string());
        }
        if self.parts.stats.input_ended && self.has_offered_all() {
            self.pending.push_back(Event::InputEnded);
        }
    }

    fn tell_of_standing(&self, robots: &str, standing: Standing, verdict: &Verdict) {
        match (standing, verdict) {
            (Standing::Unreachable(..), Verdict::Failed(failure)) => self.parts.console.line(
                &format!("{robots} is out of reach, its URLs fail for now: {failure}"),
            ),
            (Standing::Unreachable(..), Verdict::Done(_) | Verdict::Quarantined(_)) => self
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
