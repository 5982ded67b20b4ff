//! Which greetings the coordinator accepts, and that messages are limited and safe to print.

use std::time::Duration;

use protocol::handshake::{HandshakeError, Hello, MAGIC, PROTOCOL_VERSION};
use protocol::{
    Cookie, Exchange, Failure, FailureKind, FromWorker, HeardError, MAX_SPANS, MonotonicNanos,
    Report, Severity, Span, SpanPhase, Stored, TaskId, Validators, codec,
};

fn nacked(message: String, exchange: Exchange) -> FromWorker {
    FromWorker::Reports(vec![Report::Nacked {
        task: TaskId(1),
        failure: Box::new(Failure {
            exchange,
            kind: FailureKind::Internal,
            message,
            severity: Severity::Permanent,
        }),
    }])
}

fn heard(message: &FromWorker) -> Result<FromWorker, HeardError> {
    FromWorker::heard(&codec::encode(message).expect("it fits"))
}

#[test]
fn no_text_of_a_worker_can_command_a_terminal_or_change_its_direction() {
    let wild = "a\x1b[2J\r\n\u{9b}\u{202e}b\u{2066}\u{61c}\u{e4}".to_owned();
    let tame = "a\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}b\u{fffd}\u{fffd}\u{e4}".to_owned();
    let exchange = |final_url: &String| Exchange {
        final_url: Some(final_url.clone()),
        ..Exchange::default()
    };
    let stored = |text: &String| {
        FromWorker::Reports(vec![Report::Finished {
            task: TaskId(1),
            output: Box::new(Stored {
                exchange: exchange(text),
                bytes: 1,
                sha256: [0; 32],
                content_type: Some(text.clone()),
                executed: None,
                validators: Validators {
                    etag: Some(text.clone()),
                    last_modified: Some(text.clone()),
                },
                modified: None,
                unchanged: false,
                suggested_name: None,
            }),
        }])
    };
    let hello = |text: &String| FromWorker::Hello(Hello::new(1, text.clone(), [0; 16]));
    let failed = |text: &String| nacked(text.clone(), exchange(text));
    assert_eq!(heard(&stored(&wild)).expect("a message"), stored(&tame));
    assert_eq!(heard(&failed(&wild)).expect("a message"), failed(&tame));
    assert_eq!(heard(&hello(&wild)).expect("a message"), hello(&tame));
}

#[test]
fn what_is_longer_than_a_worker_says_it_is_refused() {
    let text = heard(&nacked("m".repeat(16 * 1024 + 1), Exchange::default()));
    assert!(matches!(text, Err(HeardError::Text(16_385))), "{text:?}");
    let span = Span {
        phase: SpanPhase::Body,
        start: MonotonicNanos(1),
        wall: Duration::ZERO,
        cpu: Duration::ZERO,
    };
    let exchange = Exchange {
        spans: vec![span; MAX_SPANS + 1],
        ..Exchange::default()
    };
    let spans = heard(&nacked(String::new(), exchange));
    assert!(matches!(spans, Err(HeardError::Spans(65))), "{spans:?}");
}

#[test]
fn cookies_of_a_worker_are_bounded_and_those_that_would_break_a_file_are_left_out() {
    let cookie = |value: &str| Cookie {
        domain: "a.test".to_owned(),
        host_only: true,
        path: "/".to_owned(),
        secure: false,
        http_only: false,
        expires: None,
        name: "n".to_owned(),
        value: value.to_owned(),
    };
    let reported = |values: &[&str]| {
        let cookies = values.iter().copied().map(cookie).collect();
        let exchange = Exchange {
            cookies,
            ..Exchange::default()
        };
        nacked(String::new(), exchange)
    };
    let heard_of = heard(&reported(&["good", "bad\tline", "bad\nline", "bad;header"]));
    assert_eq!(heard_of.expect("a message"), reported(&["good"]));
    let long = "x".repeat(3000);
    let refused = heard(&reported(&[&long, &long, &long]));
    assert!(
        matches!(refused, Err(HeardError::Cookies(9024))),
        "{refused:?}"
    );
}

#[test]
fn only_a_worker_of_this_version_and_the_process_that_was_started_is_greeted() {
    let hello = Hello::new(4711, "a/socket".to_owned(), [1; 16]);
    assert_eq!(hello.check(4711), Ok(()));
    let stranger = Hello {
        magic: *b"HTTP/1.1",
        ..hello.clone()
    };
    assert_eq!(stranger.check(4711), Err(HandshakeError::Magic));
    let other = Hello {
        version: PROTOCOL_VERSION + 1,
        ..hello.clone()
    };
    let theirs = PROTOCOL_VERSION + 1;
    assert_eq!(other.check(4711), Err(HandshakeError::Version { theirs }));
    let (started, theirs) = (1, 4711);
    let pid = HandshakeError::Pid { started, theirs };
    assert_eq!(hello.check(1), Err(pid));
    assert_eq!(MAGIC.len(), 8);
}
