//! `coordinator origin`: the built-in origin as a program.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Job, Run, sha256, simulated_sha256, wait};

/// Returns the announcement on standard output.
pub fn announcement(job: &Job) -> Value {
    wait(
        "the announcement",
        || serde_json::from_str(job.stdout().lines().next()?).ok(),
        || job.seen(),
    )
}

pub fn addr(announcement: &Value, scheme: &str) -> SocketAddr {
    announcement[scheme].as_str().unwrap().parse().unwrap()
}

/// Sends a request as curl would. Returns the head and the body.
fn get(addr: SocketAddr, host: &str, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/8\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer
        .windows(4)
        .position(|part| part == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    (head, answer[end + 4..].to_vec())
}

#[test]
fn the_origin_answers_anyone_and_leaves_on_sigterm() {
    let run = Run::new().with("origin --simulate size=3000B,latency=0ms");
    let job = run.start();
    let announcement = announcement(&job);
    let (head, body) = get(addr(&announcement, "http"), "a.example", "/x?y=1");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body.len(), 3000);
    let expected = simulated_sha256("size=3000B,latency=0ms", "http://a.example/x?y=1");
    assert_eq!(sha256(&body), expected);
    job.signal(Signal::TERM);
    job.finish().code(0);
}

#[test]
fn the_origin_leaves_on_sigint_even_with_a_request_in_flight() {
    let run = Run::new().with("origin --simulate latency=1h");
    let job = run.start();
    let mut stream = TcpStream::connect(addr(&announcement(&job), "http")).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    job.signal(Signal::INT);
    job.finish().code(0);
    let mut rest = Vec::new();
    // The connection ends with a close or a reset.
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}

#[test]
fn a_run_can_use_an_origin_that_runs_alone() {
    let run = Run::new().with("origin --simulate latency=0ms");
    let origin = run.start();
    let announcement = announcement(&origin);
    let https = addr(&announcement, "https");
    let pem = announcement["ca_pem"].as_str().unwrap();
    let url = format!("https://a.example:{}/f", https.port());
    let download = Run::new().list([&url]).with(&format!(
        "--cacert ca.pem --resolve a.example:{}:127.0.0.1",
        https.port()
    ));
    // A run without the origin's CA does not trust it.
    let stranger = Run::new()
        .list([&url])
        .with(&format!("--resolve a.example:{}:127.0.0.1", https.port()));
    std::fs::write(download.path("ca.pem"), pem).unwrap();
    download.finish().code(0);
    let log = download.log();
    log.check(&log.one(&url), &simulated_sha256("latency=0ms", &url));
    stranger.finish().code(1);
    assert_eq!(stranger.log().one(&url).kind(), "tls");
    origin.signal(Signal::TERM);
    origin.finish().code(0);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let run = Run::new().with(&format!("origin --http {addr}"));
    let ended = run.finish().code(3);
    ended.says(&["cannot listen on", &addr]);
}

#[test]
fn a_simulation_that_makes_no_sense_is_a_usage_error() {
    let run = Run::new().with("origin --simulate errors=200%");
    let ended = run.finish().code(2);
    assert!(ended.stderr.contains("errors"), "{}", ended.text());
}

#[test]
fn a_run_whose_origin_dies_is_given_up_and_loses_nothing() {
    let list = crate::support::run::urls("https://a.example", 40);
    let run = Run::new()
        .list(&list)
        .with("--workers 2 --simulate=size=1KiB,latency=50ms");
    let job = run.start();
    job.wait_until("a stored file", || run.log().count("stored") > 0);
    let origin = job
        .processes()
        .into_iter()
        .find(|process| process.role() == Some("origin"))
        .expect("it runs");
    origin.signal(Signal::KILL);
    let ended = job.finish().code(4);
    ended.says(&["the built-in origin died with signal: 9 (SIGKILL)"]);
    assert_eq!(run.log().count("failed"), 0, "{}", ended.text());
    run.finish().code(0);
    assert_eq!(run.log().count("stored"), list.len());
}
