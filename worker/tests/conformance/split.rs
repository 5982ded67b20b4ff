//! Bodies over several connections at once (`--split`): what is put together, and when the first
//! connection continues alone.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use protocol::{
    Algorithm, Assignment, ByteRange, Checksum, Engine, Expect, FailureKind, HttpOptions,
    LimitRate, PartialNote,
};
use sha2::{Digest, Sha256};

use crate::support::{Bench, Server, TRANSIENT, options, read_head, wait_for_end};

const MIB: usize = 1024 * 1024;

/// Size of the body: eight pieces of one MiB, and a shorter one.
const SIZE: usize = 8 * MIB + 4321;

const TAG: &str = "\"one\"";

fn body() -> &'static [u8] {
    static BODY: OnceLock<Vec<u8>> = OnceLock::new();
    BODY.get_or_init(|| (0..SIZE).map(|at| (at / 7 + at / MIB * 5) as u8).collect())
}

fn with_split(split: u16) -> HttpOptions {
    HttpOptions { split, ..options() }
}

/// A request as the server reads it.
#[derive(Clone, Copy)]
struct Asked {
    /// Number of the request, counted from 0. Request 0 is for the whole body.
    number: usize,
    range: Option<(usize, usize)>,
}

impl Asked {
    fn length(self) -> usize {
        self.range.map_or(SIZE, |(first, end)| end - first)
    }
}

/// What a server has received, and what its threads wait for.
#[derive(Default)]
struct Seen {
    ranges: Mutex<Vec<Option<(usize, usize)>>>,
    /// Number of requests for a range that were answered completely.
    whole: Mutex<usize>,
    /// Whether the client has abandoned the second piece.
    given_up: Mutex<bool>,
    changed: Condvar,
}

impl Seen {
    /// Waits until `count` ranges were requested.
    fn wait_for_ranges(&self, count: usize) {
        let ranges = self.ranges.lock().expect("no panic");
        let few = |ranges: &mut Vec<Option<_>>| ranges.iter().flatten().count() < count;
        drop(self.changed.wait_while(ranges, few).expect("no panic"));
    }

    /// Waits until `count` ranges were sent.
    fn wait_for_whole(&self, count: usize) {
        let whole = self.whole.lock().expect("no panic");
        drop(
            self.changed
                .wait_while(whole, |whole| *whole < count)
                .expect("no panic"),
        );
    }

    fn ranges(&self) -> Vec<Option<(usize, usize)>> {
        self.ranges.lock().expect("no panic").clone()
    }
}

/// Starts a server that answers each request with `answer`.
fn serve(
    answer: impl Fn(&mut TcpStream, Asked, &Seen) -> std::io::Result<()> + Send + Sync + 'static,
) -> (Server, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let shared = Arc::clone(&seen);
    let server = Server::start(move |mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            let head = head.to_ascii_lowercase();
            let value = |name: &str| {
                let line = head.lines().find(|line| line.starts_with(name));
                line.map(|line| line[name.len()..].trim().to_owned())
            };
            let range = value("range:").map(|range| {
                assert_eq!(value("if-range:").as_deref(), Some(TAG), "{head}");
                let (first, last) = range
                    .strip_prefix("bytes=")
                    .expect("as it must be")
                    .split_once('-')
                    .expect("as it must be");
                let last: usize = last.parse().unwrap_or(SIZE - 1);
                (first.parse().expect("as it must be"), last + 1)
            });
            let number = {
                let mut ranges = shared.ranges.lock().expect("no panic");
                ranges.push(range);
                ranges.len() - 1
            };
            shared.changed.notify_all();
            let asked = Asked { number, range };
            if answer(&mut stream, asked, &shared).is_err() {
                return;
            }
            if range.is_some() {
                *shared.whole.lock().expect("no panic") += 1;
                shared.changed.notify_all();
            }
        }
    });
    (server, seen)
}

/// Returns the head of an exact answer.
fn head(asked: Asked) -> String {
    let length = asked.length();
    let common = format!("ETag: {TAG}\r\nContent-Length: {length}\r\n\r\n");
    match asked.range {
        None => format!("HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\n{common}"),
        Some((first, end)) => {
            let last = end - 1;
            format!("HTTP/1.1 206 x\r\nContent-Range: bytes {first}-{last}/{SIZE}\r\n{common}")
        }
    }
}

/// Sends an exact answer.
fn exact(stream: &mut TcpStream, asked: Asked) -> std::io::Result<()> {
    let (first, end) = asked.range.unwrap_or((0, SIZE));
    stream.write_all(head(asked).as_bytes())?;
    stream.write_all(&body()[first..end])
}

/// Sends the first piece for a request for the whole body, and the rest once `ready` returns.
fn first_piece(stream: &mut TcpStream, asked: Asked, ready: impl FnOnce()) -> std::io::Result<()> {
    stream.write_all(head(asked).as_bytes())?;
    stream.write_all(&body()[..MIB - 1])?;
    ready();
    stream.write_all(&body()[MIB - 1..])
}

#[track_caller]
fn check(bench: &mut Bench, server: &Server) {
    let stored = bench.get(&server.url("/")).expect("stored");
    assert!(bench.stored_bytes() == body(), "another body");
    assert_eq!(stored.bytes, SIZE as u64);
    assert_eq!(stored.sha256, <[u8; 32]>::from(Sha256::digest(body())));
    assert_eq!(stored.exchange.status, Some(200));
}

fn a_large_body_comes_over_several_connections_and_has_one_hash(engine: Engine) {
    let (server, seen) = serve(|stream, asked, seen| match asked.range {
        None => first_piece(stream, asked, || seen.wait_for_whole(7)),
        Some(_) => exact(stream, asked),
    });
    check(&mut Bench::new(engine, with_split(4)), &server);
    let ranges: Vec<_> = seen.ranges().into_iter().flatten().collect();
    assert!(ranges.len() >= 7, "{ranges:?}");
    let mut sorted = ranges.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(
        sorted.len(),
        ranges.len(),
        "a piece was asked for twice: {ranges:?}"
    );
    assert!(ranges.iter().all(|(first, end)| end - first <= MIB));
}

fn what_nothing_vouches_for_and_what_is_small_comes_in_one_piece(engine: Engine) {
    for headers in [
        "Accept-Ranges: bytes\r\n",
        "Accept-Ranges: bytes\r\nETag: W/\"one\"\r\n",
        "Accept-Ranges: none\r\nETag: \"one\"\r\n",
        "ETag: \"one\"\r\n",
    ] {
        let (server, seen) = serve(move |stream, asked, _| {
            let length = asked.length();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{headers}\r\n");
            stream.write_all(head.as_bytes())?;
            stream.write_all(body())
        });
        check(&mut Bench::new(engine, with_split(4)), &server);
        assert_eq!(seen.ranges(), [None], "{headers}");
    }
    // One piece and slightly less than a second one.
    let small = "x".repeat(MIB);
    let server = Server::answering(move |head| {
        assert!(!head.contains("ange: "), "{head}");
        let headers = format!("ETag: {TAG}\r\nAccept-Ranges: bytes\r\n");
        format!("HTTP/1.1 200 x\r\n{headers}Content-Length: {MIB}\r\n\r\n{small}").into_bytes()
    });
    let mut bench = Bench::new(engine, with_split(4));
    assert_eq!(bench.body(&server.url("/")).len(), MIB);
    assert_eq!(server.accepted(), 1);
}

fn a_range_that_the_list_asks_for_comes_in_one_piece(engine: Engine) {
    const PART: usize = 4 * MIB;
    let server = Server::answering(|_| {
        let head = part(
            0,
            PART - 1,
            SIZE,
            &format!("{TAG}\r\nAccept-Ranges: bytes"),
            PART,
        );
        [head.as_bytes(), &body()[..PART]].concat()
    });
    let mut bench = Bench::new(engine, with_split(4));
    let mut assignment = Assignment::new(server.url("/"), "file");
    assignment.range = Some(ByteRange {
        first: 0,
        last: PART as u64 - 1,
    });
    bench.download(&assignment).expect("stored");
    assert!(bench.stored_bytes() == body()[..PART]);
    assert_eq!(server.accepted(), 1);
}

/// Each of these answers to a range is refused, and the body comes over the first connection.
fn an_answer_that_is_not_exactly_the_piece_is_not_used(engine: Engine) {
    let wrong: [fn(usize, usize) -> String; 10] = [
        |_, _| format!("HTTP/1.1 200 OK\r\nETag: {TAG}\r\nContent-Length: {SIZE}\r\n\r\n"),
        |_, _| "HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n".to_owned(),
        |_, _| "HTTP/1.1 416 x\r\nContent-Length: 0\r\n\r\n".to_owned(),
        |_, _| "HTTP/1.1 302 x\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_owned(),
        |first, end| part(first, end - 1, SIZE, "\"two\"", end - first),
        |first, end| part(first, end - 1, SIZE + 1, TAG, end - first),
        |first, end| part(first + 1, end, SIZE, TAG, end - first),
        |first, end| part(first, end - 2, SIZE, TAG, end - first - 1),
        |first, end| part(first, end - 2, SIZE, TAG, end - first),
        |first, end| part(first, end - 1, SIZE, TAG, end - first - 1),
    ];
    for (number, wrong) in wrong.into_iter().enumerate() {
        let (server, seen) = serve(move |stream, asked, seen| match asked.range {
            None => first_piece(stream, asked, || seen.wait_for_whole(3)),
            Some((first, end)) => {
                stream.write_all(wrong(first, end).as_bytes())?;
                // As much as the longest piece; it must not get into the file.
                let _ = stream.write_all(&vec![0xEE; end - first]);
                *seen.whole.lock().expect("no panic") += 1;
                seen.changed.notify_all();
                Err(ErrorKind::Other.into())
            }
        });
        check(&mut Bench::new(engine, with_split(4)), &server);
        assert_eq!(
            seen.ranges().len(),
            4,
            "answer {number}: {:?}",
            seen.ranges()
        );
    }
}

fn part(first: usize, last: usize, of: usize, tag: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 206 x\r\nContent-Range: bytes {first}-{last}/{of}\r\nETag: {tag}\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// Sends 1000 bytes of the second piece, then calls `ends`. The first connection sends slowly until
/// the client has abandoned the second piece.
fn one_piece_ends(engine: Engine, options: HttpOptions, ends: fn(&TcpStream)) {
    const SLOW: usize = 50_000;
    let (server, seen) = serve(move |stream, asked, seen| match asked.range {
        None => {
            stream.write_all(head(asked).as_bytes())?;
            stream.write_all(&body()[..MIB - SLOW])?;
            let mut at = MIB - SLOW;
            let mut given_up = seen.given_up.lock().expect("no panic");
            while !*given_up {
                stream.write_all(&body()[at..=at])?;
                at += 1;
                let waited = seen
                    .changed
                    .wait_timeout(given_up, Duration::from_millis(10));
                given_up = waited.expect("no panic").0;
            }
            stream.write_all(&body()[at..])
        }
        Some((MIB, _)) => {
            stream.write_all(head(asked).as_bytes())?;
            stream.write_all(&body()[MIB..MIB + 1000])?;
            ends(stream);
            wait_for_end(stream);
            *seen.given_up.lock().expect("no panic") = true;
            seen.changed.notify_all();
            Err(ErrorKind::Other.into())
        }
        Some(_) => exact(stream, asked),
    });
    check(&mut Bench::new(engine, options), &server);
    let ranges = seen.ranges();
    assert!(ranges.contains(&Some((MIB + 1000, 2 * MIB))), "{ranges:?}");
}

fn a_piece_that_is_cut_off_is_gone_on_with_by_another(engine: Engine) {
    one_piece_ends(engine, with_split(4), |stream| {
        let _ = stream.shutdown(Shutdown::Write);
    });
}

fn a_piece_that_stalls_is_gone_on_with_by_another(engine: Engine) {
    let mut options = with_split(4);
    options.stall_timeout = Duration::from_secs(1);
    one_piece_ends(engine, options, |_| {});
}

/// A server with one thread serves one connection and lets the others wait.
fn a_server_that_answers_one_at_a_time_holds_nothing_up(engine: Engine) {
    let (server, _) = serve(|stream, asked, seen| match asked.range {
        None => first_piece(stream, asked, || seen.wait_for_ranges(3)),
        Some(_) => {
            wait_for_end(stream);
            Err(ErrorKind::Other.into())
        }
    });
    let mut options = with_split(4);
    options.stall_timeout = Duration::from_secs(3600);
    check(&mut Bench::new(engine, options), &server);
}

fn when_all_fails_the_next_attempt_goes_on_behind_what_is_whole(engine: Engine) {
    let (server, seen) = serve(|stream, asked, seen| {
        let is_first_attempt = *seen.whole.lock().expect("no panic") < 100;
        match asked.range {
            None => first_piece(stream, asked, || seen.wait_for_whole(4)),
            // The sixth piece is always cut off near its start.
            Some((first, _)) if is_first_attempt && first / MIB == 5 => {
                stream.write_all(head(asked).as_bytes())?;
                stream.write_all(&body()[first..first + 1000])?;
                Err(ErrorKind::Other.into())
            }
            Some(_) => exact(stream, asked),
        }
    });
    let mut bench = Bench::new(engine, with_split(4));
    bench.fails(&server.url("/"), FailureKind::Truncated, TRANSIENT);
    let note = std::fs::read(bench.partial("file~note")).expect("a note");
    let note: PartialNote = serde_json::from_slice(&note).expect("JSON");
    let whole = note.whole.expect("it says how much is whole").0;
    assert!(whole >= 5 * MIB as u64, "{whole}");
    let left = std::fs::read(bench.partial("file")).expect("a body");
    let whole = usize::try_from(whole).expect("as it must be");
    assert!(
        left[..whole] == body()[..whole],
        "what it vouches for is not there"
    );
    *seen.whole.lock().expect("no panic") = 100;
    let before = seen.ranges().len();
    bench.get(&server.url("/")).expect("stored");
    assert!(bench.stored_bytes() == body(), "another body");
    assert_eq!(seen.ranges()[before], Some((whole, SIZE)));
}

fn a_body_that_changes_on_the_way_is_not_mixed(engine: Engine) {
    let second = || body().iter().map(|byte| byte ^ 0xFF).collect::<Vec<u8>>();
    let (server, seen) = serve(move |stream, asked, seen| {
        let is_changed = *seen.whole.lock().expect("no panic") >= 1;
        match asked.range {
            // The first response continues with the old version, as from an open file. All others
            // wait until the second piece has been sent.
            None if !is_changed => first_piece(stream, asked, || seen.wait_for_ranges(4)),
            Some((first, _)) if first == MIB => exact(stream, asked),
            Some(_) | None => {
                seen.wait_for_whole(1);
                let head = "HTTP/1.1 200 OK\r\nETag: \"two\"\r\n";
                let head = format!("{head}Content-Length: {SIZE}\r\n\r\n");
                stream.write_all(head.as_bytes())?;
                stream.write_all(&second())
            }
        }
    });
    let mut bench = Bench::new(engine, with_split(4));
    bench.fails(&server.url("/"), FailureKind::Protocol, TRANSIENT);
    assert!(seen.ranges().len() >= 4);
    bench.get(&server.url("/")).expect("stored");
    assert!(bench.stored_bytes() == second(), "a mixture");
}

fn what_is_put_together_and_not_what_the_list_names_may_come_again(engine: Engine) {
    let (server, _) = serve(|stream, asked, seen| match asked.range {
        None => first_piece(stream, asked, || seen.wait_for_ranges(4)),
        Some((first, end)) => {
            stream.write_all(head(asked).as_bytes())?;
            stream.write_all(&vec![0; end - first])
        }
    });
    let mut bench = Bench::new(engine, with_split(4));
    let mut assignment = Assignment::new(server.url("/"), "file");
    assignment.expect = Some(Box::new(Expect {
        size: None,
        checksums: vec![Checksum {
            algorithm: Algorithm::Sha256,
            digest: Sha256::digest(body()).as_slice().into(),
        }],
    }));
    let failure = bench.download(&assignment).expect_err("another file");
    assert_eq!(
        (failure.kind, failure.severity),
        (FailureKind::ChecksumMismatch, TRANSIENT)
    );
    assert_eq!(bench.left(), [""; 0]);
}

fn the_connections_of_a_download_are_never_more_than_that(engine: Engine) {
    let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let most = Arc::new(AtomicUsize::new(0));
    let (count, seen) = (Arc::clone(&open), Arc::clone(&most));
    let (server, _) = serve(move |stream, asked, all| {
        if asked.number == 0 {
            count
                .lock()
                .expect("no panic")
                .push(stream.try_clone().expect("as it must be"));
            return first_piece(stream, asked, || all.wait_for_whole(4));
        }
        // Connections that the client closed before it opened this one no longer count.
        let mut open = count.lock().expect("no panic");
        open.retain(is_open);
        let own = stream.peer_addr().expect("as it must be");
        if !open.iter().any(|other| other.peer_addr().ok() == Some(own)) {
            open.push(stream.try_clone().expect("as it must be"));
        }
        seen.fetch_max(open.len(), Ordering::SeqCst);
        drop(open);
        exact(stream, asked)
    });
    check(&mut Bench::new(engine, with_split(3)), &server);
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

/// Returns whether the peer has not closed the connection, as far as is known.
fn is_open(stream: &TcpStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut polled = [PollFd::new(stream, PollFlags::RDHUP)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut polled, Some(&now)).expect("polled");
    !polled[0].revents().intersects(gone)
}

fn the_rate_is_that_of_all_connections_together(engine: Engine) {
    let (server, _) = serve(|stream, asked, _| exact(stream, asked));
    let mut bench = Bench::with(engine, with_split(4), |setup| {
        setup.limit_rate = Some(LimitRate {
            bytes_per_second: NonZeroU64::new(8 * MIB as u64).expect("as it must be"),
            sharers: 4,
        });
    });
    let begun = Instant::now();
    check(&mut bench, &server);
    // A fifth of a second's bytes may come at once.
    assert!(
        begun.elapsed() >= Duration::from_millis(800),
        "{:?}",
        begun.elapsed()
    );
}

crate::on_every_engine![
    a_large_body_comes_over_several_connections_and_has_one_hash,
    what_nothing_vouches_for_and_what_is_small_comes_in_one_piece,
    a_range_that_the_list_asks_for_comes_in_one_piece,
    an_answer_that_is_not_exactly_the_piece_is_not_used,
    a_piece_that_is_cut_off_is_gone_on_with_by_another,
    a_piece_that_stalls_is_gone_on_with_by_another,
    a_server_that_answers_one_at_a_time_holds_nothing_up,
    when_all_fails_the_next_attempt_goes_on_behind_what_is_whole,
    a_body_that_changes_on_the_way_is_not_mixed,
    what_is_put_together_and_not_what_the_list_names_may_come_again,
    the_connections_of_a_download_are_never_more_than_that,
    the_rate_is_that_of_all_connections_together,
];
