//! The lines of one list, in any format.

mod passes;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use super::bounded::{BoundedLines, RawLine};
use super::entry::Fields;
use super::error::{Excerpt, LineError};
use super::options::{Format, ListOptions};
use super::table::Table;
use super::target::Target;
use super::unpack::Unpacked;
use super::{MAX_LINE, MAX_ROW, jsonl, position, target, without_mark};

pub use passes::{Marks, Step};

/// Bytes at the start of a list that are examined for its format. If they are all blank, the format
/// is text, or CSV if the user has named a column.
const START: usize = 64 * 1024;

/// One line of a list that is neither blank nor a comment; in a table, one row.
#[derive(Debug)]
pub struct Line {
    /// The name of the list in messages.
    pub source: Arc<str>,
    /// The line's number, counted from 1 over all lines of this source.
    pub number: u64,
    /// The column of an error in the line, counted in bytes from 1, if it is known.
    pub column: Option<u64>,
    /// The target in the line, or what is wrong with it.
    pub entry: Result<Target, LineError>,
}

impl Line {
    /// Returns the message for a line without a target: `urls.txt:17: no scheme in …`.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let error = self.entry.as_ref().err()?;
        Some(match self.column {
            Some(column) => format!("{}:{}:{column}: {error}", self.source, self.number),
            None => format!("{}: {error}", position(&self.source, self.number)),
        })
    }
}

/// The lines of one list, in order.
pub struct Lines {
    source: Arc<str>,
    options: Arc<ListOptions>,
    lines: BoundedLines<Unpacked>,
    format: Option<Format>,
    parser: Option<Parser>,
    /// Number of the last line read.
    number: u64,
    /// Number of the next task.
    next_task: u64,
    broken: bool,
    /// The file of the list, if it is a regular file.
    file: Option<Arc<File>>,
}

enum Parser {
    Text,
    Jsonl,
    Table(Box<Table>),
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("source", &self.source)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// A target, or an error and its column.
type Found = Result<Target, (LineError, Option<u64>)>;

impl Lines {
    /// Creates the lines of a list from any reader. `source` is its name in messages. The reader
    /// need not be buffered, may be compressed, and is not read before the first line is requested.
    #[must_use]
    pub fn new(source: &str, reader: Box<dyn Read + Send>, options: Arc<ListOptions>) -> Self {
        Self {
            source: Arc::from(source),
            format: options.format,
            options,
            lines: BoundedLines::new(Unpacked::new(reader), MAX_LINE),
            parser: None,
            number: 0,
            next_task: 1,
            broken: false,
            file: None,
        }
    }

    /// Sets the format known from the name, if the user has not set one.
    pub(super) fn or_format(mut self, format: Option<Format>) -> Self {
        self.format = self.format.or(format);
        self
    }

    /// Returns the name of the list in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.source
    }

    /// Sets the number of the task for the next target. The default is 1.
    pub const fn count_from(&mut self, task: u64) {
        self.next_task = task;
    }

    /// Returns the number of the task for the next target.
    #[must_use]
    pub const fn next_task(&self) -> u64 {
        self.next_task
    }

    /// Returns whether the list can name files itself, as far as that is known yet.
    #[must_use]
    pub fn may_name_files(&self) -> bool {
        self.format != Some(Format::Text)
    }

    /// Reads the start of the list if its format is not known otherwise. Call this only for a
    /// source that does not block. Errors are reported with the first line.
    #[must_use]
    pub(super) fn looked_at(mut self) -> Self {
        if let Ok(parser) = self.look() {
            self.parser = Some(parser);
        }
        self
    }

    /// Returns the format of an uncompressed list, once it is known.
    pub(super) fn plain_format(&self) -> Option<Format> {
        self.format
            .filter(|_| self.lines.reader().packed().is_none())
    }

    /// Returns whether the next item is available without waiting for the source.
    #[must_use]
    pub fn has_line(&self) -> bool {
        match &self.parser {
            Some(Parser::Table(table)) if table.has_line() => true,
            Some(Parser::Text | Parser::Jsonl | Parser::Table(_)) | None => self.lines.has_line(),
        }
    }

    /// Returns the number of bytes of the source up to the last item. For a compressed source, all
    /// bytes read so far.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        let packed = self.lines.reader().packed();
        packed.unwrap_or_else(|| self.lines.consumed())
    }

    /// Returns the next entry, and the number of its line.
    fn advance(&mut self) -> io::Result<Option<(u64, Found)>> {
        if self.parser.is_none() {
            self.parser = Some(self.look()?);
        }
        match &mut self.parser {
            Some(Parser::Text) => self.text_line(),
            Some(Parser::Jsonl) => self.json_line(),
            Some(Parser::Table(_)) => self.row(),
            None => Ok(None),
        }
    }

    fn look(&mut self) -> io::Result<Parser> {
        let format = match self.format {
            Some(format) => format,
            None => {
                let start = self.lines.peek_line(START)?;
                let start = without_mark(start, 1).trim_ascii_start();
                Format::of_start(start, &self.options)
            }
        };
        self.format = Some(format);
        Ok(match format {
            Format::Text => Parser::Text,
            Format::Jsonl => {
                self.lines.set_limit(MAX_ROW);
                Parser::Jsonl
            }
            Format::Csv | Format::Tsv => {
                self.lines.set_limit(MAX_ROW);
                Parser::Table(Box::new(Table::new(format, &self.options)))
            }
        })
    }

    fn text_line(&mut self) -> io::Result<Option<(u64, Found)>> {
        while let Some(raw) = self.lines.next_line()? {
            self.number += 1;
            if let Some(text) = text_of_line(raw, self.number) {
                let found = target_of(text, &self.options, self.next_task);
                return Ok(Some((self.number, found.map_err(|error| (error, None)))));
            }
        }
        Ok(None)
    }

    fn json_line(&mut self) -> io::Result<Option<(u64, Found)>> {
        while let Some(raw) = self.lines.next_line()? {
            self.number += 1;
            let found = match raw {
                RawLine::Whole(bytes) | RawLine::Unended(bytes) => {
                    let bytes = without_mark(bytes, self.number);
                    if bytes.trim_ascii().is_empty() {
                        continue;
                    }
                    jsonl::parse(bytes, &self.options).and_then(|fields| {
                        let target = fields.target(&self.options, self.next_task);
                        target.map_err(|error| (error, None))
                    })
                }
                RawLine::TooLong(_) => Err((LineError::LongRow, None)),
            };
            return Ok(Some((self.number, found)));
        }
        Ok(None)
    }

    fn row(&mut self) -> io::Result<Option<(u64, Found)>> {
        let Some(Parser::Table(table)) = &mut self.parser else {
            return Ok(None);
        };
        while let Some((first, row)) = table.advance(&mut self.lines, &mut self.number)? {
            let wants_names = table.wants_names();
            let found = match row {
                Ok(()) if wants_names => match table.take_names(&self.options) {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
                Ok(()) => table
                    .fields()
                    .and_then(|fields| fields.target(&self.options, self.next_task)),
                Err(error) => Err(error),
            };
            // Without column names, no row can be interpreted.
            self.broken = wants_names;
            return Ok(Some((first, found.map_err(|error| (error, None)))));
        }
        Ok(None)
    }
}

impl Iterator for Lines {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        if self.broken {
            return None;
        }
        let (number, found) = match self.advance() {
            Ok(found) => found?,
            Err(source) => {
                self.broken = true;
                (self.number + 1, Err((LineError::Read { source }, None)))
            }
        };
        let (column, entry) = match found {
            Ok(target) => {
                self.next_task += 1;
                (None, Ok(target))
            }
            Err((error, column)) => (column, Err(error)),
        };
        Some(Line {
            source: Arc::clone(&self.source),
            number,
            column,
            entry,
        })
    }
}

/// Returns the text in a line of text, or `None` if it is blank or a comment.
fn text_of_line(raw: RawLine<'_>, number: u64) -> Option<Result<&str, LineError>> {
    match raw {
        RawLine::Whole(bytes) | RawLine::Unended(bytes) => {
            let bytes = without_mark(bytes, number).trim_ascii();
            (!bytes.is_empty() && !bytes.starts_with(b"#")).then(|| target::text_of(bytes))
        }
        // A comment may have any length.
        RawLine::TooLong(head) if head.trim_ascii_start().starts_with(b"#") => None,
        RawLine::TooLong(head) => Some(Err(LineError::TooLong {
            text: Excerpt::of_bytes(head),
        })),
    }
}

/// Returns the target in a line of text, which would be task `number`.
fn target_of(
    text: Result<&str, LineError>,
    options: &ListOptions,
    number: u64,
) -> Result<Target, LineError> {
    let fields = Fields {
        url: text?.into(),
        ..Fields::default()
    };
    fields.target(options, number)
}
