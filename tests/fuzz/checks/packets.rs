//! Checks for any bytes received as a packet from a worker.

use protocol::codec::{self, MAX_FRAME};
use protocol::{FromWorker, MAX_SPANS, Report, is_harmful, packet};

/// Reads `data` as the coordinator reads from a worker.
///
/// # Panics
///
/// Panics if a promise of the reader does not hold.
pub fn check(data: &[u8]) {
    heard(data);
    // Most bytes are not a packet, so they are also read as the message of one.
    heard(&[&packet::header(data.len())[..], data].concat());
}

fn heard(bytes: &[u8]) {
    let Ok(frame) = packet::message(bytes) else {
        return;
    };
    assert!(
        frame.len() <= MAX_FRAME,
        "no message is longer than a frame"
    );
    let again = [&packet::header(frame.len())[..], frame].concat();
    assert_eq!(again, bytes, "a packet is what is written for its message");
    let Ok(message) = FromWorker::heard(frame) else {
        return;
    };
    texts(&message).into_iter().for_each(check_text);
    // The message that is read equals the one that was sent, except for harmful characters.
    let plain: FromWorker = codec::decode(frame).expect("it was heard");
    let same = texts(&plain).into_iter().map(clean).collect::<Vec<_>>();
    assert_eq!(texts(&message), same);
}

fn clean(text: &str) -> String {
    let harmless = |c| if is_harmful(c) { '\u{fffd}' } else { c };
    text.chars().map(harmless).collect()
}

fn check_text(text: &str) {
    assert!(!text.contains(is_harmful), "{text:?}");
    assert!(!text.contains(['\x1b', '\u{9b}', '\u{202e}']), "{text:?}");
    assert!(text.len() <= 3 * 16 * 1024, "{} bytes", text.len());
}

/// Returns every text in `message`.
fn texts(message: &FromWorker) -> Vec<&str> {
    let reports = match message {
        FromWorker::Hello(hello) => return vec![&hello.server],
        FromWorker::Ready | FromWorker::Heartbeat(_) => return Vec::new(),
        FromWorker::Reports(reports) => reports,
    };
    let mut texts = Vec::new();
    for report in reports {
        let exchange = match report {
            Report::Started { .. } | Report::Released { .. } => continue,
            Report::Finished { output: stored, .. } => {
                let validators = &stored.validators;
                let said = [
                    &stored.content_type,
                    &validators.etag,
                    &validators.last_modified,
                ];
                texts.extend(said.into_iter().flatten().map(String::as_str));
                &stored.exchange
            }
            Report::Nacked { failure, .. } => {
                texts.push(&failure.message);
                &failure.exchange
            }
        };
        assert!(exchange.spans.len() <= MAX_SPANS);
        texts.extend(exchange.final_url.as_deref());
    }
    texts
}
