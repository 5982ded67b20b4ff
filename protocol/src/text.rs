//! Makes text from workers and servers safe to print.
//!
//! A server may compromise a worker, whose text is written to terminals, logs and pages.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, DecodeError};
use crate::{Cookie, Exchange, MAX_COOKIES, MAX_SPANS, Report, message};

/// Maximum length of a text in a report, in bytes: that of the URL after redirects.
const MAX_TEXT: usize = 16 * 1024;

/// Returns whether `character` could command a terminal or make text look like other text: control
/// characters, line and paragraph separators, and characters that change the direction of writing
/// (Unicode Standard Annex 9).
#[must_use]
pub fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// Reasons why a frame is not a valid message of a worker.
#[derive(Debug, thiserror::Error)]
pub enum HeardError {
    /// The frame is not a message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A text is longer than any that a worker sends.
    #[error("report with a text of {0} bytes exceeds the limit of {MAX_TEXT}")]
    Text(usize),
    /// An exchange has more spans than a worker sends.
    #[error("report with {0} spans exceeds the limit of {MAX_SPANS}")]
    Spans(usize),
    /// The cookies of an exchange have more text than a worker sends.
    #[error("report with cookies of {0} bytes exceeds the limit of {MAX_COOKIES}")]
    Cookies(usize),
}

impl<P, O, F> message::FromWorker<P, O, F>
where
    Self: Serialize + DeserializeOwned,
{
    /// Decodes a worker's message from `frame`. This is the only way from a worker's bytes to a
    /// message. `check` is called with each report to make it harmless and to limit its size.
    ///
    /// # Errors
    ///
    /// Fails if no correct worker sends this frame.
    pub fn heard_with(
        frame: &[u8],
        check: impl FnMut(&mut message::Report<O, F>) -> Result<(), HeardError>,
    ) -> Result<Self, HeardError> {
        let mut message = codec::decode(frame)?;
        match &mut message {
            Self::Reports(reports) => reports.iter_mut().try_for_each(check)?,
            Self::Hello(hello) => check_text(&mut hello.server)?,
            Self::Ready | Self::Heartbeat(_) => {}
        }
        Ok(message)
    }
}

impl crate::FromWorker {
    /// Decodes the message of a worker that downloads from `frame`: see
    /// [`heard_with`](Self::heard_with) and [`check_report`].
    ///
    /// # Errors
    ///
    /// Fails if no correct worker sends this frame.
    pub fn heard(frame: &[u8]) -> Result<Self, HeardError> {
        Self::heard_with(frame, check_report)
    }
}

/// Checks the length of each text in `report`, and replaces [harmful](is_harmful) characters.
///
/// # Errors
///
/// Fails if no correct worker sends this report.
pub fn check_report(report: &mut Report) -> Result<(), HeardError> {
    match report {
        Report::Started { .. } | Report::Released { .. } => Ok(()),
        Report::Finished { output: stored, .. } => {
            let validators = &mut stored.validators;
            let texts = [
                &mut stored.content_type,
                &mut stored.suggested_name,
                &mut validators.etag,
                &mut validators.last_modified,
            ];
            texts.into_iter().flatten().try_for_each(check_text)?;
            check_exchange(&mut stored.exchange)
        }
        Report::Nacked { failure, .. } => {
            check_text(&mut failure.message)?;
            check_exchange(&mut failure.exchange)
        }
    }
}

fn check_exchange(exchange: &mut Exchange) -> Result<(), HeardError> {
    let spans = exchange.spans.len();
    if spans > MAX_SPANS {
        return Err(HeardError::Spans(spans));
    }
    let cookies = exchange.cookies.iter().map(Cookie::text_bytes).sum();
    if cookies > MAX_COOKIES {
        return Err(HeardError::Cookies(cookies));
    }
    exchange.cookies.retain(Cookie::is_sound);
    exchange.final_url.iter_mut().try_for_each(check_text)
}

fn check_text(text: &mut String) -> Result<(), HeardError> {
    if text.len() > MAX_TEXT {
        return Err(HeardError::Text(text.len()));
    }
    if text.contains(is_harmful) {
        *text = text.replace(is_harmful, "\u{fffd}");
    }
    Ok(())
}
