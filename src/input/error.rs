//! What can be wrong with a URL list, in words for whoever wrote it.

use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};

use protocol::{Algorithm, ByteRange};

use super::naming::PlaceError;
use super::{MAX_HEADERS, MAX_LINE, MAX_MIRRORS, MAX_ROW};

/// Why a list could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// There is no such file.
    #[error("cannot open the URL list {}: no such file; {}", .path.display(), meant(.path))]
    Missing { path: PathBuf, source: io::Error },
    /// It is a directory.
    #[error("cannot read the URL list {}: it is a directory; name a file in it", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// It is there, but cannot be opened.
    #[error(
        "cannot open the URL list {}: {source}; check its permissions, or pipe it in and name -",
        .path.display()
    )]
    Unreadable { path: PathBuf, source: io::Error },
}

/// Why a line holds no target.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Longer than [`MAX_LINE`] bytes.
    #[error("the line is longer than {MAX_LINE} bytes; put one URL on a line: {text}")]
    TooLong {
        /// How the line starts.
        text: Excerpt,
    },
    /// Not UTF-8.
    #[error("the line is not UTF-8; save the list as UTF-8: {text}")]
    NotUtf8 { text: Excerpt },
    /// A control character, a tab included, within the line.
    #[error("a control character in the URL; percent-encode it, and put one URL on a line: {text}")]
    ControlCharacter { text: Excerpt },
    /// Two URLs or more, with spaces between them.
    #[error("more than one URL on the line; put each on a line of its own: {text}")]
    SeveralUrls { text: Excerpt },
    /// No scheme.
    #[error("{}", no_scheme(.text, .suggestion.as_ref()))]
    NoScheme {
        text: Excerpt,
        /// The URL that was perhaps meant.
        suggestion: Option<Excerpt>,
    },
    /// A scheme other than http and https.
    #[error("scheme {scheme} is not supported, only http and https are: {text}")]
    UnsupportedScheme {
        /// The scheme.
        scheme: Excerpt,
        text: Excerpt,
    },
    /// No host.
    #[error("no host in the URL; write https://host/path: {text}")]
    NoHost { text: Excerpt },
    /// Not a port number.
    #[error("the port is not a number from 1 to 65535: {text}")]
    BadPort { text: Excerpt },
    /// Not a URL for another reason.
    #[error("not a valid URL, {source}: {text}")]
    Invalid {
        text: Excerpt,
        /// What the URL parser says.
        source: url::ParseError,
    },
    /// There is no URL where one should be.
    #[error("no URL in the line")]
    NoUrl,
    /// Not a JSON object that can be used.
    #[error("the line is not a JSON object that names a URL: {problem}")]
    NotAnObject {
        /// What the parser says.
        problem: Excerpt,
    },
    /// Longer than [`MAX_ROW`] bytes.
    #[error("the line, or the row, is longer than {MAX_ROW} bytes")]
    LongRow,
    /// A quoted field without an end.
    #[error(
        "a quote is opened in the line and not closed; write two quotes for one in a field: {text}"
    )]
    OpenQuote { text: Excerpt },
    /// More columns than any table has.
    #[error("the row has more than {most} columns")]
    ManyColumns {
        /// How many it may have.
        most: usize,
    },
    /// The row ends before the URL's column.
    #[error("the row has {there} columns, and the URL is expected in column {wanted}")]
    FewColumns {
        /// How many it has.
        there: usize,
        /// Where the URL should be.
        wanted: usize,
    },
    /// No column has the URL's name. Nothing follows this item.
    #[error(
        "no column is named {wanted} in the first row, which is {there}; name the URL's with \
         --url-column, or give its number if there are no names"
    )]
    NoColumn {
        wanted: Excerpt,
        /// The first row.
        there: Excerpt,
    },
    /// An `out` that no file may have.
    #[error("the name {out} (out) {problem}")]
    BadOut {
        out: Excerpt,
        /// What is wrong with it.
        problem: PlaceError,
    },
    /// The template gives no file's name.
    #[error("the name that --naming gives {problem}: {text}")]
    BadName {
        text: Excerpt,
        /// What is wrong with it.
        problem: PlaceError,
    },
    /// Not a checksum.
    #[error(
        "the {} is neither {} hexadecimal digits nor {} bytes in Base64: {text}",
        .algorithm.key(), 2 * .algorithm.bytes(), .algorithm.bytes()
    )]
    BadChecksum {
        /// What it should be.
        algorithm: Algorithm,
        /// What it is.
        text: Excerpt,
    },
    /// Not a size.
    #[error("the size is not a number of bytes: {text}")]
    BadSize {
        /// What it is.
        text: Excerpt,
    },
    /// Not a range of bytes.
    #[error("the range is not FIRST-LAST, two numbers of bytes counted from 0: {text}")]
    BadRange {
        /// What it is.
        text: Excerpt,
    },
    /// A range and a size that do not fit each other.
    #[error("the range {range} is {} bytes, and the size is {size}", .range.bytes())]
    RangeOfAnotherSize {
        /// The range.
        range: ByteRange,
        /// The size.
        size: u64,
    },
    /// A method other than GET, or a body.
    #[error(
        "{key} is not supported: every request is a GET without a body; leave {key} out, or give it \
         another name if it is not about the request"
    )]
    NotAGet {
        /// The key or column.
        key: &'static str,
    },
    /// Mirrors, and nothing that shows that what they send is the file.
    #[error(
        "several URLs (urls) need a checksum that shows that all of them are of one file: add \
         sha256, sha512, sha1, md5 or crc32c, or leave one URL"
    )]
    MirrorsWithoutChecksum,
    /// More than [`MAX_MIRRORS`].
    #[error("the line has {there} URLs (urls); at most {MAX_MIRRORS} are allowed")]
    ManyMirrors {
        /// How many it has.
        there: usize,
    },
    /// A header that cannot be sent.
    #[error("the request header {name} cannot be sent, for its name or its value")]
    BadHeader {
        /// Its name.
        name: Excerpt,
    },
    /// More than [`MAX_HEADERS`] bytes.
    #[error("the request headers take {bytes} bytes; at most {MAX_HEADERS} are allowed")]
    HeadersTooLarge {
        /// How much they take.
        bytes: usize,
    },
    /// The list could not be read further. Nothing follows this item.
    #[error("cannot read the URL list from here on: {source}")]
    Read { source: io::Error },
}

/// What somebody may have meant by the name of a file that is not there.
fn meant(path: &Path) -> String {
    /// Extensions of lists: `www.txt` is no host.
    const LISTS: [&str; 11] = [
        "csv", "gz", "gzip", "json", "jsonl", "list", "lst", "ndjson", "tsv", "txt", "zst",
    ];
    let text = path.to_string_lossy();
    let host = text.split('/').next().unwrap_or_default();
    let is_domain = host.rsplit_once('.').is_some_and(|(name, top)| {
        !name.is_empty()
            && top.len() > 1
            && top.bytes().all(|byte| byte.is_ascii_alphabetic())
            && (text.contains('/') || !LISTS.contains(&top))
    });
    match is_domain && url::Url::parse(&format!("https://{text}")).is_ok() {
        true => format!("did you mean https://{}", Excerpt::of(&text)),
        false => {
            "name a URL with its scheme, a list that is there, or - for standard input".to_owned()
        }
    }
}

fn no_scheme(text: &Excerpt, suggestion: Option<&Excerpt>) -> String {
    match suggestion {
        Some(suggestion) => format!("no scheme in {text}; did you mean {suggestion}"),
        None => format!("no scheme; write https://host/path: {text}"),
    }
}

/// Text from outside, fit for a message: abbreviated, on one line, without control characters (and
/// other invisible ones, which can turn a terminal's text around), without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(Box<str>);

impl Excerpt {
    /// Characters shown of a longer text.
    pub const MAX_CHARS: usize = 100;

    pub(crate) fn of(text: &str) -> Self {
        let mut out = String::new();
        // A user name ends at the last @ before the path (WHATWG URL, authority state), with or
        // without a scheme before it: the slip may be that it is missing.
        let scheme = text.find("//").filter(|&at| !text[..at].contains('@'));
        let from = scheme.map_or(0, |at| at + 2);
        let rest = &text[from..];
        let upto = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
        let hidden = rest[..upto].rfind('@').map(|at| (from, from + at));
        match hidden {
            Some((from, upto)) => {
                abbreviate(&mut out, [&text[..from], "***", &text[upto..]]);
            }
            None => abbreviate(&mut out, [text, "", ""]),
        }
        Self(out.into_boxed_str())
    }

    /// Bytes that are not UTF-8 show as U+FFFD.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        // Enough bytes for the characters shown, and for a host behind long credentials.
        let head = &bytes[..bytes.len().min(4 * 1024)];
        Self::of(String::from_utf8_lossy(head).trim_ascii())
    }

    /// A file name: escaped, but neither abbreviated nor searched for credentials.
    pub(crate) fn of_name(name: &str) -> String {
        let mut out = String::with_capacity(name.len());
        name.chars().for_each(|c| escape(&mut out, c));
        out
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn abbreviate(out: &mut String, parts: [&str; 3]) {
    for (shown, c) in parts.into_iter().flat_map(str::chars).enumerate() {
        if shown == Excerpt::MAX_CHARS {
            out.push('…');
            return;
        }
        escape(out, c);
    }
}

fn escape(out: &mut String, c: char) {
    if matches!(c, '\'' | '"' | '\\') {
        // `escape_debug` would put a backslash before these, which are harmless.
        out.push(c);
    } else {
        // Writing to a String does not fail.
        let _ = write!(out, "{}", c.escape_debug());
    }
}
