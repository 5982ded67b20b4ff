//! From the bytes of a line to a [`Target`].

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

/// What is to be downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The URL: absolute, http or https, normalised (WHATWG URL), without fragment or credentials.
    pub url: String,
    /// What per-host limits count by: the host as the URL writes it, in lower case, with the port
    /// unless that is the scheme's own. Another port is another server, and its refusals say nothing
    /// about this one.
    pub host: String,
    /// The identity of the task: the URL, the part of it that the list asks for, and the name that the
    /// list gives the file.
    pub key: UrlKey,
    /// Where it is stored, relative to the output folder.
    pub path: String,
    /// Whether the list itself names that place (`out`).
    pub named: bool,
    /// Whether what is in that place may be replaced: it can only be this target's own.
    pub replace: bool,
    /// Whether the name that the server suggests comes before the one in `path`.
    pub suggestible: bool,
    /// Where it is stored in place of `path`, because its server suggested that name.
    pub stored_as: Option<Box<str>>,
    /// What else the list says, if anything.
    pub extra: Option<Box<Extra>>,
    /// User name and password as the list has them. They are for the server alone: no file, no
    /// record and no message has them, and URLs that differ in nothing else are one.
    credentials: Option<Credentials>,
}

/// Where else a file can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// As in [`Target`].
    pub url: String,
    /// As in [`Target`].
    pub host: String,
    credentials: Option<Credentials>,
}

impl Mirror {
    /// What `url` says; nothing if it is neither http nor https, or without a host.
    pub(super) fn new(mut url: Url) -> Option<Self> {
        let (host, credentials) = normalise(&mut url)?;
        Some(Self {
            url: url.into(),
            host,
            credentials,
        })
    }

    /// The URL with its credentials, for who makes the request.
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

/// What a list may say of a URL beyond where its file belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// What its file must be.
    pub expect: Expect,
    /// The part of the resource that is its file, if it is not the whole.
    pub range: Option<ByteRange>,
    /// Request headers for it alone, name and value: at most [`MAX_HEADERS`](super::MAX_HEADERS)
    /// bytes, and each can be sent.
    pub headers: Vec<(String, String)>,
    /// Where else the file can be had, in the order in which that is tried. It has a checksum then.
    pub mirrors: Vec<Mirror>,
    /// Where it belongs in a fleet's list, if a fleet has handed it to this run.
    pub ticket: Option<Ticket>,
}

impl Target {
    /// The target of a URL that is task `number`, or `None` if the URL is not one: neither http nor
    /// https, or without a host. A fragment is dropped.
    ///
    /// # Errors
    ///
    /// If the template for names gives one that no file may have.
    pub fn new(url: Url, naming: &Naming, number: u64) -> Result<Option<Self>, PlaceError> {
        Self::part(url, None, naming, number)
    }

    /// As [`new`](Self::new), for a part of what the URL names.
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

    /// With what the list says beyond the URL. A name that the file would have anyway says nothing.
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

    /// Where its file is, relative to the output folder.
    #[must_use]
    pub fn place(&self) -> &str {
        self.stored_as.as_deref().unwrap_or(&self.path)
    }

    /// Where its file belongs if the server calls it `suggested`; nothing if that changes nothing.
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

    /// With the server's name for the file in place of its own, as far as that is wanted.
    #[must_use]
    pub(super) const fn suggestible(mut self, suggestions: Suggestions) -> Self {
        self.suggestible = match suggestions {
            Suggestions::Ignored => false,
            Suggestions::WithKey => !self.named,
            Suggestions::Plain => true,
        };
        self
    }

    /// What its file must be, as far as the list says it.
    #[must_use]
    pub fn expect(&self) -> Option<&Expect> {
        self.extra.as_ref().map(|extra| &extra.expect)
    }

    /// The part of the resource that is its file, if it is not the whole.
    #[must_use]
    pub fn range(&self) -> Option<ByteRange> {
        self.extra.as_ref()?.range
    }

    /// Where it belongs in a fleet's list, if a fleet has handed it to this run.
    #[must_use]
    pub fn ticket(&self) -> Option<&Ticket> {
        self.extra.as_ref()?.ticket.as_ref()
    }

    /// Another place below the same scheme, host and port, and where that is stored. Nothing of what
    /// the list says of this one is for it.
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

    /// How much text it holds, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let headers = self.extra.iter().flat_map(|extra| &extra.headers);
        let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        let mirrors: usize = self.mirrors().iter().map(Mirror::text_bytes).sum();
        let credentials = credentials_bytes(self.credentials.as_ref());
        self.url.len() + self.host.len() + self.path.len() + headers + mirrors + credentials
    }

    /// Where else its file can be had, in the order in which that is tried.
    #[must_use]
    pub fn mirrors(&self) -> &[Mirror] {
        self.extra.as_ref().map_or(&[], |extra| &extra.mirrors)
    }

    /// The URL with its credentials, for who makes the request.
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
    // Both fail only for URLs that cannot have any.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(Credentials(pair.into_boxed_str()))
}

/// The identity of a URL: the first 80 bits of the SHA-256 of its normalised form.
///
/// Among ten million URLs two share a key with a probability of 4 in 10^11; with 32 bits, some
/// 11,600 pairs would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UrlKey([u8; Self::BYTES]);

impl UrlKey {
    /// Bytes in a key.
    pub const BYTES: usize = 10;
    /// Characters of a key's text: five bits each.
    pub const CHARS: usize = 16;

    /// The key of a URL that is normalised already, as in [`Target::url`] and in the run log.
    #[must_use]
    pub fn of(normalised: &str) -> Self {
        let digest = Sha256::digest(normalised.as_bytes());
        let mut key = [0; Self::BYTES];
        key.copy_from_slice(&digest[..Self::BYTES]);
        Self(key)
    }

    /// The key of a URL whose file the list names: another one for each name.
    #[must_use]
    pub fn of_named(normalised: &str, out: &str) -> Self {
        // Neither holds a line end, so that no two pairs make one text.
        Self::of(&format!("{normalised}\n{out}"))
    }

    /// The identity of a task: its URL, normalised, the part of the resource that the list asks for
    /// (`first-last`), and the name that it gives the file.
    #[must_use]
    pub fn of_task(normalised: &str, range: Option<&str>, out: Option<&str>) -> Self {
        let resource = match range {
            // A normalised URL has no fragment.
            Some(range) => Cow::Owned(format!("{normalised}#bytes={range}")),
            None => Cow::Borrowed(normalised),
        };
        match out {
            Some(out) => Self::of_named(&resource, out),
            None => Self::of(&resource),
        }
    }

    /// The key that has these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// Lower-case base32 (RFC 4648 section 7, "extended hex"), 16 characters: letters of one case only,
/// for file systems that do not tell cases apart.
impl fmt::Display for UrlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; Self::CHARS];
        BASE32_DNSSEC.encode_mut(&self.0, &mut text);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// A line of text.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, LineError> {
    std::str::from_utf8(bytes).map_err(|_| LineError::NotUtf8 {
        text: Excerpt::of_bytes(bytes),
    })
}

/// The URL that a text means.
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
        // The URL parser would drop tabs in silence, and so join what they separate.
        return Err(LineError::ControlCharacter {
            text: Excerpt::of(line),
        });
    }
    // Cut the fragment off first, so that the space in "URL # remark" does not become part of a path.
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

/// The URL parser forgives what browsers forgive (`https:host`, `https:///host`); in a list these
/// are slips, and worth a message.
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
    // Schemes that no `//` follows; with any other, `name:rest` is rather a host and a port.
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
