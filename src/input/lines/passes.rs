//! Reads a list of text in two passes: first the lines that are new to the caller, then the others.
//!
//! In a long list of mostly known lines, this finds the few new ones in a fraction of the time that
//! it takes to parse all lines and check their files. The first pass stores two bits for each line.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::{Format, Line, LineError, Lines, Parser, target_of, text_of_line};
use crate::input::UrlKey;

/// The action of the first pass on a line that is neither blank nor a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// The line was skipped, and counted as a target.
    PassedOver,
    /// The line was returned as a target.
    Target,
    /// The line was returned as a problem.
    Problem,
}

/// The action of the first pass on each line.
#[derive(Debug, Default)]
pub struct Marks {
    words: Vec<u64>,
    lines: usize,
}

/// A step of the first pass.
#[derive(Debug)]
pub enum Step {
    /// The next line that is not known.
    Line(Line),
    /// The most lines allowed for one step were skipped.
    PassedOver,
    /// The end of the list.
    End,
}

impl Marks {
    const BITS: usize = 2;
    const PER_WORD: usize = 64 / Self::BITS;

    fn push(&mut self, mark: Mark) {
        let place = self.lines % Self::PER_WORD;
        if place == 0 {
            self.words.push(0);
        }
        if let Some(word) = self.words.last_mut() {
            *word |= (mark as u64) << (place * Self::BITS);
        }
        self.lines += 1;
    }

    /// Returns whether the first pass skipped this line, counted from 0.
    #[must_use]
    pub fn is_passed_over(&self, line: usize) -> bool {
        self.get(line) == Some(Mark::PassedOver)
    }

    fn get(&self, line: usize) -> Option<Mark> {
        let word = self.words.get(line / Self::PER_WORD)?;
        let bits = (word >> (line % Self::PER_WORD * Self::BITS)) & 0b11;
        let mark = [Mark::PassedOver, Mark::Target, Mark::Problem];
        (line < self.lines).then(|| mark[(bits as usize).min(2)])
    }
}

impl Lines {
    /// Stores the file that is being read.
    pub(in crate::input) fn of_file(mut self, file: Option<Arc<File>>) -> Self {
        self.file = file;
        self
    }

    /// Returns whether the list can be read in two passes, which requires a regular file of text.
    #[must_use]
    pub fn has_passes(&self) -> bool {
        let is_text = matches!(self.parser, Some(Parser::Text));
        is_text && self.file.is_some() && self.plain_format() == Some(Format::Text)
    }

    /// Returns the same list from its beginning, with its own position, or `None` if the list
    /// cannot be read in two passes.
    #[must_use]
    pub fn again(&self) -> Option<Self> {
        let file = self.file.clone()?;
        let reader = FromStart {
            file: Arc::clone(&file),
            at: 0,
        };
        let lines = Self::new(&self.source, Box::new(reader), Arc::clone(&self.options));
        Some(lines.or_format(Some(Format::Text)).of_file(Some(file)))
    }

    /// Returns the next line that is not known. Skips at most `most` known lines, and subtracts
    /// them from `most`. Calls `is_known` once for each line that is neither blank nor a comment,
    /// in order.
    pub fn next_unknown(
        &mut self,
        marks: &mut Marks,
        most: &mut usize,
        mut is_known: impl FnMut() -> bool,
    ) -> Step {
        while *most > 0 && !self.broken {
            let raw = match self.lines.next_line() {
                Ok(Some(raw)) => raw,
                Ok(None) => return Step::End,
                Err(source) => return Step::Line(self.unreadable(source)),
            };
            self.number += 1;
            let Some(text) = text_of_line(raw, self.number) else {
                continue;
            };
            if is_known() {
                marks.push(Mark::PassedOver);
                self.next_task += 1;
                *most -= 1;
                continue;
            }
            let entry = target_of(text, &self.options, self.next_task);
            marks.push(match entry {
                Ok(_) => Mark::Target,
                Err(_) => Mark::Problem,
            });
            return Step::Line(self.line(self.number, entry));
        }
        match self.broken {
            true => Step::End,
            false => Step::PassedOver,
        }
    }

    /// Returns the key of the next line, as if the line were a normalised URL, or `None` at the
    /// end. The key is `None` if the line cannot be one. Calls `is_wanted` once for each line that
    /// is neither blank nor a comment, in order.
    pub fn next_key(&mut self, mut is_wanted: impl FnMut() -> bool) -> Option<Option<UrlKey>> {
        // The reader of the lines themselves reports a file that cannot be read.
        while let Ok(Some(raw)) = self.lines.next_line() {
            self.number += 1;
            if let Some(text) = text_of_line(raw, self.number)
                && is_wanted()
            {
                // No normalised URL has a fragment.
                let text = text.ok().filter(|text| !text.contains('#'));
                return Some(text.map(UrlKey::of));
            }
        }
        None
    }

    /// Returns the next line that the first pass skipped. `looked_at` counts the lines up to it,
    /// and is 0 before the first.
    pub fn next_passed_over(&mut self, marks: &Marks, looked_at: &mut usize) -> Option<Line> {
        while !self.broken
            && let Some(mark) = marks.get(*looked_at)
        {
            let raw = match self.lines.next_line() {
                Ok(Some(raw)) => raw,
                // The file is shorter than in the first pass.
                Ok(None) => return None,
                Err(source) => return Some(self.unreadable(source)),
            };
            self.number += 1;
            let Some(text) = text_of_line(raw, self.number) else {
                continue;
            };
            *looked_at += 1;
            match mark {
                Mark::Problem => {}
                Mark::Target => self.next_task += 1,
                Mark::PassedOver => {
                    let entry = target_of(text, &self.options, self.next_task);
                    // The first pass counted it, whatever it is now.
                    self.next_task += u64::from(entry.is_err());
                    return Some(self.line(self.number, entry));
                }
            }
        }
        None
    }

    fn line(&mut self, number: u64, entry: Result<super::Target, LineError>) -> Line {
        self.next_task += u64::from(entry.is_ok());
        Line {
            source: Arc::clone(&self.source),
            number,
            column: None,
            entry,
        }
    }

    fn unreadable(&mut self, source: io::Error) -> Line {
        self.broken = true;
        self.line(self.number + 1, Err(LineError::Read { source }))
    }
}

/// Reads a file from its start, with its own position.
struct FromStart {
    file: Arc<File>,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(out, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
