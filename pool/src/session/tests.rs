//! Tests of the session over a local link, with engines that the test controls: each with slots
//! that are threads, and with slots that are tasks of an event loop.

use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Instant, SystemTime};

use protocol::message::{Report, Running};
use protocol::{Assigned, JobFailure, Severity, TaskId, codec};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::job::Broken;
use crate::link::{CoordinatorEnd, LocalInbox, LocalOutbox, local_link};
use crate::page;

/// Texts that determine the outcome of their tasks.
#[derive(Debug, PartialEq)]
pub(super) enum Text {}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Failed(pub(super) String);

impl JobFailure for Failed {
    fn severity(&self) -> Severity {
        Severity::Permanent
    }
}

impl Job for Text {
    type Setup = ();
    type Notice = ();
    type Task = String;
    type Progress = u8;
    type Output = String;
    type Failure = Failed;

    fn broken(why: Broken, _: SystemTime) -> Failed {
        Failed(why.to_string())
    }
}

/// Kinds of slots.
#[derive(Clone, Copy)]
enum Kind {
    Threads,
    Loop,
}

/// An engine controlled by the text of the task: `hold` notifies the test and waits for it, `show`
/// shows its progress often and then does the same, `panic` panics, `large` returns more than a
/// frame holds, and any other task is done immediately.
struct Scripted {
    held: Sender<()>,
    release: Arc<Mutex<UnboundedReceiver<()>>>,
    gone: Sender<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        // Most tests do not receive this.
        let _ = self.gone.send(());
    }
}

impl Scripted {
    fn done(task: &str) -> Outcome<Text> {
        match task {
            "panic" => panic!("as the test wanted"),
            "large" => Ok(Box::new("x".repeat(100_000))),
            _ => Ok(Box::default()),
        }
    }
}

/// Counts to [`SHOWN`] many times.
fn show(activity: &Activity<u8>) {
    for _ in 0..1000 {
        for number in 1..=SHOWN {
            activity.show(|shown| *shown = number);
        }
    }
}

const SHOWN: u8 = 100;

impl Engine<Text> for Scripted {
    fn run(&mut self, task: &String, activity: &Activity<u8>) -> Outcome<Text> {
        if task == "show" {
            show(activity);
        }
        if task == "hold" || task == "show" {
            self.held.send(()).expect("the test listens");
            self.release.blocking_lock().blocking_recv();
        }
        Self::done(task)
    }
}

impl EventEngine<Text> for Scripted {
    async fn run(&mut self, task: &String, activity: &Activity<u8>) -> Outcome<Text> {
        if task == "show" {
            show(activity);
        }
        if task == "hold" || task == "show" {
            self.held.send(()).expect("the test listens");
            self.release.lock().await.recv().await;
        }
        Self::done(task)
    }
}

/// A running session, and the test's end of it.
struct Bench {
    coordinator: CoordinatorEnd<ToWorker<Text>, FromWorker<Text>>,
    held: Receiver<()>,
    release: UnboundedSender<()>,
    /// Notified of each engine that is dropped.
    gone: Receiver<()>,
    page: File,
    /// Notified when the session has read its last message: no task starts after that.
    closed: Receiver<()>,
    reader: thread::JoinHandle<Result<End, SessionError>>,
}

fn options(slots: u16, heartbeat: Duration) -> (Options<Text>, File) {
    let page = page::memory(slots).expect("memory");
    let options = Options {
        slots,
        heartbeat,
        rest: NEVER,
        overrun: None,
        compute: false,
        page: Some(Page::map(&page, slots).expect("mapped")),
        learn: Box::new(drop),
    };
    (options, page)
}

fn bench(kind: Kind, slots: u16, heartbeat: Duration) -> Bench {
    let (options, page) = options(slots, heartbeat);
    bench_with(kind, options, page)
}

fn bench_with(kind: Kind, options: Options<Text>, page: File) -> Bench {
    let (coordinator, mut inbox, outbox): (_, LocalInbox<ToWorker<Text>>, LocalOutbox<_>) =
        local_link();
    let (tell, held) = channel();
    let (release, wait) = unbounded_channel();
    let wait = Arc::new(Mutex::new(wait));
    let (tell_gone, gone) = channel();
    let make_engine = move || Scripted {
        held: tell.clone(),
        release: Arc::clone(&wait),
        gone: tell_gone.clone(),
    };
    let outbox = Arc::new(outbox);
    let session = match kind {
        Kind::Threads => Session::on_threads(outbox, options, make_engine),
        Kind::Loop => Session::on_event_loop(outbox, options, make_engine),
    }
    .expect("threads");
    let (tell_closed, closed) = channel();
    let reader = thread::spawn(move || {
        let end = session.read(&mut inbox);
        // Most tests do not receive this.
        let _ = tell_closed.send(());
        session.join();
        end
    });
    let bench = Bench {
        coordinator,
        held,
        release,
        gone,
        page,
        closed,
        reader,
    };
    assert_eq!(bench.next(), FromWorker::<Text>::Ready);
    bench
}

const NEVER: Duration = Duration::from_secs(3600);

/// Time after which a message counts as missing.
const PATIENCE: Duration = Duration::from_secs(60);

impl Bench {
    fn next(&self) -> FromWorker<Text> {
        let heard = self.coordinator.from_worker.recv_timeout(PATIENCE);
        heard.expect("a message")
    }

    fn say(&self, message: ToWorker<Text>) {
        self.coordinator
            .to_worker
            .send(message)
            .expect("it listens");
    }

    fn assign(&self, tasks: &[(u64, &str)]) {
        let assignments = tasks
            .iter()
            .map(|(task, text)| Assigned {
                task: TaskId(*task),
                job: (*text).to_owned(),
            })
            .collect();
        self.say(ToWorker::<Text>::Assign(assignments));
    }

    /// Returns the next frame as short words.
    fn words(&self) -> Vec<String> {
        let FromWorker::<Text>::Reports(reports) = self.next() else {
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
        self.say(ToWorker::<Text>::Dismiss);
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
        // The start of a long task is sent alone, and on a busy machine any task may be long.
        if assigned.elapsed() >= post::START && words.len() == 1 {
            words.extend(bench.words());
        }
        assert_eq!(words, expected);
    }
    bench.dismiss();
}

fn what_has_ended_is_told_though_the_next_takes_for_ever(kind: Kind) {
    let bench = bench(kind, 1, NEVER);
    // The first outcomes of a host are sent immediately; of those that follow, a few may wait.
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
    // When the next task runs, the previous one is no longer named.
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
    // The word is cleared when the outcome is sent, or just after.
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
    bench.say(ToWorker::<Text>::Revoke(tasks));
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
    bench.assign(&[(99_999, "hold")]);
    bench.held.recv().expect("it runs");
    let tasks: Vec<u64> = (1..60_000).collect();
    let assignments: Vec<_> = tasks.iter().map(|task| (*task, "")).collect();
    bench.assign(&assignments);
    bench.say(ToWorker::<Text>::Revoke(
        tasks.into_iter().map(TaskId).collect(),
    ));
    let (mut told, mut frames) = (0, 0);
    // The start of the first task is included.
    while told < 60_000 {
        let message = bench.next();
        let frame = codec::encode(&message).expect("it fits");
        let FromWorker::<Text>::Reports(reports) = message else {
            panic!("reports were expected");
        };
        told += reports.len();
        frames += 1;
        assert!(
            told == 60_000 || frame.len() > post::CAPACITY - 64,
            "it is full"
        );
    }
    assert_eq!((told, frames), (60_000, 4));
    bench.release.send(()).expect("it waits");
    assert_eq!(bench.words(), ["acked 99999"]);
    bench.dismiss();
}

fn a_heartbeat_lists_what_runs(kind: Kind) {
    let bench = bench(kind, 2, Duration::from_millis(10));
    bench.assign(&[(7, "hold")]);
    bench.held.recv().expect("it runs");
    let running = loop {
        if let FromWorker::<Text>::Heartbeat(running) = bench.next()
            && !running.is_empty()
        {
            break running;
        }
    };
    let expected = Running {
        task: TaskId(7),
        progress: 0,
    };
    assert_eq!(running, [expected]);
    bench.release.send(()).expect("it waits");
    // Idle workers send heartbeats as well.
    while bench.next() != FromWorker::<Text>::Heartbeat(Vec::new()) {}
    bench.dismiss();
}

fn a_panic_costs_its_task_and_nothing_else(kind: Kind) {
    let bench = bench(kind, 1, NEVER);
    bench.assign(&[(1, "panic")]);
    // Printing the panic may take so long that the start is sent before the failure.
    let mut reports = Vec::new();
    while !matches!(reports.last(), Some(Report::Nacked { .. })) {
        let FromWorker::<Text>::Reports(more) = bench.next() else {
            panic!("reports were expected");
        };
        reports.extend(more);
    }
    let [Report::Started { .. }, Report::Nacked { failure, .. }] = reports.as_slice() else {
        panic!("{reports:?}");
    };
    assert!(failure.0.contains("as the test wanted"));
    bench.assign(&[(2, "")]);
    assert_eq!(bench.words(), ["started 2", "acked 2"]);
    bench.dismiss();
}

fn what_is_too_large_to_report_is_a_failure(kind: Kind) {
    let bench = bench(kind, 1, NEVER);
    bench.assign(&[(1, "large"), (2, "")]);
    let mut words = Vec::new();
    while words.len() < 4 {
        words.extend(bench.words());
    }
    assert_eq!(words, ["started 1", "nacked 1", "started 2", "acked 2"]);
    bench.dismiss();
}

fn as_many_tasks_run_at_once_as_there_are_slots(kind: Kind) {
    let bench = bench(kind, 3, NEVER);
    bench.assign(&[(1, "hold"), (2, "hold"), (3, "hold"), (4, "hold")]);
    for _ in 0..3 {
        bench.held.recv().expect("it runs");
    }
    let mut running = page::read(&bench.page).expect("read");
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
    bench.say(ToWorker::<Text>::Setup(Box::new(())));
    let end = bench.reader.join().expect("no panic");
    assert!(matches!(end, Err(SessionError::SecondSetup)), "{end:?}");
}

macro_rules! on_both_kinds {
    ($($case:ident),* $(,)?) => {
        mod threads {
            $(#[test]
            fn $case() {
                super::$case(super::Kind::Threads);
            })*
        }

        mod event_loop {
            $(#[test]
            fn $case() {
                super::$case(super::Kind::Loop);
            })*
        }
    };
}

/// No regular heartbeat would ever be sent.
fn progress_is_told_soon_but_not_each_time(kind: Kind) {
    let begun = Instant::now();
    let bench = bench(kind, 2, NEVER);
    bench.assign(&[(7, "show")]);
    bench.held.recv().expect("it runs");
    let mut beats = 0;
    loop {
        let message = bench.coordinator.from_worker.recv_timeout(PATIENCE);
        if let FromWorker::<Text>::Heartbeat(running) = message.expect("the last that is shown") {
            assert_eq!(running.len(), 1);
            beats += 1;
            if running[0].progress == SHOWN {
                break;
            }
        }
    }
    let most = begun.elapsed().as_millis() / post::SHOW.as_millis() + 1;
    assert!(beats <= most, "{beats} heartbeats");
    bench.release.send(()).expect("it waits");
    bench.dismiss();
}

on_both_kinds![
    progress_is_told_soon_but_not_each_time,
    a_task_with_none_behind_it_is_told_in_one_frame,
    what_has_ended_is_told_though_the_next_takes_for_ever,
    the_page_names_what_runs,
    only_what_is_not_started_is_released,
    many_releases_fit_their_frames,
    a_heartbeat_lists_what_runs,
    a_panic_costs_its_task_and_nothing_else,
    what_is_too_large_to_report_is_a_failure,
    as_many_tasks_run_at_once_as_there_are_slots,
    a_coordinator_that_hangs_up_ends_the_session,
    a_second_setup_breaks_the_protocol,
];

#[test]
fn what_takes_too_long_is_told_before_anybody_is_asked_to_end_it() {
    let (options, page) = options(1, NEVER);
    let limit = Duration::from_millis(20);
    let options = Options {
        overrun: Some(Overrun {
            limit,
            // The test receives what was reported by then.
            then: || {},
        }),
        ..options
    };
    let bench = bench_with(Kind::Threads, options, page);
    bench.assign(&[(1, "hold"), (2, "")]);
    bench.held.recv().expect("it runs");
    let mut words = Vec::new();
    while !words.contains(&"nacked 1".to_owned()) {
        words.extend(bench.words());
    }
    bench.release.send(()).expect("it waits");
    // The slot ends: the outcome was reported, and the second task is left to another process.
    bench.gone.recv_timeout(PATIENCE).expect("the slot ends");
    drop(bench.coordinator.to_worker);
    let end = bench.reader.join().expect("no panic");
    assert_eq!(end.expect("in good order"), End::Closed);
    let rest: Vec<_> = bench.coordinator.from_worker.try_iter().collect();
    assert_eq!(rest, []);
    assert_eq!(page::read(&bench.page).expect("read"), []);
}

/// Slots that are threads would send a frame each.
#[test]
fn what_is_at_hand_in_an_event_loop_goes_out_in_one_frame() {
    let bench = bench(Kind::Loop, 3, NEVER);
    // All tasks end in one turn of the loop.
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
    impl EventEngine<Text> for Freezing {
        async fn run(&mut self, _: &String, _: &Activity<u8>) -> Outcome<Text> {
            self.0.send(()).expect("the test listens");
            let _ = self.1.lock().expect("no panic").recv();
            Ok(Box::default())
        }
    }
    let (coordinator, _inbox, outbox) = local_link::<ToWorker<Text>, _>();
    let (options, page) = options(2, Duration::from_millis(10));
    let make_engine = move || Freezing(frozen.clone(), Arc::clone(&hold));
    let session = Session::on_event_loop(Arc::new(outbox), options, make_engine);
    let session = session.expect("a loop");
    let next = || coordinator.from_worker.recv().expect("a message");
    while next() != FromWorker::<Text>::Heartbeat(Vec::new()) {}
    let assigned = |task| Assigned {
        task: TaskId(task),
        job: String::new(),
    };
    session.queue.push(vec![assigned(1)]);
    wait.recv().expect("it froze");
    // The worker sends nothing any more, but its running task can still be read.
    while coordinator.from_worker.try_recv().is_ok() {}
    assert_eq!(page::read(&page).expect("read"), [TaskId(1)]);
    // A wait for silence has to end: this one lasts as long as a hundred heartbeats.
    let silence = coordinator.from_worker.recv_timeout(Duration::from_secs(1));
    assert!(silence.is_err(), "{silence:?}");
    thaw.send(()).expect("it waits");
    while !matches!(next(), FromWorker::<Text>::Heartbeat(_)) {}
    session.join();
}
