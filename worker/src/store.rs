//! Bodies: written into the worker's own folder, and hashed as they are written.
//!
//! Every body stays in that folder; the coordinator puts it in place once the worker reports that
//! it is whole. A small body takes three system calls: open, write, close.
//!
//! All guarantees hold across the death of any process, and across a loss of power if the setup
//! asks for sync. This module must not know final file names or HTTP.

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

/// Name of a body in messages. The task tells which one it is.
const BODY: &str = "the partial file";

/// Bytes that are hashed before control returns to the caller.
const REHASH: usize = 1024 * 1024;

/// The folder of a worker, held open.
#[derive(Debug)]
pub struct Store {
    partial: OwnedFd,
    /// Boot of the machine that partial bodies are valid for; none if no partial body is kept.
    boot: Option<String>,
    fsync: bool,
}

impl Store {
    /// Opens the folder, which must exist. Partial bodies are kept for later attempts if `boot`,
    /// the current boot of the machine, is known. With `fsync`, the content of a committed body
    /// survives a loss of power; its name may not.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be opened.
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

    /// Returns the place of this assignment's body, with anything that an earlier attempt left
    /// there.
    ///
    /// # Errors
    ///
    /// Fails if the name could lead out of the folder.
    pub fn site(self: &Arc<Self>, assignment: &Assignment) -> Result<Site, Fault> {
        check(&assignment.partial)?;
        Ok(Site::new(Arc::clone(self), assignment))
    }
}

/// A body that is being received. If it is dropped before [`commit`](Self::commit), its file is
/// removed, unless it has a note and another attempt can continue it.
#[derive(Debug)]
pub struct Partial {
    store: Arc<Store>,
    name: String,
    /// None once committed.
    file: Option<File>,
    hashes: Hashes,
    bytes: u64,
    /// How many of these bytes are hashed.
    hashed: u64,
    /// Whether there is a note beside the file.
    noted: bool,
    /// Whether bytes may be written ahead, so that the size of the file means nothing.
    spread: bool,
    /// The note that records how many bytes are whole, if there is one.
    vouching: Option<Box<Vouching>>,
}

/// Writes at any position of a body.
#[derive(Debug)]
pub(crate) struct Ahead(Option<File>);

impl Ahead {
    /// Writes `data` from byte `at` on.
    ///
    /// # Errors
    ///
    /// Fails if the data cannot be written. The file is unusable then.
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
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the body.
    pub sha256: [u8; 32],
    /// The other checksums that the list gives for it, as computed from the received body.
    pub checksums: Vec<Checksum>,
    /// Whether it is the body of the file in place, and nothing was received.
    pub unchanged: bool,
}

impl Committed {
    /// Creates the result for a file that stays in place.
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
    /// Appends `data`. Unbuffered: pass large pieces.
    ///
    /// # Errors
    ///
    /// Fails if the data cannot be written. The file is unusable then.
    pub fn write(&mut self, data: &[u8]) -> Result<(), Fault> {
        let Some(file) = &mut self.file else {
            return Err(written_whole());
        };
        file.write_all(data).map_err(|error| {
            // `write_all` itself fails only if a write accepts 0 bytes, which files never do.
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Fault::storing("write", BODY, errno)
        })?;
        self.hashes.update(data);
        self.bytes += data.len() as u64;
        self.hashed += data.len() as u64;
        Ok(())
    }

    /// Returns the size of the file so far, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hashes another piece of what an earlier attempt left, and returns whether that was the last.
    /// Call it until it was, before anything is written.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read.
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

    /// Notes what the bytes so far are part of, so that another attempt can continue them even if
    /// this process is killed. If the note cannot be written, only that ability is lost.
    pub fn note(&mut self, note: &PartialNote) {
        if !self.noted && !self.spread && self.bytes > 0 {
            self.noted = site::write_note(&self.store, &self.name, note);
        }
    }

    /// Makes the note record how many bytes are whole, so that bytes can be written ahead. Returns
    /// whether they can be: the note must not be mistaken for that of a file without gaps.
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

    /// Returns a writer for any position of the file, for any thread.
    ///
    /// # Errors
    ///
    /// Fails if there is no descriptor left.
    pub(crate) fn ahead(&self) -> Result<Ahead, Fault> {
        let file = self.file.as_ref().map(File::try_clone).transpose();
        file.map(Ahead).map_err(|error| {
            let cause = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Fault::storing("open", BODY, cause)
        })
    }

    /// Records that the first `bytes` have no gaps. The new ones are still to be hashed.
    pub(crate) fn grow(&mut self, bytes: u64) {
        self.bytes = self.bytes.max(bytes);
    }

    /// Updates the number of whole bytes in the note, if it records one and the last update is at
    /// least `rest` ago.
    pub(crate) fn vouch(&mut self, rest: Duration) {
        if let Some(vouching) = &mut self.vouching
            && vouching.rested() >= rest
            && !vouching.say(self.bytes)
        {
            self.forget_note();
        }
    }

    /// Returns whether there is a note.
    #[must_use]
    pub const fn is_noted(&self) -> bool {
        self.noted
    }

    /// Ends the attempt with `fault`, and keeps what another attempt can continue.
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
            // If removal fails, the note describes a body that does not exist.
            let _ = site::remove_note(&self.store, &self.name);
            self.noted = false;
            self.vouching = None;
        }
    }

    /// Ends a whole body, and leaves it in the folder if `check` accepts it.
    ///
    /// # Errors
    ///
    /// Returns the error of `check`, or fails if the body cannot be written. It is removed then.
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
        // Otherwise a name could survive a loss of power and its content not.
        if self.store.fsync
            && let Err(errno) = fdatasync(&file)
        {
            // Written data may be lost, and later data as well, even if the system reports success.
            let known = Fault::storing("sync", BODY, errno);
            return Err(Fault::fatal(known.kind, known.message));
        }
        // Some file systems report a full disk only on close, and `File` ignores that error. A body
        // that did not reach the disk must not be renamed.
        descriptor::close(file.into()).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Fault::storing("write", BODY, errno)
        })
    }

    fn remove(&self) {
        // A failure cannot be handled here; the coordinator empties the folder anyway.
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

/// Refuses a name that could lead out of the folder. The coordinator never creates such a name.
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
