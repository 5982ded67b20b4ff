//! All engines against servers that behave, and servers that do not.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::support::{
    Bench, ClosedPort, Server, TRANSIENT, ok, options, read_head, reset, wait_for_end,
};
use protocol::{Engine, FailureKind, Family, Proxy, ProxyScheme, ResolveOverride, Severity};
use rustix::net::{AddressFamily, SocketType};

const SOON: Duration = Duration::from_millis(200);

fn failing(engine: Engine, bytes: &'static [u8], kind: FailureKind, severity: Severity) {
    let server = Server::sending(bytes);
    Bench::new(engine, options()).fails(&server.url("/"), kind, severity);
}

fn a_body_is_stored_with_what_was_seen_of_the_exchange(engine: Engine) {
    let server = Server::answering(|_| {
        let mut response = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n".to_vec();
        response.extend(b"Content-Length: 3\r\n\r\nabc");
        response
    });
    let stored = Bench::new(engine, options())
        .get(&server.url("/a"))
        .expect("stored");
    assert_eq!(stored.bytes, 3);
    assert_eq!(stored.sha256[..4], [0xba, 0x78, 0x16, 0xbf]);
    assert_eq!(stored.content_type.as_deref(), Some("text/plain"));
    assert_eq!(stored.exchange.status, Some(200));
    assert_eq!(stored.exchange.final_url, None);
    assert!(stored.exchange.started.0 > 0);
    let timing = stored.exchange.timing;
    assert!(timing.connect > Duration::ZERO && timing.first_byte > Duration::ZERO);
    assert!(timing.store > Duration::ZERO);
    assert_eq!(timing.tls, Duration::ZERO);
}

fn bodies_of_every_framing_and_size_arrive_whole(engine: Engine) {
    let check = |head: &str, body: &[u8], expect: &str| {
        let response = [head.as_bytes(), b"\r\n\r\n", body].concat();
        let server = Server::start(move |mut stream, _| {
            read_head(&mut stream);
            let _ = stream.write_all(&response);
        });
        assert!(
            Bench::new(engine, options()).body(&server.url("/")) == expect,
            "{head}"
        );
    };
    let large = "0123456789abcdef".repeat(700_000);
    let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {}", large.len());
    check(&length, large.as_bytes(), &large);
    check("HTTP/1.1 200 OK", large.as_bytes(), &large);
    check("HTTP/1.0 200 OK", b"old", "old");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked";
    check(
        chunked,
        b"2;x=y\r\nab\r\n1\r\nc\r\n0\r\nTrailer: t\r\n\r\n",
        "abc",
    );
    check("HTTP/1.1 204 No Content", b"", "");
    check("HTTP/1.1 200 OK\r\nContent-Length: 0", b"", "");
    let early =
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1";
    check(early, b"x", "x");
    let coded = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4";
    check(coded, b"sent", "sent");
}

fn the_request_says_what_the_options_say(engine: Engine) {
    let (tell, heads) = channel();
    let tell = Mutex::new(tell);
    let server = Server::answering(move |head| {
        let _ = tell.lock().expect("no panic").send(head.to_owned());
        ok("")
    });
    let mut options = options();
    options.headers = vec![("X-Mine".to_owned(), "yes".to_owned())];
    options.resolve = vec![ResolveOverride {
        host: "a.test".to_owned(),
        port: server.addr.port(),
        addr: server.addr.ip(),
    }];
    let url = format!("http://a.test:{}/p?q#f", server.addr.port());
    Bench::new(engine, options).body(&url);
    let head = heads.recv().expect("a request").to_ascii_lowercase();
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "get /p?q http/1.1");
    lines.sort_unstable();
    let host = format!("host: a.test:{}", server.addr.port());
    let expect = [
        "accept-encoding: identity",
        "accept: */*",
        &host,
        "user-agent: test/1",
    ];
    assert_eq!(lines, [&expect[..], &["x-mine: yes"]].concat());
}

fn a_connection_is_used_again_after_bodies_failures_and_redirects(engine: Engine) {
    let server = Server::answering(|head| {
        let gone = "HTTP/1.1 404 Not Found\r\nConnection: keep-alive\r\n\
                    Content-Length: 4\r\n\r\ngone";
        let moved = "HTTP/1.1 302 Found\r\nLocation: /a\r\nTransfer-Encoding: chunked\r\n\r\n\
                     3\r\nsee\r\n0\r\n\r\n";
        match head.split(' ').nth(1) {
            Some("/gone") => gone.into(),
            Some("/moved") => moved.into(),
            _ => ok("body"),
        }
    });
    let mut bench = Bench::new(engine, options());
    bench.fails(
        &server.url("/gone"),
        FailureKind::Status,
        Severity::Permanent,
    );
    for path in ["/a", "/moved", "/b"] {
        assert_eq!(bench.body(&server.url(path)), "body");
    }
    let timing = bench
        .get(&server.url("/c"))
        .expect("stored")
        .exchange
        .timing;
    assert_eq!(timing.connect, Duration::ZERO);
    assert_eq!(server.accepted(), 1);
}

fn a_request_that_meets_a_closed_pooled_connection_is_sent_again(engine: Engine) {
    for by_reset in [false, true] {
        let server = Server::start(move |mut stream, number| {
            read_head(&mut stream);
            let _ = stream.write_all(&ok("body"));
            if number == 0 && by_reset {
                reset(stream);
            } else {
                read_head(&mut stream);
            }
        });
        let mut bench = Bench::new(engine, options());
        assert_eq!(bench.body(&server.url("/1")), "body");
        assert_eq!(bench.body(&server.url("/2")), "body");
        assert_eq!(server.accepted(), 2);
    }
}

/// While the body is read, long after its head, nothing may count as an answer to the next request.
fn a_closed_pooled_connection_is_noticed_behind_a_large_body_too(engine: Engine) {
    let large = "x".repeat(3_000_000);
    let server = Server::start(move |mut stream, number| {
        if read_head(&mut stream).is_some() {
            let _ = stream.write_all(&ok(&large));
        }
        // The first connection closes when it is used again.
        while read_head(&mut stream).is_some() && number > 0 {
            let _ = stream.write_all(&ok("again"));
        }
    });
    let mut bench = Bench::new(engine, options());
    assert_eq!(bench.body(&server.url("/")).len(), 3_000_000);
    assert_eq!(bench.body(&server.url("/")).len(), 3_000_000);
    assert_eq!(bench.body(&server.url("/")), "again");
    assert_eq!(server.accepted(), 2);
}

fn a_new_connection_that_is_closed_without_an_answer_is_not_tried_again(engine: Engine) {
    for by_reset in [false, true] {
        let server = Server::start(move |mut stream, _| {
            if by_reset {
                reset(stream);
            } else {
                read_head(&mut stream);
            }
        });
        let mut bench = Bench::new(engine, options());
        bench.fails(&server.url("/"), FailureKind::Disconnected, TRANSIENT);
        assert_eq!(server.accepted(), 1);
    }
    failing(
        engine,
        b"HTTP/1.1 200 OK\r\nContent-Le",
        FailureKind::Disconnected,
        TRANSIENT,
    );
}

fn a_reset_is_not_the_end_of_a_body_without_a_length(engine: Engine) {
    for length in ["", "Content-Length: 9\r\n"] {
        let server = Server::start(move |mut stream, _| {
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{length}\r\nshort").as_bytes());
            reset(stream);
        });
        let mut bench = Bench::new(engine, options());
        bench.fails(&server.url("/"), FailureKind::Truncated, TRANSIENT);
    }
}

fn a_server_that_falls_silent_is_left(engine: Engine) {
    for bytes in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
    ] {
        let server = Server::start(move |mut stream, _| {
            let _ = stream.write_all(bytes.as_bytes());
            wait_for_end(&mut stream);
        });
        let mut options = options();
        options.stall_timeout = SOON;
        Bench::new(engine, options).fails(&server.url("/"), FailureKind::Stalled, TRANSIENT);
    }
}

fn max_time_ends_an_attempt_that_keeps_moving(engine: Engine) {
    let dripping = |head: &'static str| {
        Server::start(move |mut stream, _| {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(b"x").is_ok() {
                std::thread::yield_now();
            }
        })
    };
    let mut options = options();
    options.max_time = Some(SOON);
    let server = dripping("HTTP/1.1 200 OK\r\n\r\n");
    Bench::new(engine, options.clone()).fails(&server.url("/"), FailureKind::Timeout, TRANSIENT);
    let server = Server::start(|mut stream, _| wait_for_end(&mut stream));
    Bench::new(engine, options).fails(&server.url("/"), FailureKind::Timeout, TRANSIENT);
}

fn redirects_are_followed_and_the_last_url_is_reported(engine: Engine) {
    let there = Server::answering(|_| ok("there"));
    let target = there.url("/x");
    let here = Server::answering(move |_| {
        format!("HTTP/1.1 301 Moved\r\nLocation: {target}#f\r\nContent-Length: 0\r\n\r\n").into()
    });
    let stored = Bench::new(engine, options())
        .get(&here.url("/"))
        .expect("stored");
    assert_eq!(stored.exchange.final_url, Some(there.url("/x")));
    assert_eq!(stored.exchange.status, Some(200));
    assert_eq!(stored.bytes, 5);
}

fn redirects_that_lead_nowhere_fail(engine: Engine) {
    use FailureKind::{BadRedirect, TooManyRedirects};
    let server = Server::answering(|head| match head.split(' ').nth(1) {
        Some("/none") => b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        Some("/ftp") => b"HTTP/1.1 302 Found\r\nLocation: ftp://a/\r\n\r\n".to_vec(),
        Some("/loop") => b"HTTP/1.1 302 Found\r\nLocation: /loop\r\n\r\n".to_vec(),
        path => {
            let path = path.unwrap_or_default();
            format!("HTTP/1.1 302 Found\r\nLocation: {path}x\r\nContent-Length: 0\r\n\r\n").into()
        }
    });
    let check = |path: &str, kind| {
        Bench::new(engine, options()).fails(&server.url(path), kind, Severity::Permanent);
    };
    check("/none", BadRedirect);
    check("/ftp", BadRedirect);
    check("/loop", TooManyRedirects);
    check("/many", TooManyRedirects);
}

fn a_status_that_may_pass_says_when(engine: Engine) {
    let server =
        Server::sending(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy");
    let failure = Bench::new(engine, options())
        .get(&server.url("/"))
        .expect_err("busy");
    let retry_after = Some(Duration::from_secs(7));
    assert_eq!(failure.severity, Severity::Transient { retry_after });
    assert_eq!(failure.exchange.status, Some(503));
}

fn a_body_over_the_limit_is_refused_announced_or_not(engine: Engine) {
    let mut options = options();
    options.max_filesize = Some(4);
    for bytes in [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlarge".as_slice(),
        b"HTTP/1.1 200 OK\r\n\r\nlarge",
    ] {
        let server = Server::sending(bytes);
        let mut bench = Bench::new(engine, options.clone());
        bench.fails(&server.url("/"), FailureKind::TooLarge, Severity::Permanent);
    }
}

fn nobody_who_listens_is_a_refused_connection(engine: Engine) {
    let closed = ClosedPort::new();
    let failure = Bench::new(engine, options()).fails(
        &format!("http://{}/", closed.addr),
        FailureKind::Connect,
        TRANSIENT,
    );
    assert!(failure.message.contains("refused"), "{failure}");
}

fn a_host_that_takes_no_connection_is_given_up(engine: Engine) {
    // A listener with a full queue answers no more handshakes.
    let socket =
        rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
    rustix::net::listen(&socket, 0).expect("listening");
    let listener = TcpListener::from(socket);
    let addr = listener.local_addr().expect("its address");
    let _fill = std::net::TcpStream::connect(addr).expect("the one that fits");
    let mut options = options();
    options.connect_timeout = SOON;
    let url = format!("http://{addr}/");
    Bench::new(engine, options.clone()).fails(&url, FailureKind::ConnectTimeout, TRANSIENT);
    options.max_time = Some(SOON / 2);
    Bench::new(engine, options).fails(&url, FailureKind::Timeout, TRANSIENT);
}

fn time_limits_without_an_end_are_fine(engine: Engine) {
    let server = Server::answering(|_| ok("body"));
    let mut options = options();
    options.connect_timeout = Duration::MAX;
    options.stall_timeout = Duration::MAX;
    options.max_time = Some(Duration::MAX);
    assert_eq!(Bench::new(engine, options).body(&server.url("/")), "body");
}

fn an_unknown_host_is_not_resolved(engine: Engine) {
    let url = "http://no-such-host.invalid/";
    let failure = Bench::new(engine, options()).get(url).expect_err("unknown");
    // A machine without name servers reports "try again" instead of "no such host".
    assert_eq!(failure.kind, FailureKind::Resolve, "{failure}");
}

fn a_chosen_family_holds_for_names_and_not_for_addresses(engine: Engine) {
    let Some(server) = Server::on_both_families() else {
        return;
    };
    let port = server.addr.port();
    let (v4, v6) = ("127.0.0.1", "::1");
    for (family, own, other) in [(Family::V4, v4, v6), (Family::V6, v6, v4)] {
        let mut options = options();
        options.family = Some(family);
        // What curl's manual says of an address given by `--resolve`.
        options.resolve = vec![ResolveOverride {
            host: "pinned.test".to_owned(),
            port,
            addr: other.parse().expect("an address"),
        }];
        let mut bench = Bench::new(engine, options.clone());
        for (host, expected) in [
            ("both.localhost", own),
            ("pinned.test", other),
            ("127.0.0.1", v4),
            ("[::1]", v6),
        ] {
            let url = format!("http://{host}:{port}/");
            assert_eq!(bench.body(&url), expected, "{url} with {family:?}");
        }
        options.proxies.http = Some(Proxy {
            scheme: ProxyScheme::Http,
            host: "proxy.localhost".to_owned(),
            port,
            credentials: None,
        });
        let mut bench = Bench::new(engine, options);
        assert_eq!(bench.body("http://a.test/"), own, "by proxy");
    }
}

fn credentials_in_a_url_are_sent_as_basic_authorization(engine: Engine) {
    let (tell, heads) = channel();
    let tell = Mutex::new(tell);
    let server = Server::answering(move |head| {
        let _ = tell.lock().expect("no panic").send(head.to_owned());
        ok("")
    });
    let url = format!("http://us%65r:p%40ss@{}/", server.addr);
    Bench::new(engine, options()).body(&url);
    let head = heads.recv().expect("a request").to_ascii_lowercase();
    let value = "authorization: basic dxnlcjpwqhnz";
    assert!(head.lines().any(|line| line == value), "{head}");
    let host = format!("host: {}", server.addr);
    assert!(head.lines().any(|line| line == host), "{head}");
}

fn a_server_that_answers_before_it_is_asked_is_heard(engine: Engine) {
    let server = Server::start(|mut stream, _| {
        let _ = stream.write_all(&ok("early"));
        read_head(&mut stream);
        wait_for_end(&mut stream);
    });
    assert_eq!(
        Bench::new(engine, options()).body(&server.url("/")),
        "early"
    );
}

crate::on_every_engine![
    credentials_in_a_url_are_sent_as_basic_authorization,
    a_server_that_answers_before_it_is_asked_is_heard,
    a_body_is_stored_with_what_was_seen_of_the_exchange,
    bodies_of_every_framing_and_size_arrive_whole,
    the_request_says_what_the_options_say,
    a_connection_is_used_again_after_bodies_failures_and_redirects,
    a_request_that_meets_a_closed_pooled_connection_is_sent_again,
    a_new_connection_that_is_closed_without_an_answer_is_not_tried_again,
    a_closed_pooled_connection_is_noticed_behind_a_large_body_too,
    a_reset_is_not_the_end_of_a_body_without_a_length,
    a_server_that_falls_silent_is_left,
    max_time_ends_an_attempt_that_keeps_moving,
    redirects_are_followed_and_the_last_url_is_reported,
    redirects_that_lead_nowhere_fail,
    a_status_that_may_pass_says_when,
    a_body_over_the_limit_is_refused_announced_or_not,
    nobody_who_listens_is_a_refused_connection,
    a_host_that_takes_no_connection_is_given_up,
    time_limits_without_an_end_are_fine,
    an_unknown_host_is_not_resolved,
    a_chosen_family_holds_for_names_and_not_for_addresses,
];
