//! The executor of `--exec` with real processes: how commands end, and who is killed with them.
//!
//! This program plays three parts: it runs the tests; it owns an executor ([`owner`]); and it is
//! the runner of an executor, because an executor starts its own program as its runners.
#![allow(clippy::unwrap_used, reason = "tests")]

mod owner;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use coordinator::cli::Cli;
use libtest_mimic::{Arguments, Trial};
use rustix::process::{Signal, getpid, set_child_subreaper};

use owner::Owner;
use support::{Process, is_root};

/// A time that no test reaches.
const HOUR: u32 = 3_600_000;

/// Starts two processes, one of them in its own session, and waits for the file `go`.
const SLOW: &str = concat!(
    "echo began >> ran; setsid sleep 1001 & sleep 1002 &\n",
    "while test ! -e go; do sleep 0.02; done; echo ended >> ran",
);

fn main() -> ExitCode {
    if owner::is_runner() {
        return coordinator::command::run(Cli::parse());
    }
    if owner::is_owner() {
        owner::play();
        return ExitCode::SUCCESS;
    }
    libtest_mimic::run(&Arguments::from_args(), trials()).exit_code()
}

/// Makes trials of functions, named after them.
macro_rules! trials {
    ($($test:ident),* $(,)?) => {
        vec![$(Trial::test(stringify!($test), || {
            $test();
            Ok(())
        })),*]
    };
}

fn trials() -> Vec<Trial> {
    trials![
        a_command_runs_on_its_file_and_says_what_it_left,
        a_runner_is_used_again_and_each_has_one_command_at_a_time,
        a_failure_says_whether_it_may_pass,
        a_command_that_takes_too_long_is_ended_with_all_it_started,
        a_runner_that_is_killed_costs_an_attempt_and_leaves_nothing,
        an_idle_runner_that_is_killed_costs_nothing,
        a_runner_that_is_frozen_is_given_up_with_its_command,
        a_runner_that_cannot_begin_is_told_of_as_fatal,
        nothing_outlives_an_owner_that_is_killed,
        nothing_outlives_a_suspended_owner_that_is_killed,
        time_stands_still_while_commands_are_stopped,
        abandoned_commands_are_ended_at_once_and_blamed_on_nobody,
        commands_have_the_nice_value_that_was_asked_for,
    ]
}

/// Returns an owner whose command runs on `f`, and the two processes that the command started.
fn slow(timeout_ms: u32) -> (Owner, [Process; 2]) {
    let mut owner = Owner::new(SLOW, timeout_ms);
    owner.order("f");
    let started = ["1001", "1002"].map(|argument| owner.sleeping(argument));
    (owner, started)
}

fn gone(owner: &Owner, started: &[Process]) {
    owner.wait_until("the commands to be gone", || {
        started.iter().all(|process| !process.lives())
    });
}

/// Runs the command a second time, until it succeeds.
fn runs_well(mut owner: Owner) {
    owner.touch("go");
    owner.order("f");
    assert_eq!(owner.outcome(), "f: Succeeded(Executed { left: Some(4) })");
    assert_eq!(owner.lines("ran"), ["began", "began", "ended"]);
    owner.finish();
}

fn a_command_runs_on_its_file_and_says_what_it_left() {
    let script = concat!(
        "echo \"$1 $COORDINATOR_PATH $COORDINATOR_URL $COORDINATOR_BYTES\" > said; pwd >> said\n",
        "case $1 in */gone) rm \"$1\" ;; *) echo longer >> \"$1\" ;; esac; setsid sleep 1001 &",
    );
    let mut owner = Owner::new(script, HOUR);
    owner.order("f");
    assert_eq!(owner.outcome(), "f: Succeeded(Executed { left: Some(11) })");
    let file = owner.path("files").join("f");
    let file = file.to_str().unwrap();
    let folder = fs::canonicalize(owner.path(".")).unwrap();
    assert_eq!(
        owner.lines("said"),
        [
            format!("{file} {file} http://h/f 4"),
            folder.display().to_string()
        ]
    );
    owner.order("gone");
    assert_eq!(owner.outcome(), "gone: Succeeded(Executed { left: None })");
    // Processes that a command left are killed, but its runner stays.
    assert_eq!(owner.processes().len(), 2, "{:?}", owner.processes());
    owner.finish();
}

fn a_runner_is_used_again_and_each_has_one_command_at_a_time() {
    let script = "echo > here.$$; while test $(ls | grep -c ^here) -lt 4; do sleep 0.02; done";
    let mut owner = Owner::new(script, HOUR);
    for _ in 0..2 {
        for name in ["a", "b", "c", "d"] {
            owner.order(name);
        }
        for _ in 0..4 {
            assert!(owner.outcome().contains("Succeeded"));
        }
        assert_eq!(owner.runners().len(), 4);
    }
    let groups = |processes: &[Process]| -> Vec<_> {
        let mut groups: Vec<_> = processes.iter().filter_map(Process::group).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    };
    assert_eq!(groups(&owner.processes()).len(), 5, "a group for each");
    owner.finish();
}

fn a_failure_says_whether_it_may_pass() {
    let script = concat!(
        "echo first >&2; echo trouble >&2\n",
        "case $1 in */lasts) exit 3 ;; */passes) exit 75 ;; */dies) kill -SEGV $$ ;; esac",
    );
    let mut owner = Owner::new(script, HOUR);
    for (name, severity, message) in [
        (
            "lasts",
            "Permanent",
            "script failed with exit code 3: trouble",
        ),
        (
            "passes",
            "Transient",
            "script failed with exit code 75: trouble",
        ),
        (
            "dies",
            "Permanent",
            "script was ended by signal 11 (SIGSEGV)",
        ),
    ] {
        owner.order(name);
        let outcome = owner.outcome();
        let expected = format!("{name}: Failed(Fault {{ kind: Exec, severity: {severity}");
        assert!(outcome.starts_with(&expected), "{outcome}");
        assert!(outcome.contains(message), "{outcome}");
    }
    fs::remove_file(owner.path("script")).unwrap();
    owner.order("f");
    let outcome = owner.outcome();
    assert!(outcome.contains("severity: Fatal"), "{outcome}");
    assert!(outcome.contains("script: No such file"), "{outcome}");
    assert!(outcome.contains("correct that and run again"), "{outcome}");
    owner.finish();
}

fn a_command_that_takes_too_long_is_ended_with_all_it_started() {
    // The command ignores SIGTERM. One process has its own session and no parent.
    let script = concat!(
        "trap '' TERM\n",
        "(setsid sh -c \"trap '' TERM; env -i sleep 1001; sleep 1002\" &)\n",
        "echo waiting >&2; sleep 1003; sleep 1004",
    );
    let mut owner = Owner::new(script, 300);
    owner.order("f");
    let outcome = owner.outcome();
    assert!(outcome.contains("severity: Permanent"), "{outcome}");
    let text = "did not end within 300ms (--exec-timeout), and was killed: waiting";
    assert!(outcome.contains(text), "{outcome}");
    assert_eq!(owner.processes().len(), 2, "{:?}", owner.processes());
    owner.finish();
}

fn a_runner_that_is_killed_costs_an_attempt_and_leaves_nothing() {
    let (owner, started) = slow(HOUR);
    let runner = owner.runners().remove(0);
    runner.signal(Signal::KILL);
    let outcome = owner.outcome();
    assert!(outcome.contains("severity: Transient"), "{outcome}");
    assert!(outcome.contains("killed, with the process that ran it"));
    // The outcome is reported only when no process is left.
    assert!(started.iter().all(|process| !process.lives()));
    assert_eq!(owner.processes(), [owner.process()]);
    runs_well(owner);
}

fn an_idle_runner_that_is_killed_costs_nothing() {
    let mut owner = Owner::new("exit 0", HOUR);
    owner.order("f");
    assert!(owner.outcome().contains("Succeeded"));
    let runner = owner.runners().remove(0);
    runner.signal(Signal::KILL);
    owner.wait_until("the runner to be gone", || !runner.lives());
    owner.order("g");
    assert!(owner.outcome().contains("Succeeded"));
    owner.finish();
}

fn a_runner_that_is_frozen_is_given_up_with_its_command() {
    // This takes a little longer than the time limit of the command.
    let (owner, started) = slow(2000);
    owner.runners()[0].stop();
    let outcome = owner.outcome();
    assert!(outcome.contains("severity: Transient"), "{outcome}");
    assert!(
        outcome.contains("the process that runs it does not answer"),
        "{outcome}"
    );
    assert!(started.iter().all(|process| !process.lives()));
    runs_well(owner);
}

fn a_runner_that_cannot_begin_is_told_of_as_fatal() {
    // Root may set any nice value, unless it cannot have the capability.
    let through = ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-all"];
    let through = match is_root("its part for root") {
        true => &through[..],
        false => &[],
    };
    let mut owner = Owner::of("exit 0", HOUR, "-5", through);
    owner.order("f");
    let outcome = owner.outcome();
    assert!(outcome.contains("severity: Fatal"), "{outcome}");
    assert!(outcome.contains("run again"), "{outcome}");
    owner.finish();
}

fn nothing_outlives_an_owner_that_is_killed() {
    let (mut owner, started) = slow(HOUR);
    owner.kill();
    gone(&owner, &started);
    owner.alone();
    assert_eq!(owner.lines("ran"), ["began"]);
}

fn nothing_outlives_a_suspended_owner_that_is_killed() {
    // The process that adopts the runner is in its session, so the kernel does not continue the
    // runner as it would the members of an orphaned process group.
    set_child_subreaper(Some(getpid())).unwrap();
    let (mut owner, started) = slow(HOUR);
    owner.say("stop");
    owner.wait_until("the commands to stop", || started[1].is_stopped());
    let runner = owner.runners().remove(0);
    assert!(runner.is_stopped());
    owner.process().stop();
    owner.kill();
    gone(&owner, &started);
    owner.alone();
}

fn time_stands_still_while_commands_are_stopped() {
    let (mut owner, started) = slow(8000);
    owner.say("stop");
    owner.wait_until("the commands to stop", || started[1].is_stopped());
    owner.process().stop();
    let stopped = Instant::now();
    owner.wait_until("more than its time", || {
        stopped.elapsed() > Duration::from_secs(9)
    });
    owner.process().signal(Signal::CONT);
    owner.say("resume");
    owner.wait_until("the commands to go on", || !started[1].is_stopped());
    let resumed = Instant::now();
    // A runner reads the clock once a second.
    owner.wait_until("a few looks", || resumed.elapsed() > Duration::from_secs(3));
    owner.touch("go");
    assert!(owner.outcome().contains("Succeeded"));
    owner.finish();
}

fn abandoned_commands_are_ended_at_once_and_blamed_on_nobody() {
    let (mut owner, started) = slow(HOUR);
    owner.order("g");
    owner.wait_until("both to run", || owner.lines("ran").len() == 2);
    // Commands are also killed while they are suspended.
    owner.say("stop");
    owner.wait_until("the commands to stop", || started[1].is_stopped());
    owner.say("abandon");
    let abandoned = Instant::now();
    let mut outcomes = [owner.outcome(), owner.outcome()];
    outcomes.sort();
    // A runner that does not end its command is killed after 15 seconds.
    assert!(abandoned.elapsed() < Duration::from_secs(10));
    assert_eq!(outcomes, ["f: Abandoned", "g: Abandoned"]);
    assert_eq!(owner.processes(), [owner.process()]);
    owner.order("h");
    assert_eq!(owner.outcome(), "h: Abandoned");
    assert_eq!(owner.lines("ran"), ["began", "began"]);
    owner.finish();
}

fn commands_have_the_nice_value_that_was_asked_for() {
    let mut owner = Owner::of("nice > value", HOUR, "7", &[]);
    owner.order("f");
    assert!(owner.outcome().contains("Succeeded"));
    assert_eq!(owner.lines("value"), ["7"]);
    owner.finish();
}
