//! A sorted file of entries, without a name, and what of it is kept in memory: the first key of each
//! page, and a filter.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::filter::Filter;
use super::{KEY, Key};

/// Largest page, in bytes: what a look-up reads.
const PAGE: usize = 4096;

/// Bytes read at a time by a merge, from each part.
const READ_AHEAD: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Part<const V: usize> {
    file: File,
    entries: u64,
    /// The first key of each page.
    firsts: Vec<Key>,
    filter: Filter,
}

impl<const V: usize> Part<V> {
    const ENTRY: usize = KEY + V;
    const PER_PAGE: usize = PAGE / Self::ENTRY;

    /// How many entries it has.
    pub(super) const fn len(&self) -> u64 {
        self.entries
    }

    /// The value of `key`: one read at most.
    pub(super) fn get(&self, key: &Key) -> io::Result<Option<[u8; V]>> {
        if !self.filter.may_contain(key) {
            return Ok(None);
        }
        let Some(page) = self
            .firsts
            .partition_point(|first| first <= key)
            .checked_sub(1)
        else {
            return Ok(None);
        };
        let mut buffer = [0; PAGE];
        let from = (page * Self::PER_PAGE) as u64;
        let length = Self::bytes(self.entries - from).min(Self::PER_PAGE * Self::ENTRY);
        let page = &mut buffer[..length];
        self.file.read_exact_at(page, from * Self::ENTRY as u64)?;
        let (mut low, mut high) = (0, length / Self::ENTRY);
        while low < high {
            let middle = usize::midpoint(low, high);
            let (found, value) = Self::entry(page, middle);
            match found.cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(value)),
            }
        }
        Ok(None)
    }

    /// The entry at `index` of `bytes`, which hold it.
    fn entry(bytes: &[u8], index: usize) -> (Key, [u8; V]) {
        let entry = &bytes[index * Self::ENTRY..][..Self::ENTRY];
        let (mut key, mut value) = ([0; KEY], [0; V]);
        key.copy_from_slice(&entry[..KEY]);
        value.copy_from_slice(&entry[KEY..]);
        (key, value)
    }

    /// Bytes that `entries` take; as many as can be if that is more.
    fn bytes(entries: u64) -> usize {
        usize::try_from(entries)
            .unwrap_or(usize::MAX)
            .saturating_mul(Self::ENTRY)
    }

    #[cfg(test)]
    pub(super) fn may_hold(&self, key: &Key) -> bool {
        self.filter.may_contain(key)
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.filter.memory() + self.firsts.capacity() * KEY
    }

    #[cfg(test)]
    pub(super) const fn file(&self) -> &File {
        &self.file
    }
}

/// Writes a part. Keys must come in ascending order, each once.
pub(super) struct PartWriter<const V: usize> {
    file: BufWriter<File>,
    part: (u64, Vec<Key>, Filter),
}

impl<const V: usize> PartWriter<V> {
    /// Begins a part of at most `entries`, in `folder`.
    pub(super) fn create(folder: &Path, entries: usize) -> io::Result<Self> {
        let file = tempfile::tempfile_in(folder)?;
        let pages = entries.div_ceil(Part::<V>::PER_PAGE);
        Ok(Self {
            file: BufWriter::with_capacity(READ_AHEAD, file),
            part: (0, Vec::with_capacity(pages), Filter::new(entries)),
        })
    }

    pub(super) fn push(&mut self, key: &Key, value: &[u8; V]) -> io::Result<()> {
        let (entries, firsts, filter) = &mut self.part;
        if entries.is_multiple_of(Part::<V>::PER_PAGE as u64) {
            firsts.push(*key);
        }
        *entries += 1;
        filter.insert(key);
        self.file.write_all(key)?;
        self.file.write_all(value)
    }

    pub(super) fn finish(self) -> io::Result<Part<V>> {
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let (entries, firsts, filter) = self.part;
        Ok(Part {
            file,
            entries,
            firsts,
            filter,
        })
    }
}

/// Makes one part of several, the oldest of them first: of one key's values the newest stays.
pub(super) fn merge<const V: usize>(folder: &Path, parts: &[Part<V>]) -> io::Result<Part<V>> {
    let entries: u64 = parts.iter().map(Part::len).sum();
    let entries = usize::try_from(entries).map_err(io::Error::other)?;
    let mut writer = PartWriter::create(folder, entries)?;
    let mut sources = Vec::with_capacity(parts.len());
    for part in parts {
        sources.push(Cursor::new(part)?);
    }
    // Few enough that looking at each is faster than a heap.
    while let Some(key) = sources
        .iter()
        .filter_map(|source| source.head)
        .map(|(key, _)| key)
        .min()
    {
        let mut newest = None;
        for source in &mut sources {
            if let Some((head, value)) = source.head
                && head == key
            {
                newest = Some(value);
                source.advance()?;
            }
        }
        if let Some(value) = newest {
            writer.push(&key, &value)?;
        }
    }
    writer.finish()
}

/// A part, read from its start to its end.
struct Cursor<'a, const V: usize> {
    part: &'a Part<V>,
    buffer: Vec<u8>,
    /// Index in the buffer of the entry after the head.
    next: usize,
    /// Entries that are not in the buffer yet.
    left: u64,
    head: Option<(Key, [u8; V])>,
}

impl<'a, const V: usize> Cursor<'a, V> {
    fn new(part: &'a Part<V>) -> io::Result<Self> {
        let mut cursor = Self {
            part,
            buffer: Vec::new(),
            next: 0,
            left: part.entries,
            head: None,
        };
        cursor.advance()?;
        Ok(cursor)
    }

    fn advance(&mut self) -> io::Result<()> {
        let entry = Part::<V>::ENTRY;
        if self.next * entry == self.buffer.len() {
            let most = READ_AHEAD / entry * entry;
            self.buffer.resize(Part::<V>::bytes(self.left).min(most), 0);
            let from = (self.part.entries - self.left) * entry as u64;
            self.part.file.read_exact_at(&mut self.buffer, from)?;
            self.left -= (self.buffer.len() / entry) as u64;
            self.next = 0;
        }
        self.head = if self.buffer.is_empty() {
            None
        } else {
            self.next += 1;
            Some(Part::<V>::entry(&self.buffer, self.next - 1))
        };
        Ok(())
    }
}
