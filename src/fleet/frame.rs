//! Frames, each a message with targets of one partition, and the mapping of hosts to partitions.
//!
//! ```text
//! {"v":1,"first":512,"count":2,"keys":"9f…"}      the head
//! {"url":"https://h/a"}                            one target per line, as in a JSONL list
//! {"url":"https://h/b","out":"b.pdf"}
//! ```

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::lease::{PARTITIONS, Partition};
use crate::input::UrlKey;

/// Version of all messages of a fleet. Members of another version do not join.
pub const VERSION: u32 = 1;

/// Largest number of targets in a frame.
pub const MAX_TARGETS: usize = 256;

/// Largest size of a frame in bytes, unless a single target is larger.
pub const MAX_BYTES: usize = 64 * 1024;

/// Number of bytes reserved for the head.
const HEAD: usize = 200;

/// Returns the partition of a host. Another port is another host, as for limits per host.
#[must_use]
pub fn partition_of(host: &str) -> Partition {
    let number = u16::from(UrlKey::of(host).as_bytes()[0]);
    Partition(number % PARTITIONS)
}

/// The head of a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameHead {
    /// Version of the messages.
    pub v: u32,
    /// Number of the frame's first target in the partition, from 0.
    pub first: u64,
    /// Number of targets in the frame.
    pub count: u64,
    /// Hash of the keys of all targets of the partition up to the end of this frame, in order. It
    /// shows a feeder whether it reads the list that was fed so far.
    pub keys: String,
}

impl FrameHead {
    /// Returns the number of the first target after this frame.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.first + self.count
    }
}

/// The error for a message that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a message of the fleet cannot be read: {0}; is something else in its stream?")]
pub struct MessageError(#[from] serde_json::Error);

/// Splits a message into its head and the lines after it.
pub(super) fn parts<'a, H: Deserialize<'a>>(
    message: &'a [u8],
) -> Result<(H, &'a [u8]), MessageError> {
    let end = memchr::memchr(b'\n', message).unwrap_or(message.len());
    let head = serde_json::from_slice(&message[..end])?;
    Ok((head, message.get(end + 1..).unwrap_or_default()))
}

/// Reads a frame.
///
/// # Errors
///
/// Fails if this is not a frame.
pub fn read(message: &[u8]) -> Result<(FrameHead, &[u8]), MessageError> {
    parts(message)
}

/// Collects the targets of a partition into frames.
#[derive(Debug, Default)]
pub struct Framer {
    /// The number of the next target.
    next: u64,
    keys: [u8; 32],
    lines: Vec<u8>,
    count: u64,
}

impl Framer {
    /// Counts a target that an earlier feeder has put into a frame.
    pub fn skip(&mut self, key: &UrlKey) {
        self.note(key);
        self.next += 1;
    }

    /// Adds a target. If the current frame has no room for it, returns that frame.
    pub fn add(&mut self, key: &UrlKey, line: &str) -> Option<Vec<u8>> {
        let full = self.count > 0 && self.lines.len() + line.len() + 1 + HEAD > MAX_BYTES;
        let full = full || self.count as usize == MAX_TARGETS;
        let frame = if full { self.take() } else { None };
        self.note(key);
        self.lines.extend_from_slice(line.as_bytes());
        self.lines.push(b'\n');
        self.count += 1;
        frame
    }

    /// Returns the frame of the remaining targets, if there are any.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        if self.count == 0 {
            return None;
        }
        let head = FrameHead {
            v: VERSION,
            first: self.next,
            count: std::mem::take(&mut self.count),
            keys: self.keys(),
        };
        self.next = head.next();
        // It holds only numbers and text, so this cannot fail.
        let mut frame = serde_json::to_vec(&head).unwrap_or_default();
        frame.push(b'\n');
        frame.append(&mut self.lines);
        Some(frame)
    }

    /// Returns the number of targets that are in frames.
    #[must_use]
    pub const fn framed(&self) -> u64 {
        self.next
    }

    /// Returns the hash of all keys so far.
    #[must_use]
    pub fn keys(&self) -> String {
        HEXLOWER.encode(&self.keys[..16])
    }

    fn note(&mut self, key: &UrlKey) {
        let digest = Sha256::new()
            .chain_update(self.keys)
            .chain_update(key.as_bytes());
        self.keys = digest.finalize().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> UrlKey {
        UrlKey::of(&n.to_string())
    }

    #[test]
    fn frames_hold_every_line_once_and_stay_within_their_limits() {
        for length in [20, 300, 70_000] {
            let mut framer = Framer::default();
            let line = "x".repeat(length);
            let mut frames: Vec<_> = (0..600)
                .filter_map(|n| framer.add(&key(n), &line))
                .collect();
            frames.extend(framer.take());
            let mut next = 0;
            for frame in &frames {
                let (head, lines) = read(frame).expect("a frame");
                assert_eq!(head.first, next);
                next = head.next();
                let count = lines.split_inclusive(|byte| *byte == b'\n').count();
                assert_eq!(count as u64, head.count);
                assert!(count <= MAX_TARGETS);
                assert!(frame.len() <= MAX_BYTES || count == 1, "{}", frame.len());
            }
            assert_eq!((next, framer.framed()), (600, 600));
        }
    }

    #[test]
    fn a_feeder_that_goes_on_knows_whether_the_list_is_the_same() {
        let mut first = Framer::default();
        (0..10).for_each(|n| assert!(first.add(&key(n), "x").is_none()));
        let (head, _) = {
            let frame = first.take().expect("a frame");
            let (head, _) = read(&frame).expect("a frame");
            (head, ())
        };
        let again = |keys: &[usize]| {
            let mut framer = Framer::default();
            keys.iter().for_each(|n| framer.skip(&key(*n)));
            (framer.framed(), framer.keys())
        };
        let same: Vec<_> = (0..10).collect();
        assert_eq!(again(&same), (10, head.keys.clone()));
        let other = [0, 1, 2, 3, 4, 5, 6, 7, 9, 8];
        assert_ne!(again(&other).1, head.keys);
    }

    #[test]
    fn hosts_are_spread_over_all_partitions() {
        let mut seen = [0_u32; PARTITIONS as usize];
        for n in 0..25_600 {
            seen[usize::from(partition_of(&format!("host-{n}.example")).0)] += 1;
        }
        assert!(
            seen.iter().all(|count| (50..200).contains(count)),
            "{seen:?}"
        );
    }
}
