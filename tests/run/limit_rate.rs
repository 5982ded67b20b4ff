//! `--limit-rate`, as a server sees it: no window of time has more bytes than the rate allows, and
//! the whole takes at least as long as the rate requires.
//!
//! Both hold on a machine of any speed. The tests of the arithmetic show, in simulated time, that
//! the rate is used up.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::process::Signal;

use crate::live::let_three_seconds_pass;
use crate::support::{Job, Run, sha256};

const MIB: usize = 1024 * 1024;

/// `--limit-rate` of these tests, in bytes per second.
const RATE: usize = 2 * MIB;

/// The size of each body. There are [`FILES`] of them.
const SIZE: usize = MIB / 4;
const FILES: usize = 20;

/// Bytes allowed at once beyond the rate: what a worker may catch up, and the turns it may hold.
const BURST: usize = RATE / 4;

/// Bytes that the system accepts for one connection before they are read (measured: 164 to 340 KiB,
/// more with a faster reader).
const BUFFERED: usize = MIB / 2;

/// A server that notes how many bytes of its bodies were accepted, and when.
struct Server {
    addr: SocketAddr,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    connections: usize,
    bytes: usize,
    /// For each piece, the time and the sum of bytes with it.
    pieces: Vec<(Instant, usize)>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let taken = Arc::<Mutex<Taken>>::default();
        let shared = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let taken = Arc::clone(&shared);
                taken.lock().unwrap().connections += 1;
                // A small buffer, so that few bytes are accepted before they are sent.
                set_socket_send_buffer_size(&stream, 4096).unwrap();
                thread::spawn(move || serve(stream, &taken));
            }
        });
        Self { addr, taken }
    }

    fn url(&self, number: usize) -> String {
        format!("http://{}/{number}", self.addr)
    }

    fn bytes(&self) -> usize {
        let taken = self.taken.lock();
        taken.unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// Checks that no window of time has more bytes than allowed.
    fn check(&self) {
        let taken = self.taken.lock().unwrap();
        let begun = taken.pieces[0].0;
        let allowed = |at: Instant| (at - begun).as_secs_f64() * RATE as f64;
        let most = (BURST + taken.connections * BUFFERED) as f64;
        let (mut lowest, mut before) = (0.0_f64, 0);
        for &(at, bytes) in &taken.pieces {
            // The worst window starts where the sum was furthest below the rate.
            lowest = lowest.min(before as f64 - allowed(at));
            let excess = bytes as f64 - allowed(at) - lowest;
            let connections = taken.connections;
            assert!(
                excess <= most,
                "{excess} bytes more than the rate until {:?}; {connections} connections",
                at - begun
            );
            before = bytes;
        }
    }
}

fn body(path: &str) -> Vec<u8> {
    path.bytes().cycle().take(SIZE).collect()
}

fn serve(mut stream: TcpStream, taken: &Mutex<Taken>) {
    while let Some(path) = request(&mut stream) {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
        if stream.write_all(head.as_bytes()).is_err() {
            return;
        }
        for piece in body(&path).chunks(4096) {
            if stream.write_all(piece).is_err() {
                return;
            }
            let mut taken = taken.lock().unwrap();
            taken.bytes += piece.len();
            let bytes = taken.bytes;
            taken.pieces.push((Instant::now(), bytes));
        }
    }
}

/// Returns the path of the next request.
fn request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    head.split(' ').nth(1).map(str::to_owned)
}

/// A run over all files.
fn run(server: &Server, arguments: &str) -> Run {
    Run::new()
        .list((0..FILES).map(|number| server.url(number)))
        .with(&format!("--limit-rate {RATE} {arguments}"))
}

/// Waits until the run ends. Checks its files and how long it took.
fn finish(server: &Server, run: &Run, job: Job, begun: Instant) {
    job.finish().code(0);
    let took = begun.elapsed();
    let least = (FILES * SIZE - BURST) as f64 / RATE as f64;
    assert!(took >= Duration::from_secs_f64(least), "{took:?}");
    for number in 0..FILES {
        let record = run.log().one(&server.url(number));
        run.log()
            .check(&record, &sha256(&body(&format!("/{number}"))));
    }
    server.check();
}

fn keeps_to_the_rate(arguments: &str) {
    let server = Server::start();
    let run = run(&server, arguments);
    let begun = Instant::now();
    let job = run.start();
    finish(&server, &run, job, begun);
}

#[test]
fn processes_keep_to_one_rate_together() {
    keeps_to_the_rate("--workers 6");
}

#[test]
fn so_do_processes_with_an_event_loop_each() {
    keeps_to_the_rate("--workers 2 --concurrency 3 --engine async");
}

#[test]
fn so_do_threads() {
    keeps_to_the_rate("--mode threads --workers 6");
}

#[test]
fn so_do_tasks_of_one_event_loop() {
    keeps_to_the_rate("--mode async --workers 6");
}

#[test]
fn so_does_one_download_after_the_other() {
    keeps_to_the_rate("--mode sequential");
}

#[test]
fn so_do_workers_in_a_complete_sandbox_or_none() {
    keeps_to_the_rate("--workers 3 --sandbox off");
    // Other tests check whether the kernel supports the whole sandbox.
    keeps_to_the_rate("--workers 3 --sandbox best-effort");
}

#[test]
fn workers_that_are_killed_lose_nothing_and_the_others_keep_to_the_rate() {
    let server = Server::start();
    let run = run(&server, "--workers 3 --max-deliveries 100");
    let begun = Instant::now();
    let job = run.start();
    for round in 1..=8 {
        job.wait_until("something to be taken", || {
            server.bytes() >= round * MIB / 2
        });
        // Any worker is in the middle of a download or waits for its turn.
        let victim = job.wait_for("a worker", || job.workers().into_iter().next());
        victim.signal(Signal::KILL);
    }
    finish(&server, &run, job, begun);
}

#[test]
fn a_run_that_was_suspended_does_not_make_up_for_it() {
    let server = Server::start();
    let run = run(&server, "--workers 2");
    let begun = Instant::now();
    let job = run.start();
    job.wait_until("something to be taken", || server.bytes() >= MIB);
    job.signal(Signal::TSTP);
    job.wait_until("everybody to stand still", || {
        job.process().is_stopped() && job.workers().iter().all(|worker| worker.is_stopped())
    });
    let_three_seconds_pass();
    job.signal(Signal::CONT);
    finish(&server, &run, job, begun);
}
