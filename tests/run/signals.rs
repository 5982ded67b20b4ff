//! What signals to the coordinator do, and which processes Ctrl-C reaches.

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::{Answer, Job, Run, Server, server, sha256};

/// A run with `/held` in flight and `/next` waiting behind it.
fn held() -> (Server, Run, Job) {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new()
        .list([server.url("/held"), server.url("/next")])
        .with("--workers 1 --grace 1h --speed-time 1h");
    let job = run.start();
    server.wait_for("/held", 1);
    (server, run, job)
}

/// Drains the run with `signal`: running downloads finish, and the rest is left for the next run.
fn drains(signal: Signal, code: i32) {
    let (server, run, job) = held();
    job.signal(signal);
    job.wait_for_line("finishing 1 download (");
    server.release("/held");
    let ended = job.finish().code(code);
    assert_eq!(ended.summary("stored"), 1, "{}", ended.text());
    assert_eq!(ended.summary("left"), 1, "{}", ended.text());
    ended_well(&run, &server.url("/held"), "/held");
    assert_eq!(server.requests("/next"), 0, "nothing new was started");
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored earlier"), 1, "{}", ended.text());
    ended_well(&run, &server.url("/next"), "/next");
    assert_eq!(server.requests("/held"), 1);
}

fn ended_well(run: &Run, url: &str, path: &str) {
    let log = run.log();
    log.check(&log.one(url), &sha256(&server::body(path)));
}

#[test]
fn sigint_finishes_running_downloads_and_leaves_the_rest() {
    drains(Signal::INT, 130);
}

#[test]
fn sigterm_finishes_running_downloads_and_leaves_the_rest() {
    drains(Signal::TERM, 143);
}

#[test]
fn a_second_signal_ends_the_run_at_once() {
    let (server, run, job) = held();
    job.signal(Signal::INT);
    job.wait_for_line("finishing 1 download (");
    job.signal(Signal::INT);
    // The run does not wait for the request, which is still held.
    let ended = job.finish().code(130);
    assert_eq!(ended.summary("stored"), 0, "{}", ended.text());
    assert_eq!(ended.summary("left"), 2, "{}", ended.text());
    assert_eq!(
        run.log().records().len(),
        0,
        "nothing is lost, nothing is blamed"
    );
    server.release("/held");
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 2, "{}", ended.text());
    assert_eq!(run.log().one(&server.url("/held")).deliveries, 1);
}

#[test]
fn running_downloads_get_only_the_grace() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new()
        .list([server.url("/held"), server.url("/next")])
        .with("--workers 1 --grace 200ms");
    let job = run.start();
    server.wait_for("/held", 1);
    job.signal(Signal::TERM);
    let ended = job.finish().code(143);
    assert_eq!(ended.summary("left"), 2, "{}", ended.text());
    assert_eq!(run.log().records().len(), 0);
    server.release("/held");
    run.finish().code(0);
}

#[test]
fn a_signal_before_the_start_ends_the_run() {
    let run = Run::new().with("-");
    let mut job = run.start_fed();
    job.wait_until("the run log", || run.log().path().exists());
    // The handlers are set up shortly after the run log. Until then a signal kills.
    job.wait_until("the signals to be listened to", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", job.pid()));
        let caught = status.unwrap_or_default();
        let mask = caught
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .unwrap_or_default();
        mask & (1 << 1) != 0 && mask & (1 << 14) != 0
    });
    // Its standard input stays open.
    let stdin = job.stdin.take();
    job.signal(Signal::INT);
    job.finish().code(130);
    drop(stdin);
}

#[test]
fn ctrl_c_reaches_the_coordinator_alone() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new()
        .list([server.url("/held")])
        .with("--workers 2")
        .through(["setsid"]);
    let job = run.start();
    server.wait_for("/held", 1);
    let coordinator = job.process();
    assert_eq!(
        coordinator.group(),
        Some(job.pid()),
        "setsid made it a group"
    );
    for worker in job.workers() {
        assert_eq!(worker.parent(), Some(job.pid()));
        assert_ne!(worker.group(), coordinator.group(), "{worker:?}");
    }
    let group = Pid::from_raw(job.pid().try_into().unwrap()).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    job.wait_for_line("finishing 1 download (");
    server.release("/held");
    let ended = job.finish().code(130);
    assert_eq!(ended.summary("stored"), 1, "{}", ended.text());
    assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
}

#[test]
fn the_origin_of_a_simulation_is_not_reached_by_ctrl_c() {
    // Enough URLs for a minute, however long it takes to send the signal.
    let urls = (0..300).map(|number| format!("https://a.example/{number}"));
    let run = Run::new()
        .list(urls)
        .with("--workers 1 --simulate=latency=200ms")
        .through(["setsid"]);
    let job = run.start();
    job.worker(0, 1);
    job.wait_until("a request to run", || {
        job.signal(Signal::USR1);
        let said = job.stderr();
        said.contains("https://a.example/") && said.contains(": for")
    });
    let group = Pid::from_raw(job.pid().try_into().unwrap()).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    let ended = job.finish().code(130);
    assert!(ended.summary("stored") >= 1, "{}", ended.text());
    assert_eq!(ended.summary("failed"), 0, "{}", ended.text());
}

#[test]
fn sigusr1_prints_what_each_worker_is_doing() {
    let (server, _run, job) = held();
    let worker = job.worker(0, 1);
    // Repeats until the coordinator knows that the worker has started the task.
    job.wait_until("the URL in the answer", || {
        job.signal(Signal::USR1);
        job.stderr()
            .contains(&format!("{}: for", server.url("/held")))
    });
    let line = job.wait_for_line("1 running");
    assert!(line.contains("worker 0.1"), "{line}");
    assert!(line.contains(&format!("pid {}", worker.pid)), "{line}");
    assert!(job.process().lives(), "nothing else happens");
    server.release("/held");
    job.finish().code(0);
}
