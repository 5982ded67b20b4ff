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
    /// The version of this form: 1, or 2 if it says how much is `whole`.
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
    /// How much of the body is there without gaps, if not all of its file: parts of it are written
    /// ahead (`--split`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<Whole>,
}

/// How many bytes from its start a body has without gaps.
///
/// It is written over while the body grows, in a form that always has the same length and says the
/// number twice. A process that dies in the middle of that leaves two numbers, which count as 0.
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
    /// The version of a note of a file without gaps.
    pub const VERSION: u32 = 1;

    /// The version of a note that says how much is whole. Programs that know only the other one
    /// would take the whole file for good.
    pub const VERSION_WITH_GAPS: u32 = 2;

    /// Whether it speaks of a body that was written since `boot`.
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
    /// What `If-Range` says (RFC 9110 section 13.1.5).
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
