//! Scripts about the head of a response: its lines, and how they describe the body.

use protocol::FailureKind::{Disconnected, Framing, Protocol, Status, Truncated};

use super::Expect::{Permanent, Stored, Transient};
use super::Script;

/// Status lines (RFC 9112 section 4).
pub(super) const STATUS_LINES: &[Script] = &[
    (
        "no reason, no space",
        b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "no reason",
        b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "line feeds alone",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        Stored("ok"),
    ),
    (
        "empty lines first",
        b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "HTTP/1.0 with a length",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "HTTP/1.0 until the end",
        b"HTTP/1.0 200 OK\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "HTTP/1.2",
        b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Permanent(Protocol),
    ),
    (
        "HTTP/2 as text",
        b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Permanent(Protocol),
    ),
    (
        "HTTP/0.9 as text",
        b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Permanent(Protocol),
    ),
    ("HTTP/0.9", b"<html>ok</html>", Permanent(Protocol)),
    (
        "lower case",
        b"http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Permanent(Protocol),
    ),
    (
        "two spaces",
        b"HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok",
        Permanent(Protocol),
    ),
    (
        "a status of two digits",
        b"HTTP/1.1 20 Short\r\nContent-Length: 2\r\n\r\nok",
        Permanent(Protocol),
    ),
    (
        "a status of four digits",
        b"HTTP/1.1 2000 Long\r\nContent-Length: 2\r\n\r\nok",
        Permanent(Protocol),
    ),
    (
        "a status with letters",
        b"HTTP/1.1 2xx Odd\r\nContent-Length: 2\r\n\r\nok",
        Permanent(Protocol),
    ),
    (
        "a status of none",
        b"HTTP/1.1 000 Zero\r\nContent-Length: 2\r\n\r\nok",
        Permanent(Protocol),
    ),
    (
        "a status below all",
        b"HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok",
        Permanent(Protocol),
    ),
    (
        "a status above all",
        b"HTTP/1.1 999 High\r\nContent-Length: 2\r\n\r\nok",
        Permanent(Status),
    ),
    ("shoutcast", b"ICY 200 OK\r\n\r\nok", Permanent(Protocol)),
    (
        "a secure shell",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        Permanent(Protocol),
    ),
    ("a mail server", b"220 mail ESMTP\r\n", Permanent(Protocol)),
    (
        "a TLS alert",
        b"\x15\x03\x01\0\x02\x02\x46",
        Permanent(Protocol),
    ),
    (
        "an HTTP/2 frame",
        b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64",
        Permanent(Protocol),
    ),
    ("zeros", b"\0\0\0\0", Permanent(Protocol)),
    ("no HTTP, no line", b"ok", Permanent(Protocol)),
    ("nothing", b"", Transient(Disconnected)),
    ("only empty lines", b"\r\n\r\n\r\n", Transient(Disconnected)),
    ("half a status line", b"HTTP/1.1 2", Transient(Disconnected)),
    (
        "a status line and no more",
        b"HTTP/1.1 200 OK\r\n",
        Transient(Disconnected),
    ),
    (
        "half a head",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        Transient(Disconnected),
    ),
    (
        "a reason of another alphabet",
        b"HTTP/1.1 200 \xc3\xa9\r\nContent-Length: 2\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "a zero in the reason",
        b"HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok",
        Permanent(Protocol),
    ),
];

/// Header lines (RFC 9112 section 5).
pub(super) const HEADERS: &[Script] = &[
    (
        "a space before the colon",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        Permanent(Protocol),
    ),
    (
        "a header that begins with a space",
        b"HTTP/1.1 200 OK\r\n Content-Length: 2\r\n\r\nok",
        Permanent(Protocol),
    ),
    (
        "a folded header",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "a header folded with a tab",
        b"HTTP/1.1 200 OK\r\nX: a\r\n\tb\r\nContent-Length: 2\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "no colon",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        Stored(""),
    ),
    (
        "no name",
        b"HTTP/1.1 200 OK\r\n: empty\r\nContent-Length: 2\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "a name that is no token",
        b"HTTP/1.1 200 OK\r\nX(): a\r\nContent-Length: 2\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "a control character",
        b"HTTP/1.1 200 OK\r\nX: \x01\r\nContent-Length: 2\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "a zero",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "a carriage return alone",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "a value that is not ASCII",
        b"HTTP/1.1 200 OK\r\nX: \xe9\r\nContent-Length: 2\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "an empty value",
        b"HTTP/1.1 200 OK\r\nContent-Type:\r\nContent-Length: 2\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "spaces around a value",
        b"HTTP/1.1 200 OK\r\nContent-Length: \t 2 \t\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "no space before a value",
        b"HTTP/1.1 200 OK\r\nContent-Length:2\r\n\r\nok",
        Stored("ok"),
    ),
    (
        "a name in capitals",
        b"HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 2\r\n\r\nok",
        Stored("ok"),
    ),
];

/// One number, once (RFC 9112 section 6.3).
pub(super) const LENGTHS: &[Script] = &[
    ("the same length twice", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", Stored("ok")),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", Permanent(Framing)),
    ("the same length twice in a line", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", Stored("ok")),
    ("two lengths in a line", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok", Permanent(Framing)),
    ("an empty length", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok", Permanent(Framing)),
    ("a length with a sign", b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", Permanent(Framing)),
    ("a negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", Permanent(Framing)),
    ("a hexadecimal length", b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", Permanent(Framing)),
    ("a fraction", b"HTTP/1.1 200 OK\r\nContent-Length: 2.0\r\n\r\nok", Permanent(Framing)),
    ("a length in words", b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", Permanent(Framing)),
    ("a length with zeros in front", b"HTTP/1.1 200 OK\r\nContent-Length: 002\r\n\r\nok", Stored("ok")),
    ("more than 64 bits", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok", Permanent(Framing)),
    ("all of 64 bits", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nok", Permanent(Framing)),
    ("all of 63 bits", b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nok", Transient(Truncated)),
    ("no body", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Stored("")),
    ("one byte too few", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", Transient(Truncated)),
    ("no byte at all", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Transient(Truncated)),
    ("more than announced", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", Stored("ok")),
    ("another response behind", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", Stored("ok")),
    ("HTTP/1.0 cut off", b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok", Transient(Truncated)),
    ("until the end", b"HTTP/1.1 200 OK\r\n\r\nok", Stored("ok")),
    ("until the end, empty", b"HTTP/1.1 200 OK\r\n\r\n", Stored("")),
    ("until the end, said so", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", Stored("ok")),
];

/// Chunked, once, alone (RFC 9112 sections 6.1 and 7).
pub(super) const TRANSFER_CODINGS: &[Script] = &[
    ("chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Stored("ok")),
    ("Chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Stored("ok")),
    ("chunked and a length", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n", Stored("ok")),
    ("a length and chunked", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Stored("ok")),
    ("chunked and no length", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Stored("ok")),
    ("gzip, chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("gzip and chunked in two lines", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("chunked, gzip", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n2\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("chunked, chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("chunked, identity", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n", Stored("ok")),
    ("identity and a length", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", Stored("ok")),
    ("identity", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok", Stored("ok")),
    ("gzip and a length", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok", Permanent(Framing)),
    ("an empty coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \r\n\r\nok", Stored("ok")),
    ("a coding almost chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nok", Permanent(Framing)),
    ("chunked with a control character", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Permanent(Protocol)),
    ("chunked in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Stored("ok")),
    ("chunked and a length in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nok", Permanent(Framing)),
];
