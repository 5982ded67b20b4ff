//! Hostile or broken servers: random bytes, and bytes without end.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use protocol::{Engine, FailureKind};

use crate::support::{Bench, Server, TRANSIENT, options, read_head};

const SOON: Duration = Duration::from_millis(200);

/// Pieces of valid responses, and some invalid ones.
const PIECES: &[&[u8]] = &[
    b"HTTP/1.1 ",
    b"HTTP/1.0 ",
    b"200",
    b"206",
    b"301",
    b"404",
    b"416",
    b"503",
    b"101",
    b"100",
    b" OK",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b": ",
    b":",
    b" ",
    b"\t",
    b"\0",
    b"\xff",
    b";",
    b",",
    b"Content-Length",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Location: /\r\n",
    b"Location: http://[::1/\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Encoding: br\r\n",
    b"Content-Encoding: zstd\r\n",
    b"Content-Range: bytes 0-4/5\r\n",
    b"ETag: \"x\"\r\n",
    b"Connection: close\r\n",
    b"Retry-After: 99999999999999999999\r\n",
    b"Content-Type: \xff\r\n",
    b"5\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"hello",
    b"\x1f\x8b\x08\0\0\0\0\0",
    b"\x28\xb5\x2f\xfd",
];

/// Returns a random response.
fn response(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    if random.bool() {
        bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    for _ in 0..random.usize(0..20) {
        if random.u8(..) < 20 {
            let noise = (0..random.usize(0..200)).map(|_| random.u8(..));
            bytes.extend(noise.collect::<Vec<_>>());
        } else {
            bytes.extend_from_slice(PIECES[random.usize(..PIECES.len())]);
        }
    }
    bytes
}

fn no_response_makes_an_engine_panic(engine: Engine) {
    for seed in 0..600 {
        let server = Server::start(move |mut stream, number| {
            let mut random = fastrand::Rng::with_seed(seed * 1000 + number as u64);
            read_head(&mut stream);
            let _ = stream.write_all(&response(&mut random));
        });
        let mut options = options();
        options.compressed = seed % 2 == 0;
        options.max_filesize = Some(1_000_000);
        let url = server.url("/");
        let mut bench = Bench::new(engine, options);
        for _ in 0..2 {
            let result = catch_unwind(AssertUnwindSafe(|| bench.get(&url)));
            match result {
                Ok(Err(failure)) => {
                    assert_ne!(
                        failure.kind,
                        FailureKind::Internal,
                        "seed {seed}: {failure}"
                    );
                }
                Ok(Ok(_)) => {}
                Err(_) => panic!("seed {seed} makes it panic"),
            }
        }
    }
}

/// Starts a server that sends `start`, and then one piece after the other without end.
fn dripping(start: &'static str, drop: &'static [u8]) -> Server {
    Server::start(move |mut stream, _| {
        read_head(&mut stream);
        let _ = stream.write_all(start.as_bytes());
        while stream.write_all(drop).is_ok() {
            std::thread::yield_now();
        }
    })
}

fn drops_in_a_body_are_ended_by_max_time(engine: Engine) {
    for (start, drop) in [
        ("HTTP/1.1 200 OK\r\n\r\n", &b"x"[..]),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n",
            b"x",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n",
        ),
    ] {
        let server = dripping(start, drop);
        let mut options = options();
        options.max_time = Some(SOON);
        let mut bench = Bench::new(engine, options);
        bench.fails(&server.url("/"), FailureKind::Timeout, TRANSIENT);
    }
}

fn what_never_becomes_a_head_or_a_line_is_ended_by_its_size(engine: Engine) {
    for (start, drop, kind) in [
        (
            "HTTP/1.1 200 OK\r\nX: ",
            &b"x"[..],
            FailureKind::HeadTooLarge,
        ),
        (
            "HTTP/1.1 200 OK\r\n",
            b"X: y\r\n",
            FailureKind::HeadTooLarge,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
            b"x",
            FailureKind::Framing,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"X: y\r\n",
            FailureKind::Framing,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"0",
            FailureKind::Framing,
        ),
        ("", b"HTTP/1.1 103 x\r\n\r\n", FailureKind::Protocol),
        ("", b"x", FailureKind::Protocol),
        ("", b"\r\n", FailureKind::HeadTooLarge),
    ] {
        let server = dripping(start, drop);
        let failure = Bench::new(engine, options()).get(&server.url("/"));
        let failure = failure.expect_err("it never ends");
        assert_eq!(failure.kind, kind, "{start:?} {failure}");
    }
}

fn a_head_that_drips_is_ended_by_max_time(engine: Engine) {
    let server = Server::start(|mut stream, _| {
        read_head(&mut stream);
        // Too slow to fill a head, but fast enough not to count as stalled.
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: "
            .iter()
            .chain(std::iter::repeat(&b'x'))
        {
            let begun = std::time::Instant::now();
            while begun.elapsed() < SOON / 20 {
                std::thread::yield_now();
            }
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
    });
    let mut options = options();
    options.max_time = Some(SOON);
    let mut bench = Bench::new(engine, options);
    bench.fails(&server.url("/"), FailureKind::Timeout, TRANSIENT);
}

crate::on_every_engine![
    no_response_makes_an_engine_panic,
    drops_in_a_body_are_ended_by_max_time,
    what_never_becomes_a_head_or_a_line_is_ended_by_its_size,
    a_head_that_drips_is_ended_by_max_time,
];
