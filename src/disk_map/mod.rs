//! A map of many keys in little memory: recent entries in a table, the others in sorted files.
//!
//! A run must know for every URL whether it was seen before, and what outcome it had in an earlier
//! run. For ten million URLs, a hash table for this takes 360 MB. Here a key costs ten bits of
//! memory and its entry is on disk, as in a log-structured merge tree (O'Neil et al. 1996). A full
//! table is written out as a sorted **part**. Parts of about the same size are merged. A look-up
//! checks the table, then each part from the newest to the oldest.
//!
//! ```text
//!   insert --> recent (table) --full--> part --four of a size--> larger part
//!   get -----> recent, then for each part: filter --maybe--> which page --> one read
//! ```
//!
//! Keys are complete on disk, so answers are exact: a filter can only cause an unnecessary read.
//! The files have no name, and disappear with the process, however it ends. The caller can also
//! give a file to write all entries to ([`DiskMap::seal_into`]), and open it later
//! ([`DiskMap::open`]). This module does not know URLs.

mod filter;
mod part;

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::path::PathBuf;

use part::{Part, PartWriter, merge};

/// Size of a key in bytes.
pub const KEY: usize = 10;

/// A key: part of a cryptographic hash, so that keys are evenly distributed.
pub type Key = [u8; KEY];

/// Returns a key as a number with the same order. Comparing numbers needs no function call.
const fn rank(key: &Key) -> u128 {
    let [a, b, c, d, e, f, g, h, i, j] = *key;
    u128::from_be_bytes([0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h, i, j])
}

/// Returns the key of this rank.
const fn unrank(rank: u128) -> Key {
    let [_, _, _, _, _, _, key @ ..] = rank.to_be_bytes();
    key
}

/// Entries in the table before it is written out: the capacity of a table with half a million
/// places.
const RECENT: usize = (1 << 19) / 8 * 7;

/// Entries in the table of a map that is only written.
const RECENT_TO_WRITE: usize = (1 << 15) / 8 * 7;

/// Number of parts of one size that are merged into one of the next size.
const MERGE: usize = 4;

/// A map from keys to values of `V` bytes.
#[derive(Debug)]
pub struct DiskMap<const V: usize> {
    /// The folder in which its files are created.
    folder: PathBuf,
    recent: HashMap<Key, [u8; V], BuildHasherDefault<Head>>,
    /// The parts, oldest and largest first.
    parts: Vec<Part<V>>,
    /// The first part is in a file of the caller and stays there.
    based: bool,
    most: usize,
    /// The parts have filters.
    filters: bool,
}

/// The result of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<const V: usize> {
    pub value: [u8; V],
    /// The number of the entry, if the entry is in a file. Numbers are unique, and do not change
    /// while nothing is inserted.
    pub entry: Option<u64>,
}

/// Keys that are looked up together, each with a number that the caller chooses.
#[derive(Debug, Default)]
pub struct Wanted(Vec<u128>);

impl Wanted {
    /// Adds a key with its number.
    pub fn push(&mut self, key: &Key, number: u32) {
        self.0.push((rank(key) << u32::BITS) | u128::from(number));
    }
}

/// Returns the key and its number.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower bits are the number"
)]
const fn wanted_parts(wanted: u128) -> (Key, u32) {
    (unrank(wanted >> u32::BITS), wanted as u32)
}

/// The entries outgrew their memory, and could not be stored on disk.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot keep track of the URLs in a temporary file in {}: {source}; make room there, and run \
     the same command again",
    .folder.display()
)]
pub struct DiskMapError {
    /// The folder for the file.
    folder: PathBuf,
    source: io::Error,
}

impl<const V: usize> DiskMap<V> {
    /// Creates an empty map. Nothing is created in `folder` before there are 458,752 entries.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self::with_table(folder, RECENT)
    }

    fn with_table(folder: PathBuf, most: usize) -> Self {
        Self {
            folder,
            recent: HashMap::default(),
            parts: Vec::new(),
            based: false,
            most,
            filters: true,
        }
    }

    /// Creates an empty map that takes little memory and needs a read for most look-ups, for a map
    /// that will be [written](Self::seal_into).
    #[must_use]
    pub fn to_write(folder: PathBuf) -> Self {
        Self {
            filters: false,
            ..Self::with_table(folder, RECENT_TO_WRITE)
        }
    }

    /// Opens the `entries` that [`seal_into`](Self::seal_into) wrote to `file` at `from`, as a map
    /// with the settings of this empty one. Passes all their bytes to `seen` in order, so that the
    /// caller can check them before a look-up.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, or ends too early.
    pub fn open(
        &self,
        file: File,
        from: u64,
        entries: u64,
        seen: impl FnMut(&[u8]),
    ) -> io::Result<Self> {
        let mut map = Self {
            filters: self.filters,
            ..Self::with_table(self.folder.clone(), self.most)
        };
        if entries > 0 {
            let part = Part::open(file, from, entries, self.filters, seen)?;
            map.parts.push(part);
            map.based = true;
        }
        Ok(map)
    }

    /// Returns the size of this number of entries in a file, in bytes.
    #[must_use]
    pub const fn bytes_of(entries: u64) -> Option<u64> {
        entries.checked_mul((KEY + V) as u64)
    }

    /// Returns the value that was inserted last for `key`.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read.
    pub fn get(&self, key: &Key) -> Result<Option<[u8; V]>, DiskMapError> {
        Ok(self.find(key)?.map(|found| found.value))
    }

    /// Returns the value that was inserted last for `key`, and the number of its entry.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read.
    pub fn find(&self, key: &Key) -> Result<Option<Found<V>>, DiskMapError> {
        if let Some(&value) = self.recent.get(key) {
            return Ok(Some(Found { value, entry: None }));
        }
        for (part, before) in self.newest_first() {
            let found = part.get(key).map_err(|source| self.failed(source))?;
            if let Some((number, value)) = found {
                let entry = Some(before + number);
                return Ok(Some(Found { value, entry }));
            }
        }
        Ok(None)
    }

    /// Looks up many keys, and calls `tell` for each that exists. Reads each page once.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read.
    pub fn find_all(
        &self,
        wanted: Wanted,
        mut tell: impl FnMut(Key, u32, Found<V>),
    ) -> Result<(), DiskMapError> {
        let Wanted(mut wanted) = wanted;
        wanted.sort_unstable();
        if !self.recent.is_empty() {
            wanted.retain(|&one| {
                let (key, number) = wanted_parts(one);
                let Some(&value) = self.recent.get(&key) else {
                    return true;
                };
                tell(key, number, Found { value, entry: None });
                false
            });
        }
        for (part, before) in self.newest_first() {
            let found = part.find_all(&mut wanted, |one, number, value| {
                let ((key, own), entry) = (wanted_parts(one), Some(before + number));
                tell(key, own, Found { value, entry });
            });
            found.map_err(|source| self.failed(source))?;
        }
        Ok(())
    }

    /// Returns the parts, each with the number of entries before it.
    fn newest_first(&self) -> impl Iterator<Item = (&Part<V>, u64)> {
        let all: u64 = self.parts.iter().map(Part::len).sum();
        self.parts.iter().rev().scan(all, |before, part| {
            *before -= part.len();
            Some((part, *before))
        })
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be written. The entry is stored nevertheless.
    pub fn insert(&mut self, key: Key, value: [u8; V]) -> Result<(), DiskMapError> {
        self.recent.insert(key, value);
        if self.recent.len() < self.most {
            return Ok(());
        }
        self.write_out().map_err(|source| self.failed(source))
    }

    /// Returns the number of keys, if it is known: the map is [sealed](Self::seal) and unchanged
    /// since then, or small.
    #[must_use]
    pub fn entries(&self) -> Option<u64> {
        match (self.recent.len(), self.parts.as_slice()) {
            (recent, []) => Some(recent as u64),
            (0, [part]) => Some(part.len()),
            (_, [_, ..]) => None,
        }
    }

    /// Merges all parts into one, except for one that was [opened](Self::open), and frees the
    /// memory of the table: for a map that will only be read.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be written.
    pub fn seal(&mut self) -> Result<(), DiskMapError> {
        let sealed = if self.parts.is_empty() {
            // Small enough to stay in memory.
            self.recent.shrink_to_fit();
            Ok(())
        } else {
            let first = usize::from(self.based);
            self.write_out().and_then(|()| self.merge_from(first))
        };
        if sealed.is_ok() && !self.parts.is_empty() {
            self.recent = HashMap::default();
        }
        sealed.map_err(|source| self.failed(source))
    }

    /// Writes all entries to `file` from its current position, and reads them from there
    /// afterwards. Then the number of entries is known. Passes all written bytes to `seen`.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written. The map is unchanged then.
    pub fn seal_into(&mut self, file: File, seen: impl FnMut(&[u8])) -> io::Result<()> {
        self.write_out()?;
        let filter = self.filters;
        let begin = |entries| PartWriter::append(file, entries, filter, seen);
        if let Some(part) = merge(&self.parts, begin)? {
            self.parts = vec![part];
            self.based = true;
        }
        self.recent = HashMap::default();
        Ok(())
    }

    fn write_out(&mut self) -> io::Result<()> {
        if self.recent.is_empty() {
            return Ok(());
        }
        let mut entries: Vec<_> = self
            .recent
            .iter()
            .map(|(key, value)| (*key, *value))
            .collect();
        entries.sort_unstable_by_key(|(key, _)| rank(key));
        let mut writer = PartWriter::create(&self.folder, entries.len(), self.filters)?;
        for (key, value) in &entries {
            writer.push(key, value)?;
        }
        self.parts.push(writer.finish()?);
        self.recent.clear();
        drop(entries);
        while let Some(first) = self.parts.len().checked_sub(MERGE)
            && self.are_alike(first)
        {
            self.merge_from(first)?;
        }
        Ok(())
    }

    /// Returns whether the parts from `first` on are of similar size: all below twice the newest.
    fn are_alike(&self, first: usize) -> bool {
        let newest = self.parts.last().map_or(0, Part::len);
        self.parts[first..]
            .iter()
            .all(|part| part.len() < 2 * newest)
    }

    fn merge_from(&mut self, first: usize) -> io::Result<()> {
        if self.parts.len() - first > 1 {
            let merged = merge(&self.parts[first..], |entries| {
                PartWriter::create(&self.folder, entries, self.filters)
            })?;
            self.based &= first > 0;
            self.parts.truncate(first);
            self.parts.extend(merged);
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> DiskMapError {
        DiskMapError {
            folder: self.folder.clone(),
            source,
        }
    }
}

/// Hashes a key by its first bytes, which are already evenly distributed.
#[derive(Clone, Copy, Debug, Default)]
struct Head(u64);

impl Hasher for Head {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(32) ^ u64::from_le_bytes(word);
        }
    }

    /// Ignores the length of the key, which is the same for all.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::fd::AsFd as _;

    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn key(n: u32) -> Key {
        let digest = Sha256::digest(n.to_le_bytes());
        digest[..KEY].try_into().expect("it is longer")
    }

    fn map(most: usize) -> (tempfile::TempDir, DiskMap<4>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let map = DiskMap::with_table(folder.path().to_owned(), most);
        (folder, map)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn it_is_a_map_however_little_fits_into_memory(
            inserts in prop::collection::vec((0_u32..400, any::<u32>()), 0..800),
            most in 1_usize..60,
            sealed_at in 0_usize..800,
        ) {
            let (_folder, mut map) = map(most);
            let mut model = BTreeMap::new();
            for (at, &(n, value)) in inserts.iter().enumerate() {
                if at == sealed_at {
                    map.seal().expect("there is room");
                    prop_assert!(map.parts.len() <= 1);
                    prop_assert_eq!(map.entries(), Some(model.len() as u64));
                }
                prop_assert_eq!(
                    map.get(&key(n)).expect("readable"),
                    model.get(&n).map(|value: &u32| value.to_le_bytes())
                );
                map.insert(key(n), value.to_le_bytes()).expect("there is room");
                model.insert(n, value);
            }
            for n in 0..400 {
                let expected = model.get(&n).map(|value| value.to_le_bytes());
                prop_assert_eq!(map.get(&key(n)).expect("readable"), expected);
            }
            for asked in [vec![7, 399], (0..400).rev().chain([7]).collect()] {
                let mut wanted = Wanted::default();
                for (number, n) in (0..).zip(&asked) {
                    wanted.push(&key(*n), number);
                }
                let mut told = vec![None; asked.len()];
                map.find_all(wanted, |key, number, found| {
                    told[number as usize] = Some((key, found));
                })
                .expect("readable");
                for (n, told) in asked.into_iter().zip(told) {
                    let found = map.find(&key(n)).expect("readable");
                    prop_assert_eq!(told, found.map(|found| (key(n), found)));
                }
            }
            let mut entries: Vec<_> = (0..400)
                .filter_map(|n| map.find(&key(n)).expect("readable")?.entry)
                .collect();
            entries.sort_unstable();
            prop_assert!(entries.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", entries);
        }

        #[test]
        fn keys_need_not_be_spread_to_be_found(
            keys in prop::collection::btree_set(prop::array::uniform10(0_u8..3), 0..300),
            absent in prop::array::uniform10(0_u8..3),
        ) {
            let (_folder, mut map) = map(7);
            for key in &keys {
                map.insert(*key, [1; 4]).expect("there is room");
            }
            let mut wanted = Wanted::default();
            for key in keys.iter().chain([&absent]) {
                let found = map.get(key).expect("readable").is_some();
                prop_assert_eq!(found, keys.contains(key));
                wanted.push(key, 7);
            }
            let mut told = std::collections::BTreeSet::new();
            map.find_all(wanted, |key, _, _| {
                told.insert(key);
            })
            .expect("readable");
            prop_assert_eq!(told, keys);
        }
    }

    #[test]
    fn parts_stay_few_and_memory_small() {
        let (_folder, mut map) = map(100);
        for n in 0..100_000 {
            map.insert(key(n), n.to_le_bytes()).expect("there is room");
            assert!(map.parts.len() <= 20, "{} parts", map.parts.len());
        }
        let on_disk: u64 = map.parts.iter().map(Part::len).sum();
        assert_eq!(on_disk, 100_000);
        let memory: usize = map.parts.iter().map(Part::memory).sum();
        assert!(memory < 200_000, "{memory} bytes for 100,000 keys");
    }

    #[test]
    fn most_keys_that_are_not_there_cost_no_read() {
        let (_folder, mut map) = map(1000);
        for n in 0..10_000 {
            map.insert(key(n), [0; 4]).expect("there is room");
        }
        let absent: Vec<_> = (10_000..20_000).map(key).collect();
        let reads: usize = map
            .parts
            .iter()
            .map(|part| absent.iter().filter(|key| part.may_hold(key)).count())
            .sum();
        let asked = map.parts.len() * absent.len();
        assert!(reads * 30 < asked, "{reads} reads for {asked} questions");
    }

    #[test]
    fn many_keys_and_few_are_found_in_many_pages() {
        let (_folder, mut map) = map(20_000);
        for n in 0..40_000 {
            map.insert(key(n), n.to_le_bytes()).expect("there is room");
        }
        map.seal().expect("there is room");
        for step in [1, 10_007] {
            let mut wanted = Wanted::default();
            let asked = || (0..60_000).step_by(step);
            asked().for_each(|n| wanted.push(&key(n), n));
            let mut told = Vec::new();
            map.find_all(wanted, |_, number, found| {
                assert_eq!(found.value, number.to_le_bytes());
                told.push(number);
            })
            .expect("readable");
            told.sort_unstable();
            let expected: Vec<_> = asked().take_while(|&n| n < 40_000).collect();
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn its_files_have_no_name() {
        let (folder, mut map) = map(10);
        for n in 0..100 {
            map.insert(key(n), [0; 4]).expect("there is room");
        }
        let names = std::fs::read_dir(folder.path()).expect("the folder is there");
        assert_eq!(names.count(), 0);
        for part in &map.parts {
            let stat = rustix::fs::fstat(part.file().as_fd()).expect("an open file");
            assert_eq!(stat.st_nlink, 0);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_named_and_nothing_is_forgotten() {
        let mut map = DiskMap::<4>::with_table("/nonexistent/folder".into(), 2);
        map.insert(key(1), [1; 4]).expect("the table holds it");
        let error = map.insert(key(2), [2; 4]).expect_err("no folder");
        let said = error.to_string();
        assert!(said.contains("/nonexistent/folder: No such file"), "{said}");
        assert_eq!(map.get(&key(2)).expect("no file is read"), Some([2; 4]));
    }
}
