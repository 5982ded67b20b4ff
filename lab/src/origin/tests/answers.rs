//! Answers without faults.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use sha2::{Digest, Sha256};
use url::Url;

use super::support::{Running, field};
use crate::origin::body;

#[test]
fn a_client_gets_the_bytes_that_can_be_computed() {
    let origin = Running::new("size=1B..100KiB,latency=0s");
    let client = ureq::Agent::new_with_defaults();
    for path in ["", "/", "/a/b?c=d&e", "/%C3%A4%20", "/1", "/2", "/3", "/4"] {
        let url = Url::parse(&format!("http://{}{path}", origin.at.http)).expect("it is a URL");
        let received = client
            .get(url.as_str())
            .call()
            .expect("the origin answers")
            .into_body()
            .read_to_vec()
            .expect("the body is whole");
        let identity = body::identity(&url);
        assert_eq!(received.len() as u64, body::len(&origin.spec, &identity));
        let hash: [u8; 32] = Sha256::digest(received).into();
        assert_eq!(hash, body::sha256(&origin.spec, &identity), "{url}");
    }
}

#[test]
fn a_body_of_many_pieces_is_whole() {
    let origin = Running::new("size=5000001B,latency=0s");
    let answer = origin.get("/large");
    assert_eq!(answer.body.len(), 5_000_001);
    let hash: [u8; 32] = Sha256::digest(answer.body).into();
    assert_eq!(hash, body::sha256(&origin.spec, "h/large"));
}

#[test]
fn an_empty_body_is_an_answer_too() {
    let answer = Running::new("size=0B,latency=0s,truncate=100%").get("/");
    assert_eq!(answer.status(), "200");
    assert_eq!(answer.field("content-length"), "0");
    assert!(answer.end.is_ok());
}

#[test]
fn the_head_says_what_the_body_is() {
    let origin = Running::new("size=10B,latency=0s");
    let answer = origin.get("/a");
    assert_eq!(answer.status(), "200");
    assert_eq!(answer.field("content-type"), "application/octet-stream");
    assert_eq!(answer.field("content-length"), "10");
    let tag = answer.field("etag");
    assert!(
        tag.starts_with('"') && tag.ends_with('"'),
        "{tag} is strong"
    );
    assert_eq!(tag, origin.get("/a").field("etag"));
    assert_ne!(tag, origin.get("/b").field("etag"));
}

#[test]
fn a_connection_serves_many_requests_and_head_has_no_body() {
    let origin = Running::new("size=1000B,latency=0s");
    let socket = TcpStream::connect(origin.at.http).expect("the origin listens");
    let mut socket = BufReader::new(socket);
    let mut tags = Vec::new();
    for method in ["HEAD", "GET", "HEAD", "GET"] {
        write!(socket.get_mut(), "{method} /a HTTP/1.1\r\nHost: h\r\n\r\n")
            .expect("the connection is open");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let size = socket.read_line(&mut head).expect("a head comes");
            assert!(size > 0, "the connection ended after {head}");
        }
        let head = head.to_ascii_lowercase();
        assert_eq!(field(&head, "content-length"), "1000");
        tags.push(field(&head, "etag").to_owned());
        if method == "GET" {
            let mut body = [0; 1000];
            socket.read_exact(&mut body).expect("a body comes");
            let hash: [u8; 32] = Sha256::digest(body).into();
            assert_eq!(hash, body::sha256(&origin.spec, "h/a"));
        }
    }
    tags.dedup();
    assert_eq!(tags.len(), 1);
}

#[test]
fn other_methods_are_refused() {
    let origin = Running::new("latency=0s");
    for method in ["PUT", "DELETE", "OPTIONS"] {
        let answer = origin.ask(&format!(
            "{method} / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        ));
        assert_eq!(answer.status(), "405", "{method}");
        assert_eq!(answer.field("allow"), "get, head");
    }
}

#[test]
fn the_host_is_part_of_the_url() {
    let origin = Running::new("size=10B,latency=0s");
    let get = |target: &str, host: &str| {
        origin
            .ask(&format!(
                "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            ))
            .body
    };
    let reference = get("/a", "h");
    assert_eq!(reference, get("/a", "H"));
    assert_eq!(reference, get("http://h/a", "proxy"));
    assert_ne!(reference, get("/a", "h:81"));
    assert_ne!(reference, get("/a", "other"));
}

#[test]
fn nonsense_does_no_harm() {
    let origin = Running::new("size=10B,latency=0s");
    let answer = origin.ask("no request\r\n\r\n");
    assert_eq!(answer.status(), "400");
    let answer = origin.ask("GET /a HTTP/1.0\r\n\r\n");
    assert_eq!(answer.body.len(), 10);
    assert_eq!(origin.get("/a").status(), "200");
}
