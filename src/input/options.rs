//! Options for reading a list: its format, the place of the URL, and the naming of files.
//!
//! This module examines names and first bytes only, and never reads.

use std::path::Path;
use std::str::FromStr;

use super::naming::Naming;

/// Options for reading lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// The format of every list. If it is not set, the name or the first line of each list decides.
    pub format: Option<Format>,
    /// The place of the URL in a JSON line or a table. The default is the name `url`.
    pub url_column: Option<Column>,
    /// How files are named.
    pub naming: Naming,
    /// Whether servers may name files.
    pub suggestions: Suggestions,
}

/// Whether files get the names that their servers suggest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suggestions {
    /// Never.
    #[default]
    Ignored,
    /// For URLs whose file no list names. The key of the URL is added.
    WithKey,
    /// For a single file, without a key.
    Plain,
}

/// The format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One URL a line.
    Text,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values (RFC 4180).
    Csv,
    /// Tab-separated values, without quotes (IANA `text/tab-separated-values`).
    Tsv,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// The name in the first row, ignoring case. In JSON, the name of the key.
    Name(String),
    /// The number of the column, counted from 1, in a table without a row of names.
    Number(usize),
}

impl FromStr for Column {
    type Err = std::convert::Infallible;

    /// Parses a number from 1 on as a column number, and anything else as a name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(number @ 1..) => Self::Number(number),
            Ok(_) | Err(_) => Self::Name(text.to_owned()),
        })
    }
}

impl ListOptions {
    /// Returns the name of the column or key with the URL.
    pub(super) fn url_name(&self) -> &str {
        match &self.url_column {
            Some(Column::Name(name)) => name,
            Some(Column::Number(_)) | None => "url",
        }
    }
}

impl Format {
    /// Returns the format known from a file name: `list.csv.gz` is CSV.
    pub(super) fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let packed = [".gz", ".gzip", ".zst", ".zstd"];
        let name = packed
            .iter()
            .find_map(|extension| name.strip_suffix(extension))
            .unwrap_or(&name);
        let (_, extension) = name.rsplit_once('.')?;
        match extension {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "tsv" | "tab" => Some(Self::Tsv),
            _ => None,
        }
    }

    /// Returns the format of a list from its first bytes after blank lines. No URL starts with a
    /// brace. A list can be a table only if the user has named a column.
    pub(super) fn of_start(start: &[u8], options: &ListOptions) -> Self {
        if start.starts_with(b"{") {
            return Self::Jsonl;
        }
        if options.url_column.is_none() {
            return Self::Text;
        }
        let first = start.split(|&byte| byte == b'\n').next();
        if first.is_some_and(|line| line.contains(&b'\t')) {
            Self::Tsv
        } else {
            Self::Csv
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_format() {
        for (name, format) in [
            ("a.jsonl", Some(Format::Jsonl)),
            ("a.NDJSON.gz", Some(Format::Jsonl)),
            ("x/a.csv", Some(Format::Csv)),
            ("a.csv.zst", Some(Format::Csv)),
            ("a.tsv", Some(Format::Tsv)),
            ("a.tab.gzip", Some(Format::Tsv)),
            ("a.txt", None),
            ("a.gz", None),
            ("csv", None),
            ("..", None),
        ] {
            assert_eq!(Format::of_name(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn a_start_tells_the_format_where_it_is_certain() {
        let plain = ListOptions::default();
        let column = ListOptions {
            url_column: "link".parse().ok(),
            ..ListOptions::default()
        };
        for (start, options, format) in [
            (&b"{\"url\""[..], &plain, Format::Jsonl),
            (b"{", &column, Format::Jsonl),
            (b"http://h/a,b\thttp://h/", &plain, Format::Text),
            (b"", &plain, Format::Text),
            (b"id,link\n1\t2", &column, Format::Csv),
            (b"id\tlink\n", &column, Format::Tsv),
            (b"", &column, Format::Csv),
        ] {
            assert_eq!(Format::of_start(start, options), format, "{start:?}");
        }
    }

    #[test]
    fn a_column_is_a_number_from_one_on_or_a_name() {
        for (text, column) in [
            ("3", Column::Number(3)),
            ("0", Column::Name("0".to_owned())),
            ("-1", Column::Name("-1".to_owned())),
            ("URL", Column::Name("URL".to_owned())),
        ] {
            assert_eq!(text.parse(), Ok(column));
        }
    }
}
