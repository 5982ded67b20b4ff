//! The loop around the core, on its own thread: it passes events to the core, and carries out the
//! actions that the core decides on.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use protocol::message::{Report, Running};
use protocol::{Assigned, TaskId, WorkerId};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::{Handle as SignalsHandle, Signals};

use super::blob::Blob;
use super::builder::StartError;
use super::call::{Call, Order, Terms};
use super::desk::{Desk, Reply, Submission};
use super::outcome::{Ended, Outcome, Raw};
use super::work::{Failed, Progress};
use crate::clock::Clock;
use crate::dispatch::{
    Action, Dispatcher, Ending, Event, Exit, GiveUp, GroupId, Limits, Notice, Verdict,
};
use crate::job::TaskReport;
use crate::workers::{
    Death, Digested, Launch, Message, Pool, ProcessPool, SocketFolder, WorkerEvent,
};

/// Space that a message takes in a socket buffer in addition to twice its length, in bytes.
const MESSAGE_OVERHEAD: usize = 768;

/// Maximum number of events that are received before the core handles them.
const AT_ONCE: usize = 256;

/// Events that the loop receives.
pub(super) enum LoopEvent {
    Pool(Message<Call>),
    ChildEnded,
    /// There are jobs on the desk.
    Submitted,
    Wish(Wish),
}

impl From<Message<Call>> for LoopEvent {
    fn from(message: Message<Call>) -> Self {
        Self::Pool(message)
    }
}

/// Ways to end the pool.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wish {
    Finish,
    Drain,
    Abort,
}

/// Functions that the user has set for deaths and for lines on standard error.
pub(super) struct Hooks {
    pub(super) death: Box<dyn FnMut(&Death) + Send>,
    pub(super) line: Box<dyn FnMut(&str) + Send>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            death: Box::new(|_| {}),
            line: Box::new(|line| {
                // If standard error is closed, the line is lost.
                let _ = writeln!(io::stderr(), "{line}");
            }),
        }
    }
}

/// Configuration of the loop.
pub(super) struct Plan {
    pub(super) limits: Limits,
    pub(super) terms: Terms,
    pub(super) launch: Box<Launch>,
    pub(super) hooks: Hooks,
}

/// An unfinished job.
struct Entry {
    job: Blob,
    reply: Reply,
    /// When a heartbeat first named the job in this delivery.
    since: Option<Instant>,
    /// Whether progress was published in this delivery.
    shown: bool,
    deaths: Vec<Death>,
}

struct Drive {
    core: Dispatcher<Blob, Failed>,
    pool: Pool<Call, LoopEvent>,
    inbox: Receiver<LoopEvent>,
    desk: Arc<Desk>,
    hooks: Hooks,
    entries: BTreeMap<TaskId, Entry>,
    last_task: TaskId,
    /// The details of the death that the core handles now.
    dead: Option<Death>,
    /// Time after which a job counts as hung, whatever its worker reports.
    overdue: Option<Duration>,
    /// Outcomes to be delivered after the desk has counted them.
    replies: Vec<(Reply, Raw)>,
}

/// Starts the loop. It reads `inbox`, to which `sender` and `desk` send.
pub(super) fn start(
    plan: Plan,
    desk: Arc<Desk>,
    sender: Sender<LoopEvent>,
    inbox: Receiver<LoopEvent>,
) -> Result<JoinHandle<()>, StartError> {
    let (tell, told) = channel();
    let thread = Builder::new().name("pool".to_owned()).spawn(move || {
        // The kernel ends workers with the thread that started them, so this thread starts them.
        match Drive::new(plan, Arc::clone(&desk), sender, inbox) {
            Ok((mut drive, signals)) => {
                // The receiver still waits for this message.
                let _ = tell.send(Ok(()));
                // Hooks are the only code outside the pool that can panic.
                let ending = catch_unwind(AssertUnwindSafe(|| drive.drive()));
                let ending = ending.unwrap_or_else(|_| {
                    Ending::GivenUp(GiveUp::Other("a hook panicked".to_owned()))
                });
                signals.close();
                drive.end(&ending);
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        }
    });
    let thread = thread.map_err(StartError::Thread)?;
    match told.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(StartError::Thread(io::Error::other("it panicked"))),
    }
}

impl Drive {
    fn new(
        plan: Plan,
        desk: Arc<Desk>,
        sender: Sender<LoopEvent>,
        inbox: Receiver<LoopEvent>,
    ) -> Result<(Self, SignalsHandle), StartError> {
        let lease = plan.limits.lease_timeout;
        let overdue = plan.terms.deadline.map(|limit| limit.saturating_add(lease));
        let at_once = plan.terms.at_once;
        let signals = children(sender.clone()).map_err(StartError::Thread)?;
        let sockets = SocketFolder::temporary().map_err(StartError::Listen)?;
        let pool = ProcessPool::new(plan.launch, plan.terms, at_once, true, sockets, sender)?;
        let drive = Self {
            core: Dispatcher::new(plan.limits, Instant::now()),
            pool: Pool::Processes(Box::new(pool)),
            inbox,
            desk,
            hooks: plan.hooks,
            entries: BTreeMap::new(),
            last_task: TaskId(0),
            dead: None,
            overdue,
            replies: Vec::new(),
        };
        Ok((drive, signals))
    }

    /// Runs until the core ends.
    fn drive(&mut self) -> Ending<Failed> {
        let mut events = VecDeque::new();
        loop {
            self.core.handle_all(Instant::now(), events.drain(..));
            while let Some(action) = self.core.poll_action() {
                if let Action::Finish { ending } = action {
                    return ending;
                }
                events.extend(self.act(action));
            }
            self.dead = None;
            if !self.replies.is_empty() {
                self.desk.finished(self.replies.len(), *self.core.counts());
                for (reply, outcome) in self.replies.drain(..) {
                    reply.tell(outcome);
                }
            }
            if events.is_empty() {
                self.hear(&mut events);
            }
        }
    }

    /// Waits for the next event.
    fn hear(&mut self, events: &mut VecDeque<Event<Blob, Failed>>) {
        let deadline = self.core.poll_timeout().map(|deadline| deadline.at);
        let wait = deadline.map_or(Duration::MAX, |at| {
            at.saturating_duration_since(Instant::now())
        });
        match self.inbox.recv_timeout(wait) {
            Ok(heard) => self.take_in(heard, events),
            Err(RecvTimeoutError::Timeout) => return events.push_back(Event::Tick),
            // Cannot happen: the desk holds a sender.
            Err(RecvTimeoutError::Disconnected) => return events.push_back(Event::AbortRequested),
        }
        for _ in 0..AT_ONCE {
            // `dead` is valid only for the core's next decisions.
            if self.dead.is_some() {
                return;
            }
            match self.inbox.try_recv() {
                Ok(heard) => self.take_in(heard, events),
                Err(_) => return,
            }
        }
    }

    fn take_in(&mut self, heard: LoopEvent, events: &mut VecDeque<Event<Blob, Failed>>) {
        match heard {
            LoopEvent::ChildEnded => self.pool.reap(),
            LoopEvent::Submitted => {
                for submission in self.desk.submitted() {
                    events.push_back(self.enter(submission));
                }
            }
            LoopEvent::Wish(wish) => {
                // Jobs submitted before the request are on the desk.
                for submission in self.desk.submitted() {
                    events.push_back(self.enter(submission));
                }
                events.push_back(match wish {
                    Wish::Finish => Event::InputEnded,
                    Wish::Drain => Event::DrainRequested,
                    Wish::Abort => Event::AbortRequested,
                });
            }
            LoopEvent::Pool(message) => match self.pool.digest(message) {
                Some(Digested::Event(worker, news)) => self.on_worker_event(worker, news, events),
                Some(Digested::Listened) => events.push_back(Event::Listened),
                None => {}
            },
        }
    }

    fn enter(&mut self, submission: Submission) -> Event<Blob, Failed> {
        let Submission { job, reply } = submission;
        self.last_task.0 += 1;
        let size = MESSAGE_OVERHEAD + 2 * job.len();
        let entry = Entry {
            job,
            reply,
            since: None,
            shown: false,
            deaths: Vec::new(),
        };
        self.entries.insert(self.last_task, entry);
        Event::TaskOffered {
            task: self.last_task,
            group: GroupId(0),
            alternatives: Vec::new(),
            size: u32::try_from(size).unwrap_or(u32::MAX),
            spacing: Duration::ZERO,
        }
    }

    fn on_worker_event(
        &mut self,
        worker: WorkerId,
        news: WorkerEvent<Call>,
        events: &mut VecDeque<Event<Blob, Failed>>,
    ) {
        match news {
            WorkerEvent::Ready => events.push_back(Event::WorkerReady { worker }),
            WorkerEvent::Reports(reports) => {
                let clock = Clock::now();
                for report in reports {
                    events.push_back(self.event_of(worker, report, clock));
                }
            }
            WorkerEvent::Heartbeat(running) => {
                for running in &running {
                    self.show(worker, running);
                }
                let running = running.into_iter().map(|running| running.task);
                let running = running.filter(|task| self.is_in_time(worker, *task));
                events.push_back(Event::HeartbeatReceived {
                    worker,
                    running: running.collect(),
                });
            }
            WorkerEvent::Violated { problem } => {
                tracing::warn!(%worker, problem, "a worker broke the protocol");
                events.push_back(Event::ProtocolViolated { worker });
            }
            WorkerEvent::Wrote(lines) => {
                for line in lines {
                    (self.hooks.line)(&line);
                }
            }
            WorkerEvent::Exited(death) => {
                events.push_back(Event::WorkerExited {
                    worker,
                    exit: death.exit.clone(),
                    ran: death.ran.clone(),
                });
                self.dead = Some(*death);
            }
        }
    }

    fn event_of(
        &mut self,
        worker: WorkerId,
        report: TaskReport<Call>,
        clock: Clock,
    ) -> Event<Blob, Failed> {
        match report {
            Report::Started { task, at } => Event::Started {
                worker,
                task,
                at: clock.instant(at),
            },
            Report::Finished { task, output } => Event::Finished {
                worker,
                task,
                output,
            },
            Report::Nacked { task, failure } => Event::Nacked {
                worker,
                task,
                failure,
            },
            Report::Released { task } => Event::Released { worker, task },
        }
    }

    /// Passes the progress of a job, if its worker reports any, to the job's handle.
    fn show(&mut self, worker: WorkerId, running: &Running<Option<Progress>>) {
        if running.progress.is_some()
            && self.core.holds(worker, running.task)
            && let Some(entry) = self.entries.get_mut(&running.task)
        {
            entry.shown = true;
            entry.reply.show(running.progress);
        }
    }

    /// Returns whether `task`, which `worker` reports as running, is within its time limit. A
    /// worker ends itself when a job exceeds its deadline, but a compromised worker may not.
    fn is_in_time(&mut self, worker: WorkerId, task: TaskId) -> bool {
        let (Some(limit), true) = (self.overdue, self.core.holds(worker, task)) else {
            return true;
        };
        let now = Instant::now();
        let entry = self.entries.get_mut(&task);
        entry.is_none_or(|entry| {
            now.saturating_duration_since(*entry.since.get_or_insert(now)) <= limit
        })
    }

    /// Carries out `action`. Returns the event that results immediately, if there is one.
    fn act(&mut self, action: Action<Blob, Failed>) -> Option<Event<Blob, Failed>> {
        match action {
            Action::Spawn { worker } => {
                if let Err(error) = self.pool.spawn(worker) {
                    let exit = Exit::NotStarted(error.to_string());
                    let ran = Some(Vec::new());
                    return Some(Event::WorkerExited { worker, exit, ran });
                }
            }
            Action::Assign { worker, tasks } => {
                let orders = tasks.into_iter().filter_map(|task| {
                    let entry = self.entries.get_mut(&task)?;
                    entry.since = None;
                    if std::mem::take(&mut entry.shown) {
                        entry.reply.show(None);
                    }
                    let job = Order {
                        job: entry.job.clone(),
                        delivery: self.core.delivery(task),
                    };
                    Some(Assigned { task, job })
                });
                let orders = orders.collect();
                return sent(self.pool.assign(worker, orders));
            }
            Action::Revoke { worker, tasks } => return sent(self.pool.revoke(worker, tasks)),
            Action::Dismiss { worker } => return sent(self.pool.dismiss(worker)),
            Action::Terminate { worker, .. } => self.pool.terminate(worker),
            Action::Kill { worker, .. } => self.pool.kill(worker),
            Action::Listen => self.pool.listen(),
            // An output is accepted as it is.
            Action::Place {
                worker,
                task,
                output,
            } => {
                let result = Ok(output);
                return Some(Event::Placed {
                    worker,
                    task,
                    result,
                });
            }
            Action::Prove {
                worker,
                task,
                failure,
            } => {
                let result = Err(failure);
                return Some(Event::Placed {
                    worker,
                    task,
                    result,
                });
            }
            Action::Record { task, verdict, .. } => self.record(task, verdict),
            Action::Notify(notice) => self.on_notice(&notice),
            // Jobs have no alternatives, and the loop handles `Finish` itself.
            Action::TurnToAlternative { .. } | Action::Finish { .. } => {}
        }
        None
    }

    fn record(&mut self, task: TaskId, verdict: Verdict<Blob, Failed>) {
        let Some(entry) = self.entries.remove(&task) else {
            return;
        };
        let outcome = match verdict {
            Verdict::Done(output) => Outcome::Done(*output),
            Verdict::Failed(failed) => match failed.limit() {
                Some(limit) => Outcome::DeadlineExceeded(limit),
                None => Outcome::Failed(*failed),
            },
            Verdict::Quarantined(_) => Outcome::Quarantined(entry.deaths),
        };
        self.replies.push((entry.reply, outcome));
    }

    fn on_notice(&mut self, notice: &Notice<Failed>) {
        tracing::debug!(?notice, "pool");
        let Notice::WorkerDied { exit, running, .. } = notice else {
            return;
        };
        let death = match &self.dead {
            Some(death) => death.clone(),
            // It could not be started.
            None => exit.clone().into(),
        };
        (self.hooks.death)(&death);
        for task in running {
            if let Some(entry) = self.entries.get_mut(task) {
                entry.deaths.push(death.clone());
            }
        }
    }

    /// Ends all workers and delivers the remaining outcomes.
    fn end(self, ending: &Ending<Failed>) {
        let ended = Ended {
            counts: *self.core.counts(),
            gave_up: match ending {
                Ending::Completed | Ending::Interrupted => None,
                Ending::GivenUp(reason) => Some(told(reason)),
            },
        };
        // This kills the workers that are left.
        drop(self.pool);
        let submitted = self.desk.end(ended);
        for (reply, outcome) in self.replies {
            reply.tell(outcome);
        }
        let replies = self.entries.into_values().map(|entry| entry.reply);
        for reply in replies.chain(submitted.into_iter().map(|submission| submission.reply)) {
            reply.tell(Outcome::Abandoned);
        }
    }
}

/// Returns the event that ends the pool if a message was too large for a frame. Jobs of such a size
/// are refused at submission, so this is a fault of the pool.
fn sent(result: Result<(), protocol::codec::EncodeError>) -> Option<Event<Blob, Failed>> {
    let reason = result.err()?.to_string();
    Some(Event::GiveUpRequested { reason })
}

/// Notifies the loop when a child has ended.
fn children(sender: Sender<LoopEvent>) -> io::Result<SignalsHandle> {
    let mut signals = Signals::new([SIGCHLD])?;
    let handle = signals.handle();
    Builder::new().name("children".to_owned()).spawn(move || {
        signals
            .forever()
            .all(|_| sender.send(LoopEvent::ChildEnded).is_ok())
    })?;
    Ok(handle)
}

/// Describes why the pool gave up.
fn told(reason: &GiveUp<Failed>) -> String {
    match reason {
        GiveUp::RestartIntensity {
            deaths,
            period,
            last,
        } => format!(
            "{deaths} workers died within {period:?} without making progress; the last with {last}"
        ),
        GiveUp::AllRetired { last } => {
            format!("in every slot, workers died without making progress; the last with {last}")
        }
        GiveUp::Fatal(failed) => failed.to_string(),
        GiveUp::Other(reason) => reason.clone(),
        GiveUp::TooManyFailures { failed } => format!("{failed} jobs failed"),
        GiveUp::TimeIsUp => "the time limit has expired".to_owned(),
    }
}
