//! A file whose existence is the lock, for file systems without other locks.
//!
//! The file does not end with its process, so it contains the identity of the process that created
//! it. It no longer counts once that process is known to have exited: the process ran on the
//! current boot and in the same PID namespace, and does not exist any more; or it ran on an earlier
//! boot. For a process on another machine or in another container, this cannot be determined.

use std::fs;
use std::io::{self, Read as _, Write as _};

use rustix::fs::OFlags;
use rustix::system::uname;

use super::{LockError, lives};
use crate::folder::{Folder, OwnFolder, Replace};

/// The file's name in its folder.
pub(in crate::run::log) const EXCLUSIVE: &str = "lock.held";

/// How often another run may be faster.
const TRIES: u32 = 8;

/// Maximum size of the file in bytes.
const MAX_TEXT: u64 = 1024;

/// Stands for a value that the system does not report.
const UNKNOWN: &str = "-";

/// The file, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Exclusive {
    folder: Folder,
    text: String,
}

impl Exclusive {
    pub(super) fn acquire(own: &OwnFolder) -> Result<Self, LockError> {
        let folder = own.as_folder();
        let path = folder.path().join(EXCLUSIVE);
        let unavailable = |source| LockError::Unavailable {
            path: path.clone(),
            source,
        };
        let own_process = Process::this();
        let text = own_process.text();
        for _ in 0..TRIES {
            // Written under another name first, so that no process reads a part of it.
            let new = unique();
            let mut file = own.open(&new, OFlags::empty())?;
            let written = file.write_all(text.as_bytes());
            let named = written.and_then(|()| folder.rename(&new, folder, EXCLUSIVE, Replace::No));
            match named {
                Ok(()) => {
                    let folder = folder.try_clone().map_err(unavailable)?;
                    return Ok(Self { folder, text });
                }
                Err(error) => {
                    // A fault of the file system would already have shown above.
                    let _ = folder.remove_file(&new);
                    if error.kind() != io::ErrorKind::AlreadyExists {
                        return Err(unavailable(error));
                    }
                }
            }
            let Some(held) = read(folder, EXCLUSIVE)? else {
                continue;
            };
            let holder = Process::parse(&held);
            match holder.as_ref().map(|holder| own_process.knows(holder)) {
                Some(Known::Gone) => remove_stale(folder, &held).map_err(unavailable)?,
                Some(Known::Lives) => {
                    let pid = holder.map(|holder| holder.pid);
                    return Err(LockError::Held { path, pid });
                }
                Some(Known::Nothing) | None => return Err(LockError::Elsewhere { path }),
            }
        }
        Err(LockError::Held { path, pid: None })
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        // Only if it belongs to this run: the user may have removed it so that another run can
        // begin.
        if read(&self.folder, EXCLUSIVE).is_ok_and(|held| held.as_deref() == Some(&self.text)) {
            let removed = self.folder.remove_file(EXCLUSIVE);
            tracing::debug!(?removed, "the file that was the lock");
        }
    }
}

fn unique() -> String {
    format!("{EXCLUSIVE}.{:016x}", fastrand::u64(..))
}

fn read(folder: &Folder, name: &str) -> Result<Option<String>, LockError> {
    let Some(file) = folder.read(name)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    // A file that cannot be read names no process.
    let _ = file.take(MAX_TEXT).read_to_end(&mut bytes);
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Removes the file if it still contains `stale`. If two runs have read that text, the slower one
/// may find the file of the faster one, and puts it back.
fn remove_stale(folder: &Folder, stale: &str) -> io::Result<()> {
    let aside = unique();
    match folder.rename(EXCLUSIVE, folder, &aside, Replace::Yes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        moved => moved?,
    }
    if read(folder, &aside).is_ok_and(|held| held.as_deref() == Some(stale)) {
        return folder.remove_file(&aside);
    }
    folder.rename(&aside, folder, EXCLUSIVE, Replace::No)
}

/// The identity of a process, from which others can determine whether it has exited.
#[derive(Debug)]
struct Process {
    pid: u32,
    /// Start time, which distinguishes it from a later process with the same id.
    started: String,
    boot: String,
    /// Its PID namespace: the processes of a container have other ids.
    namespace: String,
    /// The machine's id and name: both, because machines started from one image can share either.
    machine: String,
}

/// What is known about a process.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    Lives,
    Gone,
    Nothing,
}

impl Process {
    fn this() -> Self {
        let known = |text: Option<String>| {
            text.map(|text| text.split_whitespace().collect::<String>())
                .filter(|text| !text.is_empty())
                .unwrap_or_else(|| UNKNOWN.to_owned())
        };
        let file = |path: &str| known(fs::read_to_string(path).ok());
        let namespace = fs::read_link("/proc/self/ns/pid").ok();
        let machine = file("/etc/machine-id");
        Self {
            pid: std::process::id(),
            started: known(started(std::process::id())),
            boot: file("/proc/sys/kernel/random/boot_id"),
            namespace: known(namespace.map(|link| link.to_string_lossy().into_owned())),
            machine: match machine == UNKNOWN {
                true => machine,
                false => format!(
                    "{machine}/{}",
                    known(Some(uname().nodename().to_string_lossy().into_owned()))
                ),
            },
        }
    }

    fn text(&self) -> String {
        let Self {
            pid,
            started,
            boot,
            namespace,
            machine,
        } = self;
        format!("{pid} {started} {boot} {namespace} {machine}\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let pid = words.next()?.parse().ok()?;
        let mut word = || words.next().map(str::to_owned);
        Some(Self {
            pid,
            started: word()?,
            boot: word()?,
            namespace: word()?,
            machine: word()?,
        })
    }

    /// Returns what this process knows about another one.
    fn knows(&self, other: &Self) -> Known {
        let same = |own: &str, other: &str| own != UNKNOWN && own == other;
        if same(&self.boot, &other.boot) && same(&self.namespace, &other.namespace) {
            let is_it = started(other.pid).is_none_or(|started| started == other.started);
            return match lives(other.pid) && is_it {
                true => Known::Lives,
                false => Known::Gone,
            };
        }
        let rebooted = self.boot != other.boot && self.boot != UNKNOWN && other.boot != UNKNOWN;
        match rebooted && same(&self.machine, &other.machine) {
            true => Known::Gone,
            false => Known::Nothing,
        }
    }
}

/// Returns when the process started, in ticks since the boot (proc_pid_stat(5)).
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The process name may contain spaces and brackets.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn own(dir: &Path) -> OwnFolder {
        OwnFolder::named(dir).expect("a folder")
    }

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        names
            .map(|entry| name(entry).to_string_lossy().into_owned())
            .collect()
    }

    fn dead() -> u32 {
        let mut child = std::process::Command::new("true").spawn().expect("a child");
        child.wait().expect("it ends");
        child.id()
    }

    #[test]
    fn a_file_keeps_a_second_run_out_until_the_first_ends() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let first = Exclusive::acquire(&own(dir.path())).expect("it is free");
        let error = Exclusive::acquire(&own(dir.path())).expect_err("it is held");
        let process = format!("process {}", std::process::id());
        assert!(error.to_string().contains(&process), "{error}");
        assert_eq!(names(dir.path()), [EXCLUSIVE]);
        drop(first);
        assert_eq!(names(dir.path()), [""; 0]);
        Exclusive::acquire(&own(dir.path())).expect("it is free again");
    }

    #[test]
    fn only_the_file_of_a_process_that_is_known_to_be_gone_is_replaced() {
        let this = Process::this;
        let other = || "other".to_owned();
        let table = [
            ("dead", this().pid_of(dead()), true),
            (
                "its id is another's now",
                Process {
                    started: other(),
                    ..this()
                },
                true,
            ),
            (
                "an earlier boot",
                Process {
                    boot: other(),
                    machine: "m/h".to_owned(),
                    ..this()
                },
                true,
            ),
            ("alive", this(), false),
            (
                "a container",
                Process {
                    namespace: other(),
                    ..this().pid_of(dead())
                },
                false,
            ),
            (
                "a machine",
                Process {
                    boot: other(),
                    machine: other(),
                    ..this().pid_of(dead())
                },
                false,
            ),
            (
                "none with an id",
                Process {
                    boot: other(),
                    machine: UNKNOWN.to_owned(),
                    ..this()
                },
                false,
            ),
        ];
        for (name, holder, gone) in table {
            let machine = if holder.machine == UNKNOWN {
                UNKNOWN
            } else {
                "m/h"
            };
            let us = Process {
                machine: machine.to_owned(),
                ..this()
            };
            assert_eq!(us.knows(&holder) == Known::Gone, gone, "{name}");
        }
    }

    impl Process {
        fn pid_of(self, pid: u32) -> Self {
            Self { pid, ..self }
        }
    }

    #[test]
    fn a_file_left_by_a_dead_process_is_replaced_and_one_that_says_nothing_is_not() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join(EXCLUSIVE);
        fs::write(&path, Process::this().pid_of(dead()).text()).expect("write");
        let lock = Exclusive::acquire(&own(dir.path())).expect("nobody lives who holds it");
        assert_eq!(
            fs::read_to_string(&path).expect("read"),
            Process::this().text()
        );
        assert_eq!(names(dir.path()), [EXCLUSIVE]);
        // A file that belongs to another run now is not removed.
        fs::write(&path, "somebody's").expect("write");
        drop(lock);
        let error = Exclusive::acquire(&own(dir.path())).expect_err("nobody knows");
        assert!(matches!(error, LockError::Elsewhere { .. }), "{error:?}");
        assert_eq!(fs::read_to_string(&path).expect("read"), "somebody's");
        assert_eq!(names(dir.path()), [EXCLUSIVE]);
    }

    #[test]
    fn one_that_is_not_stale_after_all_is_put_back() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join(EXCLUSIVE), "new").expect("write");
        remove_stale(own(dir.path()).as_folder(), "stale").expect("moved and back");
        assert_eq!(names(dir.path()), [EXCLUSIVE]);
    }
}
