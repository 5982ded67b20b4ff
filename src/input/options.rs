//! How a list is to be read: its format, where the URL is in it, and how files are named.
//!
//! This module looks at names and first bytes only, and never reads.

use std::path::Path;
use std::str::FromStr;

use super::naming::Naming;

/// How lists are to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// The format of every list; otherwise each shows by its name or its first line.
    pub format: Option<Format>,
    /// Where the URL is in a line of JSON, or in a table; otherwise under the name `url`.
    pub url_column: Option<Column>,
    /// How files are named.
    pub naming: Naming,
    /// Whose name for a file counts.
    pub suggestions: Suggestions,
}

/// Whether files get the names that their servers suggest, where they suggest one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suggestions {
    /// No.
    #[default]
    Ignored,
    /// Those that no list names, and with the key of their URLs.
    WithKey,
    /// The one file that there is.
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
    /// By its name in the first row, in whatever case; in JSON the name of the key.
    Name(String),
    /// By its place, counted from 1, in a table whose first row is not one of names.
    Number(usize),
}

impl FromStr for Column {
    type Err = std::convert::Infallible;

    /// A number from 1 on is a place; anything else is a name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(number @ 1..) => Self::Number(number),
            Ok(_) | Err(_) => Self::Name(text.to_owned()),
        })
    }
}

impl ListOptions {
    /// The name of the column, or of the key, with the URL.
    pub(super) fn url_name(&self) -> &str {
        match &self.url_column {
            Some(Column::Name(name)) => name,
            Some(Column::Number(_)) | None => "url",
        }
    }
}

impl Format {
    /// The format that a file's name tells: `list.csv.gz` is CSV.
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

    /// The format of a list whose name tells nothing, by how it starts, blank lines left out. No
    /// URL starts with a brace; that a list is a table is certain only if someone names a column.
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
