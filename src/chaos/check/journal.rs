//! What the origin saw of each URL.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::Unreadable;
use crate::origin::Seen;

/// The requests for one URL.
#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    /// How many of them were answered with the whole body.
    pub(super) complete: usize,
    /// When each began, on the monotonic clock, in nanoseconds.
    pub(super) begun_ns: Vec<u64>,
}

/// Reads an origin's journal: requests by the URL's identity.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Served>, Unreadable> {
    let unreadable = |source| Unreadable {
        path: path.display().to_string(),
        source,
    };
    let text = fs::read(path).map_err(unreadable)?;
    let mut all: BTreeMap<String, Served> = BTreeMap::new();
    for line in text
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let seen: Seen = serde_json::from_slice(line).map_err(|error| unreadable(error.into()))?;
        let served = all.entry(seen.url).or_default();
        served.begun_ns.push(seen.begun_ns);
        // A part of a body is not the body, even if it is sent to its end.
        let whole = seen.complete && seen.status == Some(200) && seen.method == "GET";
        served.complete += usize::from(whole);
    }
    Ok(all)
}
