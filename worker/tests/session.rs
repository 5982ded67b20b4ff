//! Sessions with each real engine, over a local link, against real servers.

mod support;

use support::on_every_engine;

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use protocol::{
    Assigned, Assignment, Engine, FailureKind, FromWorker, Phase, Progress, Report, Running,
    Severity, TaskId, ToWorker,
};
use support::{Server, ok, options, read_head, setup};
use worker::{End, SessionError, SetupError, serve};

type CoordinatorEnd = pool::link::CoordinatorEnd<ToWorker, FromWorker>;

type Serving = JoinHandle<Result<End, SessionError>>;

fn start(
    engine: Engine,
    folder: &Path,
    concurrency: u16,
    heartbeat: Duration,
) -> (CoordinatorEnd, Serving) {
    let (coordinator, inbox, outbox) = pool::link::local_link();
    let mut setup = setup(folder, concurrency, options());
    setup.engine = engine;
    setup.heartbeat = heartbeat;
    let serving = thread::spawn(move || serve(inbox, Arc::new(outbox), &setup, None));
    assert_eq!(next(&coordinator), FromWorker::Ready);
    (coordinator, serving)
}

fn next(coordinator: &CoordinatorEnd) -> FromWorker {
    coordinator.from_worker.recv().expect("a message")
}

fn assign(coordinator: &CoordinatorEnd, urls: &[String]) {
    let assignments = urls.iter().zip(1..).map(|(url, number)| Assigned {
        task: TaskId(number),
        job: Assignment::new(url, number.to_string()),
    });
    let message = ToWorker::Assign(assignments.collect());
    coordinator.to_worker.send(message).expect("it listens");
}

fn dismiss(coordinator: &CoordinatorEnd, serving: Serving) {
    coordinator
        .to_worker
        .send(ToWorker::Dismiss)
        .expect("it listens");
    let end = serving.join().expect("no panic");
    assert_eq!(end.expect("in good order"), End::Dismissed);
}

const NEVER: Duration = Duration::from_secs(3600);

fn downloads_are_in_flight_together(engine: Engine) {
    let folder = tempfile::tempdir().expect("a folder");
    let together = Barrier::new(4);
    let server = Server::answering(move |_| {
        // Answers only once all four requests have come.
        together.wait();
        ok("body")
    });
    let (coordinator, serving) = start(engine, folder.path(), 4, NEVER);
    let urls: Vec<_> = (0..4)
        .map(|number| server.url(&format!("/{number}")))
        .collect();
    assign(&coordinator, &urls);
    let mut acked = 0;
    while acked < 4 {
        let FromWorker::Reports(reports) = next(&coordinator) else {
            continue;
        };
        acked += reports
            .iter()
            .filter(|report| matches!(report, Report::Finished { output: stored, .. } if stored.bytes == 4))
            .count();
    }
    dismiss(&coordinator, serving);
    for number in 1..=4 {
        let body =
            std::fs::read(folder.path().join(".partial").join(number.to_string())).expect("stored");
        assert_eq!(body, b"body");
    }
}

fn a_failure_is_reported_before_the_next_task_has_ended(engine: Engine) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::answering(|head| {
        if head.starts_with("GET /1 ") {
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()
        } else {
            ok("")
        }
    });
    let (coordinator, serving) = start(engine, folder.path(), 1, NEVER);
    assign(&coordinator, &[server.url("/1"), server.url("/2")]);
    let FromWorker::Reports(reports) = next(&coordinator) else {
        panic!("reports were expected");
    };
    let [Report::Started { .. }, Report::Nacked { task, failure }, ..] = reports.as_slice() else {
        panic!("{reports:?}");
    };
    assert_eq!(*task, TaskId(1));
    assert_eq!(failure.kind, FailureKind::Status);
    assert_eq!(failure.severity, Severity::Permanent);
    assert_eq!(failure.exchange.status, Some(404));
    dismiss(&coordinator, serving);
}

fn a_heartbeat_tells_how_far_a_body_is_and_hanging_up_abandons_it(engine: Engine) {
    let folder = tempfile::tempdir().expect("a folder");
    let (more, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let server = Server::start(move |mut stream, _| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nshort");
        let _ = wait.lock().expect("no panic").recv();
        // From here on there is always more data, so the body ends when the worker abandons it.
        while stream.write_all(b"er").is_ok() {
            thread::yield_now();
        }
    });
    let (coordinator, serving) = start(engine, folder.path(), 1, Duration::from_millis(10));
    assign(&coordinator, &[server.url("/")]);
    let expected = Running {
        task: TaskId(1),
        progress: Progress {
            phase: Phase::Receiving,
            bytes: 5,
            expected: None,
        },
    };
    while next(&coordinator) != FromWorker::Heartbeat(vec![expected]) {}
    let partial = folder.path().join(".partial");
    let count = || {
        std::fs::read_dir(&partial)
            .expect("the folder is there")
            .count()
    };
    assert_eq!(count(), 1);
    drop(coordinator);
    drop(more);
    let end = serving.join().expect("no panic");
    assert_eq!(end.expect("in good order"), End::Closed);
    assert_eq!(count(), 0, "the partial file was left behind");
    assert!(!folder.path().join("1").exists());
}

fn folders_that_are_missing_are_told_before_any_task(engine: Engine) {
    let folder = tempfile::tempdir().expect("a folder");
    let (_coordinator, inbox, outbox) = pool::link::local_link();
    let mut setup = setup(folder.path(), 1, options());
    setup.engine = engine;
    setup.partial = folder.path().join("missing").into();
    let end = serve(inbox, Arc::new(outbox), &setup, None);
    let is_store = matches!(end, Err(SessionError::Setup(SetupError::Store(_))));
    assert!(is_store, "{end:?}");
}

on_every_engine![
    downloads_are_in_flight_together,
    a_failure_is_reported_before_the_next_task_has_ended,
    a_heartbeat_tells_how_far_a_body_is_and_hanging_up_abandons_it,
    folders_that_are_missing_are_told_before_any_task,
];
