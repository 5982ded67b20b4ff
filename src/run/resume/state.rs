//! How an earlier run finished a task, in a few bytes.
//!
//! It must not look at a file.

use super::Detail;
use crate::run::log::{Brief, Outcome};

/// How an earlier run finished a task. One that failed is not finished: it is done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// Its file was put in place.
    Stored {
        /// What was left of it.
        left: Left,
        /// The first eight bytes of its SHA-256 when it was downloaded.
        sha256: [u8; 8],
    },
    /// The same, as the record says that begins behind so many bytes of the run log
    /// ([`Detail::Place`]).
    Recorded {
        /// So many.
        at: u64,
    },
    /// Its file was put in place under the name that its server suggested, as the record says that
    /// begins behind so many bytes of the run log.
    ServerNamed {
        /// So many.
        at: u64,
    },
    /// It killed its workers.
    Quarantined,
}

/// What an earlier run left of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// All, of this size.
    Whole(u64),
    /// The program of `--exec` made a file of this size of it.
    Changed(u64),
    /// The program of `--exec` took it away.
    Gone,
}

impl Left {
    /// Of a file of `bytes`; `left` is what the program of `--exec` left of it, if it was run.
    pub fn after(bytes: u64, left: Option<Option<u64>>) -> Self {
        match left {
            None => Self::Whole(bytes),
            Some(None) => Self::Gone,
            Some(Some(left)) if left == bytes => Self::Whole(bytes),
            Some(Some(left)) => Self::Changed(left),
        }
    }
}

/// A size below 2^46 or a place in the run log below 2^47, in big endian, or one of a few words; and
/// the start of the SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State(pub(super) [u8; Self::BYTES]);

impl State {
    const SIZE: usize = 6;
    pub(super) const BYTES: usize = Self::SIZE + 8;
    /// No file has this size or a larger one. Larger numbers are places of records of files that
    /// their servers named.
    const SERVER_NAMED: u64 = 1 << 46;
    /// Larger numbers are words, and sizes of what was changed.
    const CHANGED: u64 = 1 << 47;
    const QUARANTINED: u64 = (1 << 48) - 1;
    const FAILED: u64 = (1 << 48) - 2;
    const GONE: u64 = (1 << 48) - 3;

    /// The record of a stored file is at this place. One that does not fit is done again.
    pub(super) fn recorded(at: u64) -> Self {
        Self::word(if at < Self::CHANGED { at } else { Self::FAILED })
    }

    /// What a record at this place of the run log says, or `None` if it says nothing of the task.
    pub(super) fn of(record: &Brief<'_>, at: u64) -> Option<Self> {
        match record.outcome {
            Outcome::Stored | Outcome::Unchanged if record.server_named => {
                Some(Self::word(match at < Self::SERVER_NAMED {
                    true => at | Self::SERVER_NAMED,
                    false => Self::FAILED,
                }))
            }
            Outcome::Stored | Outcome::Unchanged => Some(Self::stored(record)),
            Outcome::Quarantined => Some(Self::word(Self::QUARANTINED)),
            Outcome::Failed => Some(Self::word(Self::FAILED)),
            // The other task of that URL has its own record.
            Outcome::Duplicate => None,
        }
    }

    /// A file without size, or of a size that no file has, was not stored by us: do it again.
    fn stored(record: &Brief<'_>) -> Self {
        let is_size = |bytes: &u64| *bytes < Self::SERVER_NAMED;
        let Some(bytes) = record.bytes.filter(is_size) else {
            return Self::word(Self::FAILED);
        };
        let word = match Left::after(bytes, record.exec.map(|exec| exec.left)) {
            Left::Whole(bytes) => bytes,
            Left::Gone => Self::GONE,
            Left::Changed(left) if is_size(&left) => left | Self::CHANGED,
            Left::Changed(_) => return Self::word(Self::FAILED),
        };
        let mut state = Self::word(word);
        if let Some(digest) = &record.sha256 {
            let (_, sha256) = state.0.split_at_mut(Self::SIZE);
            sha256.copy_from_slice(&digest.0[..sha256.len()]);
        }
        state
    }

    fn word(word: u64) -> Self {
        let mut state = [0; Self::BYTES];
        state[..Self::SIZE].copy_from_slice(&word.to_be_bytes()[8 - Self::SIZE..]);
        Self(state)
    }

    pub(super) fn earlier(self, detail: Detail) -> Option<Earlier> {
        let [a, b, c, d, e, f, sha256 @ ..] = self.0;
        let left = match u64::from_be_bytes([0, 0, a, b, c, d, e, f]) {
            Self::QUARANTINED => return Some(Earlier::Quarantined),
            Self::FAILED => return None,
            at if detail == Detail::Place => return Some(Earlier::Recorded { at }),
            Self::GONE => Left::Gone,
            size @ 0..Self::SERVER_NAMED => Left::Whole(size),
            named @ 0..Self::CHANGED => {
                let at = named & !Self::SERVER_NAMED;
                return Some(Earlier::ServerNamed { at });
            }
            changed => Left::Changed(changed & !Self::CHANGED),
        };
        Some(Earlier::Stored { left, sha256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::log::{
        LogReader, Record, RecordedExec,
        tests::{facts, stored},
    };

    fn earlier(bytes: u64, exec: Option<Option<u64>>) -> Option<Earlier> {
        let record = Record {
            exec: exec.map(|left| RecordedExec { left }),
            ..Record::stored(facts(1, "https://h/"), stored(bytes))
        };
        let line = serde_json::to_string(&record).expect("it is JSON") + "\n";
        let mut reader = LogReader::new(line.as_bytes());
        let brief = reader.next_brief().expect("a line").expect("a record");
        State::of(&brief, 0)
            .expect("it says something")
            .earlier(Detail::Size)
    }

    #[test]
    fn of_a_file_that_its_server_named_the_place_of_the_record_is_kept() {
        let record = Record {
            server_named: true,
            ..Record::stored(facts(1, "https://h/"), stored(7))
        };
        let line = serde_json::to_string(&record).expect("it is JSON") + "\n";
        let mut reader = LogReader::new(line.as_bytes());
        let brief = reader.next_brief().expect("a line").expect("a record");
        for (at, expected) in [
            (0, Some(Earlier::ServerNamed { at: 0 })),
            (
                (1 << 46) - 1,
                Some(Earlier::ServerNamed { at: (1 << 46) - 1 }),
            ),
            (1 << 46, None),
        ] {
            let state = State::of(&brief, at).expect("it says something");
            assert_eq!(state.earlier(Detail::Size), expected);
        }
    }

    #[test]
    fn what_a_command_left_is_told_from_what_was_stored() {
        let most = (1 << 46) - 1;
        for (bytes, exec, left) in [
            (7, None, Left::Whole(7)),
            (7, Some(Some(7)), Left::Whole(7)),
            (7, Some(Some(0)), Left::Changed(0)),
            (0, Some(Some(most)), Left::Changed(most)),
            (most, Some(None), Left::Gone),
            (most, None, Left::Whole(most)),
        ] {
            let sha256 = [0xAB; 8];
            let expected = Some(Earlier::Stored { left, sha256 });
            assert_eq!(earlier(bytes, exec), expected, "{bytes} {exec:?}");
        }
        // Of sizes that no file has nothing is believed.
        for left in [most + 1, 1 << 47, u64::MAX] {
            assert_eq!(earlier(7, Some(Some(left))), None, "{left}");
        }
    }
}
