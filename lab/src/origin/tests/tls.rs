//! The origin over TLS, with a client that verifies certificates.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::support::{Answer, Running};

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// Connects as a client that trusts only this CA.
fn connect(
    origin: &Running,
    ca_pem: &str,
    name: &str,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("it is PEM"))
        .expect("it is a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("there are versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).expect("it is a name");
    let mut tls = ClientConnection::new(Arc::new(config), name).expect("the settings agree");
    let mut socket = TcpStream::connect(origin.https())?;
    tls.complete_io(&mut socket)?;
    Ok(StreamOwned::new(tls, socket))
}

fn ca(origin: &Running) -> &str {
    origin.at.ca_pem.as_deref().expect("it serves https")
}

#[test]
fn any_name_and_loopback_addresses_have_a_certificate() {
    let origin = Running::new("size=100kB,latency=0s");
    let reference = origin.get("/a").body;
    let long = format!("{}.example.org", "long".repeat(15));
    for name in [
        "example.com",
        "EXAMPLE.com",
        "a.b.c.example",
        &long,
        "localhost",
        "127.0.0.1",
        "::1",
    ] {
        let mut client = connect(&origin, ca(&origin), name)
            .unwrap_or_else(|error| panic!("no TLS with {name}: {error}"));
        assert_eq!(client.conn.alpn_protocol(), Some(b"http/1.1".as_slice()));
        let answer = Answer::read(&mut client, GET);
        assert!(answer.end.is_ok(), "{:?} is no orderly end", answer.end);
        assert!(answer.body == reference, "{name} has another body");
    }
}

#[test]
fn an_address_elsewhere_has_no_certificate() {
    let origin = Running::new("");
    let error = connect(&origin, ca(&origin), "192.0.2.1").expect_err("it is not for that");
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

#[test]
fn each_origin_has_a_ca_of_its_own() {
    let (origin, other) = (Running::new(""), Running::new(""));
    let error = connect(&origin, ca(&other), "example.com").expect_err("it is another CA");
    assert!(
        error.to_string().contains("invalid peer certificate"),
        "{error}"
    );
}

#[test]
fn a_client_without_tls_does_no_harm() {
    let origin = Running::new("size=10B,latency=0s");
    let mut socket = TcpStream::connect(origin.https()).expect("the origin listens");
    let answer = Answer::read(&mut socket, GET);
    assert!(answer.head.is_empty());
    connect(&origin, ca(&origin), "h").expect("others are served");
}

#[test]
fn faults_reach_through_tls() {
    let origin = Running::new("size=300kB,latency=0s,truncate=100%");
    let mut client = connect(&origin, ca(&origin), "h").expect("it speaks TLS");
    let answer = Answer::read(&mut client, GET);
    assert_eq!(answer.field("content-length"), "300000");
    assert_eq!(answer.body.len(), 150_000);
    let error = answer
        .end
        .expect_err("a cut connection has no closing alert");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);

    let origin = Running::new("size=1kB,latency=0s,reset=100%");
    for _ in 0..10 {
        let mut client = connect(&origin, ca(&origin), "h").expect("it speaks TLS");
        let answer = Answer::read(&mut client, GET);
        let error = answer.end.expect_err("every connection is reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
