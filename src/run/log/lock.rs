//! One run per output folder.
//!
//! The lock is the kernel's lock on the file (flock(2)), never the file's existence: it ends with the
//! process that holds it, however that ends, and a file left behind means nothing.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::{Pid, test_kill_process};

use crate::folder::{OwnFolder, StateError};

/// How long a lock may outlive the process that took it.
///
/// One that is killed while it starts a worker leaves a child that has not called exec yet, and so
/// holds all that its parent had open, for as long as it takes to be scheduled.
const OUTLIVES: Duration = Duration::from_secs(2);

/// The lock file's name in its folder.
pub(super) const LOCK: &str = "lock";

/// The right to work on an output folder, held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a lock was not acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run has it.
    #[error(
        "another run{} works on this output folder and holds {}; let it finish or stop it, \
         or name another folder with --output",
        process(*.pid),
        .path.display()
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The other run's process, if it has said so.
        pid: Option<u32>,
    },
    /// Something else is in the place of the lock file, or it is of somebody else.
    #[error(transparent)]
    State(#[from] StateError),
    /// The lock file cannot be opened, locked or written.
    #[error(
        "cannot lock {}: {source}; the output folder must be writable, \
         and on a file system that supports locks",
        .path.display()
    )]
    Unavailable {
        /// The lock file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl Lock {
    /// Acquires the lock in the run's own folder, at once or not at all, and writes this process's id into it.
    ///
    /// # Errors
    ///
    /// Another run holds it, or the file cannot be locked.
    pub fn acquire(own: &OwnFolder) -> Result<Self, LockError> {
        let path = own.as_folder().path().join(LOCK);
        let file = match own.open(LOCK, OFlags::empty()) {
            Ok(file) => file,
            Err(StateError::System { source, .. }) => {
                return Err(LockError::Unavailable { path, source });
            }
            Err(error) => return Err(error.into()),
        };
        match try_acquire(file) {
            Ok(Ok(file)) => Ok(Self { _file: file }),
            Ok(Err(pid)) => Err(LockError::Held { path, pid }),
            Err(source) => Err(LockError::Unavailable { path, source }),
        }
    }
}

/// The locked file, or who holds it.
fn try_acquire(file: File) -> io::Result<Result<File, Option<u32>>> {
    match file.try_lock() {
        Ok(()) => taken(file).map(Ok),
        Err(TryLockError::WouldBlock) => {
            let pid = read_pid(&file);
            match pid.is_none_or(lives) || !is_free_soon(&file)? {
                true => Ok(Err(pid)),
                false => taken(file).map(Ok),
            }
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Notes in the locked file who holds it.
fn taken(mut file: File) -> io::Result<File> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

/// Whether there is a process with this id, whoever's it is.
fn lives(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Waits for the lock of a process that is dead; whether it could be had.
fn is_free_soon(file: &File) -> io::Result<bool> {
    // The same lock: it belongs to what is open, of which this is another descriptor (flock(2)).
    let waiting = file.try_clone()?;
    let (done, locked) = channel();
    // flock(2) has no time limit. If somebody else was faster, the thread waits until this process
    // ends, which it then does.
    thread::Builder::new()
        .name("lock".to_owned())
        .spawn(move || done.send(waiting.lock()))?;
    match locked.recv_timeout(OUTLIVES) {
        Ok(locked) => locked.map(|()| true),
        Err(_) => Ok(false),
    }
}

/// Only for the message: whatever goes wrong here, the process is just not named.
fn read_pid(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.strip_suffix('\n')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use super::*;

    fn own(dir: &Path) -> OwnFolder {
        OwnFolder::named(dir).expect("a folder")
    }

    #[test]
    fn a_second_run_is_refused_until_the_first_ends() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let first = Lock::acquire(&own(dir.path())).expect("it is free");
        let error = Lock::acquire(&own(dir.path())).expect_err("it is held");
        assert_eq!(
            error.to_string(),
            format!(
                "another run (process {}) works on this output folder and holds {}; let it finish \
                 or stop it, or name another folder with --output",
                std::process::id(),
                dir.path().join("lock").display()
            )
        );
        drop(first);
        Lock::acquire(&own(dir.path())).expect("it is free again");
    }

    #[test]
    fn a_file_left_behind_means_nothing() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join("lock"), "123456789\n").expect("write");
        let lock = Lock::acquire(&own(dir.path())).expect("nobody holds it");
        let text = fs::read_to_string(dir.path().join("lock")).expect("read");
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(lock);
    }

    #[test]
    fn the_lock_of_a_dead_process_is_waited_for() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("lock");
        let mut dead = std::process::Command::new("true").spawn().expect("a child");
        dead.wait().expect("it ends");
        fs::write(&path, format!("{}\n", dead.id())).expect("write");
        // Held by what the dead process had started, until this is dropped: when somebody waits for
        // it, which has an arrow in the kernel's list (proc_locks(5)).
        let held = File::open(&path).expect("open");
        held.lock().expect("it is free");
        let inode = format!(":{} ", held.metadata().expect("metadata").ino());
        let waits = |line: &str| line.contains("-> FLOCK") && line.contains(&inode);
        thread::scope(|scope| {
            scope.spawn(move || {
                let locks = || fs::read_to_string("/proc/locks").expect("a list of locks");
                while !locks().lines().any(waits) {
                    thread::yield_now();
                }
                drop(held);
            });
            Lock::acquire(&own(dir.path())).expect("nobody lives who holds it");
        });
        let text = fs::read_to_string(&path).expect("read");
        assert_eq!(text, format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_holder_that_has_not_said_its_name_is_not_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = File::create(dir.path().join("lock")).expect("create");
        file.lock().expect("it is free");
        for text in ["", "12", "x\n", "-1\n"] {
            fs::write(dir.path().join("lock"), text).expect("write");
            let error = Lock::acquire(&own(dir.path())).expect_err("it is held");
            assert!(
                matches!(error, LockError::Held { pid: None, .. }),
                "{error:?}"
            );
            assert!(
                error.to_string().starts_with("another run works on"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_folder_that_is_not_there_cannot_be_locked() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let gone = dir.path().join("gone");
        fs::create_dir(&gone).expect("create");
        let folder = own(&gone);
        fs::remove_dir(&gone).expect("remove");
        let error = Lock::acquire(&folder).expect_err("no such folder");
        assert!(matches!(error, LockError::Unavailable { .. }), "{error:?}");
    }
}
