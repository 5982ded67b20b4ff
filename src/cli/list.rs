//! Options for lists of URLs, and for the names of files.

use clap::{Args, ValueEnum};

/// Options for lists, and for the names of files.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lists")]
pub struct ListArgs {
    /// How lists are read.
    #[command(flatten)]
    pub format: FormatArgs,

    // clap would replace an n in braces with a line break.
    /// How to name files: flat (one folder), tree (folders as in the URL), hash (1,024 folders), or
    /// a template like {host}/{name}-{hash}, with host, path, name, hash and n (the number of the
    /// URL) in braces [default: flat; if the command line has one URL and nothing else, a plain
    /// name]
    #[arg(long, value_name = "SCHEME")]
    pub naming: Option<String>,

    /// Use the file names that servers suggest (Content-Disposition), unless a list or -o names the
    /// file. For the URLs of a list, the name also contains the hash of the URL. Not with --naming
    /// hash or a template
    #[arg(short = 'J', long)]
    pub remote_header_name: bool,
}

/// Options for how lists are read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lists")]
pub struct FormatArgs {
    /// Format of the lists; auto looks at the extension of each list, then at its first line
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub input_format: FormatName,

    /// Column of a table, or key in JSONL, that holds the URL: a name, or in a table without a header
    /// row a number, counted from 1 [default: url]
    #[arg(long, value_name = "NAME")]
    pub url_column: Option<String>,
}

/// The format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// Detected for each list
    Auto,
    /// One URL a line
    Text,
    /// One JSON object a line, with url and optionally out, sha256, size, range, headers and others
    Jsonl,
    /// Comma-separated values
    Csv,
    /// Tab-separated values
    Tsv,
}
