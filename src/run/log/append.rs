//! Appends whole lines to a file, whatever errors occur.
//!
//! A write may be cut short if the disk is full or a limit is reached. Then the file ends with a
//! part of a line, and the next line would be appended to it. So that part is cut off again, and
//! the lines that were not written are kept for another try. This module does not know what the
//! lines contain.

use std::fs::File;
use std::io::{self, Write};

/// Size of the buffer in bytes at which it should be written.
pub(super) const FULL: usize = 64 * 1024;

/// A sink like a file that is opened for appending.
pub(super) trait Sink: Write {
    /// Truncates it to `length` bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;
    /// Waits until all written data is safe from a loss of power.
    fn sync(&mut self) -> io::Result<()>;
}

impl Sink for File {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

pub(super) struct Appender<S> {
    sink: S,
    /// Whole lines that are not written yet.
    buffer: Vec<u8>,
    /// Length of the sink up to the end of its last whole line.
    whole: u64,
    /// Whether a part of a line follows that could not be cut off yet.
    torn: bool,
    /// Whether lines must be safe from a loss of power once they are flushed.
    durable: bool,
}

impl<S: Sink> Appender<S> {
    /// Appends to a sink that contains `length` bytes, all of them whole lines.
    pub(super) fn new(sink: S, length: u64) -> Self {
        Self {
            sink,
            buffer: Vec::with_capacity(FULL + FULL / 4),
            whole: length,
            torn: false,
            durable: false,
        }
    }

    /// Makes lines safe from a loss of power once they are flushed. Syncs the existing lines now.
    pub(super) fn make_durable(&mut self) -> io::Result<()> {
        self.durable = true;
        self.sink.sync()
    }

    /// Adds the output of `write`, which must contain no newline, and a newline; or nothing if it
    /// fails.
    pub(super) fn line<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.buffer.len();
        let result = write(&mut self.buffer);
        if result.is_err() {
            self.buffer.truncate(before);
        } else {
            self.buffer.push(b'\n');
        }
        result
    }

    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= FULL
    }

    /// Returns the length of the sink up to the end of its last whole line.
    pub(super) const fn whole(&self) -> u64 {
        self.whole
    }

    /// Returns the number of lines that are not written yet.
    pub(super) fn pending(&self) -> usize {
        memchr::memchr_iter(b'\n', &self.buffer).count()
    }

    /// Writes the buffer. Takes one system call if the system accepts all, and one more if durable.
    ///
    /// After an error the sink ends with a whole line, and the buffer contains the lines that are
    /// missing. If only the sync failed, all lines are written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.torn {
            self.cut_back()?;
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut written = 0;
        while written < self.buffer.len() {
            let error = match self.sink.write(&self.buffer[written..]) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(count) => {
                    written += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.keep_unwritten(written);
            return Err(error);
        }
        self.whole += self.buffer.len() as u64;
        self.buffer.clear();
        if self.durable {
            self.sink.sync()?;
        }
        Ok(())
    }

    /// Handles a partial write of `written` bytes: removes the whole lines among them from the
    /// buffer, and cuts the rest off the sink.
    fn keep_unwritten(&mut self, written: usize) {
        let lines = memchr::memrchr(b'\n', &self.buffer[..written]).map_or(0, |at| at + 1);
        self.whole += lines as u64;
        self.buffer.drain(..lines);
        if written > lines {
            self.torn = true;
            // If this fails too, the next flush tries again, and so does the next start.
            let _ = self.cut_back();
        }
    }

    fn cut_back(&mut self) -> io::Result<()> {
        self.sink.cut(self.whole)?;
        self.torn = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// A disk of limited size that accepts a few bytes at a time and is sometimes interrupted.
    #[derive(Default)]
    struct Disk {
        content: Vec<u8>,
        size: usize,
        step: usize,
        writes: usize,
        cut_fails: bool,
    }

    impl Write for Disk {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.writes += 1;
            if self.writes.is_multiple_of(3) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let room = self.size - self.content.len();
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = data.len().min(room).min(self.step);
            self.content.extend_from_slice(&data[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Disk {
        fn cut(&mut self, length: u64) -> io::Result<()> {
            if self.cut_fails {
                return Err(io::ErrorKind::Other.into());
            }
            let length = usize::try_from(length).expect("small");
            assert!(length <= self.content.len(), "cutting must not extend");
            self.content.truncate(length);
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn add(appender: &mut Appender<Disk>, line: &[u8]) {
        let Ok(()) = appender.line(|buffer| {
            buffer.extend_from_slice(line);
            Ok::<_, Infallible>(())
        });
    }

    #[test]
    fn a_buffer_is_written_in_one_call() {
        let disk = Disk {
            size: 1 << 20,
            step: 1 << 20,
            ..Disk::default()
        };
        let mut appender = Appender::new(disk, 0);
        (0..100).for_each(|_| add(&mut appender, b"line"));
        appender.flush().expect("there is room");
        assert_eq!(appender.sink.writes, 1);
        appender.flush().expect("nothing to do");
        assert_eq!(appender.sink.writes, 1);
    }

    #[test]
    fn a_line_that_cannot_be_made_leaves_nothing() {
        let mut appender = Appender::new(Disk::default(), 0);
        let result = appender.line(|buffer| {
            buffer.extend_from_slice(b"half");
            Err(())
        });
        assert_eq!(result, Err(()));
        assert_eq!((appender.pending(), appender.buffer.len()), (0, 0));
    }

    #[test]
    fn half_a_line_that_cannot_be_cut_off_yet_is_cut_off_before_the_next() {
        let disk = Disk {
            size: 7,
            step: 100,
            cut_fails: true,
            ..Disk::default()
        };
        let mut appender = Appender::new(disk, 0);
        add(&mut appender, b"one");
        add(&mut appender, b"two");
        appender.flush().expect_err("the disk is full");
        assert_eq!(appender.sink.content, b"one\ntwo");
        assert_eq!(appender.pending(), 1);
        appender.sink.size = 100;
        appender.flush().expect_err("the half line is still there");
        assert_eq!(appender.sink.content, b"one\ntwo");
        appender.sink.cut_fails = false;
        appender.flush().expect("there is room");
        assert_eq!(appender.sink.content, b"one\ntwo\n");
    }

    proptest! {
        #[test]
        fn a_full_disk_holds_whole_lines_and_nothing_is_lost_or_doubled(
            lines in prop::collection::vec("[a-z]{0,20}", 1..20),
            sizes in prop::collection::vec(0_usize..60, 1..8),
            step in 1_usize..50,
        ) {
            let mut appender = Appender::new(Disk { step, ..Disk::default() }, 0);
            let mut expected = Vec::new();
            let mut lines = lines.iter();
            for more in sizes {
                for line in lines.by_ref().take(3) {
                    add(&mut appender, line.as_bytes());
                    expected.extend_from_slice(line.as_bytes());
                    expected.push(b'\n');
                }
                appender.sink.size += more;
                let flushed = appender.flush();
                let content = &appender.sink.content;
                prop_assert!(expected.starts_with(content));
                prop_assert!(content.is_empty() || content.ends_with(b"\n"));
                prop_assert_eq!(flushed.is_ok(), content.len() == expected.len());
                let missing = &expected[content.len()..];
                prop_assert_eq!(missing.split_inclusive(|&c| c == b'\n').count(), appender.pending());
            }
        }
    }
}
