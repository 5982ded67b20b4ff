//! Which records are asked for, by host and by kind of failure.

use protocol::FailureKind;
use url::Url;

use crate::run::log::Record;

/// See the module. What is empty admits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Kinds of failure.
    pub kinds: Vec<FailureKind>,
    /// Hosts, as normalised URLs write them.
    pub hosts: Vec<String>,
}

impl Filter {
    /// Whether a record is asked for.
    #[must_use]
    pub fn admits(&self, record: &Record) -> bool {
        let kind = record.error.as_ref().map(|error| error.kind);
        (self.kinds.is_empty() || kind.is_some_and(|kind| self.kinds.contains(&kind)))
            && (self.hosts.is_empty() || self.hosts.contains(&host(&record.url)))
    }

    /// Whether every record is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.kinds.is_empty() && self.hosts.is_empty()
    }
}

/// The host of a URL, without the port; nothing if it has none, or is no URL.
#[must_use]
pub fn host(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str);
    host.unwrap_or_default().to_owned()
}
