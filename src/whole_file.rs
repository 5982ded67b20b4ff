//! A file that is written completely or not at all: it gets its name when it is complete.
//!
//! This module must not know what is in the file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file that is being written. Dropping it leaves the existing file.
#[derive(Debug)]
pub struct WholeFile {
    to: To,
}

#[derive(Debug)]
enum To {
    /// Written beside `path`, and moved there at the end.
    Beside {
        file: BufWriter<NamedTempFile>,
        path: PathBuf,
    },
    /// A device or a pipe, which must not be replaced: written directly.
    Through(BufWriter<File>),
}

impl WholeFile {
    /// Starts a file for `path`, with the permissions of any new file. An existing file stays until
    /// [`finish`](Self::finish). A link is followed.
    ///
    /// # Errors
    ///
    /// Fails if no file can be created in its folder.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::create_with(path, 0o666)
    }

    /// Like [`create`](Self::create), but only the owner may read the new file, even if others may
    /// read the existing one.
    ///
    /// # Errors
    ///
    /// As for [`create`](Self::create).
    pub fn create_private(path: &Path) -> io::Result<Self> {
        Self::create_with(path, 0o600)
    }

    fn create_with(path: &Path, mode: u32) -> io::Result<Self> {
        let path = match path.metadata() {
            // Opened by the given name: a pipe may have no other (`/dev/stdout`).
            Ok(there) if !there.is_file() => {
                let through = OpenOptions::new().write(true).open(path)?;
                return Ok(Self {
                    to: To::Through(BufWriter::new(through)),
                });
            }
            Ok(_) => fs::canonicalize(path)?,
            // It does not exist, or is a link to a file that does not exist.
            Err(_) => path.to_owned(),
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            Some(_) | None => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(folder)?;
        Ok(Self {
            to: To::Beside {
                file: BufWriter::new(file),
                path,
            },
        })
    }

    /// Puts the file in place.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written to its end or moved.
    pub fn finish(self) -> io::Result<()> {
        match self.to {
            To::Beside { file, path } => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.persist(path)?;
                Ok(())
            }
            To::Through(mut file) => file.flush(),
        }
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            To::Beside { file, .. } => file.write(bytes),
            To::Through(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::Beside { file, .. } => file.flush(),
            To::Through(file) => file.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_stays_until_the_file_is_whole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a");
        fs::write(&path, "before").expect("write");
        let mut file = WholeFile::create(&path).expect("create");
        file.write_all(b"after").expect("write");
        file.flush().expect("flush");
        assert_eq!(fs::read(&path).expect("read"), b"before");
        drop(file);
        let names = fs::read_dir(folder.path()).expect("a folder");
        assert_eq!(names.count(), 1, "nothing is left of it");
        let mut file = WholeFile::create(&path).expect("create");
        file.write_all(b"after").expect("write");
        file.finish().expect("finish");
        assert_eq!(fs::read(&path).expect("read"), b"after");
    }

    #[test]
    fn nothing_takes_the_place_of_a_link_or_a_pipe() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, link) = (folder.path().join("a"), folder.path().join("link"));
        fs::write(&path, "before").expect("write");
        std::os::unix::fs::symlink("a", &link).expect("link");
        let mut file = WholeFile::create(&link).expect("create");
        file.write_all(b"after").expect("write");
        file.finish().expect("finish");
        assert_eq!(fs::read(&path).expect("read"), b"after");
        assert!(link.symlink_metadata().expect("it is there").is_symlink());

        let (reader, writer) = io::pipe().expect("a pipe");
        let number = std::os::fd::AsRawFd::as_raw_fd(&writer);
        let through = format!("/proc/self/fd/{number}");
        let mut file = WholeFile::create(through.as_ref()).expect("open");
        file.write_all(b"through").expect("write");
        file.finish().expect("finish");
        drop(writer);
        assert_eq!(io::read_to_string(reader).expect("read"), "through");
    }
}
