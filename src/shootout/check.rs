//! Checks whether a run stored every file, byte for byte.
//!
//! A run of this program is checked URL by URL, through its run log. An outside contestant chooses
//! its file names, so its files are checked as a set. This module must not measure time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lab::origin::{Spec, body};
use sha2::{Digest, Sha256};
use url::Url;

use crate::run::log::{LogReader, Outcome};

/// The run log within an output folder.
const RUN_LOG: &str = ".coordinator/results.jsonl";

type Hash = [u8; 32];

/// The expected body of each URL.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    bodies: BTreeMap<String, Hash>,
    /// URLs of the real network that gave two different bodies to the same approach. Any body is
    /// accepted.
    unstable: BTreeSet<String>,
}

/// The files that a run stored, all of them right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Number of files.
    pub files: usize,
    /// Total size in bytes.
    pub bytes: u64,
}

/// An error in what a run stored.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Some URLs have no file.
    #[error("{stored} of {expected} files are stored; missing: {example}")]
    Missing {
        /// Number of right files.
        stored: usize,
        /// Number of expected files.
        expected: usize,
        /// One URL without a file.
        example: String,
    },
    /// A file has other bytes.
    #[error("{example} does not hold the right bytes")]
    Wrong {
        /// The file or the URL.
        example: String,
    },
    /// Something cannot be read.
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: io::Error },
    /// The run log cannot be read or has an invalid record.
    #[error("the run log cannot be used: {0}")]
    Log(String),
}

impl Expected {
    /// Returns the bodies that an origin with `spec` sends for `urls`.
    #[must_use]
    pub fn simulated(spec: &Spec, urls: &[String]) -> Self {
        let hash = |url: &String| {
            let parsed = Url::parse(url).ok()?;
            Some((url.clone(), body::sha256(spec, &body::identity(&parsed))))
        };
        Self {
            bodies: urls.iter().filter_map(hash).collect(),
            unstable: BTreeSet::new(),
        }
    }

    /// Returns the bodies that two runs of one approach stored from the real network. A URL that
    /// only one of them stored is not expected.
    ///
    /// # Errors
    ///
    /// Fails if the files or the run log of either run cannot be read.
    pub fn learned(first: &Path, second: &Path) -> Result<Self, Fault> {
        let (first, mut second) = (hashes(first)?, hashes(second)?);
        let mut expected = Self::default();
        for (url, (path, hash, _)) in first {
            let Some((_, again, _)) = second.remove(&url) else {
                continue;
            };
            tracing::debug!(%url, path = %path.display(), "expected of all");
            if hash != again {
                expected.unstable.insert(url.clone());
            }
            expected.bodies.insert(url, hash);
        }
        Ok(expected)
    }

    /// Returns whether a body is expected for this URL.
    #[must_use]
    pub fn has(&self, url: &str) -> bool {
        self.bodies.contains_key(url)
    }

    /// Returns the number of URLs for which any body is accepted.
    #[must_use]
    pub fn unstable(&self) -> usize {
        self.unstable.len()
    }

    /// Checks what a run of this program stored in `out`.
    ///
    /// # Errors
    ///
    /// Returns a [`Fault`] if a file is missing, wrong or unreadable.
    pub fn check_run(&self, out: &Path) -> Result<Checked, Fault> {
        let stored = hashes(out)?;
        let mut checked = Checked::default();
        let mut missing = None;
        for (url, expected) in &self.bodies {
            let Some((_, hash, bytes)) = stored.get(url) else {
                missing = missing.or(Some(url));
                continue;
            };
            if hash != expected && !self.unstable.contains(url) {
                let example = url.clone();
                return Err(Fault::Wrong { example });
            }
            checked.files += 1;
            checked.bytes += bytes;
        }
        match missing {
            Some(url) => Err(self.missing(checked.files, url)),
            None => Ok(checked),
        }
    }

    /// Checks what an outside contestant stored in `out`, by content alone. Names that begin with a
    /// dot are ignored.
    ///
    /// # Errors
    ///
    /// Returns a [`Fault`] if a file is missing, wrong or unreadable.
    pub fn check_files(&self, out: &Path) -> Result<Checked, Fault> {
        let mut wanted: BTreeMap<Hash, Vec<&str>> = BTreeMap::new();
        for (url, hash) in &self.bodies {
            if !self.unstable.contains(url) {
                wanted.entry(*hash).or_default().push(url);
            }
        }
        let mut checked = Checked::default();
        let mut others = Vec::new();
        for path in files(out)? {
            let (hash, bytes) = hash(&path)?;
            match wanted.get_mut(&hash).map(Vec::pop) {
                Some(Some(_)) => {}
                Some(None) | None => others.push(path),
            }
            checked.files += 1;
            checked.bytes += bytes;
        }
        let missing = wanted.values().flatten().next();
        // One other file is allowed for each URL for which any body is accepted.
        match (missing, others.get(self.unstable.len())) {
            (_, Some(path)) => Err(Fault::Wrong {
                example: path.strip_prefix(out).unwrap_or(path).display().to_string(),
            }),
            (Some(url), None) => Err(self.missing(checked.files - others.len(), url)),
            (None, None) if others.len() < self.unstable.len() => {
                let url = self.unstable.first().map_or("", String::as_str);
                Err(self.missing(checked.files, url))
            }
            (None, None) => Ok(checked),
        }
    }

    fn missing(&self, stored: usize, example: &str) -> Fault {
        Fault::Missing {
            stored,
            expected: self.bodies.len(),
            example: example.to_owned(),
        }
    }
}

/// Returns the file, hash and size of each URL that a run of this program stored, read from the
/// files.
fn hashes(out: &Path) -> Result<BTreeMap<String, (PathBuf, Hash, u64)>, Fault> {
    let log = out.join(RUN_LOG);
    let reader = LogReader::open(&log).map_err(|error| Fault::Log(error.to_string()))?;
    let mut stored = BTreeMap::new();
    for record in reader {
        let record = record.map_err(|error| Fault::Log(error.to_string()))?;
        if record.outcome != Outcome::Stored {
            continue;
        }
        let Some(path) = record.path else {
            return Err(Fault::Log(format!("{} has no file", record.url)));
        };
        let path = out.join(path);
        let (hash, bytes) = hash(&path)?;
        if record.sha256.is_some_and(|recorded| recorded.0 != hash) {
            return Err(Fault::Wrong {
                example: record.url,
            });
        }
        stored.insert(record.url, (path, hash, bytes));
    }
    Ok(stored)
}

/// Returns every regular file below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let unreadable = |source: io::Error| Fault::Read {
        path: folder.display().to_string(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            found.extend(files(&entry.path())?);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn hash(path: &Path) -> Result<(Hash, u64), Fault> {
    let read = || -> io::Result<(Hash, u64)> {
        let mut file = File::open(path)?;
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((hash.finalize().into(), bytes)),
                size => {
                    hash.update(&buffer[..size]);
                    bytes += size as u64;
                }
            }
        }
    };
    read().map_err(|source| Fault::Read {
        path: path.display().to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() -> (Expected, Vec<(String, Vec<u8>)>) {
        let spec: Spec = "size=1000B".parse().expect("a spec");
        let urls: Vec<String> = (0..3).map(|n| format!("http://h/{n}")).collect();
        let bodies = urls.iter().map(|url| {
            let identity = body::identity(&Url::parse(url).expect("a URL"));
            let mut bytes = Vec::new();
            body::Content::new(&spec, &identity)
                .read_to_end(&mut bytes)
                .expect("never fails");
            (url.clone(), bytes)
        });
        (Expected::simulated(&spec, &urls), bodies.collect())
    }

    fn store(bodies: &[(String, Vec<u8>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("sub")).expect("writable");
        for (n, (_, bytes)) in bodies.iter().enumerate() {
            fs::write(folder.path().join(format!("sub/{n}")), bytes).expect("writable");
        }
        folder
    }

    #[test]
    fn right_files_pass_under_any_name_and_depth() {
        let (expected, bodies) = work();
        let folder = store(&bodies);
        fs::write(folder.path().join(".wget-hsts"), "state").expect("writable");
        let checked = expected.check_files(folder.path()).expect("all right");
        assert_eq!((checked.files, checked.bytes), (3, 3000));
    }

    #[test]
    fn a_missing_file_is_named() {
        let (expected, bodies) = work();
        let folder = store(&bodies[..2]);
        let fault = expected.check_files(folder.path()).expect_err("one lacks");
        assert_eq!(
            fault.to_string(),
            "2 of 3 files are stored; missing: http://h/2"
        );
    }

    #[test]
    fn one_wrong_byte_is_wrong() {
        let (expected, mut bodies) = work();
        bodies[1].1[500] ^= 1;
        let folder = store(&bodies);
        let fault = expected
            .check_files(folder.path())
            .expect_err("a byte differs");
        assert_eq!(fault.to_string(), "sub/1 does not hold the right bytes");
    }

    #[test]
    fn the_same_file_twice_is_not_two_files() {
        let (expected, mut bodies) = work();
        bodies[2] = bodies[1].clone();
        let folder = store(&bodies);
        assert!(expected.check_files(folder.path()).is_err());
    }

    #[test]
    fn a_file_too_many_is_wrong() {
        let (expected, mut bodies) = work();
        bodies.push((String::new(), b"an error page".to_vec()));
        let folder = store(&bodies);
        assert!(expected.check_files(folder.path()).is_err());
    }

    #[test]
    fn a_run_without_a_log_is_a_fault() {
        let folder = tempfile::tempdir().expect("a folder");
        let fault = work().0.check_run(folder.path()).expect_err("no log");
        assert!(fault.to_string().contains("run log"), "{fault}");
    }
}
