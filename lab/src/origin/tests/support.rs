//! An origin in a thread, and a simple client that shows every byte.

use std::io::{self, BufRead, BufReader, PipeWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread::JoinHandle;

use crate::origin::{Announcement, Options, OriginError, Spec, Until, serve};

/// An origin that runs until it is dropped.
pub struct Running {
    pub spec: Spec,
    pub at: Announcement,
    stdin: Option<PipeWriter>,
    thread: Option<JoinHandle<Result<(), OriginError>>>,
}

impl Running {
    pub fn new(spec: &str) -> Self {
        Self::with_journal(spec, None)
    }

    pub fn with_journal(spec: &str, journal: Option<PathBuf>) -> Self {
        let spec: Spec = spec.parse().expect("the test's spec is right");
        let (input, stdin) = io::pipe().expect("a pipe can be made");
        let (stdout, output) = io::pipe().expect("a pipe can be made");
        let options = Options {
            journal,
            until: Until::Closed(Box::new(input)),
            ..options(spec)
        };
        let thread = std::thread::spawn(move || serve(options, output));
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the announcement can be read");
        Self {
            spec,
            at: serde_json::from_str(&line).expect("the announcement is JSON"),
            stdin: Some(stdin),
            thread: Some(thread),
        }
    }

    pub fn https(&self) -> SocketAddr {
        self.at.https.expect("it serves https")
    }

    /// Closes its input, and waits until it has exited.
    pub fn leave(mut self) -> Result<(), OriginError> {
        drop(self.stdin.take());
        self.thread
            .take()
            .expect("it leaves once")
            .join()
            .expect("it does not panic")
    }

    /// Requests a path of host `h` on a new connection.
    pub fn get(&self, path: &str) -> Answer {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        ))
    }

    /// Sends a request, and reads until the connection ends.
    pub fn ask(&self, request: &str) -> Answer {
        let mut socket = TcpStream::connect(self.at.http).expect("the origin listens");
        Answer::read(&mut socket, request)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Returns options that serve on free ports until SIGTERM.
pub fn options(spec: Spec) -> Options {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Options {
        http: any,
        https: Some(any),
        spec,
        ca_out: None,
        journal: None,
        until: Until::Signal,
    }
}

/// All data received on one connection.
#[derive(Debug)]
pub struct Answer {
    /// Status line and fields, in lower case; empty if none came.
    pub head: String,
    pub body: Vec<u8>,
    /// How the connection ended.
    pub end: io::Result<()>,
}

impl Answer {
    pub fn read(socket: &mut (impl Read + Write), request: &str) -> Self {
        let mut bytes = Vec::new();
        let end = socket
            .write_all(request.as_bytes())
            .and_then(|()| socket.read_to_end(&mut bytes))
            .map(drop);
        let head = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map_or(0, |end| end + 4);
        let body = bytes.split_off(head);
        Self {
            head: String::from_utf8(bytes)
                .expect("heads are ASCII")
                .to_ascii_lowercase(),
            body,
            end,
        }
    }

    pub fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or("none")
    }

    pub fn field(&self, name: &str) -> &str {
        field(&self.head, name)
    }
}

/// Returns the value of a field of a head in lower case.
pub fn field<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("there is no {name} in {head}"))
}
