//! The memory of a tree of processes at one moment, read from `/proc`.
//!
//! It is the proportional set size if the kernel reports it (`smaps_rollup`): a page that k
//! processes share counts 1/k in each, so the sum over the tree counts it once. Otherwise it is the
//! resident set size, which counts the page k times. Reading it costs the processes kernel time, so
//! it is never read during a timed run. This module must not decide when to read it.

use std::fs;

use serde::Serialize;

use pool::process_memory::{in_status, kib};

/// The most processes that are examined, so that a runaway tree cannot delay the shootout.
const MOST: usize = 4096;

/// How a page counts that several processes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// Once over all processes.
    Proportional,
    /// Once in each process.
    Resident,
}

/// The memory of a tree at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Memory of all processes in bytes.
    pub bytes: u64,
    /// Number of processes.
    pub processes: usize,
    /// How shared pages count.
    pub counted: Counted,
}

impl Memory {
    /// Returns the larger of two samples.
    #[must_use]
    pub const fn peak(self, other: Self) -> Self {
        if self.bytes >= other.bytes {
            self
        } else {
            other
        }
    }
}

/// Samples the process `root` and all its descendants. Returns `None` if none of them exists.
#[must_use]
pub fn memory(root: u32) -> Option<Memory> {
    let mut total = Memory {
        bytes: 0,
        processes: 0,
        counted: Counted::Proportional,
    };
    for pid in descendants(root) {
        if let Some(bytes) = proportional(pid) {
            total.bytes += bytes;
        } else if let Some(bytes) = resident(pid) {
            total.bytes += bytes;
            total.counted = Counted::Resident;
        } else {
            // The process has ended.
            continue;
        }
        total.processes += 1;
    }
    (total.processes > 0).then_some(total)
}

fn descendants(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() && found.len() < MOST {
        found.extend(children(found[next]));
        next += 1;
    }
    found
}

/// Returns the children of every thread of a process (proc_pid_task(5)).
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for thread in threads.flatten() {
        let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(
            list.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    found
}

fn proportional(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    kib(&text, "Pss:")
}

fn resident(pid: u32) -> Option<u64> {
    in_status(&pid.to_string(), "VmRSS:")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process_group};

    use super::*;

    #[test]
    fn every_descendant_counts() {
        let mut root = Command::new("sh")
            .args([
                "-c",
                "sh -c 'sleep 1000 & sleep 1000 & echo up; wait' & wait",
            ])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("there is a shell");
        let mut line = String::new();
        let stdout = root.stdout.take().expect("it is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("readable");
        let memory = memory(root.id()).expect("they run");
        // Two shells, and the command that they wait for.
        assert_eq!(memory.processes, 4, "{memory:?}");
        assert!(memory.bytes > 100 << 10, "{memory:?}");
        kill_process_group(Pid::from_child(&root), Signal::KILL).expect("it is there");
        root.wait().expect("it ends");
    }

    #[test]
    fn what_is_gone_has_no_memory() {
        assert_eq!(memory(u32::MAX), None);
    }
}
