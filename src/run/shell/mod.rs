//! The shell around the core: receives events and carries out the core's actions.
//!
//! One thread, one inbox. Lists, workers and signals have their own threads, which send messages.
//! This thread blocks only for the next message. It does not decide about tasks or workers.

mod deaths;
mod effects;
mod hearing;
mod inject;
mod input;
mod logins;
mod pause;
mod placing;
mod rate;
mod robots;
mod status;
mod watched;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use lab::inject::Injector;
use lab::origin::Origin;
use pool::clock::Clock;
use protocol::{Known, Report, TaskId, TaskKind, WorkerId};

use crate::config::Recorded;
use crate::dispatch::{Counts, Dispatcher, Ending, Event, HostId};
use crate::input::{Mirror, Target};
use crate::login::Logins;
use crate::placement::{Order, Placement};
use crate::run::hosts::Hosts;
use crate::run::inbox::Message;
use crate::run::intake::Intake;
use crate::run::intents::{IntentError, Intents};
use crate::run::log::{DeathRecord, Facts, LogError, LogWriter, RecordedDeath};
use crate::run::partials::PartialNames;
use crate::run::report::{Activity, Console, status_lines};
use crate::run::resume::Keeper;
use crate::run::robots::RobotsGate;
use crate::run::signals::Signal;
use crate::run::stats::Stats;
use crate::run::timeline::Timeline;
use crate::run::watching::Watching;
use crate::watch::{Share, State};
use crate::workers::{Death, Digested, Pool, WorkerEvent};
use logins::Desk;
use pause::Wakefulness;
use placing::{Held, Placing};
pub(in crate::run) use rate::SharedRate;

/// How long a finished task may wait in memory to be written together with others. If the
/// coordinator is killed, the next run does these tasks again.
const FLUSH_EVERY: Duration = Duration::from_millis(10);

/// The parts that the shell connects.
#[derive(Debug)]
pub(in crate::run) struct Parts {
    pub(in crate::run) core: Dispatcher,
    pub(in crate::run) pool: Pool<Message>,
    pub(in crate::run) log: LogWriter,
    pub(in crate::run) keeper: Keeper,
    /// Whether files that no run created are replaced.
    pub(in crate::run) force: bool,
    /// Notified when records are written.
    pub(in crate::run) recorded: Option<Recorded>,
    /// The share of a larger list that this run works on.
    pub(in crate::run) share: Option<Share>,
    /// The rate that this run has a share of (`--limit-rate`).
    pub(in crate::run) shared_rate: Option<SharedRate>,
    /// Whether the run is simulated, which each record says.
    pub(in crate::run) simulated: bool,
    pub(in crate::run) deaths: LogWriter<DeathRecord>,
    pub(in crate::run) timeline: Option<Timeline>,
    /// Files that are about to be stored under names that do not identify their URL.
    pub(in crate::run) intents: Intents,
    pub(in crate::run) partial_names: PartialNames,
    /// The names of partial bodies that earlier runs left and that can be resumed.
    pub(in crate::run) partials_left: HashSet<String>,
    pub(in crate::run) placement: Placement,
    /// The origin that was started for this run.
    pub(in crate::run) origin: Option<Origin>,
    /// Injects faults from outside, and sums up all requested faults.
    pub(in crate::run) injector: Option<Injector>,
    /// Checks each target against robots.txt, with `--robots`.
    pub(in crate::run) robots_gate: Option<RobotsGate>,
    /// The logins that the user gave.
    pub(in crate::run) logins: Logins,
    pub(in crate::run) intake: Intake,
    /// Bytes of text in unfinished tasks above which no more of the input is asked for.
    pub(in crate::run) max_text: usize,
    pub(in crate::run) inbox: Receiver<Message>,
    /// How long running tasks may take when the run is to end.
    pub(in crate::run) grace: Duration,
    pub(in crate::run) console: Console,
    pub(in crate::run) stats: Stats,
    /// The history of the run, if it can be watched.
    pub(in crate::run) watching: Option<Watching>,
}

/// The result of a run.
#[derive(Debug)]
pub(in crate::run) struct Finished {
    pub(in crate::run) ending: Ending,
    /// The first signal that asked for the end.
    pub(in crate::run) signal: Option<i32>,
    pub(in crate::run) counts: Counts,
    /// Tasks offered and not finished.
    pub(in crate::run) unfinished: u64,
    pub(in crate::run) stats: Stats,
    pub(in crate::run) console: Console,
    /// The cookies at the end of the run.
    pub(in crate::run) logins: Logins,
    /// The faults that were injected, if any.
    pub(in crate::run) injected: Option<String>,
    /// The error if the run log could not be written to its end.
    pub(in crate::run) log: Result<(), LogError>,
    /// The error if the next run may take files of this one for the user's.
    pub(in crate::run) intents: Result<(), IntentError>,
    /// The error if the timeline could not be written.
    pub(in crate::run) timeline: io::Result<()>,
    /// The history and the final state, if the run can be watched.
    pub(in crate::run) watched: Option<(Watching, State)>,
}

/// An unfinished task.
#[derive(Debug)]
struct Entry {
    target: Target,
    host: HostId,
    /// The hosts of its mirrors.
    mirrors: Vec<HostId>,
    /// How often it has turned to another mirror.
    turned: usize,
    /// Whether it is from the input, or fetches the robots.txt of a place.
    kind: TaskKind,
    /// The file in place, if it may still be current.
    known: Option<Box<Known>>,
    /// The worker that started it last.
    last: Option<WorkerId>,
    /// Set while its body is being placed.
    placing: Option<Placing>,
    /// The workers that died while it ran.
    deaths: Vec<RecordedDeath>,
    /// How often it was returned because a login was missing.
    questions: u8,
    /// Its body was not put in place: it is another machine's target.
    fenced: bool,
}

impl Entry {
    /// Creates the entry of a task that has not run yet.
    const fn new(target: Target, host: HostId, kind: TaskKind) -> Self {
        Self {
            target,
            host,
            mirrors: Vec::new(),
            turned: 0,
            kind,
            known: None,
            last: None,
            placing: None,
            deaths: Vec::new(),
            questions: 0,
            fenced: false,
        }
    }

    /// Returns the URL that it uses now.
    fn url(&self) -> &str {
        self.source().map_or(&self.target.url, |mirror| &mirror.url)
    }

    /// Returns the mirror that it uses now, or `None` if it uses its own URL.
    fn source(&self) -> Option<&Mirror> {
        let number = self.turned.checked_sub(1)?;
        self.target.mirrors().get(number)
    }

    /// Returns all hosts that it may use.
    fn hosts(&self) -> impl Iterator<Item = HostId> + '_ {
        std::iter::once(self.host).chain(self.mirrors.iter().copied())
    }

    /// Returns the size of its text in bytes.
    fn text_bytes(&self) -> usize {
        text_bytes(&self.target, self.known.as_deref())
    }
}

/// The progress of a running task from a heartbeat.
#[derive(Clone, Copy, Debug)]
struct Sign {
    /// The worker that sent it.
    worker: WorkerId,
    at: Instant,
    heard: Activity,
}

/// The state of the shell.
#[derive(Debug)]
pub(in crate::run) struct Shell {
    parts: Parts,
    tasks: HashMap<TaskId, Entry>,
    hosts: Hosts,
    /// Total bytes of text in the tasks.
    text: usize,
    /// The latest progress of running tasks from heartbeats.
    heard: HashMap<TaskId, Sign>,
    /// Bodies that go to the placement thread together.
    orders: Vec<Order>,
    /// Messages for workers that wait until partial bodies are in place.
    held: HashMap<WorkerId, VecDeque<Held>>,
    /// Workers that wait for their folders.
    homeless: HashSet<WorkerId>,
    /// Process id of each slot's last worker.
    pids: Vec<u32>,
    /// Events that resulted from actions.
    pending: VecDeque<Event>,
    /// Since when records wait to be written.
    unwritten_since: Option<Instant>,
    signal: Option<i32>,
    ending: Option<Ending>,
    /// The worker whose death is being passed to the core, and what is known of it.
    dead: Option<(WorkerId, Death)>,
    wakefulness: Wakefulness,
    desk: Desk,
    /// What workers know of the rate that they share.
    rates: HashMap<WorkerId, rate::Known>,
}

impl Shell {
    pub(in crate::run) fn new(parts: Parts, slots: u16) -> Self {
        Self {
            parts,
            tasks: HashMap::new(),
            hosts: Hosts::default(),
            text: 0,
            heard: HashMap::new(),
            orders: Vec::new(),
            held: HashMap::new(),
            homeless: HashSet::new(),
            pids: vec![0; usize::from(slots)],
            pending: VecDeque::new(),
            unwritten_since: None,
            signal: None,
            ending: None,
            dead: None,
            wakefulness: Wakefulness::new(Instant::now()),
            desk: Desk::default(),
            rates: HashMap::new(),
        }
    }

    /// Runs to the end.
    pub(in crate::run) fn run(mut self) -> Finished {
        let ending = loop {
            if let Some(ending) = self.ending.take() {
                break ending;
            }
            if self.parts.core.wants_tasks()
                && self.text < self.parts.max_text
                && self
                    .parts
                    .robots_gate
                    .as_ref()
                    .is_none_or(RobotsGate::has_room)
            {
                self.parts.intake.request();
            }
            match self.next_message() {
                Some(message) => self.on_message(message),
                None => self.tell_core(Event::Tick),
            }
        };
        let unfinished = self.unfinished();
        let last = self
            .parts
            .watching
            .is_some()
            .then(|| self.state(Instant::now()));
        self.parts.placement.close();
        let log = self.parts.log.flush();
        let (log, intents) = match log {
            Ok(()) => (self.parts.deaths.flush(), self.parts.intents.close()),
            // Tasks without a record must keep their intents.
            Err(error) => (Err(error), Ok(())),
        };
        Finished {
            ending,
            signal: self.signal,
            counts: *self.parts.core.counts(),
            unfinished,
            log,
            intents,
            injected: self.parts.injector.as_ref().map(Injector::summary),
            timeline: self.parts.timeline.map_or(Ok(()), Timeline::finish),
            stats: self.parts.stats,
            console: self.parts.console,
            logins: self.parts.logins,
            watched: self.parts.watching.zip(last),
        }
    }

    /// Returns the next message, or `None` if the core must be woken first. While it waits, it does
    /// what is due: progress, and writing the run log.
    fn next_message(&mut self) -> Option<Message> {
        loop {
            let injection = self.inject();
            match self.parts.inbox.try_recv() {
                Ok(message) => return Some(message),
                Err(TryRecvError::Empty) => {}
                // The listener for signals holds a sender as long as the run lasts.
                Err(TryRecvError::Disconnected) => return None,
            }
            let now = Instant::now();
            self.do_what_is_due(now);
            let core = self.parts.core.poll_timeout().map(|deadline| deadline.at);
            if core.is_some_and(|at| at <= now) || !self.pending.is_empty() {
                return None;
            }
            let flush = self.unwritten_since.map(|since| since + FLUSH_EVERY);
            let history = self.parts.watching.as_ref().map(Watching::due);
            let wake = [core, flush, self.parts.console.due(), injection, history];
            let wake = wake.into_iter().flatten().min();
            let received = match wake {
                Some(at) => self
                    .parts
                    .inbox
                    .recv_timeout(at.saturating_duration_since(now)),
                None => self
                    .parts
                    .inbox
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
            };
            self.wakefulness.slept(Instant::now(), wake);
            match received {
                Ok(message) => return Some(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn do_what_is_due(&mut self, now: Instant) {
        if self
            .unwritten_since
            .is_some_and(|since| now.saturating_duration_since(since) >= FLUSH_EVERY)
        {
            let written = self.parts.log.flush();
            self.unwritten_since = None;
            let is_written = written.is_ok();
            self.check_log(written);
            self.parts.keeper.grown(self.parts.log.length());
            if is_written && let Some(recorded) = &self.parts.recorded {
                recorded.tell();
            }
            if is_written && let Err(error) = self.parts.intents.flushed() {
                self.give_up(error.to_string());
            }
        }
        if self.parts.console.due().is_some_and(|due| due <= now) {
            let mut console = std::mem::take(&mut self.parts.console);
            console.progress(now, &self.parts.stats, || self.running_lines(now));
            self.parts.console = console;
        }
        self.keep_history(now);
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Pool(message) => match self.parts.pool.digest(message) {
                Some(Digested::Event(worker, news)) => self.on_worker_event(worker, news),
                Some(Digested::Listened) => self.tell_core(Event::Listened),
                None => {}
            },
            Message::Placement(news) => {
                self.on_placement(news);
            }
            Message::Intake(batch) => self.on_batch(batch),
            Message::Counted(entries) => self.parts.stats.counted = Some(entries),
            Message::Watched => self.show(),
            Message::Signal(Signal::Child) => {
                self.check_origin();
                self.parts.pool.reap();
            }
            Message::Signal(Signal::Status) => {
                for line in status_lines(&self.worker_lines(Instant::now())) {
                    self.parts.console.error(&line);
                }
            }
            Message::Signal(Signal::End(number)) => self.on_end_signal(number),
            Message::Signal(Signal::Suspend) => self.suspend(),
            Message::Signal(Signal::Grow) => self.resize(true),
            Message::Signal(Signal::Shrink) => self.resize(false),
        }
    }

    /// Ends the run if the origin has exited: without it every task of a simulated run would fail.
    fn check_origin(&mut self) {
        let ended = self.parts.origin.as_mut().and_then(Origin::ended);
        if let Some(status) = ended {
            self.parts.origin = None;
            let reason = format!(
                "the built-in origin died with {status}; run the same command again to finish"
            );
            self.tell_core(Event::GiveUpRequested { reason });
        }
    }

    fn on_end_signal(&mut self, number: i32) {
        if self.signal.is_none() {
            self.signal = Some(number);
            self.parts.console.line(&self.farewell(number));
            self.tell_core(Event::DrainRequested);
        } else {
            self.tell_core(Event::AbortRequested);
        }
    }

    fn on_worker_event(&mut self, worker: WorkerId, news: WorkerEvent) {
        match news {
            WorkerEvent::Ready => {
                self.tell_rate(worker);
                self.tell_core(Event::WorkerReady { worker });
            }
            WorkerEvent::Reports(reports) => {
                self.reads(worker);
                let clock = Clock::now();
                let events: Vec<_> = reports
                    .into_iter()
                    .map(|report| self.event_of(worker, report, clock))
                    .collect();
                self.tell_core_all(events);
            }
            WorkerEvent::Heartbeat(running) => {
                let now = Instant::now();
                for running in &running {
                    if self.parts.core.holds(worker, running.task) {
                        self.hear(worker, running, now);
                    }
                }
                self.tell_rate(worker);
                let running = running.iter().map(|running| running.task).collect();
                self.tell_core(Event::HeartbeatReceived { worker, running });
            }
            WorkerEvent::Violated { problem } => {
                self.parts
                    .console
                    .line(&format!("worker {worker} broke the protocol: {problem}"));
                self.tell_core(Event::ProtocolViolated { worker });
            }
            WorkerEvent::Wrote(lines) => {
                for line in lines {
                    self.parts.console.line(&format!("worker {worker}: {line}"));
                }
            }
            WorkerEvent::Exited(death) => {
                let (exit, ran) = (death.exit.clone(), death.ran.clone());
                self.held.remove(&worker);
                self.desk.forget(worker);
                self.rates.remove(&worker);
                // Must happen before its tasks are assigned to other workers.
                self.parts.placement.salvage(worker);
                self.dead = Some((worker, *death));
                self.tell_core(Event::WorkerExited { worker, exit, ran });
                self.dead = None;
            }
        }
    }

    fn event_of(&mut self, worker: WorkerId, mut report: Report, clock: Clock) -> Event {
        self.on_logins(worker, &mut report);
        if let Report::Started { task, .. } = &report {
            // Discard the progress of an earlier attempt.
            self.heard.remove(task);
            if let Some(entry) = self.tasks.get_mut(task) {
                entry.last = Some(worker);
            }
        }
        match report {
            Report::Started { task, at } => Event::Started {
                worker,
                task,
                at: clock.instant(at),
            },
            Report::Finished {
                task,
                output: stored,
            } => Event::Finished {
                worker,
                task,
                output: stored,
            },
            Report::Nacked { task, failure } => Event::Nacked {
                worker,
                task,
                failure,
            },
            Report::Released { task } => Event::Released { worker, task },
        }
    }

    /// Sends an event to the core and carries out its actions.
    fn tell_core(&mut self, event: Event) {
        self.tell_core_all([event]);
    }

    /// Like [`tell_core`](Self::tell_core), for several events that happened together.
    fn tell_core_all(&mut self, events: impl IntoIterator<Item = Event>) {
        let now = Instant::now();
        if let Some(pause) = self.wakefulness.wakes(now) {
            tracing::info!(?pause, "the coordinator did not run for a while");
            self.parts.core.handle(now, Event::Resumed { pause });
        }
        self.parts.core.handle_all(now, events);
        loop {
            while let Some(action) = self.parts.core.poll_action() {
                self.act(action);
            }
            match self.pending.pop_front() {
                Some(event) => self.parts.core.handle(Instant::now(), event),
                None => break,
            }
        }
        self.place_bodies();
    }

    fn pid(&self, worker: WorkerId) -> u32 {
        self.pids
            .get(usize::from(worker.slot.0))
            .copied()
            .unwrap_or_default()
    }
}

/// Returns the size of a target's text and of what is known of its file, in bytes.
fn text_bytes(target: &Target, known: Option<&Known>) -> usize {
    target.text_bytes() + known.map_or(0, Known::text_bytes)
}

/// Returns the facts about a task before it runs.
fn facts(task: TaskId, target: Target) -> Facts {
    let range = target.range();
    let (checksums, ticket) = match target.extra {
        Some(extra) => (extra.expect.checksums, extra.ticket),
        None => Default::default(),
    };
    Facts {
        task,
        range,
        checksums,
        ticket,
        url: target.url,
        path: target.path,
        named: target.named,
        stored_as: target.stored_as,
        attempts: 0,
        deliveries: 0,
        worker: None,
        queue: Duration::ZERO,
        deaths: Vec::new(),
    }
}
