//! Finds the hosts with the most failures, exactly, among more hosts than fit into memory.
//!
//! Counts are in a [`DiskMap`]. A host's count only grows, so it is enough to check, each time one
//! grows, whether the host now belongs to the first ones.

use std::path::PathBuf;

use serde::Serialize;

use crate::disk_map::{DiskMap, DiskMapError};
use crate::input::UrlKey;

/// Number of hosts that are reported.
pub const SHOWN: usize = 10;

/// The counts of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostCount {
    /// Its name or address.
    pub host: String,
    /// Number of its URLs that failed or are quarantined.
    pub failed: u64,
    /// Number of its URLs.
    pub urls: u64,
}

/// Counts URLs by host.
#[derive(Debug)]
pub struct Hosts {
    /// Failed URLs and all URLs of each host.
    counts: DiskMap<16>,
    /// The hosts with the most failures, in descending order.
    first: Vec<(String, u64)>,
    /// Number of hosts with a failure.
    failing: u64,
}

impl Hosts {
    /// Creates empty counts. Temporary files, if any are needed, are created in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            counts: DiskMap::new(folder),
            first: Vec::new(),
            failing: 0,
        }
    }

    /// Counts a URL of `host`.
    ///
    /// # Errors
    ///
    /// Fails if the disk map has no room.
    pub fn count(&mut self, host: &str, has_failed: bool) -> Result<(), DiskMapError> {
        let key = *UrlKey::of(host).as_bytes();
        let (mut failed, mut urls) = self.look_up(&key)?;
        urls += 1;
        if has_failed {
            failed += 1;
            self.failing += u64::from(failed == 1);
            self.rank(host, failed);
        }
        let value = (u128::from(failed) << 64) | u128::from(urls);
        self.counts.insert(key, value.to_be_bytes())
    }

    fn look_up(&self, key: &[u8; UrlKey::BYTES]) -> Result<(u64, u64), DiskMapError> {
        let value = self.counts.get(key)?.map(u128::from_be_bytes);
        let value = value.unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        Ok(((value >> 64) as u64, value as u64))
    }

    fn rank(&mut self, host: &str, failed: u64) {
        match self.first.iter().position(|(there, _)| there == host) {
            Some(at) => self.first[at].1 = failed,
            None if self.first.len() < SHOWN => self.first.push((host.to_owned(), failed)),
            None => match self.first.last_mut() {
                Some(last) if last.1 < failed => *last = (host.to_owned(), failed),
                Some(_) | None => return,
            },
        }
        self.first
            .sort_by_key(|(_, failed)| std::cmp::Reverse(*failed));
    }

    /// Returns the hosts with the most failures, in descending order, at most [`SHOWN`].
    ///
    /// # Errors
    ///
    /// Fails if a temporary file cannot be read.
    pub fn worst(&self) -> Result<Vec<HostCount>, DiskMapError> {
        let hosts = self.first.iter().map(|(host, failed)| {
            let (_, urls) = self.look_up(UrlKey::of(host).as_bytes())?;
            Ok(HostCount {
                host: host.clone(),
                failed: *failed,
                urls,
            })
        });
        hosts.collect()
    }

    /// Returns the number of hosts that have a failure.
    #[must_use]
    pub const fn failing(&self) -> u64 {
        self.failing
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_worst_are_those_with_the_most_failures(
            urls in prop::collection::vec((0_u8..40, any::<bool>()), 0..400)
        ) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let mut hosts = Hosts::new(folder.path().to_owned());
            let mut model: BTreeMap<String, (u64, u64)> = BTreeMap::new();
            for &(n, failed) in &urls {
                // Some have many more than others.
                let host = format!("h{}", n.min(20 + n % 3));
                hosts.count(&host, failed).expect("there is room");
                let (fails, all) = model.entry(host).or_default();
                *fails += u64::from(failed);
                *all += 1;
            }
            let worst = hosts.worst().expect("readable");
            for found in &worst {
                prop_assert_eq!(model[&found.host], (found.failed, found.urls));
            }
            let mut most: Vec<u64> = model.values().map(|(failed, _)| *failed).collect();
            most.retain(|&failed| failed > 0);
            prop_assert_eq!(hosts.failing(), most.len() as u64);
            most.sort_unstable_by(|a, b| b.cmp(a));
            most.truncate(SHOWN);
            let found: Vec<u64> = worst.iter().map(|host| host.failed).collect();
            prop_assert_eq!(found, most);
        }
    }
}
