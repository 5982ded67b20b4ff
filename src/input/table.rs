//! Tables: CSV (RFC 4180) and TSV. The first row names the columns, unless the URL's has a number.
//!
//! A quoted field may contain line ends. A quote that is never closed would consume the rest of a
//! list. So if a row exceeds its limit, only its first line is reported as an error, and the lines
//! after it are parsed again.

use std::borrow::Cow;
use std::io::{self, Read};
use std::str;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

use super::bounded::{BoundedLines, RawLine};
use super::entry::{Fields, Word, Words};
use super::error::{Excerpt, LineError};
use super::options::{Column, Format, ListOptions};
use super::{MAX_ROW, without_mark};

/// Most columns of a table.
const MAX_COLUMNS: usize = 4096;

/// A table that is being read. Holds one row at a time.
pub(super) struct Table {
    reader: Reader,
    columns: Option<Columns>,
    /// Whole lines to parse again, before those of the list.
    again: Vec<u8>,
    /// How many bytes of `again` are parsed.
    used: usize,
    /// The lines of the current row.
    raw: Vec<u8>,
    /// The fields of the row without separators, and where each ends.
    text: Vec<u8>,
    ends: Vec<usize>,
    fields: usize,
}

/// The columns of the fields.
#[derive(Clone, Copy)]
struct Columns {
    url: Option<usize>,
    urls: Option<usize>,
    words: Words<usize>,
    size: Option<usize>,
}

/// The result of reading one line.
enum Taken {
    Line,
    TooLong,
    End,
}

/// A row: the number of its first line, and its error if it has one.
pub(super) type Row = (u64, Result<(), LineError>);

impl Table {
    pub(super) fn new(format: Format, options: &ListOptions) -> Self {
        let is_tsv = format == Format::Tsv;
        let columns = match options.url_column {
            Some(Column::Number(number)) => Some(Columns {
                url: Some(number.saturating_sub(1)),
                urls: None,
                words: Words::default(),
                size: None,
            }),
            Some(Column::Name(_)) | None => None,
        };
        Self {
            reader: ReaderBuilder::new()
                .delimiter(if is_tsv { b'\t' } else { b',' })
                .quoting(!is_tsv)
                .terminator(Terminator::Any(b'\n'))
                .build(),
            columns,
            again: Vec::new(),
            used: 0,
            raw: Vec::new(),
            text: Vec::new(),
            ends: vec![0; MAX_COLUMNS],
            fields: 0,
        }
    }

    /// Returns whether a line is available without reading the list.
    pub(super) const fn has_line(&self) -> bool {
        self.used < self.again.len()
    }

    /// Reads the next row. `number` is the number of the last line read. Returns `None` at the end.
    pub(super) fn advance<R: Read>(
        &mut self,
        lines: &mut BoundedLines<R>,
        number: &mut u64,
    ) -> io::Result<Option<Row>> {
        loop {
            self.raw.clear();
            match self.take_line(lines, number)? {
                Taken::End => return Ok(None),
                Taken::TooLong => return Ok(Some((*number, Err(LineError::LongRow)))),
                Taken::Line => {}
            }
            if !self.raw.trim_ascii().is_empty() {
                let first = *number;
                let row = self.finish_row(lines, number)?;
                return Ok(Some((first, row)));
            }
        }
    }

    /// Parses the row whose first line was read, and reads as many more lines as it needs.
    fn finish_row<R: Read>(
        &mut self,
        lines: &mut BoundedLines<R>,
        number: &mut u64,
    ) -> io::Result<Result<(), LineError>> {
        let (first, first_line) = (*number, self.raw.len());
        let (mut read, mut written) = (0, 0);
        self.reader.reset();
        self.fields = 0;
        loop {
            // Fields are never longer than their lines.
            self.text.resize(self.raw.len(), 0);
            let (result, taken, put, ended) = self.reader.read_record(
                &self.raw[read..],
                &mut self.text[written..],
                &mut self.ends[self.fields..],
            );
            read += taken;
            written += put;
            self.fields += ended;
            match result {
                ReadRecordResult::Record | ReadRecordResult::End => return Ok(Ok(())),
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    return Ok(Err(LineError::ManyColumns { most: MAX_COLUMNS }));
                }
                ReadRecordResult::InputEmpty => {}
            }
            // The line ends within quotes, so the row continues.
            let closed = if self.raw.len() > MAX_ROW {
                Taken::End
            } else {
                self.take_line(lines, number)?
            };
            match closed {
                Taken::Line => {}
                Taken::TooLong => return Ok(Err(LineError::LongRow)),
                Taken::End => {
                    let rest = self.again.split_off(self.used);
                    self.again.clear();
                    self.again.extend_from_slice(&self.raw[first_line..]);
                    self.again.extend_from_slice(&rest);
                    self.used = 0;
                    *number = first;
                    let text = Excerpt::of_bytes(&self.raw[..first_line]);
                    return Ok(Err(LineError::OpenQuote { text }));
                }
            }
        }
    }

    /// Appends the next line to the row, with a newline.
    fn take_line<R: Read>(
        &mut self,
        lines: &mut BoundedLines<R>,
        number: &mut u64,
    ) -> io::Result<Taken> {
        let again = &self.again[self.used..];
        if let Some(end) = memchr::memchr(b'\n', again) {
            self.raw.extend_from_slice(&again[..=end]);
            self.used += end + 1;
            *number += 1;
            return Ok(Taken::Line);
        }
        match lines.next_line()? {
            None => Ok(Taken::End),
            Some(RawLine::TooLong(_)) => {
                *number += 1;
                Ok(Taken::TooLong)
            }
            Some(RawLine::Whole(line) | RawLine::Unended(line)) => {
                *number += 1;
                let line = without_mark(line, *number);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                self.raw.extend_from_slice(line);
                self.raw.push(b'\n');
                Ok(Taken::Line)
            }
        }
    }

    /// Returns whether the row that was read holds the names of the columns. True once.
    pub(super) const fn wants_names(&self) -> bool {
        self.columns.is_none()
    }

    /// Uses the row that was read as the names of the columns.
    pub(super) fn take_names(&mut self, options: &ListOptions) -> Result<(), LineError> {
        let names: Vec<_> = (0..self.fields)
            .filter_map(|index| self.field(index))
            .map(|name| name.trim_ascii())
            .collect();
        let find = |wanted: &str| {
            let mut names = names.iter();
            names.position(|name| name.eq_ignore_ascii_case(wanted.as_bytes()))
        };
        let wanted = options.url_name();
        let (url, urls) = (find(wanted), find("urls"));
        if url.is_none() && urls.is_none() {
            return Err(LineError::NoColumn {
                wanted: Excerpt::of(wanted),
                there: Excerpt::of_bytes(&names.join(&b", "[..])),
            });
        }
        self.columns = Some(Columns {
            url,
            urls,
            words: Word::ALL.map(|word| find(word.key())),
            size: find("size"),
        });
        Ok(())
    }

    /// Returns the fields of the row that was read.
    pub(super) fn fields(&self) -> Result<Fields<'_>, LineError> {
        let columns = self.columns.ok_or(LineError::NoUrl)?;
        let text = |index: usize| self.field(index).map(text_of).transpose();
        let optional = |index: Option<usize>| match index.map(text) {
            Some(text) => Ok(text?.filter(|text| !text.trim().is_empty())),
            None => Ok(None),
        };
        let url = match columns.url {
            None => "",
            Some(column) => text(column)?.ok_or(LineError::FewColumns {
                there: self.fields,
                wanted: column + 1,
            })?,
        };
        let urls = optional(columns.urls)?.unwrap_or_default();
        let size = optional(columns.size)?.map(|text| {
            let parsed = text.trim().parse();
            parsed.map_err(|_| LineError::BadSize {
                text: Excerpt::of(text),
            })
        });
        let mut words = Words::default();
        for (word, column) in words.iter_mut().zip(columns.words) {
            *word = optional(column)?.map(Cow::Borrowed);
        }
        Ok(Fields {
            url: Cow::Borrowed(url),
            urls: urls.split_whitespace().map(Cow::Borrowed).collect(),
            words,
            size: size.transpose()?,
            headers: Vec::new(),
        })
    }

    fn field(&self, index: usize) -> Option<&[u8]> {
        let ends = &self.ends[..self.fields];
        let end = *ends.get(index)?;
        let start = match index {
            0 => 0,
            _ => *ends.get(index - 1)?,
        };
        self.text.get(start..end)
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, LineError> {
    str::from_utf8(bytes).map_err(|_| LineError::NotUtf8 {
        text: Excerpt::of_bytes(bytes),
    })
}
