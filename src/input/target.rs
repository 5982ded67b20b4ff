//! Converts the bytes of a line to a [`Target`].

use std::borrow::Cow;
use std::fmt;

use data_encoding::BASE32_DNSSEC;
use protocol::{ByteRange, Expect};
use sha2::{Digest, Sha256};
use url::{ParseError, Url};

use super::MAX_LINE;
use super::error::{Excerpt, LineError};
use super::naming::{self, Naming, PlaceError};
use super::options::Suggestions;
use super::ticket::Ticket;

/// A file to download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The URL: absolute, http or https, normalised (WHATWG URL), without fragment or credentials.
    pub url: String,
    /// The unit of the limits for hosts: the host of the URL in lower case, with the port unless it
    /// is the default of the scheme. Another port is another server, and a refusal by it says
    /// nothing about this one.
    pub host: String,
    /// The identity of the task: the URL, and the range and file name that the list gives.
    pub key: UrlKey,
    /// The path of the file, relative to the output folder.
    pub path: String,
    /// Whether the list names this path (`out`).
    pub named: bool,
    /// Whether an existing file may be replaced, because it can only be this target's own.
    pub replace: bool,
    /// Whether a name that the server suggests replaces the one in `path`.
    pub suggestible: bool,
    /// The path that replaces `path`, because the server suggested its name.
    pub stored_as: Option<Box<str>>,
    /// Other fields of the list, if any.
    pub extra: Option<Box<Extra>>,
    /// User name and password from the list. Only the server receives them. No file, record or
    /// message contains them, and URLs that differ only in them are equal.
    credentials: Option<Credentials>,
}

/// Another URL of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// As in [`Target`].
    pub url: String,
    /// As in [`Target`].
    pub host: String,
    credentials: Option<Credentials>,
}

impl Mirror {
    /// Creates a mirror from `url`. Returns `None` if it is neither http nor https, or has no host.
    pub(super) fn new(mut url: Url) -> Option<Self> {
        let (host, credentials) = normalise(&mut url)?;
        Some(Self {
            url: url.into(),
            host,
            credentials,
        })
    }

    /// Returns the URL with its credentials, for the request.
    #[must_use]
    pub fn request_url(&self) -> String {
        with_credentials(&self.url, self.credentials.as_ref())
    }

    fn text_bytes(&self) -> usize {
        self.url.len() + self.host.len() + credentials_bytes(self.credentials.as_ref())
    }
}

/// Leaves of `url` what [`Target::url`] is, and gives its host, as in [`Target`], and its credentials;
/// nothing if it is neither http nor https, or without a host.
fn normalise(url: &mut Url) -> Option<(String, Option<Credentials>)> {
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    url.set_fragment(None);
    let credentials = take_credentials(url);
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    Some((host, credentials))
}

/// `user:password`, percent-encoded.
#[derive(Clone, PartialEq, Eq)]
struct Credentials(Box<str>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a list may say about a URL, besides the path of its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// The expected size and checksums of the file.
    pub expect: Expect,
    /// The range of the resource to download, if not the whole.
    pub range: Option<ByteRange>,
    /// Additional request headers, as names and values: at most [`MAX_HEADERS`](super::MAX_HEADERS)
    /// bytes, all valid.
    pub headers: Vec<(String, String)>,
    /// Other URLs of the file, in the order of use. The target then has a checksum.
    pub mirrors: Vec<Mirror>,
    /// The place in a fleet's list, if a fleet has assigned it to this run.
    pub ticket: Option<Ticket>,
}

impl Target {
    /// Creates the target of a URL that is task `number`. Returns `None` if the URL is neither http
    /// nor https, or has no host. A fragment is dropped.
    ///
    /// # Errors
    ///
    /// Fails if the template for names gives one that is not allowed.
    pub fn new(url: Url, naming: &Naming, number: u64) -> Result<Option<Self>, PlaceError> {
        Self::part(url, None, naming, number)
    }

    /// Creates a target like [`new`](Self::new), for a range of the resource.
    pub(super) fn part(
        mut url: Url,
        range: Option<ByteRange>,
        naming: &Naming,
        number: u64,
    ) -> Result<Option<Self>, PlaceError> {
        let Some((host, credentials)) = normalise(&mut url) else {
            return Ok(None);
        };
        let part = range.map(|range| range.to_string());
        let key = UrlKey::of_task(url.as_str(), part.as_deref(), None);
        let path = naming.place(&url, key, number)?;
        Ok(Some(Self {
            url: url.into(),
            host,
            key,
            path,
            named: false,
            replace: false,
            suggestible: false,
            stored_as: None,
            extra: None,
            credentials,
        }))
    }

    /// Adds what the list says besides the URL. The name that the file has anyway is ignored.
    #[must_use]
    pub(super) fn with(mut self, out: Option<&str>, extra: Extra) -> Self {
        if let Some(out) = out.filter(|out| *out != self.path) {
            out.clone_into(&mut self.path);
            self.named = true;
            let part = extra.range.map(|range| range.to_string());
            self.key = UrlKey::of_task(&self.url, part.as_deref(), Some(out));
        }
        self.extra = (extra != Extra::default()).then(|| Box::new(extra));
        self
    }

    /// Returns the path of the file, relative to the output folder.
    #[must_use]
    pub fn place(&self) -> &str {
        self.stored_as.as_deref().unwrap_or(&self.path)
    }

    /// Returns the path of the file with the name that the server suggests, if that changes it.
    #[must_use]
    pub fn suggested_place(&self, suggested: &str) -> Option<String> {
        if !self.suggestible {
            return None;
        }
        let name = naming::suggested_name(suggested, (!self.named).then_some(self.key))?;
        let place = match self.path.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{name}"),
            None => name,
        };
        (place != self.path && naming::check_place(&place).is_ok()).then_some(place)
    }

    /// Allows the server to suggest the name, as far as `suggestions` permits it.
    #[must_use]
    pub(super) const fn suggestible(mut self, suggestions: Suggestions) -> Self {
        self.suggestible = match suggestions {
            Suggestions::Ignored => false,
            Suggestions::WithKey => !self.named,
            Suggestions::Plain => true,
        };
        self
    }

    /// Returns the expected size and checksums, if the list gives any.
    #[must_use]
    pub fn expect(&self) -> Option<&Expect> {
        self.extra.as_ref().map(|extra| &extra.expect)
    }

    /// Returns the range of the resource to download, if not the whole.
    #[must_use]
    pub fn range(&self) -> Option<ByteRange> {
        self.extra.as_ref()?.range
    }

    /// Returns the place in a fleet's list, if a fleet has assigned it to this run.
    #[must_use]
    pub fn ticket(&self) -> Option<&Ticket> {
        self.extra.as_ref()?.ticket.as_ref()
    }

    /// Creates a target for another URL with the same scheme, host and port, stored at `path`. No
    /// other field of this target applies to it.
    #[must_use]
    pub fn beside(&self, url: String, path: String) -> Self {
        Self {
            host: self.host.clone(),
            key: UrlKey::of(&url),
            url,
            path,
            named: false,
            replace: true,
            suggestible: false,
            stored_as: None,
            extra: None,
            credentials: None,
        }
    }

    /// Returns the size of its texts, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let headers = self.extra.iter().flat_map(|extra| &extra.headers);
        let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        let mirrors: usize = self.mirrors().iter().map(Mirror::text_bytes).sum();
        let credentials = credentials_bytes(self.credentials.as_ref());
        self.url.len() + self.host.len() + self.path.len() + headers + mirrors + credentials
    }

    /// Returns the other URLs of the file, in the order in which they are tried.
    #[must_use]
    pub fn mirrors(&self) -> &[Mirror] {
        self.extra.as_ref().map_or(&[], |extra| &extra.mirrors)
    }

    /// Returns the URL with its credentials, for the request.
    #[must_use]
    pub fn request_url(&self) -> String {
        with_credentials(&self.url, self.credentials.as_ref())
    }
}

fn with_credentials(url: &str, credentials: Option<&Credentials>) -> String {
    match (credentials, url.split_once("://")) {
        (Some(Credentials(pair)), Some((scheme, rest))) => format!("{scheme}://{pair}@{rest}"),
        (_, _) => url.to_owned(),
    }
}

fn credentials_bytes(credentials: Option<&Credentials>) -> usize {
    credentials.map_or(0, |Credentials(pair)| pair.len() + 1)
}

fn take_credentials(url: &mut Url) -> Option<Credentials> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let pair = match url.password() {
        Some(password) => format!("{}:{password}", url.username()),
        None => url.username().to_owned(),
    };
    // Both fail only for URLs that cannot have credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(Credentials(pair.into_boxed_str()))
}

/// The identity of a URL: the first 80 bits of the SHA-256 of its normalised form.
///
/// Among ten million URLs, the probability that two share a key is 4 in 10^11. With 32 bits, about
/// 11,600 pairs would share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UrlKey([u8; Self::BYTES]);

impl UrlKey {
    /// Bytes in a key.
    pub const BYTES: usize = 10;
    /// Characters of a key in text form, with five bits each.
    pub const CHARS: usize = 16;

    /// Returns the key of a normalised URL, as in [`Target::url`] and in the run log.
    #[must_use]
    pub fn of(normalised: &str) -> Self {
        let digest = Sha256::digest(normalised.as_bytes());
        let mut key = [0; Self::BYTES];
        key.copy_from_slice(&digest[..Self::BYTES]);
        Self(key)
    }

    /// Returns the key of a URL whose file the list names. It differs for each name.
    #[must_use]
    pub fn of_named(normalised: &str, out: &str) -> Self {
        // Neither contains a line end, so that two different pairs never give the same text.
        Self::of(&format!("{normalised}\n{out}"))
    }

    /// Returns the identity of a task: its normalised URL, the range that the list asks for
    /// (`first-last`), and the file name that the list gives.
    #[must_use]
    pub fn of_task(normalised: &str, range: Option<&str>, out: Option<&str>) -> Self {
        let resource = match range {
            // A normalised URL has no fragment, so this cannot collide.
            Some(range) => Cow::Owned(format!("{normalised}#bytes={range}")),
            None => Cow::Borrowed(normalised),
        };
        match out {
            Some(out) => Self::of_named(&resource, out),
            None => Self::of(&resource),
        }
    }

    /// Returns the key with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// Lower-case base32 (RFC 4648 section 7, "extended hex"), 16 characters. It uses letters of one
/// case only, for file systems that ignore case.
impl fmt::Display for UrlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; Self::CHARS];
        BASE32_DNSSEC.encode_mut(&self.0, &mut text);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Decodes a line of text.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, LineError> {
    std::str::from_utf8(bytes).map_err(|_| LineError::NotUtf8 {
        text: Excerpt::of_bytes(bytes),
    })
}

/// Parses a URL.
pub(super) fn parse_url(line: &str) -> Result<Url, LineError> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Err(LineError::NoUrl);
    }
    if line.len() > MAX_LINE {
        return Err(LineError::TooLong {
            text: Excerpt::of(line),
        });
    }
    if line.contains(char::is_control) {
        // The URL parser would silently remove tabs, and so join what they separate.
        return Err(LineError::ControlCharacter {
            text: Excerpt::of(line),
        });
    }
    // The fragment is removed first, so that the space in "URL # remark" is not part of a path.
    let text = match memchr::memchr(b'#', line.as_bytes()) {
        Some(at) => line[..at].trim_ascii_end(),
        None => line,
    };
    check_scheme(line, text)?;
    if holds_several(text) {
        return Err(LineError::SeveralUrls {
            text: Excerpt::of(line),
        });
    }
    let url = Url::parse(text).map_err(|source| invalid(line, source))?;
    if url.port() == Some(0) {
        return Err(LineError::BadPort {
            text: Excerpt::of(line),
        });
    }
    Ok(url)
}

/// Rejects what the URL parser accepts like a browser (`https:host`, `https:///host`). In a list,
/// these are mistakes.
fn check_scheme(line: &str, text: &str) -> Result<(), LineError> {
    let authority = ["https://", "http://"]
        .iter()
        .find_map(|scheme| strip_prefix_ignoring_case(text, scheme));
    match authority {
        Some(rest) if rest.starts_with(['/', '\\', '?']) || rest.is_empty() => {
            Err(LineError::NoHost {
                text: Excerpt::of(line),
            })
        }
        Some(_) => Ok(()),
        None => Err(wrong_scheme(line, text)),
    }
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| &text[prefix.len()..])
}

fn wrong_scheme(line: &str, text: &str) -> LineError {
    // Schemes without `//`. After any other, `name:rest` is more likely a host and a port.
    const OPAQUE: [&str; 7] = [
        "data",
        "mailto",
        "magnet",
        "urn",
        "javascript",
        "about",
        "blob",
    ];
    if let Some((scheme, rest)) = text.split_once(':')
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c))
    {
        if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") {
            return LineError::NoHost {
                text: Excerpt::of(line),
            };
        }
        if rest.starts_with("//") || OPAQUE.iter().any(|o| o.eq_ignore_ascii_case(scheme)) {
            return LineError::UnsupportedScheme {
                scheme: Excerpt::of(scheme),
                text: Excerpt::of(line),
            };
        }
    }
    let bare = text.strip_prefix("//").unwrap_or(text);
    let meant = format!("https://{bare}");
    let plausible = !bare.starts_with(['/', '\\', '.', '?'])
        && !bare.contains(char::is_whitespace)
        && Url::parse(&meant).is_ok();
    LineError::NoScheme {
        text: Excerpt::of(line),
        suggestion: plausible.then(|| Excerpt::of(&meant)),
    }
}

fn holds_several(text: &str) -> bool {
    let mut words = text.split_ascii_whitespace().skip(1);
    words.any(|word| {
        ["https://", "http://"]
            .iter()
            .any(|scheme| strip_prefix_ignoring_case(word, scheme).is_some())
    })
}

fn invalid(line: &str, source: ParseError) -> LineError {
    let text = Excerpt::of(line);
    if source == ParseError::InvalidPort {
        LineError::BadPort { text }
    } else if source == ParseError::EmptyHost {
        LineError::NoHost { text }
    } else {
        LineError::Invalid { text, source }
    }
}
