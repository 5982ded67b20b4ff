//! Files: written under a temporary name, hashed on the way, renamed into place.
//!
//! A reader of the output folder never sees a partial file under a final name, and storing a task
//! twice gives the same file. A small file costs four system calls: open, write, close, rename.
//!
//! What it promises, it promises across the death of any process; and across the loss of power, if
//! it is told to sync: data before the name, the name before the answer. It must not choose names,
//! or know what HTTP is.

use std::borrow::Cow;
use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE32HEX_NOPAD;
use protocol::FailureKind;
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, fdatasync, fsync, mkdirat, openat, renameat, unlinkat,
};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::descriptor;
use crate::fault::Fault;

/// Longest path that is the name of its own partial; below every file system's limit.
const LONGEST: usize = 200;

/// An output folder and its folder for partial bodies, both held open.
#[derive(Debug)]
pub struct Store {
    output: OwnedFd,
    partial: OwnedFd,
    fsync: bool,
}

impl Store {
    /// Opens the two folders; they must exist, on one file system. With `fsync` a file that is
    /// committed is safe from the loss of power.
    ///
    /// # Errors
    ///
    /// If one of them cannot be opened.
    pub fn new(output: &Path, partial: &Path, fsync: bool) -> std::io::Result<Self> {
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
            partial: open(partial, OFlags::PATH)?,
            fsync,
        })
    }

    /// Begins the file that will be `path` in the output folder.
    ///
    /// The partial's name depends on the path alone, so that one that a killed worker left is
    /// taken over, and not left behind. Whoever calls this must be the only one who works on
    /// `path`: the coordinator hands a task on only when the worker that had it is gone.
    ///
    /// # Errors
    ///
    /// If `path` could lead out of the folder, or no file can be created.
    pub fn begin(self: &Arc<Self>, path: &str) -> Result<Partial, Fault> {
        check(path)?;
        let name = partial_name(path);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        match openat(&self.partial, &*name, flags, Mode::from_raw_mode(0o666)) {
            Ok(fd) => Ok(Partial {
                store: Arc::clone(self),
                path: path.to_owned(),
                name: name.into_owned(),
                file: Some(File::from(fd)),
                hash: Sha256::new(),
                bytes: 0,
            }),
            Err(Errno::NOENT) => Err(Fault::fatal(
                FailureKind::Store,
                "the folder for partial files is gone",
            )),
            Err(errno) => Err(fault("create a partial file for", path, errno)),
        }
    }
}

/// A file on its way. Dropped before [`commit`](Self::commit), it leaves nothing behind.
#[derive(Debug)]
pub struct Partial {
    store: Arc<Store>,
    path: String,
    name: String,
    /// Empty once committed.
    file: Option<File>,
    hash: Sha256,
    bytes: u64,
}

/// A file in place under its final name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
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
        Ok(())
    }

    /// Puts the file in place if `check` has nothing against it, over one that may be there; parent
    /// folders are made when missing, and symbolic links never followed.
    ///
    /// # Errors
    ///
    /// That of `check`, or if it cannot be put there; the partial is removed then.
    pub fn commit(
        mut self,
        check: impl FnOnce(&Committed) -> Result<(), Fault>,
    ) -> Result<Committed, Fault> {
        let committed = Committed {
            bytes: self.bytes,
            sha256: std::mem::take(&mut self.hash).finalize().into(),
        };
        check(&committed)?;
        let file = self.file.take();
        // Or a name could outlive the loss of power, and what it stands for not.
        if self.store.fsync
            && let Some(file) = &file
            && let Err(errno) = fdatasync(file)
        {
            self.remove();
            return Err(unsynced(&self.path, errno));
        }
        // Closed first: some file systems report a full disk only now, and only by a close that
        // `File` would not tell us of; a rename of what did not arrive must not follow.
        let closed = file.map_or(Ok(()), |file| {
            descriptor::close(file.into())
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        });
        let placed = closed.and_then(|()| self.place());
        if let Err(errno) = placed {
            self.remove();
            return Err(fault("put in place", &self.path, errno));
        }
        if self.store.fsync {
            self.sync_folders()
                .map_err(|errno| unsynced(&self.path, errno))?;
        }
        Ok(committed)
    }

    fn place(&self) -> Result<(), Errno> {
        let Store {
            output, partial, ..
        } = &*self.store;
        match self.path.rsplit_once('/') {
            None => renameat(partial, &self.name, output, &self.path),
            Some((parents, name)) => {
                let folder = enter(output, parents)?;
                renameat(partial, &self.name, &folder, name)
            }
        }
    }

    /// Makes the new name last: in its folder, and those of its parents that may be new.
    fn sync_folders(&self) -> Result<(), Errno> {
        let output = &self.store.output;
        for (end, _) in self.path.rmatch_indices('/') {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            fsync(openat(output, &self.path[..end], flags, Mode::empty())?)?;
        }
        fsync(output)
    }

    fn remove(&self) {
        // Nothing can be done about a failure; the next run empties the folder anyway.
        let _ = unlinkat(&self.store.partial, &self.name, AtFlags::empty());
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.file.is_some() {
            self.remove();
        }
    }
}

/// Opens the folder `path` below `top`, and makes what is missing of it. A symbolic link on the way
/// could lead anywhere: it is refused, with `ENOTDIR`.
fn enter(top: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder: Option<OwnedFd> = None;
    for part in path.split('/') {
        let parent = folder.as_ref().unwrap_or(top);
        let open = || openat(parent, part, flags, Mode::empty());
        let opened = match open() {
            Err(Errno::NOENT) => {
                match mkdirat(parent, part, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno),
                }
                open()
            }
            opened => opened,
        };
        folder = Some(opened?);
    }
    folder.ok_or(Errno::INVAL)
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

/// The name of the partial for `path`.
fn partial_name(path: &str) -> Cow<'_, str> {
    if path.len() <= LONGEST && !path.contains('/') {
        return Cow::Borrowed(path);
    }
    Cow::Owned(BASE32HEX_NOPAD.encode(&Sha256::digest(path)))
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
mod tests {
    use protocol::Severity;

    use super::*;

    fn store() -> (tempfile::TempDir, Arc<Store>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let partial = folder.path().join(".partial");
        std::fs::create_dir(&partial).expect("a folder for partials");
        let store = Store::new(folder.path(), &partial, false).expect("both folders exist");
        (folder, Arc::new(store))
    }

    fn partials(folder: &tempfile::TempDir) -> usize {
        std::fs::read_dir(folder.path().join(".partial"))
            .expect("the folder is there")
            .count()
    }

    #[test]
    fn a_file_appears_whole_with_its_size_and_hash() {
        let (folder, store) = store();
        let mut partial = store.begin("a.txt").expect("a file");
        partial.write(b"ab").expect("written");
        assert!(!folder.path().join("a.txt").exists(), "not before commit");
        partial.write(b"c").expect("written");
        let file = partial.commit(|_| Ok(())).expect("in place");
        assert_eq!(file.bytes, 3);
        assert_eq!(file.sha256, <[u8; 32]>::from(Sha256::digest(b"abc")));
        let stored = std::fs::read(folder.path().join("a.txt")).expect("the file is there");
        assert_eq!(stored, b"abc");
        assert_eq!(partials(&folder), 0);
    }

    #[test]
    fn a_dropped_partial_leaves_nothing() {
        let (folder, store) = store();
        let mut partial = store.begin("a").expect("a file");
        partial.write(b"x").expect("written");
        assert_eq!(partials(&folder), 1);
        drop(partial);
        assert_eq!(partials(&folder), 0);
    }

    #[test]
    fn what_a_killed_worker_left_is_taken_over() {
        let (folder, store) = store();
        for path in ["a", "x/a", &"n".repeat(250)] {
            let mut left = store.begin(path).expect("a file");
            left.write(b"longer than what follows").expect("written");
            // As a kill would: nothing is cleaned up.
            std::mem::forget(left);
            let mut partial = store.begin(path).expect("the same file");
            assert_eq!(partials(&folder), 1);
            partial.write(b"whole").expect("written");
            partial.commit(|_| Ok(())).expect("in place");
            let stored = std::fs::read(folder.path().join(path)).expect("the file is there");
            assert_eq!((stored.as_slice(), partials(&folder)), (&b"whole"[..], 0));
        }
    }

    #[test]
    fn missing_parent_folders_are_made() {
        let (folder, store) = store();
        let partial = store.begin("x/y/a").expect("a file");
        partial.commit(|_| Ok(())).expect("in place");
        assert!(folder.path().join("x/y/a").is_file());
    }

    #[test]
    fn a_link_on_the_way_is_not_followed_and_one_in_the_place_is_replaced() {
        let (folder, store) = store();
        let elsewhere = tempfile::tempdir().expect("another folder");
        let link = |name: &str| {
            let path = folder.path().join(name);
            std::os::unix::fs::symlink(elsewhere.path(), &path).expect("a link");
            path
        };
        link("out");
        for path in ["out/a", "out/x/a"] {
            let partial = store.begin(path).expect("the partial is elsewhere");
            let fault = partial.commit(|_| Ok(())).expect_err(path);
            assert_eq!(
                (fault.kind, fault.severity),
                (FailureKind::Store, Severity::Permanent)
            );
        }
        let replaced = link("a");
        let partial = store.begin("a").expect("a file");
        partial.commit(|_| Ok(())).expect("in place");
        assert!(!replaced.is_symlink());
        let entries = std::fs::read_dir(elsewhere.path()).expect("still there");
        assert_eq!((entries.count(), partials(&folder)), (0, 0));
    }

    #[test]
    fn a_file_that_is_refused_is_not_put_in_place() {
        let (folder, store) = store();
        let mut partial = store.begin("a").expect("a file");
        partial.write(b"abc").expect("written");
        let refused = partial.commit(|file| {
            assert_eq!(file.bytes, 3);
            assert_eq!(file.sha256, <[u8; 32]>::from(Sha256::digest(b"abc")));
            Err(Fault::permanent(FailureKind::ChecksumMismatch, "no"))
        });
        assert_eq!(refused.expect_err("no").kind, FailureKind::ChecksumMismatch);
        assert!(!folder.path().join("a").exists());
        assert_eq!(partials(&folder), 0);
    }

    #[test]
    fn a_path_out_of_the_folder_is_refused() {
        let (folder, store) = store();
        for path in ["", "/etc/a", "../a", "a/../../b", "a//b", "a/", ".", "a\0b"] {
            let fault = store.begin(path).expect_err(path);
            assert_eq!(
                (fault.kind, fault.severity),
                (FailureKind::Store, Severity::Permanent)
            );
        }
        assert_eq!(partials(&folder), 0);
    }

    #[test]
    fn what_cannot_be_put_in_place_is_removed_and_permanent() {
        let (folder, store) = store();
        std::fs::create_dir(folder.path().join("folder")).expect("a folder in the way");
        std::fs::write(folder.path().join("file"), "").expect("a file in the way");
        let long = "n".repeat(256);
        for path in ["folder", "file/below", long.as_str()] {
            let fault = store
                .begin(path)
                .expect("the partial's name is short")
                .commit(|_| Ok(()))
                .expect_err(path);
            assert_eq!(
                (fault.kind, fault.severity),
                (FailureKind::Store, Severity::Permanent),
                "{}",
                fault.message
            );
        }
        assert_eq!(partials(&folder), 0);
    }

    #[test]
    fn a_vanished_folder_stops_the_run() {
        let (folder, store) = store();
        std::fs::remove_dir(folder.path().join(".partial")).expect("removed");
        let fault = store.begin("a").expect_err("nowhere to write");
        assert_eq!(fault.severity, Severity::Fatal);
    }

    #[test]
    fn a_full_disk_stops_the_run() {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .expect("Linux has it");
        let (_folder, store) = store();
        let mut partial = store.begin("a").expect("a file");
        partial.file = Some(full);
        let fault = partial.write(b"x").expect_err("no space");
        assert_eq!(
            (fault.kind, fault.severity),
            (FailureKind::DiskFull, Severity::Fatal)
        );
    }
}
