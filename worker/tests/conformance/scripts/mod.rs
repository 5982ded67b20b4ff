//! Raw bytes that a server sends before it closes the connection, and the expected result. It is
//! the same on all engines, byte for byte and kind for kind.

mod bodies;
mod heads;
mod smuggled;

use std::time::Duration;

use protocol::FailureKind::{self, HeadTooLarge, Protocol};
use protocol::{Engine, Severity};

use bodies::{CHUNKS, REDIRECTS, STATUSES};
use heads::{HEADERS, LENGTHS, STATUS_LINES, TRANSFER_CODINGS};
use smuggled::{ENDS, LINES, LOCATIONS, SIZES};

use crate::support::{Bench, Server, TRANSIENT, options};

/// Expected result of a response.
#[derive(Clone, Copy, Debug)]
enum Expect {
    /// It is stored with this body.
    Stored(&'static str),
    /// It fails permanently.
    Permanent(FailureKind),
    /// It fails and may succeed later.
    Transient(FailureKind),
    /// It fails, and the server asks for a retry after this many seconds.
    After(FailureKind, u64),
}
use Expect::{After, Permanent, Stored, Transient};

/// Name, bytes and expected result.
type Script = (&'static str, &'static [u8], Expect);

/// Describes how the result of `response` differs from the expected one.
fn difference(engine: Engine, response: &'static [u8], expect: Expect) -> Option<String> {
    let server = Server::sending(response);
    let mut bench = Bench::new(engine, options());
    let result = bench.get(&server.url("/"));
    let as_expected = match (&result, expect) {
        (Ok(stored), Stored(body)) => stored.bytes == body.len() as u64 && bench.stored() == body,
        (Err(failure), Permanent(kind)) => {
            (failure.kind, failure.severity) == (kind, Severity::Permanent)
        }
        (Err(failure), Transient(kind)) => (failure.kind, failure.severity) == (kind, TRANSIENT),
        (Err(failure), After(kind, seconds)) => {
            let retry_after = Some(Duration::from_secs(seconds));
            (failure.kind, failure.severity) == (kind, Severity::Transient { retry_after })
        }
        (Ok(_), Permanent(_) | Transient(_) | After(..)) | (Err(_), Stored(_)) => false,
    };
    let became = || match result {
        Ok(_) => format!("stored as {:?}", bench.stored()),
        Err(failure) => format!("{failure} ({:?})", failure.severity),
    };
    (!as_expected).then(became)
}

/// Runs every script of `scripts`, and reports all differences.
fn play(engine: Engine, scripts: &[Script]) {
    let differences: Vec<String> = scripts
        .iter()
        .filter_map(|(name, response, expect)| {
            let became = difference(engine, response, *expect)?;
            Some(format!("{name}: expected {expect:?}, but {became}"))
        })
        .collect();
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

fn status_lines(engine: Engine) {
    play(engine, STATUS_LINES);
}

fn headers(engine: Engine) {
    play(engine, HEADERS);
}

fn lengths(engine: Engine) {
    play(engine, LENGTHS);
}

fn transfer_codings(engine: Engine) {
    play(engine, TRANSFER_CODINGS);
}

fn chunks(engine: Engine) {
    play(engine, CHUNKS);
}

fn statuses(engine: Engine) {
    play(engine, STATUSES);
}

fn redirects(engine: Engine) {
    play(engine, REDIRECTS);
}

fn what_parsers_differ_on(engine: Engine) {
    play(engine, &[LINES, ENDS, SIZES, LOCATIONS].concat());
}

/// Heads with this many headers of this size, and whether they are accepted.
fn sizes_of_heads(engine: Engine) {
    for (count, size, fits) in [
        (150, 10, true),
        (4990, 10, true),
        (5000, 10, false),
        (20_000, 1, false),
        (1, 100_000, true),
        (15, 6000, true),
        (1, 290_000, true),
        (1, 310_000, false),
        (1, 1_000_000, false),
    ] {
        let headers = format!("X: {}\r\n", "x".repeat(size)).repeat(count);
        let response = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 2\r\n\r\nok");
        let response: &'static str = Box::leak(response.into_boxed_str());
        let expect = if fits {
            Stored("ok")
        } else {
            Permanent(HeadTooLarge)
        };
        let difference = difference(engine, response.as_bytes(), expect);
        assert_eq!(difference, None, "{count} headers of {size} bytes");
    }
}

fn interim_responses_without_an_end(engine: Engine) {
    let response = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(1000);
    let response: &'static str = Box::leak(response.into_boxed_str());
    assert_eq!(
        difference(engine, response.as_bytes(), Permanent(Protocol)),
        None
    );
}

#[test]
fn there_are_enough_scripts_and_no_two_of_one_name() {
    let all = [
        STATUS_LINES,
        HEADERS,
        LENGTHS,
        TRANSFER_CODINGS,
        CHUNKS,
        STATUSES,
        REDIRECTS,
        LINES,
        ENDS,
        SIZES,
        LOCATIONS,
    ];
    let mut names: Vec<&str> = all.concat().iter().map(|(name, ..)| *name).collect();
    let count = names.len();
    assert!(count >= 120, "{count}");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

crate::on_every_engine![
    status_lines,
    headers,
    lengths,
    transfer_codings,
    chunks,
    statuses,
    redirects,
    what_parsers_differ_on,
    sizes_of_heads,
    interim_responses_without_an_end,
];
