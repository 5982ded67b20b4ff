//! Files: written under a temporary name, hashed on the way, renamed into place.
//!
//! A reader of the output folder never sees a partial file under a final name, and storing a task
//! twice gives the same file. A small file costs four system calls: open, write, close, rename.
//!
//! What it promises, it promises across the death of any process; and across the loss of power, if
//! it is told to sync: data before the name, the name before the answer. It must not choose names,
//! or know what HTTP is.

mod place;
mod site;

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use protocol::{Assignment, FailureKind, Known, PartialNote, Severity};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fdatasync, openat, unlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::descriptor;
use crate::fault::Fault;
use place::{Missing, enter};

pub use site::Site;

/// Bytes that are hashed between two looks at anything else.
const REHASH: usize = 1024 * 1024;

/// An output folder and its folder for partial bodies, both held open.
#[derive(Debug)]
pub struct Store {
    output: OwnedFd,
    partial: OwnedFd,
    /// What partial bodies are good for; nothing if none is to be kept.
    boot: Option<String>,
    fsync: bool,
}

impl Store {
    /// Opens the two folders; they must exist, on one file system. Partial bodies are kept for
    /// other attempts if it is known which boot of the machine this is. With `fsync` a file that is
    /// committed is safe from the loss of power.
    ///
    /// # Errors
    ///
    /// If one of them cannot be opened.
    pub fn new(
        output: &Path,
        partial: &Path,
        boot: Option<String>,
        fsync: bool,
    ) -> std::io::Result<Self> {
        // A folder can only be synced if it is open for more than to name what is in it.
        let synced = if fsync { OFlags::RDONLY } else { OFlags::PATH };
        let open = |folder: &Path, how: OFlags| {
            openat(
                CWD,
                folder,
                how | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(|errno| {
                let cause = std::io::Error::from(errno);
                std::io::Error::new(
                    cause.kind(),
                    format!("cannot open folder {}: {cause}", folder.display()),
                )
            })
        };
        Ok(Self {
            output: open(output, synced)?,
            // A folder of the run's own, in which a link could lead anywhere.
            partial: open(partial, OFlags::PATH | OFlags::NOFOLLOW)?,
            boot,
            fsync,
        })
    }

    /// Where the file of this assignment will be, and what an earlier attempt left of it, if one has
    /// begun it. If it is known that none has, that saves a search in a folder in which everybody
    /// is writing.
    ///
    /// The partial's name depends on the task alone, so that one that a killed worker left is
    /// taken over, and not left behind. Only one worker at a time has a task: the coordinator hands
    /// it on when the worker that had it is gone.
    ///
    /// # Errors
    ///
    /// If one of its names could lead out of its folder.
    pub fn site(self: &Arc<Self>, assignment: &Assignment) -> Result<Site, Fault> {
        check(&assignment.path)?;
        check(&assignment.partial)?;
        Ok(Site::new(Arc::clone(self), assignment))
    }

    /// Removes what is at `path` in the output folder, if it is a file or a link. Something else, or
    /// a folder on the way that is none any more, is somebody else's.
    pub(crate) fn remove(&self, path: &str) {
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = match parents {
            "" => None,
            parents => match enter(&self.output, parents, Missing::Fail) {
                Ok(folder) => Some(folder),
                Err(_) => return,
            },
        };
        // Nothing can be done about a failure; without a record the file counts for nothing.
        let _ = unlinkat(
            folder.as_ref().unwrap_or(&self.output),
            name,
            AtFlags::empty(),
        );
    }
}

/// A file on its way. Dropped before [`commit`](Self::commit), it leaves nothing behind, unless it
/// has a note and another attempt can go on with it.
#[derive(Debug)]
pub struct Partial {
    store: Arc<Store>,
    path: String,
    name: String,
    /// What is at `path` may be replaced.
    replace: bool,
    /// Empty once committed.
    file: Option<File>,
    hash: Sha256,
    bytes: u64,
    /// How many of these are in the hash.
    hashed: u64,
    /// There is a note beside it.
    noted: bool,
}

/// A file in place under its final name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// It was in place before.
    pub unchanged: bool,
}

impl Committed {
    /// A file that stays where it is.
    #[must_use]
    pub const fn kept(bytes: u64, sha256: [u8; 32]) -> Self {
        Self {
            bytes,
            sha256,
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
            return Err(Fault::permanent(
                FailureKind::Internal,
                format!("cannot write {}: it is already in place", self.path),
            ));
        };
        file.write_all(data).map_err(|error| {
            // `write_all` fails by itself only when a write takes nothing, which files do not do.
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            fault("write", &self.path, errno)
        })?;
        self.hash.update(data);
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
                fault("read the partial file of", &self.path, cause)
            })?;
        self.hash.update(&data);
        self.hashed += size as u64;
        Ok(self.hashed == self.bytes)
    }

    /// Notes what the bytes so far are, so that another attempt can go on with them, also if this
    /// process is killed. A note that cannot be written is no loss but of that.
    pub fn note(&mut self, note: &PartialNote) {
        if !self.noted && self.bytes > 0 {
            self.noted = site::write_note(&self.store, &self.name, note);
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
            (Severity::Transient { .. }, Some(note)) => self.note(note),
            (Severity::Transient { .. } | Severity::Permanent | Severity::Fatal, _) => {
                self.forget_note();
            }
        }
    }

    fn forget_note(&mut self) {
        if self.noted {
            // One that stays speaks of a body that is not there.
            let _ = site::remove_note(&self.store, &self.name);
            self.noted = false;
        }
    }

    /// Puts the file in place if `check` has nothing against it, over one that may be there if that
    /// may be replaced; parent folders are made when missing, and symbolic links never followed. If
    /// the file there is known to have the same bytes, it stays as it is.
    ///
    /// # Errors
    ///
    /// That of `check`, or if it cannot be put there; the partial is removed then.
    pub fn commit(
        mut self,
        known: Option<&Known>,
        check: impl FnOnce(&Committed) -> Result<(), Fault>,
    ) -> Result<Committed, Fault> {
        let committed = Committed {
            bytes: self.bytes,
            sha256: std::mem::take(&mut self.hash).finalize().into(),
            unchanged: false,
        };
        if let Err(fault) = check(&committed) {
            self.forget_note();
            return Err(fault);
        }
        let Committed { bytes, sha256, .. } = committed;
        if known.is_some_and(|known| known.bytes == bytes && known.sha256 == sha256)
            && self.is_in_place()
        {
            self.forget_note();
            return Ok(Committed::kept(bytes, sha256));
        }
        let file = self.file.take();
        // Or a name could outlive the loss of power, and what it stands for not.
        if self.store.fsync
            && let Some(file) = &file
            && let Err(errno) = fdatasync(file)
        {
            self.remove();
            self.forget_note();
            return Err(unsynced(&self.path, errno));
        }
        // Closed first: some file systems report a full disk only now, and only by a close that
        // `File` would not tell us of; a rename of what did not arrive must not follow.
        let closed = file.map_or(Ok(()), |file| {
            descriptor::close(file.into())
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        });
        let placed = closed
            .map_err(|errno| fault("write", &self.path, errno))
            .and_then(|()| self.place().map_err(|errno| self.misplaced(errno)));
        if placed.is_err() {
            self.remove();
        }
        self.forget_note();
        placed?;
        if self.store.fsync {
            self.sync_folders()
                .map_err(|errno| unsynced(&self.path, errno))?;
        }
        Ok(committed)
    }

    fn remove(&self) {
        // Nothing can be done about a failure; the next run empties the folder anyway.
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

/// Refuses a path that could lead out of the output folder, or to the folder itself. The
/// coordinator makes paths that cannot; this is the second lock on the door.
fn check(path: &str) -> Result<(), Fault> {
    let sound = !path.contains('\0')
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..");
    if sound {
        return Ok(());
    }
    Err(Fault::permanent(
        FailureKind::Store,
        format!("refusing to store at {path:?}: not a plain path below the output folder"),
    ))
}

/// What was written may be lost, and what is written next as well, whatever the error says.
fn unsynced(path: &str, errno: Errno) -> Fault {
    let known = fault("sync", path, errno);
    Fault::fatal(known.kind, known.message)
}

/// What an error number means for the task, and for all others.
fn fault(operation: &str, object: impl Display, errno: Errno) -> Fault {
    let text = |way_out: &str| {
        let cause = std::io::Error::from(errno);
        format!("cannot {operation} {object}: {cause}{way_out}")
    };
    match errno {
        Errno::NOSPC | Errno::DQUOT => Fault::fatal(
            FailureKind::DiskFull,
            text("; free some space and run again"),
        ),
        Errno::ROFS | Errno::IO | Errno::ACCESS | Errno::PERM | Errno::XDEV | Errno::NOENT => {
            Fault::fatal(
                FailureKind::Store,
                text("; see to the output folder and run again"),
            )
        }
        Errno::ISDIR
        | Errno::NOTDIR
        | Errno::NOTEMPTY
        | Errno::EXIST
        | Errno::NAMETOOLONG
        | Errno::LOOP
        | Errno::INVAL
        | Errno::ILSEQ
        | Errno::FBIG => Fault::permanent(FailureKind::Store, text("")),
        // Out of descriptors or memory, a network file system that is away: it may pass.
        _ => Fault::transient(FailureKind::Store, text("")),
    }
}

#[cfg(test)]
mod tests;
