//! Tests of the scanner: it passes on the same data, however the bytes are split.

use proptest::prelude::*;

use super::*;

/// Feeds `response` in pieces of `size`. Returns the data passed on and the result at the end.
fn scan(response: &[u8], size: usize) -> (Vec<u8>, Result<(), TransportError>) {
    let mut scanner = Scanner::new();
    scanner.begin();
    let mut passed = Vec::new();
    for piece in response.chunks(size) {
        let mut piece = piece.to_vec();
        let Passed { head, kept } = scanner.feed(&mut piece);
        passed.extend_from_slice(head);
        passed.extend_from_slice(&piece[..kept]);
        if let Err(error) = scanner.verdict() {
            return (passed, Err(error));
        }
    }
    (passed, scanner.end())
}

fn whole(response: &str) -> String {
    let mut first = None;
    for size in [1, 2, 3, 7, 10_000] {
        let (passed, verdict) = scan(response.as_bytes(), size);
        assert_eq!(verdict, Ok(()), "{response:?} in pieces of {size}");
        let text = String::from_utf8(passed).expect("text");
        assert_eq!(first.get_or_insert_with(|| text.clone()), &text);
    }
    first.unwrap_or_default()
}

fn broken(response: &str) -> TransportError {
    let mut first = None;
    for size in [1, 2, 3, 7, 100_000] {
        let (_, verdict) = scan(response.as_bytes(), size);
        let error = verdict.expect_err(response);
        assert_eq!(first.get_or_insert_with(|| error.clone()), &error, "{size}");
    }
    first.expect("an error")
}

/// Rewritten for a parser.
const BARE: &str = "HTTP/1.1 200 \r\ntransfer-encoding:chunked\r\n\r\n";

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_parser_is_shown_one_form_of_each_head() {
    let counted = "HTTP/1.1 200 \r\ncontent-length:2\r\n\r\nok";
    for (response, shown) in [
        (counted, counted),
        ("HTTP/1.1 200 OK\nContent-Length: 02\nX: y\n\nok", counted),
        (
            "\r\nHTTP/1.0 200\r\n\r\nuntil the end",
            "HTTP/1.0 200 \r\n\r\nuntil the end",
        ),
        (
            "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
            "HTTP/1.1 204 \r\n\r\n",
        ),
        (
            "HTTP/1.1 302 x\r\nLocation: /a\r\n\t /b\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 302 \r\nlocation:/a /b\r\ncontent-length:0\r\n\r\n",
        ),
    ] {
        assert_eq!(whole(response), shown);
    }
    let chunks = format!("{BARE}2\r\nab\r\n01\r\nc\r\n0\r\n\r\n");
    assert_eq!(whole(&chunks), chunks);
}

#[test]
fn after_an_odd_head_the_connection_is_spent() {
    for (headers, framing) in [
        ("Content-Length: 2\r\nContent-Length: 2", "content-length:2"),
        ("Content-Length: 2, 2", "content-length:2"),
        ("Content-Length: 2\r\nno colon", "content-length:2"),
        ("Content-Length: 2\r\nX : y", "content-length:2"),
        ("Content-Length: 2\r\nX: \u{0}", "content-length:2"),
        (
            "Content-Length: 2\r\nTransfer-Encoding: identity",
            "content-length:2",
        ),
        (
            "Content-Length: 2\r\nTransfer-Encoding: chunked",
            "transfer-encoding:chunked",
        ),
    ] {
        let mut scanner = Scanner::new();
        scanner.begin();
        let mut head = format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n").into_bytes();
        let shown = scanner.feed(&mut head).head.to_vec();
        assert!(scanner.is_spent(), "{headers}");
        assert_eq!(
            String::from_utf8_lossy(&shown),
            format!("HTTP/1.1 200 \r\n{framing}\r\nconnection:close\r\n\r\n")
        );
    }
}

#[test]
fn a_head_that_was_held_back_fits_before_what_came_behind_it() {
    let location = format!("Location: /{}\r\n", "x".repeat(30_000));
    let response = format!("HTTP/1.1 200 OK\r\n{location}\r\n{}", "b".repeat(100_000));
    let (mut scanner, mut buffer) = (Scanner::new(), vec![0; 64 * 1024]);
    scanner.begin();
    let (mut left, mut passed) = (response.as_bytes(), Vec::new());
    // The first piece ends just before the end of the head.
    let mut most = 30_000;
    while !left.is_empty() {
        let read = most.min(left.len());
        buffer[..read].copy_from_slice(&left[..read]);
        left = &left[read..];
        let end = scanner.feed(&mut buffer[..read]).put(&mut buffer);
        passed.extend_from_slice(&buffer[..end.expect("room")]);
        most = scanner.most(buffer.len());
    }
    assert!(passed.ends_with(&[b'b'; 100_000]));
    assert_eq!(passed.len(), 100_000 + location.len() - 1 + 17);
}

#[test]
fn what_parsers_differ_on_is_taken_out() {
    let bare = format!("{BARE}2\r\nok\r\n0\r\n\r\n");
    for chunks in [
        "2 \r\nok\r\n0\r\n\r\n",
        "2;a=\"b;c\"\r\nok\r\n0 ;d\r\n\r\n",
        "2;a-long-extension-of-a-chunk=yes-quite-long\r\nok\r\n0\r\n\r\n",
        "2\r\nok\r\n0\r\nA: b\r\nC: d\r\n\r\n",
        "2\r\nok\r\n0\r\n\r\nmore",
    ] {
        assert_eq!(whole(&format!("{CHUNKED}{chunks}")), bare, "{chunks:?}");
    }
    let excess = whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more");
    assert_eq!(excess, "HTTP/1.1 200 \r\ncontent-length:2\r\n\r\nok");
}

#[test]
fn what_is_wrong_has_a_kind_of_its_own() {
    let framing = |response: &str| {
        let error = broken(response);
        assert!(matches!(error, TransportError::Framing(_)), "{error}");
    };
    for headers in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: +2",
        "Content-Length:",
        "Content-Length: 9223372036854775808",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: xchunked",
    ] {
        framing(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\nok"));
    }
    framing("HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\n");
    for chunks in [
        " 2\r\nok",
        "+2\r\nok",
        "0x2\r\nok",
        "-2\r\nok",
        "\r\nok",
        "2\nok",
        "2\r\nokay\r\n",
        "10000000000000000\r\n",
        "ffffffffffffffff\r\n",
        "2\r\nok\r\n0\r\nno colon\r\n\r\n",
        "2\r\nok\r\n0\r\nA: b\n\n",
        "2\r\nok\n0\r\n\r\n",
        "2;\u{0}\r\n",
    ] {
        framing(&format!("{CHUNKED}{chunks}"));
    }
    for response in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "ok",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\n Content-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nLocation: \u{1}\r\n\r\n",
    ] {
        let error = broken(response);
        assert!(matches!(error, TransportError::Protocol(_)), "{error}");
    }
    let head = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(MAX_HEAD));
    assert!(matches!(broken(&head), TransportError::HeadTooLarge(_)));
    let head = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(6000));
    assert!(matches!(broken(&head), TransportError::HeadTooLarge(_)));
    let interim = "HTTP/1.1 103 Early\r\n\r\n".repeat(30);
    assert!(matches!(broken(&interim), TransportError::Protocol(_)));
}

#[test]
fn an_end_too_early_is_noticed_wherever_it_comes() {
    let response = format!("{CHUNKED}2;x\r\nok\r\n0\r\nA: b\r\n\r\n");
    for end in 0..response.len() {
        let (_, verdict) = scan(&response.as_bytes()[..end], 7);
        assert!(
            matches!(verdict, Err(TransportError::Disconnected(_))),
            "{end}: {verdict:?}"
        );
    }
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no";
    let (_, verdict) = scan(response.as_bytes(), 7);
    assert!(matches!(verdict, Err(TransportError::Disconnected(_))));
}

#[test]
fn a_connection_is_used_again_only_when_nothing_came_behind_the_response() {
    for (behind, good) in [("", true), ("HTTP/1.1 200 OK\r\n\r\n", false)] {
        let mut scanner = Scanner::new();
        scanner.begin();
        assert!(!scanner.is_idle());
        let mut data = format!("HTTP/1.1 204 None\r\n\r\n{behind}").into_bytes();
        scanner.feed(&mut data);
        assert_eq!(scanner.is_idle(), good, "{behind:?}");
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_pieces_make_no_difference(
        head in prop::sample::select(vec![
            "", "HTTP/1.1 200 OK\r\n", CHUNKED, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        ]),
        rest in prop::collection::vec(prop::sample::select(b"0129af;: \r\n\r\n\0xH".to_vec()), 0..80),
        size in 1_usize..20,
    ) {
        let response = [head.as_bytes(), &rest].concat();
        let (in_pieces, verdict) = scan(&response, size);
        let (at_once, expect) = scan(&response, response.len().max(1));
        prop_assert_eq!(verdict, expect.clone());
        if expect.is_ok() {
            prop_assert_eq!(in_pieces, at_once);
        }
    }
}
