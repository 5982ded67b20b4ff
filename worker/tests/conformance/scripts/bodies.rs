//! Scripts about chunks, and about the effect of the status.

use protocol::FailureKind::{
    BadRedirect, Disconnected, Framing, Status, TooManyRedirects, Truncated,
};

use super::Expect::{After, Permanent, Stored, Transient};
use super::Script;

/// A size, that many bytes, a line end (RFC 9112 section 7.1).
pub(super) const CHUNKS: &[Script] = &[
    ("several chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", Stored("ok")),
    ("sizes with zeros in front", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0002\r\nok\r\n000\r\n\r\n", Stored("ok")),
    ("sizes in capitals", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", Stored("0123456789")),
    ("a space behind a size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n", Stored("ok")),
    ("a space before a size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 2\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("a size with a sign", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("a negative size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("a size with a prefix", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("no size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("a size in words", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ntwo\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("a size of 17 digits", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000002\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("more than 64 bits in a size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nok", Permanent(Framing)),
    ("all of 64 bits in a size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nok", Permanent(Framing)),
    ("all of 63 bits in a size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\nok", Transient(Truncated)),
    ("extensions", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b;c\"\r\nok\r\n0;d\r\n\r\n", Stored("ok")),
    ("a long extension", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;signature=0123456789abcdef0123456789abcdef\r\nok\r\n0\r\n\r\n", Stored("ok")),
    ("a zero in an extension", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;\0\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("line feeds alone in chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n", Permanent(Framing)),
    ("a line feed alone behind data", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\n0\r\n\r\n", Permanent(Framing)),
    ("no line end behind data", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok0\r\n\r\n", Permanent(Framing)),
    ("a chunk longer than its size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n", Permanent(Framing)),
    ("a chunk shorter than its size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("trailers", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\nC: d\r\n\r\n", Stored("ok")),
    ("a trailer that says a length", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n", Stored("ok")),
    ("a trailer without a colon", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nno colon\r\n\r\n", Permanent(Framing)),
    ("no chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Transient(Truncated)),
    ("cut off in a size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2", Transient(Truncated)),
    ("cut off behind a size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n", Transient(Truncated)),
    ("cut off in data", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok", Transient(Truncated)),
    ("cut off behind data", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok", Transient(Truncated)),
    ("cut off between chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", Transient(Truncated)),
    ("cut off in the last chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0", Transient(Truncated)),
    ("cut off behind the last chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", Transient(Truncated)),
    ("cut off in a trailer", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n", Transient(Truncated)),
    ("bytes behind the last chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore", Stored("ok")),
];

/// The effect of a status on a download (RFC 9110 section 15).
pub(super) const STATUSES: &[Script] = &[
    ("continue first", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Stored("ok")),
    ("hints first, twice", b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Stored("ok")),
    ("continue with a length", b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Permanent(Framing)),
    ("only hints", b"HTTP/1.1 103 Early Hints\r\n\r\n", Transient(Disconnected)),
    ("an upgrade", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nok", Permanent(Status)),
    ("201", b"HTTP/1.1 201 x\r\nContent-Length: 2\r\n\r\nok", Stored("ok")),
    ("204", b"HTTP/1.1 204 x\r\n\r\n", Stored("")),
    ("204 with a body", b"HTTP/1.1 204 x\r\nContent-Length: 2\r\n\r\nok", Stored("")),
    ("205", b"HTTP/1.1 205 x\r\nContent-Length: 0\r\n\r\n", Stored("")),
    ("a part that nobody asked for", b"HTTP/1.1 206 x\r\nContent-Length: 2\r\nContent-Range: bytes 0-1/9\r\n\r\nok", Permanent(Status)),
    ("300", b"HTTP/1.1 300 x\r\nContent-Length: 0\r\n\r\n", Permanent(Status)),
    ("304", b"HTTP/1.1 304 x\r\n\r\n", Permanent(Status)),
    ("304 with a length", b"HTTP/1.1 304 x\r\nContent-Length: 2\r\n\r\n", Permanent(Status)),
    ("305", b"HTTP/1.1 305 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", Permanent(Status)),
    ("400", b"HTTP/1.1 400 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("401", b"HTTP/1.1 401 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("403", b"HTTP/1.1 403 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("404", b"HTTP/1.1 404 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("405", b"HTTP/1.1 405 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("407", b"HTTP/1.1 407 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("410", b"HTTP/1.1 410 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("414", b"HTTP/1.1 414 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("416", b"HTTP/1.1 416 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("421", b"HTTP/1.1 421 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("431", b"HTTP/1.1 431 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("451", b"HTTP/1.1 451 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("501", b"HTTP/1.1 501 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("505", b"HTTP/1.1 505 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("511", b"HTTP/1.1 511 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("520", b"HTTP/1.1 520 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("521", b"HTTP/1.1 521 x\r\nContent-Length: 2\r\n\r\nno", Permanent(Status)),
    ("408", b"HTTP/1.1 408 x\r\nContent-Length: 2\r\n\r\nno", Transient(Status)),
    ("425", b"HTTP/1.1 425 x\r\nContent-Length: 2\r\n\r\nno", Transient(Status)),
    ("429", b"HTTP/1.1 429 x\r\nContent-Length: 2\r\n\r\nno", Transient(Status)),
    ("500", b"HTTP/1.1 500 x\r\nContent-Length: 2\r\n\r\nno", Transient(Status)),
    ("502", b"HTTP/1.1 502 x\r\nContent-Length: 2\r\n\r\nno", Transient(Status)),
    ("503", b"HTTP/1.1 503 x\r\nContent-Length: 2\r\n\r\nno", Transient(Status)),
    ("504", b"HTTP/1.1 504 x\r\nContent-Length: 2\r\n\r\nno", Transient(Status)),
    ("522", b"HTTP/1.1 522 x\r\nContent-Length: 2\r\n\r\nno", Transient(Status)),
    ("524", b"HTTP/1.1 524 x\r\nContent-Length: 2\r\n\r\nno", Transient(Status)),
    ("retry after seconds", b"HTTP/1.1 503 x\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", After(Status, 7)),
    ("retry after a date that has passed", b"HTTP/1.1 429 x\r\nRetry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n", After(Status, 0)),
    ("retry after a date far away", b"HTTP/1.1 503 x\r\nRetry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n", After(Status, 3600)),
    ("retry after nonsense", b"HTTP/1.1 503 x\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", Transient(Status)),
];

/// Valid and invalid targets (RFC 9110 section 15.4).
pub(super) const REDIRECTS: &[Script] = &[
    (
        "to nowhere",
        b"HTTP/1.1 302 x\r\nContent-Length: 0\r\n\r\n",
        Permanent(BadRedirect),
    ),
    (
        "to an empty place, which is here",
        b"HTTP/1.1 302 x\r\nLocation: \r\nContent-Length: 0\r\n\r\n",
        Permanent(TooManyRedirects),
    ),
    (
        "to here",
        b"HTTP/1.1 301 x\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        Permanent(TooManyRedirects),
    ),
    (
        "to here with a fragment",
        b"HTTP/1.1 303 x\r\nLocation: /#f\r\nContent-Length: 0\r\n\r\n",
        Permanent(TooManyRedirects),
    ),
    (
        "to a file",
        b"HTTP/1.1 307 x\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
        Permanent(BadRedirect),
    ),
    (
        "to ftp",
        b"HTTP/1.1 308 x\r\nLocation: ftp://a/\r\nContent-Length: 0\r\n\r\n",
        Permanent(BadRedirect),
    ),
    (
        "to a script",
        b"HTTP/1.1 302 x\r\nLocation: javascript:alert(1)\r\nContent-Length: 0\r\n\r\n",
        Permanent(BadRedirect),
    ),
    (
        "to data",
        b"HTTP/1.1 302 x\r\nLocation: data:,ok\r\nContent-Length: 0\r\n\r\n",
        Permanent(BadRedirect),
    ),
    (
        "to a host that is none",
        b"HTTP/1.1 302 x\r\nLocation: http://\r\nContent-Length: 0\r\n\r\n",
        Permanent(BadRedirect),
    ),
    (
        "to a port that is none",
        b"HTTP/1.1 302 x\r\nLocation: http://a:99999/\r\nContent-Length: 0\r\n\r\n",
        Permanent(BadRedirect),
    ),
    (
        "to what is no text",
        b"HTTP/1.1 302 x\r\nLocation: /\xff\r\nContent-Length: 0\r\n\r\n",
        Permanent(TooManyRedirects),
    ),
];
