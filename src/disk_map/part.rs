//! Sorted entries in a file, with the first key of each page and a filter in memory.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::filter::Filter;
use super::{KEY, Key, rank, unrank};

/// Maximum size of a page in bytes: the amount that a look-up reads.
const PAGE: usize = 4096;

/// Bytes that a merge reads at a time from each part.
const READ_AHEAD: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Part<const V: usize> {
    file: File,
    /// Position of the first entry in the file.
    from: u64,
    entries: u64,
    /// The first key of each page.
    firsts: Vec<Key>,
    filter: Option<Filter>,
}

impl<const V: usize> Part<V> {
    const ENTRY: usize = KEY + V;
    const PER_PAGE: usize = PAGE / Self::ENTRY;
    /// Bytes of a page that hold entries.
    const PAGE: usize = Self::PER_PAGE * Self::ENTRY;

    /// Opens the part that is in `file` at `from`. Passes all its bytes to `seen`.
    pub(super) fn open(
        file: File,
        from: u64,
        entries: u64,
        filter: bool,
        mut seen: impl FnMut(&[u8]),
    ) -> io::Result<Self> {
        // Check this before allocating memory for this number of entries.
        let end = from.checked_add(Self::bytes(entries) as u64);
        if end.is_none_or(|end| end > file.metadata().map_or(0, |file| file.len())) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let most = usize::try_from(entries).map_err(io::Error::other)?;
        let mut keys = Keys::new::<V>(most, filter);
        let most = READ_AHEAD / Self::ENTRY * Self::ENTRY;
        let mut buffer = vec![0; most];
        let mut at = 0;
        while at < entries {
            let left = Self::bytes(entries - at).min(most);
            let bytes = &mut buffer[..left];
            file.read_exact_at(bytes, from + at * Self::ENTRY as u64)?;
            seen(bytes);
            for entry in bytes.chunks_exact(Self::ENTRY) {
                keys.add::<V>(&Self::entry(entry, 0).0);
            }
            at += (left / Self::ENTRY) as u64;
        }
        Ok(keys.of(file, from))
    }

    /// Returns the number of its entries.
    pub(super) const fn len(&self) -> u64 {
        self.entries
    }

    /// Returns the number and the value of the entry of `key`. Takes one read at most.
    pub(super) fn get(&self, key: &Key) -> io::Result<Option<(u64, [u8; V])>> {
        if !self.may_hold(key) {
            return Ok(None);
        }
        let wanted = rank(key);
        let before = self.firsts.partition_point(|first| rank(first) <= wanted);
        let Some(page) = before.checked_sub(1) else {
            return Ok(None);
        };
        let mut buffer = [0; PAGE];
        let first = (page * Self::PER_PAGE) as u64;
        let length = Self::bytes(self.entries - first).min(Self::PAGE);
        let page = &mut buffer[..length];
        self.read_at(page, first)?;
        let found = Self::search(page, wanted);
        Ok(found.map(|(at, value)| (first + at as u64, value)))
    }

    /// Looks up keys in ascending order, and removes those that exist. Calls `tell` with each of
    /// these, the number of its entry and its value. The lower [`u32::BITS`] bits of a key belong
    /// to the caller.
    pub(super) fn find_all(
        &self,
        wanted: &mut Vec<u128>,
        mut tell: impl FnMut(u128, u64, [u8; V]),
    ) -> io::Result<()> {
        // If there are more keys than pages, read many pages at a time.
        let together = if wanted.len() > self.firsts.len() {
            READ_AHEAD / PAGE
        } else {
            1
        };
        let mut buffer = vec![0; together * Self::PAGE];
        let (mut page, mut read) = (0, 0..0);
        let mut left = 0;
        for index in 0..wanted.len() {
            let one = wanted[index];
            let key = one >> u32::BITS;
            let next = |page: usize| self.firsts.get(page + 1).map(rank);
            while next(page).is_some_and(|first| first <= key) {
                page += 1;
            }
            let may_hold = together > 1 || self.may_hold(&unrank(key));
            if may_hold && !read.contains(&page) {
                let first = (page * Self::PER_PAGE) as u64;
                let length = Self::bytes(self.entries - first).min(together * Self::PAGE);
                buffer.resize(length, 0);
                self.read_at(&mut buffer, first)?;
                read = page..page + length.div_ceil(Self::PAGE);
            }
            let found = may_hold.then(|| {
                let from = (page - read.start) * Self::PAGE;
                let end = (from + Self::PAGE).min(buffer.len());
                Self::search(&buffer[from..end], key)
            });
            if let Some((at, value)) = found.flatten() {
                tell(one, (page * Self::PER_PAGE + at) as u64, value);
            } else {
                wanted[left] = one;
                left += 1;
            }
        }
        wanted.truncate(left);
        Ok(())
    }

    /// Returns the index in the page and the value of the entry of `wanted`.
    fn search(page: &[u8], wanted: u128) -> Option<(usize, [u8; V])> {
        let (mut low, mut high) = (0, page.len() / Self::ENTRY);
        while low < high {
            let middle = usize::midpoint(low, high);
            let (found, value) = Self::entry(page, middle);
            match rank(&found).cmp(&wanted) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some((middle, value)),
            }
        }
        None
    }

    /// Reads entries from `first` on.
    fn read_at(&self, bytes: &mut [u8], first: u64) -> io::Result<()> {
        let at = self.from + first * Self::ENTRY as u64;
        self.file.read_exact_at(bytes, at)
    }

    /// Returns the entry at `index` of `bytes`.
    fn entry(bytes: &[u8], index: usize) -> (Key, [u8; V]) {
        let entry = &bytes[index * Self::ENTRY..][..Self::ENTRY];
        let (mut key, mut value) = ([0; KEY], [0; V]);
        key.copy_from_slice(&entry[..KEY]);
        value.copy_from_slice(&entry[KEY..]);
        (key, value)
    }

    /// Returns the size of `entries` in bytes, or the largest number if it is larger.
    fn bytes(entries: u64) -> usize {
        usize::try_from(entries)
            .unwrap_or(usize::MAX)
            .saturating_mul(Self::ENTRY)
    }

    pub(super) fn may_hold(&self, key: &Key) -> bool {
        let filter = self.filter.as_ref();
        filter.is_none_or(|filter| filter.may_contain(key))
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.filter.as_ref().map_or(0, Filter::memory) + self.firsts.capacity() * KEY
    }

    #[cfg(test)]
    pub(super) const fn file(&self) -> &File {
        &self.file
    }
}

/// The data of a part in memory, while it is read or written. Keys must be ascending and unique.
struct Keys {
    entries: u64,
    firsts: Vec<Key>,
    filter: Option<Filter>,
}

impl Keys {
    /// Creates it for at most `entries`.
    fn new<const V: usize>(entries: usize, filter: bool) -> Self {
        Self {
            entries: 0,
            firsts: Vec::with_capacity(entries.div_ceil(Part::<V>::PER_PAGE)),
            filter: filter.then(|| Filter::new(entries)),
        }
    }

    fn add<const V: usize>(&mut self, key: &Key) {
        if self.entries.is_multiple_of(Part::<V>::PER_PAGE as u64) {
            self.firsts.push(*key);
        }
        self.entries += 1;
        if let Some(filter) = &mut self.filter {
            filter.insert(key);
        }
    }

    fn of<const V: usize>(self, file: File, from: u64) -> Part<V> {
        Part {
            file,
            from,
            entries: self.entries,
            firsts: self.firsts,
            filter: self.filter,
        }
    }
}

/// Writes a part.
pub(super) struct PartWriter<S: FnMut(&[u8]), const V: usize> {
    file: BufWriter<Shown<S>>,
    from: u64,
    keys: Keys,
}

/// A file that passes all bytes written to it to `seen`.
struct Shown<S> {
    file: File,
    seen: S,
}

impl<S: FnMut(&[u8])> Write for Shown<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        (self.seen)(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<const V: usize> PartWriter<fn(&[u8]), V> {
    /// Creates a part of at most `entries`, in a file without a name in `folder`.
    pub(super) fn create(folder: &Path, entries: usize, filter: bool) -> io::Result<Self> {
        Self::append(tempfile::tempfile_in(folder)?, entries, filter, |_| {})
    }
}

impl<S: FnMut(&[u8]), const V: usize> PartWriter<S, V> {
    /// Starts a part of at most `entries` at the current position of `file`.
    pub(super) fn append(
        mut file: File,
        entries: usize,
        filter: bool,
        seen: S,
    ) -> io::Result<Self> {
        Ok(Self {
            from: file.stream_position()?,
            file: BufWriter::with_capacity(READ_AHEAD, Shown { file, seen }),
            keys: Keys::new::<V>(entries, filter),
        })
    }

    pub(super) fn push(&mut self, key: &Key, value: &[u8; V]) -> io::Result<()> {
        self.keys.add::<V>(key);
        self.file.write_all(key)?;
        self.file.write_all(value)
    }

    pub(super) fn finish(self) -> io::Result<Part<V>> {
        let shown = self.file.into_inner();
        let shown = shown.map_err(io::IntoInnerError::into_error)?;
        Ok(self.keys.of(shown.file, self.from))
    }
}

/// Merges parts into one, oldest first, unless there are none. If a key has several values, the
/// newest stays. `begin` creates the writer for at most the given number of entries.
pub(super) fn merge<S: FnMut(&[u8]), const V: usize>(
    parts: &[Part<V>],
    begin: impl FnOnce(usize) -> io::Result<PartWriter<S, V>>,
) -> io::Result<Option<Part<V>>> {
    if parts.is_empty() {
        return Ok(None);
    }
    let entries: u64 = parts.iter().map(Part::len).sum();
    let mut writer = begin(usize::try_from(entries).map_err(io::Error::other)?)?;
    let mut sources = Vec::with_capacity(parts.len());
    for part in parts {
        sources.push(Cursor::new(part)?);
    }
    // There are so few parts that checking each is faster than a heap.
    while let Some(key) = sources
        .iter()
        .filter_map(|source| source.head)
        .map(|(key, _)| key)
        .min_by_key(rank)
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
    writer.finish().map(Some)
}

/// A part that is read from start to end.
struct Cursor<'a, const V: usize> {
    part: &'a Part<V>,
    buffer: Vec<u8>,
    /// Index in the buffer of the entry after the head.
    next: usize,
    /// Number of entries that are not in the buffer yet.
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
            let first = self.part.entries - self.left;
            self.part.read_at(&mut self.buffer, first)?;
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
