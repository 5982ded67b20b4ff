//! Kills while a command runs. No process of the command may be left.

use std::fs;

use rustix::process::Signal;

use super::{KINDS, command, lines, of_role, with_script};
use crate::support::{Job, Process, Run, Server, server, sha256};

/// Starts two processes, one of them in its own session, and waits for the file `go`.
const SLOW: &str = concat!(
    "echo began >> ran; setsid sleep 1001 & sleep 1002 &\n",
    "while test ! -e go; do sleep 0.02; done; echo ended >> ran",
);

/// Starts a run of one URL and waits for its command. Returns the processes of the command as well.
fn slow(mode: &str) -> (Server, Run, Job, Vec<Process>) {
    let server = Server::start();
    let run = with_script(SLOW, mode).list([server.url("/f")]);
    let run = run.with("--retry-delay 0");
    let job = run.start();
    let started = ["1001", "1002"].map(|argument| command(&job, argument));
    (server, run, job, started.into())
}

/// Waits until none of `started` lives.
fn gone(job: &Job, started: &[Process]) {
    job.wait_until("the commands to be gone", || {
        started.iter().all(|process| !process.lives())
    });
}

/// Lets the second run of the command finish. It has begun twice and ended once.
fn ends_well(server: &Server, run: &Run, job: Job) {
    job.wait_until("the command to run again", || lines(run, "ran").len() == 2);
    assert_eq!(run.log().records().len(), 0, "nothing is stored yet");
    fs::write(run.path("go"), "").unwrap();
    let mark = run.mark();
    job.finish().code(0);
    is_stored(server, run);
    crate::support::wait_until(
        "every process to be gone",
        || Process::marked(&mark).is_empty(),
        || format!("{:?}", Process::marked(&mark)),
    );
}

fn is_stored(server: &Server, run: &Run) {
    assert_eq!(lines(run, "ran"), ["began", "began", "ended"]);
    let record = run.log().one(&server.url("/f"));
    run.log().check(&record, &sha256(&server::body("/f")));
}

#[test]
fn a_worker_that_is_killed_does_not_touch_the_command_on_what_it_downloaded() {
    for mode in ["--workers 1", "--workers 1 --engine async -c 3"] {
        let (server, run, job, started) = slow(mode);
        let worker = job.worker(0, 1);
        worker.signal(Signal::KILL);
        job.wait_until("its end", || !worker.lives());
        assert!(started.iter().all(Process::lives), "{mode}");
        fs::write(run.path("go"), "").unwrap();
        job.finish().code(0);
        assert_eq!(lines(&run, "ran"), ["began", "ended"], "{mode}");
        let record = run.log().one(&server.url("/f"));
        run.log().check(&record, &sha256(&server::body("/f")));
        assert_eq!((record.attempts, record.deliveries), (1, 1), "{mode}");
    }
}

#[test]
fn a_runner_that_is_killed_costs_an_attempt() {
    for mode in KINDS {
        let (server, run, job, started) = slow(mode);
        let runners = of_role(&job, "runner");
        assert_eq!(runners.len(), 1, "{mode}");
        runners[0].signal(Signal::KILL);
        gone(&job, &started);
        ends_well(&server, &run, job);
        let record = run.log().one(&server.url("/f"));
        assert_eq!((record.attempts, record.deliveries), (2, 1), "{mode}");
    }
}

#[test]
fn a_runner_that_is_frozen_is_given_up_with_its_command() {
    // Each takes longer than the time limit of the command, so they run at the same time.
    let frozen = KINDS.map(|mode| {
        let frozen = slow(&format!("{mode} --exec-timeout 4s"));
        of_role(&frozen.2, "runner")[0].stop();
        frozen
    });
    for (_, run, job, started) in &frozen {
        gone(job, started);
        fs::write(run.path("go"), "").unwrap();
    }
    for (server, run, job, _) in frozen {
        job.finish().code(0);
        is_stored(&server, &run);
        let record = run.log().one(&server.url("/f"));
        assert_eq!((record.attempts, record.deliveries), (2, 1));
    }
}

#[test]
fn an_idle_runner_that_is_killed_costs_nothing() {
    let server = Server::start().answer("/g", [crate::support::Answer::Held]);
    let list = [server.url("/f"), server.url("/g")];
    let run = with_script("exit 0", "--workers 1").list(&list);
    let job = run.start();
    server.wait_for("/g", 1);
    job.wait_for_record(&list[0]);
    let runner = of_role(&job, "runner").remove(0);
    runner.signal(Signal::KILL);
    job.wait_until("it to be gone", || !runner.lives());
    server.release("/g");
    job.finish().code(0);
    assert_eq!(run.log().one(&list[1]).attempts, 1);
}

#[test]
fn nothing_outlives_a_coordinator_that_is_killed_and_the_next_run_finishes() {
    for mode in KINDS {
        let (server, run, job, started) = slow(mode);
        job.kill();
        gone(&job, &started);
        job.wait_until_alone();
        assert_eq!(
            run.log().records().len(),
            0,
            "what did not end is not stored"
        );
        assert_eq!(lines(&run, "ran"), ["began"]);
        fs::write(run.path("go"), "").unwrap();
        run.finish().code(0);
        is_stored(&server, &run);
    }
}

#[test]
fn nothing_outlives_a_suspended_coordinator_that_is_killed() {
    for mode in KINDS {
        let (_server, _run, job, started) = slow(mode);
        job.signal(Signal::TSTP);
        job.wait_until("the coordinator to stop", || job.process().is_stopped());
        job.kill();
        gone(&job, &started);
        job.wait_until_alone();
    }
}

#[test]
fn a_second_signal_ends_commands_at_once_and_the_first_lets_them_end() {
    for mode in KINDS {
        let (server, run, job, started) = slow(mode);
        job.signal(Signal::INT);
        job.wait_for_line("finishing 1 download (");
        assert!(started.iter().all(Process::lives), "{mode}");
        job.signal(Signal::INT);
        let mark = run.mark();
        job.finish().code(130);
        crate::support::wait_until(
            "every process to be gone",
            || Process::marked(&mark).is_empty(),
            || format!("{mode}: {:?}", Process::marked(&mark)),
        );
        assert_eq!(run.log().records().len(), 0, "nothing is blamed");
        fs::write(run.path("go"), "").unwrap();
        run.finish().code(0);
        is_stored(&server, &run);
    }
}

#[test]
fn the_first_signal_lets_a_command_end() {
    for mode in KINDS {
        let (server, run, job, _) = slow(mode);
        job.signal(Signal::TERM);
        job.wait_for_line("finishing 1 download (");
        fs::write(run.path("go"), "").unwrap();
        job.finish().code(143);
        assert_eq!(lines(&run, "ran"), ["began", "ended"]);
        assert_eq!(run.log().one(&server.url("/f")).outcome, "stored");
    }
}

#[test]
fn a_program_dies_with_everybody_who_watches_over_it() {
    let server = Server::start();
    let run = Run::new().list([server.url("/f")]);
    let run = run
        .with("--workers 1 --exec")
        .arg("sh -c 'exec sleep 1001' {path}");
    let job = run.start();
    let sleeping = command(&job, "1001");
    let mut watching = of_role(&job, "runner");
    watching.extend(job.workers());
    assert_eq!(watching.len(), 2);
    // Stopped, none of them notices the death of another.
    for process in &watching {
        process.stop();
    }
    for process in &watching {
        process.signal(Signal::KILL);
    }
    job.kill();
    job.wait_until("the program to be gone", || !sleeping.lives());
    job.wait_until_alone();
}
