//! Helpers of the worker's integration tests: servers that send raw bytes, and an engine with a
//! folder for its files.
#![allow(dead_code, reason = "each test crate uses a part of it")]

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pool::session::{Engine as _, EventEngine as _};
use protocol::{
    Assignment, Engine, Failure, FailureKind, HttpOptions, Login, LoginOptions, Proxies, Setup,
    Severity, Stored, Trust,
};
use tokio::runtime::{Builder, Runtime};
use worker::{Activity, AsyncEngine, BlockingEngine, Connections, Logins, Shared, Throttle};

/// A server on its own port, with a thread for each connection. Dropping it closes the port and
/// ends the accepting thread; the other threads end with their connections.
pub struct Server {
    pub addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
}

impl Server {
    /// Starts a server that passes each connection to `handle`, with its number, counted from 0.
    pub fn start(handle: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Self {
        Self::on(
            TcpListener::bind("127.0.0.1:0").expect("a free port"),
            handle,
        )
    }

    /// Starts a server for IPv4 and IPv6 on one port. It answers each request with the address that
    /// the client connected to. Returns `None` if this machine has no IPv6.
    pub fn on_both_families() -> Option<Self> {
        let listener = both_families()?;
        Some(Self::on(listener, |mut stream, _| {
            let addr = stream.local_addr().expect("its address");
            let answer = ok(&addr.ip().to_canonical().to_string());
            while read_head(&mut stream).is_some() && stream.write_all(&answer).is_ok() {}
        }))
    }

    fn on(
        listener: TcpListener,
        handle: impl Fn(TcpStream, usize) + Send + Sync + 'static,
    ) -> Self {
        let addr = listener.local_addr().expect("its address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let closed = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&closed);
        let handle = Arc::new(handle);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.expect("accepted");
                let number = count.fetch_add(1, Ordering::SeqCst);
                let handle = Arc::clone(&handle);
                thread::spawn(move || handle(stream, number));
            }
        });
        Self {
            addr,
            accepted,
            closed,
        }
    }

    /// Starts a server that answers each request with the result of `answer` for its head.
    pub fn answering(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(move |mut stream, _| {
            while let Some(head) = read_head(&mut stream) {
                if stream.write_all(&answer(&head)).is_err() {
                    return;
                }
            }
        })
    }

    /// Starts a server that sends `bytes` for the first request of each connection, then closes.
    pub fn sending(bytes: &'static [u8]) -> Self {
        Self::start(move |mut stream, _| {
            read_head(&mut stream);
            let _ = stream.write_all(bytes);
        })
    }

    /// Starts a server that answers the first request with the first of `answers`, and so on, each
    /// on a new connection; the last is for all others. Also returns the heads of the requests.
    pub fn in_turn(answers: Vec<Vec<u8>>) -> (Self, Heads) {
        let heads = Heads::default();
        let seen = heads.clone();
        let server = Self::start(move |mut stream, number| {
            if let Some(head) = read_head(&mut stream) {
                seen.push(&head);
            }
            let answer = answers.get(number).or(answers.last());
            let _ = stream.write_all(answer.map_or(&[], |answer| answer));
        });
        (server, heads)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Returns the number of connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.addr));
    }
}

/// Returns a listener for IPv4 and IPv6, or `None` if this machine has no IPv6.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn both_families() -> Option<TcpListener> {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("a test of both address families is skipped: this machine has no IPv6");
        return None;
    }
    let socket = socket(AddressFamily::INET6, SocketType::STREAM, None).expect("a socket");
    sockopt::set_ipv6_v6only(&socket, false).expect("both families");
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    bind(&socket, &any).expect("a free port");
    listen(&socket, 128).expect("listening");
    Some(TcpListener::from(socket))
}

/// A port that refuses connections. It is bound, so that no other test gets it.
pub struct ClosedPort {
    _socket: rustix::fd::OwnedFd,
    pub addr: SocketAddr,
}

impl ClosedPort {
    pub fn new() -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let name = getsockname(&socket).expect("its address");
        Self {
            addr: SocketAddr::try_from(name).expect("an internet address"),
            _socket: socket,
        }
    }
}

/// Heads of requests, in order.
#[derive(Clone, Default)]
pub struct Heads(Arc<Mutex<Vec<String>>>);

impl Heads {
    /// Adds one.
    pub fn push(&self, head: &str) {
        self.0.lock().expect("no panic").push(head.to_owned());
    }

    /// Returns their number.
    pub fn count(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }

    /// Returns the first line of head `number`.
    pub fn line(&self, number: usize) -> String {
        let heads = self.0.lock().expect("no panic");
        heads[number].lines().next().unwrap_or_default().to_owned()
    }

    /// Returns the value of header `name` (in lower case) in head `number`.
    pub fn value(&self, number: usize, name: &str) -> Option<String> {
        let heads = self.0.lock().expect("no panic");
        heads[number].lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            (known.to_ascii_lowercase() == name).then(|| value.trim().to_owned())
        })
    }
}

/// Reads one request head. Returns `None` if the connection ends first.
pub fn read_head(stream: &mut impl Read) -> Option<String> {
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

/// Waits until the peer has closed the connection.
pub fn wait_for_end(stream: &mut impl Read) {
    let mut rest = [0; 1024];
    while let Ok(1..) = stream.read(&mut rest) {}
}

/// Closes `stream` with a reset, by closing it with unread data.
pub fn reset(stream: TcpStream) {
    let mut byte = [0];
    let _ = stream.peek(&mut byte);
}

/// Returns a whole response with a length.
pub fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub fn options() -> HttpOptions {
    HttpOptions {
        user_agent: "test/1".to_owned(),
        headers: Vec::new(),
        connect_timeout: Duration::from_secs(20),
        stall_timeout: Duration::from_secs(20),
        max_time: None,
        max_redirects: 5,
        max_filesize: None,
        split: 1,
        resolve: Vec::new(),
        trust: Trust::WebRoots,
        insecure: false,
        compressed: false,
        retry_all_errors: false,
        speed_limit: None,
        family: None,
        block_private: false,
        proxies: Proxies::default(),
        login: LoginOptions::default(),
        simulated: None,
    }
}

pub fn setup(folder: &Path, concurrency: u16, http: HttpOptions) -> Setup {
    let partial = folder.join(".partial");
    std::fs::create_dir_all(&partial).expect("a folder for partials");
    Setup {
        partial: partial.into(),
        concurrency,
        heartbeat: Duration::from_secs(3600),
        engine: Engine::Blocking,
        spans: false,
        cpu_per_task: Duration::ZERO,
        boot: Some("boot".to_owned()),
        limits: protocol::WorkerLimits::default(),
        limit_rate: None,
        fsync: false,
        http,
        robots: None,
        faults: None,
    }
}

/// An engine and the folder for its files.
pub struct Bench {
    driver: Driver,
    logins: Arc<Logins>,
    folder: tempfile::TempDir,
}

enum Driver {
    Blocking(BlockingEngine),
    Async(Runtime, AsyncEngine),
}

pub type Downloaded = Result<Box<Stored>, Box<Failure>>;

impl Bench {
    pub fn new(engine: Engine, options: HttpOptions) -> Self {
        Self::with(engine, options, |_| {})
    }

    /// Creates a bench with a setup that `change` modifies.
    pub fn with(engine: Engine, options: HttpOptions, change: impl FnOnce(&mut Setup)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut setup = setup(folder.path(), 1, options);
        change(&mut setup);
        let throttle = setup.limit_rate.as_ref().map(Throttle::local);
        let shared = Arc::new(Shared::new(&setup, throttle).expect("a good setup"));
        let logins = Arc::clone(shared.logins());
        let driver = match engine {
            Engine::Blocking => Driver::Blocking(BlockingEngine::new(shared)),
            Engine::Async => {
                let runtime = Builder::new_current_thread().enable_all().build();
                let engine = AsyncEngine::new(Arc::new(Connections::new(shared, 1)));
                Driver::Async(runtime.expect("a runtime"), engine)
            }
        };
        Self {
            driver,
            logins,
            folder,
        }
    }

    /// Gives it logins.
    pub fn learn(&self, logins: Vec<Login>) {
        self.logins.learn(logins);
    }

    /// Downloads `url` to `file`.
    pub fn get(&mut self, url: &str) -> Downloaded {
        self.download(&Assignment::new(url, "file"))
    }

    /// Runs a task with the path `file`.
    pub fn download(&mut self, assignment: &Assignment) -> Downloaded {
        let activity = Activity::default();
        let result = match &mut self.driver {
            Driver::Blocking(engine) => engine.run(assignment, &activity),
            Driver::Async(runtime, engine) => runtime.block_on(engine.run(assignment, &activity)),
        };
        if let Ok(stored) = &result
            && !stored.unchanged
        {
            // As the coordinator does.
            std::fs::rename(self.partial("file"), self.file()).expect("a body");
        }
        let left = self.left();
        match &result {
            Err(failure) if matches!(failure.severity, Severity::Transient { .. }) => {
                // A body that another attempt can continue, and its note.
                let pair = ["file".to_owned(), "file~note".to_owned()];
                assert!(left.is_empty() || left == pair, "{left:?}");
            }
            Ok(_) | Err(_) => assert_eq!(left, [""; 0], "left behind"),
        }
        result
    }

    /// Returns the names in the folder of partial files.
    pub fn left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.partial("")).expect("the folder is there");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.expect("an entry").file_name();
            name.to_string_lossy().into_owned()
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }

    /// Returns a path in the folder of partial files.
    pub fn partial(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(".partial").join(name)
    }

    /// Downloads `url` and returns the stored body.
    pub fn body(&mut self, url: &str) -> String {
        let stored = self.get(url).expect("stored");
        let body = self.stored();
        assert_eq!(stored.bytes, body.len() as u64);
        body
    }

    /// Returns the path of the file.
    pub fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("file")
    }

    /// Returns the body stored last.
    pub fn stored(&self) -> String {
        String::from_utf8(self.stored_bytes()).expect("text")
    }

    /// As [`stored`](Self::stored), for any bytes.
    pub fn stored_bytes(&self) -> Vec<u8> {
        std::fs::read(self.file()).expect("a file")
    }

    /// Downloads `url`, which must fail with this kind and severity.
    #[track_caller]
    pub fn fails(&mut self, url: &str, kind: FailureKind, severity: Severity) -> Box<Failure> {
        let failure = self.get(url).expect_err("a failure");
        assert_eq!(
            (failure.kind, failure.severity),
            (kind, severity),
            "{failure}"
        );
        assert!(!self.folder.path().join("file").exists(), "{failure}");
        failure
    }
}

pub const TRANSIENT: Severity = Severity::Transient { retry_after: None };

/// Creates a test for each engine of each case, which is a function of the engine.
#[allow(unused_macros, reason = "not every test crate has cases of its own")]
macro_rules! on_every_engine {
    ($($case:ident),* $(,)?) => {
        mod blocking {
            $(#[test]
            fn $case() {
                super::$case(protocol::Engine::Blocking);
            })*
        }

        mod event {
            $(#[test]
            fn $case() {
                super::$case(protocol::Engine::Async);
            })*
        }
    };
}
#[allow(unused_imports, reason = "not every test crate has cases of its own")]
pub(crate) use on_every_engine;
