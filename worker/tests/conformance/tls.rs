//! All engines over TLS, against a server with our own certificate.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Bench, Server, TRANSIENT, ok, options, read_head, wait_for_end};
use protocol::{Engine, FailureKind, Severity, Simulated, Trust};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub type Tls = StreamOwned<ServerConnection, TcpStream>;

/// Returns the configuration of a TLS server for `a.test`, and its certificate.
pub fn config() -> (Arc<ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    (Arc::new(config), made.cert.pem())
}

/// Starts a TLS server for `a.test`. Also returns its certificate.
pub fn server(handle: impl Fn(&mut Tls) + Send + Sync + 'static) -> (Server, String) {
    let (config, pem) = config();
    let server = Server::start(move |stream, _| {
        let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
        handle(&mut StreamOwned::new(session, stream));
    });
    (server, pem)
}

fn bench(engine: Engine, server: &Server, trust: Trust) -> Bench {
    let mut options = options();
    options.trust = trust;
    // With this limit each request has its own configuration; connections are reused anyway.
    options.max_time = Some(Duration::from_secs(60));
    // Every URL leads to this server; name and certificate are still those of the URL.
    options.simulated = Some(Simulated {
        http: server.addr,
        https: server.addr,
    });
    Bench::new(engine, options)
}

pub fn answer(stream: &mut Tls) {
    while read_head(stream).is_some() {
        let name = stream.conn.server_name().unwrap_or_default().to_owned();
        let _ = stream.write_all(&ok(&name));
    }
}

fn a_trusted_server_is_asked_by_its_name_and_kept(engine: Engine) {
    let (server, pem) = server(answer);
    let mut bench = bench(engine, &server, Trust::Pem(pem));
    assert_eq!(bench.body("https://a.test/"), "a.test");
    assert_eq!(bench.body("https://a.test/again"), "a.test");
    assert_eq!(server.accepted(), 1);
    let timing = bench
        .get("https://a.test:444/")
        .expect("stored")
        .exchange
        .timing;
    assert!(timing.tls > Duration::ZERO);
}

fn certificates_can_come_from_a_file(engine: Engine) {
    let (server, pem) = server(answer);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), pem).expect("written");
    let mut bench = bench(engine, &server, Trust::File(file.path().into()));
    assert_eq!(bench.body("https://a.test/"), "a.test");
}

fn a_certificate_that_is_not_trusted_or_of_another_name_is_permanent(engine: Engine) {
    let check = |trust: fn(String) -> Trust, url: &str| {
        let (server, pem) = server(answer);
        let mut bench = bench(engine, &server, trust(pem));
        bench.fails(url, FailureKind::Tls, Severity::Permanent);
    };
    check(|_| Trust::WebRoots, "https://a.test/");
    check(Trust::Pem, "https://b.test/");
}

fn any_certificate_will_do_when_that_is_asked_for(engine: Engine) {
    let (server, _) = server(answer);
    let mut options = options();
    options.insecure = true;
    options.simulated = Some(Simulated {
        http: server.addr,
        https: server.addr,
    });
    assert_eq!(
        Bench::new(engine, options).body("https://b.test/"),
        "b.test"
    );
}

/// As created by `openssl req -x509`: an authority that is also a server.
fn a_servers_own_certificate_can_be_the_root_that_it_is_trusted_by(engine: Engine) {
    let made = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut parameters = rcgen::CertificateParams::new(names).expect("parameters");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = parameters.self_signed(&key).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        (made, key)
    };
    let (certificate, key) = made(&["a.test"]);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a configuration");
    let config = Arc::new(config);
    let server = Server::start(move |stream, _| {
        let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
        answer(&mut StreamOwned::new(session, stream));
    });
    let own = || bench(engine, &server, Trust::Pem(certificate.pem()));
    assert_eq!(own().body("https://a.test/"), "a.test");
    own().fails("https://b.test/", FailureKind::Tls, Severity::Permanent);
    let (other, _) = made(&["a.test"]);
    let mut other = bench(engine, &server, Trust::Pem(other.pem()));
    other.fails("https://a.test/", FailureKind::Tls, Severity::Permanent);
}

/// X.509 version 1, which rustls does not read.
fn a_certificate_that_cannot_be_read_will_do_when_any_will(engine: Engine) {
    let pem = include_bytes!("certs/v1.pem");
    let certificate = CertificateDer::from_pem_slice(pem).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("certs/v1.key")).expect("a key");
    let key = rustls::crypto::ring::sign::any_supported_type(&key).expect("a good key");
    let shown = Arc::new(CertifiedKey::new(vec![certificate], key));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    let config = Arc::new(config);
    let server = Server::start(move |stream, _| {
        let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
        answer(&mut StreamOwned::new(session, stream));
    });
    let simulated = Some(Simulated {
        http: server.addr,
        https: server.addr,
    });
    for (insecure, stored) in [(true, true), (false, false)] {
        let mut options = options();
        options.insecure = insecure;
        options.simulated = simulated;
        let result = Bench::new(engine, options).get("https://a.test/");
        assert_eq!(result.is_ok(), stored, "{result:?}");
    }
}

fn a_handshake_without_anything_in_common_says_what_was_offered(engine: Engine) {
    for (alert, word) in [(40, "CBC"), (70, "TLS 1.2")] {
        let server = Server::start(move |mut stream, _| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&[0x15, 3, 3, 0, 2, 2, alert]);
            wait_for_end(&mut stream);
        });
        let mut bench = bench(engine, &server, Trust::WebRoots);
        let url = "https://a.test/";
        let failure = bench.fails(url, FailureKind::Tls, Severity::Permanent);
        assert!(failure.message.contains(word), "{failure}");
    }
}

fn a_server_that_speaks_no_tls_is_permanent_and_one_that_hangs_up_is_not(engine: Engine) {
    let garbage = Server::start(|mut stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        wait_for_end(&mut stream);
    });
    let close = Server::start(|mut stream, _| {
        let _ = stream.read(&mut [0; 4096]);
    });
    let check = |server: &Server, kind, severity| {
        bench(engine, server, Trust::WebRoots).fails("https://a.test/", kind, severity);
    };
    check(&garbage, FailureKind::Tls, Severity::Permanent);
    check(&close, FailureKind::Disconnected, TRANSIENT);
}

fn a_handshake_that_hangs_falls_under_the_connect_timeout(engine: Engine) {
    let server = Server::start(|mut stream, _| wait_for_end(&mut stream));
    let mut options = options();
    options.connect_timeout = Duration::from_millis(200);
    options.stall_timeout = Duration::from_millis(50);
    let url = format!("https://{}/", server.addr);
    Bench::new(engine, options).fails(&url, FailureKind::ConnectTimeout, TRANSIENT);
}

fn a_body_without_a_length_needs_the_closing_message(engine: Engine) {
    for closing in [true, false] {
        let (server, pem) = server(move |stream| {
            read_head(stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nbody");
            if closing {
                stream.conn.send_close_notify();
            }
            let _ = stream.flush();
        });
        let mut bench = bench(engine, &server, Trust::Pem(pem));
        if closing {
            assert_eq!(bench.body("https://a.test/"), "body");
        } else {
            bench.fails("https://a.test/", FailureKind::Truncated, TRANSIENT);
        }
    }
}

crate::on_every_engine![
    a_trusted_server_is_asked_by_its_name_and_kept,
    certificates_can_come_from_a_file,
    a_certificate_that_is_not_trusted_or_of_another_name_is_permanent,
    a_server_that_speaks_no_tls_is_permanent_and_one_that_hangs_up_is_not,
    a_handshake_that_hangs_falls_under_the_connect_timeout,
    any_certificate_will_do_when_that_is_asked_for,
    a_servers_own_certificate_can_be_the_root_that_it_is_trusted_by,
    a_certificate_that_cannot_be_read_will_do_when_any_will,
    a_handshake_without_anything_in_common_says_what_was_offered,
    a_body_without_a_length_needs_the_closing_message,
];
