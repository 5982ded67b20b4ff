//! What is visible of an attacking worker from outside: files, the process table, sockets.
//!
//! This module must not ask the attacker, or trust what the run reports about itself.

use std::cell::Cell;
use std::fs;
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use memchr::memmem;

use super::attempts::{COMMANDS, SCORE, SPACE};
use super::ground::LOOT;
use super::keeper;
use super::scene::Scene;

/// Largest growth of the coordinator's memory that is accepted, in bytes.
const MOST_GROWTH: u64 = 32 << 20;

/// Most additional descriptors of the coordinator that are accepted.
const MOST_DESCRIPTORS: u64 = 64;

/// The state of a scene, seen from outside.
#[derive(Debug)]
pub struct View<'a> {
    /// The scene.
    pub scene: &'a Scene,
    /// The attacker's process id.
    pub attacker: u32,
    /// The coordinator's process id, which may be the same.
    pub coordinator: u32,
    /// The other worker's process id, if there is one.
    pub sibling: Option<u32>,
    /// The folder that the attacker works in.
    pub own: &'a Path,
    /// The coordinator's resource usage before the attempt.
    pub before: Usage,
    /// Processes were left after the run.
    pub outlived: bool,
    /// The bystander has ended.
    pub bystander_is_dead: bool,
    /// The run has ended as it should.
    pub over: bool,
    /// Something could not be checked, so nothing is known.
    pub blind: Cell<bool>,
}

/// The resource usage of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Peak resident memory, in bytes.
    peak: u64,
    /// Open descriptors.
    descriptors: u64,
}

impl Usage {
    /// Returns the usage of the process `pid`.
    pub fn of(pid: u32) -> Self {
        let peak = status(pid, "VmHWM").map_or(0, |text| kibibytes(&text) << 10);
        // Since Linux 6.2, the size of this folder is the number of descriptors, and any process
        // may read it.
        let folder = format!("/proc/{pid}/fd");
        let size = fs::metadata(&folder).map_or(0, |folder| folder.len());
        let descriptors = match size {
            0 => fs::read_dir(folder).map_or(0, |entries| entries.count() as u64),
            size => size,
        };
        Self { peak, descriptors }
    }
}

/// Returns a field of `/proc/PID/status` (proc_pid_status(5)).
fn status(pid: u32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(rest.trim().to_owned())
}

fn kibibytes(text: &str) -> u64 {
    let number = text.strip_suffix(" kB").unwrap_or(text);
    number.trim().parse().unwrap_or(0)
}

/// Returns a field of `/proc/PID/stat` (proc_pid_stat(5)), counted from 0, from the third on.
fn stat_field(pid: u32, field: usize) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The process name is in parentheses, and may contain anything.
    let rest = &text[text.rfind(')')? + 1..];
    rest.split_whitespace()
        .nth(field.checked_sub(2)?)
        .map(str::to_owned)
}

/// Returns whether the process `pid` exists and has not ended.
pub fn lives(pid: u32) -> bool {
    stat_field(pid, 2).is_some_and(|state| !"ZX".contains(state.as_str()))
}

impl View<'_> {
    // Files.

    pub fn outside(&self, name: &str) -> PathBuf {
        self.scene.folder().join("outside").join(name)
    }

    pub fn content(&self, name: &str) -> Vec<u8> {
        fs::read(self.outside(name)).unwrap_or_default()
    }

    pub fn output(&self, name: &str) -> PathBuf {
        self.scene.output().join(name)
    }

    pub fn own(&self, name: &str) -> PathBuf {
        self.own.join(name)
    }

    pub fn mode(&self, path: &Path) -> u32 {
        fs::metadata(path).map_or(0, |file| file.permissions().mode())
    }

    /// Returns whether the run's private folder contains this file.
    pub fn has_state(&self, name: &str) -> bool {
        let path = self.output(".coordinator").join(name);
        path.symlink_metadata().is_ok()
    }

    /// Returns whether a file in the run's private folder contains these bytes.
    pub fn state(&self, name: &str, bytes: &[u8]) -> bool {
        let text = fs::read(self.output(".coordinator").join(name)).unwrap_or_default();
        memmem::find(&text, bytes).is_some()
    }

    /// Returns the data that the attacker has saved.
    pub fn loot(&self) -> Vec<u8> {
        fs::read(self.own(LOOT)).unwrap_or_default()
    }

    pub fn has_secret(&self) -> bool {
        memmem::find(&self.loot(), self.scene.secret.as_bytes()).is_some()
    }

    pub fn loot_is_state(&self, name: &str) -> bool {
        let state = fs::read(self.output(".coordinator").join(name));
        state.is_ok_and(|state| !state.is_empty() && self.loot() == state)
    }

    /// Returns whether a file in the output folder, or the target of a link there, consists of
    /// exactly these bytes.
    pub fn output_has(&self, bytes: &[u8]) -> bool {
        let entries = fs::read_dir(self.scene.output());
        entries.is_ok_and(|entries| {
            let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
            paths.any(|path| fs::read(path).is_ok_and(|content| content == bytes))
        })
    }

    pub fn output_has_letter(&self) -> bool {
        self.output_has(b"L")
    }

    /// Returns whether the run passed terminal control characters on.
    pub fn said_commands(&self) -> bool {
        let log = self.output(".coordinator/results.jsonl");
        [self.scene.said(), log].iter().any(|path| {
            let text = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&text).contains(COMMANDS)
        })
    }

    /// Returns whether the output of the run contains `text`.
    pub fn said(&self, text: &str) -> bool {
        let said = fs::read(self.scene.said()).unwrap_or_default();
        memmem::find(&said, text.as_bytes()).is_some()
    }

    // Processes.

    pub fn bystander(&self) -> u32 {
        self.scene.bystander()
    }

    pub fn bystander_pid(&self) -> i32 {
        i32::try_from(self.bystander()).unwrap_or(0)
    }

    pub fn bystander_is_dead(&self) -> bool {
        self.bystander_is_dead
    }

    pub fn bystander_is_stopped(&self) -> bool {
        stat_field(self.bystander(), 2).as_deref() == Some("T")
    }

    pub fn bystander_is_traced(&self) -> bool {
        status(self.bystander(), "TracerPid").is_some_and(|tracer| tracer != "0")
    }

    pub fn bystander_is_offered(&self) -> bool {
        let path = format!("/proc/{}/oom_score_adj", self.bystander());
        fs::read_to_string(path).is_ok_and(|score| score.trim() == SCORE)
    }

    /// Returns whether its allowed processors differ from those of this process.
    pub fn bystander_has_one_processor(&self) -> bool {
        let allowed = |pid| status(pid, "Cpus_allowed");
        let (its, own) = (allowed(self.bystander()), allowed(std::process::id()));
        its.is_some() && its != own
    }

    pub fn coordinator_is_gone(&self) -> bool {
        !self.over && !lives(self.coordinator)
    }

    /// Returns whether the other worker is dead or stopped.
    pub fn sibling_is_gone(&self) -> bool {
        self.sibling.is_some_and(|sibling| {
            !lives(sibling) || stat_field(sibling, 2).as_deref() == Some("T")
        })
    }

    /// Returns whether the other worker's arguments, which are in its memory, contain `argument`.
    pub fn sibling_has(&self, argument: &[u8]) -> bool {
        let sibling = self.sibling.unwrap_or_default();
        let arguments = fs::read(format!("/proc/{sibling}/cmdline")).unwrap_or_default();
        memmem::find(&arguments, argument).is_some()
    }

    pub fn is_outlived(&self) -> bool {
        self.outlived
    }

    /// Returns the number of live child processes of the attacker.
    pub fn children_of_attacker(&self) -> usize {
        let Ok(entries) = fs::read_dir("/proc") else {
            return 0;
        };
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let of_attacker = |pid: &u32| self.stat(*pid, 3) == Some(self.attacker.into());
        pids.filter(of_attacker).filter(|pid| lives(*pid)).count()
    }

    /// Returns the result of reading the attacker's `/proc/PID`. If it is not dumpable, only root
    /// may read it (proc(5)).
    fn looked<T>(&self, result: io::Result<T>) -> Option<T> {
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::PermissionDenied
        {
            self.blind.set(true);
        }
        result.ok()
    }

    /// Returns whether a link in the attacker's `/proc/PID` differs from that of this process.
    fn differs(&self, link: &str) -> bool {
        let target = |pid| fs::read_link(format!("/proc/{pid}/{link}"));
        let its = self.looked(target(self.attacker));
        its.is_some_and(|its| target(std::process::id()).is_ok_and(|own| own != its))
    }

    /// Returns whether the attacker has become another program.
    pub fn is_another_program(&self) -> bool {
        self.differs("exe")
    }

    pub fn stat(&self, pid: u32, field: usize) -> Option<i64> {
        stat_field(pid, field)?.parse().ok()
    }

    pub fn stat_of_attacker(&self, field: usize) -> Option<i64> {
        self.stat(self.attacker, field)
    }

    pub fn status_of_attacker(&self, field: &str) -> Option<String> {
        status(self.attacker, field)
    }

    pub fn is_root(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    pub fn has_capabilities(&self, field: &str) -> bool {
        let set = self.status_of_attacker(field);
        set.is_some_and(|set| u64::from_str_radix(&set, 16) != Ok(0))
    }

    fn has_limit(&self, pid: u32, limit: &str, value: u64) -> bool {
        let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(limit));
        let value = value.to_string();
        line.is_some_and(|line| line.split_whitespace().any(|word| word == value))
    }

    pub fn is_limited(&self, pid: u32) -> bool {
        self.has_limit(pid, "Max address space", SPACE)
    }

    pub fn has_core_limit(&self, bytes: u64) -> bool {
        self.has_limit(self.attacker, "Max core file size", bytes)
    }

    pub fn has_memory(&self, field: &str, bytes: usize) -> bool {
        let memory = self.status_of_attacker(field);
        memory.is_some_and(|memory| kibibytes(&memory) << 10 >= bytes as u64)
    }

    pub fn is_in_another_namespace(&self, kind: &str) -> bool {
        self.differs(&format!("ns/{kind}"))
    }

    pub fn sees_a_mount(&self) -> bool {
        let mounts = fs::read(format!("/proc/{}/mountinfo", self.attacker));
        let mounts = self.looked(mounts).unwrap_or_default();
        let folder = self.outside("folder");
        memmem::find(&mounts, folder.as_os_str().as_encoded_bytes()).is_some()
    }

    pub fn has_another_root(&self) -> bool {
        let root = |pid| fs::metadata(format!("/proc/{pid}/root"));
        let its = self.looked(root(self.attacker));
        let own = root(std::process::id()).ok();
        match (its, own) {
            (Some(its), Some(own)) => (its.dev(), its.ino()) != (own.dev(), own.ino()),
            (_, _) => false,
        }
    }

    pub fn has_personality(&self, bits: i32) -> bool {
        let text = fs::read_to_string(format!("/proc/{}/personality", self.attacker));
        let value = self.looked(text);
        let value = value.and_then(|text| i64::from_str_radix(text.trim(), 16).ok());
        value.is_some_and(|value| value & i64::from(bits) != 0)
    }

    /// Returns whether the coordinator's usage has grown more than a worker justifies.
    pub fn coordinator_is_swollen(&self) -> bool {
        let now = Usage::of(self.coordinator);
        now.peak > self.before.peak + MOST_GROWTH
            || now.descriptors > self.before.descriptors + MOST_DESCRIPTORS
    }

    // Descriptors.

    /// Returns the targets of the attacker's links in `/proc/PID/fd`.
    pub fn descriptors(&self) -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.attacker));
        let Some(entries) = self.looked(entries) else {
            return Vec::new();
        };
        let target = |path: PathBuf| Some(fs::read_link(path).ok()?.display().to_string());
        entries
            .filter_map(|entry| target(entry.ok()?.path()))
            .collect()
    }

    /// Returns whether the kernel lists a lease of the attacker (proc_locks(5)).
    pub fn holds_a_lease(&self) -> bool {
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        let pid = self.attacker.to_string();
        locks.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.nth(1) == Some("LEASE") && words.any(|word| word == pid)
        })
    }

    pub fn holds(&self, is: impl Fn(&str) -> bool) -> bool {
        self.count(is) > 0
    }

    pub fn count(&self, is: impl Fn(&str) -> bool) -> usize {
        let all = self.descriptors();
        all.iter().filter(|target| is(target)).count()
    }

    /// Returns the lines of a table in `/proc/net` with the inode of one of the attacker's sockets.
    fn sockets_in(&self, table: &str, column: usize) -> Vec<String> {
        let inodes: Vec<String> = self
            .descriptors()
            .iter()
            .filter_map(|target| target.strip_prefix("socket:[")?.strip_suffix(']'))
            .map(str::to_owned)
            .collect();
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        let is_own = |line: &&str| {
            let inode = line.split_whitespace().nth(column);
            inode.is_some_and(|inode| inodes.iter().any(|own| own == inode))
        };
        text.lines().filter(is_own).map(str::to_owned).collect()
    }

    pub fn has_socket_in(&self, table: &str) -> bool {
        // The inode is the last column: after the drops in `netlink`, after the user in `packet`.
        let column = match table {
            "netlink" => 9,
            _ => 8,
        };
        !self.sockets_in(table, column).is_empty()
    }

    pub fn has_unix_datagram_sockets(&self) -> bool {
        // Columns: Num RefCount Protocol Flags Type St Inode. The type of datagram sockets is 2.
        let lines = self.sockets_in("unix", 6);
        lines
            .iter()
            .any(|line| line.split_whitespace().nth(4) == Some("0002"))
    }

    pub fn listens(&self) -> bool {
        // Columns: sl local_address rem_address st. The state of a listening socket is 0A.
        let mut lines = self.sockets_in("tcp", 9);
        lines.extend(self.sockets_in("tcp6", 9));
        lines
            .iter()
            .any(|line| line.split_whitespace().nth(3) == Some("0A"))
    }

    pub fn waits_for_datagrams(&self) -> bool {
        // Same columns. The state of an unconnected socket is 07.
        let lines = self.sockets_in("udp", 9);
        lines
            .iter()
            .any(|line| line.split_whitespace().nth(3) == Some("07"))
    }

    // Objects of other processes.

    pub fn number_is_forged(&self) -> bool {
        keeper::is_forged()
    }

    pub fn shared_memory_is_gone(&self) -> bool {
        self.scene.objects.shared_memory_is_gone()
    }

    pub fn queue_is_filled(&self) -> bool {
        self.scene.objects.queue_is_filled()
    }

    pub fn finds_message_queue(&self) -> bool {
        self.scene.objects.take_message_queue()
    }

    pub fn finds_key(&self) -> bool {
        self.scene.objects.take_key()
    }

    pub fn socket_was_reached(&self) -> bool {
        self.scene.socket.accept().is_ok()
    }

    pub fn datagram_came(&self) -> bool {
        self.scene.datagrams.recv(&mut [0]).is_ok()
    }

    pub fn abstract_socket_was_reached(&self) -> bool {
        rustix::net::accept(self.scene.abstract_socket.as_fd()).is_ok()
    }

    pub fn tcp_was_reached(&self) -> bool {
        let listener: &TcpListener = &self.scene.tcp;
        let Ok((mut stream, _)) = listener.accept() else {
            return false;
        };
        let nonblocking = stream.set_nonblocking(false);
        nonblocking.is_ok() && stream.read(&mut [0]).is_ok_and(|length| length == 1)
    }

    pub fn udp_datagram_came(&self) -> bool {
        self.scene.udp.recv(&mut [0]).is_ok()
    }
}
