//! Placing of bodies: sends them to the placement thread and handles its answers. Also moves
//! partial bodies to where a worker looks for them, before the worker gets their tasks.

use std::collections::VecDeque;
use std::time::Instant;

use protocol::codec::EncodeError;
use protocol::{Assigned, Assignment, Notice, Stored, TaskId, WorkerId};

use super::Shell;
use crate::dispatch::Event;
use crate::input::Ticket;
use crate::placement::{Order, PlacementEvent};

/// A body that is being placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placing {
    /// The worker that downloaded it, and its process id: it may exit before the record is written.
    pub(super) worker: WorkerId,
    pub(super) pid: u32,
    pub(super) since: Instant,
    pub(super) bytes: u64,
}

/// A message for a worker that cannot be sent yet.
#[derive(Debug)]
pub(super) enum Held {
    /// Sent as soon as its partial bodies are in place.
    Assign(Vec<Assigned<Assignment>>),
    /// Sent as soon as all earlier messages are sent.
    Then(Told),
}

/// A message for a worker that waits only for its turn.
#[derive(Debug)]
pub(super) enum Told {
    Notice(Notice),
    Assign(Vec<Assigned<Assignment>>),
    Revoke(Vec<TaskId>),
    Dismiss,
}

impl Shell {
    /// Assigns tasks to `worker`, after their partial bodies are in place.
    pub(super) fn hand_over(
        &mut self,
        worker: WorkerId,
        tasks: Vec<Assigned<Assignment>>,
    ) -> Result<(), EncodeError> {
        // A worker without tasks sends no heartbeats.
        self.tell_rate(worker);
        self.tell_logins(worker, &tasks)?;
        let begun = tasks.iter().filter(|assignment| assignment.job.begun);
        let bodies: Vec<_> = begun
            .map(|assignment| {
                let last = self
                    .tasks
                    .get(&assignment.task)
                    .and_then(|entry| entry.last);
                (last, assignment.job.partial.clone())
            })
            .collect();
        if bodies.is_empty() {
            return self.tell(worker, Told::Assign(tasks));
        }
        self.parts.placement.fetch(worker, bodies);
        self.held
            .entry(worker)
            .or_default()
            .push_back(Held::Assign(tasks));
        Ok(())
    }

    /// Sends `worker` a message in its turn.
    pub(super) fn tell(&mut self, worker: WorkerId, told: Told) -> Result<(), EncodeError> {
        match self.held.get_mut(&worker) {
            Some(held) => {
                held.push_back(Held::Then(told));
                Ok(())
            }
            None => self.tell_now(worker, told),
        }
    }

    fn tell_now(&mut self, worker: WorkerId, told: Told) -> Result<(), EncodeError> {
        match told {
            Told::Notice(notice) => self.parts.pool.notify(worker, notice),
            Told::Assign(tasks) => self.parts.pool.assign(worker, tasks),
            Told::Revoke(tasks) => self.parts.pool.revoke(worker, tasks),
            Told::Dismiss => self.parts.pool.dismiss(worker),
        }
    }

    /// Orders the placement of the body that `worker` finished.
    pub(super) fn place(&mut self, worker: WorkerId, task: TaskId, stored: Box<Stored>) {
        let pid = self.pid(worker);
        let Some(entry) = self.tasks.get_mut(&task) else {
            return;
        };
        entry.placing = Some(Placing {
            worker,
            pid,
            since: Instant::now(),
            bytes: stored.bytes,
        });
        // If the file in place may be current, its name stays.
        let suggested = match &entry.known {
            None => stored.suggested_name.as_deref(),
            Some(_) => None,
        };
        let place = suggested.and_then(|name| entry.target.suggested_place(name));
        let mut replace = entry.target.replace;
        if let Some(place) = place {
            entry.target.stored_as = Some(place.into());
            match self.parts.intents.turn(task, &entry.target) {
                Ok(is_its_own) => replace = is_its_own || self.parts.force,
                // Nothing is placed, because the run ends.
                Err(error) => return self.give_up(error.to_string()),
            }
        } else if entry.target.suggestible {
            // An earlier attempt may have had another name.
            entry.target.stored_as = None;
        }
        let target = &entry.target;
        self.orders.push(Order {
            worker,
            task,
            kind: entry.kind,
            url: target.request_url(),
            partial: self.parts.partial_names.of(entry.kind, target),
            path: target.place().to_owned(),
            replace,
            known: entry.known.clone(),
            fenced_as: target.ticket().map(Ticket::target),
            stored,
        });
    }

    /// Sends the collected bodies to the placement thread.
    pub(super) fn place_bodies(&mut self) {
        if !self.orders.is_empty() {
            self.parts.placement.place(std::mem::take(&mut self.orders));
        }
    }

    pub(super) fn on_placement(&mut self, news: Vec<PlacementEvent>) {
        let mut events = Vec::with_capacity(news.len());
        for news in news {
            match news {
                PlacementEvent::Placed {
                    worker,
                    task,
                    result,
                    violation,
                } => {
                    if result.is_err()
                        && let Some(entry) = self.tasks.get_mut(&task)
                    {
                        entry.placing = None;
                    }
                    events.push(Event::Placed {
                        worker,
                        task,
                        result,
                    });
                    if let Some(problem) = violation {
                        self.parts
                            .console
                            .line(&format!("worker {worker} broke the protocol: {problem}"));
                        events.push(Event::ProtocolViolated { worker });
                    }
                }
                PlacementEvent::Fenced {
                    worker,
                    task,
                    stored,
                } => {
                    if let Some(entry) = self.tasks.get_mut(&task) {
                        entry.fenced = true;
                    }
                    // For the core it is done: nothing is wrong with the task, and it is not tried again.
                    let result = Ok(stored);
                    events.push(Event::Placed {
                        worker,
                        task,
                        result,
                    });
                }
                PlacementEvent::Fetched { worker } => self.on_fetched(worker),
                PlacementEvent::Made { worker, result } => self.on_made(worker, result),
            }
        }
        if !events.is_empty() {
            self.tell_core_all(events);
        }
    }

    /// Sends the first waiting tasks of `worker`, whose partial bodies are in place now.
    fn on_fetched(&mut self, worker: WorkerId) {
        // Nothing waits for a worker that has exited.
        let Some(mut held) = self.held.remove(&worker) else {
            return;
        };
        let first = held.pop_front().map(|held| match held {
            Held::Assign(tasks) => Told::Assign(tasks),
            Held::Then(told) => told,
        });
        let mut told = VecDeque::from_iter(first);
        while let Some(Held::Then(_)) = held.front()
            && let Some(Held::Then(next)) = held.pop_front()
        {
            told.push_back(next);
        }
        if !held.is_empty() {
            self.held.insert(worker, held);
        }
        for told in told {
            let sent = self.tell_now(worker, told);
            self.check_sent(sent);
        }
        // A message that could not be sent ends the run.
        if !self.pending.is_empty() {
            self.tell_core(Event::Tick);
        }
    }
}
