//! Waits for whatever comes first: the end of a run, progress at the origin, a signal, a moment.
//!
//! It must not act on any of them.

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

/// Signals that ask to end, as something that can be waited for.
#[derive(Debug)]
pub struct Interrupt {
    woken: UnixStream,
    number: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Listens to SIGINT and SIGTERM from now on, for as long as the process lives.
    ///
    /// # Errors
    ///
    /// If a handler cannot be installed.
    pub fn listen() -> io::Result<Self> {
        let (woken, waker) = UnixStream::pair()?;
        let number = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM] {
            // Signal numbers are small and positive. The number is noted before the sleeper wakes.
            let value = usize::try_from(signal).unwrap_or(0);
            signal_hook::flag::register_usize(signal, Arc::clone(&number), value)?;
            signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
        }
        Ok(Self { woken, number })
    }

    /// The signal that asked for the end, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<u8> {
        u8::try_from(self.number.load(Ordering::Relaxed))
            .ok()
            .filter(|&signal| signal > 0)
    }
}

/// The origin's journal, followed while it grows.
#[derive(Debug)]
pub struct Watch {
    changes: OwnedFd,
    journal: File,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
    complete: u64,
    stored: HashSet<String>,
}

impl Watch {
    /// Follows the journal at `path`, which is there, from its beginning.
    ///
    /// # Errors
    ///
    /// If it cannot be opened or watched (inotify(7)).
    pub fn follow(path: &Path) -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let changes = inotify::init(flags)?;
        inotify::add_watch(&changes, path, inotify::WatchFlags::MODIFY)?;
        Ok(Self {
            changes,
            journal: File::open(path)?,
            rest: Vec::new(),
            complete: 0,
            stored: HashSet::new(),
        })
    }

    /// How many bodies the origin has served to their end so far.
    #[must_use]
    pub const fn complete(&self) -> u64 {
        self.complete
    }

    /// For how many URLs.
    #[must_use]
    pub fn urls(&self) -> u64 {
        self.stored.len() as u64
    }

    /// Waits until the process of `pidfd` has ended, which it tells; or until the journal has
    /// grown, a signal has come, or it is `until`.
    ///
    /// # Errors
    ///
    /// If it cannot be waited, or the journal not be read.
    pub fn wait(
        &mut self,
        pidfd: BorrowedFd<'_>,
        interrupt: &Interrupt,
        until: Instant,
    ) -> io::Result<bool> {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut sources = [
            PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
            PollFd::new(&self.changes, PollFlags::IN),
            PollFd::new(&interrupt.woken, PollFlags::IN),
        ];
        match poll(&mut sources, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        // A pidfd is readable once its process has ended (pidfd_open(2)).
        let ended = !sources[0].revents().is_empty();
        self.read()?;
        Ok(ended)
    }

    /// Takes in what the journal has grown by.
    fn read(&mut self) -> io::Result<()> {
        let mut events = [0; 4096];
        // What changed is known: only one file is watched.
        while rustix::io::read(self.changes.as_fd(), &mut events).is_ok_and(|size| size > 0) {}
        self.journal.read_to_end(&mut self.rest)?;
        let end = self.rest.iter().rposition(|&byte| byte == b'\n');
        let rest = self.rest.split_off(end.map_or(0, |end| end + 1));
        for line in std::mem::replace(&mut self.rest, rest).split(|&byte| byte == b'\n') {
            // The checker reads it again at the end, and tells if a line is no request.
            if let Ok(seen) = serde_json::from_slice::<Seen>(line)
                && seen.complete
                && matches!(seen.status, Some(200 | 206))
            {
                self.complete += 1;
                self.stored.insert(seen.url);
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
        let mut watch = Watch::follow(file.path()).expect("it can be watched");
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
