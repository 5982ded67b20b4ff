//! Waits for the first of: the end of a run, progress at the origin, a signal, a deadline.
//!
//! This module must not act on any of them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use lab::origin::Seen;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Signals that ask the process to end, as an event that can be waited for.
#[derive(Debug)]
pub struct Interrupt {
    woken: UnixStream,
    number: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Handles SIGINT and SIGTERM from now on, until the process ends.
    ///
    /// # Errors
    ///
    /// Fails if a handler cannot be installed.
    pub fn listen() -> io::Result<Self> {
        let (woken, waker) = UnixStream::pair()?;
        let number = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM] {
            // Signal numbers are small and positive. The number is stored before the wake-up.
            let value = usize::try_from(signal).unwrap_or(0);
            signal_hook::flag::register_usize(signal, Arc::clone(&number), value)?;
            signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
        }
        Ok(Self { woken, number })
    }

    /// Returns the signal that asked for the end, if any.
    #[must_use]
    pub fn signal(&self) -> Option<u8> {
        u8::try_from(self.number.load(Ordering::Relaxed))
            .ok()
            .filter(|&signal| signal > 0)
    }
}

/// Follows the journals of origins while they grow.
#[derive(Debug)]
pub struct Watch {
    changes: OwnedFd,
    journals: Vec<Journal>,
    complete: u64,
    stored: HashSet<String>,
}

#[derive(Debug)]
struct Journal {
    file: File,
    /// The beginning of a line that is not complete yet.
    rest: Vec<u8>,
}

impl Watch {
    /// Follows the journals at these paths, which must exist, from their beginning.
    ///
    /// # Errors
    ///
    /// Fails if one cannot be opened or watched (inotify(7)).
    pub fn follow<'a>(paths: impl IntoIterator<Item = &'a Path>) -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let changes = inotify::init(flags)?;
        let mut journals = Vec::new();
        for path in paths {
            inotify::add_watch(&changes, path, inotify::WatchFlags::MODIFY)?;
            let (file, rest) = (File::open(path)?, Vec::new());
            journals.push(Journal { file, rest });
        }
        Ok(Self {
            changes,
            journals,
            complete: 0,
            stored: HashSet::new(),
        })
    }

    /// Returns how many bodies the origins have served whole.
    #[must_use]
    pub const fn complete(&self) -> u64 {
        self.complete
    }

    /// Returns for how many URLs the origins have served bodies whole.
    #[must_use]
    pub fn urls(&self) -> u64 {
        self.stored.len() as u64
    }

    /// Waits until the process of `pidfd` has ended, a journal has grown, a signal has arrived, or
    /// `until` is reached. Returns whether the process has ended.
    ///
    /// # Errors
    ///
    /// Fails if the wait fails, or a journal cannot be read.
    pub fn wait(
        &mut self,
        pidfd: BorrowedFd<'_>,
        interrupt: &Interrupt,
        until: Instant,
    ) -> io::Result<bool> {
        let ended = self.wait_for_any(&[pidfd], interrupt, until)?;
        Ok(ended.contains(&true))
    }

    /// Does the same for several processes, and returns which of them have ended.
    ///
    /// # Errors
    ///
    /// Fails if the wait fails, or a journal cannot be read.
    pub fn wait_for_any(
        &mut self,
        pidfds: &[BorrowedFd<'_>],
        interrupt: &Interrupt,
        until: Instant,
    ) -> io::Result<Vec<bool>> {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let processes = pidfds
            .iter()
            .map(|pidfd| PollFd::from_borrowed_fd(*pidfd, PollFlags::IN));
        let mut sources: Vec<_> = processes.collect();
        sources.push(PollFd::new(&self.changes, PollFlags::IN));
        sources.push(PollFd::new(&interrupt.woken, PollFlags::IN));
        match poll(&mut sources, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        // A pidfd is readable once its process has ended (pidfd_open(2)).
        let ended = sources[..pidfds.len()]
            .iter()
            .map(|source| !source.revents().is_empty())
            .collect();
        self.read()?;
        Ok(ended)
    }

    /// Reads the new lines of the journals.
    fn read(&mut self) -> io::Result<()> {
        let mut events = [0; 4096];
        // The events are discarded, because all journals are read anyway.
        while rustix::io::read(self.changes.as_fd(), &mut events).is_ok_and(|size| size > 0) {}
        for journal in &mut self.journals {
            journal.file.read_to_end(&mut journal.rest)?;
            let end = journal.rest.iter().rposition(|&byte| byte == b'\n');
            let rest = journal.rest.split_off(end.map_or(0, |end| end + 1));
            let lines = std::mem::replace(&mut journal.rest, rest);
            for line in lines.split(|&byte| byte == b'\n') {
                // The checker reads the journal again at the end, and reports invalid lines.
                if let Ok(seen) = serde_json::from_slice::<Seen>(line)
                    && seen.complete
                    && matches!(seen.status, Some(200 | 206))
                {
                    self.complete += 1;
                    self.stored.insert(seen.url);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn line(url: &str, complete: bool) -> String {
        let seen = Seen {
            url: url.to_owned(),
            status: Some(200),
            complete,
            ..Seen::default()
        };
        serde_json::to_string(&seen).expect("it is JSON") + "\n"
    }

    #[test]
    fn progress_counts_lines_that_are_written_to_their_end() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let mut watch = Watch::follow([file.path()]).expect("it can be watched");
        let (one, two) = (line("a", true), line("b", true));
        let text = format!("{one}{}{}{}", line("c", false), one, &two[..9]);
        file.write_all(text.as_bytes()).expect("writable");
        watch.read().expect("readable");
        assert_eq!((watch.complete(), watch.urls()), (2, 1));
        file.write_all(&two.as_bytes()[9..]).expect("writable");
        watch.read().expect("readable");
        assert_eq!((watch.complete(), watch.urls()), (3, 2));
    }
}
