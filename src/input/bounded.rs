//! Reads lines of any length in bounded memory, without copying them.
//!
//! This module does not know what a line contains. Its reader may fail or be interrupted.

use std::io::{self, Read};

/// Least number of bytes to request from the reader at once.
const CHUNK: usize = 128 * 1024;

/// One line, without its newline. A carriage return is kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RawLine<'a> {
    /// A line that ends with a newline.
    Whole(&'a [u8]),
    /// The last line, without a newline after it. Never empty.
    Unended(&'a [u8]),
    /// The first bytes of a line that exceeds the limit, up to the limit. The rest is dropped.
    TooLong(&'a [u8]),
}

/// Splits a reader into lines.
pub(crate) struct BoundedLines<R> {
    reader: R,
    limit: usize,
    /// Bytes that are read but not yet returned are `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The rest of an overlong line must still be dropped.
    skipping: bool,
    /// Bytes read so far.
    consumed: u64,
}

impl<R: Read> BoundedLines<R> {
    /// Splits lines of at most `limit` bytes. Holds at most `limit` + 128 KiB in memory.
    pub(crate) fn new(reader: R, limit: usize) -> Self {
        Self {
            reader,
            limit,
            buffer: vec![0; CHUNK],
            start: 0,
            end: 0,
            skipping: false,
            consumed: 0,
        }
    }

    /// Sets the length limit for lines from now on.
    pub(crate) const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(crate) const fn reader(&self) -> &R {
        &self.reader
    }

    /// Returns the next bytes without consuming them: up to the end of the first line that is not
    /// blank, or `most` bytes, or up to the end of the input.
    ///
    /// # Errors
    ///
    /// Fails like [`next_line`](Self::next_line).
    pub(crate) fn peek_line(&mut self, most: usize) -> io::Result<&[u8]> {
        loop {
            let pending = &self.buffer[self.start..self.end];
            let line = pending.trim_ascii_start();
            let is_enough = pending.len() >= most || memchr::memchr(b'\n', line).is_some();
            if is_enough || self.fill()? == 0 {
                return Ok(&self.buffer[self.start..self.end]);
            }
        }
    }

    /// Returns whether the next line is available without reading, which may block.
    pub(crate) fn has_line(&self) -> bool {
        !self.skipping && memchr::memchr(b'\n', &self.buffer[self.start..self.end]).is_some()
    }

    /// Returns the number of bytes returned or dropped so far.
    pub(crate) const fn consumed(&self) -> u64 {
        self.consumed - (self.end - self.start) as u64
    }

    /// Returns the next line, or `None` at the end. The line borrows the buffer.
    ///
    /// # Errors
    ///
    /// Fails like the reader. An interrupted read is retried.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<RawLine<'_>>> {
        if self.skipping {
            self.skip_to_newline()?;
        }
        let mut scanned = 0;
        loop {
            let pending = &self.buffer[self.start..self.end];
            if let Some(found) = memchr::memchr(b'\n', &pending[scanned..]) {
                let line = self.start..self.start + scanned + found;
                self.start = line.end + 1;
                let line = &self.buffer[line];
                return Ok(Some(match line.get(..self.limit) {
                    Some(head) if line.len() > self.limit => RawLine::TooLong(head),
                    Some(_) | None => RawLine::Whole(line),
                }));
            }
            scanned = pending.len();
            if scanned > self.limit {
                let head = self.start..self.start + self.limit;
                self.start = self.end;
                self.skipping = true;
                return Ok(Some(RawLine::TooLong(&self.buffer[head])));
            }
            if self.fill()? == 0 {
                let rest = self.start..self.end;
                self.start = self.end;
                let rest = &self.buffer[rest];
                return Ok((!rest.is_empty()).then_some(RawLine::Unended(rest)));
            }
        }
    }

    /// Returns the next line like [`next_line`](Self::next_line), with its offset in bytes.
    pub(crate) fn next_line_at(&mut self) -> io::Result<Option<(u64, RawLine<'_>)>> {
        if self.skipping {
            self.skip_to_newline()?;
        }
        let at = self.consumed();
        Ok(self.next_line()?.map(|line| (at, line)))
    }

    fn skip_to_newline(&mut self) -> io::Result<()> {
        loop {
            let pending = &self.buffer[self.start..self.end];
            if let Some(found) = memchr::memchr(b'\n', pending) {
                self.start += found + 1;
                break;
            }
            self.start = self.end;
            if self.fill()? == 0 {
                break;
            }
        }
        self.skipping = false;
        Ok(())
    }

    /// Reads more bytes after `end`. Returns 0 at the end of the input.
    fn fill(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buffer.len() - self.end < CHUNK / 2 {
                let size = (self.buffer.len() * 2).min(self.limit + CHUNK);
                self.buffer.resize(size.max(self.buffer.len()), 0);
            }
        }
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    self.consumed += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns at most `step` bytes for each read, and is interrupted before each.
    struct Trickle<'a> {
        data: &'a [u8],
        step: usize,
        interrupt: bool,
    }

    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.interrupt = !self.interrupt;
            if self.interrupt {
                return Err(io::ErrorKind::Interrupted.into());
            }
            assert!(!out.is_empty(), "a read into nothing looks like the end");
            let count = self.step.min(out.len()).min(self.data.len());
            let (now, later) = self.data.split_at(count);
            out[..count].copy_from_slice(now);
            self.data = later;
            Ok(count)
        }
    }

    fn split(data: &[u8], step: usize, limit: usize) -> Vec<(char, Vec<u8>)> {
        let interrupt = false;
        let mut lines = BoundedLines::new(
            Trickle {
                data,
                step,
                interrupt,
            },
            limit,
        );
        let mut out = Vec::new();
        while let Some(line) = lines.next_line().expect("no real errors") {
            out.push(match line {
                RawLine::Whole(line) => ('w', line.to_vec()),
                RawLine::Unended(line) => ('u', line.to_vec()),
                RawLine::TooLong(line) => ('l', line.to_vec()),
            });
        }
        let most = limit + CHUNK;
        assert!(lines.buffer.len() <= most, "the buffer stays within bounds");
        out
    }

    fn model(data: &[u8], limit: usize) -> Vec<(char, Vec<u8>)> {
        let mut out = Vec::new();
        for line in data.split_inclusive(|&byte| byte == b'\n') {
            let (kind, line) = match line.strip_suffix(b"\n") {
                Some(line) => ('w', line),
                None => ('u', line),
            };
            if line.len() > limit {
                out.push(('l', line[..limit].to_vec()));
            } else {
                out.push((kind, line.to_vec()));
            }
        }
        out
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_input_arrives(
            data in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), any::<u8>()], 0..300),
            step in 1_usize..50,
            limit in 1_usize..20,
        ) {
            prop_assert_eq!(split(&data, step, limit), model(&data, limit));
        }
    }

    #[test]
    fn lines_around_the_chunk_size_are_whole() {
        for length in [CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 8 * CHUNK] {
            let mut data = b"short\n".to_vec();
            data.resize(length, b'x');
            data.extend_from_slice(b"\nnext\n");
            for limit in [16, CHUNK - 6, CHUNK, 8 * CHUNK] {
                assert_eq!(split(&data, 7919, limit), model(&data, limit));
            }
        }
    }
}
