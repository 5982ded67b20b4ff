//! What earlier runs recorded, for the run that finishes their work.
//!
//! Resume goes by URL, never by position: the list may have been sorted, cut or extended since. The
//! run log is only read here, once, before the run begins.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::log::{Brief, LineProblem, LogError, LogReader, Outcome};
use crate::input::{Target, UrlKey};

/// What earlier runs recorded of each URL: the latest record counts. Sixteen bytes a URL.
#[derive(Debug, Default)]
pub struct Index {
    /// Sorted by key, each key once.
    entries: Vec<Entry>,
    /// The entries whose key starts with the 16 bits `n` are `entries[starts[n]..starts[n + 1]]`:
    /// keys are evenly spread, so that a look-up needs only the last few steps of a binary search.
    starts: Vec<u32>,
    unreadable: u64,
    first_problem: Option<LineProblem>,
}

/// How an earlier run finished a URL. One that failed is not finished: it is done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// Its file was put in place.
    Stored {
        /// With this size.
        bytes: u64,
    },
    /// It killed its workers.
    Quarantined,
}

/// One URL. Bytes only, so that no space is lost to alignment: with tens of millions of URLs that
/// would be a gigabyte.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: UrlKey,
    state: State,
}

const _: () = assert!(size_of::<Entry>() == 16);

/// A size below 2^48 - 2, in big endian, or one of two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State([u8; 6]);

impl State {
    const QUARANTINED: Self = Self([0xFF; 6]);
    const FAILED: Self = Self([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE]);

    /// What a record says, or `None` if it says nothing of the URL.
    fn of(record: &Brief<'_>) -> Option<Self> {
        match record.outcome {
            Outcome::Stored | Outcome::Unchanged => Some(Self::stored(record.bytes)),
            Outcome::Quarantined => Some(Self::QUARANTINED),
            Outcome::Failed => Some(Self::FAILED),
            // The other task of that URL has its own record.
            Outcome::Duplicate => None,
        }
    }

    /// A file without size, or of a size that no file has, was not stored by us: do it again.
    fn stored(bytes: Option<u64>) -> Self {
        match bytes.map(u64::to_be_bytes) {
            Some([0, 0, size @ ..]) if Self(size) != Self::QUARANTINED => Self(size),
            Some(_) | None => Self::FAILED,
        }
    }

    fn earlier(self) -> Option<Earlier> {
        match self {
            Self::QUARANTINED => Some(Earlier::Quarantined),
            Self::FAILED => None,
            Self([a, b, c, d, e, f]) => Some(Earlier::Stored {
                bytes: u64::from_be_bytes([0, 0, a, b, c, d, e, f]),
            }),
        }
    }
}

impl Index {
    /// Reads a run log; one that does not exist is empty.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or not be read to its end. Lines that are not records are only counted.
    pub fn load(results: &Path) -> Result<Self, LogError> {
        let reader = match LogReader::open(results) {
            Ok(reader) => reader,
            Err(LogError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(error),
        };
        Self::read(reader).map_err(|source| {
            let path = results.to_owned();
            LogError::Read { path, source }
        })
    }

    /// Reads a run log from anywhere.
    ///
    /// # Errors
    ///
    /// It cannot be read to its end. Lines that are not records are only counted.
    pub fn read<R: Read>(mut reader: LogReader<R>) -> io::Result<Self> {
        let mut index = Self::default();
        while let Some(record) = reader.next_brief() {
            match record {
                Ok(record) => {
                    if let Some(state) = State::of(&record) {
                        let key = UrlKey::of(&record.url);
                        index.entries.push(Entry { key, state });
                    }
                }
                Err(LineProblem::Read { source, .. }) => return Err(source),
                Err(problem @ (LineProblem::NotARecord { .. } | LineProblem::TooLong { .. })) => {
                    index.unreadable += 1;
                    index.first_problem.get_or_insert(problem);
                }
            }
        }
        index.sort();
        Ok(index)
    }

    fn sort(&mut self) {
        // The sort is stable: of one key's entries the latest is the last.
        self.entries.sort_by_key(|entry| entry.key);
        self.entries.dedup_by(|later, kept| {
            let same = later.key == kept.key;
            if same {
                kept.state = later.state;
            }
            same
        });
        self.entries.retain(|entry| entry.state != State::FAILED);
        self.entries.shrink_to_fit();

        self.starts.clear();
        let mut at = 0;
        for prefix in 0..=u32::from(u16::MAX) {
            at += self.entries[at..].partition_point(|entry| prefix_of(&entry.key) < prefix);
            self.starts.push(u32::try_from(at).unwrap_or(u32::MAX));
        }
        self.starts
            .push(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
    }

    /// How an earlier run finished the URL with this key.
    #[must_use]
    pub fn state(&self, key: &UrlKey) -> Option<Earlier> {
        let prefix = prefix_of(key) as usize;
        let [start, end] = *self.starts.get(prefix..prefix + 2)? else {
            return None;
        };
        let near = self.entries.get(start as usize..end as usize)?;
        let at = near.binary_search_by_key(key, |entry| entry.key).ok()?;
        near.get(at)?.state.earlier()
    }

    /// Whether the target's file was stored, and is still there with that size. One look-up, and
    /// one system call if it was stored.
    #[must_use]
    pub fn is_stored(&self, target: &Target, output: &Path) -> bool {
        match self.state(&target.key) {
            // A link has not been put there by us.
            Some(Earlier::Stored { bytes }) => fs::symlink_metadata(output.join(&target.path))
                .is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes),
            Some(Earlier::Quarantined) | None => false,
        }
    }

    /// How many URLs earlier runs finished.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether earlier runs finished nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many lines of the log are not records. What they said is done again.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// What is wrong with the first of them.
    #[must_use]
    pub fn first_problem(&self) -> Option<&LineProblem> {
        self.first_problem.as_ref()
    }
}

fn prefix_of(key: &UrlKey) -> u32 {
    let [high, low, ..] = *key.as_bytes();
    u32::from(u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::log::tests::{facts, failure, stored};
    use super::super::log::{LogWriter, RESULTS, Record};
    use super::*;

    fn record(url: &str, outcome: Outcome, bytes: u64) -> Record {
        let facts = facts(1, url);
        match outcome {
            Outcome::Stored => Record::stored(facts, stored(bytes)),
            Outcome::Unchanged => Record {
                outcome,
                ..Record::stored(facts, stored(bytes))
            },
            Outcome::Duplicate => Record::duplicate(facts),
            Outcome::Failed => Record::failed(facts, failure()),
            Outcome::Quarantined => Record::quarantined(facts, "signal 9".into()),
        }
    }

    /// The index over a log of these records.
    fn index(records: &[Record]) -> Index {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut log = LogWriter::open(dir.path()).expect("open");
        for record in records {
            log.append(record).expect("append");
        }
        drop(log);
        Index::load(&dir.path().join(RESULTS)).expect("it can be read")
    }

    fn state(index: &Index, url: &str) -> Option<Earlier> {
        index.state(&UrlKey::of(url))
    }

    #[test]
    fn each_outcome_means_what_it_says() {
        let table = [
            (Outcome::Stored, Some(Earlier::Stored { bytes: 7 })),
            (Outcome::Unchanged, Some(Earlier::Stored { bytes: 7 })),
            (Outcome::Quarantined, Some(Earlier::Quarantined)),
            (Outcome::Failed, None),
            (Outcome::Duplicate, None),
        ];
        for (outcome, expected) in table {
            let index = index(&[record("https://h/", outcome, 7)]);
            assert_eq!(state(&index, "https://h/"), expected, "{outcome:?}");
            assert_eq!(state(&index, "https://h/other"), None);
            assert_eq!(index.is_empty(), expected.is_none());
        }
    }

    #[test]
    fn a_log_that_is_not_there_is_empty_and_one_that_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let index = Index::load(&dir.path().join(RESULTS)).expect("nothing there");
        assert!(index.is_empty());
        assert_eq!(state(&index, "https://h/"), None);
        // Reading a directory fails, as a bad disk would.
        let error = Index::load(dir.path()).expect_err("it is a directory");
        assert!(matches!(error, LogError::Read { .. }), "{error:?}");
    }

    #[test]
    fn a_size_that_no_file_has_counts_for_nothing() {
        for bytes in [u64::MAX, 1 << 48, (1 << 48) - 1, (1 << 48) - 2] {
            let index = index(&[record("https://h/", Outcome::Stored, bytes)]);
            assert_eq!(state(&index, "https://h/"), None, "{bytes}");
        }
        let bytes = (1 << 48) - 3;
        let index = index(&[record("https://h/", Outcome::Stored, bytes)]);
        assert_eq!(state(&index, "https://h/"), Some(Earlier::Stored { bytes }));
    }

    #[test]
    fn lines_that_are_not_records_are_counted() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join(RESULTS);
        let line = serde_json::to_string(&record("https://h/", Outcome::Stored, 7));
        let line = line.expect("it is JSON");
        fs::write(&path, format!("x\n{line}\n\u{0}\n{{\"torn")).expect("write");
        let index = Index::load(&path).expect("it can be read");
        assert_eq!((index.len(), index.unreadable()), (1, 2));
        let problem = index.first_problem().expect("there is one").to_string();
        assert!(problem.starts_with("line 1 is not a record"), "{problem}");
    }

    #[test]
    fn only_a_file_that_is_still_there_with_its_size_is_stored() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let url = url::Url::parse("https://h/a.txt").expect("a URL");
        let target = Target::new(url).expect("a target");
        let of = |outcome, bytes| index(&[record(&target.url, outcome, bytes)]);
        let stored = of(Outcome::Stored, 3);
        assert!(!stored.is_stored(&target, dir.path()), "no file");
        let path = dir.path().join(&target.path);
        fs::write(&path, "abcd").expect("write");
        assert!(!stored.is_stored(&target, dir.path()), "another size");
        fs::write(&path, "abc").expect("write");
        assert!(stored.is_stored(&target, dir.path()));
        assert!(!of(Outcome::Failed, 3).is_stored(&target, dir.path()));
        assert!(!of(Outcome::Quarantined, 3).is_stored(&target, dir.path()));
        assert!(!Index::default().is_stored(&target, dir.path()));
        fs::rename(&path, dir.path().join("elsewhere")).expect("rename");
        std::os::unix::fs::symlink("elsewhere", &path).expect("link");
        assert!(!stored.is_stored(&target, dir.path()), "a link");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_latest_record_of_a_url_counts(
            history in prop::collection::vec((0_u8..20, 0_u64..1000, prop::sample::select(vec![
                Outcome::Stored,
                Outcome::Unchanged,
                Outcome::Duplicate,
                Outcome::Failed,
                Outcome::Quarantined,
            ])), 0..60),
        ) {
            let url = |n: u8| format!("https://h/{n}");
            let mut expected = BTreeMap::new();
            let mut records = Vec::new();
            for &(n, bytes, outcome) in &history {
                records.push(record(&url(n), outcome, bytes));
                match outcome {
                    Outcome::Stored | Outcome::Unchanged => {
                        expected.insert(n, Earlier::Stored { bytes });
                    }
                    Outcome::Quarantined => {
                        expected.insert(n, Earlier::Quarantined);
                    }
                    Outcome::Failed => {
                        expected.remove(&n);
                    }
                    Outcome::Duplicate => {}
                }
            }
            let index = index(&records);
            for n in 0..20 {
                prop_assert_eq!(state(&index, &url(n)), expected.get(&n).copied());
            }
            prop_assert_eq!(index.len(), expected.len());
        }
    }
}
