//! No network, or a network that appears later.

use crate::support::server::ClosedPort;
use crate::support::{Run, server, sha256};

#[test]
fn without_a_network_each_url_gets_one_line_and_the_same_command_finishes_later() {
    let closed = ClosedPort::new();
    let addr = closed.addr;
    let port = addr.port();
    let list: Vec<_> = (0..5)
        .map(|n| format!("http://h.example:{port}/{n}"))
        .collect();
    let run = Run::new()
        .list(&list)
        .with(&format!("--retry 0 --resolve h.example:{port}:127.0.0.1"));
    let ended = run.finish().code(1);
    for url in &list {
        let lines = ended
            .stderr
            .lines()
            .filter(|line| line.contains(url.as_str()));
        let lines: Vec<_> = lines.collect();
        let [line] = lines[..] else {
            panic!("one line for {url}: {lines:?}");
        };
        assert!(line.contains("connect: cannot connect to"), "{line}");
        assert!(line.contains("refused"), "{line}");
    }
    assert_eq!(ended.summary("failed"), 5, "{}", ended.text());
    assert_eq!(run.log().count("failed"), 5);

    let server = closed.open();
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 5, "{}", ended.text());
    for (n, url) in list.iter().enumerate() {
        let log = run.log();
        let record = log.of(url).pop().unwrap();
        log.check(&record, &sha256(&server::body(&format!("/{n}"))));
        assert_eq!(server.requests(&format!("/{n}")), 1);
    }
}

#[test]
fn a_connection_that_is_refused_is_tried_as_often_as_allowed() {
    let closed = ClosedPort::new();
    let url = format!("http://{}/", closed.addr);
    let run = Run::new().list([&url]).with("--retry 2 --retry-delay 10ms");
    let ended = run.finish().code(1);
    ended.says(&[&url, "connect", "(3 attempts)"]);
    assert_eq!(ended.summary("retries"), 2, "{}", ended.text());
    let record = run.log().one(&url);
    assert_eq!((record.kind(), record.attempts), ("connect", 3));
    assert_eq!((record.status, record.path), (None, None));
}

#[test]
fn a_host_that_does_not_exist_fails_with_a_line_that_names_it() {
    let url = "https://no-such-host.invalid/a";
    let run = Run::new().list([url]).with("--retry 1 --retry-delay 10ms");
    let ended = run.finish().code(1);
    ended.says(&[url, "resolve", "no-such-host.invalid"]);
    assert_eq!(run.log().one(url).kind(), "resolve");
}

#[test]
fn a_server_that_comes_up_in_the_meantime_is_met_by_a_retry() {
    let closed = ClosedPort::new();
    let url = format!("http://{}/late", closed.addr);
    let run = Run::new()
        .list([&url])
        .with("--retry 100000 --retry-delay 5ms -v");
    let job = run.start();
    job.wait_for_line("will be retried");
    let server = closed.open();
    let ended = job.finish().code(0);
    assert!(ended.summary("retries") > 0, "{}", ended.text());
    assert!(run.log().one(&url).attempts > 1);
    assert_eq!(server.requests("/late"), 1);
}
