//! Bodies: their bytes, lengths and tags depend only on the [`Spec`] and the URL.
//!
//! So the expected content of a download can be computed without asking the origin. The bytes are
//! incompressible and differ between URLs. Validators depend on the URL and the seed. This module
//! must not know how a body is sent.
//!
//! The identity of a URL is what the origin sees of it: the host as in the `Host` field (in lower
//! case, with the port unless it is the default of the scheme), then path and query. The scheme is
//! not part of it: `http://h/a` and `https://h/a` are the same content.

use std::io::{self, Read};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use url::{Position, Url};

use super::spec::{Rate, Spec};
use super::stream::{Words, below, mix, unit};

/// Earliest modification time of a body, in seconds since 1970: 2015.
const EPOCH: u64 = 1_420_070_400;

/// Length of the period of modification times, in seconds. For changed bodies, the next period of
/// this length counts. Both are in the past.
const PERIOD: u64 = 5 * 365 * 24 * 60 * 60;

/// Returns the identity of an absolute URL, as a client presents it.
#[must_use]
pub fn identity(url: &Url) -> String {
    let host = &url[Position::BeforeHost..Position::AfterPort];
    let path = &url[Position::BeforePath..Position::AfterQuery];
    format!("{host}{path}")
}

/// Returns the length in bytes of the body of the URL with this identity.
#[must_use]
pub fn len(spec: &Spec, identity: &str) -> u64 {
    Key::new(spec, identity).len()
}

/// Returns the SHA-256 of the body of the URL with this identity. Takes time in proportion to the
/// length, but no memory.
#[must_use]
pub fn sha256(spec: &Spec, identity: &str) -> [u8; 32] {
    let mut content = Content::new(spec, identity);
    let mut hash = Sha256::new();
    loop {
        let chunk = content.next_chunk(64 << 10);
        if chunk.is_empty() {
            return hash.finalize().into();
        }
        hash.update(&chunk);
    }
}

/// The bytes of one body, generated as they are read. Reading never fails.
#[derive(Clone, Debug)]
pub struct Content {
    words: Words,
    position: u64,
    len: u64,
}

impl Content {
    /// Creates the whole body of the URL with this identity.
    #[must_use]
    pub fn new(spec: &Spec, identity: &str) -> Self {
        let key = Key::new(spec, identity);
        Self::part(&key, 0, key.len)
    }

    /// Creates the part of a body from byte `first` up to but not including byte `end`. Both must
    /// be within its length.
    pub(super) const fn part(key: &Key, first: u64, end: u64) -> Self {
        Self {
            words: key.words,
            position: first,
            len: end,
        }
    }

    /// Creates the body, followed by other bytes without end.
    pub(super) const fn endless(key: &Key) -> Self {
        Self {
            words: key.words,
            position: 0,
            len: u64::MAX,
        }
    }

    /// Returns the number of bytes not yet read.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.len - self.position
    }

    /// Returns the next bytes, at most `limit` and at most what is left; none at the end.
    pub fn next_chunk(&mut self, limit: usize) -> Bytes {
        let size = usize::try_from(self.remaining()).map_or(limit, |left| left.min(limit));
        let mut chunk = vec![0; size];
        self.fill(&mut chunk);
        Bytes::from(chunk)
    }

    /// Fills a buffer no longer than what remains.
    fn fill(&mut self, mut buffer: &mut [u8]) {
        // The last read may have ended within a word.
        let within = (self.position % 8) as usize;
        let mut index = self.position / 8;
        self.position += buffer.len() as u64;
        if within > 0 {
            let word = self.words.at(index).to_le_bytes();
            let size = buffer.len().min(8 - within);
            let (head, rest) = buffer.split_at_mut(size);
            head.copy_from_slice(&word[within..within + size]);
            buffer = rest;
            index += 1;
        }
        let mut whole = buffer.chunks_exact_mut(8);
        for place in &mut whole {
            place.copy_from_slice(&self.words.at(index).to_le_bytes());
            index += 1;
        }
        let tail = whole.into_remainder();
        let word = self.words.at(index).to_le_bytes();
        tail.copy_from_slice(&word[..tail.len()]);
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = usize::try_from(self.remaining()).map_or(buffer.len(), |n| n.min(buffer.len()));
        self.fill(&mut buffer[..size]);
        Ok(size)
    }
}

/// Values derived from a URL's identity, which is hashed once per request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    words: Words,
    tag: u128,
    /// In seconds since 1970.
    modified: u64,
    len: u64,
    draws: Words,
}

impl Key {
    pub(super) fn new(spec: &Spec, identity: &str) -> Self {
        let [mut start, mut mask, size, draws] = digest(spec, b"coordinator origin 1\0", identity);
        let draws = Words::new(draws, size);
        let mut modified = EPOCH + below(draws.at(2), PERIOD);
        let mut len = choose(spec, size);
        // The faults of the requests do not change.
        if below(draws.at(3), Rate::WHOLE) < spec.changed.steps() {
            let size;
            [start, mask, size, _] = digest(spec, b"coordinator origin 1, changed\0", identity);
            len = choose(spec, size);
            modified += PERIOD;
        }
        // The length affects the bytes too. So a body of another length is not the beginning of
        // this one, and bytes of both in one file are always noticed.
        let start = start ^ mix(len);
        Self {
            words: Words::new(start, mask),
            tag: u128::from(start) << 64 | u128::from(mask),
            modified,
            len,
            draws,
        }
    }

    /// Returns the length of the body in bytes.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Returns the strong entity tag (RFC 9110, section 8.8.3), with quotes: equal for equal bytes.
    pub(super) fn etag(&self) -> String {
        format!("\"{:032x}\"", self.tag)
    }

    /// Returns the modification time (RFC 9110, section 8.8.2), in seconds since 1970.
    pub(super) const fn modified(&self) -> u64 {
        self.modified
    }

    /// Returns a number for the URL under which its requests are counted.
    pub(super) const fn number(&self) -> u64 {
        self.draws.at(0)
    }

    /// Returns the randomness for the request with this number.
    pub(super) const fn draw(&self, request: u64) -> Words {
        Words::new(self.draws.at(mix(request)), self.draws.at(1))
    }
}

/// Derives four words from the seed, a purpose and a URL.
fn digest(spec: &Spec, purpose: &[u8], identity: &str) -> [u64; 4] {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(purpose)
        .chain_update(spec.seed.to_le_bytes())
        .chain_update(identity)
        .finalize()
        .into();
    let (words, _) = digest.as_chunks::<8>();
    [0, 1, 2, 3].map(|place| u64::from_le_bytes(words[place]))
}

/// Chooses a length within the range, uniform in the logarithm.
fn choose(spec: &Spec, word: u64) -> u64 {
    let (min, max) = (spec.size.min(), spec.size.max());
    if min == max {
        return min;
    }
    // Plus one, so that an empty body has a logarithm.
    let (low, high) = ((min as f64 + 1.0).ln(), (max as f64 + 1.0).ln());
    let length = ((high - low).mul_add(unit(word), low)).exp() - 1.0;
    (length as u64).clamp(min, max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(text: &str) -> Spec {
        text.parse().expect("the test's spec is right")
    }

    fn bytes(spec: &Spec, identity: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        Content::new(spec, identity)
            .read_to_end(&mut bytes)
            .expect("content never fails");
        bytes
    }

    #[test]
    fn the_identity_is_what_a_client_presents() {
        for (url, expected) in [
            ("http://Example.com", "example.com/"),
            ("https://example.com:443/a?b=c#d", "example.com/a?b=c"),
            ("http://u:p@example.com:8080/a b", "example.com:8080/a%20b"),
            ("http://[::1]:81/?", "[::1]:81/?"),
        ] {
            let url = Url::parse(url).expect("the test's URL is right");
            assert_eq!(identity(&url), expected);
        }
    }

    #[test]
    fn the_bytes_never_change_between_versions() {
        let content = bytes(&spec("size=11B"), "example.com/");
        assert_eq!(
            data_encoding::HEXLOWER.encode(&content),
            "eb51b4aee446901d7320e8"
        );
    }

    #[test]
    fn url_seed_and_size_each_change_the_body() {
        let reference = bytes(&spec("size=100B"), "example.com/a");
        assert_ne!(reference, bytes(&spec("size=100B"), "example.com/b"));
        assert_ne!(reference, bytes(&spec("size=100B,seed=2"), "example.com/a"));
        let longer = bytes(&spec("size=101B"), "example.com/a");
        assert_ne!(reference, longer[..100]);
    }

    #[test]
    fn the_share_that_changed_has_other_bytes_and_later_dates_and_the_rest_is_as_before() {
        let (before, after) = (spec("size=100B"), spec("size=100B,changed=10%"));
        let mut changed = 0;
        for number in 0..1_000 {
            let identity = format!("h/{number}");
            let (old, new) = (Key::new(&before, &identity), Key::new(&after, &identity));
            assert_eq!(old.number(), new.number());
            let other = bytes(&before, &identity) != bytes(&after, &identity);
            assert_eq!(other, old.etag() != new.etag());
            assert_eq!(other, old.modified() < new.modified());
            assert!(other || old.modified() == new.modified());
            changed += u32::from(other);
        }
        // 5 standard deviations are 48.
        assert!((52..148).contains(&changed), "{changed} of 1000 changed");
        let all = spec("changed=100%");
        assert!((0..100).all(|n| {
            let identity = format!("h/{n}");
            Key::new(&before, &identity).etag() != Key::new(&all, &identity).etag()
        }));
    }

    #[test]
    fn a_part_is_what_is_there_in_the_whole() {
        let spec = spec("size=100B");
        let key = Key::new(&spec, "h/");
        let whole = bytes(&spec, "h/");
        for (first, end) in [(0, 100), (0, 1), (7, 8), (9, 50), (99, 100), (100, 100)] {
            let part = Content::part(&key, first, end).next_chunk(1_000);
            assert_eq!(part[..], whole[first as usize..end as usize]);
        }
    }

    #[test]
    fn sizes_fill_their_range_evenly_in_the_logarithm() {
        let spec = spec("size=1KiB..1MiB");
        let sizes: Vec<u64> = (0..3_000).map(|n| len(&spec, &format!("h/{n}"))).collect();
        assert!(sizes.iter().all(|size| (1 << 10..=1 << 20).contains(size)));
        // Each third of the logarithm should contain 1,000; 5 standard deviations are 130.
        let small = sizes.iter().filter(|size| **size < 10_240).count();
        let large = sizes.iter().filter(|size| **size > 104_031).count();
        assert!((870..1_130).contains(&small), "{small} small sizes");
        assert!((870..1_130).contains(&large), "{large} large sizes");
    }

    #[test]
    fn sizes_may_start_at_nothing() {
        let spec = spec("size=0B..2B");
        let sizes: Vec<u64> = (0..100).map(|n| len(&spec, &format!("h/{n}"))).collect();
        assert!(sizes.contains(&0) && sizes.contains(&1));
        assert!(bytes(&self::spec("size=0B"), "h/").is_empty());
    }

    #[test]
    fn the_hash_is_that_of_the_bytes() {
        let spec = spec("size=200001B");
        let hash: [u8; 32] = Sha256::digest(bytes(&spec, "h/")).into();
        assert_eq!(sha256(&spec, "h/"), hash);
    }

    proptest! {
        #[test]
        fn chunk_sizes_change_nothing(
            size in 0_u64..2_000,
            chunks in prop::collection::vec(0_usize..50, 0..100),
        ) {
            let spec = spec(&format!("size={size}B"));
            let mut content = Content::new(&spec, "h/");
            let mut pieces = Vec::new();
            for chunk in chunks {
                pieces.extend_from_slice(&content.next_chunk(chunk));
            }
            content.read_to_end(&mut pieces).expect("content never fails");
            prop_assert_eq!(content.remaining(), 0);
            prop_assert_eq!(pieces, bytes(&spec, "h/"));
        }
    }
}
