//! Servers that do harm by more than bytes: by the time of sending and by the names they send.

use std::io::{Read, Write};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use protocol::{Engine, FailureKind, Proxy, ProxyScheme, Severity, Simulated, Trust};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::support::{Bench, Server, TRANSIENT, ok, options, read_head, wait_for_end};
use crate::tls;

fn a_response_that_comes_byte_by_byte_is_read(engine: Engine) {
    for response in [
        "HTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\r\nok\r\n0\r\nA: b\r\n\r\n",
    ] {
        let server = Server::start(move |mut stream, _| {
            let _ = stream.set_nodelay(true);
            while read_head(&mut stream).is_some() {
                for byte in response.as_bytes() {
                    if stream.write_all(&[*byte]).is_err() {
                        return;
                    }
                }
            }
        });
        let mut bench = Bench::new(engine, options());
        assert_eq!(bench.body(&server.url("/")), "ok");
        assert_eq!(bench.body(&server.url("/again")), "ok");
        assert_eq!(server.accepted(), 1);
    }
}

/// The request is never read, so closing resets the connection, which may overtake the response.
fn a_server_that_hangs_up_before_it_has_read_the_request_stores_all_or_nothing(engine: Engine) {
    for _ in 0..50 {
        let server = Server::start(|mut stream, _| {
            let _ = stream.read(&mut [0]);
            let _ = stream.write_all(&ok(&"x".repeat(100_000)));
        });
        let mut bench = Bench::new(engine, options());
        match bench.get(&server.url("/")) {
            Ok(stored) => assert_eq!(stored.bytes, 100_000),
            Err(failure) => {
                let kinds = [FailureKind::Truncated, FailureKind::Disconnected];
                assert!(kinds.contains(&failure.kind), "{failure}");
                assert_eq!(failure.severity, TRANSIENT, "{failure}");
            }
        }
    }
}

fn what_the_server_calls_a_file_names_nothing(engine: Engine) {
    let server = Server::sending(
        b"HTTP/1.1 200 OK\r\nContent-Disposition: attachment; filename=\"../../evil\"\r\n\
          Content-Type: ../../evil\r\nContent-Location: ../../evil\r\nContent-Length: 2\r\n\r\nok",
    );
    let mut bench = Bench::new(engine, options());
    assert_eq!(bench.body(&server.url("/")), "ok");
    let folder = bench.partial("");
    let folder = folder.parent().expect("the output folder");
    let names = |folder: &std::path::Path| -> Vec<_> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect()
    };
    let mut stored = names(folder);
    stored.sort();
    assert_eq!(stored, [".partial", "file"]);
    let evil = folder.join("../../evil");
    assert!(!evil.exists(), "{}", evil.display());
}

/// Passwords in a location are for the server that it names, and must not be shown.
fn credentials_in_a_location_are_not_told(engine: Engine) {
    let there = Server::answering(|head| {
        let authorized = head.contains("Basic dTpzM2NyM3Q=");
        ok(if authorized { "in" } else { "out" })
    });
    let target = there.url("/x").replace("http://", "http://u:s3cr3t@");
    let answer = format!("HTTP/1.1 302 x\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n");
    let here = Server::answering(move |_| answer.clone().into_bytes());
    let stored = Bench::new(engine, options())
        .get(&here.url("/"))
        .expect("stored");
    assert_eq!(stored.exchange.final_url, Some(there.url("/x")));

    let nowhere =
        b"HTTP/1.1 302 x\r\nLocation: http://u:s3cr3t@127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let server = Server::sending(nowhere);
    let failure = Bench::new(engine, options())
        .get(&server.url("/"))
        .expect_err("nobody listens");
    assert!(!format!("{failure:?}").contains("s3cr3t"), "{failure:?}");
}

/// A proxy that redirects to itself, each time to another URL, so that no loop is detected.
fn a_redirect_to_the_proxy_itself_ends(engine: Engine) {
    let server = Server::start(|mut stream, _| {
        let here = stream.local_addr().expect("an address");
        while let Some(head) = read_head(&mut stream) {
            let further = format!("http://{here}/{}", "x".repeat(head.len()));
            let answer =
                format!("HTTP/1.1 302 x\r\nLocation: {further}\r\nContent-Length: 0\r\n\r\n");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    let mut options = options();
    options.max_redirects = 3;
    options.proxies.http = Some(Proxy {
        scheme: ProxyScheme::Http,
        host: server.addr.ip().to_string(),
        port: server.addr.port(),
        credentials: None,
    });
    let mut bench = Bench::new(engine, options);
    bench.fails(
        "http://a.test/",
        FailureKind::TooManyRedirects,
        Severity::Permanent,
    );
}

fn bench(engine: Engine, server: &Server, trust: Trust) -> Bench {
    let mut options = options();
    options.trust = trust;
    options.simulated = Some(Simulated {
        http: server.addr,
        https: server.addr,
    });
    Bench::new(engine, options)
}

/// Creates a certificate for `a.test`, valid in these years.
fn certificate(from: i32, until: i32) -> (rcgen::Certificate, PrivateKeyDer<'static>) {
    let mut parameters =
        rcgen::CertificateParams::new(vec!["a.test".to_owned()]).expect("parameters");
    parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let made = parameters.self_signed(&key).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    (made, key)
}

fn serving(config: ServerConfig) -> Server {
    let config = Arc::new(config);
    Server::start(move |stream, _| {
        let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
        tls::answer(&mut StreamOwned::new(session, stream));
    })
}

fn builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
}

fn a_certificate_out_of_its_time_is_refused(engine: Engine) {
    for (from, until, valid) in [(2000, 2001, false), (4000, 4001, false), (2000, 4000, true)] {
        let (certificate, key) = certificate(from, until);
        let chain = vec![certificate.der().clone()];
        let config = builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a configuration");
        let server = serving(config);
        let mut bench = bench(engine, &server, Trust::Pem(certificate.pem()));
        if valid {
            assert_eq!(bench.body("https://a.test/"), "a.test");
        } else {
            bench.fails("https://a.test/", FailureKind::Tls, Severity::Permanent);
        }
    }
}

/// With TLS 1.3 the client receives the refusal after its own handshake has ended.
fn an_alert_of_the_server_is_a_failure_of_tls(engine: Engine) {
    let (certificate, key) = certificate(2000, 4000);
    let mut roots = RootCertStore::empty();
    let der: &CertificateDer<'_> = certificate.der();
    roots.add(der.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .expect("a verifier");
    let config = builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![der.clone()], key)
        .expect("a configuration");
    let server = serving(config);
    let mut after = bench(engine, &server, Trust::Pem(certificate.pem()));
    after.fails("https://a.test/", FailureKind::Tls, Severity::Permanent);

    // A fatal alert in place of a handshake (RFC 8446 section 6).
    let server = Server::start(|mut stream, _| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"\x15\x03\x03\0\x02\x02\x28");
        wait_for_end(&mut stream);
    });
    let mut before = bench(engine, &server, Trust::WebRoots);
    before.fails("https://a.test/", FailureKind::Tls, Severity::Permanent);
}

/// An attacker can break a connection, but cannot close it properly under TLS.
fn a_length_needs_no_closing_message_and_holds_without_one(engine: Engine) {
    for (sent, whole) in [("body", true), ("bod", false)] {
        let (server, pem) = tls::server(move |stream| {
            read_head(stream);
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{sent}");
            let _ = stream.flush();
        });
        let mut bench = bench(engine, &server, Trust::Pem(pem));
        if whole {
            assert_eq!(bench.body("https://a.test/"), "body");
        } else {
            bench.fails("https://a.test/", FailureKind::Truncated, TRANSIENT);
        }
    }
}

/// Data that arrives on an idle connection must not become the response to the next request.
fn a_response_that_nobody_asked_for_is_not_taken_for_the_next(engine: Engine) {
    let (ask, asked) = channel();
    let (tell, told) = channel();
    let (asked, tell) = (Mutex::new(asked), Mutex::new(tell));
    let server = Server::start(move |mut stream, _| {
        while read_head(&mut stream).is_some() {
            let _ = stream.write_all(&ok("good"));
            // Sent after the first response is stored. On loopback it arrives at once.
            if asked.lock().expect("no panic").recv().is_ok() {
                let _ = stream.write_all(&ok("evil"));
                let _ = tell.lock().expect("no panic").send(());
            }
        }
    });
    let mut bench = Bench::new(engine, options());
    for path in ["/1", "/2", "/3"] {
        assert_eq!(bench.body(&server.url(path)), "good");
        ask.send(()).expect("the server listens");
        told.recv().expect("the server speaks");
    }
}

crate::on_every_engine![
    a_response_that_comes_byte_by_byte_is_read,
    a_server_that_hangs_up_before_it_has_read_the_request_stores_all_or_nothing,
    what_the_server_calls_a_file_names_nothing,
    credentials_in_a_location_are_not_told,
    a_redirect_to_the_proxy_itself_ends,
    a_certificate_out_of_its_time_is_refused,
    an_alert_of_the_server_is_a_failure_of_tls,
    a_length_needs_no_closing_message_and_holds_without_one,
    a_response_that_nobody_asked_for_is_not_taken_for_the_next,
];
