//! Looks up the lines of a list in the index of the run log, many at a time, before the lines are
//! parsed.
//!
//! A single look-up costs a read of the index and several cache misses in the filters. For many
//! sorted keys, the index is read once from start to end.
//!
//! This module must not decide the outcome of a line: the file may have changed since the look-up.

use std::sync::Arc;

use super::resume::{Entry, Index};
use crate::disk_map::Wanted;
use crate::input::{Lines, Marks, UrlKey};

/// Number of lines that are looked up at a time, which doubles from `FIRST` to `MOST`. So a short
/// list does not wait long. With a long list, each page of an index of ten million entries holds
/// several of the lines.
const FIRST: usize = 1 << 12;
const MOST: usize = 1 << 18;

/// The entry that the index has for a line.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The key of the URL in the line.
    pub key: UrlKey,
    pub entry: Entry,
}

/// A second reader of the list that looks lines up ahead of the parser.
#[derive(Debug)]
pub struct Scout {
    lines: Lines,
    index: Arc<Index>,
    /// In the second pass, only lines that the first pass skipped are looked up.
    marks: Option<Arc<Marks>>,
    looked_at: usize,
    most: usize,
    answers: std::vec::IntoIter<Option<Answer>>,
}

impl Scout {
    /// Looks up all `lines`, or only those that the first pass skipped by its `marks`.
    #[must_use]
    pub fn new(lines: Lines, index: Arc<Index>, marks: Option<Arc<Marks>>) -> Self {
        Self {
            lines,
            index,
            marks,
            looked_at: 0,
            most: FIRST,
            answers: Vec::new().into_iter(),
        }
    }

    /// Returns the answer for the next line that is neither blank nor a comment.
    pub fn advance(&mut self) -> Option<Answer> {
        if self.answers.as_slice().is_empty() {
            self.answers = self.look_up().into_iter();
        }
        self.answers.next().flatten()
    }

    fn look_up(&mut self) -> Vec<Option<Answer>> {
        let (mut wanted, mut asked) = (Wanted::default(), 0);
        let (marks, looked_at) = (self.marks.as_deref(), &mut self.looked_at);
        let mut is_wanted = || {
            *looked_at += 1;
            marks.is_none_or(|marks| marks.is_passed_over(*looked_at - 1))
        };
        while (asked as usize) < self.most
            && let Some(key) = self.lines.next_key(&mut is_wanted)
        {
            if let Some(key) = key {
                wanted.push(key.as_bytes(), asked);
            }
            asked += 1;
        }
        self.most = (self.most * 2).min(MOST);
        let mut answers = vec![None; asked as usize];
        let told = self.index.find_all(wanted, |key, number, entry| {
            answers[number as usize] = Some(Answer { key, entry });
        });
        if let Err(error) = told {
            tracing::debug!(%error, "lines are looked up one by one");
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{ListOptions, Source, Step, read};
    use crate::run::log::tests::{facts, stored};
    use crate::run::log::{LogReader, Record};
    use crate::run::resume::Earlier;

    #[test]
    fn each_line_has_the_answer_for_its_url() {
        let lines = 3 * FIRST;
        let url = |n: usize| format!("https://h/{n}");
        let log: String = (0..lines)
            .step_by(3)
            .map(|n| {
                let record = Record::stored(facts(1, &url(n)), stored(n as u64));
                serde_json::to_string(&record).expect("it is JSON") + "\n"
            })
            .collect();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let index = Index::read(LogReader::new(log.as_bytes()), folder.path().to_owned());
        let index = Arc::new(index.expect("readable"));
        let list = folder.path().join("list");
        let text: String = (0..lines)
            .map(|n| match n % 5 {
                0 => format!("# a comment\n\n  {}\r\n", url(n)),
                1 => format!("{}#fragment\n", url(n)),
                _ => url(n) + "\n",
            })
            .collect();
        std::fs::write(&list, text).expect("written");
        let list = read(&Source::File(list), &Arc::new(ListOptions::default())).expect("a list");
        let mut scout = Scout::new(list.again().expect("a file"), Arc::clone(&index), None);
        for n in 0..lines {
            let answer = scout.advance();
            let is_known = n % 3 == 0 && n % 5 != 1;
            assert_eq!(answer.is_some(), is_known, "{n}");
            let Some(answer) = answer else { continue };
            assert_eq!(answer.key, UrlKey::of(&url(n)));
            let Some(Earlier::Stored { left, .. }) = index.earlier(answer.entry) else {
                panic!("{n} was stored");
            };
            assert_eq!(left, crate::run::resume::Left::Whole(n as u64));
        }
        assert!(scout.advance().is_none());

        let mut scout = Scout::new(list.again().expect("a file"), Arc::clone(&index), None);
        let (mut marks, mut most) = (Marks::default(), usize::MAX);
        let mut pass = list.again().expect("a file");
        let mut is_known = || scout.advance().is_some();
        while let Step::Line(_) = pass.next_unknown(&mut marks, &mut most, &mut is_known) {}
        let marks = Some(Arc::new(marks));
        let mut scout = Scout::new(list.again().expect("a file"), index, marks);
        for n in (0..lines).filter(|n| n % 3 == 0 && n % 5 != 1) {
            let key = scout.advance().map(|answer| answer.key);
            assert_eq!(key, Some(UrlKey::of(&url(n))), "{n}");
        }
    }
}
