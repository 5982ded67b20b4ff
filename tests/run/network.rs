//! No network, or a network that appears later.

use std::fs;

use crate::support::server::ClosedPort;
use crate::support::{Run, Server, is_root, server, sha256};

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

/// The name has both families without a lookup; only the options differ.
#[test]
fn one_family_can_be_chosen_on_the_command_line_or_in_a_file() {
    let Some(server) = Server::on_both_families() else {
        return;
    };
    let url = format!("http://both.localhost:{}/", server.addr.port());
    for (file, typed, expected) in [
        ("", "-4 --engine blocking", "127.0.0.1"),
        ("", "--ipv4 --engine async", "127.0.0.1"),
        ("", "-6 --engine blocking", "::1"),
        ("", "--ipv6 --engine async", "::1"),
        ("", "-4 --mode threads", "127.0.0.1"),
        ("ipv4 = true", "", "127.0.0.1"),
        ("ipv6 = true", "", "::1"),
        ("ipv6 = true", "-4", "127.0.0.1"),
    ] {
        let run = Run::new().list([&url]).with(typed);
        fs::write(run.path("coordinator.toml"), file).unwrap();
        let ended = run.finish().code(0);
        let record = run.log().one(&url);
        assert_eq!(record.outcome, "stored", "{file} {typed}: {}", ended.text());
        run.log().check(&record, &sha256(expected.as_bytes()));
    }
    let run = Run::new().list([&url]);
    fs::write(run.path("coordinator.toml"), "ipv6 = true").unwrap();
    let dry = run.finish_with(["--dry-run".into()]).code(0);
    dry.says(&["ipv6", "true", "coordinator.toml:1"]);
    let both = run.finish_with(["-4".into(), "-6".into()]).code(2);
    both.says(&["--ipv4", "--ipv6"]);
}

#[test]
fn a_name_without_an_address_of_the_chosen_family_fails_at_once_and_names_the_option() {
    if !is_root("a_name_without_an_address_of_the_chosen_family") {
        return;
    }
    let Some(server) = Server::on_both_families() else {
        return;
    };
    let port = server.addr.port();
    // Names for this run alone, and no name server that could be slow or missing.
    let script = "mount --bind hosts /etc/hosts && mount --bind nsswitch /etc/nsswitch.conf && \
                  exec \"$0\" \"$@\"";
    let both = format!("http://both.test:{port}/");
    // glibc returns 127.0.0.1 for a name of ::1 alone, so this is another address.
    let (v4, v6) = (
        ("http://only4.test/", "127.0.0.1"),
        ("http://only6.test/", "2001:db8::1"),
    );
    for (option, address, (url, other)) in [("--ipv4", "127.0.0.1", v6), ("--ipv6", "::1", v4)] {
        for engine in ["--engine blocking", "--engine async"] {
            let run = Run::new()
                .list([&both, url])
                .with(&format!("{option} {engine}"))
                .through(["unshare", "--mount", "sh", "-c", script]);
            let hosts = "127.0.0.1 only4.test both.test\n::1 both.test\n2001:db8::1 only6.test\n";
            fs::write(run.path("hosts"), hosts).unwrap();
            fs::write(run.path("nsswitch"), "hosts: files\n").unwrap();
            let ended = run.finish().code(1);
            let stored = run.log().one(&both);
            run.log().check(&stored, &sha256(address.as_bytes()));
            let way_out = format!("run without {option}");
            ended.says(&[url, "resolve", other, &way_out]);
            let failed = run.log().one(url);
            assert_eq!((failed.kind(), failed.attempts), ("resolve", 1));

            // The proxy's name is resolved in the same way.
            let proxy = url.replace(".test/", ".test:9/");
            let run = run.list(["http://a.test/"]).env("no_proxy", "");
            let ended = run.finish_with(["--proxy".into(), proxy.into()]).code(1);
            ended.says(&["http://a.test/", "resolve", other, &way_out]);
            let failed = run.log().one("http://a.test/");
            assert_eq!((failed.kind(), failed.attempts), ("resolve", 1));
        }
    }
}
