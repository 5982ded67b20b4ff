//! The origin's record of the requests for each URL.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lab::origin::Seen;

use super::Unreadable;

/// The requests for one URL.
#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    /// The parts of the body that were sent: the first byte, the first byte that was not sent, and
    /// whether the answer was sent to its end.
    parts: Vec<(u64, u64, bool)>,
    /// When each request began, in nanoseconds on the monotonic clock.
    pub(super) begun_ns: Vec<u64>,
    /// When each request ended.
    pub(super) ended_ns: Vec<u64>,
}

/// How a body was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Some byte was never sent, or no answer was sent to its end.
    Never,
    /// One answer contained the whole body.
    Whole,
    /// Only several answers together contained the whole body.
    InParts,
}

impl Served {
    /// Returns how a body of `len` bytes was sent.
    pub(super) fn delivery(&self, len: u64) -> Delivery {
        let to_the_end = |part: &&(u64, u64, bool)| part.2 && part.1 == len;
        let mut ends = self.parts.iter().filter(to_the_end);
        if ends.clone().any(|part| part.0 == 0) {
            return Delivery::Whole;
        }
        let mut parts = self.parts.clone();
        parts.sort_unstable();
        let mut reached = 0;
        for (first, end, _) in parts {
            if first > reached {
                break;
            }
            reached = reached.max(end);
        }
        match ends.next() {
            Some(_) if reached >= len => Delivery::InParts,
            Some(_) | None => Delivery::Never,
        }
    }
}

/// Reads an origin's journal: requests by the identity of the URL.
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
        served.ended_ns.push(seen.ended_ns);
        if seen.method == "GET" && matches!(seen.status, Some(200 | 206)) {
            let end = seen.from.saturating_add(seen.bytes);
            served.parts.push((seen.from, end, seen.complete));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_sent_if_every_byte_was_and_an_answer_came_to_its_end() {
        use Delivery::{InParts, Never, Whole};
        for (parts, expect) in [
            (&[][..], Never),
            (&[(0, 10, true)], Whole),
            (&[(0, 10, false)], Never),
            (&[(0, 9, true)], Never),
            (&[(0, 11, true)], Never),
            (&[(0, 5, false), (5, 10, true)], InParts),
            (&[(5, 10, true), (0, 5, false)], InParts),
            (&[(0, 7, false), (3, 10, true)], InParts),
            (&[(0, 4, false), (5, 10, true)], Never),
            (&[(5, 10, true)], Never),
            (&[(0, 5, false), (5, 10, false)], Never),
            (&[(0, 3, false), (3, 6, false), (6, 10, true)], InParts),
            // An endless body has more bytes than expected, and never ends.
            (&[(0, 100, false), (5, 10, true)], InParts),
            (&[(0, 100, false)], Never),
            (&[(0, 5, false), (5, 10, true), (0, 10, true)], Whole),
        ] {
            let served = Served {
                parts: parts.to_vec(),
                ..Served::default()
            };
            assert_eq!(served.delivery(10), expect, "{parts:?}");
        }
        let empty = Served {
            parts: vec![(0, 0, true)],
            ..Served::default()
        };
        assert_eq!(empty.delivery(0), Whole);
        assert_eq!(Served::default().delivery(0), Never);
    }
}
