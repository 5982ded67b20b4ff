//! What is noted beside a partial body, so that another attempt can go on from it.
//!
//! The worker writes notes, and the coordinator keeps the partial bodies that have a good one from
//! one run to the next. What is in here is the form of a note; it must not touch a file.

use serde::{Deserialize, Serialize};

/// Follows the name of a partial body in the name of its note.
pub const NOTE_SUFFIX: &str = "~note";

/// The note of one partial body, as one JSON object in a file of its own.
///
/// It is written after the first bytes of the body that it speaks of, and removed before any others
/// take their place. Processes see that order, whenever they die; a machine that loses power may
/// not have kept it, so a note is good for one boot only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialNote {
    /// 1, the version of this form.
    pub v: u32,
    /// The machine's boot id (`/proc/sys/kernel/random/boot_id`, random(4)).
    pub boot: String,
    /// What the body came from, without credentials.
    pub url: String,
    /// What tells this body from a later one.
    pub validator: Validator,
    /// Length of the whole body, if it was announced.
    pub length: Option<u64>,
    /// `Content-Type` of the response.
    pub content_type: Option<String>,
}

impl PartialNote {
    /// The version that is written and read.
    pub const VERSION: u32 = 1;

    /// Whether it speaks of a body that was written since `boot`.
    #[must_use]
    pub fn is_good(&self, boot: &str) -> bool {
        self.v == Self::VERSION && self.boot == boot
    }
}

/// A strong validator (RFC 9110 section 8.8.1), as the server sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validator {
    /// An entity tag, quotes included.
    Etag(String),
    /// A date of modification that is old enough to be strong (RFC 9110 section 8.8.2.2).
    LastModified(String),
}

impl Validator {
    /// What `If-Range` says (RFC 9110 section 13.1.5).
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Etag(text) | Self::LastModified(text) => text,
        }
    }
}
