//! Tests of the session over a local link, with engines that the test controls: each with slots
//! that are threads, and with slots that are tasks of an event loop.

use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use protocol::{
    Assigned, Assignment, Engine as Kind, Failure, FailureKind, Progress, Report, Running,
    Severity, Stored, TaskId,
};

use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::testing::options;
use pool::link::{CoordinatorEnd, LocalInbox, LocalOutbox, local_link};
use pool::page;

/// An engine that does what a task's URL says: `hold` tells the test and waits for it, `panic`
/// panics, anything else is stored at once.
struct Scripted {
    held: Sender<TaskId>,
    release: Arc<Mutex<UnboundedReceiver<()>>>,
}

impl Engine for Scripted {
    fn download(
        &mut self,
        assignment: &Assignment,
        _: &Activity,
    ) -> Result<Box<Stored>, Box<Failure>> {
        match assignment.url.as_str() {
            "hold" => {
                self.held.send(named(assignment)).expect("the test listens");
                self.release.blocking_lock().blocking_recv();
            }
            "panic" => panic!("as the test wanted"),
            _ => {}
        }
        Ok(Box::default())
    }
}

impl EventEngine for Scripted {
    async fn download(
        &mut self,
        assignment: &Assignment,
        _: &Activity,
    ) -> Result<Box<Stored>, Box<Failure>> {
        match assignment.url.as_str() {
            "hold" => {
                self.held.send(named(assignment)).expect("the test listens");
                self.release.lock().await.recv().await;
            }
            "panic" => panic!("as the test wanted"),
            _ => {}
        }
        Ok(Box::default())
    }
}

/// The task that [`Bench::assign`] made of it.
fn named(assignment: &Assignment) -> TaskId {
    TaskId(assignment.partial.parse().expect("a number"))
}

/// A running session, and the test's side of it.
struct Bench {
    coordinator: CoordinatorEnd<ToWorker, FromWorker>,
    held: Receiver<TaskId>,
    release: UnboundedSender<()>,
    page: File,
    /// Hears once the session has read its last message: no task is begun after that.
    closed: Receiver<()>,
    reader: thread::JoinHandle<Result<End, SessionError>>,
}

fn setup(kind: Kind, concurrency: u16, heartbeat: Duration) -> Setup {
    Setup {
        partial: "unused".into(),
        concurrency,
        heartbeat,
        engine: kind,
        spans: false,
        cpu_per_task: Duration::ZERO,
        boot: None,
        limits: protocol::WorkerLimits::default(),
        limit_rate: None,
        fsync: false,
        http: options(),
        robots: None,
        faults: None,
    }
}

fn bench(kind: Kind, concurrency: u16, heartbeat: Duration) -> Bench {
    let (coordinator, mut inbox, outbox): (_, LocalInbox<_>, LocalOutbox<_>) = local_link();
    let (tell, held) = channel();
    let (release, wait) = unbounded_channel();
    let wait = Arc::new(Mutex::new(wait));
    let setup = setup(kind, concurrency, heartbeat);
    let page = page::memory(slots(&setup)).expect("memory");
    let mapped = Some(Page::map(&page, slots(&setup)).expect("mapped"));
    let make_engine = move || Scripted {
        held: tell.clone(),
        release: Arc::clone(&wait),
    };
    let outbox = Arc::new(outbox);
    let session = match kind {
        Kind::Blocking => Session::start_with(outbox, &setup, mapped, make_engine),
        Kind::Async => Session::start_loop_with(outbox, &setup, mapped, make_engine),
    }
    .expect("threads");
    let (tell_closed, closed) = channel();
    let reader = thread::spawn(move || {
        let end = session.read(&mut inbox);
        // Most tests do not wait for it.
        let _ = tell_closed.send(());
        session.join();
        end
    });
    let bench = Bench {
        coordinator,
        held,
        release,
        page,
        closed,
        reader,
    };
    assert_eq!(bench.next(), FromWorker::Ready);
    bench
}

const NEVER: Duration = Duration::from_secs(3600);

/// A message that does not come within this does not come.
const PATIENCE: Duration = Duration::from_secs(60);

impl Bench {
    fn next(&self) -> FromWorker {
        let heard = self.coordinator.from_worker.recv_timeout(PATIENCE);
        heard.expect("a message")
    }

    fn say(&self, message: ToWorker) {
        self.coordinator
            .to_worker
            .send(message)
            .expect("it listens");
    }

    fn assign(&self, tasks: &[(u64, &str)]) {
        let assignments = tasks
            .iter()
            .map(|(task, url)| Assigned {
                task: TaskId(*task),
                job: Assignment::new(*url, task.to_string()),
            })
            .collect();
        self.say(ToWorker::Assign(assignments));
    }

    /// The next frame, as short words.
    fn words(&self) -> Vec<String> {
        let FromWorker::Reports(reports) = self.next() else {
            panic!("reports were expected");
        };
        let words = reports.iter().map(|report| match report {
            Report::Started { task, .. } => format!("started {task}"),
            Report::Finished { task, .. } => format!("acked {task}"),
            Report::Nacked { task, .. } => format!("nacked {task}"),
            Report::Released { task } => format!("released {task}"),
        });
        words.collect()
    }

    fn dismiss(self) {
        self.say(ToWorker::Dismiss);
        let end = self.reader.join().expect("no panic");
        assert_eq!(end.expect("in good order"), End::Dismissed);
    }
}

fn a_task_with_none_behind_it_is_told_in_one_frame(kind: Kind) {
    let bench = bench(kind, 1, NEVER);
    for task in 1..4 {
        let assigned = Instant::now();
        bench.assign(&[(task, "hold")]);
        bench.held.recv().expect("it runs");
        bench.release.send(()).expect("it waits");
        let expected = [format!("started {task}"), format!("acked {task}")];
        let mut words = bench.words();
        // The start of a task that takes long is told alone, and on a busy machine any does.
        if assigned.elapsed() >= post::START && words.len() == 1 {
            words.extend(bench.words());
        }
        assert_eq!(words, expected);
    }
    bench.dismiss();
}

fn what_has_ended_is_told_though_the_next_takes_for_ever(kind: Kind) {
    let bench = bench(kind, 1, NEVER);
    // The first answers of a host do not wait; of those that follow, a few may.
    let mut quick: Vec<_> = (1..20).map(|task| (task, "")).collect();
    quick.push((20, "hold"));
    quick.extend((21..99).map(|task| (task, "")));
    bench.assign(&quick);
    bench.held.recv().expect("it runs");
    let mut told = Vec::new();
    while !told.contains(&"acked 19".to_owned()) {
        told.extend(bench.words());
    }
    bench.release.send(()).expect("it waits");
    while !told.contains(&"acked 98".to_owned()) {
        told.extend(bench.words());
    }
    assert_eq!(told.len(), 2 * 98);
    bench.dismiss();
}

fn the_page_names_what_runs(kind: Kind) {
    let bench = bench(kind, 2, NEVER);
    assert_eq!(page::read(&bench.page).expect("read"), []);
    bench.assign(&[(7, "hold"), (8, "hold"), (9, "hold"), (10, "")]);
    for _ in 0..2 {
        bench.held.recv().expect("it runs");
    }
    let named = || {
        let mut named = page::read(&bench.page).expect("read");
        named.sort();
        named
    };
    assert_eq!(named(), [7, 8].map(TaskId));
    // When the next one runs, the one before it is not named any more.
    bench.release.send(()).expect("it waits");
    bench.held.recv().expect("the third follows");
    assert_eq!(named().len(), 2);
    assert!(named().contains(&TaskId(9)));
    drop(bench.release.clone());
    for _ in 0..2 {
        bench.release.send(()).expect("it waits");
    }
    let mut told = 0;
    while told < 8 {
        told += bench.words().len();
    }
    // It is cleared when that is said, or just after.
    let begun = std::time::Instant::now();
    while !named().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{:?}", named());
        thread::yield_now();
    }
    bench.dismiss();
}

fn only_what_is_not_started_is_released(kind: Kind) {
    let bench = bench(kind, 1, NEVER);
    bench.assign(&[(1, "hold"), (2, ""), (3, ""), (4, "")]);
    bench.held.recv().expect("it runs");
    let tasks = [1, 4, 2, 99].map(TaskId).to_vec();
    bench.say(ToWorker::Revoke(tasks));
    assert_eq!(bench.words(), ["started 1", "released 2", "released 4"]);
    bench.release.send(()).expect("it waits");
    let mut told = Vec::new();
    while told.len() < 3 {
        told.extend(bench.words());
    }
    assert_eq!(told, ["acked 1", "started 3", "acked 3"]);
    bench.dismiss();
}

fn many_releases_fit_their_frames(kind: Kind) {
    let bench = bench(kind, 1, NEVER);
    bench.assign(&[(9_999, "hold")]);
    bench.held.recv().expect("it runs");
    let tasks: Vec<u64> = (1..6000).collect();
    let assignments: Vec<_> = tasks.iter().map(|task| (*task, "")).collect();
    bench.assign(&assignments);
    bench.say(ToWorker::Revoke(tasks.into_iter().map(TaskId).collect()));
    let sizes: Vec<usize> = (0..3).map(|_| bench.words().len()).collect();
    assert_eq!(sizes, [2560, 2560, 880], "with the start of the first");
    bench.release.send(()).expect("it waits");
    assert_eq!(bench.words(), ["acked 9999"]);
    bench.dismiss();
}

fn a_heartbeat_lists_what_runs(kind: Kind) {
    let bench = bench(kind, 2, Duration::from_millis(10));
    bench.assign(&[(7, "hold")]);
    bench.held.recv().expect("it runs");
    let running = loop {
        if let FromWorker::Heartbeat(running) = bench.next()
            && !running.is_empty()
        {
            break running;
        }
    };
    let expected = Running {
        task: TaskId(7),
        progress: Progress {
            phase: protocol::Phase::Requesting,
            bytes: 0,
            expected: None,
        },
    };
    assert_eq!(running, [expected]);
    bench.release.send(()).expect("it waits");
    // Idle workers show life as well.
    while bench.next() != FromWorker::Heartbeat(Vec::new()) {}
    bench.dismiss();
}

fn a_panic_costs_its_task_and_nothing_else(kind: Kind) {
    let bench = bench(kind, 1, NEVER);
    bench.assign(&[(1, "panic")]);
    // The message of a panic may take so long that the start is told before the failure.
    let mut reports = Vec::new();
    while !matches!(reports.last(), Some(Report::Nacked { .. })) {
        let FromWorker::Reports(more) = bench.next() else {
            panic!("reports were expected");
        };
        reports.extend(more);
    }
    let [Report::Started { .. }, Report::Nacked { failure, .. }] = reports.as_slice() else {
        panic!("{reports:?}");
    };
    assert_eq!(failure.kind, FailureKind::Internal);
    assert_eq!(failure.severity, Severity::Permanent);
    assert!(failure.message.contains("as the test wanted"));
    bench.assign(&[(2, "")]);
    assert_eq!(bench.words(), ["started 2", "acked 2"]);
    bench.dismiss();
}

fn as_many_tasks_run_at_once_as_there_are_slots(kind: Kind) {
    let bench = bench(kind, 3, NEVER);
    bench.assign(&[(1, "hold"), (2, "hold"), (3, "hold"), (4, "hold")]);
    let mut running: Vec<_> = (0..3)
        .map(|_| bench.held.recv().expect("it runs"))
        .collect();
    running.sort();
    assert_eq!(running, [1, 2, 3].map(TaskId));
    drop(bench.release);
    bench.held.recv().expect("the fourth follows");
    drop(bench.coordinator);
    let end = bench.reader.join().expect("no panic");
    assert_eq!(end.expect("in good order"), End::Closed);
}

fn a_coordinator_that_hangs_up_ends_the_session(kind: Kind) {
    let bench = bench(kind, 1, NEVER);
    bench.assign(&[(1, "hold"), (2, "hold")]);
    bench.held.recv().expect("it runs");
    drop(bench.coordinator);
    bench.closed.recv().expect("the session goes on to its end");
    drop(bench.release);
    let end = bench.reader.join().expect("no panic");
    assert_eq!(end.expect("in good order"), End::Closed);
    assert!(bench.held.recv().is_err(), "the second task was begun");
}

fn a_second_setup_breaks_the_protocol(kind: Kind) {
    let bench = bench(kind, 1, NEVER);
    bench.say(ToWorker::Setup(Box::new(setup(kind, 1, NEVER))));
    let end = bench.reader.join().expect("no panic");
    assert!(matches!(end, Err(SessionError::SecondSetup)), "{end:?}");
}

macro_rules! on_every_engine {
    ($($case:ident),* $(,)?) => {
        mod blocking {
            $(#[test]
            fn $case() {
                super::$case(protocol::Engine::Blocking);
            })*
        }

        mod event {
            $(#[test]
            fn $case() {
                super::$case(protocol::Engine::Async);
            })*
        }
    };
}

on_every_engine![
    a_task_with_none_behind_it_is_told_in_one_frame,
    what_has_ended_is_told_though_the_next_takes_for_ever,
    the_page_names_what_runs,
    only_what_is_not_started_is_released,
    many_releases_fit_their_frames,
    a_heartbeat_lists_what_runs,
    a_panic_costs_its_task_and_nothing_else,
    as_many_tasks_run_at_once_as_there_are_slots,
    a_coordinator_that_hangs_up_ends_the_session,
    a_second_setup_breaks_the_protocol,
];

/// Where slots are threads, each says so for itself.
#[test]
fn what_is_at_hand_in_an_event_loop_goes_out_in_one_frame() {
    let bench = bench(Kind::Async, 3, NEVER);
    // All end in one turn of the loop.
    for _ in 0..10 {
        bench.assign(&[(4, ""), (5, ""), (6, "")]);
        assert_eq!(bench.words().len(), 6);
    }
    bench.dismiss();
}

#[test]
fn a_frozen_event_loop_shows_no_life() {
    let (frozen, wait) = channel();
    let (thaw, hold) = channel::<()>();
    let hold = Arc::new(std::sync::Mutex::new(hold));
    struct Freezing(Sender<()>, Arc<std::sync::Mutex<Receiver<()>>>);
    impl EventEngine for Freezing {
        async fn download(
            &mut self,
            _: &Assignment,
            _: &Activity,
        ) -> Result<Box<Stored>, Box<Failure>> {
            self.0.send(()).expect("the test listens");
            let _ = self.1.lock().expect("no panic").recv();
            Ok(Box::default())
        }
    }
    let (coordinator, _inbox, outbox) = local_link::<ToWorker, _>();
    let setup = setup(Kind::Async, 2, Duration::from_millis(10));
    let page = page::memory(slots(&setup)).expect("memory");
    let mapped = Some(Page::map(&page, slots(&setup)).expect("mapped"));
    let make_engine = move || Freezing(frozen.clone(), Arc::clone(&hold));
    let session = Session::start_loop_with(Arc::new(outbox), &setup, mapped, make_engine);
    let session = session.expect("a loop");
    let next = || coordinator.from_worker.recv().expect("a message");
    while next() != FromWorker::Heartbeat(Vec::new()) {}
    let assigned = |task| Assigned {
        task: TaskId(task),
        job: Assignment::new("", ""),
    };
    session.queue.push(vec![assigned(1)]);
    wait.recv().expect("it froze");
    // It says nothing any more, and what it runs can be read nevertheless.
    while coordinator.from_worker.try_recv().is_ok() {}
    assert_eq!(page::read(&page).expect("read"), [TaskId(1)]);
    // As long as a hundred heartbeats, there is none: a wait for silence has to have an end.
    let silence = coordinator.from_worker.recv_timeout(Duration::from_secs(1));
    assert!(silence.is_err(), "{silence:?}");
    thaw.send(()).expect("it waits");
    while !matches!(next(), FromWorker::Heartbeat(_)) {}
    session.join();
}
