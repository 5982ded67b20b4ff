//! Tests of the transfer, as tables of inputs and decisions.

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::resolver::ResolveError;
use crate::testing::options;

mod given;
mod retry;

const URL: &str = "http://a.test/x/y?q#frag";

fn transfer<'o>(url: &str, options: &'o HttpOptions) -> Transfer<'o> {
    Transfer::new(url, options, Timestamp(1), Instant::now()).expect("a good url")
}

#[test]
fn a_task_has_headers_of_its_own_and_they_replace_the_common_ones() {
    let mut options = options();
    options.headers = vec![
        ("X-A".to_owned(), "all".to_owned()),
        ("Cookie".to_owned(), "all".to_owned()),
    ];
    let mut assignment = Assignment::new(URL, "file");
    assignment.headers = vec![
        ("cookie".to_owned(), "own".to_owned()),
        ("Cookie".to_owned(), "more".to_owned()),
        ("user-agent".to_owned(), "own".to_owned()),
    ];
    let headers = transfer(URL, &options)
        .of(&assignment)
        .request()
        .expect("they can be sent");
    let of = |name: &str| headers.get_all(name).iter().collect::<Vec<_>>();
    assert_eq!(of("x-a"), ["all"]);
    assert_eq!(of("cookie"), ["own", "more"]);
    assert_eq!(of("user-agent"), ["own"]);
}

#[test]
fn a_size_that_is_not_the_lists_shows_as_soon_as_it_can() {
    let options = options();
    let mut assignment = Assignment::new(URL, "file");
    assignment.expect = Some(Box::new(Expect {
        size: Some(5),
        ..Expect::default()
    }));
    let kind = |fault: Fault| (fault.kind, fault.severity);
    let expected = (FailureKind::SizeMismatch, Severity::Permanent);
    let fresh = || transfer(URL, &options).of(&assignment);
    let announced = answer(&mut fresh(), 200, &[], Some(6)).expect_err("too long");
    assert_eq!(kind(announced), expected);
    let mut endless = fresh();
    answer(&mut endless, 200, &[], None).expect("the length is not known");
    endless.on_chunk(5).expect("as long as it may be");
    assert_eq!(kind(endless.on_chunk(1).expect_err("too long")), expected);
    let mut short = fresh();
    answer(&mut short, 200, &[], None).expect("the length is not known");
    short.on_chunk(4).expect("not longer");
    short
        .on_end()
        .expect("a body without a length ends anywhere");
    assert_eq!(
        kind(short.check_file(&file(4, 0)).expect_err("too short")),
        expected
    );
    // A truncated file may be whole the next time, so this is not a mismatch.
    let mut cut = fresh();
    answer(&mut cut, 200, &[], Some(5)).expect("as announced");
    cut.on_chunk(4).expect("not longer");
    assert_eq!(
        kind(cut.on_end().expect_err("cut off")).0,
        FailureKind::Truncated
    );
}

/// Returns a file with this size, and this byte throughout its SHA-256.
fn file(bytes: u64, byte: u8) -> Committed {
    Committed {
        bytes,
        sha256: [byte; 32],
        checksums: Vec::new(),
        unchanged: false,
    }
}

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    list.iter()
        .map(|(name, value)| {
            (
                HeaderName::try_from(*name).expect("a name"),
                HeaderValue::try_from(*value).expect("a value"),
            )
        })
        .collect()
}

fn answer(
    transfer: &mut Transfer<'_>,
    status: u16,
    list: &[(&str, &str)],
    length: Option<u64>,
) -> Result<Next, Fault> {
    let headers = headers(list);
    let head = Head {
        status: StatusCode::from_u16(status).expect("a status"),
        version: Version::HTTP_11,
        headers: &headers,
        length,
    };
    transfer.on_head(head, SystemTime::UNIX_EPOCH)
}

#[test]
fn a_status_decides_between_storing_following_and_failing() {
    let check = |status, expect: Result<Next, Severity>| {
        let options = options();
        let mut transfer = transfer(URL, &options);
        let next = answer(&mut transfer, status, &[("location", "/z")], None);
        let next = next.map_err(|fault| {
            assert_eq!(fault.kind, FailureKind::Status);
            assert!(fault.message.contains(&status.to_string()));
            fault.severity
        });
        assert_eq!(next, expect, "{status}");
    };
    let transient = Severity::Transient { retry_after: None };
    for status in [200, 201, 203, 204, 205, 226] {
        check(status, Ok(Next::Receive));
    }
    for status in [301, 302, 303, 307, 308] {
        check(status, Ok(Next::Follow));
    }
    for status in [
        101, 206, 300, 304, 305, 400, 401, 403, 404, 410, 501, 505, 999,
    ] {
        check(status, Err(Severity::Permanent));
    }
    for status in [408, 425, 429, 500, 502, 503, 504, 522, 524] {
        check(status, Err(transient));
    }
}

#[test]
fn a_redirect_goes_where_rfc_3986_says() {
    let check = |location: &str, expect: &str| {
        let options = options();
        let mut transfer = transfer(URL, &options);
        let next = answer(&mut transfer, 302, &[("location", location)], None);
        assert_eq!(next, Ok(Next::Follow), "{location}");
        assert_eq!(transfer.url().as_str(), expect);
        let exchange = transfer
            .failed(Fault::permanent(FailureKind::Internal, ""))
            .exchange;
        assert_eq!(exchange.final_url.as_deref(), Some(expect));
        assert_eq!(exchange.status, Some(302));
    };
    check("/z", "http://a.test/z");
    check("z", "http://a.test/x/z");
    check("../z", "http://a.test/z");
    check("?r", "http://a.test/x/y?r");
    check("//b.test", "http://b.test/");
    check("https://b.test/#there", "https://b.test/");
    check("HTTPS://B.test:443/a b", "https://b.test/a%20b");
}

#[test]
fn a_redirect_that_cannot_be_followed_is_permanent() {
    let check = |location: Option<&str>, kind: FailureKind, word: &str| {
        let options = options();
        let mut transfer = transfer(URL, &options);
        let list: Vec<_> = location.iter().map(|value| ("location", *value)).collect();
        let fault = answer(&mut transfer, 301, &list, None).expect_err("not followed");
        assert_eq!(
            (fault.kind, fault.severity),
            (kind, Severity::Permanent),
            "{location:?}"
        );
        assert!(fault.message.contains(word), "{}", fault.message);
    };
    let long = format!("/{}", "a".repeat(20_000));
    let grows = format!("/{}", "\u{e9}".repeat(8_000));
    check(None, FailureKind::BadRedirect, "no location");
    check(Some("http://"), FailureKind::BadRedirect, "bad location");
    check(Some("ftp://a.test/"), FailureKind::BadRedirect, "ftp");
    check(Some("file:///etc/x"), FailureKind::BadRedirect, "file");
    check(
        Some("http://a{b/"),
        FailureKind::BadRedirect,
        "bad location",
    );
    check(Some(&long), FailureKind::BadRedirect, "longer");
    check(Some(&grows), FailureKind::BadRedirect, "longer");
}

#[test]
fn redirects_are_counted() {
    let options = options();
    let mut transfer = transfer(URL, &options);
    for number in 0..options.max_redirects {
        let location = format!("/{number}");
        let next = answer(&mut transfer, 302, &[("location", &location)], None);
        assert_eq!(next, Ok(Next::Follow));
    }
    let fault = answer(&mut transfer, 302, &[("location", "/new")], None).expect_err("too many");
    assert_eq!(fault.kind, FailureKind::TooManyRedirects);
    assert!(!fault.message.contains("loop"), "{}", fault.message);
}

#[test]
fn a_request_asks_for_the_body_as_it_is() {
    let mut options = options();
    let plain = transfer(URL, &options).request().expect("headers");
    assert_eq!(
        plain,
        headers(&[
            ("user-agent", "test/1"),
            ("accept", "*/*"),
            ("accept-encoding", "identity"),
        ])
    );
    options.compressed = true;
    let coded = transfer(URL, &options).request().expect("headers");
    assert_eq!(coded["accept-encoding"], "gzip, br, zstd");
    options.headers = vec![("User-Agent".to_owned(), "mine".to_owned())];
    let own = transfer(URL, &options).request().expect("headers");
    assert_eq!(own.get_all("user-agent").iter().count(), 1);
    assert_eq!(own["user-agent"], "mine");
    options.headers = vec![("bad name".to_owned(), String::new())];
    let fault = transfer(URL, &options).request().expect_err("no header");
    assert_eq!(fault.kind, FailureKind::Internal);
}

#[test]
fn a_body_is_held_to_its_announced_length_and_to_the_limit() {
    use FailureKind::{Protocol, TooLarge, Truncated};
    let check = |limit, length, chunks: &[u64], expect: Result<u64, FailureKind>| {
        let mut options = options();
        options.max_filesize = limit;
        let mut transfer = transfer(URL, &options);
        let result = answer(&mut transfer, 200, &[], length)
            .and_then(|_| {
                chunks
                    .iter()
                    .try_for_each(|chunk| transfer.on_chunk(*chunk))
            })
            .and_then(|()| transfer.on_end());
        let result = result
            .map(|()| transfer.received())
            .map_err(|fault| fault.kind);
        assert_eq!(result, expect, "{limit:?} {length:?} {chunks:?}");
    };
    check(None, None, &[], Ok(0));
    check(None, None, &[3, 4], Ok(7));
    check(None, Some(7), &[3, 4], Ok(7));
    check(None, Some(8), &[3, 4], Err(Truncated));
    check(None, Some(8), &[], Err(Truncated));
    check(None, Some(6), &[3, 4], Err(Protocol));
    check(Some(7), Some(7), &[7], Ok(7));
    check(Some(7), Some(8), &[], Err(TooLarge));
    check(Some(7), None, &[7, 1], Err(TooLarge));
    check(None, None, &[u64::MAX, u64::MAX], Ok(u64::MAX));
}

#[test]
fn every_transport_error_has_its_kind_and_severity() {
    use FailureKind as Kind;
    let transient = Severity::Transient { retry_after: None };
    let text = || "cause".to_owned();
    let resolve = |temporary| {
        TransportError::Resolve(if temporary {
            ResolveError::Temporary {
                host: text(),
                cause: text(),
            }
        } else {
            ResolveError::NoSuchHost {
                host: text(),
                cause: text(),
            }
        })
    };
    let proxy = |lasting| TransportError::Proxy {
        cause: text(),
        lasting,
    };
    let options = options();
    let mut head = transfer(URL, &options);
    let mut body = transfer(URL, &options);
    answer(&mut body, 200, &[], Some(9)).expect("a body follows");
    let permanent = Severity::Permanent;
    let check = |transfer: &Transfer<'_>, error: TransportError, kind, severity| {
        let fault = transfer.on_error(error);
        assert_eq!(
            (fault.kind, fault.severity),
            (kind, severity),
            "{}",
            fault.message
        );
    };
    for (error, kind, severity) in [
        (resolve(true), Kind::Resolve, transient),
        (resolve(false), Kind::Resolve, permanent),
        (
            TransportError::Resolve(ResolveError::OtherFamily {
                host: text(),
                addr: std::net::Ipv4Addr::LOCALHOST.into(),
            }),
            Kind::Resolve,
            permanent,
        ),
        (TransportError::Connect(text()), Kind::Connect, transient),
        (
            TransportError::ConnectTimeout,
            Kind::ConnectTimeout,
            transient,
        ),
        (TransportError::Tls(text()), Kind::Tls, permanent),
        (
            TransportError::Disconnected(text()),
            Kind::Disconnected,
            transient,
        ),
        (TransportError::Protocol(text()), Kind::Protocol, permanent),
        (TransportError::Broken(text()), Kind::Protocol, transient),
        (
            TransportError::WrongLength(text()),
            Kind::Protocol,
            permanent,
        ),
        (TransportError::Framing(text()), Kind::Framing, permanent),
        (
            TransportError::HeadTooLarge(text()),
            Kind::HeadTooLarge,
            permanent,
        ),
        (
            TransportError::Resolve(ResolveError::Blocked {
                host: text(),
                addr: std::net::Ipv4Addr::LOCALHOST.into(),
            }),
            Kind::Blocked,
            permanent,
        ),
        (proxy(true), Kind::Proxy, permanent),
        (proxy(false), Kind::Proxy, transient),
        (TransportError::Stalled, Kind::Stalled, transient),
        (TransportError::Timeout, Kind::Timeout, transient),
        (TransportError::Internal(text()), Kind::Internal, permanent),
    ] {
        check(&head, error, kind, severity);
    }
    let cut = TransportError::Disconnected(text());
    check(&body, cut, Kind::Truncated, transient);
    check(&body, TransportError::Stalled, Kind::Stalled, transient);
    let broken = TransportError::Broken(text());
    check(&body, broken, Kind::Truncated, transient);
    // Shorter or longer than announced: the number of received bytes decides.
    let wrong = || TransportError::WrongLength(text());
    check(&body, wrong(), Kind::Truncated, transient);
    body.on_chunk(9).expect("as announced");
    check(&body, wrong(), Kind::Protocol, permanent);
    // The body of a redirect does not count as the task's.
    answer(&mut head, 302, &[("location", "/z")], Some(9)).expect("followed");
    check(
        &head,
        TransportError::Disconnected(text()),
        Kind::Disconnected,
        transient,
    );
}

#[test]
fn max_time_covers_the_whole_attempt() {
    let mut options = options();
    let now = Instant::now();
    assert_eq!(transfer(URL, &options).remaining(now), Ok(None));
    options.max_time = Some(Duration::from_secs(9));
    let transfer = Transfer::new(URL, &options, Timestamp(0), now).expect("a good url");
    let later = |seconds| now + Duration::from_secs(seconds);
    assert_eq!(
        transfer.remaining(later(2)),
        Ok(Some(Duration::from_secs(7)))
    );
    let fault = transfer.remaining(later(9)).expect_err("nothing left");
    assert_eq!(fault.kind, FailureKind::Timeout);
}

#[test]
fn a_task_without_a_usable_url_is_our_own_defect() {
    for url in ["", "no url", "ftp://a.test/", "/relative", "http://"] {
        let options = options();
        let failure = Transfer::new(url, &options, Timestamp(5), Instant::now()).expect_err(url);
        assert_eq!(failure.kind, FailureKind::Internal);
        assert_eq!(failure.exchange.started, Timestamp(5));
    }
}

proptest! {
    #[test]
    fn nothing_that_a_server_sends_panics_or_outgrows_a_frame(
        heads in prop::collection::vec(
            (100_u16..1000, prop::collection::vec(any::<u8>(), 0..300), any::<Option<u64>>()),
            1..8,
        ),
        chunks in prop::collection::vec(any::<u64>(), 0..4),
    ) {
        let options = options();
        let mut transfer = transfer(URL, &options);
        let mut fault = Fault::permanent(FailureKind::Internal, "none");
        for (status, bytes, length) in heads {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                for name in ["location", "retry-after", "content-type"] {
                    let name = HeaderName::try_from(name).expect("a name");
                    headers.insert(name, value.clone());
                }
            }
            let status = StatusCode::from_u16(status).expect("in range");
            let head = Head { status, version: Version::HTTP_11, headers: &headers, length };
            match transfer.on_head(head, SystemTime::now()) {
                Ok(Next::Follow) => {}
                Ok(Next::Receive | Next::Resume { .. } | Next::Keep { .. }) => break,
                Err(found) => fault = found,
            }
            transfer.request().expect("our own headers are good");
        }
        for chunk in chunks {
            let _ = transfer.on_chunk(chunk);
        }
        let _ = transfer.on_end();
        prop_assert!(fault.message.len() <= 1024);
        if let Some(text) = &transfer.content_type {
            prop_assert!(text.len() <= 256);
        }
        let failure = transfer.failed(fault);
        prop_assert!(failure.exchange.final_url.map_or(0, |url| url.len()) <= 16 * 1024);
    }
}

#[test]
fn framing_that_could_be_read_in_two_ways_is_a_failure_of_its_own() {
    let check = |version, list: &[(&str, &str)], good: bool| {
        let options = options();
        let mut transfer = transfer(URL, &options);
        let headers = headers(list);
        let head = Head {
            status: StatusCode::OK,
            version,
            headers: &headers,
            length: None,
        };
        let next = transfer.on_head(head, SystemTime::UNIX_EPOCH);
        let kind = next.map_err(|fault| (fault.kind, fault.severity));
        let bad = Err((FailureKind::Framing, Severity::Permanent));
        let expect = if good { Ok(Next::Receive) } else { bad };
        assert_eq!(kind, expect, "{list:?}");
    };
    let coding = "transfer-encoding";
    let length = "content-length";
    let new = Version::HTTP_11;
    for value in [
        "chunked",
        "CHUNKED",
        "identity",
        " chunked ",
        "chunked,",
        "",
    ] {
        check(new, &[(coding, value)], true);
    }
    for value in ["gzip, chunked", "chunked, gzip", "chunked, chunked", "x"] {
        check(new, &[(coding, value)], false);
    }
    check(new, &[(coding, "chunked"), (coding, "chunked")], false);
    check(new, &[(coding, "chunked"), (length, "2")], true);
    check(new, &[(coding, "chunked"), (length, "x")], true);
    check(new, &[(coding, "identity"), (length, "x")], false);
    check(Version::HTTP_10, &[(coding, "chunked")], true);
    check(Version::HTTP_10, &[(length, "2")], true);
    check(new, &[(length, "2"), (length, "2")], true);
    check(new, &[(length, "2"), (length, "3")], false);
    check(new, &[(length, "2, 2")], true);
    for value in ["+2", "-2", "", "2,", "2, 3", "9223372036854775808", "2 2"] {
        check(new, &[(length, value)], false);
    }
    check(new, &[(length, "9223372036854775807")], true);
}
