//! Responses that are odd, broken or hostile: whatever one engine makes of them, the other makes
//! of them too. HTTP is parsed by different crates below the engines, so this is the place where
//! they could come apart.

use protocol::{Engine, FailureKind, Severity};

use crate::support::{Bench, Server, options};

#[derive(Debug, PartialEq)]
enum Outcome {
    Stored(String),
    Failed(FailureKind, Severity),
}

fn outcome(engine: Engine, response: &[u8]) -> Outcome {
    let response: &'static [u8] = Box::leak(response.to_vec().into_boxed_slice());
    let server = Server::sending(response);
    let mut bench = Bench::new(engine, options());
    match bench.get(&server.url("/")) {
        Ok(_) => Outcome::Stored(bench.stored()),
        Err(failure) => Outcome::Failed(failure.kind, failure.severity),
    }
}

/// Heads and bodies, each sent as it stands before the connection is closed.
const RESPONSES: &[&str] = &[
    // Lines and versions.
    "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 000 Zero\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 600 High\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 999 High\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 20 Short\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 2xx Odd\r\nContent-Length: 2\r\n\r\nok",
    "ICY 200 OK\r\n\r\nok",
    "ok",
    "\0\0\0\0",
    "",
    // Headers.
    "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\n Content-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nX: \u{1}\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nX: \u{e9}\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\n: empty\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Type:\r\nContent-Length: 2\r\n\r\nok",
    // Lengths.
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2.0\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 002\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551614\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
    "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
    "HTTP/1.1 205 Reset\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 206 Partial\r\nContent-Length: 2\r\nContent-Range: bytes 0-1/9\r\n\r\nok",
    // Codings of the transfer.
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nok",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nok",
    // Chunks.
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n02\r\nok\r\n000\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b;c\"\r\nok\r\n0;d\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\nC: d\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore",
    // Interim responses.
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nok",
    "HTTP/1.1 103 Early Hints\r\n\r\n",
];

/// Where the parsers differ in how strict they are, about bytes around the data and not about the
/// data: one engine stores it, or calls it truncated, and the other says that it is not HTTP.
/// hyper wants sizes that are hexadecimal digits and nothing else, and everything up to the last
/// line end; ureq wants interim responses without a length.
const MORE_OR_LESS_STRICT: &[&str] = &[
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nno colon\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n",
    "HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
];

/// If this fails, perhaps a parser has become stricter: then the response belongs to the others.
#[test]
fn engines_that_differ_in_strictness_never_store_different_bytes() {
    for response in MORE_OR_LESS_STRICT {
        let outcomes =
            [Engine::Blocking, Engine::Async].map(|engine| outcome(engine, response.as_bytes()));
        assert_ne!(outcomes[0], outcomes[1], "{response:?}");
        for outcome in outcomes {
            match outcome {
                Outcome::Stored(body) => assert_eq!(body, "ok", "{response:?}"),
                Outcome::Failed(kind, _) => assert!(
                    [FailureKind::Protocol, FailureKind::Truncated].contains(&kind),
                    "{response:?}"
                ),
            }
        }
    }
}

#[test]
fn engines_agree_on_what_is_odd() {
    let mut differences = Vec::new();
    for response in RESPONSES {
        let outcomes =
            [Engine::Blocking, Engine::Async].map(|engine| outcome(engine, response.as_bytes()));
        if outcomes[0] != outcomes[1] {
            differences.push(format!("{response:?}\n    {outcomes:?}"));
        }
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

#[test]
fn engines_agree_on_how_much_of_a_head_is_too_much() {
    for (count, size) in [
        (90, 10),
        (101, 10),
        (127, 10),
        (129, 10),
        (1, 40_000),
        (1, 60_000),
    ] {
        let headers = format!("X: {}\r\n", "x".repeat(size)).repeat(count);
        let response = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 2\r\n\r\nok");
        let outcomes =
            [Engine::Blocking, Engine::Async].map(|engine| outcome(engine, response.as_bytes()));
        assert_eq!(outcomes[0], outcomes[1], "{count} headers of {size} bytes");
    }
}
