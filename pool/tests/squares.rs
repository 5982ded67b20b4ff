//! The smallest user of the crate: squares of numbers, one of which kills every worker.
//!
//! This program is its own worker, so it has a `main` of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use libtest_mimic::{Arguments, Trial};
use pool::dial::dial;
use pool::dispatch::{Action, Dispatcher, Ending, Event, Exit, GroupId, Limits, Notice, Verdict};
use pool::link::{Inbox, IpcInbox, IpcOutbox, LinkError, Outbox};
use pool::page::Page;
use pool::workers::{Digested, Message, News, Pool, ProcessPool, SocketFolder};
use pool::{Broken, FromWorker, Job, ToWorker};
use protocol::message::Report;
use protocol::{Assigned, JobFailure, MonotonicNanos, Severity, TaskId, WorkerId};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGABRT, SIGCHLD};
use signal_hook::iterator::Signals;

/// Squares of numbers; the setup is the number that is fatal.
#[derive(Debug)]
enum Squares {}

#[derive(Debug, Serialize, Deserialize)]
struct TooLarge;

impl JobFailure for TooLarge {
    fn severity(&self) -> Severity {
        Severity::Permanent
    }
}

impl Job for Squares {
    type Setup = u64;
    type Notice = ();
    type Task = u64;
    type Progress = ();
    type Output = u64;
    type Failure = TooLarge;

    fn broken(_: Broken, _: SystemTime) -> TooLarge {
        TooLarge
    }
}

const FATAL: u64 = 13;

fn main() {
    let arguments: Vec<_> = env::args_os().collect();
    if let [_, role, socket] = arguments.as_slice()
        && role == "worker"
    {
        // The end of the link is the end of the work.
        if let Err(error) = work(Path::new(socket)) {
            assert!(matches!(error, LinkError::Closed), "{error}");
        }
        return;
    }
    let name = "a_task_that_kills_its_workers_is_quarantined_and_all_others_are_done";
    let trial = Trial::test(name, || {
        all_but_one_are_done();
        Ok(())
    });
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}

/// A worker: from the first instruction to the last.
fn work(socket: &Path) -> Result<(), LinkError> {
    let dialled = dial(socket)?;
    let outbox = IpcOutbox::<Squares>::new(dialled.outbox().clone());
    outbox.send(FromWorker::<Squares>::Hello(dialled.hello().clone()))?;
    let mut inbox = IpcInbox::<Squares>::new(dialled.answer()?);
    let ToWorker::<Squares>::Setup(fatal) = inbox.recv()? else {
        panic!("the setup comes first");
    };
    let word = Page::map(rustix::stdio::stdin(), 1)?.word(0);
    outbox.send(FromWorker::<Squares>::Ready)?;
    loop {
        match inbox.recv()? {
            ToWorker::<Squares>::Assign(assigned) => {
                for Assigned { task, job } in assigned {
                    word.set(task);
                    if job == *fatal {
                        std::process::abort();
                    }
                    let failure = Box::new(TooLarge);
                    let outcome = match job.checked_mul(job) {
                        Some(square) => Report::Finished {
                            task,
                            output: Box::new(square),
                        },
                        None => Report::Nacked { task, failure },
                    };
                    let at = MonotonicNanos(0);
                    let reports = vec![Report::Started { task, at }, outcome];
                    word.clear();
                    outbox.send(FromWorker::<Squares>::Reports(reports))?;
                }
            }
            // It begins with everything at once.
            ToWorker::<Squares>::Revoke(_)
            | ToWorker::<Squares>::Notice(())
            | ToWorker::<Squares>::Setup(_) => {}
            ToWorker::<Squares>::Dismiss => return Ok(()),
        }
    }
}

/// What the loop hears.
enum Heard {
    Pool(Message<Squares>),
    ChildEnded,
}

impl From<Message<Squares>> for Heard {
    fn from(message: Message<Squares>) -> Self {
        Self::Pool(message)
    }
}

/// The loop around the core.
struct Run {
    core: Dispatcher<u64, TooLarge>,
    pool: Pool<Squares, Heard>,
    inbox: Receiver<Heard>,
    jobs: BTreeMap<TaskId, u64>,
    verdicts: BTreeMap<u64, Verdict<u64, TooLarge>>,
    deaths: usize,
}

fn all_but_one_are_done() {
    let large = u64::MAX;
    let mut run = Run::new((1..=100).chain([large]));
    assert!(matches!(run.drive(), Ending::Completed));
    assert_eq!(run.deaths, 2, "it is given two workers, and no other dies");
    assert_eq!(run.verdicts.len(), 101);
    for (job, verdict) in run.verdicts {
        match verdict {
            Verdict::Done(square) => assert_eq!(*square, job * job),
            Verdict::Failed(_) => assert_eq!(job, large),
            Verdict::Quarantined(exit) => assert_eq!((job, exit), (FATAL, Exit::Signal(SIGABRT))),
        }
    }
}

fn processes(inbox: Sender<Heard>) -> Pool<Squares, Heard> {
    let launch = |_: WorkerId, socket: &Path| {
        let mut command = Command::new(env::current_exe()?);
        command.arg("worker").arg(socket);
        Ok(command)
    };
    let sockets = SocketFolder::temporary().unwrap();
    let pool = ProcessPool::new(Box::new(launch), FATAL, 1, false, sockets, inbox);
    Pool::Processes(Box::new(pool.unwrap()))
}

impl Run {
    fn new(jobs: impl Iterator<Item = u64>) -> Self {
        let (sender, inbox) = channel();
        let mut children = Signals::new([SIGCHLD]).unwrap();
        let tell = sender.clone();
        std::thread::spawn(move || {
            children
                .forever()
                .all(|_| tell.send(Heard::ChildEnded).is_ok())
        });
        let limits = Limits {
            workers: 2,
            max_deliveries: 2,
            ..Limits::default()
        };
        Self {
            core: Dispatcher::new(limits, Instant::now()),
            pool: processes(sender),
            inbox,
            jobs: (1..).map(TaskId).zip(jobs).collect(),
            verdicts: BTreeMap::new(),
            deaths: 0,
        }
    }

    fn drive(&mut self) -> Ending<TooLarge> {
        let mut events: VecDeque<_> = self.jobs.keys().map(|&task| offered(task)).collect();
        events.push_back(Event::InputEnded);
        loop {
            self.core.handle_all(Instant::now(), events.drain(..));
            while let Some(action) = self.core.poll_action() {
                if let Action::Finish { ending } = action {
                    return ending;
                }
                events.extend(self.act(action));
            }
            if events.is_empty() {
                events.extend(self.hear());
            }
        }
    }

    fn hear(&mut self) -> Vec<Event<u64, TooLarge>> {
        let deadline = self.core.poll_timeout().map(|deadline| deadline.at);
        let wait = deadline.map_or(Duration::MAX, |at| {
            at.saturating_duration_since(Instant::now())
        });
        let (worker, news) = match self.inbox.recv_timeout(wait) {
            Ok(Heard::ChildEnded) => {
                self.pool.reap();
                return Vec::new();
            }
            Ok(Heard::Pool(message)) => match self.pool.digest(message) {
                Some(Digested::News(worker, news)) => (worker, news),
                Some(Digested::Listened) => return vec![Event::Listened],
                None => return Vec::new(),
            },
            Err(RecvTimeoutError::Timeout) => return vec![Event::Tick],
            Err(RecvTimeoutError::Disconnected) => panic!("the pool holds a sender"),
        };
        match news {
            News::Ready => vec![Event::WorkerReady { worker }],
            News::Reports(reports) => reports
                .into_iter()
                .map(|report| of_report(worker, report))
                .collect(),
            News::Heartbeat(running) => vec![Event::HeartbeatReceived {
                worker,
                running: running.into_iter().map(|running| running.task).collect(),
            }],
            News::Violated { .. } => vec![Event::ProtocolViolated { worker }],
            News::Wrote(_) => Vec::new(),
            News::Exited(death) => vec![Event::WorkerExited {
                worker,
                exit: death.exit,
                ran: death.ran,
            }],
        }
    }

    /// Does what the core decided; what came of it at once.
    fn act(&mut self, action: Action<u64, TooLarge>) -> Option<Event<u64, TooLarge>> {
        match action {
            Action::Spawn { worker } => self.pool.spawn(worker).unwrap(),
            Action::Assign { worker, tasks } => {
                let assigned = tasks.into_iter().map(|task| Assigned {
                    task,
                    job: self.jobs[&task],
                });
                let assigned = assigned.collect();
                self.pool.assign(worker, assigned).unwrap();
            }
            Action::Revoke { worker, tasks } => self.pool.revoke(worker, tasks).unwrap(),
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
            Action::Dismiss { worker } => self.pool.dismiss(worker).unwrap(),
            Action::Terminate { worker, .. } => self.pool.terminate(worker),
            Action::Kill { worker, .. } => self.pool.kill(worker),
            Action::Listen => self.pool.listen(),
            Action::Record { task, verdict, .. } => {
                let earlier = self.verdicts.insert(self.jobs[&task], verdict);
                assert!(earlier.is_none(), "each task ends once");
            }
            Action::Notify(Notice::WorkerDied { running, .. }) => {
                assert_eq!(running.len(), 1, "what it ran is known: {running:?}");
                self.deaths += 1;
            }
            Action::Notify(_) => {}
            Action::Prove { .. } | Action::TurnToAlternative { .. } | Action::Finish { .. } => {
                panic!("nothing here leads to it")
            }
        }
        None
    }
}

fn offered(task: TaskId) -> Event<u64, TooLarge> {
    Event::TaskOffered {
        task,
        group: GroupId(0),
        alternatives: Vec::new(),
        size: 32,
        spacing: Duration::ZERO,
    }
}

fn of_report(worker: WorkerId, report: Report<u64, TooLarge>) -> Event<u64, TooLarge> {
    match report {
        Report::Started { task, .. } => Event::Started {
            worker,
            task,
            at: Instant::now(),
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
