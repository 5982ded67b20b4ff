//! How an earlier run finished a task, in a few bytes.
//!
//! Must not look at a file.

use super::Detail;
use crate::run::log::{Brief, Outcome};

/// How an earlier run finished a task. A failed task is not finished: it is done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// Its file was put in place.
    Stored {
        /// What is left of it.
        left: Left,
        /// The first eight bytes of the SHA-256 of the downloaded file.
        sha256: [u8; 8],
    },
    /// The same, with the position of the record in the run log ([`Detail::Place`]).
    Recorded {
        /// The position of the record in bytes.
        at: u64,
    },
    /// Its file was put in place under the name that its server suggested.
    ServerNamed {
        /// The position of the record in the run log, in bytes.
        at: u64,
    },
    /// It killed too many workers.
    Quarantined,
}

/// What an earlier run left of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// All of it, with this size.
    Whole(u64),
    /// A file of this size, which the command of `--exec` changed.
    Changed(u64),
    /// Nothing: the command of `--exec` removed it.
    Gone,
}

impl Left {
    /// Returns what is left of a file of `bytes` bytes. `left` is what the command of `--exec` left
    /// of it, if one was run.
    pub fn after(bytes: u64, left: Option<Option<u64>>) -> Self {
        match left {
            None => Self::Whole(bytes),
            Some(None) => Self::Gone,
            Some(Some(left)) if left == bytes => Self::Whole(bytes),
            Some(Some(left)) => Self::Changed(left),
        }
    }
}

/// The last record of a task: a size below 2^46 or one of the words below, in big-endian order, and
/// the start of the SHA-256. Then the position of the last record of the task's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State(pub(super) [u8; Self::BYTES]);

impl State {
    const WORD: usize = 6;
    const SHA256: usize = 8;
    pub(super) const BYTES: usize = Self::WORD + Self::SHA256 + Self::WORD;
    /// No file has this size or a larger one.
    const SIZES: u64 = 1 << 46;
    /// From here on, numbers are words, or sizes of changed files.
    const CHANGED: u64 = 1 << 47;
    const QUARANTINED: u64 = Self::NOWHERE - 1;
    const FAILED: u64 = Self::NOWHERE - 2;
    const GONE: u64 = Self::NOWHERE - 3;
    /// The server named the file.
    const SERVER_NAMED: u64 = Self::NOWHERE - 4;
    /// There is no record of the file, or its position needs more than six bytes.
    const NOWHERE: u64 = (1 << 48) - 1;

    /// Returns the state after a record at this position of the run log, or `None` if the record
    /// does not concern the task.
    pub(super) fn of(record: &Brief<'_>, at: u64) -> Option<Self> {
        match record.outcome {
            Outcome::Stored | Outcome::Unchanged if record.server_named => {
                Some(Self::new(Self::SERVER_NAMED, [0; Self::SHA256], at))
            }
            Outcome::Stored | Outcome::Unchanged => Some(Self::stored(record, at)),
            Outcome::Quarantined => Some(Self::word(Self::QUARANTINED)),
            Outcome::Failed => Some(Self::word(Self::FAILED)),
            // Another task with this URL has its own record.
            Outcome::Duplicate => None,
            // Another member has it, if it was not done earlier here.
            Outcome::Fenced => None,
        }
    }

    /// Returns the state of a stored file. If its size is missing or impossible, the program did
    /// not store it, and the task is done again.
    fn stored(record: &Brief<'_>, at: u64) -> Self {
        let mut sha256 = [0; Self::SHA256];
        let is_size = |bytes: &u64| *bytes < Self::SIZES;
        let left = record
            .bytes
            .filter(is_size)
            .map(|bytes| Left::after(bytes, record.exec.map(|exec| exec.left)));
        let word = match left {
            Some(Left::Whole(bytes)) => bytes,
            Some(Left::Gone) => Self::GONE,
            Some(Left::Changed(left)) if is_size(&left) => left | Self::CHANGED,
            Some(Left::Changed(_)) | None => Self::FAILED,
        };
        if let Some(digest) = record.sha256.filter(|_| word != Self::FAILED) {
            sha256.copy_from_slice(&digest.0[..Self::SHA256]);
        }
        Self::new(word, sha256, at)
    }

    fn word(word: u64) -> Self {
        Self::new(word, [0; Self::SHA256], Self::NOWHERE)
    }

    fn new(word: u64, sha256: [u8; Self::SHA256], at: u64) -> Self {
        let mut state = [0; Self::BYTES];
        let numbers = [word, at.min(Self::NOWHERE)].map(u64::to_be_bytes);
        state[..Self::WORD].copy_from_slice(&numbers[0][8 - Self::WORD..]);
        state[Self::WORD..][..Self::SHA256].copy_from_slice(&sha256);
        state[Self::BYTES - Self::WORD..].copy_from_slice(&numbers[1][8 - Self::WORD..]);
        Self(state)
    }

    fn parts(self) -> (u64, [u8; Self::SHA256], Option<u64>) {
        let [a, b, c, d, e, f, sha256 @ .., u, v, w, x, y, z] = self.0;
        let number =
            |[a, b, c, d, e, f]: [u8; Self::WORD]| u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let at = Some(number([u, v, w, x, y, z])).filter(|&at| at != Self::NOWHERE);
        (number([a, b, c, d, e, f]), sha256, at)
    }

    /// Returns this state of a task that was in state `earlier` before. A failure does not change
    /// the record of its file, which is still in place.
    pub(super) fn after(self, earlier: Option<Self>) -> Self {
        match (self.parts(), earlier.map(Self::parts)) {
            ((Self::FAILED, sha256, None), Some((_, _, Some(at)))) => {
                Self::new(Self::FAILED, sha256, at)
            }
            _ => self,
        }
    }

    pub(super) fn earlier(self, detail: Detail) -> Option<Earlier> {
        let (word, sha256, at) = self.parts();
        let left = match (word, at) {
            (Self::QUARANTINED, _) => return Some(Earlier::Quarantined),
            (_, at) if detail == Detail::Place => return at.map(|at| Earlier::Recorded { at }),
            (Self::SERVER_NAMED, at) => return at.map(|at| Earlier::ServerNamed { at }),
            (Self::FAILED | Self::NOWHERE, _) => return None,
            (Self::GONE, _) => Left::Gone,
            (size @ 0..Self::SIZES, _) => Left::Whole(size),
            (changed, _) => Left::Changed(changed & !Self::CHANGED),
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
        State::of(&brief, 9)
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
                (1 << 48) - 2,
                Some(Earlier::ServerNamed { at: (1 << 48) - 2 }),
            ),
            ((1 << 48) - 1, None),
            (1 << 48, None),
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
        // A record with an impossible size is ignored.
        for left in [most + 1, 1 << 47, u64::MAX] {
            assert_eq!(earlier(7, Some(Some(left))), None, "{left}");
        }
    }
}
