//! The part of the process table that tests read.
//!
//! A mark identifies the processes of a run, even when their parent has died. It is in their
//! environment, which is inherited, or in their arguments, because workers name their folder.

use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

use super::wait;

/// The environment variable that marks a run's processes.
pub const MARK: &str = "COORDINATOR_TEST_RUN";

/// A process. Its start time distinguishes it from a later one with the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    started: String,
    pub arguments: Vec<String>,
}

/// Fields of `/proc/PID/stat`.
struct Stat {
    state: char,
    parent: u32,
    group: u32,
    started: String,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain anything.
    let fields: Vec<_> = text[text.rfind(')')? + 1..].split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        started: (*fields.get(19)?).to_owned(),
    })
}

impl Process {
    /// Returns the living process with this id.
    pub fn find(pid: u32) -> Option<Self> {
        let stat = stat(pid).filter(|stat| !"ZX".contains(stat.state))?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let arguments = line
            .split(|&byte| byte == 0)
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .filter(|part| !part.is_empty())
            .collect();
        Some(Self {
            pid,
            started: stat.started,
            arguments,
        })
    }

    /// Returns all living processes with this mark.
    pub fn marked(mark: &str) -> Vec<Self> {
        let wanted = format!("{MARK}={mark}");
        let bears = |pid: u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            environment
                .split(|&byte| byte == 0)
                .any(|entry| entry == wanted.as_bytes())
                || arguments.starts_with(b"coordinator\0worker\0")
                    && arguments
                        .split(|&byte| byte == 0)
                        .any(|word| word.starts_with(mark.as_bytes()))
        };
        fs::read_dir("/proc")
            .expect("there is a process table")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|&pid| bears(pid))
            .filter_map(Self::find)
            .collect()
    }

    pub fn lives(&self) -> bool {
        stat(self.pid)
            .is_some_and(|stat| stat.started == self.started && !"ZX".contains(stat.state))
    }

    pub fn parent(&self) -> Option<u32> {
        stat(self.pid).map(|stat| stat.parent)
    }

    /// Returns its process group.
    pub fn group(&self) -> Option<u32> {
        stat(self.pid).map(|stat| stat.group)
    }

    /// Returns what kind of process it is: `worker`, `origin` or nothing.
    pub fn role(&self) -> Option<&str> {
        self.arguments.get(1).map(String::as_str)
    }

    /// Returns the value of a command-line option.
    pub fn option(&self, name: &str) -> Option<&str> {
        let at = self.arguments.iter().position(|part| part == name)?;
        self.arguments.get(at + 1).map(String::as_str)
    }

    /// Returns its descriptors: number, and target of the link in `/proc/PID/fd`.
    pub fn descriptors(&self) -> Vec<(u32, String)> {
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", self.pid)) else {
            return Vec::new();
        };
        let describe = |path: PathBuf| {
            let number = path.file_name()?.to_str()?.parse().ok()?;
            let target = fs::read_link(&path).ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        };
        let mut all: Vec<_> = entries
            .filter_map(|entry| describe(entry.ok()?.path()))
            .collect();
        all.sort();
        all
    }

    /// Sends it a signal. Does nothing if it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.lives()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// Returns whether it is stopped.
    pub fn is_stopped(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.state == 'T')
    }

    /// Sends it SIGSTOP, and waits until it has stopped.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        wait(
            "a process to stop",
            || {
                stat(self.pid)
                    .filter(|stat| "TZX".contains(stat.state))
                    .map(drop)
            },
            || format!("{self:?}"),
        );
    }
}
