//! Memory of workers, as the kernel reports it: their peaks, and whether it killed for lack of it.
//!
//! All of this is evidence and may be missing: an unknown figure is `None`. This module must not
//! decide the cause of a death.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::process_memory::in_status;

/// Error of the kernel's count of resident pages, in bytes: it may be off by some pages for each
/// processor (`percpu_counter`). Only a larger difference distinguishes two processes.
const INEXACT: u64 = 4 * 1024 * 1024;

/// How long a rise of the count can explain another death: long enough to reap all its processes.
const RECENT: Duration = Duration::from_secs(10);

/// The peak memory of a worker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peak {
    /// The coordinator's peak when the worker was started. The kernel includes it in its figure at
    /// the worker's death: see [`Usage::peak_memory`](crate::reap::Usage::peak_memory).
    started_from: Option<u64>,
    seen: Option<u64>,
}

impl Peak {
    /// Creates the peak of a worker that has just been started.
    pub(super) fn of_new_worker() -> Self {
        Self {
            started_from: peak_of("self"),
            seen: None,
        }
    }

    /// Reads the current peak of the worker, process `pid`, which must not have been reaped.
    pub(super) fn look(&mut self, pid: u32) {
        self.seen = self.seen.max(peak_of(&pid.to_string()));
    }

    /// Returns the peak in bytes, given the kernel's figure for the dead worker. It is exact if the
    /// figure can only be the worker's own; otherwise it is the last peak that was read.
    pub(super) fn at_death(&self, accounted: u64) -> Option<u64> {
        let own = self
            .started_from
            .is_some_and(|started_from| accounted > started_from + INEXACT);
        if own { Some(accounted) } else { self.seen }
    }
}

/// Returns the peak resident memory of a living process, in bytes (`VmHWM`, proc_pid_status(5)).
fn peak_of(process: &str) -> Option<u64> {
    in_status(process, "VmHWM:")
}

/// The kernel's count of processes that it killed because memory ran out.
#[derive(Debug)]
pub(super) struct OomKills {
    /// A file with a line `oom_kill N`.
    counter: PathBuf,
    seen: Option<u64>,
    /// Kills that have not explained a death yet, and when the count last rose.
    unexplained: u64,
    since: Instant,
}

impl OomKills {
    /// Starts counting, in the narrowest place that has a count: the control group that the workers
    /// share with this process (`memory.events`, cgroups(7), version 2), or else the whole system
    /// (proc_vmstat(5), readable by all users).
    pub(super) fn watch() -> Self {
        let own = own_group().map(|group| group.join("memory.events"));
        match own.filter(|path| count_in(path).is_some()) {
            Some(path) => Self::watch_file(path),
            None => Self::watch_file("/proc/vmstat".into()),
        }
    }

    fn watch_file(counter: PathBuf) -> Self {
        Self {
            seen: count_in(&counter),
            counter,
            unexplained: 0,
            since: Instant::now(),
        }
    }

    /// Returns whether the kernel's out-of-memory killer explains a death by SIGKILL that was just
    /// noticed: whether the count has risen since the last call. A rise by two explains two deaths.
    /// Returns `None` if there is no count.
    pub(super) fn explains_a_death(&mut self) -> Option<bool> {
        let now = count_in(&self.counter);
        let rise = now?.saturating_sub(self.seen?);
        self.seen = now;
        if self.since.elapsed() > RECENT {
            self.unexplained = 0;
        }
        if rise > 0 {
            self.since = Instant::now();
            self.unexplained += rise;
        }
        let explained = self.unexplained > 0;
        self.unexplained = self.unexplained.saturating_sub(1);
        Some(explained)
    }
}

fn count_in(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    count.trim().parse().ok()
}

/// Returns the folder of this process's control group, in the hierarchy of version 2.
fn own_group() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    group_folder(&groups, &mounts)
}

/// Finds the folder from `/proc/self/cgroup` (cgroups(7)) and `/proc/self/mountinfo`
/// (proc_pid_mountinfo(5)).
fn group_folder(groups: &str, mounts: &str) -> Option<PathBuf> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (root, mount_point) = mounts.lines().find_map(|line| {
        let (fields, file_system) = line.split_once(" - ")?;
        let mut fields = fields.split(' ');
        let (root, mount_point) = (fields.nth(3)?, fields.next()?);
        file_system
            .starts_with("cgroup2 ")
            .then_some((root, mount_point))
    })?;
    // The mount may show only a part of the hierarchy.
    let below = Path::new(group).strip_prefix(root).ok()?;
    Some(Path::new(mount_point).join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_account_counts_only_beyond_what_the_coordinator_had() {
        const MIB: u64 = 1024 * 1024;
        let peak = |started_from, seen| Peak { started_from, seen };
        let accounted = 20 * MIB;
        assert_eq!(
            peak(Some(10 * MIB), None).at_death(accounted),
            Some(accounted)
        );
        assert_eq!(
            peak(Some(10 * MIB), Some(15 * MIB)).at_death(accounted),
            Some(accounted)
        );
        assert_eq!(
            peak(Some(20 * MIB), Some(9 * MIB)).at_death(accounted),
            Some(9 * MIB)
        );
        assert_eq!(peak(Some(19 * MIB), None).at_death(accounted), None);
        assert_eq!(peak(None, None).at_death(accounted), None);
    }

    #[test]
    fn a_living_process_has_a_peak_and_a_dead_one_none() {
        let mut peak = Peak::of_new_worker();
        assert!(peak.started_from.is_some_and(|bytes| bytes > 100 * 1024));
        peak.look(std::process::id());
        let seen = peak.seen;
        assert!(seen >= peak.started_from);
        // No process has this number (proc_sys_kernel(5), pid_max).
        peak.look(u32::MAX);
        assert_eq!(peak.seen, seen, "what was seen is kept");
    }

    #[test]
    fn as_many_deaths_are_explained_as_the_count_rose_by() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("memory.events");
        let set = |count: u32| {
            let text = format!("low 0\noom 9\noom_kill {count}\noom_group_kill 5\n");
            fs::write(&path, text).expect("write");
        };
        set(7);
        let mut kills = OomKills::watch_file(path.clone());
        assert_eq!(kills.explains_a_death(), Some(false), "it did not rise");
        set(9);
        assert_eq!(kills.explains_a_death(), Some(true));
        assert_eq!(kills.explains_a_death(), Some(true));
        assert_eq!(kills.explains_a_death(), Some(false), "it rose by two");
        set(11);
        assert_eq!(kills.explains_a_death(), Some(true));
        set(12);
        assert_eq!(kills.explains_a_death(), Some(true));
        assert_eq!(kills.explains_a_death(), Some(true), "three in all");
        assert_eq!(kills.explains_a_death(), Some(false));
        fs::write(&path, "low 0\n").expect("write");
        assert_eq!(kills.explains_a_death(), None);
    }

    #[test]
    fn the_own_control_group_is_found_below_its_mount() {
        let mounts = "22 1 0:20 / /proc rw - proc proc rw\n\
                      31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        let folder = |groups| group_folder(groups, mounts);
        assert_eq!(
            folder("0::/user.slice/x.scope\n"),
            Some("/sys/fs/cgroup/user.slice/x.scope".into())
        );
        assert_eq!(folder("0::/\n"), Some("/sys/fs/cgroup/".into()));
        assert_eq!(folder("4:memory:/x\n"), None, "version 1 alone");
        let part = mounts.replace("0:28 / ", "0:28 /docker/abc ");
        let folder = |groups| group_folder(groups, &part);
        assert_eq!(folder("0::/docker/abc/x"), Some("/sys/fs/cgroup/x".into()));
        assert_eq!(folder("0::/elsewhere"), None);
    }

    /// Shows on the running kernel why `started_from` is needed.
    #[test]
    #[allow(clippy::zombie_processes, reason = "it is reaped by other means")]
    fn a_small_child_is_not_taken_for_as_large_as_its_parent() {
        let large = std::hint::black_box(vec![1_u8; 64 << 20]);
        let child = std::process::Command::new("true")
            .spawn()
            .expect("it starts");
        let peak = Peak::of_new_worker();
        drop(large);
        let (_, usage) = crate::reap::reap(child.id()).expect("it is our child");
        assert!(
            usage.peak_memory > 64 << 20,
            "the kernel counts this process in"
        );
        assert_eq!(peak.at_death(usage.peak_memory), None);
    }
}
