//! From the bytes of a line to a [`Target`].

use std::fmt;

use data_encoding::BASE32_DNSSEC;
use sha2::{Digest, Sha256};
use url::{ParseError, Url};

use super::error::{Excerpt, LineError};
use super::naming;

/// What is to be downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The URL: absolute, http or https, normalised (WHATWG URL), without fragment or credentials.
    pub url: String,
    /// Its host as the URL writes it, in lower case and without the port: what per-host limits
    /// count by.
    pub host: String,
    /// Its identity.
    pub key: UrlKey,
    /// Where it is stored, relative to the output folder.
    pub path: String,
    /// User name and password as the list has them. They are for the server alone: no file, no
    /// record and no message has them, and URLs that differ in nothing else are one.
    credentials: Option<Credentials>,
}

/// `user:password`, percent-encoded.
#[derive(Clone, PartialEq, Eq)]
struct Credentials(Box<str>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Target {
    /// The target of a URL, or `None` if the URL is not one: neither http nor https, or without a
    /// host. A fragment is dropped.
    #[must_use]
    pub fn new(mut url: Url) -> Option<Self> {
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        url.set_fragment(None);
        let credentials = take_credentials(&mut url);
        let host = url.host_str().filter(|host| !host.is_empty())?.to_owned();
        let key = UrlKey::of(url.as_str());
        let path = naming::file_name(&url, key);
        Some(Self {
            url: url.into(),
            host,
            key,
            path,
            credentials,
        })
    }

    /// The URL with its credentials, for who makes the request.
    #[must_use]
    pub fn request_url(&self) -> String {
        match (&self.credentials, self.url.split_once("://")) {
            (Some(Credentials(pair)), Some((scheme, rest))) => format!("{scheme}://{pair}@{rest}"),
            (_, _) => self.url.clone(),
        }
    }
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
        text.iter()
            .try_for_each(|&c| write!(f, "{}", char::from(c)))
    }
}

/// What a line holds; `None` for a blank one and a comment.
pub(super) fn parse_line(bytes: &[u8], first: bool) -> Option<Result<Target, LineError>> {
    let bytes = if first {
        bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
    } else {
        bytes
    };
    let bytes = bytes.trim_ascii();
    if bytes.is_empty() || bytes.starts_with(b"#") {
        return None;
    }
    let Ok(line) = std::str::from_utf8(bytes) else {
        let text = Excerpt::of_bytes(bytes);
        return Some(Err(LineError::NotUtf8 { text }));
    };
    Some(parse(line))
}

fn parse(line: &str) -> Result<Target, LineError> {
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
    Target::new(url).ok_or_else(|| LineError::NoHost {
        text: Excerpt::of(line),
    })
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
