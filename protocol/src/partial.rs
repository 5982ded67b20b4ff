//! Notes beside partial bodies, from which another attempt can continue.
//!
//! The worker writes notes, and the coordinator keeps partial bodies with a valid note from one run
//! to the next. This module defines the format of a note; it must not access files.

use serde::{Deserialize, Serialize};

/// Suffix that makes the name of a partial body the name of its note.
pub const NOTE_SUFFIX: &str = "~note";

/// The note of a partial body: a file that contains one JSON object.
///
/// It is written after the first bytes of the body that it describes, and removed before other
/// bytes replace them. Processes see this order whenever they die. A machine that loses power may
/// not have kept it, so a note is valid only for one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialNote {
    /// Version of the format: 1, or 2 if `whole` is set.
    pub v: u32,
    /// The machine's boot id (`/proc/sys/kernel/random/boot_id`, random(4)).
    pub boot: String,
    /// URL of the body, without credentials.
    pub url: String,
    /// Distinguishes this body from a later one.
    pub validator: Validator,
    /// Length of the whole body, if it was announced.
    pub length: Option<u64>,
    /// `Content-Type` of the response.
    pub content_type: Option<String>,
    /// Length of the part of the body without gaps, if it is not the whole file: with `--split`,
    /// later parts are written early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<Whole>,
}

/// Number of bytes of a body without gaps, from its start.
///
/// The number is overwritten while the body grows. Its text has a fixed length and contains it
/// twice. A process that dies during a write leaves two different numbers, which count as 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct Whole(pub u64);

impl From<Whole> for String {
    fn from(Whole(bytes): Whole) -> Self {
        format!("{bytes:020} {bytes:020}")
    }
}

impl From<String> for Whole {
    fn from(text: String) -> Self {
        let numbers = text.split_once(' ');
        let same = numbers.filter(|(first, second)| first == second);
        Self(same.and_then(|(bytes, _)| bytes.parse().ok()).unwrap_or(0))
    }
}

impl PartialNote {
    /// Version of a note for a file without gaps.
    pub const VERSION: u32 = 1;

    /// Version of a note with `whole`. A program that knows only the other trusts the whole file.
    pub const VERSION_WITH_GAPS: u32 = 2;

    /// Returns whether the note describes a body that was written since `boot`.
    #[must_use]
    pub fn is_good(&self, boot: &str) -> bool {
        let version = match self.whole {
            None => Self::VERSION,
            Some(_) => Self::VERSION_WITH_GAPS,
        };
        self.v == version && self.boot == boot
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
    /// Returns the value for `If-Range` (RFC 9110 section 13.1.5).
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Etag(text) | Self::LastModified(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_is_whole_has_one_length_and_half_of_a_change_is_nothing() {
        let [before, after] = [999, 123_456_789].map(|bytes| String::from(Whole(bytes)));
        assert_eq!(Whole::from(before.clone()), Whole(999));
        assert_eq!(
            String::from(Whole(u64::MAX)).len(),
            String::from(Whole(0)).len()
        );
        for at in 0..=before.len() {
            let torn = [&after[..at], &before[at..]].concat();
            let Whole(bytes) = Whole::from(torn.clone());
            assert!([0, 999, 123_456_789].contains(&bytes), "{torn}");
        }
        assert_eq!(Whole::from("12".to_owned()), Whole(0));
    }

    #[test]
    fn a_note_without_a_number_is_not_taken_for_one_with() {
        let note = |v, whole| PartialNote {
            v,
            boot: "now".to_owned(),
            url: String::new(),
            validator: Validator::Etag("\"1\"".to_owned()),
            length: None,
            content_type: None,
            whole,
        };
        let good = [note(1, None), note(2, Some(Whole(1)))];
        assert!(good.iter().all(|note| note.is_good("now")));
        assert!(!good.iter().any(|note| note.is_good("before")));
        let bad = [note(2, None), note(1, Some(Whole(1))), note(3, None)];
        assert!(!bad.iter().any(|note| note.is_good("now")));
    }
}
