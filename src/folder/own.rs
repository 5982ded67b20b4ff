//! The folder that a run keeps for itself, and the files in it.
//!
//! Nothing is written to, truncated or removed before a descriptor has shown that it is as
//! expected: a file of this user with one name, or a folder of this user.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat, fchmod, fstat, mkdirat};
use rustix::io::Errno;

use super::{Folder, Owner};

/// The mode of the run's own files.
const OWN_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Permissions of other users.
const OTHERS: u32 = 0o077;

/// Write permissions of other users.
const OTHERS_WRITE: u32 = 0o022;

/// The expected type of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file with no other name.
    File,
    /// A folder.
    Folder,
}

/// The type that was found instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found(FileType);

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Folder => "folder",
        })
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            FileType::RegularFile => "a file",
            FileType::Directory => "a folder",
            FileType::Symlink => "a symbolic link",
            FileType::Fifo => "a fifo",
            FileType::Socket => "a socket",
            FileType::CharacterDevice | FileType::BlockDevice => "a device",
            FileType::Unknown => "something else",
        })
    }
}

/// Reason why an entry of the run's own folder is not used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It has another type.
    #[error(
        "{} is not a {expected}, but {found}; move it away, or use another \
         output folder",
        .path.display()
    )]
    Kind {
        /// Its path.
        path: PathBuf,
        /// The expected type.
        expected: Kind,
        /// The type that was found.
        found: Found,
    },
    /// The file has other names, under which it would be changed as well.
    #[error(
        "{} is a file with {count} names (hard links), and a run would change it under all of \
         them; put a copy in its place, or use another output folder",
        .path.display()
    )]
    Linked {
        /// One of its names.
        path: PathBuf,
        /// Number of its names.
        count: u64,
    },
    /// It belongs to another user.
    #[error(
        "{} belongs to another user (user id {uid}), who may have prepared it; remove it, or use \
         another output folder",
        .path.display()
    )]
    Foreign {
        /// Its path.
        path: PathBuf,
        /// The user id of its owner.
        uid: u32,
    },
    /// The system refuses an operation.
    #[error("cannot {doing} {}: {source}; check its permissions", .path.display())]
    System {
        doing: &'static str,
        /// The path for the operation.
        path: PathBuf,
        source: io::Error,
    },
}

impl StateError {
    fn system(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

/// A folder that only this user can access, with the files of a run.
#[derive(Debug)]
pub struct OwnFolder {
    folder: Folder,
    owner: Owner,
    /// Permissions that other users had until now, as mode bits.
    others: u32,
}

impl OwnFolder {
    /// Opens a folder by name that is known to be the run's own.
    ///
    /// # Errors
    ///
    /// Fails if it does not exist, or if files cannot be created in it.
    pub fn named(path: &Path) -> io::Result<Self> {
        let folder = Folder::named(path)?;
        Ok(Self {
            owner: Owner::probe(&folder)?,
            folder,
            others: 0,
        })
    }

    /// Returns the same folder with another descriptor.
    ///
    /// # Errors
    ///
    /// Fails if there are too many descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            folder: self.folder.try_clone()?,
            owner: self.owner,
            others: self.others,
        })
    }

    /// Opens the folder `name` in `parent`, or creates it. Existing entries that are named in
    /// `holds` must have these types. Removes the permissions of other users if there are any.
    ///
    /// # Errors
    ///
    /// Fails if the folder or one of these entries is not as expected. Then nothing was changed.
    pub fn make(
        parent: &Folder,
        name: &str,
        owner: Owner,
        holds: &[(&str, Kind)],
    ) -> Result<Self, StateError> {
        let path = parent.path().join(name);
        let system = |doing| StateError::system(doing, &path);
        // Checked before the folder is opened: the kernel's error would not say what is in the way.
        expect(parent, name, Kind::Folder, Some(owner))?;
        match mkdirat(parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(system("create the folder")(errno.into())),
        }
        let folder = parent.folder(name).map_err(system("open the folder"))?;
        let stat = fstat(&folder).map_err(|errno| system("look at")(errno.into()))?;
        check(folder.path(), &stat, Kind::Folder, Some(owner))?;
        for &(name, kind) in holds {
            expect(&folder, name, kind, Some(owner))?;
        }
        if owner.keeps_modes() && Mode::from_raw_mode(stat.st_mode) != Mode::RWXU {
            folder
                .readable()
                .and_then(|open| Ok(fchmod(open, Mode::RWXU)?))
                .map_err(system("keep others out of"))?;
        }
        Ok(Self {
            folder,
            owner,
            others: stat.st_mode & OTHERS,
        })
    }

    /// Opens or creates a folder of the run in this one, as with [`make`](Self::make).
    ///
    /// # Errors
    ///
    /// As for [`make`](Self::make).
    pub fn folder(&self, name: &str) -> Result<Self, StateError> {
        let mut folder = Self::make(&self.folder, name, self.owner, &[])?;
        folder.others |= self.others;
        Ok(folder)
    }

    /// Opens a file in it for reading and writing, with further flags (`APPEND`), or creates it.
    /// Its contents stay. Removes the permissions of other users.
    ///
    /// # Errors
    ///
    /// Fails if it is not a file of this user with one name, or cannot be opened.
    pub fn open(&self, name: &str, flags: OFlags) -> Result<File, StateError> {
        self.folder.open_own(name, flags, self.owner)
    }

    /// Opens a file in it for reading: see [`Folder::read_private`].
    #[must_use]
    pub fn read_private(&self, name: &str) -> Option<File> {
        self.folder.read_private(name, Some(self.owner))
    }

    /// Returns whether `stat` describes a file of this user with one name.
    #[must_use]
    pub fn is_own_file(&self, stat: &Stat) -> bool {
        check(self.folder.path(), stat, Kind::File, Some(self.owner)).is_ok()
    }

    /// Returns the folder itself.
    #[must_use]
    pub const fn as_folder(&self) -> &Folder {
        &self.folder
    }

    /// Returns the owner of the files that are accepted in it.
    #[must_use]
    pub const fn owner(&self) -> Owner {
        self.owner
    }

    /// Returns whether other users could write to it until now, so that its contents may be theirs.
    #[must_use]
    pub const fn was_open(&self) -> bool {
        self.others & OTHERS_WRITE != 0
    }

    /// Returns whether other users could access it until now, and cannot any more.
    #[must_use]
    pub const fn is_tightened(&self) -> bool {
        self.others != 0 && self.owner.keeps_modes()
    }
}

impl From<OwnFolder> for Folder {
    fn from(own: OwnFolder) -> Self {
        own.folder
    }
}

impl Folder {
    /// Opens a file in this folder that only this user may access: see [`OwnFolder::open`].
    ///
    /// # Errors
    ///
    /// As for [`OwnFolder::open`].
    pub fn open_own(
        &self,
        name: impl AsRef<OsStr>,
        flags: OFlags,
        owner: Owner,
    ) -> Result<File, StateError> {
        let name = name.as_ref();
        let path = self.path().join(name);
        let system = |doing| StateError::system(doing, &path);
        let open = |flags, mode| self.open(name, flags | OFlags::RDWR, mode);
        let file = loop {
            // Opening a device can have side effects.
            expect(self, name, Kind::File, Some(owner))?;
            match open(flags, Mode::empty()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => break opened,
            }
            let exclusive = OFlags::CREATE | OFlags::EXCL;
            match open(flags | exclusive, OWN_FILE) {
                // Another run was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => break made,
            }
        };
        let file = file.map_err(system("open"))?;
        let stat = fstat(&file).map_err(|errno| system("look at")(errno.into()))?;
        check(&path, &stat, Kind::File, Some(owner))?;
        if owner.keeps_modes() && Mode::from_raw_mode(stat.st_mode) != OWN_FILE {
            fchmod(&file, OWN_FILE).map_err(|errno| system("keep others out of")(errno.into()))?;
        }
        Ok(file)
    }

    /// Creates a file in this folder that only this user may read, for reading and writing. An
    /// existing entry with its name is removed, not overwritten.
    ///
    /// # Errors
    ///
    /// Fails if the existing entry cannot be removed or the file cannot be created.
    pub fn renew(&self, name: &str) -> io::Result<File> {
        match self.remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        self.open(name, flags, OWN_FILE)
    }

    /// Opens a file in this folder for reading. Returns `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if it is not a regular file, or cannot be opened.
    pub fn read(&self, name: &str) -> Result<Option<File>, StateError> {
        let path = self.path().join(name);
        let system = |doing| StateError::system(doing, &path);
        let wanted = |stat: &Stat| kind(&path, stat, Kind::File);
        match self.look(name) {
            Ok(stat) => wanted(&stat)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(system("look at")(error)),
        }
        let file = self
            .open(name, OFlags::RDONLY, Mode::empty())
            .map_err(system("open"))?;
        let stat = fstat(&file).map_err(|errno| system("look at")(errno.into()))?;
        wanted(&stat)?;
        Ok(Some(file))
    }

    /// Opens a file in this folder for reading, if no other user can have written or read it: it
    /// has one name, its mode gives other users no access, and it belongs to `owner`, if given.
    #[must_use]
    pub fn read_private(&self, name: &str, owner: Option<Owner>) -> Option<File> {
        let file = self.read(name).ok()??;
        let stat = fstat(&file).ok()?;
        let own = check(self.path(), &stat, Kind::File, owner).is_ok();
        (own && stat.st_mode & OTHERS == 0).then_some(file)
    }
}

/// Checks that the entry with this name in a folder, if it exists, has this type, and belongs to
/// `owner`, if given. Opens nothing.
///
/// # Errors
///
/// Fails if it does not.
pub fn expect(
    folder: &Folder,
    name: impl AsRef<OsStr>,
    expected: Kind,
    owner: Option<Owner>,
) -> Result<(), StateError> {
    let path = folder.path().join(name.as_ref());
    match folder.look(name) {
        Ok(stat) => check(&path, &stat, expected, owner),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StateError::system("look at", &path)(error)),
    }
}

fn check(path: &Path, stat: &Stat, expected: Kind, owner: Option<Owner>) -> Result<(), StateError> {
    kind(path, stat, expected)?;
    // A count of zero belongs to a file that has just been removed.
    #[allow(clippy::useless_conversion, reason = "its type depends on the machine")]
    let count = u64::from(stat.st_nlink);
    if expected == Kind::File && count > 1 {
        let path = path.to_owned();
        return Err(StateError::Linked { path, count });
    }
    if owner.is_some_and(|owner| !owner.owns(stat)) {
        let path = path.to_owned();
        let uid = stat.st_uid;
        return Err(StateError::Foreign { path, uid });
    }
    Ok(())
}

fn kind(path: &Path, stat: &Stat, expected: Kind) -> Result<(), StateError> {
    let found = FileType::from_raw_mode(stat.st_mode);
    let fits = match expected {
        Kind::File => found == FileType::RegularFile,
        Kind::Folder => found == FileType::Directory,
    };
    if fits {
        return Ok(());
    }
    Err(StateError::Kind {
        path: path.to_owned(),
        expected,
        found: Found(found),
    })
}
