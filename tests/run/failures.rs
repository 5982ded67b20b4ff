//! Failures of servers, and their records in the run log.

use crate::support::{Answer, Ended, Record, Run, Server, server, sha256};

/// Downloads `/f` from the server. Returns how the run ended, and the record.
fn download(server: &Server, arguments: &str, code: i32) -> (Ended, Record) {
    let url = server.url("/f");
    let run = Run::new().list([&url]).with(arguments);
    let run = match arguments.contains("--retry-delay") {
        true => run,
        false => run.with("--retry-delay 10ms"),
    };
    let ended = run.finish().code(code);
    let log = run.log();
    let record = log.one(&url);
    if code == 0 {
        log.check(&record, &sha256(&server::body("/f")));
    } else {
        assert_eq!(log.files(), [""; 0], "nothing is stored");
        ended.says(&["failed", &url, record.kind(), record.message()]);
        assert_eq!(ended.summary("failed"), 1, "{}", ended.text());
    }
    assert_eq!(log.partials(), [""; 0]);
    (ended, record)
}

fn answering(answers: impl Into<Vec<Answer>>) -> Server {
    Server::start().answer("/f", answers)
}

#[test]
fn a_404_is_not_tried_again() {
    let server = answering([Answer::Status(404)]);
    let (_, record) = download(&server, "", 1);
    assert_eq!((record.kind(), record.status), ("status", Some(404)));
    assert_eq!((record.attempts, server.requests("/f")), (1, 1));
    assert!(record.message().contains("404"), "{record:?}");
}

#[test]
fn a_503_is_tried_again() {
    let server = answering([Answer::Status(503), Answer::Ok]);
    let (ended, record) = download(&server, "", 0);
    assert_eq!((record.attempts, record.status), (2, Some(200)));
    assert_eq!((record.deliveries, server.requests("/f")), (1, 2));
    assert_eq!(ended.summary("retries"), 1, "{}", ended.text());
}

#[test]
fn a_503_that_stays_is_given_up_after_the_retries() {
    let server = answering([Answer::Status(503)]);
    let (_, record) = download(&server, "--retry 2", 1);
    assert_eq!((record.attempts, server.requests("/f")), (3, 3));
}

#[test]
fn a_server_that_asks_for_patience_is_given_it() {
    let later = Answer::StatusWith(429, "Retry-After: 1\r\n".to_owned());
    let server = answering([later, Answer::Ok]);
    let (ended, record) = download(&server, "-v --retry-delay 1ms", 0);
    assert_eq!(record.attempts, 2);
    ended.says(&["will be retried", "delay=1s"]);
}

#[test]
fn a_body_that_is_cut_off_is_tried_again() {
    let server = answering([Answer::Truncated, Answer::Ok]);
    let (_, record) = download(&server, "", 0);
    assert_eq!(record.attempts, 2);
    let server = answering([Answer::Truncated]);
    let (_, record) = download(&server, "--retry 1", 1);
    assert_eq!((record.kind(), record.attempts), ("truncated", 2));
}

#[test]
fn a_connection_that_is_reset_is_tried_again() {
    let server = answering([Answer::Reset, Answer::Ok]);
    let (_, record) = download(&server, "", 0);
    assert!(record.attempts >= 2, "{record:?}");
    let server = answering([Answer::Reset]);
    let (_, record) = download(&server, "--retry 1", 1);
    assert_eq!((record.kind(), record.attempts), ("disconnected", 2));
}

#[test]
fn a_server_that_goes_silent_is_given_up_after_the_speed_time() {
    let server = answering([Answer::Silent, Answer::Ok]);
    let (_, record) = download(&server, "--speed-time 200ms", 0);
    assert_eq!(record.attempts, 2);
    let server = answering([Answer::Stalled]);
    let (_, record) = download(&server, "--speed-time 200ms --retry 0", 1);
    assert_eq!(record.kind(), "stalled");
}

#[test]
fn a_transfer_that_takes_too_long_is_given_up() {
    let server = answering([Answer::Stalled]);
    let (_, record) = download(&server, "--max-time 200ms --retry 1", 1);
    assert_eq!((record.kind(), record.attempts), ("timeout", 2));
}

#[test]
fn a_redirect_is_followed_and_recorded() {
    let server = Server::start();
    let target = server.url("/f/real");
    let server = server.answer("/f", [Answer::Redirect("/f/real".to_owned())]);
    let url = server.url("/f");
    let run = Run::new().list([&url]);
    run.finish().code(0);
    let record = run.log().one(&url);
    run.log().check(&record, &sha256(&server::body("/f/real")));
    assert_eq!(record.final_url.as_deref(), Some(target.as_str()));
}

#[test]
fn a_loop_of_redirects_ends() {
    let server = answering([Answer::Redirect("/g".to_owned())])
        .answer("/g", [Answer::Redirect("/f".to_owned())]);
    let (_, record) = download(&server, "", 1);
    assert_eq!(record.kind(), "too_many_redirects");
    // Each is requested twice: the first round may only have set a cookie.
    assert_eq!((record.attempts, server.total()), (1, 4));
}

#[test]
fn more_redirects_than_allowed_are_not_followed() {
    let server = answering([Answer::Redirect("/g".to_owned())])
        .answer("/g", [Answer::Redirect("/h".to_owned())]);
    let (_, record) = download(&server, "--max-redirs 1", 1);
    assert_eq!(record.kind(), "too_many_redirects");
    assert_eq!(server.requests("/h"), 0);
}

#[test]
fn a_redirect_to_another_scheme_is_refused() {
    let server = answering([Answer::Redirect("file:///etc/passwd".to_owned())]);
    let (_, record) = download(&server, "", 1);
    assert_eq!(record.kind(), "bad_redirect");
}

#[test]
fn a_file_larger_than_allowed_is_not_stored() {
    let server = answering([Answer::Body(vec![b'x'; 5000])]);
    let (_, record) = download(&server, "--max-filesize 4KB", 1);
    assert_eq!((record.kind(), record.attempts), ("too_large", 1));
    // The limit also applies to a response without a length.
    let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    endless.extend_from_slice(&[b'x'; 5000]);
    let server = answering([Answer::Raw(endless)]);
    let (_, record) = download(&server, "--max-filesize 4KB", 1);
    assert_eq!(record.kind(), "too_large");
}

#[test]
fn what_is_not_http_fails_and_nobody_panics() {
    for garbage in [
        b"\x16\x03\x01\x00".to_vec(),
        b"HTTP/1.1 \xff\xfe\r\n\r\n".to_vec(),
    ] {
        let server = answering([Answer::Raw(garbage)]);
        let (_, record) = download(&server, "--retry 0", 1);
        assert!(
            ["protocol", "disconnected"].contains(&record.kind()),
            "{record:?}"
        );
    }
}

#[test]
fn headers_and_user_agent_are_sent() {
    let server = Server::start();
    let run = Run::new()
        .list([server.url("/f")])
        .with("--user-agent tester/1 --header X-Test:yes");
    run.finish().code(0);
    let head = server.head("/f").to_ascii_lowercase();
    assert!(head.contains("user-agent: tester/1\r\n"), "{head}");
    assert!(head.contains("x-test: yes\r\n"), "{head}");
}

#[test]
fn one_failure_among_many_fails_alone() {
    let server = Server::start().answer("/3", [Answer::Status(410)]);
    let list = crate::support::run::urls(&server.url(""), 8);
    let run = Run::new().list(&list);
    let ended = run.finish().code(1);
    assert_eq!(ended.summary("stored"), 7, "{}", ended.text());
    assert_eq!(ended.summary("failed"), 1, "{}", ended.text());
    assert!(ended.stdout.contains("status 1"), "{}", ended.stdout);
    // The same command retries failures.
    let ended = run.finish().code(1);
    assert_eq!(ended.summary("stored earlier"), 7, "{}", ended.text());
    assert_eq!(server.requests("/3"), 2);
}

#[test]
fn faults_of_the_simulated_network_are_survived_by_retries() {
    let spec = "size=1KiB..8KiB,latency=1ms,errors=10%,truncate=10%,reset=10%";
    let list = crate::support::run::urls("https://a.example", 60);
    let run = Run::new()
        .list(&list)
        .with(&format!("--simulate={spec} --retry 50 --retry-delay 1ms"));
    let ended = run.finish().code(0);
    assert!(ended.summary("retries") > 0, "{}", ended.text());
    let log = run.log();
    for url in &list {
        log.check(&log.one(url), &crate::support::simulated_sha256(spec, url));
    }
}
