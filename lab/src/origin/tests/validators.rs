//! Validators, conditions and ranges on the wire.

use super::support::{Answer, Running};
use crate::origin::body::Content;

/// Requests `/a` with these fields, each ended by a line end.
fn ask(origin: &Running, fields: &str) -> Answer {
    origin.ask(&format!(
        "GET /a HTTP/1.1\r\nHost: h\r\n{fields}Connection: close\r\n\r\n"
    ))
}

#[test]
fn a_part_is_sent_with_where_it_belongs() {
    let origin = Running::new("size=1000B,latency=0s");
    let whole = ask(&origin, "");
    assert_eq!(whole.field("accept-ranges"), "bytes");
    for (range, said, first, end) in [
        ("bytes=400-", "bytes 400-999/1000", 400, 1000),
        ("bytes=0-0", "bytes 0-0/1000", 0, 1),
        ("bytes=-1", "bytes 999-999/1000", 999, 1000),
    ] {
        let part = ask(&origin, &format!("Range: {range}\r\n"));
        assert_eq!(part.status(), "206");
        assert_eq!(part.field("content-range"), said);
        assert_eq!(part.field("content-length"), (end - first).to_string());
        assert_eq!(part.field("etag"), whole.field("etag"));
        assert_eq!(part.body, whole.body[first..end]);
    }
    let beyond = ask(&origin, "Range: bytes=1000-\r\n");
    assert_eq!((beyond.status(), beyond.body.len()), ("416", 0));
    assert_eq!(beyond.field("content-range"), "bytes */1000");
}

#[test]
fn a_body_that_the_client_has_is_not_sent_and_the_connection_stays() {
    let origin = Running::new("size=1000B,latency=0s");
    let head = ask(&origin, "");
    let (tag, date) = (head.field("etag"), head.field("last-modified"));
    // Heads are in lower case here, but a date on the wire is not.
    let date = httpdate::fmt_http_date(
        httpdate::parse_http_date(&titled(date)).expect("a date that can be read"),
    );
    for field in [
        format!("If-None-Match: {tag}\r\n"),
        format!("If-Modified-Since: {date}\r\n"),
    ] {
        let answers = origin.ask(&format!(
            "GET /a HTTP/1.1\r\nHost: h\r\n{field}\r\n\
             GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        ));
        assert_eq!(answers.status(), "304", "{field}");
        assert_eq!(answers.field("etag"), tag);
        assert!(!answers.head.contains("content-length"), "{}", answers.head);
        assert!(answers.body.starts_with(b"HTTP/1.1 200"), "{field}");
    }
    let changed = Running::new("size=1000B,latency=0s,changed=100%");
    let (old, new) = (
        ask(&origin, ""),
        ask(&changed, &format!("If-None-Match: {tag}\r\n")),
    );
    assert_eq!(new.status(), "200");
    assert_ne!((old.body, old.head), (new.body, new.head));
}

/// Returns a date with the required capitals.
fn titled(date: &str) -> String {
    let word = |word: &str| match word {
        "gmt" => "GMT".to_owned(),
        word => word[..1].to_ascii_uppercase() + &word[1..],
    };
    date.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_switched_off_is_not_there() {
    for (validators, etag, date) in [
        ("both", true, true),
        ("etag", true, false),
        ("date", false, true),
        ("none", false, false),
    ] {
        let origin = Running::new(&format!("size=10B,latency=0s,validators={validators}"));
        let head = ask(&origin, "").head;
        assert_eq!(head.contains("\netag: "), etag, "{head}");
        assert_eq!(head.contains("\nlast-modified: "), date, "{head}");
    }
    let origin = Running::new("size=10B,latency=0s,range=off");
    let answer = ask(&origin, "Range: bytes=5-\r\n");
    assert_eq!((answer.status(), answer.body.len()), ("200", 10));
    assert_eq!(answer.field("accept-ranges"), "none");
}

#[test]
fn faults_befall_parts_as_well() {
    let origin = Running::new("size=1001B,latency=0s,truncate=100%");
    let part = ask(&origin, "Range: bytes=501-\r\n");
    assert_eq!(part.status(), "206");
    assert_eq!(part.field("content-length"), "500");
    let mut content = Content::new(&origin.spec, "h/a");
    content.next_chunk(501);
    assert_eq!(part.body, content.next_chunk(250));
    let endless = Running::new("size=1000B,latency=0s,endless=100%,transient=1");
    let head = ask(&endless, "If-None-Match: *\r\n");
    assert_eq!(head.status(), "304", "what has no body has an end");
}
