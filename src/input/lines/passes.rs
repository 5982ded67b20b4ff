//! Reads a list of text in two passes: first the lines that are new to the caller, then the others.
//!
//! In a long list of mostly known lines, this finds the few new ones in a fraction of the time that
//! it takes to parse all lines and check their files. The first pass stores two bits for each line.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::sync::Arc;

use super::{Format, Line, LineError, Lines, Parser, target_of, text_of_line};

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

    /// Returns the same list from its beginning, for the second pass. This list is at its end.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read again. The error is a line that reports it.
    pub fn again(mut self) -> Result<Self, Box<Line>> {
        let file = self.file.take();
        let rewound = file.ok_or(io::ErrorKind::NotSeekable.into());
        let rewound = rewound.and_then(|file| {
            (&*file).seek(SeekFrom::Start(0))?;
            Ok(file)
        });
        let file = rewound.map_err(|source| Box::new(self.unreadable(source)))?;
        let lines = Self::new(&self.source, Box::new(file), Arc::clone(&self.options));
        Ok(lines.or_format(Some(Format::Text)))
    }

    /// Returns the next line whose text is not `known` to be a target. Skips at most `most` known
    /// lines, and subtracts them from `most`.
    pub fn next_unknown(
        &mut self,
        marks: &mut Marks,
        most: &mut usize,
        known: impl Fn(&str) -> bool,
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
            if let Ok(text) = text
                && known(text)
            {
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
