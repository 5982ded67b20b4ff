//! Effects: carries out the actions of the core.

use std::io;
use std::time::{Duration, Instant};

use protocol::codec::EncodeError;
use protocol::{Assigned, Assignment, Expect, Failure, TaskId, TaskKind, WorkerId};

use super::placing::Told;
use super::{Entry, Shell, facts};
use crate::dispatch::{Action, Event, Exit, Notice, Verdict};
use crate::input::{Extra, Mirror};
use crate::run::intents::IntentError;
use crate::run::log::{Facts, LogError, Record, RecordedWorker};

/// Returns the assignment with the extra data that the list gives for its URL.
fn with_extra(plain: Assignment, extra: &Extra) -> Assignment {
    let Extra {
        expect,
        range,
        headers,
        // Mirrors are not sent: an assignment is for one URL.
        mirrors: _,
        ticket: _,
    } = extra;
    Assignment {
        expect: (*expect != Expect::default()).then(|| Box::new(expect.clone())),
        range: *range,
        headers: headers.clone(),
        ..plain
    }
}

impl Shell {
    pub(super) fn act(&mut self, action: Action) {
        let sent = match action {
            Action::Spawn { worker } => {
                self.start(worker);
                Ok(())
            }
            Action::Assign { worker, tasks } => {
                if let Err(error) = self.intend(&tasks) {
                    return self.give_up(error.to_string());
                }
                let assignments = self.assignments(tasks);
                self.hand_over(worker, assignments)
            }
            Action::Revoke { worker, tasks } => self.tell(worker, Told::Revoke(tasks)),
            Action::Place {
                worker,
                task,
                output: stored,
            } => {
                self.place(worker, task, stored);
                Ok(())
            }
            Action::Prove {
                worker,
                task,
                failure,
            } => {
                self.parts.placement.prove(worker, task, failure);
                Ok(())
            }
            Action::Dismiss { worker } => self.tell(worker, Told::Dismiss),
            Action::Terminate { worker, reason } => {
                tracing::info!(%worker, %reason, "worker is asked to end");
                if !self.forgo(worker) {
                    self.parts.pool.terminate(worker);
                }
                Ok(())
            }
            Action::Kill { worker, reason } => {
                tracing::info!(%worker, %reason, "worker is killed");
                if !self.forgo(worker) {
                    self.parts.pool.kill(worker);
                }
                Ok(())
            }
            Action::Listen => {
                self.parts.pool.listen();
                Ok(())
            }
            Action::Record {
                task,
                worker,
                verdict,
                attempts,
                deliveries,
                queued,
            } => {
                self.record(task, worker, verdict, attempts, deliveries, queued);
                Ok(())
            }
            Action::TurnToAlternative { task, failure } => {
                self.turn_to_mirror(task, &failure);
                Ok(())
            }
            Action::Notify(notice) => {
                self.notice(notice);
                Ok(())
            }
            Action::Finish { ending } => {
                self.ending = Some(ending);
                Ok(())
            }
        };
        self.check_sent(sent);
    }

    pub(super) fn check_sent(&mut self, sent: Result<(), EncodeError>) {
        if let Err(error) = sent {
            // The limits on URLs and credit rule this out, so it is a defect of this program.
            self.give_up(format!("internal error: {error}"));
        }
    }

    /// Has the folder of `worker` created. The worker is spawned when the folder exists.
    fn start(&mut self, worker: WorkerId) {
        self.homeless.insert(worker);
        self.parts.placement.make(worker);
        // Clears the process id of the worker before it in this slot.
        self.set_pid(worker, 0);
    }

    /// Spawns `worker`, if its folder exists and it is still needed.
    pub(super) fn on_made(&mut self, worker: WorkerId, made: io::Result<()>) {
        if !self.homeless.remove(&worker) {
            return;
        }
        match made.and_then(|()| self.parts.pool.spawn(worker)) {
            Ok(()) => {
                let pid = self.parts.pool.pid(worker).unwrap_or_default();
                self.set_pid(worker, pid);
            }
            Err(error) => {
                self.parts.placement.salvage(worker);
                let exit = Exit::NotStarted(error.to_string());
                let ran = None;
                self.tell_core(Event::WorkerExited { worker, exit, ran });
            }
        }
    }

    /// Cancels `worker` if it waits for its folder, and returns whether it did.
    fn forgo(&mut self, worker: WorkerId) -> bool {
        let waits = self.homeless.remove(&worker);
        if waits {
            self.parts.placement.salvage(worker);
            let exit = Exit::NotStarted("the disk did not answer, so it has no folder".to_owned());
            let ran = None;
            self.pending
                .push_back(Event::WorkerExited { worker, exit, ran });
        }
        waits
    }

    fn set_pid(&mut self, worker: WorkerId, pid: u32) {
        if let Some(known) = self.pids.get_mut(usize::from(worker.slot.0)) {
            *known = pid;
        }
    }

    /// Writes intents for the tasks whose place does not identify the URL.
    fn intend(&mut self, tasks: &[TaskId]) -> Result<(), IntentError> {
        let known = &self.tasks;
        let free = tasks.iter().filter_map(|task| {
            let target = &known.get(task)?.target;
            (!target.replace).then_some((*task, target))
        });
        self.parts.intents.intend(free)
    }

    fn assignments(&self, tasks: Vec<TaskId>) -> Vec<Assigned<Assignment>> {
        tasks
            .into_iter()
            .filter_map(|task| {
                let Entry {
                    target,
                    known,
                    kind,
                    ..
                } = self.tasks.get(&task)?;
                let source = self.tasks.get(&task)?.source();
                let url = source.map_or_else(|| target.request_url(), Mirror::request_url);
                let delivery = self.parts.core.delivery(task);
                let partial = self.parts.partial_names.of(*kind, target);
                let plain = Assignment {
                    kind: *kind,
                    delivery,
                    known: known.clone(),
                    begun: self.parts.core.is_begun(task)
                        || self.parts.partials_left.contains(&partial),
                    mirror: source.is_some(),
                    ..Assignment::new(url, partial)
                };
                let job = match &target.extra {
                    Some(extra) => with_extra(plain, extra),
                    None => plain,
                };
                Some(Assigned { task, job })
            })
            .collect()
    }

    fn record(
        &mut self,
        task: TaskId,
        worker: WorkerId,
        verdict: Verdict,
        attempts: u32,
        deliveries: u32,
        queue: Duration,
    ) {
        let heard = self.heard.remove(&task).map_or(0, |sign| sign.heard.bytes);
        let Some(entry) = self.tasks.remove(&task) else {
            return;
        };
        self.text = self.text.saturating_sub(entry.text_bytes());
        if entry.kind == TaskKind::RobotsTxt {
            return self.on_robots(entry, &verdict);
        }
        for host in entry.hosts() {
            self.hosts.leave(host);
        }
        let source = entry.source().map(|mirror| mirror.url.clone());
        let host = match self.parts.watching {
            Some(_) => entry.target.host.clone(),
            None => String::new(),
        };
        let fenced = entry.fenced;
        let in_place = matches!(verdict, Verdict::Done(_)) && !fenced;
        self.parts.intents.settle(task, &entry.target, in_place);
        let pid = entry
            .placing
            .map_or_else(|| self.pid(worker), |placing| placing.pid);
        let facts = Facts {
            attempts,
            deliveries,
            worker: Some(RecordedWorker::new(worker, pid)),
            queue,
            deaths: entry.deaths,
            ..facts(task, entry.target)
        };
        if let Some(watching) = &mut self.parts.watching {
            match &verdict {
                Verdict::Done(stored) => {
                    watching.finished(worker.slot, queue, &stored.exchange.timing);
                }
                Verdict::Failed(failure) => {
                    watching.finished(worker.slot, queue, &failure.exchange.timing);
                    watching.failed(&host);
                }
                Verdict::Quarantined(_) => watching.failed(&host),
            }
        }
        if let Some(timeline) = &mut self.parts.timeline {
            let (outcome, exchange) = match &verdict {
                Verdict::Done(stored) if fenced => ("fenced", Some(&stored.exchange)),
                Verdict::Done(stored) if stored.unchanged => ("unchanged", Some(&stored.exchange)),
                Verdict::Done(stored) => ("stored", Some(&stored.exchange)),
                Verdict::Failed(failure) => ("failed", Some(&failure.exchange)),
                Verdict::Quarantined(_) => ("quarantined", None),
            };
            if let Some(exchange) = exchange {
                timeline.add(task, &facts.url, outcome, worker.slot, queue, exchange);
            }
        }
        let stats = &mut self.parts.stats;
        let record = match verdict {
            Verdict::Done(stored) if fenced => {
                stats.fenced += 1;
                self.parts.console.failure("fenced", &facts.url);
                Record::fenced(facts, stored.exchange)
            }
            Verdict::Done(stored) => {
                if stored.unchanged {
                    stats.unchanged += 1;
                } else {
                    stats.stored += 1;
                    let place = facts.stored_as.as_deref().unwrap_or(&facts.path);
                    stats.first_stored.get_or_insert_with(|| place.to_owned());
                    stats.bytes = stats.bytes.saturating_add(stored.bytes);
                    let rest = stored.bytes.saturating_sub(heard);
                    stats.received = stats.received.saturating_add(rest);
                }
                Record::stored(facts, *stored)
            }
            Verdict::Failed(failure) => {
                self.tell_of_failure(&facts, &failure);
                Record::failed(facts, *failure)
            }
            Verdict::Quarantined(exit) => {
                stats.quarantined += 1;
                let (short, long) = self.blame(worker, &exit, deliveries);
                self.parts
                    .console
                    .failure("quarantined", &format!("{}: {short}", facts.url));
                Record::quarantined(facts, long)
            }
        };
        self.write(Record {
            // The mirror's URL, if no redirect changed it.
            final_url: record.final_url.or(source),
            ..record
        });
    }

    /// Turns a task to its next mirror.
    fn turn_to_mirror(&mut self, task: TaskId, failure: &Failure) {
        self.heard.remove(&task);
        let Some(entry) = self.tasks.get_mut(&task) else {
            return;
        };
        entry.turned += 1;
        let (url, mirror) = (&entry.target.url, entry.source().map(|mirror| &mirror.url));
        tracing::info!(url, mirror, %failure, "a mirror is tried");
    }

    pub(super) fn tell_of_failure(&mut self, facts: &Facts, failure: &Failure) {
        *self.parts.stats.failed.entry(failure.kind).or_default() += 1;
        let times = match facts.attempts {
            0 | 1 => String::new(),
            attempts => format!(" ({attempts} attempts)"),
        };
        self.parts
            .console
            .failure("failed", &format!("{}: {failure}{times}", facts.url));
    }

    pub(super) fn write(&mut self, record: Record) {
        let written = self.parts.log.append(&Record {
            simulated: self.parts.simulated,
            ..record
        });
        self.unwritten_since.get_or_insert_with(Instant::now);
        self.check_log(written);
    }

    pub(super) fn check_log(&mut self, written: Result<(), LogError>) {
        if let Err(error) = written {
            self.give_up(error.to_string());
        }
    }

    pub(super) fn give_up(&mut self, reason: String) {
        self.pending.push_back(Event::GiveUpRequested { reason });
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Retrying {
                task,
                attempts,
                delay,
                failure,
            } => tracing::info!(%task, attempts, ?delay, %failure, "task failed, will be retried"),
            Notice::Redelivering {
                task,
                deliveries,
                kills,
            } => tracing::info!(%task, deliveries, kills, "task is redelivered"),
            Notice::WorkerDied {
                worker,
                exit,
                killed,
                running,
                queued,
            } => self.on_death(worker, &exit, killed.as_ref(), &running, queued),
            Notice::BackingOff { worker, delay } => {
                tracing::info!(slot = %worker.slot, ?delay, "slot stays empty for a while");
            }
            Notice::Retired { worker, deaths } => self.parts.console.line(&format!(
                "slot {} stays empty: {deaths} workers in a row died in it without having done \
                 anything",
                worker.slot
            )),
            Notice::Recycling { worker } => {
                tracing::info!(%worker, "worker has had its share of tasks, and is replaced");
            }
            Notice::Stale { worker } => tracing::debug!(%worker, "stale message"),
        }
    }
}
