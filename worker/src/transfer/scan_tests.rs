//! Tests of the scanner: whatever the pieces in which bytes come, the same is passed on.

use proptest::prelude::*;

use super::*;

/// Feeds `response` in pieces of `size`; what is passed on, and what is said at its end.
fn scan(response: &[u8], size: usize) -> (Vec<u8>, Result<(), TransportError>) {
    let mut scanner = Scanner::new();
    scanner.begin();
    let mut passed = Vec::new();
    for piece in response.chunks(size) {
        let mut piece = piece.to_vec();
        let kept = scanner.feed(&mut piece);
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

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_sound_response_is_passed_on_as_it_is() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "\r\nHTTP/1.0 200\r\n\r\nuntil the end",
        "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
    ] {
        assert_eq!(whole(response), response);
    }
    let chunks = format!("{CHUNKED}2\r\nab\r\n01\r\nc\r\n0\r\n\r\n");
    assert_eq!(whole(&chunks), chunks);
}

#[test]
fn what_parsers_differ_on_is_taken_out() {
    let bare = format!("{CHUNKED}2\r\nok\r\n0\r\n\r\n");
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
    assert_eq!(excess, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

#[test]
fn what_is_wrong_has_a_kind_of_its_own() {
    let framing = |response: &str| {
        let error = broken(response);
        assert!(matches!(error, TransportError::Framing(_)), "{error}");
    };
    for headers in [
        "Content-Length: 2\r\nContent-Length: 2",
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2, 2",
        "Content-Length: +2",
        "Content-Length:",
        "Content-Length: 9223372036854775808",
        "Transfer-Encoding: chunked\r\nContent-Length: 2",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: xchunked",
    ] {
        framing(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\nok"));
    }
    framing("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
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
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    ] {
        let error = broken(response);
        assert!(matches!(error, TransportError::Protocol(_)), "{error}");
    }
    let head = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(MAX_HEAD));
    assert!(matches!(broken(&head), TransportError::HeadTooLarge(_)));
    let head = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(1000));
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
