//! Connections through a proxy, and connections that are refused.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use protocol::{
    Engine, Exemption, FailureKind, HttpOptions, Proxy, ProxyScheme, ResolveOverride, Severity,
    Trust,
};
use rustls::{ServerConnection, StreamOwned};

use crate::support::{Bench, ClosedPort, Server, TRANSIENT, ok, options, read_head};
use crate::tls;

fn proxy(scheme: ProxyScheme, addr: SocketAddr, login: bool) -> Proxy {
    Proxy {
        scheme,
        host: addr.ip().to_string(),
        port: addr.port(),
        credentials: login.then(|| ("me".to_owned(), "p:w".to_owned())),
    }
}

fn through(proxy: &Proxy) -> HttpOptions {
    let mut options = options();
    options.proxies.http = Some(proxy.clone());
    options.proxies.https = Some(proxy.clone());
    options
}

/// Copies in both directions until one side ends.
fn splice(mut near: TcpStream, mut far: TcpStream) {
    let (mut from, mut to) = (
        near.try_clone().expect("a copy"),
        far.try_clone().expect("a copy"),
    );
    let back = thread::spawn(move || {
        let _ = std::io::copy(&mut far, &mut near);
        let _ = near.shutdown(std::net::Shutdown::Both);
    });
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = back.join();
}

/// Starts a proxy for `CONNECT` that always connects to `origin`. Also returns its requests.
fn tunnels_to(origin: SocketAddr) -> (Server, Receiver<String>) {
    let (tell, heard) = channel();
    let tell = Mutex::new(tell);
    let server = Server::start(move |mut stream, _| {
        let head = read_head(&mut stream).unwrap_or_default();
        let _ = tell.lock().expect("no panic").send(head);
        let far = TcpStream::connect(origin).expect("the origin");
        let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
        splice(stream, far);
    });
    (server, heard)
}

fn http_is_asked_of_a_proxy_with_the_whole_url(engine: Engine) {
    let (tell, heard) = channel();
    let tell = Mutex::new(tell);
    let server = Server::answering(move |head| {
        let _ = tell
            .lock()
            .expect("no panic")
            .send(head.to_ascii_lowercase());
        ok("by proxy")
    });
    let proxy = proxy(ProxyScheme::Http, server.addr, true);
    let mut options = through(&proxy);
    options.headers = vec![("Authorization".to_owned(), "mine".to_owned())];
    let mut bench = Bench::new(engine, options);
    for path in ["/a?b", "/c"] {
        assert_eq!(
            bench.body(&format!("http://no-such-host.invalid:81{path}")),
            "by proxy"
        );
        let head = heard.recv().expect("a request");
        let mut lines = head.lines();
        let line = format!("get http://no-such-host.invalid:81{path} http/1.1");
        assert_eq!(lines.next(), Some(line.as_str()));
        for line in [
            "host: no-such-host.invalid:81",
            "proxy-authorization: basic bwu6cdp3",
            "authorization: mine",
        ] {
            assert!(head.lines().any(|known| known == line), "{line} in {head}");
        }
    }
    assert_eq!(server.accepted(), 1, "the connection is used again");
}

fn https_goes_through_a_tunnel(engine: Engine) {
    let (origin, pem) = tls::server(tls::answer);
    let (server, heard) = tunnels_to(origin.addr);
    let mut options = through(&proxy(ProxyScheme::Http, server.addr, true));
    options.trust = Trust::Pem(pem);
    let mut bench = Bench::new(engine, options);
    assert_eq!(bench.body("https://a.test/"), "a.test");
    assert_eq!(bench.body("https://a.test/again"), "a.test");
    let head = heard.recv().expect("a request");
    assert!(
        head.starts_with("CONNECT a.test:443 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("Proxy-Authorization: Basic bWU6cDp3\r\n"),
        "{head}"
    );
    assert_eq!(server.accepted(), 1);
}

fn a_proxy_can_be_reached_over_tls(engine: Engine) {
    let (server, pem) = tls::server(|stream| {
        while let Some(head) = read_head(stream) {
            let line = head.lines().next().unwrap_or_default().to_owned();
            let _ = stream.write_all(&ok(&line));
        }
    });
    let mut proxy = proxy(ProxyScheme::Https, server.addr, false);
    proxy.host = "a.test".to_owned();
    let mut options = through(&proxy);
    options.trust = Trust::Pem(pem);
    options.resolve = vec![ResolveOverride {
        host: "a.test".to_owned(),
        port: server.addr.port(),
        addr: server.addr.ip(),
    }];
    let body = Bench::new(engine, options).body("http://b.test/x");
    assert_eq!(body, "GET http://b.test/x HTTP/1.1");
}

fn tls_goes_through_a_proxy_that_is_reached_over_tls(engine: Engine) {
    let (config, pem) = tls::config();
    let (origin, second) = {
        let config = Arc::clone(&config);
        let origin = Server::start(move |stream, _| {
            let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
            tls::answer(&mut StreamOwned::new(session, stream));
        });
        (origin, pem.clone())
    };
    let at = origin.addr;
    let server = Server::start(move |stream, _| {
        let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
        let mut near = StreamOwned::new(session, stream);
        read_head(&mut near);
        let _ = near.write_all(b"HTTP/1.1 200 x\r\n\r\n");
        // One direction after the other, which suffices for a handshake and one exchange.
        let mut far = TcpStream::connect(at).expect("the origin");
        let mut buffer = [0; 32 * 1024];
        let _ = far.set_read_timeout(Some(std::time::Duration::from_millis(20)));
        let _ = near
            .sock
            .set_read_timeout(Some(std::time::Duration::from_millis(20)));
        loop {
            match near.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => far.write_all(&buffer[..read]).expect("passed on"),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            match far.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => near.write_all(&buffer[..read]).expect("passed back"),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    });
    let mut proxy = proxy(ProxyScheme::Https, server.addr, false);
    proxy.host = "a.test".to_owned();
    let mut options = through(&proxy);
    options.trust = Trust::Pem(second);
    options.resolve = vec![ResolveOverride {
        host: "a.test".to_owned(),
        port: server.addr.port(),
        addr: server.addr.ip(),
    }];
    assert_eq!(
        Bench::new(engine, options).body("https://a.test/"),
        "a.test"
    );
}

/// Starts a SOCKS 5 proxy that always connects to `origin`. Also returns its requests.
fn socks_to(origin: SocketAddr) -> (Server, Receiver<Vec<u8>>) {
    let (tell, heard) = channel();
    let tell = Mutex::new(tell);
    let server = Server::start(move |mut stream, _| {
        let mut greeting = [0; 2];
        stream.read_exact(&mut greeting).expect("a greeting");
        let mut methods = vec![0; usize::from(greeting[1])];
        stream.read_exact(&mut methods).expect("methods");
        let _ = stream.write_all(&[5, 0]);
        let mut request = vec![0; 5];
        stream.read_exact(&mut request).expect("a request");
        let rest = match request[3] {
            1 => 4 + 2 - 1,
            3 => usize::from(request[4]) + 2,
            _ => 16 + 2 - 1,
        };
        let mut rest = vec![0; rest];
        stream.read_exact(&mut rest).expect("its rest");
        let _ = tell
            .lock()
            .expect("no panic")
            .send([request, rest].concat());
        let far = TcpStream::connect(origin).expect("the origin");
        let _ = stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        splice(stream, far);
    });
    (server, heard)
}

fn socks_is_told_a_name_or_an_address(engine: Engine) {
    let origin = Server::answering(|_| ok("by socks"));
    let (server, heard) = socks_to(origin.addr);
    let options = through(&proxy(ProxyScheme::Socks5h, server.addr, false));
    let mut bench = Bench::new(engine, options);
    assert_eq!(bench.body("http://no-such-host.invalid/"), "by socks");
    let request = heard.recv().expect("a request");
    assert_eq!(request, b"\x05\x01\x00\x03\x14no-such-host.invalid\x00\x50");

    let mut options = through(&proxy(ProxyScheme::Socks5, server.addr, false));
    options.resolve = vec![ResolveOverride {
        host: "a.test".to_owned(),
        port: 80,
        addr: [192, 0, 2, 1].into(),
    }];
    let mut bench = Bench::new(engine, options);
    assert_eq!(bench.body("http://a.test/"), "by socks");
    let request = heard.recv().expect("a request");
    assert_eq!(request, [5, 1, 0, 1, 192, 0, 2, 1, 0, 80]);
}

fn hosts_that_are_exempt_are_asked_themselves(engine: Engine) {
    let origin = Server::answering(|_| ok("itself"));
    let dead = ClosedPort::new();
    let mut options = through(&proxy(ProxyScheme::Http, dead.addr, false));
    options.proxies.exempt = vec![Exemption::Network([127, 0, 0, 0].into(), 8)];
    assert_eq!(Bench::new(engine, options).body(&origin.url("/")), "itself");
}

fn a_proxy_that_is_not_there_or_refuses_is_a_failure_of_its_own(engine: Engine) {
    let check = |proxy: &Proxy, url: &str, severity| {
        let mut bench = Bench::new(engine, through(proxy));
        let failure = bench.fails(url, FailureKind::Proxy, severity);
        assert!(!failure.message.contains("p:w"), "{failure}");
    };
    let dead = ClosedPort::new();
    for scheme in [ProxyScheme::Http, ProxyScheme::Socks5h] {
        check(&proxy(scheme, dead.addr, true), "http://a.test/", TRANSIENT);
        check(
            &proxy(scheme, dead.addr, true),
            "https://a.test/",
            TRANSIENT,
        );
    }
    for (answer, severity) in [
        ("HTTP/1.1 407 x\r\n\r\n", Severity::Permanent),
        ("HTTP/1.1 403 x\r\n\r\n", Severity::Permanent),
        ("HTTP/1.1 502 x\r\n\r\n", TRANSIENT),
        ("SSH-2.0\r\n", Severity::Permanent),
        ("", TRANSIENT),
    ] {
        let server = Server::sending(answer.as_bytes());
        let http = proxy(ProxyScheme::Http, server.addr, true);
        check(&http, "https://a.test/", severity);
    }
    let server = Server::start(|mut stream, _| {
        let _ = stream.read(&mut [0; 9]);
        let _ = stream.write_all(&[5, 255]);
    });
    let socks = proxy(ProxyScheme::Socks5h, server.addr, false);
    check(&socks, "http://a.test/", Severity::Permanent);
}

fn private_addresses_are_not_connected_to(engine: Engine) {
    let server = Server::answering(|_| ok("inside"));
    let port = server.addr.port();
    let mut options = options();
    options.block_private = true;
    options.resolve = vec![ResolveOverride {
        host: "pinned.test".to_owned(),
        port,
        addr: server.addr.ip(),
    }];
    let mut bench = Bench::new(engine, options);
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "pinned.test",
        "169.254.169.254",
        "0.0.0.0",
    ] {
        let url = format!("http://{host}:{port}/");
        bench.fails(&url, FailureKind::Blocked, Severity::Permanent);
    }
    assert_eq!(server.accepted(), 0);
}

fn private_addresses_are_not_reached_by_a_redirect_either(engine: Engine) {
    let inside = Server::answering(|_| ok("inside"));
    let target = inside.url("/");
    // The address of the proxy is the user's choice, but its redirects are not.
    let server = Server::answering(move |_| {
        format!("HTTP/1.1 302 x\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let mut options = through(&proxy(ProxyScheme::Http, server.addr, false));
    options.block_private = true;
    let mut bench = Bench::new(engine, options.clone());
    let url = "http://public.test/";
    bench.fails(url, FailureKind::Blocked, Severity::Permanent);
    options.proxies.exempt = vec![Exemption::Network([127, 0, 0, 0].into(), 8)];
    let mut bench = Bench::new(engine, options);
    bench.fails(url, FailureKind::Blocked, Severity::Permanent);
    assert_eq!((inside.accepted(), server.accepted()), (0, 2));
}

fn credentials_do_not_follow_to_another_host(engine: Engine) {
    let (tell, heads) = channel();
    let tell = Mutex::new(tell);
    let there = Server::answering(move |head| {
        let _ = tell
            .lock()
            .expect("no panic")
            .send(head.to_ascii_lowercase());
        ok("there")
    });
    let target = there.url("/");
    let here = Server::answering(move |_| {
        format!("HTTP/1.1 307 x\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let mut options = options();
    options.headers = [
        ("Cookie", "secret"),
        ("X-Auth-Token", "secret"),
        ("X-Api-Key", "secret"),
        ("Proxy-Authorization", "secret"),
        ("X-Other", "kept"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let url = format!("http://me:secret@{}/", here.addr);
    let stored = Bench::new(engine, options).get(&url).expect("stored");
    assert_eq!(stored.exchange.final_url, Some(there.url("/")));
    let head = heads.recv().expect("a request");
    assert!(head.contains("x-other: kept"), "{head}");
    assert!(
        !head.contains("secret") && !head.contains("authorization"),
        "{head}"
    );
}

crate::on_every_engine![
    http_is_asked_of_a_proxy_with_the_whole_url,
    https_goes_through_a_tunnel,
    a_proxy_can_be_reached_over_tls,
    tls_goes_through_a_proxy_that_is_reached_over_tls,
    socks_is_told_a_name_or_an_address,
    hosts_that_are_exempt_are_asked_themselves,
    a_proxy_that_is_not_there_or_refuses_is_a_failure_of_its_own,
    private_addresses_are_not_connected_to,
    private_addresses_are_not_reached_by_a_redirect_either,
    credentials_do_not_follow_to_another_host,
];
