//! URL lists: files and standard input, as a stream of [`Line`]s.
//!
//! A list holds one URL a line. Blank lines and lines that start with `#` are skipped (a `#` inside
//! a URL starts its fragment, which no request carries). Whatever else a line holds, it becomes
//! an item: a [`Target`], or a [`LineError`] that says what is wrong with it. A list of ten million
//! lines is read in constant memory, and so is a single line of a gigabyte.
//!
//! This module must not fetch anything, touch the output folder, or print.

pub(crate) mod bounded;
mod error;
pub mod naming;
mod target;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bounded::{BoundedLines, RawLine};

pub use error::{Excerpt, InputError, LineError};
pub use target::{Target, UrlKey};

/// The longest line that is read as a URL, in bytes, its line end not counted.
///
/// Servers accept far less (RFC 9110 section 4.1 asks for 8,000 bytes). Normalising can at most
/// triple a URL (one byte becomes `%XX`), so that every target fits a protocol frame.
pub const MAX_LINE: usize = 16 * 1024;

/// Where a URL list comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, or anything that reads like one (a named pipe).
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl Source {
    /// What a command line argument means: `-` is standard input, anything else a file.
    #[must_use]
    pub fn from_argument(argument: PathBuf) -> Self {
        if argument == Path::new("-") {
            Self::Stdin
        } else {
            Self::File(argument)
        }
    }
}

/// The name in messages: the path, or `<stdin>`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdin => f.write_str("<stdin>"),
        }
    }
}

/// One line of a list that is neither blank nor a comment.
#[derive(Debug)]
pub struct Line {
    /// The name of the list in messages.
    pub source: Arc<str>,
    /// The line's number, counted from 1 over all lines of this source.
    pub number: u64,
    /// What it holds.
    pub entry: Result<Target, LineError>,
}

impl Line {
    /// The message for a line that holds no target: `urls.txt:17: no scheme in …`.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let error = self.entry.as_ref().err()?;
        Some(format!("{}:{}: {error}", self.source, self.number))
    }
}

/// Opens a list.
///
/// # Errors
///
/// A file that is missing, a directory or cannot be opened. Errors in reading it come later, as
/// the last [`Line`].
pub fn read(source: &Source) -> Result<Lines, InputError> {
    let reader: Box<dyn Read + Send> = match source {
        Source::File(path) => Box::new(open(path)?),
        Source::Stdin => Box::new(io::stdin()),
    };
    let name = Excerpt::of_name(&source.to_string());
    Ok(Lines::new(&name, reader))
}

fn open(path: &Path) -> Result<File, InputError> {
    let unreadable = |source: io::Error| InputError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            InputError::Missing {
                path: path.to_owned(),
                source,
            }
        } else {
            unreadable(source)
        }
    })?;
    // Opening a directory for reading succeeds on Unix; only reading it fails.
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(InputError::Directory {
            path: path.to_owned(),
        });
    }
    Ok(file)
}

/// The lines of one list, in order. Made by [`read`].
pub struct Lines {
    source: Arc<str>,
    lines: BoundedLines<Box<dyn Read + Send>>,
    number: u64,
    broken: bool,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("source", &self.source)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Lines {
    /// The lines of a list from anywhere; `source` is its name in messages. The reader need not be
    /// buffered.
    #[must_use]
    pub fn new(source: &str, reader: Box<dyn Read + Send>) -> Self {
        Self {
            source: Arc::from(source),
            lines: BoundedLines::new(reader, MAX_LINE),
            number: 0,
            broken: false,
        }
    }
}

impl Lines {
    /// Whether the next item can be had without waiting for the source.
    #[must_use]
    pub fn has_line(&self) -> bool {
        self.lines.has_line()
    }

    /// Bytes of the source that the items so far, and what was skipped between them, took.
    #[must_use]
    pub const fn consumed(&self) -> u64 {
        self.lines.consumed()
    }
}

impl Iterator for Lines {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        if self.broken {
            return None;
        }
        loop {
            let entry = match self.lines.next_line() {
                Ok(None) => return None,
                Ok(Some(raw)) => {
                    self.number += 1;
                    match raw {
                        RawLine::Whole(bytes) | RawLine::Unended(bytes) => {
                            target::parse_line(bytes, self.number == 1)
                        }
                        RawLine::TooLong(head) => too_long(head),
                    }
                }
                Err(source) => {
                    self.broken = true;
                    self.number += 1;
                    Some(Err(LineError::Read { source }))
                }
            };
            if let Some(entry) = entry {
                return Some(Line {
                    source: Arc::clone(&self.source),
                    number: self.number,
                    entry,
                });
            }
        }
    }
}

/// A comment may be as long as it likes.
fn too_long(head: &[u8]) -> Option<Result<Target, LineError>> {
    if head.trim_ascii_start().starts_with(b"#") {
        return None;
    }
    let text = Excerpt::of_bytes(head);
    Some(Err(LineError::TooLong { text }))
}

#[cfg(test)]
mod tests;
