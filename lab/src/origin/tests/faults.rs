//! Answers with faults.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::support::{Answer, Running};
use crate::origin::body::Content;

/// Describes the result of a request in one word.
fn outcome(answer: &Answer) -> String {
    match &answer.end {
        Err(error) => format!("{:?} after {}", error.kind(), answer.status()),
        Ok(()) if answer.status() != "200" => answer.status().to_owned(),
        Ok(()) if answer.field("content-length") == answer.body.len().to_string() => "whole".into(),
        Ok(()) => "truncated".into(),
    }
}

fn outcomes(origin: &Running, urls: u32) -> Vec<String> {
    (0..urls)
        .map(|url| outcome(&origin.get(&format!("/{url}"))))
        .collect()
}

#[test]
fn the_same_requests_meet_the_same_faults() {
    let spec = "size=1KiB,latency=0s,errors=20%,truncate=20%,reset=20%";
    let (one, other) = (Running::new(spec), Running::new(spec));
    let first = outcomes(&one, 100);
    assert_eq!(first, outcomes(&other, 100));
    // All kinds have occurred, and a retry is a new draw, the same for both.
    for kind in [
        "whole",
        "truncated",
        "503",
        "ConnectionReset after none",
        "ConnectionReset after 200",
    ] {
        assert!(first.iter().any(|outcome| outcome == kind), "{kind}");
    }
    let second = outcomes(&one, 100);
    assert_ne!(first, second);
    assert_eq!(second, outcomes(&other, 100));
    let seeded = Running::new(&format!("{spec},seed=2"));
    assert_ne!(first, outcomes(&seeded, 100));
}

#[test]
fn every_url_gets_through_in_the_end() {
    let origin = Running::new("size=1KiB,latency=0s,errors=30%,truncate=20%,reset=20%");
    for url in 0..20 {
        let path = format!("/{url}");
        assert!(
            (0..200).any(|_| outcome(&origin.get(&path)) == "whole"),
            "{path} was never answered in 200 requests"
        );
    }
}

#[test]
fn errors_have_the_status_asked_for_and_leave_the_connection() {
    let origin = Running::new("latency=0s,errors=100%:404");
    let answer = origin.ask(concat!(
        "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    ));
    assert_eq!(answer.status(), "404");
    let rest = String::from_utf8(answer.body).expect("errors are text");
    assert_eq!(rest.matches("HTTP/1.1 404").count(), 1, "{rest}");
    assert_eq!(
        Running::new("latency=0s,errors=100%").get("/").status(),
        "503"
    );
}

#[test]
fn a_truncated_body_announces_all_and_ends_after_half() {
    // 4 MiB do not fit into the buffers of the connection, so the half is flushed in several steps.
    for size in [1, 1_001, 4 << 20] {
        let origin = Running::new(&format!("size={size}B,latency=0s,truncate=100%"));
        let answer = origin.get("/a");
        assert_eq!(answer.status(), "200");
        assert_eq!(answer.field("content-length"), size.to_string());
        let half = Content::new(&origin.spec, "h/a").next_chunk(size / 2);
        assert!(answer.body == half, "{} bytes came", answer.body.len());
        assert!(answer.end.is_ok(), "{:?} is no orderly end", answer.end);
    }
}

#[test]
fn a_truncation_has_no_effect_on_head() {
    let origin = Running::new("size=10B,latency=0s,truncate=100%");
    let answer = origin.ask(concat!(
        "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n",
        "HEAD /b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    ));
    assert_eq!(answer.field("content-length"), "10");
    let rest = String::from_utf8(answer.body).expect("heads are text");
    assert_eq!(rest.matches("HTTP/1.1 200").count(), 1, "{rest}");
}

#[test]
fn a_reset_resets_before_the_head_or_within_the_body() {
    let origin = Running::new("size=20kB,latency=0s,reset=100%");
    let mut within = 0;
    for url in 0..50 {
        let answer = origin.get(&format!("/{url}"));
        let error = answer.end.as_ref().expect_err("every connection is reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        if answer.status() == "none" {
            assert!(answer.body.is_empty());
        } else {
            within += 1;
            assert_eq!(answer.field("content-length"), "20000");
            assert_eq!(answer.body.len(), 10_000);
        }
    }
    assert!((10..40).contains(&within), "{within} of 50 within the body");
}

#[test]
fn head_is_reset_as_well() {
    let origin = Running::new("latency=0s,reset=100%");
    for url in 0..10 {
        let answer = origin.ask(&format!("HEAD /{url} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(outcome(&answer), "ConnectionReset after none");
    }
}

/// Requests `/a` on a connection that is then read step by step.
fn open(origin: &Running) -> TcpStream {
    let mut socket = TcpStream::connect(origin.at.http).expect("the origin listens");
    socket
        .write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        .expect("it reads");
    socket
}

/// Reads up to the end of the head.
fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("the head is whole");
        head.push(byte[0]);
    }
    String::from_utf8(head)
        .expect("heads are ASCII")
        .to_ascii_lowercase()
}

#[test]
fn a_stalled_body_stops_halfway_and_the_connection_stays() {
    let origin = Running::new("size=1000B,latency=0s,stall=100%");
    let mut socket = open(&origin);
    assert!(head(&mut socket).contains("content-length: 1000\r\n"));
    let mut half = [0; 500];
    socket.read_exact(&mut half).expect("half of it comes");
    assert_eq!(
        half[..],
        Content::new(&origin.spec, "h/a").next_chunk(500)[..]
    );
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("a limit can be set");
    let error = socket
        .read(&mut half)
        .expect_err("neither bytes nor an end");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_slow_body_drips_and_is_right() {
    let origin = Running::new("size=3B,latency=0s,slow=100%");
    let begun = Instant::now();
    let answer = origin.get("/a");
    assert_eq!(outcome(&answer), "whole");
    assert_eq!(answer.body, Content::new(&origin.spec, "h/a").next_chunk(3));
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[test]
fn an_endless_body_has_no_length_and_goes_on_behind_its_content() {
    let origin = Running::new("size=1000B,latency=0s,endless=100%");
    let mut socket = open(&origin);
    let head = head(&mut socket);
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    let mut much = vec![0; 1 << 20];
    socket.read_exact(&mut much).expect("it goes on and on");
    let content = Content::new(&origin.spec, "h/a").next_chunk(1000);
    assert!(much.windows(1000).take(100).any(|part| part == content));
}

#[test]
fn a_transient_fault_is_over_after_so_many_requests() {
    let origin = Running::new("size=1KiB,latency=0s,errors=50%,reset=50%,transient=2");
    for url in 0..10 {
        let path = format!("/{url}");
        for request in 0..4 {
            let whole = outcome(&origin.get(&path)) == "whole";
            assert_eq!(whole, request >= 2, "request {request} of {path}");
        }
    }
}
