//! From what a line says to a [`Target`]: the checks that all formats share.

use std::borrow::Cow;

use data_encoding::HEXLOWER_PERMISSIVE;
use http::{HeaderName, HeaderValue};

use super::error::{Excerpt, LineError};
use super::naming::{self, Naming};
use super::target::{self, Extra, Target};

/// Most that the request headers of one line may take together, in bytes. More is refused by most
/// servers, and with it every task fits a protocol frame.
pub const MAX_HEADERS: usize = 8 * 1024;

/// Headers that say how a request is framed: they are not the list's to set.
const FRAMING: [&str; 4] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "upgrade",
];

/// What a line says, as it says it.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) url: Cow<'a, str>,
    pub(super) out: Option<Cow<'a, str>>,
    pub(super) sha256: Option<Cow<'a, str>>,
    pub(super) size: Option<u64>,
    pub(super) headers: Vec<(String, String)>,
}

impl Fields<'_> {
    /// The same, independent of the line.
    pub(super) fn into_owned(self) -> Fields<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Fields {
            url: owned(self.url),
            out: self.out.map(owned),
            sha256: self.sha256.map(owned),
            size: self.size,
            headers: self.headers,
        }
    }

    /// The target, which would be task `number`.
    pub(super) fn target(self, naming: &Naming, number: u64) -> Result<Target, LineError> {
        let url = target::parse_url(&self.url)?;
        let sha256 = self.sha256.as_deref().map(sha256).transpose()?;
        check_headers(&self.headers)?;
        if let Some(out) = &self.out {
            naming::check_place(out).map_err(|problem| LineError::BadOut {
                out: Excerpt::of(out),
                problem,
            })?;
        }
        let no_host = || LineError::NoHost {
            text: Excerpt::of(&self.url),
        };
        let target = Target::new(url, naming, number)
            .map_err(|problem| LineError::BadName {
                text: Excerpt::of(&self.url),
                problem,
            })?
            .ok_or_else(no_host)?;
        let extra = Extra {
            sha256,
            size: self.size,
            headers: self.headers,
        };
        Ok(target.with(self.out.as_deref(), extra))
    }
}

fn sha256(text: &str) -> Result<[u8; 32], LineError> {
    let mut digest = [0; 32];
    let text = text.trim();
    if text.len() == 64 && HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut digest) == Ok(32) {
        return Ok(digest);
    }
    Err(LineError::BadChecksum {
        text: Excerpt::of(text),
    })
}

fn check_headers(headers: &[(String, String)]) -> Result<(), LineError> {
    let mut bytes = 0;
    for (name, value) in headers {
        bytes += name.len() + value.len();
        // The value may be a secret: it is not shown.
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
