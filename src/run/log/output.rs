//! The open output folder of a run.
//!
//! This module creates the folders that a run needs, and removes files that a crash left in some of
//! them. It never touches a file under a final name.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::layout::{COORDINATOR, HOLDS, PARTIAL, ROBOTS, SOCKETS, absolute, cannot_create};
use super::{Layout, LayoutError, Lock, LockError, RESULTS};
use crate::folder::{Folder, OwnFolder, Owner, StateError};
use crate::placement::{Tidied, tidy};

/// An open output folder.
#[derive(Debug)]
pub struct OutputFolder {
    layout: Layout,
    output: Folder,
    own: OwnFolder,
    partial: OwnFolder,
}

impl OutputFolder {
    /// Prepares the output folder: creates missing folders, and tests whether files can be created.
    /// This does not disturb a run that uses the folder.
    ///
    /// # Errors
    ///
    /// Fails if something in the way has another type or owner, or if a folder is not writable.
    pub fn prepare(output: &Path) -> Result<Self, LayoutError> {
        let layout = Layout::at(absolute(output)?);
        if let Err(source) = fs::create_dir_all(layout.output()) {
            return Err(cannot_create(layout.output(), source));
        }
        let unwritable = |source| LayoutError::Unwritable {
            path: layout.output().to_owned(),
            source,
        };
        let output = Folder::named(layout.output()).map_err(unwritable)?;
        let owner = Owner::probe(&output).map_err(unwritable)?;
        let own = OwnFolder::make(&output, COORDINATOR, owner, &HOLDS)?;
        let partial = own.folder(PARTIAL)?;
        Ok(Self {
            layout,
            output,
            own,
            partial,
        })
    }

    /// Returns its paths.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the folder where files are stored.
    #[must_use]
    pub const fn output(&self) -> &Folder {
        &self.output
    }

    /// Returns the folder with the run log and the lock.
    #[must_use]
    pub const fn own(&self) -> &OwnFolder {
        &self.own
    }

    /// Returns the folder for partial bodies.
    #[must_use]
    pub const fn partial(&self) -> &Folder {
        self.partial.as_folder()
    }

    /// Ensures that no other run uses this folder while the lock is held.
    ///
    /// # Errors
    ///
    /// Fails if another run uses it, or if that cannot be determined.
    pub fn lock(&self) -> Result<Lock, LockError> {
        Lock::acquire(&self.own)
    }

    /// Uses no lock: the user ensures that no other run uses this folder.
    #[must_use]
    pub fn do_not_lock(&self) -> Lock {
        Lock::none(&self.own)
    }

    /// Opens the run log for reading. Returns `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if it is not a file, or cannot be opened.
    pub fn results(&self) -> Result<Option<File>, StateError> {
        self.own.as_folder().read(RESULTS)
    }

    /// Returns the path within the output folder that a path from the user leads to, if it does.
    #[must_use]
    pub fn name_within(&self, path: &Path) -> Option<PathBuf> {
        let path = std::path::absolute(path).ok()?;
        // A link in place of the file itself must not be followed for this.
        let folder = fs::canonicalize(path.parent()?).ok()?;
        let output = fs::canonicalize(self.layout.output()).ok()?;
        Some(folder.strip_prefix(output).ok()?.join(path.file_name()?))
    }

    /// Opens an empty file of this user by its path relative to the output folder.
    ///
    /// # Errors
    ///
    /// Fails if an entry of another type is in its place, or if it cannot be opened.
    pub fn open_file(&self, name: &Path) -> io::Result<File> {
        let parent = name
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent
            .map(|parent| self.output.folder(parent))
            .transpose()?;
        let folder = parent.as_ref().unwrap_or(&self.output);
        let name = name.file_name().unwrap_or_default();
        let file = folder.open_own(name, OFlags::empty(), self.own.owner());
        let file = file.map_err(io::Error::other)?;
        file.set_len(0)?;
        Ok(file)
    }

    /// Returns the folder for the sockets of workers, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if an entry of another type is in the way, or if it cannot be created.
    pub fn sockets(&self) -> Result<Folder, StateError> {
        self.own.folder(SOCKETS).map(Folder::from)
    }

    /// Creates a new folder for each robots.txt of this run.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be created, or if an existing one cannot be removed.
    pub fn make_robots(&self) -> Result<Folder, LayoutError> {
        self.remove_robots()?;
        Ok(self.own.folder(ROBOTS).map(Folder::from)?)
    }

    /// Removes each robots.txt of a run: the next run fetches it again.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be removed.
    pub fn remove_robots(&self) -> Result<(), LayoutError> {
        let removed = self.own.as_folder().remove(ROBOTS);
        removed.map_err(|(path, source)| LayoutError::Leftovers { path, source })
    }

    /// Returns whether only this user can have left the existing partial bodies.
    #[must_use]
    pub const fn trusts_partials(&self) -> bool {
        !self.partial.was_open()
    }

    /// Removes the partial bodies that a run left. If `boot`, the id of the current boot, is given,
    /// keeps those that another run can resume. The lock shows that no other run is writing them.
    /// No worker may be running.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be read, or if something in it cannot be removed.
    pub fn remove_leftovers(
        &self,
        _lock: &Lock,
        boot: Option<&str>,
    ) -> Result<Tidied, LayoutError> {
        tidy(self.partial.as_folder().path(), boot)
            .map_err(|(path, source)| LayoutError::Leftovers { path, source })
    }

    /// Makes the folders and the names in them safe from a loss of power.
    ///
    /// # Errors
    ///
    /// Fails if a folder of this run cannot be synced. A folder above the output folder that cannot
    /// be read was not created by this run, and is skipped.
    pub fn sync(&self) -> Result<(), LayoutError> {
        for folder in [self.own.as_folder(), &self.output] {
            folder.sync().map_err(|source| LayoutError::Sync {
                path: folder.path().to_owned(),
                source,
            })?;
        }
        for path in self.layout.output().ancestors().skip(1) {
            let synced: io::Result<()> = File::open(path).and_then(|folder| folder.sync_all());
            tracing::trace!(path = %path.display(), ?synced, "a folder above");
        }
        Ok(())
    }
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
            let layout = OutputFolder::prepare(&output).expect("it can be created");
            assert_eq!(names_in(&output), [".coordinator"]);
            assert_eq!(names_in(layout.layout().coordinator()), ["partial"]);
            assert_eq!(layout.layout().output(), output);
            assert_eq!(
                layout.layout().partial(),
                output.join(".coordinator/partial")
            );
            assert_eq!(
                layout.layout().results(),
                output.join(".coordinator/results.jsonl")
            );
        }
    }

    #[test]
    fn paths_are_absolute() {
        let here = std::env::current_dir().expect("a working directory");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
        let relative = up.join(dir.path().strip_prefix("/").expect("it is absolute"));
        let layout = OutputFolder::prepare(&relative).expect("prepare");
        assert_eq!(layout.layout().output(), here.join(&relative));
        let error = OutputFolder::prepare(Path::new("")).expect_err("an empty path");
        assert!(matches!(error, LayoutError::Nowhere { .. }), "{error:?}");
    }

    #[test]
    fn leftovers_are_removed_once_the_lock_is_held() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let layout = OutputFolder::prepare(dir.path()).expect("prepare");
        fs::write(layout.layout().partial().join("one"), "x").expect("write");
        fs::write(layout.layout().partial().join("two"), "x").expect("write");
        let again = OutputFolder::prepare(dir.path()).expect("prepare");
        assert_eq!(names_in(again.layout().partial()), ["one", "two"]);
        let lock = layout.lock().expect("it is free");
        again.lock().expect_err("it is held");
        let tidied = layout.remove_leftovers(&lock, None).expect("removed");
        assert_eq!((tidied.removed, tidied.kept.len()), (2, 0));
        assert_eq!(names_in(layout.layout().partial()), [""; 0]);
        assert_eq!(names_in(layout.layout().coordinator()), ["lock", "partial"]);
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
            // In this order, because `look` does not move what is in the way.
            let prepare = |output: &Path| OutputFolder::prepare(output).map(|_| ());
            for found in [Layout::look(&output).map(|_| ()), prepare(&output)] {
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
        assert_eq!(
            &looked,
            OutputFolder::prepare(&output).expect("it can be").layout()
        );
        assert_eq!(Layout::look(&output).expect("it is there"), looked);
    }

    #[test]
    fn an_output_folder_that_is_a_link_to_a_folder_is_one() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        symlink(dir.path(), dir.path().join("link")).expect("link");
        OutputFolder::prepare(&dir.path().join("link")).expect("it leads to a folder");
        assert!(dir.path().join(".coordinator/partial").is_dir());
    }

    /// Runs `check` without the capability to override permissions, which root has. Capabilities
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
        let (look, [here, below]) = without_override(|| {
            let paths = [output.clone(), output.join("x")];
            let refused = "it is read-only";
            (
                paths
                    .each_ref()
                    .map(|path| Layout::look(path).expect_err(refused)),
                paths
                    .each_ref()
                    .map(|path| OutputFolder::prepare(path).expect_err(refused)),
            )
        });
        assert!(
            matches!(look[0], LayoutError::Unwritable { .. }),
            "{look:?}"
        );
        assert!(matches!(look[1], LayoutError::Create { .. }), "{look:?}");
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
