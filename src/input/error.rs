//! Errors in a URL list, in words for its author.

use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};

use protocol::{Algorithm, ByteRange};

use super::naming::PlaceError;
use super::{MAX_HEADERS, MAX_LINE, MAX_MIRRORS, MAX_ROW};

/// Why a list could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file does not exist.
    #[error("cannot open the URL list {}: no such file; {}", .path.display(), meant(.path))]
    Missing { path: PathBuf, source: io::Error },
    /// The path is a directory.
    #[error("cannot read the URL list {}: it is a directory; name a file in it", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// The file exists but cannot be opened.
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
    /// A control character within the line, such as a tab.
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
        /// The message of the URL parser.
        source: url::ParseError,
    },
    /// There is no URL where one is expected.
    #[error("no URL in the line")]
    NoUrl,
    /// Not a valid JSON object.
    #[error("the line is not a JSON object that names a URL: {problem}")]
    NotAnObject {
        /// The message of the parser.
        problem: Excerpt,
    },
    /// Longer than [`MAX_ROW`] bytes.
    #[error("the line, or the row, is longer than {MAX_ROW} bytes")]
    LongRow,
    /// A quoted field that is not closed.
    #[error(
        "a quote is opened in the line and not closed; write two quotes for one in a field: {text}"
    )]
    OpenQuote { text: Excerpt },
    /// More columns than a table may have.
    #[error("the row has more than {most} columns")]
    ManyColumns {
        /// Most columns that it may have.
        most: usize,
    },
    /// The row ends before the URL's column.
    #[error("the row has {there} columns, and the URL is expected in column {wanted}")]
    FewColumns {
        /// The number of its columns.
        there: usize,
        /// The column in which the URL is expected.
        wanted: usize,
    },
    /// No column has the name of the URL's column. Nothing follows this item.
    #[error(
        "no column is named {wanted} in the first row, which is {there}; name the URL's with \
         --url-column, or give its number if there are no names"
    )]
    NoColumn {
        wanted: Excerpt,
        /// The first row.
        there: Excerpt,
    },
    /// A file name in `out` that is not allowed.
    #[error("the name {out} (out) {problem}")]
    BadOut {
        out: Excerpt,
        /// What is wrong with it.
        problem: PlaceError,
    },
    /// The naming template gives no valid file name.
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
        /// The expected algorithm.
        algorithm: Algorithm,
        /// The text in the list.
        text: Excerpt,
    },
    /// Not a size.
    #[error("the size is not a number of bytes: {text}")]
    BadSize {
        /// The text in the list.
        text: Excerpt,
    },
    /// Not a range of bytes.
    #[error("the range is not FIRST-LAST, two numbers of bytes counted from 0: {text}")]
    BadRange {
        /// The text in the list.
        text: Excerpt,
    },
    /// The range and the size contradict each other.
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
    /// Mirrors without a checksum that could verify their bodies.
    #[error(
        "several URLs (urls) need a checksum that shows that all of them are of one file: add \
         sha256, sha512, sha1, md5 or crc32c, or leave one URL"
    )]
    MirrorsWithoutChecksum,
    /// More than [`MAX_MIRRORS`].
    #[error("the line has {there} URLs (urls); at most {MAX_MIRRORS} are allowed")]
    ManyMirrors {
        /// The number of URLs.
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
        /// The size of the headers.
        bytes: usize,
    },
    /// Reading the list has failed. Nothing follows this item.
    #[error("cannot read the URL list from here on: {source}")]
    Read { source: io::Error },
}

/// Suggests what the user may have meant by the name of a file that does not exist.
fn meant(path: &Path) -> String {
    /// Extensions of lists: `www.txt` is not a host.
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

/// Text from outside, made safe for a message: abbreviated, on one line, without credentials, and
/// without control characters and other invisible ones that could reverse the text on a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(Box<str>);

impl Excerpt {
    /// Number of characters that are shown of a longer text.
    pub const MAX_CHARS: usize = 100;

    pub(crate) fn of(text: &str) -> Self {
        let mut out = String::new();
        // Credentials end at the last @ before the path (WHATWG URL, authority state). This is done
        // without a scheme too, because a missing scheme may be the error.
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

    /// Converts bytes to text. Bytes that are not UTF-8 become U+FFFD.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        // Enough bytes for the characters that are shown, and for a host after long credentials.
        let head = &bytes[..bytes.len().min(4 * 1024)];
        Self::of(String::from_utf8_lossy(head).trim_ascii())
    }

    /// Escapes a file name. It is neither abbreviated nor searched for credentials.
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
        // `escape_debug` would add a backslash to these, although they are harmless.
        out.push(c);
    } else {
        // Writing to a String does not fail.
        let _ = write!(out, "{}", c.escape_debug());
    }
}
