//! Start and end of an origin.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::support::{Running, options};
use crate::origin::{Options, OriginError, Spec, Until, serve};

#[test]
fn it_leaves_when_its_input_ends_and_cuts_what_runs() {
    let origin = Running::new("latency=24h");
    let addr = origin.at.http;
    let mut waiting = TcpStream::connect(addr).expect("the origin listens");
    io::Write::write_all(&mut waiting, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .expect("the origin reads");
    origin.leave().expect("it leaves in good order");
    let mut rest = Vec::new();
    // The connection ends or is reset, depending on whether the origin had read the request.
    let _ = waiting.read_to_end(&mut rest);
    assert!(rest.is_empty());
    assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
}

#[test]
fn it_leaves_at_once_if_its_input_has_ended() {
    let options = Options {
        until: Until::Closed(Box::new(io::empty())),
        ..options(Spec::default())
    };
    let mut said = Vec::new();
    serve(options, &mut said).expect("it leaves in good order");
    assert!(said.ends_with(b"}\n"));
}

#[test]
fn without_a_listener_for_https_there_is_no_ca() {
    let options = Options {
        https: None,
        until: Until::Closed(Box::new(io::empty())),
        ..options(Spec::default())
    };
    let mut said = Vec::new();
    serve(options, &mut said).expect("it leaves in good order");
    let said = String::from_utf8(said).expect("JSON is UTF-8");
    assert!(
        said.ends_with(",\"https\":null,\"ca_pem\":null}\n"),
        "{said}"
    );
}

#[test]
fn nobody_to_announce_to_is_an_error() {
    let (reader, writer) = io::pipe().expect("a pipe can be made");
    drop(reader);
    let options = Options {
        until: Until::Closed(Box::new(io::empty())),
        ..options(Spec::default())
    };
    let error = serve(options, writer).expect_err("the pipe is broken");
    assert!(matches!(error, OriginError::Announce(_)), "{error}");
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let addr: SocketAddr = taken.local_addr().expect("it is bound");
    let options = Options {
        http: addr,
        ..options(Spec::default())
    };
    let error = serve(options, io::sink()).expect_err("the port is taken");
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {addr}: choose another address, or port 0 for any free port")
    );
}

#[test]
fn the_ca_is_written_where_it_is_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("ca.pem");
    let options = |path| Options {
        ca_out: Some(path),
        until: Until::Closed(Box::new(io::empty())),
        ..options(Spec::default())
    };
    serve(options(path.clone()), io::sink()).expect("it leaves in good order");
    let pem = std::fs::read_to_string(path).expect("the file was written");
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    let nowhere = folder.path().join("no/ca.pem");
    let error = serve(options(nowhere.clone()), io::sink()).expect_err("no such folder");
    assert!(error.to_string().ends_with(&nowhere.display().to_string()));
}
