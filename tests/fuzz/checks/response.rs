//! Checks for any bytes sent by a server: first in the scanner, then in the transfer.

use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use protocol::{HttpOptions, LoginOptions, PartialNote, Proxies, Timestamp, Trust, Validator};
use worker::transfer::scan::{MAX_SHOWN_HEADERS, Passed, Scanner};
use worker::{Head, Next, Transfer, TransportError};

/// `--max-filesize` of the transfer.
const LIMIT: u64 = 64;

/// Bytes of the body that are on disk from an earlier attempt.
const HAVE: u64 = 4;

/// Number of prefixes to check at each end of the answer.
const PREFIXES: usize = 160;

/// The result of scanning an answer: the bytes for the parser, and how it ended.
#[derive(Debug, PartialEq)]
struct Scanned {
    passed: Vec<u8>,
    end: Result<(), TransportError>,
    /// The response is whole, and the connection can be used again.
    idle: bool,
}

/// Reads `data` as the answer to a request, up to the end of the connection.
///
/// # Panics
///
/// Panics if a promise of the scanner or of the transfer does not hold.
pub fn check(data: &[u8]) {
    let whole = scan(data, data.len());
    check_pieces(data, &whole);
    check_prefixes(data, &whole);
    if whole.end.is_ok() {
        check_passed(&whole);
    }
    check_transfer(data);
}

fn scan(data: &[u8], size: usize) -> Scanned {
    let mut scanner = Scanner::new();
    scanner.begin();
    let mut passed = Vec::new();
    for piece in data.chunks(size.max(1)) {
        let mut piece = piece.to_vec();
        let Passed { head, kept } = scanner.feed(&mut piece);
        assert!(kept <= piece.len(), "more is passed on than came");
        passed.extend_from_slice(head);
        passed.extend_from_slice(&piece[..kept]);
        if let Err(error) = scanner.verdict() {
            let (end, idle) = (Err(error), scanner.is_idle());
            return Scanned { passed, end, idle };
        }
    }
    Scanned {
        passed,
        end: scanner.end(),
        idle: scanner.is_idle(),
    }
}

/// Checks that the result does not depend on how the bytes are split.
fn check_pieces(data: &[u8], whole: &Scanned) {
    for size in [1, 2, 3, 7, 64] {
        let cut = scan(data, size);
        assert_eq!(cut.end, whole.end, "in pieces of {size}");
        assert_eq!(cut.idle, whole.idle, "in pieces of {size}");
        if whole.end.is_ok() {
            assert_eq!(cut.passed, whole.passed, "in pieces of {size}");
        } else {
            // Bytes that are held back until the end may never be passed on.
            let shorter = cut.passed.len().min(whole.passed.len());
            assert_eq!(cut.passed[..shorter], whole.passed[..shorter], "{size}");
        }
    }
}

/// Checks that a truncated response is not whole, unless nothing says where it ends.
fn check_prefixes(data: &[u8], whole: &Scanned) {
    let edge = data.len().min(PREFIXES);
    for kept in (0..edge).chain(data.len() - edge..data.len()) {
        let cut = scan(&data[..kept], 11);
        if cut.idle {
            assert_eq!(cut.end, Ok(()), "idle within a response, cut to {kept}");
        }
        if cut.end.is_ok() && cut.idle {
            let more = whole.passed.strip_prefix(&cut.passed[..]);
            assert_eq!(more, Some(&[][..]), "whole twice, cut to {kept}");
        }
    }
}

/// Checks that the bytes passed on are one message, and that scanning them again gives the same.
fn check_passed(whole: &Scanned) {
    let again = scan(&whole.passed, whole.passed.len());
    assert_eq!(again.end, Ok(()), "what is passed on is sound");
    assert_eq!(again.passed, whole.passed, "what is passed on stays");
    assert!(
        parse(&whole.passed).is_some(),
        "what is sound has a head that a parser takes"
    );
}

/// Returns the final head in `passed` and the bytes after it, read with a strict parser.
fn parse(passed: &[u8]) -> Option<(StatusCode, Version, HeaderMap, &[u8])> {
    let mut rest = passed;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_SHOWN_HEADERS + 2];
        let mut response = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(end)) = response.parse(rest) else {
            return None;
        };
        rest = &rest[end..];
        let status = StatusCode::from_u16(response.code?).ok()?;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            continue;
        }
        let version = match response.version {
            Some(0) => Version::HTTP_10,
            Some(_) | None => Version::HTTP_11,
        };
        let mut map = HeaderMap::new();
        for header in response.headers {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            map.append(name, HeaderValue::from_bytes(header.value).ok()?);
        }
        return Some((status, version, map, rest));
    }
}

/// Returns the pieces of the body after `head`, by its framing, its length if known, and whether it
/// is whole. This does not use the scanner.
fn body<'d>(
    status: StatusCode,
    headers: &HeaderMap,
    rest: &'d [u8],
) -> (Vec<&'d [u8]>, Option<u64>, bool) {
    if matches!(status.as_u16(), 101 | 204 | 304) {
        return (Vec::new(), Some(0), true);
    }
    if let Some(length) = headers.get(http::header::CONTENT_LENGTH) {
        let length: u64 = length.to_str().unwrap().trim().parse().unwrap();
        let there = usize::try_from(length).map_or(rest.len(), |length| length.min(rest.len()));
        return (vec![&rest[..there]], Some(length), there as u64 == length);
    }
    if !headers.contains_key(http::header::TRANSFER_ENCODING) {
        return (vec![rest], None, true);
    }
    let (mut pieces, mut rest) = (Vec::new(), rest);
    loop {
        let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) else {
            return (pieces, None, false);
        };
        rest = &rest[start..];
        let there = usize::try_from(size).map_or(rest.len(), |size| size.min(rest.len()));
        if size == 0 || (there as u64) < size {
            pieces.push(&rest[..there]);
            return (pieces, None, size == 0 && rest.starts_with(b"\r\n"));
        }
        pieces.push(&rest[..there]);
        let Some(after) = rest[there..].strip_prefix(b"\r\n") else {
            return (pieces, None, false);
        };
        rest = after;
    }
}

fn options() -> HttpOptions {
    HttpOptions {
        user_agent: "fuzz/1".to_owned(),
        headers: vec![("Authorization".to_owned(), "secret".to_owned())],
        connect_timeout: std::time::Duration::MAX,
        stall_timeout: std::time::Duration::MAX,
        max_time: None,
        max_redirects: 3,
        max_filesize: Some(LIMIT),
        split: 1,
        resolve: Vec::new(),
        trust: Trust::WebRoots,
        insecure: false,
        compressed: true,
        retry_all_errors: false,
        speed_limit: None,
        family: None,
        block_private: false,
        proxies: Proxies::default(),
        login: LoginOptions::default(),
        simulated: None,
    }
}

/// Checks a download. Each request is answered with the bytes after the previous answer.
fn check_transfer(data: &[u8]) {
    let options = options();
    let url = "http://u:s3cr3t@a.test/x";
    let started = Timestamp(0);
    let mut transfer = Transfer::new(url, &options, started, Instant::now()).unwrap();
    let note = PartialNote {
        v: PartialNote::VERSION,
        boot: String::new(),
        url: "http://a.test/x".to_owned(),
        validator: Validator::Etag("\"x\"".to_owned()),
        length: None,
        content_type: None,
        whole: None,
    };
    transfer.offer(note, HAVE);
    let mut data = data;
    for request in 0.. {
        // The partial body is declined at most once, which takes one more request.
        assert!(request <= options.max_redirects + 1, "redirects go on");
        let headers = transfer.request().expect("it can be sent");
        let target = transfer.url();
        assert!(matches!(target.scheme(), "http" | "https"), "{target}");
        assert!(target.username().is_empty() && target.password().is_none());
        let home = target.origin() == url::Url::parse(url).unwrap().origin();
        let ours = headers.values().any(|value| value == "secret");
        assert!(home || !ours, "credentials leave home for {target}");

        let scanned = scan(data, data.len());
        let Some((status, version, headers, rest)) = parse(&scanned.passed) else {
            return;
        };
        if matches!(
            scanned.end,
            Err(TransportError::Protocol(_) | TransportError::HeadTooLarge(_))
        ) || matches!(scanned.end, Err(TransportError::Framing(_)) if rest.is_empty())
        {
            return;
        }
        let (pieces, length, is_whole) = body(status, &headers, rest);
        let head = Head {
            status,
            version,
            headers: &headers,
            length,
        };
        match transfer.on_head(head, SystemTime::UNIX_EPOCH) {
            Err(_) => return,
            Ok(Next::Follow) => {
                let used = data.len().min(scanned.passed.len().max(1));
                data = &data[used..];
            }
            Ok(Next::Keep { .. }) => panic!("a file is kept that is not there"),
            Ok(Next::Receive) => {
                assert!(status.is_success());
                // A 206 is whole only if its Content-Range says so.
                let range = headers.get("content-range").map(HeaderValue::as_bytes);
                let range = range.unwrap_or_default().to_ascii_lowercase();
                assert!(status != StatusCode::PARTIAL_CONTENT || range.starts_with(b"bytes "));
                return receive(&mut transfer, &scanned, &pieces, length, is_whole, 0);
            }
            Ok(Next::Resume { from }) => {
                assert_eq!((status, from), (StatusCode::PARTIAL_CONTENT, HAVE));
                return receive(&mut transfer, &scanned, &pieces, length, is_whole, from);
            }
        }
    }
}

/// Checks how much of a body is passed on, and when it counts as stored.
fn receive(
    transfer: &mut Transfer<'_>,
    scanned: &Scanned,
    pieces: &[&[u8]],
    length: Option<u64>,
    is_whole: bool,
    from: u64,
) {
    let mut handed_on = from;
    for piece in pieces {
        if transfer.on_chunk(piece.len() as u64).is_err() {
            return;
        }
        handed_on += piece.len() as u64;
        let plain = transfer.codings().is_empty();
        assert!(!plain || handed_on <= LIMIT, "{handed_on} bytes are kept");
    }
    assert_eq!(transfer.received(), handed_on);
    // The engine calls `on_end` only if the scanner accepts the end of the connection.
    if scanned.end.is_ok() {
        assert!(is_whole, "half a body counts as a whole one");
        let stored = transfer.on_end().is_ok();
        let announced = length.is_none_or(|length| from > 0 || length == handed_on);
        assert!(!stored || announced, "shorter than announced");
    }
}
