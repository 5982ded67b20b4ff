//! A server that answers each path as a test sets it, and counts requests.
//!
//! Each connection has a thread. A held request waits for the test, so that a test can wait for
//! "this request is in flight" instead of sleeping.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::wait_until;

/// How to answer a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200 with the path's body; see [`body`].
    Ok,
    /// 200 with this body.
    Body(Vec<u8>),
    /// Nothing until the path is released, then its body.
    Held,
    /// Half of the path's body, and the rest when the path is released.
    HeldHalfway,
    /// A response with this status.
    Status(u16),
    /// A response with this status and these header lines, each of which ends with `\r\n`.
    StatusWith(u16, String),
    /// 200 with the address that the client connected to.
    OwnAddress,
    /// The result of this function for the head of the request.
    By(fn(&str) -> Vec<u8>),
    /// A redirect to this location.
    Redirect(String),
    /// Half of the announced body, then the end of the connection.
    Truncated,
    /// A reset of the connection before the response.
    Reset,
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// Nothing, as long as the client waits.
    Silent,
    /// Half of the body, then nothing as long as the client waits.
    Stalled,
}

/// Returns the default body of a path.
pub fn body(path: &str) -> Vec<u8> {
    format!("the body of {path}\n").repeat(20).into_bytes()
}

/// A running server. Dropping it closes every connection that waits.
#[derive(Debug)]
pub struct Server {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// For each path, the answers to its first, second, ... request. The last is for all others.
    script: HashMap<String, Vec<Answer>>,
    requests: HashMap<String, usize>,
    order: Vec<String>,
    heads: HashMap<String, String>,
    released: HashSet<String>,
    all_released: bool,
    closed: bool,
}

impl Server {
    /// Starts on a free port. By default every path has its body.
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    /// Starts a server for IPv4 and IPv6 on one port. It answers with [`Answer::OwnAddress`].
    /// Returns `None` if this machine has no IPv6.
    #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub fn on_both_families() -> Option<Self> {
        use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
        if TcpListener::bind("[::1]:0").is_err() {
            eprintln!("a test of both address families is skipped: this machine has no IPv6");
            return None;
        }
        let socket = socket(AddressFamily::INET6, SocketType::STREAM, None).expect("a socket");
        sockopt::set_ipv6_v6only(&socket, false).expect("both families");
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        bind(&socket, &any).expect("a free port");
        listen(&socket, 128).expect("it can be listened to");
        Some(Self::on(TcpListener::from(socket)).answer("*", [Answer::OwnAddress]))
    }

    pub fn on(listener: TcpListener) -> Self {
        let addr = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared::default());
        let server = Self {
            addr,
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().closed {
                    return;
                }
                let shared = Arc::clone(&shared);
                if let Ok(stream) = stream {
                    thread::spawn(move || shared.serve(stream));
                }
            }
        });
        server
    }

    /// Sets the answers to requests for `path`: to the first, the second, ..., and the last to all
    /// others. `*` is for every path without answers.
    pub fn answer(self, path: &str, answers: impl Into<Vec<Answer>>) -> Self {
        let mut state = self.shared.lock();
        state.script.insert(path.to_owned(), answers.into());
        drop(state);
        self
    }

    /// Returns the URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Releases the requests for `path`, present and future.
    pub fn release(&self, path: &str) {
        self.shared.lock().released.insert(path.to_owned());
        self.shared.changed.notify_all();
    }

    /// Releases every request.
    pub fn release_all(&self) {
        self.shared.lock().all_released = true;
        self.shared.changed.notify_all();
    }

    /// Holds requests again, except those whose path was released.
    pub fn hold_again(&self) {
        self.shared.lock().all_released = false;
    }

    /// Returns the number of requests for `path`.
    pub fn requests(&self, path: &str) -> usize {
        let state = self.shared.lock();
        state.requests.get(path).copied().unwrap_or_default()
    }

    /// Returns the number of all requests.
    pub fn total(&self) -> usize {
        self.shared.lock().order.len()
    }

    /// Returns the head of the last request for `path`.
    pub fn head(&self, path: &str) -> String {
        let state = self.shared.lock();
        state.heads.get(path).cloned().unwrap_or_default()
    }

    /// Waits for the `count`-th request for `path`.
    pub fn wait_for(&self, path: &str, count: usize) {
        wait_until(
            &format!("request {count} for {path}"),
            || self.requests(path) >= count,
            || format!("requests: {:?}", self.shared.lock().order),
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.addr));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        while let Some(head) = read_head(&mut stream) {
            let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
            let answer = self.next_answer(&path, head.clone());
            if !self.reply(&mut stream, &path, &head, answer) {
                return;
            }
        }
    }

    fn next_answer(&self, path: &str, head: String) -> Answer {
        let mut state = self.lock();
        state.order.push(path.to_owned());
        state.heads.insert(path.to_owned(), head);
        let count = state.requests.entry(path.to_owned()).or_default();
        *count += 1;
        let nth = *count - 1;
        match state.script.get(path).or_else(|| state.script.get("*")) {
            Some(answers) => answers[nth.min(answers.len() - 1)].clone(),
            None => Answer::Ok,
        }
    }

    /// Sends the answer. Returns whether the connection can be used again.
    fn reply(&self, stream: &mut TcpStream, path: &str, head: &str, answer: Answer) -> bool {
        let whole = body(path);
        let half = whole.len() / 2;
        match answer {
            Answer::Ok => send(stream, &ok(&whole)),
            Answer::Body(bytes) => send(stream, &ok(&bytes)),
            Answer::OwnAddress => {
                let addr = stream.local_addr().expect("its address");
                send(stream, &ok(addr.ip().to_canonical().to_string().as_bytes()))
            }
            Answer::By(make) => send(stream, &make(head)),
            Answer::Held => self.wait_for_release(path) && send(stream, &ok(&whole)),
            Answer::HeldHalfway => {
                let (first, second) = whole.split_at(half);
                send(stream, &head_of(whole.len()))
                    && send(stream, first)
                    && self.wait_for_release(path)
                    && send(stream, second)
            }
            Answer::Status(status) => send(stream, &status_line(status, "")),
            Answer::StatusWith(status, headers) => send(stream, &status_line(status, &headers)),
            Answer::Redirect(to) => send(stream, &status_line(302, &format!("Location: {to}\r\n"))),
            Answer::Truncated => {
                send(stream, &head_of(whole.len()));
                send(stream, &whole[..half]);
                false
            }
            Answer::Reset => {
                // Closing with a linger time of zero resets the connection.
                let _ = rustix::net::sockopt::set_socket_linger(
                    &*stream,
                    Some(std::time::Duration::ZERO),
                );
                false
            }
            Answer::Raw(bytes) => {
                send(stream, &bytes);
                false
            }
            Answer::Silent => {
                wait_for_end(stream);
                false
            }
            Answer::Stalled => {
                send(stream, &head_of(whole.len()));
                send(stream, &whole[..half]);
                wait_for_end(stream);
                false
            }
        }
    }

    /// Waits for the release. Returns false if the server was closed first.
    fn wait_for_release(&self, path: &str) -> bool {
        let mut state = self.lock();
        while !state.closed && !state.all_released && !state.released.contains(path) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        !state.closed
    }
}

fn send(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}

fn head_of(length: usize) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n")
        .into_bytes()
}

fn ok(body: &[u8]) -> Vec<u8> {
    let mut bytes = head_of(body.len());
    bytes.extend_from_slice(body);
    bytes
}

fn status_line(status: u16, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} As Told\r\n{headers}Content-Length: 0\r\n\r\n").into_bytes()
}

/// Reads the head of the next request.
pub fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// Waits until the client has closed the connection.
fn wait_for_end(stream: &mut TcpStream) {
    let mut rest = [0; 1024];
    while let Ok(1..) = stream.read(&mut rest) {}
}

/// A port of the loopback interface that refuses connections while this lives: it is bound, but
/// does not listen.
#[derive(Debug)]
pub struct ClosedPort {
    socket: rustix::fd::OwnedFd,
    pub addr: SocketAddr,
}

impl ClosedPort {
    pub fn new() -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
        let socket =
            socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket can be made");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        bind(&socket, &any).expect("a free port");
        let name = getsockname(&socket).expect("its address");
        let addr = SocketAddr::try_from(name).expect("an internet address");
        Self { socket, addr }
    }

    /// Listens on the port.
    pub fn open(self) -> Server {
        rustix::net::listen(&self.socket, 128).expect("it can be listened to");
        Server::on(TcpListener::from(self.socket))
    }
}
