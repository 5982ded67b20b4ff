//! Common parts of test servers that support ranges.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::server;

/// Returns a body of this size, in which every part differs from its neighbours.
pub fn body(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at / 13 % 251) as u8).collect()
}

/// Passes each connection to `serve`, on its own thread. Returns the address.
pub fn accept(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it has one");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    addr
}

/// Reads the head of the next request, in lower case.
pub fn read_head(stream: &mut TcpStream) -> Option<String> {
    Some(server::read_head(stream)?.to_ascii_lowercase())
}

/// Returns the start and the end of the requested part of a body of this size. A range request must
/// have the condition that the tag is `"tag"`.
pub fn range(head: &str, size: usize) -> (usize, usize) {
    let mut lines = head.lines();
    let range = lines.find_map(|line| line.strip_prefix("range: bytes="));
    let is_conditional = head.contains("if-range: \"tag\"");
    assert_eq!(range.is_some(), is_conditional, "{head}");
    let Some(range) = range else {
        return (0, size);
    };
    let (first, last) = range.split_once('-').expect("a range");
    let end = last.parse().map_or(size, |last: usize| last + 1);
    (first.parse().expect("a number"), end)
}

/// Returns the head of the response with this range.
pub fn head((first, end): (usize, usize), size: usize) -> String {
    let line = if (first, end) == (0, size) {
        "200 OK\r\nAccept-Ranges: bytes".to_owned()
    } else {
        format!("206 x\r\nContent-Range: bytes {first}-{}/{size}", end - 1)
    };
    let length = end - first;
    format!("HTTP/1.1 {line}\r\nETag: \"tag\"\r\nContent-Length: {length}\r\n\r\n")
}
