//! Tests of the origin's journal.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::support::Running;
use crate::origin::Seen;

/// Runs an origin with a journal, calls `ask`, and returns the journal once the origin has exited.
/// The result of `ask` is kept until then.
fn journal<T>(spec: &str, ask: impl FnOnce(&Running) -> T) -> Vec<Seen> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.jsonl");
    let origin = Running::with_journal(spec, Some(path.clone()));
    let kept = ask(&origin);
    origin.leave().expect("it serves");
    drop(kept);
    let text = fs::read_to_string(path).expect("there is a journal");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("every line is one request"))
        .collect()
}

#[test]
fn a_request_answered_whole_is_noted_with_its_bytes() {
    let seen = journal("size=1000B,latency=1ms", |origin| {
        origin.get("/a?b");
    });
    let [seen] = &seen[..] else {
        panic!("one request, but {seen:?}")
    };
    assert_eq!((seen.url.as_str(), seen.method.as_str()), ("h/a?b", "GET"));
    assert_eq!((seen.status, seen.bytes), (Some(200), 1000));
    assert!(seen.complete && seen.fault.is_none() && seen.range.is_none());
    assert!(seen.ended_ns >= seen.begun_ns + 1_000_000, "{seen:?}");
    // After 2020, in microseconds.
    assert!(seen.at_us > 1_577_836_800_000_000, "{seen:?}");
}

#[test]
fn an_empty_body_is_complete() {
    let seen = journal("size=0B,latency=0s", |origin| {
        origin.get("/a");
    });
    assert!(seen[0].complete && seen[0].bytes == 0, "{seen:?}");
}

#[test]
fn a_range_that_is_asked_for_is_noted_and_what_was_sent_of_it() {
    let ask = |origin: &Running| {
        origin.ask("GET /a HTTP/1.1\r\nHost: h\r\nRange: bytes=4-\r\nConnection: close\r\n\r\n")
    };
    for (spec, status, from, bytes, complete) in [
        ("", 206, 4, 6, true),
        (",truncate=100%", 206, 4, 3, false),
        (",range=off", 200, 0, 10, true),
        (",size=4B", 416, 0, 0, true),
    ] {
        let spec = match spec {
            ",size=4B" => "size=4B,latency=0s".to_owned(),
            spec => format!("size=10B,latency=0s{spec}"),
        };
        let seen = journal(&spec, ask);
        let Seen {
            range,
            status: sent,
            ..
        } = &seen[0];
        assert_eq!((range.as_deref(), *sent), (Some("bytes=4-"), Some(status)));
        let told = (seen[0].from, seen[0].bytes, seen[0].complete);
        assert_eq!(told, (from, bytes, complete), "{spec}");
    }
}

#[test]
fn what_broke_off_is_not_complete_and_says_why() {
    for (spec, status, bytes) in [
        ("truncate=100%", Some(200), 500),
        ("errors=100%", Some(503), 16),
    ] {
        let seen = journal(&format!("size=1000B,latency=0s,{spec}"), |origin| {
            origin.get("/a");
        });
        assert_eq!((seen[0].status, seen[0].bytes), (status, bytes), "{seen:?}");
        let name = spec.split('=').next();
        assert_eq!(seen[0].fault.as_deref(), name);
        // An error page is handed over whole; only its status shows the error.
        assert_eq!(seen[0].complete, status == Some(503), "{seen:?}");
    }
    let seen = journal("size=1000B,latency=0s,reset=100%", |origin| {
        for url in 0..20 {
            origin.get(&format!("/{url}"));
        }
    });
    assert_eq!(seen.len(), 20);
    assert!(seen.iter().all(|seen| !seen.complete), "{seen:?}");
    assert!(seen.iter().any(|seen| seen.status.is_none()), "{seen:?}");
}

#[test]
fn requests_in_flight_at_the_end_are_noted_as_well() {
    let seen = journal("size=1000B,latency=0s,stall=100%", |origin| {
        let mut socket = TcpStream::connect(origin.at.http).expect("it listens");
        socket
            .write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            .expect("it reads");
        socket.read_exact(&mut [0; 500]).expect("half of it comes");
        socket
    });
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(!seen[0].complete && seen[0].bytes == 500, "{seen:?}");
}
