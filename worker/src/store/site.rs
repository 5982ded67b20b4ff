//! The place of a file, and what an earlier attempt left there: the partial body and its note.
//!
//! A note is removed before its body is overwritten, and written after the first bytes that it
//! describes. So it never describes other bytes, whenever a process dies. This module must not
//! decide whether a server still has the same body.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::{
    Algorithm, Assignment, Expect, FailureKind, NOTE_SUFFIX, PartialNote, Severity, Whole,
};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::Errno;

use super::hashes::Hashes;
use super::{BODY, Partial, Store};
use crate::fault::Fault;

/// Largest note that is read or written, in bytes.
const MAX_NOTE: u64 = 32 * 1024;

/// Flags for a new file, whatever was there. Links are not followed, and opening never blocks.
const NEW: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::TRUNC)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK);

/// Place of a file.
#[derive(Debug)]
pub struct Site {
    store: Arc<Store>,
    name: String,
    /// Whether there is a note, valid or not.
    noted: bool,
    left: Option<(PartialNote, u64)>,
    /// Algorithms of the checksums that the list gives for it.
    algorithms: Vec<Algorithm>,
}

impl Site {
    /// Creates a site for an assignment whose name is checked.
    pub(super) fn new(store: Arc<Store>, assignment: &Assignment) -> Self {
        let name = assignment.partial.clone();
        let note = if assignment.begun {
            open_note(&store, &name)
        } else {
            Err(Errno::NOENT)
        };
        // A note that cannot be read still counts as one.
        let noted = !matches!(note, Err(Errno::NOENT));
        let left = note.ok().and_then(|file| read_note(&store, &name, file));
        Self {
            store,
            name,
            noted,
            left,
            algorithms: assignment
                .expect
                .iter()
                .flat_map(|expect| algorithms(expect))
                .collect(),
        }
    }

    /// Returns the note of a body that another attempt can continue, and the body's size in bytes.
    #[must_use]
    pub fn left(&self) -> Option<(PartialNote, u64)> {
        self.left.clone()
    }

    /// Creates the file, empty.
    ///
    /// # Errors
    ///
    /// Fails if no file can be created.
    pub fn begin(self) -> Result<Partial, Fault> {
        if self.noted {
            // The note must not describe the bytes that follow.
            remove_note(&self.store, &self.name)
                .map_err(|errno| Fault::storing("remove the note of", BODY, errno))?;
        }
        let mode = Mode::from_raw_mode(0o666);
        // Parts that are written ahead are read back to be hashed.
        let flags = NEW.difference(OFlags::WRONLY) | OFlags::RDWR;
        match openat(&self.store.partial, &*self.name, flags, mode) {
            Ok(fd) => Ok(self.partial(File::from(fd), 0)),
            Err(Errno::NOENT) => Err(Fault::fatal(
                FailureKind::Store,
                "the folder for partial files is gone",
            )),
            Err(errno) => Err(Fault::storing("create", BODY, errno)),
        }
    }

    /// Continues after the first `from` bytes of the file. They are still to be hashed.
    ///
    /// # Errors
    ///
    /// Fails if there are fewer bytes, or if the file cannot be opened.
    pub fn resume(self, from: u64) -> Result<Partial, Fault> {
        let opened = || {
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let fd = openat(&self.store.partial, &*self.name, flags, Mode::empty())?;
            let mut file = File::from(fd);
            if file.metadata()?.len() < from {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            file.set_len(from)?;
            file.seek(SeekFrom::Start(from))?;
            Ok(file)
        };
        match opened() {
            Ok(file) => Ok(self.partial(file, from)),
            Err(error) => {
                // The next attempt starts over.
                let _ = remove_note(&self.store, &self.name);
                let cause = Errno::from_io_error(&error).unwrap_or(Errno::INVAL);
                Err(Fault::transient(
                    FailureKind::Store,
                    Fault::storing("go on with", BODY, cause).message,
                ))
            }
        }
    }

    /// Ends the attempt with `fault` before there was a body. The files are kept only if another
    /// attempt may follow.
    pub fn abandon(self, fault: &Fault) {
        if matches!(fault.severity, Severity::Permanent | Severity::Fatal) {
            self.discard();
        }
    }

    /// Removes what an earlier attempt left.
    pub fn discard(self) {
        if self.noted {
            // If removal fails, the end of the run removes it.
            let _ = remove_note(&self.store, &self.name);
            let _ = unlinkat(&self.store.partial, &*self.name, AtFlags::empty());
        }
    }

    fn partial(self, file: File, bytes: u64) -> Partial {
        // A note that records how much is whole continues to do so.
        let vouching = match &self.left {
            Some((note, _)) if bytes > 0 && note.whole.is_some() => {
                Some(Vouching::begin(&self.store, &self.name, note, bytes))
            }
            Some(_) | None => None,
        };
        Partial {
            store: self.store,
            name: self.name,
            file: Some(file),
            hashes: Hashes::new(&self.algorithms),
            bytes,
            hashed: 0,
            noted: bytes > 0 && !matches!(vouching, Some(None)),
            spread: matches!(vouching, Some(Some(_))),
            vouching: vouching.flatten().map(Box::new),
        }
    }
}

fn algorithms(expect: &Expect) -> impl Iterator<Item = Algorithm> + '_ {
    let checksums = expect.checksums.iter();
    checksums.map(|checksum| checksum.algorithm)
}

fn open_note(store: &Store, name: &str) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = openat(&store.partial, note_name(name), flags, Mode::empty())?;
    Ok(File::from(fd))
}

/// Returns the note in `file`, if it is valid, and the size of the body of partial `name`.
fn read_note(store: &Store, name: &str, file: File) -> Option<(PartialNote, u64)> {
    let boot = store.boot.as_ref()?;
    let mut text = Vec::new();
    file.take(MAX_NOTE).read_to_end(&mut text).ok()?;
    let note: PartialNote = serde_json::from_slice(&text).ok()?;
    let body = statat(&store.partial, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let is_file = FileType::from_raw_mode(body.st_mode) == FileType::RegularFile;
    let size = u64::try_from(body.st_size).ok()?;
    let size = note.whole.map_or(size, |Whole(bytes)| size.min(bytes));
    (note.is_good(boot) && is_file).then_some((note, size))
}

/// A note that records how many bytes are whole, and is overwritten as that number grows.
#[derive(Debug)]
pub(super) struct Vouching {
    file: File,
    note: PartialNote,
    said: Instant,
}

impl Vouching {
    /// Replaces the note of partial `name` by one with `bytes` whole bytes. If it cannot be
    /// written, returns `None` and leaves no note.
    pub(super) fn begin(store: &Store, name: &str, note: &PartialNote, bytes: u64) -> Option<Self> {
        let flags = NEW.difference(OFlags::TRUNC);
        let open = || {
            let mode = Mode::from_raw_mode(0o600);
            openat(&store.partial, note_name(name), flags, mode).ok()
        };
        let vouching = store.boot.clone().zip(open()).and_then(|(boot, file)| {
            let note = PartialNote {
                v: PartialNote::VERSION_WITH_GAPS,
                boot,
                whole: None,
                ..note.clone()
            };
            let mut vouching = Self {
                file: File::from(file),
                note,
                said: Instant::now(),
            };
            vouching.say(bytes).then_some(vouching)
        });
        if vouching.is_none() {
            let _ = remove_note(store, name);
        }
        vouching
    }

    /// Returns the time since the last update.
    pub(super) fn rested(&self) -> Duration {
        self.said.elapsed()
    }

    /// Records that `bytes` are whole. Returns whether the note could be written.
    pub(super) fn say(&mut self, bytes: u64) -> bool {
        let whole = Some(Whole(bytes));
        if self.note.whole == whole {
            return true;
        }
        let is_first = self.note.whole.is_none();
        self.note.whole = whole;
        self.said = Instant::now();
        let Ok(text) = serde_json::to_vec(&self.note) else {
            return false;
        };
        let length = text.len() as u64;
        // Earlier content begins with another version or has the same length.
        length <= MAX_NOTE
            && self.file.write_all_at(&text, 0).is_ok()
            && (!is_first || self.file.set_len(length).is_ok())
    }
}

/// Writes the note of partial `name`, and returns whether that succeeded.
pub(super) fn write_note(store: &Store, name: &str, note: &PartialNote) -> bool {
    let Some(boot) = store.boot.clone() else {
        return false;
    };
    let note = PartialNote {
        v: PartialNote::VERSION,
        boot,
        whole: None,
        ..note.clone()
    };
    let Ok(text) = serde_json::to_vec(&note) else {
        return false;
    };
    if text.len() as u64 > MAX_NOTE {
        return false;
    }
    let mode = Mode::from_raw_mode(0o600);
    let written = openat(&store.partial, note_name(name), NEW, mode)
        .map_err(std::io::Error::from)
        .and_then(|fd| File::from(fd).write_all(&text));
    if written.is_err() {
        // An incomplete note does not parse.
        let _ = remove_note(store, name);
    }
    written.is_ok()
}

/// Removes the note of partial `name`, if there is one.
pub(super) fn remove_note(store: &Store, name: &str) -> Result<(), Errno> {
    match unlinkat(&store.partial, note_name(name), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn note_name(name: &str) -> String {
    format!("{name}{NOTE_SUFFIX}")
}
