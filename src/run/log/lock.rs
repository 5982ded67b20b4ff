//! Allows one run per output folder.
//!
//! The lock is the kernel's lock on the file, not the file's existence. It ends with the process
//! that holds it, however that ends, and a file that stays has no meaning. If the file system has
//! no locks at all, the existence of a second file is used instead.

mod exclusive;
mod kernel;

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::{Pid, test_kill_process};

use crate::folder::{OwnFolder, StateError};
pub(super) use exclusive::EXCLUSIVE;
use exclusive::Exclusive;
use kernel::{Kernel, has_none};

/// How long a lock may outlive the process that took it.
///
/// A process that is killed while it starts a worker leaves a child that has not called exec yet.
/// This child holds all descriptors of its parent until it is scheduled.
const OUTLIVES: Duration = Duration::from_secs(2);

/// The lock file's name in its folder.
pub(super) const LOCK: &str = "lock";

/// The right to work on an output folder, held until dropped.
#[derive(Debug)]
pub struct Lock {
    by: By,
    path: PathBuf,
}

/// The kind of lock that keeps other runs out.
#[derive(Debug)]
enum By {
    Kernel { _file: File },
    Existence { _file: Exclusive },
    Nothing,
}

/// Reason why a lock was not acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run holds it.
    #[error(
        "another run{} works on this output folder and holds {}; let it finish or stop it, \
         or name another folder with --output",
        process(*.pid),
        .path.display()
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process id of the other run, if the file contains it.
        pid: Option<u32>,
    },
    /// The lock file has another type, or belongs to another user.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file is the lock, and it is unknown whether the process that created it still runs.
    #[error(
        "{} says that a run on another machine or in a container works on this output folder, and \
         the file system has no locks that would tell; if none does, remove that file",
        .path.display()
    )]
    Elsewhere { path: PathBuf },
    /// The lock file cannot be opened, locked or written.
    #[error(
        "cannot lock {}: {source}; the output folder must be writable, or use --no-lock if no other \
         run works on it",
        .path.display()
    )]
    Unavailable {
        /// The lock file.
        path: PathBuf,
        source: io::Error,
    },
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl Lock {
    /// Acquires the lock in the run's own folder or fails at once, and writes this process's id
    /// into it.
    ///
    /// # Errors
    ///
    /// Fails if another run holds it, or if the file cannot be locked.
    pub fn acquire(own: &OwnFolder) -> Result<Self, LockError> {
        let path = own.as_folder().path().join(LOCK);
        let file = match own.open(LOCK, OFlags::empty()) {
            Ok(file) => file,
            Err(StateError::System { source, .. }) => {
                return Err(LockError::Unavailable { path, source });
            }
            Err(error) => return Err(error.into()),
        };
        for kernel in Kernel::ALL {
            match try_acquire(&file, kernel) {
                Ok(Ok(())) => {
                    if let Err(source) = note(&file) {
                        return Err(LockError::Unavailable { path, source });
                    }
                    let by = By::Kernel { _file: file };
                    return Ok(Self { by, path });
                }
                Ok(Err(pid)) => return Err(LockError::Held { path, pid }),
                Err(error) if has_none(&error) => {
                    tracing::info!(%error, ?kernel, "the file system does not have this lock");
                }
                Err(source) => return Err(LockError::Unavailable { path, source }),
            }
        }
        Ok(Self {
            by: By::Existence {
                _file: Exclusive::acquire(own)?,
            },
            path: own.as_folder().path().join(EXCLUSIVE),
        })
    }

    /// Uses no lock, because the user asked for that.
    #[must_use]
    pub fn none(own: &OwnFolder) -> Self {
        Self {
            by: By::Nothing,
            path: own.as_folder().path().join(LOCK),
        }
    }

    /// Returns a warning about what this lock lacks compared to a kernel lock, if anything.
    #[must_use]
    pub fn lacks(&self) -> Option<String> {
        match &self.by {
            By::Kernel { .. } => None,
            By::Existence { .. } => Some(format!(
                "warning: the file system has no locks, and the file {} is there instead: if this \
                 run is killed, remove it before you start the next on another machine or in \
                 another container",
                self.path.display()
            )),
            By::Nothing => Some(
                "warning: nothing keeps another run from this output folder (--no-lock), and two at \
                 once lose files"
                    .to_owned(),
            ),
        }
    }
}

/// Locks the file, or returns the process that holds it.
fn try_acquire(file: &File, kernel: Kernel) -> io::Result<Result<(), Option<u32>>> {
    if !kernel.try_lock(file)? {
        let pid = read_pid(file);
        if pid.is_none_or(lives) || !is_free_soon(file, kernel)? {
            return Ok(Err(pid));
        }
    }
    Ok(Ok(()))
}

/// Writes the id of this process into the locked file.
fn note(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// Returns whether a process with this id exists, of any user.
fn lives(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Waits for the lock of a dead process. Returns whether it was acquired.
fn is_free_soon(file: &File, kernel: Kernel) -> io::Result<bool> {
    // This is the same lock: it belongs to the open file description, which both descriptors share.
    let waiting = file.try_clone()?;
    let (done, locked) = channel();
    // These calls have no time limit. If another run was faster, this process ends, and the thread
    // waits until then.
    thread::Builder::new()
        .name("lock".to_owned())
        .spawn(move || done.send(kernel.lock(&waiting)))?;
    match locked.recv_timeout(OUTLIVES) {
        Ok(locked) => locked.map(|()| true),
        Err(_) => Ok(false),
    }
}

/// Only for the message. If this fails, the message does not name the process.
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
        // Held by a child of the dead process until this is dropped. That happens when a thread
        // waits for the lock, which an arrow in the kernel's list shows (proc_locks(5)).
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

    /// Runs `check` where the kernel has no flock(2), and locks of open file descriptions only if
    /// `descriptions` is true. A filter belongs to a thread, so this thread keeps its calls.
    fn without_flock<T: Send>(descriptions: bool, check: impl FnOnce() -> T + Send) -> T {
        use seccompiler::{
            SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
            SeccompRule,
        };
        let is = |command: libc::c_int| {
            let command = u64::try_from(command).expect("a number");
            let condition =
                SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, command);
            SeccompRule::new(vec![condition.expect("a condition")]).expect("a rule")
        };
        let mut rules = std::collections::BTreeMap::from([(libc::SYS_flock, Vec::new())]);
        if !descriptions {
            let commands = [libc::F_OFD_SETLK, libc::F_OFD_SETLKW];
            rules.insert(libc::SYS_fcntl, commands.map(is).to_vec());
        }
        let refused = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        let arch = std::env::consts::ARCH.try_into().expect("a known machine");
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch);
        let program: seccompiler::BpfProgram =
            filter.expect("a filter").try_into().expect("a program");
        thread::scope(|scope| {
            let refused = scope.spawn(move || {
                seccompiler::apply_filter(&program).expect("applied");
                check()
            });
            refused.join().expect("it does not panic")
        })
    }

    #[test]
    fn without_flock_a_second_run_is_refused_all_the_same() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        without_flock(true, || {
            let first = Lock::acquire(&own(dir.path())).expect("it is free");
            assert_eq!(first.lacks(), None, "it ends with the process");
            let error = Lock::acquire(&own(dir.path())).expect_err("it is held");
            let pid = Some(std::process::id());
            let held = matches!(&error, LockError::Held { pid: found, .. } if *found == pid);
            assert!(held, "{error:?}");
            assert!(!dir.path().join(EXCLUSIVE).exists());
            drop(first);
            Lock::acquire(&own(dir.path())).expect("it is free again");
        });
    }

    #[test]
    fn without_any_lock_a_file_is_one_and_is_told_of() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        without_flock(false, || {
            let first = Lock::acquire(&own(dir.path())).expect("it is free");
            let told = first.lacks().expect("it does not end with the process");
            let path = dir.path().join(EXCLUSIVE);
            assert!(told.contains(&path.display().to_string()), "{told}");
            let error = Lock::acquire(&own(dir.path())).expect_err("it is held");
            assert!(matches!(error, LockError::Held { .. }), "{error:?}");
            drop(first);
            assert!(!path.exists());
        });
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
