//! Converts the fields of a line to a [`Target`], with the checks that all formats share.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};
use protocol::{Algorithm, ByteRange, Checksum, Expect};

use super::error::{Excerpt, LineError};
use super::naming;
use super::options::ListOptions;
use super::target::{self, Extra, Mirror, Target};
use super::ticket::Ticket;

/// Largest total size of the request headers of a line, in bytes. Most servers refuse more. The
/// limit also makes every task fit a protocol frame.
pub const MAX_HEADERS: usize = 8 * 1024;

/// Most mirrors that a line may name, which bounds the size of the targets of a list.
pub const MAX_MIRRORS: usize = 16;

/// Headers that control the framing of a request, which a list must not set.
const FRAMING: [&str; 4] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "upgrade",
];

/// A text field of a line other than its URL, under a JSON key or in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Out,
    Checksum(Algorithm),
    Range,
    Referer,
    Method,
    Body,
    Fleet,
}

impl Word {
    pub(super) const ALL: [Self; 11] = [
        Self::Out,
        Self::Checksum(Algorithm::Md5),
        Self::Checksum(Algorithm::Sha1),
        Self::Checksum(Algorithm::Sha256),
        Self::Checksum(Algorithm::Sha512),
        Self::Checksum(Algorithm::Crc32c),
        Self::Range,
        Self::Referer,
        Self::Method,
        Self::Body,
        Self::Fleet,
    ];

    /// Returns the key or column.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Checksum(algorithm) => algorithm.key(),
            Self::Range => "range",
            Self::Referer => "referer",
            Self::Method => "method",
            Self::Body => "body",
            Self::Fleet => "fleet",
        }
    }
}

/// A value for each [`Word`], in their order.
pub(super) type Words<T> = [Option<T>; Word::ALL.len()];

/// The fields of a line, as they are written.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    /// Empty if there is no URL.
    pub(super) url: Cow<'a, str>,
    /// More URLs of the same file.
    pub(super) urls: Vec<Cow<'a, str>>,
    /// None of these is empty.
    pub(super) words: Words<Cow<'a, str>>,
    pub(super) size: Option<u64>,
    pub(super) headers: Vec<(String, String)>,
}

impl Fields<'_> {
    /// Returns a copy that does not borrow from the line.
    pub(super) fn into_owned(self) -> Fields<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Fields {
            url: owned(self.url),
            urls: self.urls.into_iter().map(owned).collect(),
            words: self.words.map(|word| word.map(owned)),
            size: self.size,
            headers: self.headers,
        }
    }

    fn word(&self, word: Word) -> Option<&str> {
        let at = Word::ALL.iter().position(|other| *other == word)?;
        self.words[at].as_deref()
    }

    /// Returns the target, which would be task `number`.
    pub(super) fn target(
        mut self,
        options: &ListOptions,
        number: u64,
    ) -> Result<Target, LineError> {
        if self.url.trim().is_empty() && !self.urls.is_empty() {
            self.url = self.urls.remove(0);
        }
        let url = target::parse_url(&self.url)?;
        self.check_request()?;
        let expect = Expect {
            checksums: self.checksums()?,
            size: self.size,
        };
        let range = self.range()?;
        if let Some(referer) = self.word(Word::Referer) {
            let referer = ("Referer".to_owned(), referer.trim().to_owned());
            let is_own = |(name, _): &(String, String)| name.eq_ignore_ascii_case(&referer.0);
            if !self.headers.iter().any(is_own) {
                self.headers.push(referer);
            }
        }
        check_headers(&self.headers)?;
        let out = self.word(Word::Out);
        if let Some(out) = out {
            naming::check_place(out).map_err(|problem| LineError::BadOut {
                out: Excerpt::of(out),
                problem,
            })?;
        }
        let no_host = || LineError::NoHost {
            text: Excerpt::of(&self.url),
        };
        let target = Target::part(url, range, &options.naming, number)
            .map_err(|problem| LineError::BadName {
                text: Excerpt::of(&self.url),
                problem,
            })?
            .ok_or_else(no_host)?;
        if self.urls.len() > MAX_MIRRORS {
            let there = self.urls.len();
            return Err(LineError::ManyMirrors { there });
        }
        let extra = Extra {
            expect,
            range,
            headers: std::mem::take(&mut self.headers),
            mirrors: self.mirrors(&target)?,
            ticket: self.word(Word::Fleet).and_then(Ticket::parse),
        };
        if !extra.mirrors.is_empty() && extra.expect.checksums.is_empty() {
            return Err(LineError::MirrorsWithoutChecksum);
        }
        let target = target.with(self.word(Word::Out), extra);
        Ok(target.suggestible(options.suggestions))
    }

    /// Returns the other URLs, each once.
    fn mirrors(&self, target: &Target) -> Result<Vec<Mirror>, LineError> {
        let mut mirrors: Vec<Mirror> = Vec::new();
        for text in &self.urls {
            let mirror = Mirror::new(target::parse_url(text)?);
            let mirror = mirror.ok_or_else(|| LineError::NoHost {
                text: Excerpt::of(text),
            })?;
            let is_known =
                mirror.url == target.url || mirrors.iter().any(|earlier| earlier.url == mirror.url);
            if !is_known {
                mirrors.push(mirror);
            }
        }
        Ok(mirrors)
    }

    /// Fails unless the request is a GET without a body.
    fn check_request(&self) -> Result<(), LineError> {
        let method = self.word(Word::Method).map(str::trim);
        let other = method.filter(|method| !method.eq_ignore_ascii_case("get"));
        let key = match (other, self.word(Word::Body)) {
            (Some(_), _) => Word::Method.key(),
            (None, Some(_)) => Word::Body.key(),
            (None, None) => return Ok(()),
        };
        Err(LineError::NotAGet { key })
    }

    fn checksums(&self) -> Result<Vec<Checksum>, LineError> {
        let given = Algorithm::ALL.into_iter().filter_map(|algorithm| {
            let text = self.word(Word::Checksum(algorithm))?;
            Some((algorithm, text.trim()))
        });
        given
            .map(|(algorithm, text)| {
                Checksum::parse(algorithm, text).ok_or_else(|| LineError::BadChecksum {
                    algorithm,
                    text: Excerpt::of(text),
                })
            })
            .collect()
    }

    fn range(&self) -> Result<Option<ByteRange>, LineError> {
        let text = self.word(Word::Range).map(str::trim);
        let parsed = text.map(|text| {
            ByteRange::parse(text).ok_or_else(|| LineError::BadRange {
                text: Excerpt::of(text),
            })
        });
        let Some(range) = parsed.transpose()? else {
            return Ok(None);
        };
        match self.size {
            Some(size) if size != range.bytes() => {
                Err(LineError::RangeOfAnotherSize { range, size })
            }
            Some(_) | None => Ok(Some(range)),
        }
    }
}

fn check_headers(headers: &[(String, String)]) -> Result<(), LineError> {
    let mut bytes = 0;
    for (name, value) in headers {
        bytes += name.len() + value.len();
        // The value may be a secret, so the message does not contain it.
        if HeaderName::from_bytes(name.as_bytes()).is_err()
            || HeaderValue::from_str(value).is_err()
            || FRAMING
                .iter()
                .any(|framing| framing.eq_ignore_ascii_case(name))
        {
            return Err(LineError::BadHeader {
                name: Excerpt::of(name),
            });
        }
    }
    if bytes > MAX_HEADERS {
        return Err(LineError::HeadersTooLarge { bytes });
    }
    Ok(())
}
