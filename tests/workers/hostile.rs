//! Workers under an attacker's control: they know the protocol and use it against the coordinator.

use std::process::Stdio;
use std::time::{Duration, Instant};

use coordinator::isolation::attempts::link::send_descriptors;
use coordinator::isolation::raw::descriptors;
use libtest_mimic::Trial;
use protocol::{FromWorker, Phase, Report, Running, Severity, TaskId};

use crate::misbehave::{GO, Peer, RUN_FOLDER, nacked, start_apart, started};
use crate::support::run::urls;
use crate::support::{Answer, Ended, Process, Run, Server, server, sha256};
use crate::{run, trials};

pub fn trials() -> Vec<Trial> {
    trials![
        a_process_that_connects_in_a_workers_place_is_ignored,
        a_header_that_announces_more_than_came_ends_that_worker_alone,
        descriptors_in_messages_stay_with_their_worker,
        a_flood_of_good_frames_takes_no_memory,
        a_process_that_keeps_a_dead_workers_link_holds_up_nothing,
        a_worker_that_claims_and_does_not_read_is_killed,
        what_a_worker_says_cannot_command_a_terminal,
        a_fatal_failure_that_is_none_costs_an_attempt,
        a_worker_that_names_a_socket_elsewhere_is_not_answered,
    ]
}

/// The most that the coordinator's memory may grow, in KiB.
const MOST_MEMORY: u64 = 64 * 1024;

/// Does `what`, which a worker does once it is ready. Returns false if `what` is unknown.
pub fn does(peer: &Peer, what: &str) -> bool {
    match what {
        "2-gib" => on_every_descriptor(|socket| {
            let words = [1016_usize.to_ne_bytes(), (2_usize << 30).to_ne_bytes()].concat();
            let packet = [words, vec![0; 1000]].concat();
            let _ = rustix::net::send(socket, &packet, rustix::net::SendFlags::NOSIGNAL);
        }),
        "64-tib" => on_every_descriptor(|socket| {
            let words = [1016_usize.to_ne_bytes(), (1_usize << 46).to_ne_bytes()].concat();
            let packet = [words, vec![0; 1000]].concat();
            let _ = rustix::net::send(socket, &packet, rustix::net::SendFlags::NOSIGNAL);
        }),
        "descriptors" => {
            let frame = protocol::codec::encode(&FromWorker::Heartbeat(vec![])).expect("it fits");
            let packet = [&protocol::packet::header(frame.len())[..], &frame].concat();
            for _ in 0..20 {
                on_every_descriptor(|socket| send_descriptors(socket, &packet, 100));
            }
            peer.first_assignment();
            std::fs::write(std::path::Path::new(RUN_FOLDER).join(GO), "")
                .expect("the folder is there");
        }
        "floods" => {
            peer.first_assignment();
            let nonsense = (0..2_000).map(|id| started(TaskId(1 << 20 | id)));
            let reports = FromWorker::Reports(nonsense.collect());
            let running = (0..2_000).map(|id| Running {
                task: TaskId(1 << 20 | id),
                progress: protocol::Progress {
                    phase: Phase::Storing,
                    bytes: 1,
                    expected: None,
                },
            });
            let heartbeat = FromWorker::Heartbeat(running.collect());
            let end = Instant::now() + Duration::from_secs(2);
            while Instant::now() < end {
                peer.say(&reports);
                peer.say(&heartbeat);
            }
            std::fs::write(std::path::Path::new(RUN_FOLDER).join(GO), "")
                .expect("the folder is there");
        }
        "leaves-its-link" => {
            on_every_descriptor(|socket| {
                rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty()).expect("open");
            });
            let left = start_apart(Stdio::null());
            std::fs::write(std::path::Path::new(RUN_FOLDER).join(GO), left.to_string())
                .expect("the folder is there");
            std::process::exit(7);
        }
        "pretends" => {
            // Never reads, and reports that it has finished every task.
            let mut id = 0;
            loop {
                id = id % 400 + 1;
                let task = TaskId(id);
                peer.say(&FromWorker::Reports(vec![started(task), nacked(task)]));
            }
        }
        "escapes" => {
            let task = peer.first_assignment().task;
            let mut report = nacked(task);
            if let Report::Nacked { failure, .. } = &mut report {
                failure.message = "\x1b[2J\x1b]0;x\x07 \u{202e}gnp.exe \u{9b}1m".to_owned();
                failure.severity = Severity::Permanent;
                failure.exchange.final_url = Some("http://h/\x1b[31m".to_owned());
            }
            peer.say(&FromWorker::Reports(vec![started(task), report]));
        }
        "fatal" => {
            let task = peer.first_assignment().task;
            let mut report = nacked(task);
            if let Report::Nacked { failure, .. } = &mut report {
                failure.severity = Severity::Fatal;
                failure.kind = protocol::FailureKind::DiskFull;
            }
            peer.say(&FromWorker::Reports(vec![started(task), report]));
        }
        _ => return false,
    }
    true
}

fn on_every_descriptor(each: impl Fn(std::os::fd::BorrowedFd<'_>)) {
    descriptors().into_iter().for_each(each);
}

/// Returns a field of the coordinator's `/proc/PID/status`, in KiB.
fn memory(pid: u32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .unwrap();
    let number = line
        .trim_start_matches(':')
        .trim()
        .strip_suffix(" kB")
        .unwrap();
    number.parse().unwrap()
}

fn all_stored(run: &Run, list: &[String]) {
    for (n, url) in list.iter().enumerate() {
        let log = run.log();
        log.check(&log.one(url), &sha256(&server::body(&format!("/{n}"))));
    }
}

/// Downloads a list with one slot whose first worker does `action`.
fn with_first(action: &str, arguments: &str) -> (Ended, Run, Vec<String>) {
    let server = Server::start();
    let list = urls(&server.url(""), 4);
    let run = run(&format!("0.1={action}"))
        .list(&list)
        .with("--workers 1 --retry-delay 1ms -v")
        .with(arguments);
    let ended = run.finish().code(0);
    all_stored(&run, &list);
    (ended, run, list)
}

fn a_process_that_connects_in_a_workers_place_is_ignored() {
    let (ended, ..) = with_first("a-stranger-connects-first", "");
    ended.says(&["a process that is no worker connected"]);
    assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
}

fn a_header_that_announces_more_than_came_ends_that_worker_alone() {
    for what in ["2-gib", "64-tib"] {
        let (ended, ..) = with_first(&format!("after-ready:{what}"), "");
        ended.says(&["worker 0.1 broke the protocol", "exceeds the limit"]);
        let (ended, ..) = with_first(&format!("raw:{what}"), "");
        ended.says(&["worker 0.1 broke the protocol", "exceeds the limit"]);
    }
}

fn descriptors_in_messages_stay_with_their_worker() {
    let server = Server::start().answer("/0", [Answer::Held]);
    let list = urls(&server.url(""), 4);
    let run = run("0.1=after-ready:descriptors")
        .list(&list)
        .with("--workers 2 --retry-delay 1ms");
    let job = run.start();
    job.wait_until("the worker to have sent its descriptors", || {
        run.path(GO).exists()
            || job
                .workers()
                .iter()
                .any(|worker| worker.option("--epoch") == Some("2"))
    });
    let held = job.process().descriptors();
    assert!(held.len() < 100, "{} descriptors: {held:#?}", held.len());
    // The worker ignores everything that it receives.
    if let Some(worker) = job.workers().into_iter().find(|worker| {
        worker.option("--slot") == Some("0") && worker.option("--epoch") == Some("1")
    }) {
        worker.signal(rustix::process::Signal::KILL);
    }
    server.release_all();
    job.finish().code(0);
    all_stored(&run, &list);
}

fn a_flood_of_good_frames_takes_no_memory() {
    let server = Server::start().answer("/3", [Answer::Held]);
    let list = urls(&server.url(""), 4);
    let run = run("0.1=after-ready:floods")
        .list(&list)
        .with("--workers 2 --retry-delay 1ms");
    let job = run.start();
    job.wait_until("the flood to end", || run.path(GO).exists());
    let pid = job.process().pid;
    let peak = memory(pid, "VmHWM");
    assert!(peak < MOST_MEMORY, "{peak} KiB at most");
    job.worker(0, 1).signal(rustix::process::Signal::KILL);
    server.release_all();
    job.finish().code(0);
    all_stored(&run, &list);
}

fn a_process_that_keeps_a_dead_workers_link_holds_up_nothing() {
    let server = Server::start();
    let list = urls(&server.url(""), 4);
    let run = run("0.1=after-ready:leaves-its-link")
        .list(&list)
        .with("--workers 1 --retry-delay 1ms");
    let job = run.start();
    job.wait_until("the run to go on", || run.log().records().len() == 4);
    let left = std::fs::read_to_string(run.path(GO)).unwrap();
    let left = Process::find(left.parse().unwrap()).expect("it holds the link to the end");
    left.signal(rustix::process::Signal::KILL);
    let ended = job.finish().code(0);
    assert_eq!(ended.summary("worker deaths"), 1, "{}", ended.text());
    all_stored(&run, &list);
}

fn a_worker_that_claims_and_does_not_read_is_killed() {
    let server = Server::start();
    let long = "x".repeat(6000);
    let list: Vec<_> = (0..400)
        .map(|n| server.url(&format!("/{n}?{long}")))
        .collect();
    let run = run("0.1=after-ready:pretends")
        .list(&list)
        .with("--workers 1 --retry-delay 1ms --retry 100 -v");
    let ended = run.finish().code(0);
    ended.says(&["worker 0.1 broke the protocol", "does not read"]);
    assert_eq!(ended.summary("stored"), 400, "{}", ended.text());
}

fn what_a_worker_says_cannot_command_a_terminal() {
    let server = Server::start();
    let list = urls(&server.url(""), 4);
    let run = run("0.1=after-ready:escapes")
        .list(&list)
        .with("--workers 1 -v");
    let job = run.start();
    job.wait_for_line("failed: ");
    job.worker(0, 1).signal(rustix::process::Signal::KILL);
    let ended = job.finish();
    let harmful = ['\x1b', '\x07', '\u{9b}', '\u{202e}'];
    assert!(!ended.text().contains(harmful), "{:?}", ended.text());
    assert!(
        !run.log().text().contains(harmful),
        "{:?}",
        run.log().text()
    );
    // JSON would hide these characters.
    for escape in ["u001b", "u0007", "u009b", "u202e"] {
        assert!(!run.log().text().contains(escape), "{}", run.log().text());
    }
    ended.says(&["failed: ", "gnp.exe"]);
}

fn a_fatal_failure_that_is_none_costs_an_attempt() {
    let (ended, run, list) = with_first("after-ready:fatal", "--lease-timeout 300ms");
    ended.says(&["finds nothing wrong"]);
    let attempts: u32 = list.iter().map(|url| run.log().one(url).attempts).sum();
    assert_eq!(attempts as usize, list.len() + 1);
}

fn a_worker_that_names_a_socket_elsewhere_is_not_answered() {
    let (ended, ..) = with_first("first-frame:elsewhere", "--start-timeout 500ms");
    ended.says(&["worker cannot be answered", "elsewhere"]);
}
