//! The output folder: where things are in it, and that it can be worked in.
//!
//! This module makes folders and removes what a crash left in one of them. It never touches a file
//! under a final name.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{DEATHS, Lock, LockError, RESULTS};
use crate::placement::{Tidied, tidy};

/// The folder for what the run needs, in the output folder. No file name starts with a dot.
const COORDINATOR: &str = ".coordinator";
const PARTIAL: &str = "partial";
const SOCKETS: &str = "sockets";
const ROBOTS: &str = "robots";

/// The places in an output folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    output: PathBuf,
    coordinator: PathBuf,
    partial: PathBuf,
}

/// Why an output folder cannot be worked in.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The path has no absolute form: it is empty, or the working directory is gone.
    #[error("cannot tell where the output folder {} is: {source}; name it with --output", .path.display())]
    Nowhere {
        /// The path, as given.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Something that is not a folder is in its place.
    #[error(
        "{} is not a folder, and files are to be stored in it; move it away, or name another \
         folder with --output",
        .path.display()
    )]
    NotAFolder {
        /// What is in the way.
        path: PathBuf,
    },
    /// It cannot be created.
    #[error(
        "cannot create the folder {}: {source}; create it, or name another with --output",
        .path.display()
    )]
    Create {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is there, but files cannot be created in it.
    #[error(
        "cannot write to the output folder {}: {source}; check its permissions and free space, \
         or name another with --output",
        .path.display()
    )]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It cannot be made safe from the loss of power.
    #[error(
        "cannot sync the folder {} (--fsync): {source}; see to the disk, or run without --fsync",
        .path.display()
    )]
    Sync {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The partial bodies of an earlier run cannot be removed.
    #[error("cannot remove what an earlier run left in {}: {source}; remove it yourself", .path.display())]
    Leftovers {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl Layout {
    /// Makes the output folder ready: creates what is missing of it, and tries whether files can be
    /// created in it. Harmless to a run that is working in it.
    ///
    /// # Errors
    ///
    /// A file is in the way; a folder cannot be created, or not written to.
    pub fn prepare(output: &Path) -> Result<Self, LayoutError> {
        let layout = Self::at(absolute(output)?);
        if let Err(source) = fs::create_dir_all(&layout.output) {
            return Err(cannot_create(&layout.output, source));
        }
        probe(&layout.output)?;
        create_own(&layout.coordinator)?;
        create_own(&layout.partial)?;
        Ok(layout)
    }

    /// What [`prepare`](Self::prepare) would find, as far as looking tells: nothing is created, and
    /// nothing tried.
    ///
    /// # Errors
    ///
    /// A file is in the way; a folder could not be created, or not be written to.
    pub fn look(output: &Path) -> Result<Self, LayoutError> {
        let layout = Self::at(absolute(output)?);
        let there = |path: &&Path| fs::symlink_metadata(path).is_ok();
        let path = layout.output.ancestors().find(there);
        let path = path.unwrap_or(&layout.output).to_owned();
        if !path.is_dir() {
            return Err(LayoutError::NotAFolder { path });
        }
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        if let Err(error) = accessat(CWD, &path, wanted, AtFlags::EACCESS) {
            let source = error.into();
            let path = layout.output;
            return Err(if path.is_dir() {
                LayoutError::Unwritable { path, source }
            } else {
                LayoutError::Create { path, source }
            });
        }
        for own in [&layout.coordinator, &layout.partial] {
            if fs::symlink_metadata(own).is_ok_and(|metadata| !metadata.is_dir()) {
                let path = own.clone();
                return Err(LayoutError::NotAFolder { path });
            }
        }
        Ok(layout)
    }

    /// Where things are in an output folder, whether or not it is there.
    #[must_use]
    pub fn at(output: PathBuf) -> Self {
        let coordinator = output.join(COORDINATOR);
        Self {
            partial: coordinator.join(PARTIAL),
            coordinator,
            output,
        }
    }

    /// Makes sure that no other run works in this folder, for as long as the lock is kept.
    ///
    /// # Errors
    ///
    /// Another run does, or that cannot be found out.
    pub fn lock(&self) -> Result<Lock, LockError> {
        Lock::acquire(&self.coordinator)
    }

    /// Makes a new folder for each robots.txt of this run.
    ///
    /// # Errors
    ///
    /// It cannot be created, or one that is there not be removed.
    pub fn make_robots(&self) -> Result<(), LayoutError> {
        self.remove_robots()?;
        create_own(&self.robots())
    }

    /// Removes each robots.txt of a run: the next one asks again.
    ///
    /// # Errors
    ///
    /// The folder cannot be removed.
    pub fn remove_robots(&self) -> Result<(), LayoutError> {
        let path = self.robots();
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(LayoutError::Leftovers { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes what a run left of partial bodies. If `boot` is given, the id of this boot of the
    /// machine, those that another run can resume are kept. The lock shows that no other run is
    /// writing them; and no worker may be alive.
    ///
    /// # Errors
    ///
    /// The folder cannot be read, or a file in it not removed.
    pub fn remove_leftovers(
        &self,
        _lock: &Lock,
        boot: Option<&str>,
    ) -> Result<Tidied, LayoutError> {
        tidy(&self.partial, boot).map_err(|(path, source)| LayoutError::Leftovers { path, source })
    }

    /// Makes the folders, and what is in them by name, safe from the loss of power.
    ///
    /// # Errors
    ///
    /// A folder of ours cannot be synced. One above the output folder that may not be read was not
    /// made by us, and is passed over.
    pub fn sync(&self) -> Result<(), LayoutError> {
        let own = [self.coordinator.as_path(), self.output.as_path()];
        let above = self.output.ancestors().skip(1);
        for path in own.into_iter().chain(above) {
            let synced = File::open(path).and_then(|folder| folder.sync_all());
            match synced {
                Ok(()) => {}
                Err(_) if !own.contains(&path) => {}
                Err(source) => {
                    return Err(LayoutError::Sync {
                        path: path.to_owned(),
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// Where files are stored; absolute.
    #[must_use]
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// Where the run log and the lock are; absolute.
    #[must_use]
    pub fn coordinator(&self) -> &Path {
        &self.coordinator
    }

    /// Where bodies are written until they are whole; absolute, and on the output folder's file
    /// system, since it is a folder of ours within it.
    #[must_use]
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Where workers connect, where that is possible; absolute. It may not be there.
    #[must_use]
    pub fn sockets(&self) -> PathBuf {
        self.coordinator.join(SOCKETS)
    }

    /// Where each robots.txt of a run is; absolute. It may not be there.
    #[must_use]
    pub fn robots(&self) -> PathBuf {
        self.coordinator.join(ROBOTS)
    }

    /// The path of the file `name` in there, relative to the output folder.
    #[must_use]
    pub fn robots_path(name: &str) -> String {
        format!("{COORDINATOR}/{ROBOTS}/{name}")
    }

    /// The run log; absolute.
    #[must_use]
    pub fn results(&self) -> PathBuf {
        self.coordinator.join(RESULTS)
    }

    /// The log of deaths; absolute.
    #[must_use]
    pub fn deaths(&self) -> PathBuf {
        self.coordinator.join(DEATHS)
    }
}

fn absolute(output: &Path) -> Result<PathBuf, LayoutError> {
    std::path::absolute(output).map_err(|source| LayoutError::Nowhere {
        path: output.to_owned(),
        source,
    })
}

/// Creates a folder of ours. A link in its place could lead anywhere, to another file system or to
/// files that are not partial bodies, and is refused.
fn create_own(path: &Path) -> Result<(), LayoutError> {
    match fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
            match fs::symlink_metadata(path) {
                Ok(metadata) if metadata.is_dir() => Ok(()),
                Ok(_) | Err(_) => Err(cannot_create(path, source)),
            }
        }
        Err(source) => Err(cannot_create(path, source)),
    }
}

fn cannot_create(path: &Path, source: io::Error) -> LayoutError {
    // The kernel's message does not say which part of the path is in the way.
    let in_the_way = path
        .ancestors()
        .find(|ancestor| fs::symlink_metadata(ancestor).is_ok());
    match (source.kind(), in_the_way) {
        (io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory, Some(ancestor)) => {
            LayoutError::NotAFolder {
                path: ancestor.to_owned(),
            }
        }
        _ => LayoutError::Create {
            path: path.to_owned(),
            source,
        },
    }
}

/// Permissions, read-only mounts, quotas and security modules all have a say; only trying tells.
fn probe(output: &Path) -> Result<(), LayoutError> {
    // Leftovers of a process with the same id are overwritten.
    let path = output.join(format!(".coordinator-probe-{}", std::process::id()));
    File::create(&path)
        .and_then(|_| fs::remove_file(&path))
        .map_err(|source| LayoutError::Unwritable {
            path: output.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

    use super::*;

    fn names_in(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn missing_folders_are_created_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let output = dir.path().join("a/b");
        for _ in 0..2 {
            let layout = Layout::prepare(&output).expect("it can be created");
            assert_eq!(names_in(&output), [".coordinator"]);
            assert_eq!(names_in(layout.coordinator()), ["partial"]);
            assert_eq!(layout.output(), output);
            assert_eq!(layout.partial(), output.join(".coordinator/partial"));
            assert_eq!(layout.results(), output.join(".coordinator/results.jsonl"));
        }
    }

    #[test]
    fn paths_are_absolute() {
        let here = std::env::current_dir().expect("a working directory");
        let layout = Layout::prepare(Path::new("target/tmp-layout-test")).expect("prepare");
        assert_eq!(layout.output(), here.join("target/tmp-layout-test"));
        fs::remove_dir_all(layout.output()).expect("remove");
        let error = Layout::prepare(Path::new("")).expect_err("an empty path");
        assert!(matches!(error, LayoutError::Nowhere { .. }), "{error:?}");
    }

    #[test]
    fn leftovers_are_removed_once_the_lock_is_held() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::prepare(dir.path()).expect("prepare");
        fs::write(layout.partial().join("one"), "x").expect("write");
        fs::write(layout.partial().join("two"), "x").expect("write");
        let again = Layout::prepare(dir.path()).expect("prepare");
        assert_eq!(names_in(again.partial()), ["one", "two"]);
        let lock = layout.lock().expect("it is free");
        again.lock().expect_err("it is held");
        let tidied = layout.remove_leftovers(&lock, None).expect("removed");
        assert_eq!((tidied.removed, tidied.kept.len()), (2, 0));
        assert_eq!(names_in(layout.partial()), [""; 0]);
        assert_eq!(names_in(layout.coordinator()), ["lock", "partial"]);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("file");
        fs::write(&file, "").expect("write");
        let own = dir.path().join("own");
        fs::create_dir(&own).expect("create");
        fs::write(own.join(".coordinator"), "").expect("write");
        let linked = dir.path().join("linked");
        fs::create_dir(&linked).expect("create");
        symlink(dir.path(), linked.join(".coordinator")).expect("link");
        let table = [
            (file.clone(), file.clone()),
            (file.join("a/b"), file),
            (own.clone(), own.join(".coordinator")),
            (linked.clone(), linked.join(".coordinator")),
        ];
        for (output, in_the_way) in table {
            let expected = format!("{} is not a folder", in_the_way.display());
            // In this order: looking does not move what is in the way.
            for found in [Layout::look(&output), Layout::prepare(&output)] {
                let error = found.expect_err("something is in the way");
                assert!(error.to_string().starts_with(&expected), "{error}");
            }
        }
    }

    #[test]
    fn looking_creates_nothing() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let output = dir.path().join("a/b");
        let looked = Layout::look(&output).expect("it could be created");
        assert_eq!(names_in(dir.path()), [""; 0]);
        assert_eq!(looked, Layout::prepare(&output).expect("it can be"));
        assert_eq!(Layout::look(&output).expect("it is there"), looked);
    }

    #[test]
    fn an_output_folder_that_is_a_link_to_a_folder_is_one() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        symlink(dir.path(), dir.path().join("link")).expect("link");
        Layout::prepare(&dir.path().join("link")).expect("it leads to a folder");
        assert!(dir.path().join(".coordinator/partial").is_dir());
    }

    /// Runs `check` without the right to disregard permissions, which root has. Capabilities
    /// belong to a thread, so this thread keeps its own.
    fn without_override<T: Send>(check: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let dropped = scope.spawn(|| {
                let CapabilitySets {
                    mut effective,
                    permitted,
                    inheritable,
                } = capabilities(None).expect("capabilities");
                effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
                let sets = CapabilitySets {
                    effective,
                    permitted,
                    inheritable,
                };
                set_capabilities(None, sets).expect("fewer capabilities");
                check()
            });
            dropped.join().expect("it does not panic")
        })
    }

    #[test]
    fn a_read_only_folder_is_found_out() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let output = dir.path().join("output");
        fs::create_dir(&output).expect("create");
        fs::set_permissions(&output, fs::Permissions::from_mode(0o555)).expect("chmod");
        let [look, prepare] = without_override(|| {
            [Layout::look, Layout::prepare].map(|at: fn(&Path) -> _| {
                (
                    at(&output).expect_err("it is read-only"),
                    at(&output.join("x")).expect_err("it is read-only"),
                )
            })
        });
        assert!(matches!(look.0, LayoutError::Unwritable { .. }), "{look:?}");
        assert!(matches!(look.1, LayoutError::Create { .. }), "{look:?}");
        let (here, below) = prepare;
        assert!(matches!(here, LayoutError::Unwritable { .. }), "{here:?}");
        let text = here.to_string();
        let expected = format!(
            "cannot write to the output folder {}: Permission denied",
            output.display()
        );
        assert!(text.starts_with(&expected), "{text}");
        assert!(matches!(below, LayoutError::Create { .. }), "{below:?}");
    }
}
