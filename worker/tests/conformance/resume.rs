//! Bodies that take several attempts: what is put together and what is fetched again.

use std::io::Write;
use std::time::Duration;

use protocol::{Engine, FailureKind, PartialNote, Severity, Validator};

use crate::support::{Bench, Heads, Server, TRANSIENT, ok, options, read_head};

const BODY: &str = "0123456789";

/// Returns a response of ten bytes that is cut off after `sent` bytes.
fn cut(sent: usize, headers: &str) -> Vec<u8> {
    let body = &BODY[..sent];
    format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n{headers}\r\n{body}").into_bytes()
}

/// Returns a part from `first` up to `end` that is cut off after `sent` bytes.
fn part(first: usize, end: usize, of: &str, sent: usize, headers: &str) -> Vec<u8> {
    let (last, length) = (end - 1, end - first);
    let body = &BODY[first..first + sent];
    format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{of}\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

const TAG: &str = "ETag: \"one\"\r\n";

/// Downloads twice, with the first attempt cut off after four bytes. Returns the request heads.
fn twice(engine: Engine, headers: &str, then: Vec<Vec<u8>>) -> (Bench, Heads, String) {
    let answers = [vec![cut(4, headers)], then].concat();
    let (server, heads) = Server::in_turn(answers);
    let mut bench = Bench::new(engine, options());
    let url = server.url("/");
    bench.fails(&url, FailureKind::Truncated, TRANSIENT);
    let _ = bench.get(&url);
    (bench, heads, url)
}

fn a_body_that_was_cut_off_goes_on_where_it_was(engine: Engine) {
    let (bench, heads, _) = twice(engine, TAG, vec![part(4, 10, "10", 6, TAG)]);
    assert_eq!(bench.stored(), BODY);
    assert_eq!(heads.count(), 2);
    assert_eq!(heads.value(0, "range"), None);
    assert_eq!(heads.value(1, "range").as_deref(), Some("bytes=4-"));
    assert_eq!(heads.value(1, "if-range").as_deref(), Some("\"one\""));
}

fn the_hash_and_the_size_are_those_of_the_whole(engine: Engine) {
    let (server, _) = Server::in_turn(vec![
        cut(4, "ETag: \"one\"\r\nContent-Type: text/plain\r\n"),
        part(4, 10, "10", 6, ""),
        ok(BODY),
    ]);
    let mut bench = Bench::new(engine, options());
    bench.fails(&server.url("/"), FailureKind::Truncated, TRANSIENT);
    let resumed = bench.get(&server.url("/")).expect("stored");
    let whole = bench.get(&server.url("/")).expect("stored");
    assert_eq!((resumed.bytes, resumed.sha256), (10, whole.sha256));
    assert_eq!(resumed.exchange.status, Some(206));
    assert_eq!(resumed.content_type.as_deref(), Some("text/plain"));
}

fn a_date_is_good_enough_once_it_is_settled(engine: Engine) {
    let old = "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n";
    let date = "Date: Thu, 01 Jan 2015 00:00:02 GMT\r\n";
    let headers = format!("{old}{date}");
    let (bench, heads, _) = twice(engine, &headers, vec![part(4, 10, "10", 6, "")]);
    assert_eq!(bench.stored(), BODY);
    let expect = "Thu, 01 Jan 2015 00:00:00 GMT";
    assert_eq!(heads.value(1, "if-range").as_deref(), Some(expect));
}

fn without_a_strong_validator_a_body_is_done_over(engine: Engine) {
    let date = "Thu, 01 Jan 2015 00:00:00 GMT";
    for headers in [
        "",
        "ETag: W/\"one\"\r\n",
        "ETag: one\r\n",
        &format!("Last-Modified: {date}\r\n"),
        &format!("Last-Modified: {date}\r\nDate: {date}\r\n"),
        "ETag: \"one\"\r\nAccept-Ranges: none\r\n",
        "ETag: \"one\"\r\nContent-Encoding: gzip\r\n",
    ] {
        let (server, heads) = Server::in_turn(vec![cut(4, headers), ok("whole")]);
        let mut bench = Bench::new(engine, options());
        bench.fails(&server.url("/"), FailureKind::Truncated, TRANSIENT);
        assert_eq!(bench.left(), [""; 0], "{headers}");
        assert_eq!(bench.body(&server.url("/")), "whole");
        assert_eq!(heads.value(1, "range"), None, "{headers}");
    }
}

fn an_answer_with_the_whole_body_replaces_what_was_there(engine: Engine) {
    for whole in ["ab", "ten bytes!", "a longer one than what was there"] {
        let length = whole.len();
        let head = format!("HTTP/1.1 200 x\r\nETag: \"two\"\r\nContent-Length: {length}\r\n\r\n");
        let (bench, _, _) = twice(engine, TAG, vec![[head, whole.to_owned()].concat().into()]);
        assert_eq!(bench.stored(), whole);
    }
}

fn nothing_stored_contradicts_what_was_known_of_the_body(engine: Engine) {
    let whole = |head: &str, body: &str| format!("HTTP/1.1 200 x\r\n{head}\r\n{body}").into_bytes();
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (fresh, expect) in [
        (
            whole("Content-Length: 6\r\n", "456789"),
            Err(FailureKind::Protocol),
        ),
        (
            whole("ETag: \"one\"\r\nContent-Length: 6\r\n", "456789"),
            Err(FailureKind::Protocol),
        ),
        (
            whole(&format!("{TAG}{chunked}"), "6\r\n456789\r\n0\r\n\r\n"),
            Err(FailureKind::Truncated),
        ),
        (whole(TAG, "456789"), Err(FailureKind::Truncated)),
        (
            whole(&format!("{TAG}{chunked}"), "a\r\n0123456789\r\n0\r\n\r\n"),
            Ok(BODY),
        ),
        (
            whole("ETag: \"two\"\r\nContent-Length: 6\r\n", "456789"),
            Ok("456789"),
        ),
    ] {
        let shown = String::from_utf8_lossy(&fresh).into_owned();
        let refused = b"HTTP/1.1 416 x\r\nContent-Length: 0\r\n\r\n".to_vec();
        let (server, heads) = Server::in_turn(vec![cut(4, TAG), refused, fresh]);
        let mut bench = Bench::new(engine, options());
        let url = server.url("/");
        bench.fails(&url, FailureKind::Truncated, TRANSIENT);
        match expect {
            Ok(body) => assert_eq!(bench.body(&url), body, "{shown}"),
            Err(kind) => {
                bench.fails(&url, kind, TRANSIENT);
                assert!(!bench.file().exists(), "{shown}");
            }
        }
        assert_eq!(
            (heads.count(), heads.value(2, "range")),
            (3, None),
            "{shown}"
        );
    }
}

fn what_is_not_the_whole_body_is_no_file(engine: Engine) {
    let ranges = |status: u16, ranges: &str, length: usize| {
        let body = &BODY[..length];
        format!("HTTP/1.1 {status} x\r\n{ranges}Content-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    };
    let all = "Content-Range: bytes 0-9/10\r\n";
    for whole in [
        ranges(200, all, 10),
        ranges(206, all, 10),
        format!("HTTP/1.1 206 x\r\n{all}\r\n{BODY}").into_bytes(),
        ranges(200, "Content-Range: items 20-29/100\r\n", 10),
        ranges(200, "Content-Range: 20-29/*\r\n", 10),
    ] {
        let shown = String::from_utf8_lossy(&whole).into_owned();
        let (server, _) = Server::in_turn(vec![whole]);
        assert_eq!(
            Bench::new(engine, options()).body(&server.url("/")),
            BODY,
            "{shown}"
        );
    }
    let (part, twice) = ("Content-Range: bytes 4-9/10\r\n", format!("{all}{all}"));
    let parts = "Content-Type: multipart/byteranges; boundary=x\r\n";
    for (answer, kind) in [
        (ranges(200, part, 6), FailureKind::Protocol),
        (ranges(201, part, 6), FailureKind::Protocol),
        (
            ranges(200, "Content-Range: Bytes=4-9/10\r\n", 6),
            FailureKind::Protocol,
        ),
        (
            ranges(200, "Content-Range: bytes 0-5/10\r\n", 6),
            FailureKind::Protocol,
        ),
        (
            ranges(200, "Content-Range: bytes 0-5/*\r\n", 6),
            FailureKind::Protocol,
        ),
        (
            ranges(200, "Content-Range: bytes */10\r\n", 10),
            FailureKind::Protocol,
        ),
        (ranges(200, all, 6), FailureKind::Protocol),
        (ranges(200, &twice, 10), FailureKind::Protocol),
        (ranges(206, part, 6), FailureKind::Status),
        (ranges(206, all, 6), FailureKind::Status),
        (
            ranges(206, "Content-Range: bytes 0-9/*\r\n", 10),
            FailureKind::Status,
        ),
        (
            ranges(206, "Content-Range: items 0-9/10\r\n", 10),
            FailureKind::Status,
        ),
        (ranges(206, "", 10), FailureKind::Status),
        (ranges(206, parts, 10), FailureKind::Status),
        (
            ranges(206, &format!("{all}{parts}"), 10),
            FailureKind::Status,
        ),
    ] {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let (server, _) = Server::in_turn(vec![answer]);
        let mut bench = Bench::new(engine, options());
        let failure = bench.get(&server.url("/")).expect_err(&shown);
        let expect = (kind, Severity::Permanent);
        assert_eq!((failure.kind, failure.severity), expect, "{shown}");
        assert!(!bench.file().exists(), "{shown}");
    }
    // The range counts where nothing else gives the length.
    let cut = format!("HTTP/1.1 206 x\r\n{all}\r\n0123").into_bytes();
    let (server, _) = Server::in_turn(vec![cut]);
    let kind = FailureKind::Truncated;
    Bench::new(engine, options()).fails(&server.url("/"), kind, TRANSIENT);
}

fn an_answer_that_does_not_fit_makes_it_start_over(engine: Engine) {
    let misfits = [
        part(0, 10, "10", 10, ""),
        part(3, 10, "10", 7, ""),
        part(5, 10, "10", 5, ""),
        part(4, 9, "10", 5, ""),
        part(4, 10, "11", 6, ""),
        part(4, 10, "*", 6, ""),
        part(4, 10, "10", 6, "ETag: \"two\"\r\n"),
        part(4, 10, "10", 6, "ETag: W/\"one\"\r\n"),
        part(4, 10, "10", 6, "Content-Encoding: gzip\r\n"),
        b"HTTP/1.1 206 x\r\nContent-Length: 6\r\n\r\n456789".to_vec(),
        b"HTTP/1.1 206 x\r\nContent-Type: multipart/byteranges; boundary=x\r\n\
          Content-Length: 5\r\n\r\n--x--"
            .to_vec(),
        b"HTTP/1.1 206 x\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 5\r\n\r\n45678".to_vec(),
        b"HTTP/1.1 416 x\r\nContent-Range: bytes */3\r\nContent-Length: 0\r\n\r\n".to_vec(),
        b"HTTP/1.1 416 x\r\nContent-Length: 0\r\n\r\n".to_vec(),
        b"HTTP/1.1 206 x\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\
          Content-Type: multipart/byteranges; boundary=x\r\n\r\n--x---"
            .to_vec(),
        // The right part, but declared to be the whole body.
        b"HTTP/1.1 200 x\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\r\n456789"
            .to_vec(),
        b"HTTP/1.1 200 x\r\nContent-Range: bytes */10\r\nContent-Length: 10\r\n\r\n0123456789"
            .to_vec(),
        b"HTTP/1.1 200 x\r\nContent-Length: 6\r\n\r\n456789".to_vec(),
        b"HTTP/1.1 200 x\r\nETag: \"two\"\r\nContent-Length: 6\r\n\r\n456789".to_vec(),
        b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n456789\r\n0\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 x\r\n\r\n456789".to_vec(),
    ];
    let anew = b"HTTP/1.1 200 x\r\nETag: \"new\"\r\nContent-Length: 4\r\n\r\nanew".to_vec();
    for misfit in misfits {
        let shown = String::from_utf8_lossy(&misfit).into_owned();
        let (bench, heads, _) = twice(engine, TAG, vec![misfit, anew.clone()]);
        assert_eq!(bench.stored(), "anew", "{shown}");
        assert_eq!(heads.count(), 3, "{shown}");
        assert_eq!(heads.value(2, "range"), None, "{shown}");
    }
}

fn a_part_that_is_cut_off_too_is_gone_on_with(engine: Engine) {
    let answers = vec![
        cut(2, TAG),
        part(2, 10, "10", 3, TAG),
        part(5, 10, "10", 0, TAG),
        part(5, 10, "10", 5, TAG),
    ];
    let (server, heads) = Server::in_turn(answers);
    let mut bench = Bench::new(engine, options());
    for _ in 0..3 {
        bench.fails(&server.url("/"), FailureKind::Truncated, TRANSIENT);
    }
    assert_eq!(bench.body(&server.url("/")), BODY);
    let asked: Vec<_> = (1..4).map(|number| heads.value(number, "range")).collect();
    let expect = ["bytes=2-", "bytes=5-", "bytes=5-"].map(|range| Some(range.to_owned()));
    assert_eq!(asked, expect);
}

fn a_part_without_a_length_is_held_to_its_range(engine: Engine) {
    let head =
        "HTTP/1.1 206 x\r\nContent-Range: bytes 4-9/10\r\nTransfer-Encoding: chunked\r\n\r\n";
    let whole = format!("{head}6\r\n456789\r\n0\r\n\r\n").into_bytes();
    let (bench, ..) = twice(engine, TAG, vec![whole]);
    assert_eq!(bench.stored(), BODY);
    let short = format!("{head}5\r\n45678\r\n0\r\n\r\n").into_bytes();
    let (bench, ..) = twice(engine, TAG, vec![short]);
    assert_eq!(bench.left(), ["file", "file~note"], "one byte is missing");
    let long = format!("{head}7\r\n456789x\r\n0\r\n\r\n").into_bytes();
    let (bench, ..) = twice(engine, TAG, vec![long]);
    assert_eq!(bench.left(), [""; 0], "a server that counts wrong");
}

fn what_fails_for_good_is_forgotten_and_what_may_pass_is_not(engine: Engine) {
    for (status, left) in [("404", &[][..]), ("503", &["file", "file~note"])] {
        let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
        let (server, heads) = Server::in_turn(vec![
            cut(4, TAG),
            answer.into_bytes(),
            part(4, 10, "10", 6, ""),
        ]);
        let mut bench = Bench::new(engine, options());
        bench.fails(&server.url("/"), FailureKind::Truncated, TRANSIENT);
        let failure = bench.get(&server.url("/")).expect_err("a status");
        assert_eq!(failure.kind, FailureKind::Status);
        if status == "503" {
            assert_eq!(bench.left(), left);
            assert_eq!(bench.body(&server.url("/")), BODY);
        }
        assert_eq!(heads.value(1, "range").as_deref(), Some("bytes=4-"));
    }
}

fn the_last_byte_is_asked_for_again_when_all_were_there(engine: Engine) {
    let (server, heads) = Server::in_turn(vec![part(9, 10, "10", 1, "")]);
    let mut bench = Bench::new(engine, options());
    leave(&bench, &server.url("/"), BODY.as_bytes());
    assert_eq!(bench.body(&server.url("/")), BODY);
    assert_eq!(heads.value(0, "range").as_deref(), Some("bytes=9-"));
}

/// Leaves a part of a body and its note, as a killed worker would.
fn leave(bench: &Bench, url: &str, body: &[u8]) {
    let note = PartialNote {
        v: PartialNote::VERSION,
        boot: "boot".to_owned(),
        url: url.to_owned(),
        validator: Validator::Etag("\"one\"".to_owned()),
        length: Some(10),
        content_type: None,
        whole: None,
    };
    std::fs::write(bench.partial("file"), body).expect("written");
    let text = serde_json::to_vec(&note).expect("JSON");
    std::fs::write(bench.partial("file~note"), text).expect("written");
}

fn what_is_not_a_part_of_this_body_is_done_over(engine: Engine) {
    for (url, body) in [
        ("http://elsewhere.test/", &b"0123"[..]),
        ("", b"01234567890123"),
        ("", b""),
    ] {
        let (server, heads) = Server::in_turn(vec![ok("whole")]);
        let here = server.url("/");
        let mut bench = Bench::new(engine, options());
        leave(&bench, if url.is_empty() { &here } else { url }, body);
        assert_eq!(bench.body(&here), "whole");
        assert_eq!(heads.value(0, "range"), None, "{url} {body:?}");
    }
}

fn a_range_is_asked_for_where_the_body_came_from(engine: Engine) {
    let moved = b"HTTP/1.1 302 x\r\nLocation: /there\r\nConnection: close\r\n\
                  Content-Length: 0\r\n\r\n";
    let (server, heads) = Server::in_turn(vec![
        moved.to_vec(),
        cut(4, TAG),
        moved.to_vec(),
        part(4, 10, "10", 6, ""),
    ]);
    let mut bench = Bench::new(engine, options());
    bench.fails(&server.url("/"), FailureKind::Truncated, TRANSIENT);
    assert_eq!(bench.body(&server.url("/")), BODY);
    assert_eq!(heads.value(2, "range"), None);
    assert_eq!(heads.value(3, "range").as_deref(), Some("bytes=4-"));
}

fn the_limit_on_files_counts_what_is_there(engine: Engine) {
    let (server, _) = Server::in_turn(vec![part(4, 10, "10", 6, "")]);
    let mut options = options();
    options.max_filesize = Some(9);
    let mut bench = Bench::new(engine, options);
    leave(&bench, &server.url("/"), &BODY.as_bytes()[..4]);
    let kind = FailureKind::TooLarge;
    bench.fails(&server.url("/"), kind, Severity::Permanent);
}

/// A server with ranges sends a random number of bytes each time, and now and then another body
/// under another tag.
fn however_often_it_is_cut_off_the_file_is_one_of_the_bodies(engine: Engine) {
    const SIZE: usize = 400_000;
    let body = |version: usize| -> Vec<u8> {
        let byte = |at: usize| (at / 7 + version * 31) as u8;
        (0..SIZE).map(byte).collect()
    };
    for seed in 0..4 {
        let server = Server::start(move |mut stream, number| {
            let head = read_head(&mut stream)
                .unwrap_or_default()
                .to_ascii_lowercase();
            let version = (number + seed) / 5;
            let value = |name: &str| {
                let line = head.lines().find(|line| line.starts_with(name))?;
                Some(line[name.len()..].trim().to_owned())
            };
            let tag = format!("\"{version}\"");
            let first = value("range: bytes=")
                .and_then(|range| range.trim_end_matches('-').parse().ok())
                .filter(|_| value("if-range:") == Some(tag.clone()));
            let (line, from) = match first {
                Some(first) => {
                    let line = format!(
                        "206 Partial\r\nContent-Range: bytes {first}-{}/{SIZE}",
                        SIZE - 1
                    );
                    (line, first)
                }
                None => ("200 OK".to_owned(), 0),
            };
            let head = format!(
                "HTTP/1.1 {line}\r\nETag: {tag}\r\nContent-Length: {}\r\n\r\n",
                SIZE - from
            );
            let sent = fastrand::Rng::with_seed((number * 77 + seed) as u64).usize(0..SIZE / 2);
            let body = body(version);
            let end = (from + sent).min(SIZE);
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&body[from..end]);
        });
        let mut options = options();
        options.stall_timeout = Duration::from_secs(30);
        let mut bench = Bench::new(engine, options);
        let mut attempts = 0;
        while let Err(failure) = bench.get(&server.url("/")) {
            assert_eq!(failure.kind, FailureKind::Truncated, "{failure}");
            attempts += 1;
            assert!(attempts < 200, "it makes no way");
        }
        let stored = bench.stored_bytes();
        let version = (server.accepted() - 1 + seed) / 5;
        assert!(stored == body(version), "seed {seed}: a mixture");
    }
}

crate::on_every_engine![
    a_body_that_was_cut_off_goes_on_where_it_was,
    the_hash_and_the_size_are_those_of_the_whole,
    a_date_is_good_enough_once_it_is_settled,
    without_a_strong_validator_a_body_is_done_over,
    an_answer_with_the_whole_body_replaces_what_was_there,
    an_answer_that_does_not_fit_makes_it_start_over,
    nothing_stored_contradicts_what_was_known_of_the_body,
    what_is_not_the_whole_body_is_no_file,
    a_part_that_is_cut_off_too_is_gone_on_with,
    a_part_without_a_length_is_held_to_its_range,
    what_fails_for_good_is_forgotten_and_what_may_pass_is_not,
    the_last_byte_is_asked_for_again_when_all_were_there,
    what_is_not_a_part_of_this_body_is_done_over,
    a_range_is_asked_for_where_the_body_came_from,
    the_limit_on_files_counts_what_is_there,
    however_often_it_is_cut_off_the_file_is_one_of_the_bodies,
];
