//! What earlier runs recorded, for the run that finishes their work.
//!
//! Resume goes by URL, and by the name that the list gives its file; never by position: the list
//! may have been sorted, cut or extended since. The run log is only read here, once, before the run
//! begins.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::log::{Brief, LineProblem, LogError, LogReader, Outcome};
use crate::input::{Target, UrlKey};
use crate::ledger::{Ledger, LedgerError};

/// What earlier runs recorded of each task: the latest record counts. Some ten bits of memory for
/// each, and a temporary file once there are many.
#[derive(Debug)]
pub struct Index {
    tasks: Ledger<{ State::BYTES }>,
    /// The key of the URL whose file a place holds, where the place does not tell by itself.
    owners: Ledger<{ UrlKey::BYTES }>,
    unreadable: u64,
    first_problem: Option<LineProblem>,
}

/// How an earlier run finished a task. One that failed is not finished: it is done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// Its file was put in place.
    Stored {
        /// With this size.
        bytes: u64,
        /// The first eight bytes of its SHA-256.
        sha256: [u8; 8],
    },
    /// It killed its workers.
    Quarantined,
}

/// Why an index cannot be made, or asked.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The run log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What was read of it cannot be kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Why a log from anywhere cannot be indexed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// What was read of it cannot be kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A size below 2^48 - 2, in big endian, or one of two words; and the start of the SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State([u8; Self::BYTES]);

impl State {
    const SIZE: usize = 6;
    const BYTES: usize = Self::SIZE + 8;
    const QUARANTINED: [u8; Self::SIZE] = [0xFF; Self::SIZE];
    const FAILED: [u8; Self::SIZE] = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE];

    /// What a record says, or `None` if it says nothing of the task.
    fn of(record: &Brief<'_>) -> Option<Self> {
        match record.outcome {
            Outcome::Stored | Outcome::Unchanged => Some(Self::stored(record)),
            Outcome::Quarantined => Some(Self::word(Self::QUARANTINED)),
            Outcome::Failed => Some(Self::word(Self::FAILED)),
            // The other task of that URL has its own record.
            Outcome::Duplicate => None,
        }
    }

    /// A file without size, or of a size that no file has, was not stored by us: do it again.
    fn stored(record: &Brief<'_>) -> Self {
        let size = match record.bytes.map(u64::to_be_bytes) {
            Some([0, 0, size @ ..]) if size != Self::QUARANTINED => size,
            Some(_) | None => Self::FAILED,
        };
        let mut state = Self::word(size);
        if let Some(digest) = &record.sha256 {
            let (_, sha256) = state.0.split_at_mut(Self::SIZE);
            sha256.copy_from_slice(&digest.0[..sha256.len()]);
        }
        state
    }

    fn word(word: [u8; Self::SIZE]) -> Self {
        let mut state = [0; Self::BYTES];
        state[..Self::SIZE].copy_from_slice(&word);
        Self(state)
    }

    fn earlier(self) -> Option<Earlier> {
        let [a, b, c, d, e, f, sha256 @ ..] = self.0;
        match [a, b, c, d, e, f] {
            Self::QUARANTINED => Some(Earlier::Quarantined),
            Self::FAILED => None,
            [a, b, c, d, e, f] => Some(Earlier::Stored {
                bytes: u64::from_be_bytes([0, 0, a, b, c, d, e, f]),
                sha256,
            }),
        }
    }
}

impl Index {
    /// Nothing was recorded. Temporary files, if there must be any, are made in `folder`.
    #[must_use]
    pub fn empty(folder: PathBuf) -> Self {
        Self {
            tasks: Ledger::new(folder.clone()),
            owners: Ledger::new(folder),
            unreadable: 0,
            first_problem: None,
        }
    }

    /// Reads a run log; one that does not exist is empty. Temporary files, if there must be any, are
    /// made in `folder`.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or not be read to its end; or there is no room for what it says. Lines
    /// that are not records are only counted.
    pub fn load(results: &Path, folder: PathBuf) -> Result<Self, IndexError> {
        let reader = match LogReader::open(results) {
            Ok(reader) => reader,
            Err(LogError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::empty(folder));
            }
            Err(error) => return Err(error.into()),
        };
        Self::read(reader, folder).map_err(|error| match error {
            ReadError::Read(source) => {
                let path = results.to_owned();
                LogError::Read { path, source }.into()
            }
            ReadError::Ledger(error) => error.into(),
        })
    }

    /// Reads a run log from anywhere.
    ///
    /// # Errors
    ///
    /// It cannot be read to its end, or there is no room in `folder` for what it says.
    pub fn read<R: Read>(mut reader: LogReader<R>, folder: PathBuf) -> Result<Self, ReadError> {
        let mut index = Self::empty(folder);
        while let Some(record) = reader.next_brief() {
            match record {
                Ok(record) => index.add(&record)?,
                Err(LineProblem::Read { source, .. }) => return Err(source.into()),
                Err(problem @ (LineProblem::NotARecord { .. } | LineProblem::TooLong { .. })) => {
                    index.unreadable += 1;
                    index.first_problem.get_or_insert(problem);
                }
            }
        }
        index.tasks.seal()?;
        index.owners.seal()?;
        Ok(index)
    }

    fn add(&mut self, record: &Brief<'_>) -> Result<(), LedgerError> {
        let Some(state) = State::of(record) else {
            return Ok(());
        };
        let url = UrlKey::of(&record.url);
        let key = UrlKey::of_task(&record.url, record.out());
        self.tasks.insert(*key.as_bytes(), state.0)?;
        // A place that holds its URL's key belongs to no other URL.
        if let Some(path) = record.path()
            && (record.out().is_some() || !path.contains(&url.to_string()))
        {
            let place = *UrlKey::of(path).as_bytes();
            self.owners.insert(place, *url.as_bytes())?;
        }
        Ok(())
    }

    /// How an earlier run finished the task with this key.
    ///
    /// # Errors
    ///
    /// If the temporary file cannot be read.
    pub fn state(&self, key: &UrlKey) -> Result<Option<Earlier>, LedgerError> {
        let state = self.tasks.get(key.as_bytes())?;
        Ok(state.and_then(|state| State(state).earlier()))
    }

    /// Whether the target's place holds a file that an earlier run stored for another URL.
    ///
    /// # Errors
    ///
    /// If the temporary file cannot be read.
    pub fn is_taken(&self, target: &Target, output: &Path) -> Result<bool, LedgerError> {
        let place = UrlKey::of(&target.path);
        let owner = self.owners.get(place.as_bytes())?;
        Ok(
            owner.is_some_and(|owner| owner != *UrlKey::of(&target.url).as_bytes())
                && output.join(&target.path).symlink_metadata().is_ok(),
        )
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

/// Whether the file that an earlier run stored with this size and hash is still in the target's
/// place, and is what the list says it must be. One system call.
#[must_use]
pub fn is_in_place(target: &Target, bytes: u64, sha256: [u8; 8], output: &Path) -> bool {
    if let Some(extra) = &target.extra
        && (extra.size.is_some_and(|size| size != bytes)
            || extra.sha256.is_some_and(|wanted| wanted[..8] != sha256))
    {
        return false;
    }
    // A link has not been put there by us.
    fs::symlink_metadata(output.join(&target.path))
        .is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::log::tests::{facts, failure, stored};
    use std::sync::Arc;

    use super::super::log::{Facts, LogWriter, RESULTS, Record};
    use super::*;
    use crate::input::{Extra, Lines};

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
        Index::load(&dir.path().join(RESULTS), dir.path().to_owned()).expect("it can be read")
    }

    fn state(index: &Index, url: &str) -> Option<Earlier> {
        index.state(&UrlKey::of(url)).expect("readable")
    }

    fn earlier(bytes: u64) -> Earlier {
        let sha256 = [0xAB; 8];
        Earlier::Stored { bytes, sha256 }
    }

    #[test]
    fn each_outcome_means_what_it_says() {
        let table = [
            (Outcome::Stored, Some(earlier(7))),
            (Outcome::Unchanged, Some(earlier(7))),
            (Outcome::Quarantined, Some(Earlier::Quarantined)),
            (Outcome::Failed, None),
            (Outcome::Duplicate, None),
        ];
        for (outcome, expected) in table {
            let index = index(&[record("https://h/", outcome, 7)]);
            assert_eq!(state(&index, "https://h/"), expected, "{outcome:?}");
            assert_eq!(state(&index, "https://h/other"), None);
        }
    }

    #[test]
    fn a_log_that_is_not_there_is_empty_and_one_that_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let index =
            Index::load(&dir.path().join(RESULTS), dir.path().to_owned()).expect("nothing there");
        assert_eq!(state(&index, "https://h/"), None);
        // Reading a directory fails, as a bad disk would.
        let error = Index::load(dir.path(), dir.path().to_owned()).expect_err("it is a directory");
        assert!(
            matches!(error, IndexError::Log(LogError::Read { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn a_size_that_no_file_has_counts_for_nothing() {
        for bytes in [u64::MAX, 1 << 48, (1 << 48) - 1, (1 << 48) - 2] {
            let index = index(&[record("https://h/", Outcome::Stored, bytes)]);
            assert_eq!(state(&index, "https://h/"), None, "{bytes}");
        }
        let bytes = (1 << 48) - 3;
        let index = index(&[record("https://h/", Outcome::Stored, bytes)]);
        assert_eq!(state(&index, "https://h/"), Some(earlier(bytes)));
    }

    #[test]
    fn lines_that_are_not_records_are_counted() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join(RESULTS);
        let line = serde_json::to_string(&record("https://h/", Outcome::Stored, 7));
        let line = line.expect("it is JSON");
        fs::write(&path, format!("x\n{line}\n\u{0}\n{{\"torn")).expect("write");
        let index = Index::load(&path, dir.path().to_owned()).expect("it can be read");
        assert_eq!(
            (state(&index, "https://h/"), index.unreadable()),
            (Some(earlier(7)), 2)
        );
        let problem = index.first_problem().expect("there is one").to_string();
        assert!(problem.starts_with("line 1 is not a record"), "{problem}");
    }

    fn target(url: &str, out: Option<&str>) -> Target {
        let line = match out {
            Some(out) => format!("{{\"url\":\"{url}\",\"out\":\"{out}\"}}"),
            None => url.to_owned(),
        };
        let reader = io::Cursor::new(line.into_bytes());
        let mut lines = Lines::new("list", Box::new(reader), Arc::default());
        lines.next().expect("a line").entry.expect("a target")
    }

    #[test]
    fn only_a_file_that_is_still_there_with_its_size_is_in_place() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut target = target("https://h/a.txt", None);
        let sha256 = [0xAB; 8];
        let is_stored = |target: &Target| is_in_place(target, 3, sha256, dir.path());
        assert!(!is_stored(&target), "no file");
        let path = dir.path().join(&target.path);
        fs::write(&path, "abcd").expect("write");
        assert!(!is_stored(&target), "another size");
        fs::write(&path, "abc").expect("write");
        assert!(is_stored(&target));
        for (sha256, size, stored) in [
            (Some([0xAB; 32]), Some(3), true),
            (Some([0xAC; 32]), None, false),
            (None, Some(4), false),
        ] {
            let headers = Vec::new();
            target.extra = Some(Box::new(Extra {
                sha256,
                size,
                headers,
            }));
            assert_eq!(is_stored(&target), stored, "the list says what it must be");
        }
        target.extra = None;
        fs::rename(&path, dir.path().join("elsewhere")).expect("rename");
        std::os::unix::fs::symlink("elsewhere", &path).expect("link");
        assert!(!is_stored(&target), "a link");
    }

    #[test]
    fn a_url_with_two_names_is_two_tasks() {
        let [plain, a, b] =
            [None, Some("a.txt"), Some("b.txt")].map(|out| target("https://h/x", out));
        let record = |target: &Target, bytes| {
            let facts = Facts {
                path: target.path.clone(),
                named: target.named,
                ..facts(1, &target.url)
            };
            Record::stored(facts, stored(bytes))
        };
        let index = index(&[record(&plain, 1), record(&a, 2)]);
        let state = |target: &Target| index.state(&target.key).expect("readable");
        assert_eq!(state(&plain), Some(earlier(1)));
        assert_eq!(state(&a), Some(earlier(2)));
        assert_eq!(state(&b), None);
    }

    #[test]
    fn a_place_is_taken_while_another_urls_file_is_in_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let [x, y] = ["https://h/x", "https://h/y"].map(|url| target(url, Some("a.txt")));
        let facts = Facts {
            path: x.path.clone(),
            named: x.named,
            ..facts(1, &x.url)
        };
        let index = index(&[Record::stored(facts, stored(3))]);
        let is_taken = |target: &Target| index.is_taken(target, dir.path()).expect("readable");
        assert!(!is_taken(&y), "there is no file");
        fs::write(dir.path().join("a.txt"), "abc").expect("write");
        assert!(is_taken(&y));
        assert!(!is_taken(&x), "its own");
        assert!(!is_taken(&target("https://h/y", Some("b.txt"))));
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
                        expected.insert(n, earlier(bytes));
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
        }
    }
}
