//! The process table: which processes of a chaos run are still alive.
//!
//! A process belongs to the run if the path of the run's folder is in its arguments, environment or
//! working directory. Workers receive the path as an argument; all others inherit it in one of the
//! other two. This module must not end any process.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use memchr::memmem;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long a killed process may take to disappear. The kernel sends the signal when the parent
/// dies, but the process has to be scheduled once more to end.
const SETTLE: Duration = Duration::from_secs(2);

/// A live process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its arguments, with spaces between them.
    pub arguments: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}: {}", self.pid, self.arguments)
    }
}

/// Returns the processes that belong to `folder` and do not end soon, without this one and its
/// ancestors.
///
/// # Errors
///
/// Fails if there is no process table.
pub fn left(folder: &Path) -> io::Result<Vec<Process>> {
    let until = Instant::now() + SETTLE;
    for process in of(folder)? {
        await_end(process.pid, until);
    }
    of(folder)
}

/// Returns the processes that belong to `folder`, without this one and its ancestors.
///
/// # Errors
///
/// Fails if there is no process table.
pub fn of(folder: &Path) -> io::Result<Vec<Process>> {
    let own = own_line();
    let mark = memmem::Finder::new(folder.as_os_str().as_bytes());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(pid) = name.and_then(|name| name.parse().ok()) else {
            continue;
        };
        // If this cannot be read, the process is gone or belongs to another user.
        let arguments = fs::read(path.join("cmdline")).unwrap_or_default();
        let environment = fs::read(path.join("environ")).unwrap_or_default();
        let working = fs::read_link(path.join("cwd")).unwrap_or_default();
        let bears = mark.find(&arguments).is_some()
            || mark.find(&environment).is_some()
            || mark.find(working.as_os_str().as_bytes()).is_some();
        if bears && !own.contains(&pid) {
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            found.push(Process {
                pid,
                arguments: arguments.trim_end().to_owned(),
            });
        }
    }
    Ok(found)
}

/// Returns the ids of this process and of its ancestors. The arguments of a shell or of timeout(1)
/// that started this process may name the folder too.
fn own_line() -> Vec<u32> {
    let parent = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may contain any character (proc_pid_stat(5)).
        let (_, fields) = stat.rsplit_once(')')?;
        let parent = fields.split_ascii_whitespace().nth(1)?.parse().ok()?;
        (parent != 0).then_some(parent)
    };
    std::iter::successors(Some(std::process::id()), parent).collect()
}

/// Waits until a process has ended, at most until `until`.
fn await_end(pid: u32, until: Instant) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    // A process that cannot be opened has ended.
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(left) = Timespec::try_from(left) else {
            return;
        };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_found_by_its_environment_as_long_as_it_lives() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new("cat")
            .env("SOME_FOLDER", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a cat");
        // The environment is readable some time after the spawn: at the latest once it answers.
        let (stdin, stdout) = (child.stdin.as_mut(), child.stdout.as_mut());
        stdin.expect("a pipe").write_all(b"!").expect("it reads");
        let mut answer = [0];
        let answered = stdout.expect("a pipe").read_exact(&mut answer);
        answered.expect("it writes");
        let found = of(folder.path()).expect("a process table");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].pid, found[0].arguments.as_str()),
            (child.id(), "cat")
        );
        // It ends as soon as its input ends, and `left` waits for it.
        drop(child.stdin.take());
        assert_eq!(left(folder.path()).expect("a process table"), []);
        child.wait().expect("it has ended");
    }
}
