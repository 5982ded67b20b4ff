//! Selects records by host and by kind of failure.

use std::borrow::Cow;

use protocol::FailureKind;
use url::Url;

/// A filter for records. An empty list selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Kinds of failure.
    pub kinds: Vec<FailureKind>,
    /// Hosts, as normalised URLs write them.
    pub hosts: Vec<String>,
}

impl Filter {
    /// Returns whether the record of this URL is selected. `kind` is its kind of failure, if any.
    #[must_use]
    pub fn admits(&self, url: &str, kind: Option<FailureKind>) -> bool {
        (self.kinds.is_empty() || kind.is_some_and(|kind| self.kinds.contains(&kind)))
            && (self.hosts.is_empty() || self.hosts.iter().any(|wanted| *wanted == host(url)))
    }

    /// Returns whether every record is selected.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.kinds.is_empty() && self.hosts.is_empty()
    }
}

/// Returns the host of a URL without the port, or an empty text if it has none or is not a URL.
#[must_use]
pub fn host(url: &str) -> Cow<'_, str> {
    if let Some(host) = plain_host(url) {
        return host.into();
    }
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str);
    host.unwrap_or_default().to_owned().into()
}

/// Returns the host of a URL if a parser would return the same text: lower case, no port, not an
/// address and not in Punycode. This holds for nearly all URLs.
fn plain_host(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let (host, _) = rest.split_once('/')?;
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    // If the last label begins with a digit, the host may be an address.
    let last = host.rsplit('.').next()?.as_bytes();
    let is_name = last.first()?.is_ascii_lowercase() && last.last()?.is_ascii_lowercase();
    (is_name && host.bytes().all(is_plain) && !host.contains("xn--")).then_some(host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn most_hosts_are_found_without_a_parser() {
        assert_eq!(plain_host("https://h7.example/a?b"), Some("h7.example"));
        for odd in [
            "https://127.0.0.1/",
            "https://h:81/",
            "https://u@h/",
            "h/",
            "https://",
        ] {
            assert_eq!(plain_host(odd), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn a_host_that_is_found_is_what_the_parser_finds(
            url in "(https?://|http:/|ftp://)?[a-z0-9.@:X%-]{0,12}[.]?(0x)?[a-f0-9-]{0,4}(/[a-z\\\\?#:@ ]{0,5})?",
        ) {
            if let Some(host) = plain_host(&url) {
                let parsed = Url::parse(&url).expect("it has a host");
                prop_assert_eq!(Some(host), parsed.host_str());
            }
        }
    }
}
