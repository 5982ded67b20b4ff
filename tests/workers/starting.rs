//! Workers that never reach a task.

use libtest_mimic::Trial;

use crate::support::run::urls;
use crate::support::{Answer, Ended, Run, Server, server, sha256};
use crate::{run, trials};

pub fn trials() -> Vec<Trial> {
    trials![
        one_that_dies_before_it_connects_is_replaced,
        one_that_connects_and_dies_is_replaced,
        one_that_dies_before_its_greeting_is_replaced,
        one_that_dies_after_the_setup_is_replaced,
        one_that_never_connects_is_killed_in_time,
        one_that_never_greets_is_killed_in_time,
        one_that_is_never_ready_is_killed_in_time,
        several_that_never_connect_do_not_hold_up_the_end,
        one_of_another_version_is_told_and_killed,
        one_that_is_none_of_ours_is_told_and_killed,
        one_that_begins_with_garbage_is_told_and_killed,
        one_that_greets_twice_is_told_and_killed,
        garbage_below_the_frames_is_survived,
        a_run_without_a_worker_that_lives_is_given_up,
        a_run_whose_workers_never_connect_is_given_up,
        a_run_whose_workers_all_break_the_protocol_is_given_up,
        a_slot_whose_workers_do_nothing_but_die_is_retired_and_the_others_go_on,
        when_every_slot_is_retired_the_run_is_given_up,
        a_few_deaths_at_the_start_are_within_the_intensity,
    ]
}

/// Downloads a list while the first worker of slot 0 does `action`, which must not affect the run.
fn survives(action: &str, arguments: &str) -> Ended {
    let server = Server::start();
    let list = urls(&server.url(""), 12);
    let run = run(&format!("0.1={action}"))
        .list(&list)
        .with("--workers 2 --start-timeout 500ms")
        .with(arguments);
    // The failing worker's task waits for its successor, or for the other worker.
    let ended = run.finish();
    all_stored(&run, &list, &ended);
    ended
}

fn all_stored(run: &Run, list: &[String], ended: &Ended) {
    assert_eq!(ended.status.code(), Some(0), "{}", ended.text());
    assert_eq!(ended.summary("redeliveries"), 0, "{}", ended.text());
    for (n, url) in list.iter().enumerate() {
        let log = run.log();
        let record = log.one(url);
        log.check(&record, &sha256(&server::body(&format!("/{n}"))));
        assert_eq!((record.attempts, record.deliveries), (1, 1));
    }
}

/// As [`survives`], but with one slot, so that the run depends on the worker and reports its death.
fn replaced(action: &str) -> Ended {
    let server = Server::start();
    let list = urls(&server.url(""), 5);
    let run = run(&format!("0.1={action}"))
        .list(&list)
        .with("--workers 1 --start-timeout 500ms -v");
    let ended = run.finish();
    all_stored(&run, &list, &ended);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.text());
    assert_eq!(ended.summary("worker deaths"), 1, "{}", ended.text());
    ended
}

fn one_that_dies_before_it_connects_is_replaced() {
    replaced("dies:7").says(&["worker 0.1", "exit code 7"]);
    replaced("dies:SEGV").says(&["worker 0.1", "SIGSEGV"]);
    replaced("dies:KILL").says(&["worker 0.1", "SIGKILL"]);
    replaced("dies:0").says(&["worker 0.1", "exit code 0"]);
}

fn one_that_connects_and_dies_is_replaced() {
    replaced("connects-and:7").says(&["worker 0.1", "exit code 7"]);
    replaced("connects-and:KILL").says(&["worker 0.1", "SIGKILL"]);
}

fn one_that_dies_before_its_greeting_is_replaced() {
    replaced("before-hello:7").says(&["worker 0.1", "exit code 7"]);
    replaced("before-hello:SEGV").says(&["worker 0.1", "SIGSEGV"]);
}

fn one_that_dies_after_the_setup_is_replaced() {
    replaced("after-setup:7").says(&["worker 0.1", "exit code 7"]);
}

fn one_that_never_connects_is_killed_in_time() {
    replaced("sleeps").says(&["0.1", "not ready in time"]);
    replaced("connects-and:sleeps").says(&["0.1", "not ready in time"]);
}

fn one_that_never_greets_is_killed_in_time() {
    replaced("before-hello:sleeps").says(&["0.1", "not ready in time"]);
}

fn one_that_is_never_ready_is_killed_in_time() {
    replaced("after-setup:sleeps").says(&["0.1", "not ready in time"]);
}

fn several_that_never_connect_do_not_hold_up_the_end() {
    // One dies while the others have not connected. These are killed at the end of the run, long
    // before their start timeout.
    let server = Server::start();
    let list = urls(&server.url(""), 12);
    let run = run("0.1=dies:7;1.*=sleeps;2.*=connects-and:sleeps;3.*=before-hello:sleeps")
        .list(&list)
        .with("--workers 6 --start-timeout 1h");
    let ended = run.finish();
    all_stored(&run, &list, &ended);
}

fn one_of_another_version_is_told_and_killed() {
    let ended = replaced("first-frame:version");
    ended.says(&["worker 0.1 broke the protocol", "4711"]);
    // With a second worker, the run does not depend on it.
    survives("first-frame:version", "");
}

fn one_that_is_none_of_ours_is_told_and_killed() {
    replaced("first-frame:stranger").says(&["worker 0.1 broke", "not a coordinator worker"]);
    replaced("first-frame:other-pid").says(&["worker 0.1 broke", "says that it is 1"]);
}

fn one_that_begins_with_garbage_is_told_and_killed() {
    for kind in ["garbage", "nothing", "ready", "large"] {
        replaced(&format!("first-frame:{kind}")).says(&["worker 0.1 broke the protocol"]);
    }
}

fn one_that_greets_twice_is_told_and_killed() {
    replaced("first-frame:twice").says(&["worker 0.1 broke the protocol", "twice"]);
}

fn garbage_below_the_frames_is_survived() {
    for kind in [
        "short",
        "text",
        "noise",
        "empty",
        "nothing",
        "fragment",
        "2-gib",
        "64-tib",
        "overflow",
        "too-long",
        "not-a-message",
        "descriptors",
    ] {
        let ended = replaced(&format!("raw:{kind}"));
        ended.says(&["worker 0.1"]);
    }
}

/// A run that cannot start: exit code 4, a message with the cause, and the same command with
/// healthy workers succeeds.
fn given_up(action: &str, arguments: &str, parts: &[&str]) {
    let server = Server::start();
    let list = urls(&server.url(""), 6);
    let run = run(&format!("*.*={action}"))
        .list(&list)
        .with("--workers 2 --restart-intensity 5/60s")
        .with(arguments);
    let ended = run.finish().code(4);
    let line = ended.says(&["gave up", "--restart-intensity"]);
    for part in parts {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert_eq!(ended.summary("left"), 6, "{}", ended.text());
    // The other worker may also have failed by the time the last death is reported.
    let deaths = ended.summary("worker deaths");
    assert!((6..=7).contains(&deaths), "{}", ended.text());
    assert_eq!((run.log().records().len(), server.total()), (0, 0));
    crate::misbehave::plan(&run, "");
    let ended = run.finish();
    all_stored(&run, &list, &ended);
}

fn a_run_without_a_worker_that_lives_is_given_up() {
    given_up("dies:7", "", &["6 workers died", "exit code 7"]);
    given_up("before-hello:SEGV", "", &["SIGSEGV"]);
}

fn a_run_whose_workers_never_connect_is_given_up() {
    given_up("sleeps", "--start-timeout 50ms", &["6 workers died"]);
}

fn a_run_whose_workers_all_break_the_protocol_is_given_up() {
    given_up("first-frame:version", "", &["6 workers died"]);
}

fn a_slot_whose_workers_do_nothing_but_die_is_retired_and_the_others_go_on() {
    // The download lasts until the slot is retired.
    let server = Server::start().answer("/held", [Answer::Held]);
    let list = [server.url("/held"), server.url("/a"), server.url("/b")];
    let run = run("1.*=dies:3")
        .list(&list)
        .with("--workers 2 --parallel-max-host 0 --restart-intensity 100/60s");
    let job = run.start();
    job.wait_for_line("slot 1 stays empty: 5 workers in a row");
    server.release("/held");
    let ended = job.finish().code(0);
    assert_eq!(ended.summary("stored"), 3, "{}", ended.text());
    assert_eq!(ended.summary("worker deaths"), 5, "{}", ended.text());
}

fn when_every_slot_is_retired_the_run_is_given_up() {
    let server = Server::start();
    let list = urls(&server.url(""), 6);
    let run = run("*.*=dies:3")
        .list(&list)
        .with("--workers 2 --restart-intensity 100/60s");
    let ended = run.finish().code(4);
    ended.says(&["gave up", "in every slot", "exit code 3"]);
    assert_eq!(ended.summary("worker deaths"), 10, "{}", ended.text());
    assert_eq!(run.log().records().len(), 0, "all is left for the next run");
    crate::misbehave::plan(&run, "");
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 6, "{}", ended.text());
}

fn a_few_deaths_at_the_start_are_within_the_intensity() {
    let server = Server::start().answer("/0", [Answer::Status(503), Answer::Ok]);
    let list = urls(&server.url(""), 1);
    let run = run("*.1=dies:7;*.2=dies:SEGV;*.3=before-hello:9")
        .list(&list)
        .with("--workers 1 --restart-intensity 3/60s --retry-delay 1ms");
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("worker deaths"), 3, "{}", ended.text());
    assert_eq!(run.log().one(&list[0]).attempts, 2);
}
