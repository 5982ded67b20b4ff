//! Files already in place: when they are kept or replaced, and the requests for that.

use protocol::{
    Algorithm, Assignment, Checksum, Engine, Expect, FailureKind, Known, PartialNote, Severity,
    Validator, Validators,
};
use sha2::{Digest, Sha256};

use crate::support::{Bench, Downloaded, Heads, Server, TRANSIENT, ok, options};

const OLD: &str = "what is in place";
const TAG: &str = "\"old\"";
const DATE: &str = "Thu, 01 Jan 2015 00:00:00 GMT";

/// Returns the file in place as an earlier run recorded it.
fn known(url: &str, etag: Option<&str>, last_modified: Option<&str>) -> Known {
    Known {
        url: url.to_owned(),
        validators: Validators {
            etag: etag.map(ToOwned::to_owned),
            last_modified: last_modified.map(ToOwned::to_owned),
        },
        bytes: OLD.len() as u64,
        sha256: Sha256::digest(OLD).into(),
        content_type: Some("text/old".to_owned()),
    }
}

fn task(url: &str, known: Known) -> Assignment {
    Assignment {
        known: Some(Box::new(known)),
        ..Assignment::new(url, "file")
    }
}

fn not_modified(headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 304 Not Modified\r\n{headers}\r\n").into_bytes()
}

fn whole(headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

/// Creates a bench with the old file in place.
fn bench(engine: Engine) -> Bench {
    let bench = Bench::new(engine, options());
    std::fs::write(bench.file(), OLD).expect("written");
    bench
}

/// Requests the old file, recorded with this tag and this date.
fn ask(
    engine: Engine,
    validators: (Option<&str>, Option<&str>),
    answers: Vec<Vec<u8>>,
) -> (Bench, Heads, Downloaded) {
    let (server, heads) = Server::in_turn(answers);
    let mut bench = bench(engine);
    let url = server.url("/");
    let downloaded = bench.download(&task(&url, known(&url, validators.0, validators.1)));
    (bench, heads, downloaded)
}

/// Returns the conditions of request `number`.
fn asked(heads: &Heads, number: usize) -> (Option<String>, Option<String>) {
    let value = |name| heads.value(number, name);
    (value("if-none-match"), value("if-modified-since"))
}

fn a_file_that_is_current_stays_and_its_record_is_carried_over(engine: Engine) {
    for (etag, date, expect) in [
        (Some(TAG), None, (Some(TAG), None)),
        (Some(TAG), Some(DATE), (Some(TAG), None)),
        (Some("W/\"old\""), None, (Some("W/\"old\""), None)),
        (None, Some(DATE), (None, Some(DATE))),
    ] {
        let answer = not_modified("ETag: \"old\"\r\nContent-Type: text/new\r\n");
        let (bench, heads, stored) = ask(engine, (etag, date), vec![answer]);
        let stored = stored.expect("kept");
        let (tag, since) = asked(&heads, 0);
        assert_eq!((tag.as_deref(), since.as_deref()), expect);
        assert_eq!(heads.count(), 1);
        assert!(stored.unchanged);
        assert_eq!(stored.exchange.status, Some(304));
        let before = known("", etag, date);
        assert_eq!((stored.bytes, stored.sha256), (before.bytes, before.sha256));
        assert_eq!(stored.content_type, before.content_type);
        assert_eq!(stored.validators, before.validators);
        assert_eq!(bench.stored(), OLD);
    }
}

fn a_file_that_is_not_current_is_replaced(engine: Engine) {
    let headers = "ETag: \"new\"\r\nContent-Type: text/new\r\n";
    let answer = whole(headers, "anew");
    let (bench, _, stored) = ask(engine, (Some(TAG), None), vec![answer]);
    let stored = stored.expect("stored");
    assert!(!stored.unchanged);
    assert_eq!(stored.validators.etag.as_deref(), Some("\"new\""));
    assert_eq!(stored.content_type.as_deref(), Some("text/new"));
    assert_eq!(bench.stored(), "anew");
}

fn a_304_that_nobody_asked_for_is_a_failure(engine: Engine) {
    let (server, _) = Server::in_turn(vec![not_modified("ETag: \"old\"\r\n")]);
    let url = server.url("/");
    let mut bench = Bench::new(engine, options());
    bench.fails(&url, FailureKind::Status, Severity::Permanent);
    // The same if there is no validator, or only one that cannot be sent.
    for (etag, date) in [
        (None, None),
        (Some("\"a\r\nX: b\""), None),
        (None, Some("a\nb")),
    ] {
        let answer = not_modified("");
        let (bench, heads, failed) = ask(engine, (etag, date), vec![answer]);
        assert_eq!(asked(&heads, 0), (None, None));
        assert_eq!(failed.expect_err("a status").kind, FailureKind::Status);
        assert_eq!(bench.stored(), OLD, "it stays where it is");
    }
}

fn a_304_about_another_state_is_asked_again_without_a_condition(engine: Engine) {
    let odd = not_modified("ETag: \"other\"\r\n");
    let answers = vec![odd.clone(), whole("", "anew")];
    let (bench, heads, stored) = ask(engine, (Some(TAG), None), answers);
    assert!(!stored.expect("stored").unchanged);
    assert_eq!(bench.stored(), "anew");
    assert_eq!((heads.count(), asked(&heads, 1)), (2, (None, None)));
    let (bench, heads, failed) = ask(engine, (Some(TAG), None), vec![odd]);
    assert_eq!(failed.expect_err("a status").kind, FailureKind::Status);
    assert_eq!((heads.count(), bench.stored().as_str()), (2, OLD));
    // A tag that differs only in weakness counts as the same here.
    let weak = not_modified("ETag: W/\"old\"\r\n");
    let (.., stored) = ask(engine, (Some(TAG), None), vec![weak]);
    assert!(stored.expect("kept").unchanged);
}

fn whatever_comes_with_a_304_the_next_answer_is_its_own(engine: Engine) {
    for answer in [
        not_modified("Content-Length: 16\r\n"),
        not_modified("Transfer-Encoding: chunked\r\n"),
        not_modified(""),
        [not_modified("Content-Length: 4\r\n"), b"junk".to_vec()].concat(),
        [
            not_modified(""),
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad".to_vec(),
        ]
        .concat(),
    ] {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let server = Server::answering(move |head| match head.contains("/old") {
            true => answer.clone(),
            false => ok("another"),
        });
        let mut bench = bench(engine);
        let url = server.url("/old");
        let asked = task(&url, known(&url, Some(TAG), None));
        for _ in 0..2 {
            assert!(bench.download(&asked).expect(&shown).unchanged, "{shown}");
            assert_eq!(bench.stored(), OLD);
        }
        assert_eq!(bench.body(&server.url("/new")), "another", "{shown}");
        let is_clean = !shown.ends_with("junk") && !shown.ends_with("bad");
        assert!(
            server.accepted() == 1 || !is_clean,
            "{shown}: one connection is enough"
        );
    }
}

fn the_condition_goes_to_where_the_file_came_from_and_nowhere_else(engine: Engine) {
    let moved = |to: &str| {
        format!(
            "HTTP/1.1 302 x\r\nLocation: {to}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes()
    };
    // The file came from /there, and the redirect still leads there.
    let (server, heads) = Server::in_turn(vec![moved("/there"), not_modified("")]);
    let mut bench = self::bench(engine);
    let there = known(&server.url("/there"), Some(TAG), None);
    let kept = bench
        .download(&task(&server.url("/"), there))
        .expect("kept");
    assert!(kept.unchanged);
    assert_eq!(kept.exchange.final_url, Some(server.url("/there")));
    assert_eq!(asked(&heads, 0), (None, None));
    assert_eq!(asked(&heads, 1).0.as_deref(), Some(TAG));
    // The redirect now leads elsewhere, where that tag may mean anything.
    let (server, heads) = Server::in_turn(vec![moved("/elsewhere"), whole("", "anew")]);
    let mut bench = self::bench(engine);
    for from in ["/", "/there"] {
        let known = known(&server.url(from), Some(TAG), None);
        let stored = bench
            .download(&task(&server.url("/"), known))
            .expect("stored");
        assert!(!stored.unchanged);
        assert_eq!(bench.stored(), "anew");
    }
    assert_eq!(
        asked(&heads, 0).0.as_deref(),
        Some(TAG),
        "that is where it came from"
    );
    assert_eq!(asked(&heads, 1), (None, None));
    // Credentials are not part of the URL that a file came from.
    let (server, heads) = Server::in_turn(vec![not_modified("")]);
    let mut bench = self::bench(engine);
    let here = known(&server.url("/"), Some(TAG), None);
    let url = server.url("/").replace("http://", "http://me:pw@");
    assert!(bench.download(&task(&url, here)).expect("kept").unchanged);
    assert_eq!(asked(&heads, 0).0.as_deref(), Some(TAG));
    assert!(heads.value(0, "authorization").is_some());
    // The file came from /there, and is now at this URL.
    let (server, heads) = Server::in_turn(vec![whole("", "anew")]);
    let mut bench = self::bench(engine);
    let there = known(&server.url("/there"), Some(TAG), None);
    bench
        .download(&task(&server.url("/"), there))
        .expect("stored");
    assert_eq!(asked(&heads, 0), (None, None));
}

fn a_failure_leaves_the_file_where_it_is(engine: Engine) {
    let cut = b"HTTP/1.1 200 OK\r\nETag: \"new\"\r\nContent-Length: 9\r\n\r\nonly".to_vec();
    for (answer, kind, severity) in [
        (
            b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n".to_vec(),
            FailureKind::Status,
            Severity::Permanent,
        ),
        (
            b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n".to_vec(),
            FailureKind::Status,
            TRANSIENT,
        ),
        (
            b"HTTP/1.1 412 x\r\nContent-Length: 0\r\n\r\n".to_vec(),
            FailureKind::Status,
            Severity::Permanent,
        ),
        (cut, FailureKind::Truncated, TRANSIENT),
        (
            b"nonsense\r\n\r\n".to_vec(),
            FailureKind::Protocol,
            Severity::Permanent,
        ),
    ] {
        let (bench, _, failed) = ask(engine, (Some(TAG), None), vec![answer]);
        let failed = failed.expect_err("a failure");
        assert_eq!((failed.kind, failed.severity), (kind, severity), "{failed}");
        assert_eq!(bench.stored(), OLD);
    }
}

fn what_the_list_says_holds_for_what_replaces_the_file(engine: Engine) {
    let (server, _) = Server::in_turn(vec![whole("", "anew")]);
    let url = server.url("/");
    let mut bench = bench(engine);
    let mut task = task(&url, known(&url, Some(TAG), None));
    task.expect = Some(Box::new(Expect {
        checksums: vec![Checksum {
            algorithm: Algorithm::Sha256,
            digest: Sha256::digest(OLD).as_slice().into(),
        }],
        size: None,
    }));
    let failed = bench.download(&task).expect_err("another file");
    assert_eq!(failed.kind, FailureKind::ChecksumMismatch);
    assert_eq!(bench.stored(), OLD);
}

fn conditions_of_the_user_are_the_only_ones(engine: Engine) {
    for (name, value) in [
        ("If-None-Match", "\"mine\""),
        ("if-modified-since", DATE),
        ("If-Match", "\"mine\""),
        ("If-Unmodified-Since", DATE),
        ("Range", "bytes=0-1"),
    ] {
        let (server, heads) = Server::in_turn(vec![not_modified("")]);
        let url = server.url("/");
        let mut bench = bench(engine);
        let mut task = task(&url, known(&url, Some(TAG), Some(DATE)));
        task.headers = vec![(name.to_owned(), value.to_owned())];
        let failed = bench.download(&task).expect_err("not for us to interpret");
        assert_eq!(failed.kind, FailureKind::Status);
        let (tag, date) = asked(&heads, 0);
        assert!(tag.is_none_or(|tag| tag == "\"mine\""));
        assert!(date.is_none_or(|_| name == "if-modified-since"));
    }
}

/// Leaves the first bytes of a new body, from an earlier attempt to replace the file.
fn leave(bench: &Bench, url: &str) {
    let note = PartialNote {
        v: PartialNote::VERSION,
        boot: "boot".to_owned(),
        url: url.to_owned(),
        validator: Validator::Etag("\"new\"".to_owned()),
        length: Some(10),
        content_type: None,
        whole: None,
    };
    std::fs::write(bench.partial("file"), "0123").expect("written");
    let text = serde_json::to_vec(&note).expect("JSON");
    std::fs::write(bench.partial("file~note"), text).expect("written");
}

fn what_is_there_of_a_new_body_is_gone_on_with_unless_the_old_one_is_current(engine: Engine) {
    let rest = b"HTTP/1.1 206 x\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\r\n456789";
    for (answer, unchanged, file) in [
        (rest.to_vec(), false, "0123456789"),
        (not_modified("ETag: \"old\"\r\n"), true, OLD),
        (whole("ETag: \"newer\"\r\n", "anew"), false, "anew"),
    ] {
        let (server, heads) = Server::in_turn(vec![answer]);
        let url = server.url("/");
        let mut bench = bench(engine);
        leave(&bench, &url);
        let stored = bench.download(&task(&url, known(&url, Some(TAG), None)));
        let stored = stored.expect("an answer that is understood");
        assert_eq!(asked(&heads, 0).0.as_deref(), Some(TAG));
        assert_eq!(heads.value(0, "range").as_deref(), Some("bytes=4-"));
        assert_eq!(heads.value(0, "if-range").as_deref(), Some("\"new\""));
        assert_eq!(stored.unchanged, unchanged);
        assert_eq!(bench.stored(), file);
        let tag = stored.validators.etag;
        let expect = match file {
            OLD => TAG,
            "anew" => "\"newer\"",
            _ => "\"new\"",
        };
        assert_eq!(tag.as_deref(), Some(expect));
    }
}

fn validators_are_recorded_if_they_can_be_used(engine: Engine) {
    let later = "Date: Thu, 01 Jan 2015 00:00:02 GMT\r\n";
    let long = format!("ETag: \"{}\"\r\n", "x".repeat(511));
    let fits = format!("\"{}\"", "x".repeat(510));
    let settled = format!("Last-Modified: {DATE}\r\n{later}");
    let both = format!("ETag: \"a\"\r\n{settled}");
    for (headers, etag, date) in [
        ("", None, None),
        ("ETag: \"a\"\r\n", Some("\"a\""), None),
        ("ETag: W/\"a\"\r\n", Some("W/\"a\""), None),
        ("ETag: \"\"\r\n", Some("\"\""), None),
        (&format!("ETag: {fits}\r\n"), Some(&*fits), None),
        (&long, None, None),
        ("ETag: a\r\n", None, None),
        ("ETag: \"\r\n", None, None),
        ("ETag: \"a\"b\"\r\n", None, None),
        ("ETag: w/\"a\"\r\n", None, None),
        ("ETag: \"a\"\r\nETag: \"b\"\r\n", None, None),
        ("ETag: \"\u{e4}\"\r\n", None, None),
        (&settled, None, Some(DATE)),
        (&both, Some("\"a\""), Some(DATE)),
        // It may be modified again within that second.
        (
            &format!("Last-Modified: {DATE}\r\nDate: {DATE}\r\n"),
            None,
            None,
        ),
        (&format!("Last-Modified: {DATE}\r\n"), None, None),
        (&format!("Last-Modified: long ago\r\n{later}"), None, None),
    ] {
        let (server, _) = Server::in_turn(vec![whole(headers, "x")]);
        let mut bench = Bench::new(engine, options());
        let stored = bench.get(&server.url("/")).expect("stored");
        let found = (
            stored.validators.etag.as_deref(),
            stored.validators.last_modified.as_deref(),
        );
        assert_eq!(found, (etag, date), "{headers}");
        assert!(!stored.unchanged);
    }
}

crate::on_every_engine![
    a_file_that_is_current_stays_and_its_record_is_carried_over,
    a_file_that_is_not_current_is_replaced,
    a_304_that_nobody_asked_for_is_a_failure,
    a_304_about_another_state_is_asked_again_without_a_condition,
    whatever_comes_with_a_304_the_next_answer_is_its_own,
    the_condition_goes_to_where_the_file_came_from_and_nowhere_else,
    a_failure_leaves_the_file_where_it_is,
    what_the_list_says_holds_for_what_replaces_the_file,
    conditions_of_the_user_are_the_only_ones,
    what_is_there_of_a_new_body_is_gone_on_with_unless_the_old_one_is_current,
    validators_are_recorded_if_they_can_be_used,
];
