//! `--split`: one file over several connections, across deaths, and within the limit of its host.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::support::{Job, Run, ranges, sha256};

const MIB: usize = 1024 * 1024;

/// Twelve pieces, on up to four connections.
const SIZE: usize = 12 * MIB;

/// From this byte on, the body trickles until the server may send the rest.
const HELD: usize = 8 * MIB;

fn body() -> Vec<u8> {
    ranges::body(SIZE)
}

/// A server that supports ranges.
struct Parts {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    body: Vec<u8>,
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Default)]
struct State {
    /// The first byte of each request, in order.
    asked: Vec<usize>,
    open: bool,
    /// Connections with a response in progress.
    busy: Vec<TcpStream>,
    /// Those of them on which the body trickles.
    trickling: Vec<TcpStream>,
    most_busy: usize,
}

impl Parts {
    fn start() -> Self {
        let shared = Arc::new(Shared {
            body: body(),
            state: Mutex::default(),
            opened: Condvar::new(),
        });
        let served = Arc::clone(&shared);
        Self {
            addr: ranges::accept(move |stream| serve(stream, &served)),
            shared,
        }
    }

    fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.addr)
    }

    fn asked(&self) -> Vec<usize> {
        self.shared.state.lock().unwrap().asked.clone()
    }

    fn most_busy(&self) -> usize {
        self.shared.state.lock().unwrap().most_busy
    }

    /// Returns the number of connections that wait for the rest of the body, one for each piece.
    fn waiting(&self) -> usize {
        let mut state = self.shared.state.lock().unwrap();
        state.trickling.retain(is_open);
        state.trickling.len()
    }

    fn open(&self) {
        self.shared.state.lock().unwrap().open = true;
        self.shared.opened.notify_all();
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    while let Some(head) = ranges::read_head(&mut stream) {
        if head.starts_with("get /small") {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
            if stream.write_all(answer).is_err() {
                return;
            }
            continue;
        }
        let (first, end) = ranges::range(&head, SIZE);
        {
            let mut state = shared.state.lock().unwrap();
            state.asked.push(first);
            // A connection that the client closed before this request is no longer busy.
            state.busy.retain(is_open);
            state.busy.push(stream.try_clone().unwrap());
            state.most_busy = state.most_busy.max(state.busy.len());
        }
        let sent = send(&mut stream, (first, end), shared);
        let own = stream.peer_addr().ok();
        let mut state = shared.state.lock().unwrap();
        state.busy.retain(|other| other.peer_addr().ok() != own);
        if sent.is_err() {
            return;
        }
    }
}

fn send(
    stream: &mut TcpStream,
    (first, end): (usize, usize),
    shared: &Shared,
) -> std::io::Result<()> {
    let head = ranges::head((first, end), SIZE);
    stream.write_all(head.as_bytes())?;
    let held = HELD.clamp(first, end);
    stream.write_all(&shared.body[first..held])?;
    let mut at = held;
    if at < end {
        let trickles = stream.try_clone()?;
        shared.state.lock().unwrap().trickling.push(trickles);
    }
    while at < end && !shared.state.lock().unwrap().open {
        stream.write_all(&shared.body[at..=at])?;
        at += 1;
        let state = shared.state.lock().unwrap();
        drop(shared.opened.wait_timeout(state, Duration::from_millis(10)));
    }
    stream.write_all(&shared.body[at..end])
}

/// Returns whether the client has kept it open, as far as the server knows.
fn is_open(stream: &TcpStream) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut polled = [PollFd::new(stream, PollFlags::RDHUP)];
    poll(&mut polled, Some(&now)).unwrap();
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    !polled[0].revents().intersects(gone)
}

/// Returns the number of bytes of the partial body that its note confirms.
fn vouched(run: &Run) -> usize {
    let folder = run.path("downloads/.coordinator/partial");
    let partials = run.log().partials();
    let note = partials.iter().find(|name| name.ends_with("~note"));
    let text = note.and_then(|note| fs::read(folder.join(note)).ok());
    let note: Option<serde_json::Value> = text.and_then(|text| serde_json::from_slice(&text).ok());
    note.and_then(|note| note["whole"].as_str()?.split_once(' ')?.0.parse().ok())
        .unwrap_or(0)
}

/// Waits until everything that the server sends is noted. Then every connection waits for one of
/// the last four pieces, so no request is in flight. Returns the number of requests. It is not the
/// number of pieces, because the first connection receives several with one request.
fn held_up(server: &Parts, run: &Run, job: &Job) -> usize {
    job.wait_until("a note of what is whole", || vouched(run) >= HELD);
    job.wait_until("four connections", || server.waiting() == 4);
    server.asked().len()
}

/// Checks that all requests after the first `before` start at `whole` or later.
fn check_asked(server: &Parts, before: usize, whole: usize) {
    let asked = server.asked();
    let again = asked[before..].iter().filter(|first| **first < whole);
    assert_eq!(again.count(), 0, "asked again below {whole}: {asked:?}");
}

#[test]
fn a_killed_worker_costs_only_what_is_behind_a_gap() {
    for options in ["--engine blocking", "--engine async", "--fsync"] {
        let server = Parts::start();
        let run = Run::new()
            .list([server.url("large.bin")])
            .with(&format!("--workers 1 --split 4 {options}"));
        let job = run.start();
        let before = held_up(&server, &run, &job);
        job.worker(0, 1).signal(Signal::KILL);
        job.wait_until("the next request", || server.asked().len() > before);
        server.open();
        job.finish().code(0);
        check_asked(&server, before, HELD);
        let record = run.log().one(&server.url("large.bin"));
        run.log().check(&record, &sha256(&body()));
        assert_eq!(run.log().partials(), [""; 0]);
    }
}

#[test]
fn a_killed_run_costs_only_what_is_behind_a_gap() {
    for mode in ["processes", "threads", "async"] {
        let server = Parts::start();
        let run = Run::new()
            .list([server.url("large.bin")])
            .with(&format!("--workers 1 --split 4 --mode {mode}"));
        let job = run.start();
        let before = held_up(&server, &run, &job);
        job.kill();
        job.wait_until_alone();
        assert_eq!(run.log().files(), [""; 0]);
        server.open();
        // A run without `--split` also continues the partial body.
        let run = run
            .without_arguments()
            .with(&format!("--workers 1 --mode {mode}"));
        run.finish().code(0);
        check_asked(&server, before, HELD);
        assert_eq!(server.asked().len(), before + 1, "{mode}");
        let record = run.log().one(&server.url("large.bin"));
        run.log().check(&record, &sha256(&body()));
    }
}

#[test]
fn a_host_never_has_more_connections_at_work_than_its_cap() {
    for (options, most) in [
        ("--workers 4 --split 2 --parallel-max-host 4", 4),
        ("--workers 4 --split 8 --parallel-max-host 3", 3),
        ("--workers 4 --split 4 --parallel-max-host 6", 4),
        (
            "--mode async --concurrency 4 --split 2 --parallel-max-host 4",
            4,
        ),
    ] {
        let server = Parts::start();
        let names = ["a", "b", "c"].map(|name| server.url(name));
        // Idle workers take these, which belong to another host.
        let port = server.addr.port();
        let others: Vec<_> = (0..100)
            .map(|number| format!("http://localhost:{port}/small/{number}"))
            .collect();
        let run = Run::new().list(names.iter().chain(&others)).with(options);
        let job = run.start();
        job.wait_until("as many connections as there may be", || {
            server.most_busy() >= most
        });
        job.wait_until("all that is of another host", || {
            run.log().count("stored") >= others.len()
        });
        server.open();
        job.finish().code(0);
        assert_eq!(server.most_busy(), most, "{options}");
        for name in names {
            run.log().check(&run.log().one(&name), &sha256(&body()));
        }
    }
}

#[test]
fn a_confined_worker_may_do_what_parts_take() {
    for options in ["--workers 1", "--mode processes --engine async --workers 1"] {
        let server = Parts::start();
        server.open();
        let run = Run::new()
            .list([server.url("a")])
            .with("--sandbox on --split 64 --parallel-max-host 0")
            .with(options);
        run.finish().code(0);
        assert!(server.asked().len() > 1, "{:?}", server.asked());
        run.log()
            .check(&run.log().one(&server.url("a")), &sha256(&body()));
    }
}
