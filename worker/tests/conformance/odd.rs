//! Servers with odd but harmless responses, which are stored.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use protocol::{Engine, FailureKind, Severity};

use rustix::net::{AddressFamily, SocketType};

use crate::support::{Bench, Heads, Server, TRANSIENT, ok, options, read_head};

fn a_location_in_raw_bytes_is_percent_encoded_as_it_is(engine: Engine) {
    for (location, target) in [
        (&b"/caf\xe9.txt"[..], "/caf%E9.txt"),
        (b"/\xd6\xd0 \xce\xc4#f", "/%D6%D0%20%CE%C4"),
        (b"/a?b=\xe9%20", "/a?b=%E9%20"),
        ("/caf\u{e9}".as_bytes(), "/caf%C3%A9"),
    ] {
        let redirect = [b"HTTP/1.1 302 x\r\nLocation: ", location, b"\r\n\r\n"].concat();
        let (server, heads) = Server::in_turn(vec![redirect, ok("there")]);
        assert_eq!(
            Bench::new(engine, options()).body(&server.url("/")),
            "there"
        );
        assert_eq!(heads.line(1), format!("GET {target} HTTP/1.1"));
    }
}

/// Starts a server that answers with the header lines in `head` and the body `ok`.
fn answering(head: &'static str) -> Server {
    Server::answering(move |_| format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nok").into_bytes())
}

fn after_an_odd_head_the_connection_is_not_used_again(engine: Engine) {
    for (head, connections) in [
        ("Content-Length: 2", 1),
        ("X: a\r\n b\r\nContent-Length: 2", 1),
        ("X : a\r\nContent-Length: 2", 2),
        ("no colon\r\nContent-Length: 2", 2),
        ("Content-Length: 2\r\nContent-Length: 2", 2),
        ("Content-Length: 2, 2", 2),
        ("Content-Length: 2\r\nTransfer-Encoding: identity", 2),
    ] {
        let server = answering(head);
        let mut bench = Bench::new(engine, options());
        for _ in 0..2 {
            assert_eq!(bench.body(&server.url("/")), "ok", "{head}");
        }
        assert_eq!(server.accepted(), connections, "{head}");
    }
}

fn chunks_override_a_length_and_end_the_connection(engine: Engine) {
    let server = Server::answering(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n\
          2\r\nok\r\n0\r\n\r\n"
            .to_vec()
    });
    let mut bench = Bench::new(engine, options());
    for _ in 0..2 {
        assert_eq!(bench.body(&server.url("/")), "ok");
    }
    assert_eq!(server.accepted(), 2);
}

fn a_large_head_leaves_its_connection_and_its_body_alone(engine: Engine) {
    let server = Server::answering(|_| {
        let headers = format!("X: {}\r\n", "x".repeat(2000)).repeat(100);
        let body = "b".repeat(200_000);
        format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 200000\r\n\r\n{body}").into_bytes()
    });
    let mut bench = Bench::new(engine, options());
    for _ in 0..2 {
        assert_eq!(bench.body(&server.url("/")), "b".repeat(200_000));
    }
    assert_eq!(server.accepted(), 1);
}

fn a_content_coding_that_is_none_leaves_the_body_as_it_is(engine: Engine) {
    for name in [
        "UTF-8",
        "none",
        "aws-chunked",
        "",
        "identity",
        "8bit",
        "text/plain",
    ] {
        for compressed in [true, false] {
            let head = format!("Content-Encoding: {name}\r\nContent-Length: 2");
            let server = answering(head.leak());
            let mut given = options();
            given.compressed = compressed;
            assert_eq!(Bench::new(engine, given).body(&server.url("/")), "ok");
        }
    }
    let server = answering("Content-Encoding: bzip2\r\nContent-Length: 2");
    let mut given = options();
    given.compressed = true;
    let url = server.url("/");
    Bench::new(engine, given).fails(&url, FailureKind::Encoding, Severity::Permanent);
}

/// Starts a server that redirects from `/gate` to `/login` and back, and from `/self` to itself,
/// until it receives the cookie that it sets.
fn gate() -> (Server, Heads) {
    let heads = Heads::default();
    let seen = heads.clone();
    let server = Server::answering(move |head| {
        seen.push(head);
        let to = |path: &str, cookie: &str| {
            let head = format!("HTTP/1.1 302 x\r\nLocation: {path}\r\n{cookie}");
            format!("{head}Content-Length: 0\r\n\r\n").into_bytes()
        };
        let cookie = "Set-Cookie: ok=1; Path=/\r\n";
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path {
            _ if head.contains("ok=1") && path != "/login" => ok("inside"),
            "/gate" => to("/login", ""),
            "/login" => to("/gate", cookie),
            _ => to("/self", cookie),
        }
    });
    (server, heads)
}

fn a_cookie_that_a_redirect_sets_comes_with_the_next_request(engine: Engine) {
    for path in ["/self", "/gate"] {
        let (server, heads) = gate();
        let mut bench = Bench::new(engine, options());
        assert_eq!(bench.body(&server.url(path)), "inside");
        // The cookie belongs only to that task.
        let before = heads.count();
        assert_eq!(bench.body(&server.url(path)), "inside");
        assert_eq!(heads.value(before, "cookie"), None);
    }
}

fn a_cookie_goes_with_the_users_own_and_to_its_host_alone(engine: Engine) {
    let (there, heads) = Server::in_turn(vec![ok("there")]);
    let port = there.addr.port();
    let (here, own) = Server::in_turn(vec![
        b"HTTP/1.1 302 x\r\nLocation: /again\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2; Path=/elsewhere\r\n\
          Set-Cookie: c=3; Domain=other.test\r\n\r\n"
            .to_vec(),
        format!("HTTP/1.1 302 x\r\nLocation: http://other.test:{port}/\r\n\r\n").into(),
    ]);
    let mut given = options();
    given.headers = vec![("Cookie".to_owned(), "mine=0".to_owned())];
    given.resolve = vec![protocol::ResolveOverride {
        host: "other.test".to_owned(),
        port,
        addr: there.addr.ip(),
    }];
    let mut bench = Bench::new(engine, given);
    assert_eq!(bench.body(&here.url("/")), "there");
    assert_eq!(own.value(0, "cookie").as_deref(), Some("mine=0"));
    assert_eq!(own.value(1, "cookie").as_deref(), Some("mine=0; a=1"));
    assert_eq!(heads.value(0, "cookie"), None);
}

fn the_same_request_is_sent_twice_and_no_third_time(engine: Engine) {
    let back = b"HTTP/1.1 302 x\r\nLocation: /\r\n\r\n".to_vec();
    let (server, heads) = Server::in_turn(vec![back.clone(), ok("once")]);
    assert_eq!(Bench::new(engine, options()).body(&server.url("/")), "once");
    assert_eq!(heads.count(), 2);

    let (server, heads) = Server::in_turn(vec![back]);
    let url = server.url("/");
    let mut bench = Bench::new(engine, options());
    bench.fails(&url, FailureKind::TooManyRedirects, Severity::Permanent);
    assert_eq!(heads.count(), 2);
}

/// Response of a server to a request for a range.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Answers(&'static str),
    HangsUp,
}

fn a_range_that_is_refused_or_not_answered_becomes_the_whole_body(engine: Engine) {
    const BODY: &str = "0123456789";
    let whole = format!("HTTP/1.1 200 OK\r\nETag: \"one\"\r\nContent-Length: 10\r\n\r\n{BODY}");
    for (refusal, ranges) in [
        (Refusal::Answers("400 No"), 1),
        (Refusal::Answers("403 No"), 1),
        (Refusal::Answers("412 No"), 1),
        (Refusal::Answers("416 No"), 1),
        (Refusal::Answers("501 No"), 1),
        (Refusal::Answers("500 No"), 2),
        (Refusal::Answers("502 No"), 2),
        (Refusal::HangsUp, 2),
    ] {
        let heads = Heads::default();
        let (seen, whole) = (heads.clone(), whole.clone());
        let server = Server::start(move |mut stream, number| {
            let Some(head) = read_head(&mut stream) else {
                return;
            };
            seen.push(&head);
            let _ = match refusal {
                _ if number == 0 => stream.write_all(&whole.as_bytes()[..whole.len() - 5]),
                _ if !head.to_ascii_lowercase().contains("\nrange:") => {
                    stream.write_all(whole.as_bytes())
                }
                Refusal::Answers(status) => {
                    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
                }
                Refusal::HangsUp => Ok(()),
            };
        });
        let mut bench = Bench::new(engine, options());
        let url = server.url("/");
        bench.fails(&url, FailureKind::Truncated, TRANSIENT);
        assert_eq!(bench.body(&url), BODY, "{refusal:?}");
        let sent = (0..heads.count()).filter(|head| heads.value(*head, "range").is_some());
        assert_eq!(sent.count(), ranges, "{refusal:?}");
    }
}

/// What is on disk is not discarded after one failure.
fn a_range_that_fails_once_is_asked_for_again(engine: Engine) {
    let part = "HTTP/1.1 200 OK\r\nETag: \"one\"\r\nContent-Length: 10\r\n\r\n01234";
    let rest = "HTTP/1.1 206 x\r\nETag: \"one\"\r\nContent-Range: bytes 5-9/10\r\n\
                Content-Length: 5\r\n\r\n56789";
    for failure in ["", "HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n"] {
        let (server, _) = Server::in_turn(vec![part.into(), failure.into(), rest.into()]);
        let mut bench = Bench::new(engine, options());
        let url = server.url("/");
        bench.fails(&url, FailureKind::Truncated, TRANSIENT);
        assert_eq!(bench.body(&url), "0123456789");
    }
}

/// A busy server says nothing about the range.
fn a_server_that_is_busy_is_not_asked_for_the_whole_body_instead(engine: Engine) {
    let part = "HTTP/1.1 200 OK\r\nETag: \"one\"\r\nContent-Length: 10\r\n\r\n01234";
    let busy = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    let (server, heads) = Server::in_turn(vec![part.into(), busy.into()]);
    let mut bench = Bench::new(engine, options());
    let url = server.url("/");
    bench.fails(&url, FailureKind::Truncated, TRANSIENT);
    bench.fails(&url, FailureKind::Status, TRANSIENT);
    assert_eq!(heads.count(), 2);
}

fn a_request_that_a_kept_connection_answers_with_408_is_sent_over_a_new_one(engine: Engine) {
    let timeout = b"HTTP/1.1 408 x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let server = Server::start(move |mut stream, _| {
        if read_head(&mut stream).is_some() {
            let _ = stream.write_all(&ok("first"));
        }
        if read_head(&mut stream).is_some() {
            let _ = stream.write_all(timeout);
        }
    });
    let mut bench = Bench::new(engine, options());
    for _ in 0..3 {
        assert_eq!(bench.body(&server.url("/")), "first");
    }
    assert_eq!(server.accepted(), 3);

    // As the first response of a connection, a 408 counts.
    let server = Server::sending(timeout);
    let url = server.url("/");
    Bench::new(engine, options()).fails(&url, FailureKind::Status, TRANSIENT);
    assert_eq!(server.accepted(), 1);
}

/// Returns an address that does not answer, because its listener accepts no more connections.
fn silent_address(port: u16) -> (TcpListener, Vec<TcpStream>) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
    let socket = socket.expect("a socket");
    let addr = SocketAddr::from(([127, 0, 0, 99], port));
    rustix::net::bind(&socket, &addr).expect("a free port");
    rustix::net::listen(&socket, 0).expect("it listens");
    let full =
        std::iter::from_fn(|| TcpStream::connect_timeout(&addr, Duration::from_millis(200)).ok());
    let full = full.take(16).collect();
    (TcpListener::from(socket), full)
}

fn an_address_that_does_not_answer_costs_a_moment_and_is_remembered(engine: Engine) {
    let server = Server::answering(|_| {
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".to_vec()
    });
    let port = server.addr.port();
    let silent = silent_address(port);
    let mut given = options();
    given.resolve = [[127, 0, 0, 99], [127, 0, 0, 1]]
        .map(|addr| protocol::ResolveOverride {
            host: "two.test".to_owned(),
            port,
            addr: addr.into(),
        })
        .into();
    let mut bench = Bench::new(engine, given);
    let url = format!("http://two.test:{port}/");
    let mut connect = || bench.get(&url).expect("stored").exchange.timing.connect;
    let first = connect();
    assert!(first >= Duration::from_millis(250), "{first:?}");
    assert!(first < Duration::from_secs(5), "{first:?}");
    let least = (0..8).map(|_| connect()).min();
    assert!(least < Some(Duration::from_millis(250)), "{least:?}");
    drop(silent);
}

fn a_body_slower_than_the_speed_limit_is_given_up(engine: Engine) {
    let server = Server::start(|mut stream, _| {
        read_head(&mut stream);
        let _ = stream.set_nodelay(true);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        let mut begun = Instant::now();
        while stream.write_all(b"x").is_ok() {
            while begun.elapsed() < Duration::from_millis(20) {
                std::thread::yield_now();
            }
            begun = Instant::now();
        }
    });
    let mut given = options();
    given.stall_timeout = Duration::from_millis(500);
    given.speed_limit = Some(1000);
    let mut bench = Bench::new(engine, given);
    let failure = bench.fails(&server.url("/"), FailureKind::Stalled, TRANSIENT);
    assert!(failure.message.contains("too slow"), "{failure}");
}

fn a_request_says_one_host(engine: Engine) {
    let server = Server::answering(ok);
    for headers in [
        vec![("Host", "a.test")],
        vec![("host", "b.test"), ("HOST", "a.test")],
        vec![],
    ] {
        let mut given = options();
        let pairs = headers.iter();
        given.headers = pairs.map(|(a, b)| (a.to_string(), b.to_string())).collect();
        let head = Bench::new(engine, given).body(&server.url("/"));
        let head = head.to_ascii_lowercase();
        assert_eq!(head.matches("\nhost:").count(), 1, "{head}");
        assert_eq!(head.contains("host: a.test"), !headers.is_empty(), "{head}");
    }
}

crate::on_every_engine![
    an_address_that_does_not_answer_costs_a_moment_and_is_remembered,
    a_body_slower_than_the_speed_limit_is_given_up,
    a_request_says_one_host,
    a_location_in_raw_bytes_is_percent_encoded_as_it_is,
    after_an_odd_head_the_connection_is_not_used_again,
    chunks_override_a_length_and_end_the_connection,
    a_large_head_leaves_its_connection_and_its_body_alone,
    a_content_coding_that_is_none_leaves_the_body_as_it_is,
    a_cookie_that_a_redirect_sets_comes_with_the_next_request,
    a_cookie_goes_with_the_users_own_and_to_its_host_alone,
    the_same_request_is_sent_twice_and_no_third_time,
    a_range_that_is_refused_or_not_answered_becomes_the_whole_body,
    a_range_that_fails_once_is_asked_for_again,
    a_server_that_is_busy_is_not_asked_for_the_whole_body_instead,
    a_request_that_a_kept_connection_answers_with_408_is_sent_over_a_new_one,
];
