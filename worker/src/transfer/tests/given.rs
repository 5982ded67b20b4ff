//! Tests of the inputs of a transfer: credentials, what is on disk, options about answers.

use protocol::robots::{MAX_ROBOTS, ROBOTS_WITHIN};
use protocol::{Algorithm, Checksum, TaskKind};

use super::*;
use crate::decode::Room;

#[test]
fn a_robots_txt_has_limits_of_its_own() {
    let mut options = options();
    options.max_redirects = 0;
    options.max_filesize = Some(10);
    options.retry_all_errors = true;
    let assignment = Assignment {
        kind: TaskKind::RobotsTxt,
        ..Assignment::new("http://a.test/robots.txt", "p")
    };
    let begin = || {
        let url = &assignment.url;
        let now = Instant::now();
        let transfer = Transfer::new(url, &options, Timestamp(1), now).expect("a good URL");
        (transfer.of(&assignment), now)
    };
    let (mut transfer, now) = begin();
    for hop in 0..5 {
        let to = format!("http://b.test/{hop}");
        let next = answer(&mut transfer, 301, &[("location", &to)], None);
        assert_eq!(next, Ok(Next::Follow));
    }
    let coded = [("content-encoding", "gzip")];
    let next = answer(&mut transfer, 200, &coded, Some(1 << 30));
    assert_eq!(next, Ok(Next::Receive));
    assert_eq!(transfer.codings(), [Coding::Gzip], "nobody asked for it");
    assert_eq!(transfer.room(), Room::Cut(MAX_ROBOTS));
    assert_eq!(transfer.on_chunk(1 << 20), Ok(()));
    assert!(transfer.is_enough(&crate::transfer::too_large(MAX_ROBOTS)));
    assert!(transfer.note().is_none(), "it is never gone on with");
    let left = transfer.remaining(now).expect("it has just begun");
    assert_eq!(left, Some(ROBOTS_WITHIN));
    let fault = transfer
        .remaining(now + ROBOTS_WITHIN)
        .expect_err("too late");
    assert!(fault.message.contains("within 60s"), "{fault:?}");

    let (mut transfer, _) = begin();
    let fault = answer(&mut transfer, 404, &[], None).expect_err("there is none");
    let failure = transfer.failed(fault);
    assert_eq!(failure.severity, Severity::Permanent, "that is an answer");
}

#[test]
fn credentials_stay_with_the_origin_they_were_given_for() {
    let mut options = options();
    options.headers = vec![
        ("Authorization".to_owned(), "Bearer x".to_owned()),
        ("Cookie".to_owned(), "a=b".to_owned()),
        ("X-Other".to_owned(), "kept".to_owned()),
        ("X-Api-Key".to_owned(), "k".to_owned()),
        ("Proxy-Authorization".to_owned(), "Basic x".to_owned()),
    ];
    let mut transfer = transfer("https://a.test/", &options);
    let names = |transfer: &Transfer<'_>| {
        let headers = transfer.request().expect("good headers");
        assert!(
            !headers.contains_key("proxy-authorization"),
            "there is none"
        );
        assert_eq!(
            headers.contains_key("x-api-key"),
            headers.contains_key("authorization")
        );
        ["authorization", "cookie", "x-other", "user-agent"].map(|name| headers.contains_key(name))
    };
    let mut go = |location: &str| {
        let next = answer(&mut transfer, 307, &[("location", location)], None);
        assert_eq!(next, Ok(Next::Follow));
        names(&transfer)
    };
    assert_eq!(go("/same"), [true, true, true, true]);
    assert_eq!(go("https://b.test/"), [false, false, true, true]);
    assert_eq!(go("http://a.test/"), [false, false, true, true]);
    assert_eq!(go("https://a.test/back"), [true, true, true, true]);
}

#[test]
fn credentials_in_urls_are_sent_where_they_belong_and_reported_nowhere() {
    let mut options = options();
    options.max_redirects = 10;
    let mut transfer = transfer("http://me:pw@a.test/", &options);
    let sent = |transfer: &Transfer<'_>| {
        let headers = transfer.request().expect("good headers");
        let value = headers.get("authorization")?.to_str().ok()?;
        Some(value.to_owned())
    };
    let (own, given) = ("Basic bWU6cHc=", "Basic eW91Og==");
    let mut go = |location: &str, expect: Option<&str>| {
        let next = answer(&mut transfer, 307, &[("location", location)], None);
        assert_eq!(next, Ok(Next::Follow), "{location}");
        assert_eq!(sent(&transfer).as_deref(), expect, "{location}");
        assert!(!transfer.url().as_str().contains('@'));
    };
    go("/relative", Some(own));
    go("http://a.test/absolute", Some(own));
    go("http://you@b.test/", Some(given));
    go("http://b.test/again", None);
    go("http://a.test:81/", None);
    go("https://a.test/", None);
    go("http://a.test/back", Some(own));
    go("http://x:y@a.test/back", Some("Basic eDp5"));
    let again = answer(
        &mut transfer,
        302,
        &[("location", "http://x:y@a.test/back")],
        None,
    );
    let fault = again.expect_err("a loop");
    assert!(!fault.message.contains("x:y"), "{}", fault.message);
    let bad = answer(
        &mut transfer,
        302,
        &[("location", "ftp://x:y@a.test/")],
        None,
    );
    let fault = bad.expect_err("another scheme");
    assert!(!fault.message.contains("x:y"), "{}", fault.message);
    let failure = transfer.failed(fault);
    assert_eq!(
        failure.exchange.final_url.as_deref(),
        Some("http://a.test/back")
    );
}

#[test]
fn retry_all_errors_makes_every_failure_one_that_may_pass() {
    let mut options = options();
    for (all, expect) in [
        (false, Severity::Permanent),
        (true, Severity::Transient { retry_after: None }),
    ] {
        options.retry_all_errors = all;
        let mut transfer = transfer(URL, &options);
        let fault = answer(&mut transfer, 404, &[], None).expect_err("not found");
        assert_eq!(transfer.failed(fault).severity, expect);
    }
    let full = Fault::fatal(FailureKind::DiskFull, "full");
    let failure = transfer(URL, &options).failed(full);
    assert_eq!(
        failure.severity,
        Severity::Fatal,
        "that is no matter of one URL"
    );
}

fn left() -> PartialNote {
    PartialNote {
        v: PartialNote::VERSION,
        boot: String::new(),
        url: "http://a.test/x/y?q".to_owned(),
        validator: protocol::Validator::Etag("\"1\"".to_owned()),
        length: Some(9),
        content_type: Some("text/plain".to_owned()),
        whole: None,
    }
}

#[test]
fn what_is_on_disk_is_offered_to_the_url_it_came_from_and_to_no_other() {
    let asks = |transfer: &Transfer<'_>| {
        let headers = transfer.request().expect("good headers");
        let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        (text("range"), text("if-range"))
    };
    let expect = (Some("bytes=5-".to_owned()), Some("\"1\"".to_owned()));
    let mut options = options();
    options.compressed = true;
    let mut here = transfer(URL, &options);
    here.offer(left(), 5);
    assert_eq!(asks(&here), expect);
    let headers = here.request().expect("good headers");
    assert_eq!(headers["accept-encoding"], "identity");
    let mut elsewhere = transfer("http://b.test/", &options);
    elsewhere.offer(left(), 5);
    assert_eq!(asks(&elsewhere), (None, None));
    answer(&mut elsewhere, 302, &[("location", URL)], None).expect("followed");
    assert_eq!(asks(&elsewhere), expect);
    options.headers = vec![("range".to_owned(), "bytes=0-1".to_owned())];
    let mut own = transfer(URL, &options);
    own.offer(left(), 5);
    assert_eq!(asks(&own), (Some("bytes=0-1".to_owned()), None));
}

#[test]
fn an_answer_to_an_offer_goes_on_or_starts_over() {
    let range = ("content-range", "bytes 5-8/9");
    let options = options();
    let offered = || {
        let mut transfer = transfer(URL, &options);
        transfer.offer(left(), 5);
        transfer
    };
    let mut on = offered();
    assert_eq!(
        answer(&mut on, 206, &[range], Some(4)),
        Ok(Next::Resume { from: 5 })
    );
    assert_eq!(on.received(), 5);
    on.on_chunk(4).expect("as announced");
    on.on_end().expect("whole");
    assert_eq!(on.note(), Some(&left()));
    assert_eq!(on.content_type.as_deref(), Some("text/plain"));
    let mut short = offered();
    answer(&mut short, 206, &[range], None).expect("it fits");
    short.on_chunk(3).expect("not too long");
    let fault = short.on_end().expect_err("one byte is missing");
    assert_eq!(fault.kind, FailureKind::Truncated);
    for (status, list) in [
        (206, &[("content-range", "bytes 0-7/9")][..]),
        (206, &[range, ("etag", "\"2\"")]),
        (416, &[("content-range", "bytes */3")]),
    ] {
        let mut over = offered();
        assert_eq!(answer(&mut over, status, list, None), Ok(Next::Follow));
        let headers = over.request().expect("good headers");
        assert!(!headers.contains_key("range"), "{status}");
        // Not a second time: this request did not ask for a range.
        let fault = answer(&mut over, status, list, None).expect_err("status");
        assert_eq!(fault.kind, FailureKind::Status);
    }
    let mut whole = offered();
    assert_eq!(answer(&mut whole, 200, &[], Some(9)), Ok(Next::Receive));
    assert_eq!(whole.received(), 0);
    let mut busy = offered();
    assert!(answer(&mut busy, 503, &[], None).is_err());
}

#[test]
fn codings_are_taken_from_the_response_when_they_were_asked_for() {
    let check = |compressed: bool, value: &str, expect: Option<&[Coding]>| {
        let mut options = options();
        options.compressed = compressed;
        let mut transfer = transfer(URL, &options);
        let next = answer(&mut transfer, 200, &[("content-encoding", value)], None);
        match expect {
            Some(expect) => {
                assert_eq!(next, Ok(Next::Receive), "{value}");
                assert_eq!(transfer.codings(), expect, "{value}");
            }
            None => assert_eq!(next.expect_err(value).kind, FailureKind::Encoding),
        }
    };
    check(false, "gzip", Some(&[]));
    check(false, "nonsense", Some(&[]));
    check(true, "gzip", Some(&[Coding::Gzip]));
    check(true, "X-GZIP", Some(&[Coding::Gzip]));
    check(true, "br, zstd", Some(&[Coding::Brotli, Coding::Zstd]));
    check(true, "identity,", Some(&[]));
    check(true, "deflate", None);
    check(true, "gzip, gzip, gzip, gzip", None);
}

#[test]
fn parts_that_do_not_make_the_file_of_the_list_are_asked_for_in_one_piece() {
    let options = options();
    let mut assignment = Assignment::new(URL, "a");
    assignment.expect = Some(Box::new(Expect {
        size: None,
        checksums: vec![Checksum {
            algorithm: Algorithm::Sha256,
            digest: [1; 32].into(),
        }],
    }));
    let severity = |from: Option<u64>| {
        let mut transfer = transfer(URL, &options).of(&assignment);
        let status = match from {
            Some(have) => {
                transfer.offer(left(), have);
                206
            }
            None => 200,
        };
        let range = [("content-range", "bytes 5-8/9")];
        let list = if status == 206 { &range[..] } else { &[] };
        answer(&mut transfer, status, list, None).expect("a body follows");
        assert_eq!(transfer.check_file(&file(9, 1)), Ok(()));
        let fault = transfer.check_file(&file(9, 2)).expect_err("another");
        assert_eq!(fault.kind, FailureKind::ChecksumMismatch);
        fault.severity
    };
    assert_eq!(severity(None), Severity::Permanent);
    assert_eq!(severity(Some(5)), Severity::Transient { retry_after: None });
}

#[test]
fn a_request_that_was_sent_twice_is_not_sent_a_third_time_unless_its_cookies_change() {
    let options = options();
    let mut transfer = transfer(URL, &options);
    let mut here = |cookie: &str| {
        let headers = [("location", "#here"), ("set-cookie", cookie)];
        answer(&mut transfer, 302, &headers, None)
    };
    assert_eq!(here(""), Ok(Next::Follow));
    assert_eq!(here("a=1"), Ok(Next::Follow));
    assert_eq!(here("a=1"), Ok(Next::Follow));
    let fault = here("a=1").expect_err("a loop");
    assert_eq!(fault.kind, FailureKind::TooManyRedirects);
    assert!(fault.message.contains("loop"), "{}", fault.message);
}

#[test]
fn the_speed_is_measured_over_each_speed_time_and_not_over_our_own_pauses() {
    let mut options = options();
    options.stall_timeout = Duration::from_secs(10);
    options.speed_limit = Some(100);
    let mut transfer = transfer(URL, &options);
    let begun = Instant::now();
    let mut at = |seconds: u64, bytes: u64, pause: u64| {
        transfer.on_chunk(bytes).expect("no limit on its size");
        transfer.paused(Duration::from_secs(pause));
        transfer.keeps_pace(begun + Duration::from_secs(seconds))
    };
    assert_eq!(at(0, 5000, 0), Ok(()));
    assert_eq!(at(9, 1, 0), Ok(()), "not yet");
    assert_eq!(at(10, 999, 0), Ok(()), "1000 bytes in 10 seconds");
    assert_eq!(at(50, 1, 40), Ok(()), "none of these seconds counts");
    let fault = at(60, 998, 0).expect_err("999 bytes in 10 seconds");
    assert_eq!(fault.kind, FailureKind::Stalled);
    assert_eq!(fault.severity, Severity::Transient { retry_after: None });
}
