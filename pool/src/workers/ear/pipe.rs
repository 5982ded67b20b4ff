//! The standard error of one worker: read without waiting, a bounded part of it kept and passed on.

use std::os::fd::{AsFd, OwnedFd};

use crate::lines::Lines;
use rustix::io::Errno;

/// Bytes that are read of one worker in a period, about: some 2.5 MiB a second.
const READ_PER_PERIOD: usize = 256 * 1024;

/// Lines of one worker that are passed on in a period.
const LINES_PER_PERIOD: usize = 100;

/// One worker's pipe.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Until its end is seen.
    pub(super) open: Option<OwnedFd>,
    lines: Lines,
    /// In this period: bytes read, lines passed on, lines left out.
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

    /// No more is read of it in this period.
    pub(super) const fn is_throttled(&self) -> bool {
        self.read >= READ_PER_PERIOD
    }

    /// It waits for the next period.
    pub(super) const fn waits(&self) -> bool {
        self.is_throttled() || self.left_out > 0
    }

    /// Takes in what was read; what is to be passed on of it is added to `passed_on`.
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

    /// A new period begins. Says how much of the last one is missing.
    pub(super) fn begin_period(&mut self) -> Option<String> {
        (self.read, self.passed_on) = (0, 0);
        match std::mem::take(&mut self.left_out) {
            0 => None,
            count => Some(format!("({count} lines left out)")),
        }
    }

    /// Reads once without waiting, into `buffer`; the lines to pass on.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Vec<String> {
        let mut passed_on = Vec::new();
        self.read_once(buffer, &mut passed_on);
        passed_on
    }

    /// Reads what is in the pipe of a dead worker. Nothing of its own can be added to that; if
    /// another process writes there, that is not waited for. Returns the lines to pass on, and the
    /// last lines.
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

    /// How many bytes that were.
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
