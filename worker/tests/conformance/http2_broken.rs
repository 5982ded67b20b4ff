//! HTTP/2 that is broken, cut off or too large. The results are the same as over HTTP/1.1.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use protocol::{Engine, FailureKind, Severity, Simulated, Trust};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::http2::{BOTH, Handle, server};
use crate::support::{self, Bench, TRANSIENT, options};
use crate::tls;

const URL: &str = "https://a.test/";

type Asked<'r> = &'r Request<h2::RecvStream>;
type Respond = SendResponse<Bytes>;

fn serving(handle: Handle) -> (crate::http2::Server, Bench) {
    let server = server(BOTH, handle);
    let mut options = server.options();
    options.stall_timeout = Duration::from_millis(500);
    let bench = Bench::new(Engine::Async, options);
    (server, bench)
}

/// Sends a head, with a length if one is given.
fn begin(respond: &mut Respond, length: Option<&str>) -> Option<SendStream<Bytes>> {
    let mut response = Response::builder().header("etag", "\"one\"");
    if let Some(length) = length {
        response = response.header("content-length", length);
    }
    let response = response.body(()).expect("a response");
    respond.send_response(response, false).ok()
}

/// Sends `body`, and with it the end of the stream.
fn send(mut respond: Respond, length: Option<&str>, body: &'static str) {
    if let Some(mut stream) = begin(&mut respond, length) {
        let _ = stream.send_data(body.into(), true);
    }
}

/// Sends `body`, and a separate frame for the end of the stream.
fn send_apart(mut respond: Respond, length: Option<&str>, body: &'static str) {
    if let Some(mut stream) = begin(&mut respond, length) {
        let _ = stream.send_data(body.into(), false);
        let _ = stream.send_data("".into(), true);
    }
}

#[test]
fn a_body_that_ends_short_of_its_length_is_cut_off() {
    let (_server, mut bench) = serving(|_, _, _, respond| send(respond, Some("9"), "half"));
    bench.fails(URL, FailureKind::Truncated, TRANSIENT);
    let (_server, mut bench) = serving(|_, _, _, respond| send_apart(respond, Some("9"), "half"));
    let failure = bench.fails(URL, FailureKind::Truncated, TRANSIENT);
    assert!(
        failure.message.contains("after 4 bytes of 9 bytes"),
        "{failure}"
    );
}

#[test]
fn a_body_that_goes_on_beyond_its_length_is_not_stored() {
    let (_server, mut bench) = serving(|_, _, _, mut respond| {
        if let Some(mut stream) = begin(&mut respond, Some("4")) {
            let _ = stream.send_data("half".into(), false);
            let _ = stream.send_data("and more".into(), true);
        }
    });
    bench.fails(URL, FailureKind::Protocol, Severity::Permanent);
    // If the excess is in the same frame, it cannot be distinguished from a short body.
    let (_server, mut bench) = serving(|_, _, _, respond| send(respond, Some("4"), "too much"));
    bench.fails(URL, FailureKind::Truncated, TRANSIENT);
}

#[test]
fn a_body_without_a_length_ends_with_its_stream() {
    let (_server, mut bench) = serving(|_, _, _, respond| send(respond, None, "whole"));
    assert_eq!(bench.body(URL), "whole");
    let (_server, mut bench) = serving(|_, _, _, respond| send(respond, None, ""));
    assert_eq!(bench.body(URL), "");
}

#[test]
fn a_body_goes_on_where_it_was_cut_off() {
    fn handle(_: usize, _: usize, request: Asked<'_>, mut respond: Respond) {
        let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
        let Some(range) = header("range") else {
            return send_apart(respond, Some("9"), "half");
        };
        assert_eq!(
            (range, header("if-range")),
            (&b"bytes=4-"[..], Some(&b"\"one\""[..]))
        );
        let response = Response::builder()
            .status(206)
            .header("etag", "\"one\"")
            .header("content-range", "bytes 4-8/9")
            .header("content-length", 5);
        let response = response.body(()).expect("a response");
        if let Ok(mut stream) = respond.send_response(response, false) {
            let _ = stream.send_data("whole".into(), true);
        }
    }
    let (server, mut bench) = serving(handle);
    bench.fails(URL, FailureKind::Truncated, TRANSIENT);
    assert_eq!(bench.left(), ["file", "file~note"]);
    let stored = bench.get(URL).expect("stored");
    assert_eq!((stored.bytes, stored.exchange.status), (9, Some(206)));
    assert_eq!(bench.stored(), "halfwhole");
    assert_eq!(server.connections(), 1, "it broke nothing but its stream");
}

#[test]
fn trailers_are_passed_over_unless_they_are_malformed() {
    fn with(mut respond: Respond, length: Option<&str>, name: &'static str) {
        if let Some(mut stream) = begin(&mut respond, length) {
            let _ = stream.send_data("whole".into(), false);
            let mut trailers = HeaderMap::new();
            trailers.insert(name, HeaderValue::from_static("9"));
            let _ = stream.send_trailers(trailers);
        }
    }
    let (_server, mut bench) = serving(|_, _, _, respond| with(respond, Some("5"), "x-a"));
    assert_eq!(bench.body(URL), "whole");
    let (_server, mut bench) = serving(|_, _, _, respond| with(respond, None, "content-length"));
    assert_eq!(bench.body(URL), "whole", "they say nothing about the body");
    let (_server, mut bench) = serving(|_, _, _, respond| with(respond, Some("9"), "x-a"));
    bench.fails(URL, FailureKind::Truncated, TRANSIENT);
}

#[test]
fn interim_responses_are_passed_over_and_end_when_nothing_else_comes() {
    fn interim(respond: &mut Respond, status: u16) -> bool {
        let response = Response::builder().status(status).header("x-a", "b");
        let response = response.body(()).expect("a response");
        respond.send_informational(response).is_ok()
    }
    let (_server, mut bench) = serving(|_, _, _, mut respond| {
        assert!(interim(&mut respond, 100) && interim(&mut respond, 103));
        send(respond, Some("5"), "whole");
    });
    assert_eq!(bench.body(URL), "whole");
    let (_server, mut bench) = serving(|_, _, _, mut respond| {
        tokio::spawn(async move {
            // Far longer than the time after which a download counts as stalled.
            for _ in 0..1000 {
                if !interim(&mut respond, 103) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            send(respond, Some("5"), "whole");
        });
    });
    bench.fails(URL, FailureKind::Stalled, TRANSIENT);
}

/// h2 does not report empty frames. Otherwise each would count as a part of the body.
#[test]
fn pieces_without_anything_in_them_are_no_progress() {
    let (_server, mut bench) = serving(|_, _, _, mut respond| {
        let Some(mut stream) = begin(&mut respond, None) else {
            return;
        };
        tokio::spawn(async move {
            for _ in 0..1000 {
                if stream.send_data("".into(), false).is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let _ = stream.send_data("".into(), true);
        });
    });
    bench.fails(URL, FailureKind::Stalled, TRANSIENT);
}

#[test]
fn heads_are_no_larger_than_over_http1() {
    fn flood(mut respond: Respond, headers: usize, size: usize) {
        let mut response = Response::new(());
        for number in 0..headers {
            let name = HeaderName::try_from(format!("x-{number}")).expect("a name");
            let value = HeaderValue::try_from("v".repeat(size)).expect("a value");
            response.headers_mut().insert(name, value);
        }
        if let Ok(mut stream) = respond.send_response(response, false) {
            let _ = stream.send_data("whole".into(), true);
        }
    }
    let (_server, mut bench) = serving(|_, _, _, respond| flood(respond, 150, 200));
    assert_eq!(bench.body(URL), "whole");
    let (_server, mut bench) = serving(|_, _, _, respond| flood(respond, 6000, 1));
    bench.fails(URL, FailureKind::HeadTooLarge, Severity::Permanent);
    let (_server, mut bench) = serving(|_, _, _, respond| flood(respond, 50, 7500));
    bench.fails(URL, FailureKind::HeadTooLarge, Severity::Permanent);
    // A head that is far too large is not even read.
    let (_server, mut bench) = serving(|_, _, _, respond| flood(respond, 700, 1000));
    bench.fails(URL, FailureKind::Protocol, Severity::Permanent);
}

#[test]
fn heads_that_contradict_themselves_are_not_http() {
    fn lengths(mut respond: Respond, values: &[&'static str], body: bool) {
        let mut response = Response::new(());
        for value in values {
            let value = HeaderValue::from_static(value);
            response.headers_mut().append("content-length", value);
        }
        if let Ok(mut stream) = respond.send_response(response, !body) {
            let _ = stream.send_data("whole".into(), true);
        }
    }
    let handles: [Handle; 4] = [
        |_, _, _, respond| lengths(respond, &["5", "6"], true),
        |_, _, _, respond| lengths(respond, &["five"], true),
        |_, _, _, respond| lengths(respond, &["-5"], true),
        // The stream ends with the head.
        |_, _, _, respond| lengths(respond, &["5"], false),
    ];
    for handle in handles {
        let (_server, mut bench) = serving(handle);
        bench.fails(URL, FailureKind::Protocol, Severity::Permanent);
    }
    // The same length twice is one length.
    let (_server, mut bench) = serving(|_, _, _, respond| lengths(respond, &["5", "5"], true));
    assert_eq!(bench.body(URL), "whole");
}

/// Builds a frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short frame");
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200`, and the same with `content-length: 9`, by the static table of RFC 7541.
const OK: &[u8] = &[0x88];
const OK_OF_NINE: &[u8] = &[0x88, 0x0f, 0x0d, 1, b'9'];

/// Returns the start of a response with the first four bytes of its body.
fn begun(head: &[u8]) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, 1, head);
    [head, frame(DATA, 0, 1, b"half")].concat()
}

/// Starts a server that answers a request with these bytes, and then waits or closes.
fn raw(bytes: Vec<u8>, hangs_up: bool) -> (support::Server, Bench) {
    let (config, pem) = tls::config();
    let mut config: ServerConfig = (*config).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    let server = support::Server::start(move |stream, _| {
        let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
        let mut stream = StreamOwned::new(session, stream);
        // Its first frame must be SETTINGS, and the client's request follows the client's SETTINGS.
        let _ = stream.write_all(&frame(SETTINGS, 0, 0, &[]));
        let mut asked = Vec::new();
        let mut buffer = [0; 4096];
        while !asked_in(&asked) {
            match stream.read(&mut buffer) {
                Ok(read @ 1..) => asked.extend_from_slice(&buffer[..read]),
                Ok(_) | Err(_) => return,
            }
        }
        let _ = stream.write_all(&bytes);
        if hangs_up {
            stream.conn.send_close_notify();
        }
        let _ = stream.flush();
        if hangs_up {
            // Closing with unread data would discard what was sent.
            let _ = stream.sock.shutdown(Shutdown::Write);
        }
        support::wait_for_end(&mut stream);
    });
    let mut options = options();
    options.trust = Trust::Pem(pem);
    options.stall_timeout = Duration::from_secs(5);
    options.simulated = Some(Simulated {
        http: server.addr,
        https: server.addr,
    });
    (server, Bench::new(Engine::Async, options))
}

/// Returns whether a whole HEADERS frame follows the preface.
fn asked_in(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(24..).unwrap_or_default();
    while let [a, b, c, kind, ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some(next) = rest.get(9 + length..) else {
            return false;
        };
        if *kind == HEADERS {
            return true;
        }
        rest = next;
    }
    false
}

#[test]
fn a_stream_that_is_reset_in_the_middle_is_cut_off_whatever_the_reason() {
    const NO_ERROR: u8 = 0;
    const INTERNAL_ERROR: u8 = 2;
    const REFUSED_STREAM: u8 = 7;
    const CANCEL: u8 = 8;
    for reason in [NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL] {
        // Without a length, only the missing end shows that the body is incomplete.
        for head in [OK, OK_OF_NINE] {
            let reset = frame(RST_STREAM, 0, 1, &[0, 0, 0, reason]);
            let (_server, mut bench) = raw([begun(head), reset].concat(), false);
            let failure = bench.fails(URL, FailureKind::Truncated, TRANSIENT);
            let after = failure.message.contains("after 4 bytes");
            assert!(after, "{reason}: {failure}");
        }
    }
    // After the end of the stream a reset has no effect (RFC 9113 section 8.1).
    let whole = [begun(OK), frame(DATA, END_STREAM, 1, b"whole")].concat();
    let reset = frame(RST_STREAM, 0, 1, &[0, 0, 0, NO_ERROR]);
    let (_server, mut bench) = raw([whole, reset].concat(), false);
    assert_eq!(bench.body(URL), "halfwhole");
}

#[test]
fn a_connection_that_goes_away_in_the_middle_of_a_body_cuts_it_off() {
    // The server promises to answer streams up to `last` (the first one is 1), and then does not.
    let away = |last, reason| frame(GOAWAY, 0, 0, &[0, 0, 0, last, 0, 0, 0, reason]);
    for (what, bytes) in [
        ("nothing said", begun(OK)),
        ("no error", [begun(OK), away(1, 0)].concat()),
        ("an error", [begun(OK), away(1, 2)].concat()),
        ("not even this one", [begun(OK), away(0, 0)].concat()),
    ] {
        let (_server, mut bench) = raw(bytes, true);
        let failure = bench.get(URL).expect_err(what);
        let seen = (failure.kind, failure.severity);
        assert_eq!(
            seen,
            (FailureKind::Truncated, TRANSIENT),
            "{what}: {failure}"
        );
    }
}

#[test]
fn a_new_connection_that_goes_away_before_it_answers_is_not_made_again() {
    // The server reports that it has processed no request.
    let (server, mut bench) = raw(frame(GOAWAY, 0, 0, &[0; 8]), false);
    bench.fails(URL, FailureKind::Disconnected, TRANSIENT);
    assert_eq!(server.accepted(), 1, "that is for a retry");
}

#[test]
fn what_is_not_http_on_a_shared_connection_passes_for_those_who_share_it() {
    // Data on stream 0 (RFC 9113 section 6.1).
    let nonsense = frame(DATA, 0, 0, b"x");
    let (_server, mut bench) = raw(nonsense.clone(), false);
    bench.fails(URL, FailureKind::Protocol, TRANSIENT);
    let (_server, mut bench) = raw([begun(OK), nonsense].concat(), false);
    let failure = bench.get(URL).expect_err("cut off");
    assert_eq!(failure.severity, TRANSIENT, "{failure}");
    assert_eq!(failure.kind, FailureKind::Truncated, "{failure}");
    // An invalid table size (RFC 7541 section 6.3), and data that is not HTTP/2.
    for bytes in [
        frame(HEADERS, END_HEADERS, 1, &[0xff; 9]),
        b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
    ] {
        let (_server, mut bench) = raw(bytes, false);
        bench.fails(URL, FailureKind::Protocol, TRANSIENT);
    }
}
