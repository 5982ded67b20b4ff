//! Scripts that parsers read in different ways: one sees a message where another sees two, or half
//! of one. A response is refused if it describes the body ambiguously.

use protocol::FailureKind::{
    BadRedirect, Connect, Disconnected, Framing, Protocol, Status, TooManyRedirects,
};

use super::Expect::{Permanent, Stored, Transient};
use super::Script;

/// Lines and names (RFC 9112 sections 2.2, 4 and 5; RFC 9110 section 5.5).
pub(super) const LINES: &[Script] = &[
    ("carriage returns alone", b"HTTP/1.1 200 OK\rContent-Length: 2\r\rok", Transient(Disconnected)),
    ("two carriage returns behind a value", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\r\n\r\nok", Permanent(Protocol)),
    ("a carriage return in a name", b"HTTP/1.1 200 OK\r\nContent\r-Length: 2\r\n\r\nok", Permanent(Protocol)),
    ("a carriage return in the status line", b"HTTP/1.1 200\rOK\r\nContent-Length: 2\r\n\r\nok", Permanent(Protocol)),
    ("a header behind a carriage return", b"HTTP/1.1 200 OK\r\nX: y\rContent-Length: 9\r\nContent-Length: 2\r\n\r\nok", Stored("ok")),
    ("a zero in a name", b"HTTP/1.1 200 OK\r\nX\0: y\r\nContent-Length: 2\r\n\r\nok", Stored("ok")),
    ("a name of another alphabet", b"HTTP/1.1 200 OK\r\n\xc3\xa9: y\r\nContent-Length: 2\r\n\r\nok", Stored("ok")),
    ("a tab before the colon", b"HTTP/1.1 200 OK\r\nContent-Length\t: 2\r\n\r\nok", Permanent(Protocol)),
    ("a vertical tab before the colon", b"HTTP/1.1 200 OK\r\nContent-Length\x0b: 2\r\n\r\nok", Permanent(Protocol)),
    ("a space in a name", b"HTTP/1.1 200 OK\r\nContent Length: 2\r\n\r\nok", Permanent(Protocol)),
    ("a first line that begins with a space", b" HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Permanent(Protocol)),
    ("a mark of the byte order", b"\xef\xbb\xbfHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Permanent(Protocol)),
    ("a tab in the status line", b"HTTP/1.1\t200 OK\r\nContent-Length: 2\r\n\r\nok", Permanent(Protocol)),
    ("HTTP/1.10", b"HTTP/1.10 200 OK\r\nContent-Length: 2\r\n\r\nok", Permanent(Protocol)),
    ("HTTP/1.", b"HTTP/1. 200 OK\r\nContent-Length: 2\r\n\r\nok", Permanent(Protocol)),
    ("a negative status", b"HTTP/1.1 -20 OK\r\nContent-Length: 2\r\n\r\nok", Permanent(Protocol)),
    ("a status of no class", b"HTTP/1.1 700 Odd\r\nContent-Length: 2\r\n\r\nok", Permanent(Status)),
    ("an interim status that nobody knows", b"HTTP/1.1 199 x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Stored("ok")),
    ("hints with chunks", b"HTTP/1.1 103 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Permanent(Framing)),
    ("204 with chunks", b"HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", Stored("")),
];

/// The end of the body (RFC 9112 section 6).
pub(super) const ENDS: &[Script] = &[
    ("a length folded", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok", Stored("ok")),
    ("a length of one more than 64 bits", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nok", Permanent(Framing)),
    ("a length that is 2 in 64 bits", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok", Permanent(Framing)),
    ("a length of many digits", b"HTTP/1.1 200 OK\r\nContent-Length: 00000000000000000000000000000000000000000000000002\r\n\r\nok", Stored("ok")),
    ("a length with an exponent", b"HTTP/1.1 200 OK\r\nContent-Length: 2e0\r\n\r\nok", Permanent(Framing)),
    ("a length with an underscore", b"HTTP/1.1 200 OK\r\nContent-Length: 0_2\r\n\r\nok", Permanent(Framing)),
    ("a length with a space in it", b"HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n\r\nok", Permanent(Framing)),
    ("a length in other digits", b"HTTP/1.1 200 OK\r\nContent-Length: \xd9\xa2\r\n\r\nok", Permanent(Framing)),
    ("a length in quotes", b"HTTP/1.1 200 OK\r\nContent-Length: \"2\"\r\n\r\nok", Permanent(Framing)),
    ("a length and a comma", b"HTTP/1.1 200 OK\r\nContent-Length: 2,\r\n\r\nok", Permanent(Framing)),
    ("a length, far from another", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\nX: y\r\ncontent-lengtH: 4\r\n\r\nokno", Permanent(Framing)),
    ("a coding folded", b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Stored("ok")),
    ("a coding with a space before the colon", b"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\nok", Permanent(Protocol)),
    ("a coding with a parameter", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;q=1\r\n\r\n2\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("a coding in quotes", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \"chunked\"\r\n\r\n2\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("a coding and a comma", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n2\r\nok\r\n0\r\n\r\n", Stored("ok")),
    ("a coding and a zero", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\0\r\n\r\n2\r\nok\r\n0\r\n\r\n", Permanent(Protocol)),
    ("a coding between tabs", b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\tchunked\t\r\n\r\n2\r\nok\r\n0\r\n\r\n", Stored("ok")),
    ("a name that is almost the coding's", b"HTTP/1.1 200 OK\r\nTransfer_Encoding: chunked\r\nContent-Length: 2\r\n\r\nok", Stored("ok")),
    ("chunked in two lines", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("chunked, then identity in another line", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n2\r\nok\r\n0\r\n\r\n", Stored("ok")),
];

/// Within chunks (RFC 9112 section 7.1).
pub(super) const SIZES: &[Script] = &[
    ("a tab behind a size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\t\r\nok\r\n0\r\n\r\n", Stored("ok")),
    ("a line feed in an extension", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("a carriage return in an extension", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\rb\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("a line end in a quoted extension", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"\r\n\"\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("two carriage returns behind a size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("an underscore in a size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0_2\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("two sizes", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2,2\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("a size and then more behind a space", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 2\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("a zero behind a size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\0\r\nok\r\n0\r\n\r\n", Permanent(Framing)),
    ("a size of 16 digits", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0000000000000002\r\nok\r\n0\r\n\r\n", Stored("ok")),
    ("a second end", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n0\r\n\r\n", Stored("ok")),
    ("a folded trailer", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n c: d\r\n\r\n", Permanent(Framing)),
    ("a trailer with a space before the colon", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA : b\r\n\r\n", Permanent(Framing)),
    ("a trailer that says chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", Stored("ok")),
    ("a trailer with a carriage return", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\rC: d\r\n\r\n", Permanent(Framing)),
    ("a trailer with a zero", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\0\r\n\r\n", Permanent(Framing)),
];

/// Ambiguous locations. The answer to the next request is the same.
pub(super) const LOCATIONS: &[Script] = &[
    (
        "with a carriage return",
        b"HTTP/1.1 302 x\r\nLocation: /\rx\r\nContent-Length: 0\r\n\r\n",
        Permanent(Protocol),
    ),
    (
        "folded",
        b"HTTP/1.1 302 x\r\nLocation: /a\r\n b\r\nContent-Length: 0\r\n\r\n",
        Permanent(TooManyRedirects),
    ),
    (
        "with a zero",
        b"HTTP/1.1 302 x\r\nLocation: /\0\r\nContent-Length: 0\r\n\r\n",
        Permanent(Protocol),
    ),
    (
        "with a tab",
        b"HTTP/1.1 302 x\r\nLocation: /a\tb\r\nContent-Length: 0\r\n\r\n",
        Permanent(TooManyRedirects),
    ),
    (
        "with a space",
        b"HTTP/1.1 302 x\r\nLocation: /a b\r\nContent-Length: 0\r\n\r\n",
        Permanent(TooManyRedirects),
    ),
    (
        "with another alphabet",
        b"HTTP/1.1 302 x\r\nLocation: /\xc3\xa9\r\nContent-Length: 0\r\n\r\n",
        Permanent(TooManyRedirects),
    ),
    (
        "with half a surrogate pair, escaped",
        b"HTTP/1.1 302 x\r\nLocation: /%ED%A0%80\r\nContent-Length: 0\r\n\r\n",
        Permanent(TooManyRedirects),
    ),
    (
        "with half a surrogate pair",
        b"HTTP/1.1 302 x\r\nLocation: /\xed\xa0\x80\r\nContent-Length: 0\r\n\r\n",
        Permanent(TooManyRedirects),
    ),
    (
        "with escapes that are none",
        b"HTTP/1.1 302 x\r\nLocation: /%zz%\r\nContent-Length: 0\r\n\r\n",
        Permanent(TooManyRedirects),
    ),
    (
        "with backslashes",
        b"HTTP/1.1 302 x\r\nLocation: \\\\127.0.0.1:1\\\r\nContent-Length: 0\r\n\r\n",
        Transient(Connect),
    ),
    (
        "with port zero",
        b"HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:0/\r\nContent-Length: 0\r\n\r\n",
        Transient(Connect),
    ),
    (
        "with a space in the host",
        b"HTTP/1.1 302 x\r\nLocation: http://a b/\r\nContent-Length: 0\r\n\r\n",
        Permanent(BadRedirect),
    ),
    (
        "with a host that ends a header",
        b"HTTP/1.1 302 x\r\nLocation: http://a%0d%0aX:y/\r\nContent-Length: 0\r\n\r\n",
        Permanent(BadRedirect),
    ),
    (
        "two that differ",
        b"HTTP/1.1 302 x\r\nLocation: /\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
        Permanent(BadRedirect),
    ),
    (
        "two that are the same",
        b"HTTP/1.1 302 x\r\nLocation: /\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        Permanent(TooManyRedirects),
    ),
];
