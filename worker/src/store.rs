//! Bodies: written into the worker's own folder, and hashed on the way.
//!
//! Every body stays in that folder; the coordinator puts it in place when it hears that it is whole.
//! A small one costs three system calls: open, write, close.
//!
//! What it promises, it promises across the death of any process; and across the loss of power, if
//! it is told to sync. It must not know names of files, or what HTTP is.

mod hashes;
mod site;

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use protocol::{Assignment, Checksum, FailureKind, PartialNote, Severity};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fdatasync, openat, unlinkat};
use rustix::io::Errno;

use crate::descriptor;
use crate::fault::Fault;

use hashes::Hashes;
pub use site::Site;
use site::Vouching;

/// What messages call a body; which one it is, the task tells.
const BODY: &str = "the partial file";

/// Bytes that are hashed between two looks at anything else.
const REHASH: usize = 1024 * 1024;

/// The folder of a worker, held open.
#[derive(Debug)]
pub struct Store {
    partial: OwnedFd,
    /// What partial bodies are good for; nothing if none is to be kept.
    boot: Option<String>,
    fsync: bool,
}

impl Store {
    /// Opens the folder, which must exist. Partial bodies are kept for other attempts if it is known
    /// which boot of the machine this is. With `fsync` a body that is committed is safe from the
    /// loss of power, but for its name.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn new(partial: &Path, boot: Option<String>, fsync: bool) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(CWD, partial, flags, Mode::empty()).map_err(|errno| {
            let cause = std::io::Error::from(errno);
            let text = format!("cannot open folder {}: {cause}", partial.display());
            std::io::Error::new(cause.kind(), text)
        });
        Ok(Self {
            partial: opened?,
            boot,
            fsync,
        })
    }

    /// Where the body of this assignment will be, and what an earlier attempt left of it, if one
    /// has begun it.
    ///
    /// # Errors
    ///
    /// If its name could lead out of the folder.
    pub fn site(self: &Arc<Self>, assignment: &Assignment) -> Result<Site, Fault> {
        check(&assignment.partial)?;
        Ok(Site::new(Arc::clone(self), assignment))
    }
}

/// A body on its way. Dropped before [`commit`](Self::commit), it leaves nothing behind, unless it
/// has a note and another attempt can go on with it.
#[derive(Debug)]
pub struct Partial {
    store: Arc<Store>,
    name: String,
    /// Empty once committed.
    file: Option<File>,
    hashes: Hashes,
    bytes: u64,
    /// How many of these are in the hash.
    hashed: u64,
    /// There is a note beside it.
    noted: bool,
    /// Bytes may be written ahead, so that the size of the file says nothing.
    spread: bool,
    /// The note that says how much is whole, if there is one.
    vouching: Option<Box<Vouching>>,
}

/// Writes at any place of a body.
#[derive(Debug)]
pub(crate) struct Ahead(Option<File>);

impl Ahead {
    /// Writes `data` from byte `at` on.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the file is of no use then.
    pub(crate) fn write(&self, data: &[u8], at: u64) -> Result<(), Fault> {
        let Some(file) = &self.0 else {
            return Err(written_whole());
        };
        file.write_all_at(data, at).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Fault::storing("write", BODY, errno)
        })
    }
}

fn written_whole() -> Fault {
    Fault::permanent(
        FailureKind::Internal,
        "cannot write to a body that is whole",
    )
}

/// A body that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// The other checksums that the list has of it, as they are of what was received.
    pub checksums: Vec<Checksum>,
    /// It is that of the file in place, and nothing was received.
    pub unchanged: bool,
}

impl Committed {
    /// A file that stays where it is.
    #[must_use]
    pub const fn kept(bytes: u64, sha256: [u8; 32]) -> Self {
        Self {
            bytes,
            sha256,
            checksums: Vec::new(),
            unchanged: true,
        }
    }
}

impl Partial {
    /// Appends `data`. Unbuffered: hand it large pieces.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the file is of no use then.
    pub fn write(&mut self, data: &[u8]) -> Result<(), Fault> {
        let Some(file) = &mut self.file else {
            return Err(written_whole());
        };
        file.write_all(data).map_err(|error| {
            // `write_all` fails by itself only when a write takes nothing, which files do not do.
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Fault::storing("write", BODY, errno)
        })?;
        self.hashes.update(data);
        self.bytes += data.len() as u64;
        self.hashed += data.len() as u64;
        Ok(())
    }

    /// Bytes of the file so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hashes some more of what an earlier attempt left, and says whether that was all. To be
    /// called until it was, and before anything is written.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn rehash(&mut self) -> Result<bool, Fault> {
        let left = self.bytes - self.hashed;
        let Some(file) = self.file.as_ref().filter(|_| left > 0) else {
            return Ok(true);
        };
        let size = usize::try_from(left).map_or(REHASH, |left| left.min(REHASH));
        let mut data = vec![0; size];
        file.read_exact_at(&mut data, self.hashed)
            .map_err(|error| {
                let cause = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                Fault::storing("read", BODY, cause)
            })?;
        self.hashes.update(&data);
        self.hashed += size as u64;
        Ok(self.hashed == self.bytes)
    }

    /// Notes what the bytes so far are, so that another attempt can go on with them, also if this
    /// process is killed. A note that cannot be written is no loss but of that.
    pub fn note(&mut self, note: &PartialNote) {
        if !self.noted && !self.spread && self.bytes > 0 {
            self.noted = site::write_note(&self.store, &self.name, note);
        }
    }

    /// Has the note say how much is whole, so that bytes can be written ahead. Whether they can: it
    /// must not be taken for the note of a file without gaps.
    pub(crate) fn spread(&mut self, note: &PartialNote) -> bool {
        if self.store.boot.is_some() && self.vouching.is_none() {
            self.vouching =
                Vouching::begin(&self.store, &self.name, note, self.bytes).map(Box::new);
            self.noted = self.vouching.is_some();
            self.spread = self.noted;
        } else {
            self.spread = true;
        }
        self.spread
    }

    /// Writes at any place of the file, on any thread.
    ///
    /// # Errors
    ///
    /// If there is no further descriptor for it.
    pub(crate) fn ahead(&self) -> Result<Ahead, Fault> {
        let file = self.file.as_ref().map(File::try_clone).transpose();
        file.map(Ahead).map_err(|error| {
            let cause = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Fault::storing("open", BODY, cause)
        })
    }

    /// The first `bytes` are there without gaps now. Those that are new are still to be hashed.
    pub(crate) fn grow(&mut self, bytes: u64) {
        self.bytes = self.bytes.max(bytes);
    }

    /// Has the note vouch for what is there, if it says how much that is, and has not done so within
    /// the last `rest`.
    pub(crate) fn vouch(&mut self, rest: Duration) {
        if let Some(vouching) = &mut self.vouching
            && vouching.rested() >= rest
            && !vouching.say(self.bytes)
        {
            self.forget_note();
        }
    }

    /// Whether there is a note.
    #[must_use]
    pub const fn is_noted(&self) -> bool {
        self.noted
    }

    /// The attempt failed with `fault`: keeps what another attempt can go on with.
    pub fn abandon(mut self, fault: &Fault, note: Option<&PartialNote>) {
        match (fault.severity, note) {
            (Severity::Transient { .. }, Some(_)) if self.spread => {
                self.vouch(Duration::ZERO);
                if self.bytes == 0 {
                    self.forget_note();
                }
            }
            (Severity::Transient { .. }, Some(note)) => self.note(note),
            (
                Severity::Transient { .. }
                | Severity::Unprepared
                | Severity::Permanent
                | Severity::Fatal,
                _,
            ) => self.forget_note(),
        }
    }

    fn forget_note(&mut self) {
        if self.noted {
            // One that stays speaks of a body that is not there.
            let _ = site::remove_note(&self.store, &self.name);
            self.noted = false;
            self.vouching = None;
        }
    }

    /// The body is whole: leaves it in the folder if `check` has nothing against it.
    ///
    /// # Errors
    ///
    /// That of `check`, or if it cannot be written to its end; the body is removed then.
    pub fn commit(
        mut self,
        check: impl FnOnce(&Committed) -> Result<(), Fault>,
    ) -> Result<Committed, Fault> {
        let hashes = std::mem::replace(&mut self.hashes, Hashes::new(&[]));
        let (sha256, checksums) = hashes.finish();
        let committed = Committed {
            bytes: self.bytes,
            sha256,
            checksums,
            unchanged: false,
        };
        if let Err(fault) = check(&committed) {
            self.forget_note();
            return Err(fault);
        }
        let file = self.file.take();
        let whole = self.close(file);
        if whole.is_err() {
            self.remove();
        }
        self.forget_note();
        whole.map(|()| committed)
    }

    fn close(&self, file: Option<File>) -> Result<(), Fault> {
        let Some(file) = file else {
            return Ok(());
        };
        // Or a name could outlive the loss of power, and what it stands for not.
        if self.store.fsync
            && let Err(errno) = fdatasync(&file)
        {
            // What was written may be lost, and what is written next as well, whatever it says.
            let known = Fault::storing("sync", BODY, errno);
            return Err(Fault::fatal(known.kind, known.message));
        }
        // Some file systems report a full disk only now, and only by a close that `File` would not
        // tell us of; a rename of what did not arrive must not follow.
        descriptor::close(file.into()).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Fault::storing("write", BODY, errno)
        })
    }

    fn remove(&self) {
        // Nothing can be done about a failure; the coordinator empties the folder anyway.
        let _ = unlinkat(&self.store.partial, &self.name, AtFlags::empty());
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.file.is_some() && !self.noted {
            self.remove();
        }
    }
}

/// Refuses a name that could lead out of the folder. The coordinator makes names that cannot.
fn check(name: &str) -> Result<(), Fault> {
    if !matches!(name, "" | "." | "..") && !name.contains(['\0', '/']) {
        return Ok(());
    }
    Err(Fault::permanent(
        FailureKind::Store,
        format!("refusing to write a body as {name:?}: not a plain name"),
    ))
}

#[cfg(test)]
mod tests;
