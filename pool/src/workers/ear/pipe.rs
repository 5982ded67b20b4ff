//! The standard error of a worker: read without blocking, and kept and passed on within limits.

use std::os::fd::{AsFd, OwnedFd};

use crate::lines::Lines;
use rustix::io::Errno;

/// Approximate number of bytes read from a worker in a period: about 2.5 MiB per second.
const READ_PER_PERIOD: usize = 256 * 1024;

/// Maximum number of lines of a worker that are passed on in a period.
const LINES_PER_PERIOD: usize = 100;

/// The pipe of a worker.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Open until the end of the pipe is reached.
    pub(super) open: Option<OwnedFd>,
    lines: Lines,
    /// Counts in this period: bytes read, lines passed on, lines left out.
    read: usize,
    passed_on: usize,
    left_out: usize,
}

impl Pipe {
    pub(super) fn new(open: Option<OwnedFd>) -> Self {
        Self {
            open,
            lines: Lines::default(),
            read: 0,
            passed_on: 0,
            left_out: 0,
        }
    }

    /// Returns whether nothing more is read from the pipe in this period.
    pub(super) const fn is_throttled(&self) -> bool {
        self.read >= READ_PER_PERIOD
    }

    /// Returns whether the pipe needs the next period.
    pub(super) const fn waits(&self) -> bool {
        self.is_throttled() || self.left_out > 0
    }

    /// Processes the bytes read. Adds the lines to pass on to `passed_on`.
    fn feed(&mut self, bytes: &[u8], passed_on: &mut Vec<String>) {
        let (count, left_out) = (&mut self.passed_on, &mut self.left_out);
        self.read += bytes.len();
        self.lines.feed(bytes, |line| {
            if *count < LINES_PER_PERIOD {
                *count += 1;
                passed_on.push(line.to_owned());
            } else {
                *left_out += 1;
            }
        });
    }

    /// Starts a new period. Returns a line about what was left out in the last one.
    pub(super) fn begin_period(&mut self) -> Option<String> {
        (self.read, self.passed_on) = (0, 0);
        match std::mem::take(&mut self.left_out) {
            0 => None,
            count => Some(format!("({count} lines left out)")),
        }
    }

    /// Reads once into `buffer`, without blocking. Returns the lines to pass on.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Vec<String> {
        let mut passed_on = Vec::new();
        self.read_once(buffer, &mut passed_on);
        passed_on
    }

    /// Reads what is left in the pipe of a dead worker, without waiting for data of another process
    /// that has the pipe. Returns the lines to pass on, and the last lines.
    pub(super) fn finish(mut self, buffer: &mut [u8]) -> (Vec<String>, Vec<String>) {
        let mut passed_on = Vec::new();
        let there = |open: &OwnedFd| rustix::io::ioctl_fionread(open.as_fd()).unwrap_or_default();
        let left = self.open.as_ref().map_or(0, there);
        let mut left = usize::try_from(left).unwrap_or(usize::MAX);
        while left > 0 && self.open.is_some() {
            let most = buffer.len().min(left);
            match self.read_once(&mut buffer[..most], &mut passed_on) {
                0 => break,
                count => left -= count,
            }
        }
        passed_on.extend(self.begin_period());
        let last_words = self.lines.finish(|line| passed_on.push(line.to_owned()));
        (passed_on, last_words)
    }

    /// Returns the number of bytes read.
    fn read_once(&mut self, buffer: &mut [u8], passed_on: &mut Vec<String>) -> usize {
        let Some(open) = &self.open else {
            return 0;
        };
        match rustix::io::read(open, &mut *buffer) {
            Ok(count) if count > 0 => {
                self.feed(&buffer[..count], passed_on);
                count
            }
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Ok(_) | Err(_) => {
                self.open = None;
                0
            }
        }
    }
}
