//! URL lists: files, standard input and the command line, as a stream of [`Line`]s.
//!
//! A list is text with one URL on each line, or one JSON object on each line, or a table. It may be
//! compressed. Blank lines are skipped. In text, lines that start with `#` are skipped too (inside
//! a URL, `#` starts the fragment, which no request carries). Every other line becomes an item: a
//! [`Target`], or a [`LineError`] that says what is wrong with it. A list of ten million lines is
//! read in constant memory, and so is a line of a gigabyte.
//!
//! This module must not fetch anything, touch the output folder, or print.

pub(crate) mod bounded;
mod count;
mod entry;
mod error;
mod fed;
mod given;
mod jsonl;
mod lines;
pub mod naming;
mod options;
mod table;
mod target;
mod ticket;
mod unpack;
mod wire;

use std::fs::File;
use std::io::{self, Cursor};
use std::path::Path;
use std::sync::Arc;

pub use count::count;
pub use entry::{MAX_HEADERS, MAX_MIRRORS};
pub use error::{Excerpt, InputError, LineError};
pub use fed::{Fed, FedWriter};
pub use given::{GivenUrl, Source, position};
pub use lines::{Line, Lines, Marks, Step};
pub use options::{Column, Format, ListOptions, Suggestions};
pub use target::{Extra, Mirror, Target, UrlKey};
pub use ticket::Ticket;

/// Longest line that is read as a URL, in bytes, without its line end.
///
/// Servers accept far less (RFC 9110 section 4.1 asks for 8,000 bytes). Normalising can at most
/// triple a URL (one byte becomes `%XX`), so every target fits a protocol frame.
pub const MAX_LINE: usize = 16 * 1024;

/// Longest line of JSON, or row of a table, in bytes. It may have large fields beside the URL.
pub const MAX_ROW: usize = 1024 * 1024;

/// Opens a list.
///
/// # Errors
///
/// Fails if the file does not exist, is a directory or cannot be opened. A read error is reported
/// later, as the last [`Line`].
pub fn read(source: &Source, options: &Arc<ListOptions>) -> Result<Lines, InputError> {
    let name = Excerpt::of_name(&source.to_string());
    let lines = |reader| Lines::new(&name, reader, Arc::clone(options));
    match source {
        Source::File(path) => {
            let file = open(path)?;
            // Reading from a pipe may block.
            let is_plain = file.metadata().is_ok_and(|metadata| metadata.is_file());
            let file = Arc::new(file);
            let lines = lines(Box::new(Arc::clone(&file))).or_format(Format::of_name(path));
            let lines = lines.of_file(Some(file).filter(|_| is_plain));
            Ok(if is_plain { lines.looked_at() } else { lines })
        }
        Source::Stdin => Ok(lines(Box::new(io::stdin()))),
        Source::BuiltIn => Ok(lines(Box::new(given::BUILT_IN))),
        Source::Fed(fed) => {
            let options = ListOptions {
                format: Some(Format::Jsonl),
                url_column: None,
                naming: options.naming.clone(),
                suggestions: options.suggestions,
            };
            Ok(Lines::new(&name, Box::new(fed.open()), Arc::new(options)))
        }
        Source::Urls(urls) => {
            // The user's options for columns and format do not apply to these.
            let options = ListOptions {
                format: Some(Format::Jsonl),
                url_column: None,
                naming: options.naming.clone(),
                suggestions: options.suggestions,
            };
            let text = Cursor::new(given::to_jsonl(urls));
            Ok(Lines::new(&name, Box::new(text), Arc::new(options)))
        }
    }
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

/// Returns the line without a byte order mark, which only the first line may have.
fn without_mark(line: &[u8], number: u64) -> &[u8] {
    match number {
        1 => line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line),
        _ => line,
    }
}

#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod tests;
