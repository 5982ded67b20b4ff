//! Changes during a run: it is suspended, its pool is resized, its workers are replaced.

use std::collections::BTreeMap;

use rustix::process::Signal;

use crate::support::run::urls;
use crate::support::{Answer, Job, Process, Run, Server, server, sha256};

/// Waits about three seconds without sleeping: another run takes that long for its retries.
pub(super) fn let_three_seconds_pass() {
    let mut clock = vec![Answer::Status(503); 6];
    clock.push(Answer::Ok);
    let server = Server::start().answer("/clock", clock);
    let run = Run::new()
        .list([server.url("/clock")])
        .with("--workers 1 --retry 6 --retry-delay 500ms");
    run.finish().code(0);
}

/// A run with two downloads in flight, and leases far shorter than three seconds.
fn two_in_flight() -> (Server, Run, Job) {
    let server = Server::start()
        .answer("/a", [Answer::Held])
        .answer("/b", [Answer::HeldHalfway]);
    let run = Run::new()
        .list([server.url("/a"), server.url("/b")])
        .with("--workers 2 --lease-timeout 1s");
    let job = run.start();
    server.wait_for("/a", 1);
    server.wait_for("/b", 1);
    (server, run, job)
}

/// Checks that the run ends as if it had not been disturbed.
fn nothing_happened((server, run, job): (Server, Run, Job)) {
    server.release_all();
    let ended = job.finish().code(0);
    assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
    assert_eq!(ended.summary("redeliveries"), 0, "{}", ended.text());
    for path in ["/a", "/b"] {
        let record = run.log().one(&server.url(path));
        run.log().check(&record, &sha256(&server::body(path)));
        assert_eq!((record.deliveries, record.attempts), (1, 1));
        assert_eq!(server.requests(path), 1, "nothing was done twice");
    }
}

#[test]
fn a_run_that_is_suspended_goes_on_without_a_death() {
    let (server, run, job) = two_in_flight();
    let workers = job.workers();
    assert_eq!(workers.len(), 2);
    job.signal(Signal::TSTP);
    job.wait_until("everybody to stand still", || {
        job.process().is_stopped() && workers.iter().all(Process::is_stopped)
    });
    let_three_seconds_pass();
    // As `fg` does, only the coordinator's process group gets the signal.
    job.signal(Signal::CONT);
    job.wait_until("everybody to go on", || {
        !workers.iter().any(Process::is_stopped)
    });
    nothing_happened((server, run, job));
}

#[test]
fn a_coordinator_that_is_stopped_blames_nobody_for_what_it_did_not_hear() {
    let (server, run, job) = two_in_flight();
    job.process().stop();
    let_three_seconds_pass();
    job.signal(Signal::CONT);
    nothing_happened((server, run, job));
}

#[test]
fn sigttin_and_sigttou_change_the_number_of_workers() {
    let paths: Vec<_> = (0..7).map(|n| format!("/{n}")).collect();
    let server = paths.iter().fold(Server::start(), |server, path| {
        server.answer(path, [Answer::Held])
    });
    let run = Run::new()
        .list(paths.iter().map(|path| server.url(path)))
        .with("--workers 1 --parallel-max-host 0");
    let job = run.start();
    let in_flight = || paths.iter().filter(|path| server.requests(path) > 0);
    server.wait_for("/0", 1);
    job.signal(Signal::TTIN);
    job.wait_for_line("2 workers from now on");
    job.signal(Signal::TTIN);
    job.wait_for_line("3 workers from now on");
    job.wait_until("three downloads", || in_flight().count() == 3);
    let leaving = [job.worker(1, 1), job.worker(2, 1)];
    job.signal(Signal::TTOU);
    // Two pending signals of a kind would merge into one (signal(7)).
    job.wait_until("one worker less", || {
        job.stderr().matches("2 workers from now on").count() == 2
    });
    job.signal(Signal::TTOU);
    job.wait_for_line("1 worker from now on");
    assert!(
        leaving.iter().all(Process::lives),
        "they are in the middle of a download"
    );
    for path in in_flight().collect::<Vec<_>>() {
        server.release(path);
    }
    job.wait_until("two workers to leave", || {
        !leaving.iter().any(Process::lives)
    });
    // The last worker stays.
    job.signal(Signal::TTOU);
    server.release_all();
    let ended = job.finish().code(0);
    assert_eq!(ended.summary("stored"), 7, "{}", ended.text());
    assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
    assert!(
        paths.iter().all(|path| server.requests(path) == 1),
        "nothing was done twice"
    );
}

#[test]
fn threads_cannot_be_resized_and_it_is_said() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new()
        .list([server.url("/held")])
        .with("--mode threads --workers 2");
    let job = run.start();
    server.wait_for("/held", 1);
    job.signal(Signal::TTIN);
    job.wait_for_line("can only be changed with --mode processes");
    server.release("/held");
    job.finish().code(0);
}

#[test]
fn workers_are_replaced_after_their_share_of_tasks() {
    let list = urls("http://a.example", 60);
    let run = Run::new()
        .list(&list)
        .with("--workers 2 --worker-tasks 7 --parallel-max-host 0 -v")
        .with("--simulate=size=10B,latency=1ms");
    let ended = run.finish().code(0);
    ended.says(&["replaced"]);
    assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
    let mut shares: BTreeMap<u32, u32> = BTreeMap::new();
    for record in run.log().records() {
        *shares.entry(record.worker.unwrap().pid).or_default() += 1;
    }
    assert!(shares.values().all(|&tasks| tasks <= 7), "{shares:?}");
    assert_eq!(shares.values().sum::<u32>(), 60);
    // The first worker of slot 1 gets a smaller share, so that not all leave at once.
    let pid = |slot, epoch| {
        let records = run.log().records();
        let workers = records.into_iter().filter_map(|record| record.worker);
        let mut found = workers.filter(|w| (w.slot, w.epoch) == (slot, epoch));
        found.next().map(|worker| worker.pid)
    };
    let shortened = pid(1, 1).and_then(|pid| shares.get(&pid).copied());
    assert!(shortened.is_none_or(|tasks| tasks < 7), "{shares:?}");
}

#[test]
fn a_share_of_tasks_is_for_processes() {
    let run = Run::new()
        .list(["http://a.example/"])
        .with("--mode async --worker-tasks 5");
    run.finish()
        .code(2)
        .says(&["--mode async", "--worker-tasks"]);
}
