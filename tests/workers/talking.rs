//! Workers that get a task, and then send or do something forbidden.

use std::os::unix::fs::PermissionsExt as _;

use libtest_mimic::Trial;

use crate::support::run::urls;
use crate::support::{Answer, Ended, Run, Server, server, sha256};
use crate::{run, trials};

pub fn trials() -> Vec<Trial> {
    trials![
        garbage_in_the_middle_ends_that_worker_alone,
        a_frame_that_is_too_large_ends_that_worker_alone,
        a_frame_that_claims_too_much_ends_that_worker_alone,
        a_worker_that_stops_in_the_middle_of_a_message_is_killed,
        acks_for_tasks_of_others_change_nothing,
        heartbeats_for_tasks_of_others_change_nothing,
        a_second_answer_changes_nothing,
        being_ready_again_changes_nothing,
        a_worker_that_takes_tasks_and_sleeps_loses_them,
        a_worker_that_does_not_end_when_asked_is_killed,
        a_worker_that_leaves_with_a_task_unstarted_costs_nothing,
        a_worker_that_exits_with_success_in_the_middle_is_a_death,
        a_worker_that_panics_costs_the_task_and_not_the_worker,
        a_worker_that_asks_for_logins_on_and_on_costs_the_task_alone,
        a_worker_is_told_of_no_host_that_its_tasks_have_nothing_to_do_with,
        a_worker_that_ignores_its_dismissal_is_killed,
    ]
}

/// Downloads a list with one slot, whose first worker does `what` once it is ready.
fn with_first(what: &str, arguments: &str) -> (Ended, Run, Vec<String>) {
    let server = Server::start();
    let list = urls(&server.url(""), 4);
    let run = run(&format!("0.1=after-ready:{what}"))
        .list(&list)
        .with("--workers 1 --retry-delay 1ms -v")
        .with(arguments);
    let ended = run.finish().code(0);
    for (n, url) in list.iter().enumerate() {
        let log = run.log();
        log.check(&log.one(url), &sha256(&server::body(&format!("/{n}"))));
    }
    (ended, run, list)
}

fn garbage_in_the_middle_ends_that_worker_alone() {
    for what in ["garbage", "trailing"] {
        let (ended, ..) = with_first(what, "");
        ended.says(&["worker 0.1 broke the protocol: frame"]);
        assert_eq!(ended.summary("worker deaths"), 1, "{}", ended.text());
    }
}

fn a_frame_that_is_too_large_ends_that_worker_alone() {
    let (ended, ..) = with_first("large", "");
    ended.says(&["worker 0.1 broke the protocol", "exceeds the limit"]);
    assert_eq!(ended.summary("worker deaths"), 1, "{}", ended.text());
    // A frame in fragments takes a descriptor, which the kernel may refuse to the worker.
    let (ended, ..) = with_first("huge", "--lease-timeout 300ms");
    assert_eq!(ended.summary("worker deaths"), 1, "{}", ended.text());
}

fn a_frame_that_claims_too_much_ends_that_worker_alone() {
    let (ended, ..) = with_first("claims", "");
    ended.says(&["worker 0.1 broke the protocol"]);
}

fn a_worker_that_stops_in_the_middle_of_a_message_is_killed() {
    let (ended, ..) = with_first("stops-in-a-message", "--lease-timeout 500ms");
    assert_eq!(ended.summary("worker deaths"), 1, "{}", ended.text());
}

fn acks_for_tasks_of_others_change_nothing() {
    let names = ["/0", "/1", "/2", "/3"];
    let mut server = Server::start();
    for name in names {
        server = server.answer(name, [Answer::Held]);
    }
    let list = names.map(|name| server.url(name));
    let run = run("0.1=after-ready:foreign-ack")
        .list(&list)
        .with("--workers 4 --retry-delay 1ms -v");
    let job = run.start();
    // The worker holds one task and the others the rest when it reports theirs as done.
    job.wait_until("the others to be at work", || server.total() == 3);
    std::fs::write(run.path(crate::misbehave::GO), "").unwrap();
    // Then it fails its own task, so all earlier reports have been read.
    job.wait_for_line("will be retried");
    assert_eq!(run.log().records().len(), 0, "{}", run.log().text());
    server.release_all();
    job.wait_until("the others to finish", || run.log().records().len() >= 3);
    // The worker does nothing more. Its task is redelivered once it has died.
    job.worker(0, 1).signal(rustix::process::Signal::KILL);
    let ended = job.finish().code(0);
    for name in names {
        let log = run.log();
        log.check(&log.one(&server.url(name)), &sha256(&server::body(name)));
    }
    assert_eq!(run.log().records().len(), 4);
    ended.says(&["made up by a worker"]);
}

fn heartbeats_for_tasks_of_others_change_nothing() {
    let (ended, ..) = with_first("foreign-heartbeat", "--lease-timeout 300ms");
    ended.says(&["made up by a worker"]);
}

fn a_second_answer_changes_nothing() {
    let (ended, run, list) = with_first("ack-twice", "--lease-timeout 300ms");
    assert_eq!(ended.summary("retries"), 1, "{}", ended.text());
    let attempts: u32 = list.iter().map(|url| run.log().one(url).attempts).sum();
    assert_eq!(attempts as usize, list.len() + 1);
}

fn being_ready_again_changes_nothing() {
    with_first("ready-again", "--lease-timeout 300ms");
}

fn a_worker_that_takes_tasks_and_sleeps_loses_them() {
    let (ended, run, list) = with_first("sleeps", "--lease-timeout 300ms");
    assert_eq!(ended.summary("worker deaths"), 1, "{}", ended.text());
    ended.says(&["worker 0.1", "died with signal 15"]);
    // The worker had started none of them.
    assert!(list.iter().all(|url| run.log().one(url).deliveries == 1));
}

fn a_worker_that_does_not_end_when_asked_is_killed() {
    let (ended, run, list) = with_first("deaf", "--lease-timeout 300ms");
    assert_eq!(ended.summary("worker deaths"), 1, "{}", ended.text());
    ended.says(&["worker 0.1", "died with signal 9"]);
    assert!(list.iter().all(|url| run.log().one(url).deliveries == 1));
}

fn a_worker_that_leaves_with_a_task_unstarted_costs_nothing() {
    for how in ["7", "KILL", "0"] {
        let (ended, run, list) = with_first(how, "");
        assert_eq!(ended.summary("worker deaths"), 1, "{}", ended.text());
        assert_eq!(ended.summary("redeliveries"), 0, "{}", ended.text());
        assert!(list.iter().all(|url| run.log().one(url).deliveries == 1));
    }
}

fn a_worker_that_exits_with_success_in_the_middle_is_a_death() {
    let server = Server::start();
    let list = urls(&server.url(""), 6);
    let run = run("0.1=on:/3:0").list(&list).with("--workers 1");
    let ended = run.finish().code(0);
    ended.says(&["worker 0.1", "died with exit code 0", &list[3]]);
    assert_eq!(run.log().one(&list[3]).deliveries, 2);
    assert_eq!(ended.summary("redeliveries"), 1, "{}", ended.text());
}

fn a_worker_that_panics_costs_the_task_and_not_the_worker() {
    let server = Server::start();
    let list = urls(&server.url(""), 6);
    let run = run("*.*=on:/3:panics").list(&list).with("--workers 1");
    let ended = run.finish();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.text());
    let record = run.log().one(&list[3]);
    assert_eq!(record.kind(), "internal");
    assert!(record.message().contains("as planned"), "{record:?}");
    assert_eq!(ended.summary("stored"), 5, "{}", ended.text());
    assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
}

fn write_netrc(run: &Run, hosts: &[&str]) {
    let entry = |host: &&str| format!("machine {host} login u password p\n");
    let text: String = hosts.iter().map(entry).collect();
    let path = run.path("netrc");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn a_worker_is_told_of_no_host_that_its_tasks_have_nothing_to_do_with() {
    let server = Server::start();
    let url = server.url("/f");
    let run = run("*.*=after-ready:tells-logins")
        .list([&url])
        .with("-w 1 --netrc-file netrc");
    write_netrc(&run, &["127.0.0.1", "localhost", "login.test"]);
    run.finish().code(1);
    assert_eq!(run.log().one(&url).message(), "told of 127.0.0.1");
}

fn a_worker_that_asks_for_logins_on_and_on_costs_the_task_alone() {
    let server = Server::start();
    let list = urls(&server.url(""), 6);
    for login in ["--no-netrc", "--netrc-file netrc"] {
        let run = run("*.*=on:/3:asks").list(&list).with(login).with("-w 1");
        write_netrc(&run, &["login.test"]);
        let ended = run.finish();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.text());
        let record = run.log().one(&list[3]);
        assert_eq!(record.kind(), "internal");
        assert!(record.message().contains("asks on and on"), "{record:?}");
        assert_eq!(ended.summary("stored"), 5, "{}", ended.text());
        assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
    }
}

fn a_worker_that_ignores_its_dismissal_is_killed() {
    let server = Server::start();
    let list = urls(&server.url(""), 3);
    let run = run("0.1=stays")
        .list(&list)
        .with("--workers 1 --grace 200ms -v");
    let ended = run.finish().code(0);
    ended.says(&["told to leave and did not", "0.1"]);
    assert_eq!(ended.summary("stored"), 3, "{}", ended.text());
    assert_eq!(ended.summary("worker deaths"), 0, "it is no task's fault");
}
