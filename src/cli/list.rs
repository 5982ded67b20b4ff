//! Options for lists of URLs, and for the names of files.

use clap::{Args, ValueEnum};

/// Options for lists.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lists")]
pub struct ListArgs {
    /// Format of the lists; auto goes by the extension of each, else by its first line
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub input_format: FormatName,

    /// Column with the URLs in a table, or key in JSONL: by name, or in a table without names by
    /// number, counted from 1 [default: url]
    #[arg(long, value_name = "NAME")]
    pub url_column: Option<String>,

    // clap takes an n in braces for the end of a line.
    /// How files are named: flat (one folder), tree (folders as in the URL), hash (1,024 folders),
    /// or a template like {host}/{name}-{hash}, with host, path, name, hash and n (the number of the
    /// URL) in braces [default: flat; the file of one URL on the command line has its plain name]
    #[arg(long, value_name = "SCHEME")]
    pub naming: Option<String>,

    /// Use the names for files that servers suggest (Content-Disposition), where they suggest one and
    /// neither a list nor -o names the file; those of lists also hold the hash of the URL. Not with
    /// --naming hash or a template
    #[arg(short = 'J', long)]
    pub remote_header_name: bool,
}

/// The format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// Each list shows what it is
    Auto,
    /// One URL a line
    Text,
    /// One JSON object a line: url and, where needed, out, sha256, size, range, headers and others
    Jsonl,
    /// Comma-separated values
    Csv,
    /// Tab-separated values
    Tsv,
}
