//! Counts the entries of a list without parsing them, for progress.
//!
//! This works only for lists whose bytes show where lines are: plain files of text or JSONL.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use super::{Format, ListOptions, Source, read};

/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;

/// Returns the number of entries in a list, valid or not; `None` if it is not known.
#[must_use]
pub fn count(source: &Source, options: &Arc<ListOptions>) -> Option<u64> {
    let path = match source {
        Source::Urls(urls) => return Some(urls.len() as u64),
        Source::File(path) => path,
        Source::Stdin | Source::BuiltIn | Source::Fed(_) => return None,
    };
    let file = File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let has_comments = match read(source, options).ok()?.plain_format()? {
        Format::Text => true,
        Format::Jsonl => false,
        // A row can span several lines.
        Format::Csv | Format::Tsv => return None,
    };
    entries(file, has_comments).ok()
}

fn entries(mut source: impl Read, has_comments: bool) -> io::Result<u64> {
    let mut piece = vec![0; PIECE];
    let (mut count, mut at_start) = (0, true);
    loop {
        let mut rest = match source.read(&mut piece)? {
            0 => return Ok(count),
            length => &piece[..length],
        };
        while let Some(first) = rest.first() {
            if at_start {
                // Skips blanks, and the byte order mark that may begin the first line.
                if !first.is_ascii_whitespace() && !b"\xEF\xBB\xBF".contains(first) {
                    count += u64::from(!has_comments || *first != b'#');
                    at_start = false;
                }
                rest = &rest[1..];
            } else if let Some(end) = memchr::memchr(b'\n', rest) {
                at_start = true;
                rest = &rest[end + 1..];
            } else {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_counted_as_they_are_read() {
        let text =
            b"\xEF\xBB\xBFhttp://h/1\r\n\n  \n# no\n  # no\n http://h/2\nrubbish\nhttp://h/3";
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        std::fs::write(&path, text).expect("it is written");
        let source = Source::File(path.clone());
        let options = Arc::default();
        let read = read(&source, &options).expect("it is there").count();
        assert_eq!(count(&source, &options), Some(4));
        assert_eq!(read, 4);
        std::fs::write(&path, "{\"url\": \"http://h/1\"}\n#\n").expect("it is written");
        assert_eq!(count(&source, &options), Some(2));
        std::fs::write(&path, b"\x1f\x8b\x08\0").expect("it is written");
        assert_eq!(count(&source, &options), None, "it is packed");
        let table = folder.path().join("list.csv");
        std::fs::write(&table, "url\nhttp://h/\n").expect("it is written");
        assert_eq!(count(&Source::File(table), &options), None);
    }

    #[test]
    fn pieces_end_anywhere() {
        let text = "http://h/\n# no\n".repeat(40_000);
        assert_eq!(entries(text.as_bytes(), true).ok(), Some(40_000));
        assert_eq!(entries(text.as_bytes(), false).ok(), Some(80_000));
    }
}
