//! Reads a run log, line by line, in bounded memory.
//!
//! A log may have been edited, or cut off by a crash. A line that is not a record gives an item
//! with the problem, and reading continues after it. A last line without newline gives no item: it
//! is what a crash left of a write, or what a writer has not finished. This module never writes.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::quick;
use super::{Brief, BriefDeath, Log, LogError, Record};
use crate::input::bounded::{BoundedLines, RawLine};

/// Maximum length of a record, in bytes.
pub const MAX_RECORD: usize = 1024 * 1024;

/// A buffer size in bytes that fits most lines.
const USUAL: usize = 2048;

/// A value that can be parsed from a line.
trait Item<'a>: Deserialize<'a> {
    /// Parses it faster than serde does, if the form of the line allows that.
    fn quickly(_line: &'a str) -> Option<Self> {
        None
    }
}

impl Item<'_> for Record {}

impl<'a> Item<'a> for BriefDeath<'a> {}

impl<'a> Item<'a> for Brief<'a> {
    fn quickly(line: &'a str) -> Option<Self> {
        quick::read(line)
    }
}

/// Reason why a line is not a record.
#[derive(Debug, thiserror::Error)]
pub enum LineProblem {
    /// It has another form.
    #[error("line {number} is not a record: {source}")]
    NotARecord {
        /// Line number, counted from 1.
        number: u64,
        source: serde_json::Error,
    },
    /// It is longer than [`MAX_RECORD`].
    #[error("line {number} is longer than {MAX_RECORD} bytes, and so not a record")]
    TooLong {
        /// Line number, counted from 1.
        number: u64,
    },
    /// The file could not be read further. Nothing follows this item.
    #[error("line {number} cannot be read: {source}")]
    Read {
        /// Line number, counted from 1.
        number: u64,
        source: io::Error,
    },
}

/// A run log, open for reading: an iterator over its records.
pub struct LogReader<R = File> {
    lines: BoundedLines<R>,
    /// Number of bytes of the log before the first byte that is read.
    before: u64,
    number: u64,
    broken: bool,
    torn: bool,
    /// Start of the line of the last item.
    begin: u64,
}

impl<R> std::fmt::Debug for LogReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl LogReader<File> {
    /// Opens a run log.
    ///
    /// # Errors
    ///
    /// Fails if the file is missing or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        match File::open(path) {
            Ok(file) => Ok(Self::new(file)),
            Err(source) => {
                let path = PathBuf::from(path);
                let log = Log::Results;
                Err(LogError::Open { log, path, source })
            }
        }
    }
}

impl<R: Read> LogReader<R> {
    /// Reads a run log from any reader, which need not be buffered.
    #[must_use]
    pub fn new(reader: R) -> Self {
        Self::behind(0, 0, reader)
    }

    /// Reads the rest of a run log, after this many bytes, which are this many lines.
    #[must_use]
    pub fn behind(bytes: u64, lines: u64, reader: R) -> Self {
        Self {
            lines: BoundedLines::new(reader, MAX_RECORD),
            before: bytes,
            number: lines,
            broken: false,
            torn: false,
            begin: bytes,
        }
    }

    /// Returns the next record in brief, borrowed from this reader's buffer.
    pub fn next_brief(&mut self) -> Option<Result<Brief<'_>, LineProblem>> {
        let item = self.next_as()?;
        Some(item.map(|(_, brief)| brief))
    }

    /// Like `next_brief`, with the number of bytes of the log before its line.
    pub fn next_brief_at(&mut self) -> Option<Result<(u64, Brief<'_>), LineProblem>> {
        self.next_as()
    }

    /// Returns the next death in brief, if this is a log of deaths.
    pub fn next_death(&mut self) -> Option<Result<BriefDeath<'_>, LineProblem>> {
        let item = self.next_as()?;
        Some(item.map(|(_, death)| death))
    }

    /// Returns the number of the line of the last item, counted from 1.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Returns whether the log ends in the middle of a line. Known once there are no more items.
    #[must_use]
    pub const fn is_torn(&self) -> bool {
        self.torn
    }

    /// Returns the number of bytes of the log before the line of the last item.
    #[must_use]
    pub const fn begin(&self) -> u64 {
        self.begin
    }

    /// Returns the total size of the whole lines in bytes. Known once there are no more items.
    #[must_use]
    pub const fn end(&self) -> u64 {
        match self.torn {
            true => self.begin,
            false => self.before + self.lines.consumed(),
        }
    }

    fn next_as<'a, T: Item<'a>>(&'a mut self) -> Option<Result<(u64, T), LineProblem>> {
        if self.broken {
            return None;
        }
        self.number += 1;
        let number = self.number;
        let next = self.lines.next_line_at();
        if let Ok(Some((at, _))) = next {
            self.begin = self.before + at;
        }
        let at = self.begin;
        match next {
            Ok(Some((_, RawLine::Whole(line)))) => Some(
                std::str::from_utf8(line)
                    .map_err(serde::de::Error::custom)
                    .and_then(|line| match T::quickly(line) {
                        Some(item) => Ok(item),
                        None => serde_json::from_str(line),
                    })
                    .map(|item| (at, item))
                    .map_err(|source| LineProblem::NotARecord { number, source }),
            ),
            Ok(Some((_, RawLine::TooLong(_)))) => Some(Err(LineProblem::TooLong { number })),
            Ok(Some((_, RawLine::Unended(_)))) => {
                self.broken = true;
                self.torn = true;
                self.number -= 1;
                None
            }
            Ok(None) => {
                self.broken = true;
                self.number -= 1;
                None
            }
            Err(source) => {
                self.broken = true;
                Some(Err(LineProblem::Read { number, source }))
            }
        }
    }
}

impl<R: Read> Iterator for LogReader<R> {
    type Item = Result<Record, LineProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.next_as()?;
        Some(item.map(|(_, record)| record))
    }
}

/// Returns the record in the line that begins at byte `at` of a run log, if a record begins there.
///
/// # Errors
///
/// Fails if the log cannot be read.
pub fn record_at(log: &File, at: u64) -> io::Result<Option<Record>> {
    let mut line = Vec::new();
    loop {
        let read = line.len();
        line.resize((2 * read).max(USUAL), 0);
        let more = log.read_at(&mut line[read..], at + read as u64)?;
        line.truncate(read + more);
        if let Some(end) = memchr::memchr(b'\n', &line[read..]) {
            return Ok(serde_json::from_slice(&line[..read + end]).ok());
        }
        if more == 0 || line.len() > MAX_RECORD {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::borrow::Cow;

    use super::super::Outcome;
    use super::super::brief::Text;
    use super::super::record::tests::{any_record, facts, failure, stored};
    use super::*;

    fn line(url: &str) -> String {
        let record = Record::stored(facts(1, url), stored(7));
        serde_json::to_string(&record).expect("it is JSON") + "\n"
    }

    /// Returns each item as a word. Reads records in both ways.
    fn items(log: &[u8]) -> Vec<String> {
        let records: Vec<String> = LogReader::new(log)
            .map(|item| match item {
                Ok(record) => record.url,
                Err(problem) => problem.to_string(),
            })
            .collect();
        let mut reader = LogReader::new(log);
        let mut briefs = Vec::new();
        while let Some(item) = reader.next_brief() {
            briefs.push(match item {
                Ok(brief) => brief.url.into_owned(),
                Err(problem) => problem.to_string(),
            });
        }
        assert_eq!(records, briefs);
        records
    }

    #[test]
    fn a_line_that_is_no_record_is_reported_by_its_number_and_passed_over() {
        let long = format!("{{\"v\":1,\"x\":\"{}\"}}\n", "x".repeat(MAX_RECORD));
        let log = [
            line("https://h/1"),
            "garbage\n".into(),
            "\n".into(),
            long,
            line("https://h/5").replace("\"v\":1", "\"v\":9"),
            line("https://h/6"),
        ];
        let items = items(log.concat().as_bytes());
        assert_eq!(items.len(), 6);
        assert_eq!(
            (items[0].as_str(), items[5].as_str()),
            ("https://h/1", "https://h/6")
        );
        assert!(items[1].starts_with("line 2 is not a record: expected value"));
        assert!(items[2].starts_with("line 3 is not a record: EOF"));
        assert_eq!(
            items[3],
            "line 4 is longer than 1048576 bytes, and so not a record"
        );
        assert!(items[4].starts_with("line 5 is not a record: version 9 of the run log"));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_a_problem_of_their_line_alone() {
        let mut log = b"{\"v\":1,\"url\":\"\xFF\",\"outcome\":\"stored\"}\n".to_vec();
        log.extend_from_slice(line("https://h/2").as_bytes());
        let items = items(&log);
        assert_eq!(items[1..], ["https://h/2"]);
        assert!(
            items[0].starts_with("line 1 is not a record"),
            "{}",
            items[0]
        );
    }

    #[test]
    fn what_a_run_records_is_read_quickly() {
        let stored = Record::stored(facts(1, "https://h/1"), stored(7));
        let with_etag = |etag: &str| Record {
            etag: Some(etag.to_owned()),
            ..stored.clone()
        };
        let never_tried = Record {
            worker: None,
            started: None,
            ..failed()
        };
        for record in [
            with_etag("\"a\""),
            with_etag("W/\"\\\""),
            stored,
            failed(),
            never_tried,
            Record::duplicate(facts(1, "https://h/1")),
        ] {
            let line = serde_json::to_string(&record).expect("it is JSON");
            assert!(Brief::quickly(&line).is_some(), "{line}");
            let earlier = line.replace(",\"server_named\":false", "");
            assert!(Brief::quickly(&earlier).is_some(), "{earlier}");
        }
    }

    fn failed() -> Record {
        let message = "404 Not Found".to_owned();
        Record::failed(
            facts(1, "https://h/1"),
            protocol::Failure {
                message,
                ..failure()
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_read_quickly_is_what_the_line_says(
            record in any_record(),
            plain: bool,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..3),
        ) {
            let mut record = record;
            if plain {
                // Most records have this form, so that a change affects each of the keys.
                let like = match record.outcome {
                    Outcome::Failed | Outcome::Quarantined => failed(),
                    Outcome::Stored
                    | Outcome::Unchanged
                    | Outcome::Duplicate
                    | Outcome::Fenced => {
                        Record::stored(facts(1, "https://h/1"), stored(7))
                    }
                };
                record = Record {
                    task: record.task,
                    outcome: record.outcome,
                    status: record.status,
                    bytes: record.bytes,
                    attempts: record.attempts,
                    started: record.started,
                    timing_ms: record.timing_ms,
                    ..like
                };
            }
            let mut line = serde_json::to_vec(&record).expect("it is JSON");
            for (at, byte, how) in changes {
                let at = at.index(line.len());
                match how {
                    0 => line[at] = byte,
                    1 => drop(line.remove(at)),
                    _ => line.insert(at, line[line.len() - 1 - at]),
                }
            }
            let Ok(line) = std::str::from_utf8(&line) else {
                return Ok(());
            };
            if let Some(quick) = Brief::quickly(line) {
                prop_assert_eq!(serde_json::from_str::<Brief<'_>>(line).expect("a record"), quick);
            }
        }
    }

    #[test]
    fn a_last_line_without_newline_is_no_item_even_if_it_is_complete() {
        let log = line("https://h/1") + line("https://h/2").trim_end();
        assert_eq!(items(log.as_bytes()), ["https://h/1"]);
        for (log, torn) in [(log, true), (line("https://h/1"), false)] {
            let mut reader = LogReader::new(log.as_bytes());
            assert_eq!((reader.by_ref().count(), reader.is_torn()), (1, torn));
        }
        assert_eq!(items(b""), [""; 0]);
    }

    #[test]
    fn a_brief_is_borrowed_unless_it_has_escapes() {
        let log = line("https://h/1") + &line("https://h/\u{1}");
        let mut reader = LogReader::new(log.as_bytes());
        let brief = reader.next_brief().expect("a line").expect("a record");
        assert!(matches!(brief.url, Cow::Borrowed("https://h/1")));
        let path = "b-ruqbcp5fgr3tvkvo.txt";
        assert_eq!(brief.path, Some(Text(Cow::Borrowed(path))));
        assert!(matches!(brief.path, Some(Text(Cow::Borrowed(_)))));
        assert_eq!((brief.path(), brief.bytes), (Some(path), Some(7)));
        assert_eq!(brief.outcome, Outcome::Stored);
        let brief = reader.next_brief().expect("a line").expect("a record");
        assert_eq!(brief.url, "https://h/\u{1}");
    }

    #[test]
    fn each_record_is_found_where_its_line_begins() {
        let long = "x".repeat(MAX_RECORD + 1);
        let urls = [
            "https://h/1",
            "https://h/2",
            &format!("https://h/{}", "3".repeat(5000)),
        ];
        let log = urls.map(line);
        let log = [&log[0], "garbage\n", &long, "\n", &log[1], &log[2]].concat();
        let mut file = tempfile::tempfile().expect("a file");
        std::io::Write::write_all(&mut file, log.as_bytes()).expect("written");
        let mut reader = LogReader::new(log.as_bytes());
        let mut found = Vec::new();
        while let Some(item) = reader.next_brief_at() {
            if let Ok((at, brief)) = item {
                let record = record_at(&file, at).expect("readable").expect("a record");
                assert_eq!(record.url, brief.url);
                found.push(record.url);
            }
        }
        assert_eq!(found, urls);
        let end = log.len() as u64;
        for at in [1, end - 1, end, end + 1] {
            assert_eq!(record_at(&file, at).expect("readable"), None, "{at}");
        }
        // A line that is too long, and one without a newline.
        let at = (log.find("xx").expect("it is there")) as u64;
        assert_eq!(record_at(&file, at).expect("readable"), None);
    }

    #[test]
    fn a_read_error_is_the_last_item() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("bad sector"))
            }
        }
        let log = line("https://h/1");
        let mut reader = LogReader::new(log.as_bytes().chain(Failing));
        assert!(reader.next().is_some_and(|item| item.is_ok()));
        let problem = reader.next().expect("an item").expect_err("the error");
        assert_eq!(problem.to_string(), "line 2 cannot be read: bad sector");
        assert!(reader.next().is_none());
    }
}
