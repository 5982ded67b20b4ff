//! A real nats-server, and the program's `fleet` commands against it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::wait;

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_coordinator");

/// Returns the server: `NATS_SERVER`, or the one in `PATH`. Without one the tests fail: they are
/// built only with the feature `fleet`, and would otherwise pass without having tested anything.
pub fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("NATS_SERVER") {
        return named.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("nats-server"))
        .find(|file| file.is_file())
        .expect("there is no nats-server in PATH, and NATS_SERVER names none")
}

/// A nats-server with a folder of its own, and room for members beside it.
pub struct Queue {
    folder: TempDir,
    pub server: Child,
    port: u16,
    monitor: u16,
}

impl Queue {
    /// Starts a server.
    pub fn start() -> Self {
        Self::start_as(|store| settings(store, ""))
    }

    /// Starts a server that syncs every write.
    pub fn start_safe() -> Self {
        Self::start_as(|store| settings(store, "sync_interval: always"))
    }

    /// Starts a server with these settings, given the folder that it may keep its files in.
    pub fn start_as(config: impl Fn(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder.path().join("store"));
        std::fs::write(folder.path().join("nats.conf"), config).unwrap();
        let (server, [port, monitor]) = serve(&program(), folder.path(), -1);
        Self {
            folder,
            server,
            port,
            monitor,
        }
    }

    /// Where the server tells of itself.
    pub fn monitor(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor)
    }

    /// Watches the fleet until all is done.
    pub fn watch(&self) -> Child {
        self.command("status")
            .arg("--watch")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Kills the server, and starts it again with what it has on disk, at the same port.
    pub fn crash(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        let program = program();
        let port = i32::from(self.port);
        (self.server, [_, self.monitor]) = serve(&program, self.folder.path(), port);
    }

    /// The server stands still.
    pub fn stop(&self) {
        signal(&self.server, Signal::STOP);
    }

    pub fn go_on(&self) {
        signal(&self.server, Signal::CONT);
    }

    /// What a member says that was started with `--listen unix:socket`; nothing if it does not listen.
    pub fn ask(&self, path: &str) -> String {
        let Ok(mut stream) = UnixStream::connect(self.folder().join("socket")) else {
            return String::new();
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A list of so many URLs, of so many hosts.
    pub fn list(&self, urls: usize, hosts: usize) -> PathBuf {
        let lines = (0..urls).map(|n| format!("http://h{}.test/{n}\n", n % hosts));
        let path = self.folder().join(format!("list-{urls}-{hosts}.txt"));
        std::fs::write(&path, lines.collect::<String>()).unwrap();
        path
    }

    fn command(&self, command: &str) -> Command {
        let mut fleet = Command::new(PROGRAM);
        fleet
            .args(["fleet", command, "--queue", &self.url()])
            .current_dir(self.folder())
            .stdin(Stdio::null());
        fleet
    }

    /// Runs a command to its end.
    pub fn run(&self, command: &str, arguments: &[&str]) -> Output {
        self.command(command).args(arguments).output().unwrap()
    }

    pub fn feed(&self, list: &Path) {
        let fed = self.run("feed", &[list.to_str().unwrap()]);
        assert!(fed.status.success(), "{fed:?}");
    }

    /// Starts a feeder that reads what it is given.
    pub fn feeder(&self) -> Child {
        self.command("feed")
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Starts a member; its files are in the folder of its name.
    pub fn join(&self, machine: &str) -> Member {
        self.start_member(machine, &["--simulate=size=1KiB,latency=20ms"])
    }

    /// The same with servers that are none of the program's own.
    pub fn join_for_real(&self, machine: &str) -> Member {
        self.start_member(machine, &[])
    }

    pub fn start_member(&self, machine: &str, arguments: &[&str]) -> Member {
        self.start_told(machine, &[&["--quiet"], arguments].concat())
    }

    /// The same, of one that says how it went.
    pub fn start_told(&self, machine: &str, arguments: &[&str]) -> Member {
        self.start_in(machine, machine, arguments)
    }

    /// The same with its files in another folder.
    pub fn start_in(&self, folder: &str, machine: &str, arguments: &[&str]) -> Member {
        let mut command = self.command("join");
        let child = command
            .args(["--machine", machine, "--output", folder, "--lease", "2s"])
            .args(["--workers", "2"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Member {
            log: self
                .folder()
                .join(folder)
                .join(".coordinator/results.jsonl"),
            child,
        }
    }

    /// Two members that own half of the partitions each: whatever is fed then, both have a share.
    pub fn two_members(&self) -> (Member, Member) {
        self.two_members_with(&["--simulate=size=1KiB,latency=20ms"])
    }

    /// The same, with these options.
    pub fn two_members_with(&self, arguments: &[&str]) -> (Member, Member) {
        let members = self.members(&["a", "b"], arguments);
        let [a, b] = members.try_into().unwrap_or_else(|_| unreachable!("two"));
        (a, b)
    }

    /// Starts members, and waits until they own the same number of partitions each.
    pub fn members(&self, machines: &[&str], arguments: &[&str]) -> Vec<Member> {
        let start = |machine: &&str| self.start_member(machine, arguments);
        let members = machines.iter().map(start).collect();
        let status = || String::from_utf8(self.run("status", &[]).stdout).unwrap();
        let share = 256 / machines.len();
        let is_even = || {
            let status = status();
            let has = |machine: &&str| format!("{machine}: {share} partitions\n");
            machines
                .iter()
                .all(|machine| status.contains(&has(machine)))
        };
        crate::support::wait_until("even shares", is_even, status);
        members
    }

    /// The time between the first and the last download that these members began, in milliseconds.
    pub fn span_ms(&self, machines: &[&str]) -> i64 {
        let logs = machines.iter().map(|machine| {
            let folder = self.folder().join(machine);
            folder.join(".coordinator/results.jsonl")
        });
        let started: Vec<_> = logs.flat_map(|log| started_ms(&log)).collect();
        started.iter().max().unwrap() - started.iter().min().unwrap()
    }

    /// What `fleet results` tells.
    pub fn results(&self) -> Value {
        let told = self.run("results", &["--json"]);
        serde_json::from_slice(&told.stdout).unwrap_or_else(|error| panic!("{error}: {told:?}"))
    }

    /// Checks the member's files and the results: every URL of the list once, and nothing else.
    /// Shares no code with the fleet.
    pub fn check(&self, urls: usize, members: &[&str]) {
        let export = self.folder().join("export.jsonl");
        let told = self.run("results", &["--export", export.to_str().unwrap()]);
        assert!(told.status.success(), "{told:?}");
        let text = std::fs::read_to_string(&export).unwrap();
        let (mut seen, mut counted) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let record = &line["record"];
            let machine = record["fleet"]["machine"].as_str().unwrap();
            assert!(members.contains(&machine), "{line}");
            let path = record["path"].as_str().unwrap();
            let file = std::fs::read(self.folder().join(machine).join(path)).unwrap();
            assert_eq!(
                crate::support::sha256(&file),
                record["sha256"].as_str().unwrap()
            );
            let url = record["url"].as_str().unwrap().to_owned();
            assert!(seen.insert(url), "counted twice: {line}");
            counted.insert((machine.to_owned(), path.to_owned()));
        }
        assert_eq!(seen.len(), urls);
        self.check_copies(members, &counted);
    }

    /// Checks that every file beside those that count is reported.
    fn check_copies(&self, members: &[&str], counted: &BTreeSet<(String, String)>) {
        let results = self.results();
        let told: BTreeSet<_> = results["redundant_files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| (text(&file["machine"]), text(&file["path"])))
            .collect();
        for machine in members {
            let log = self
                .folder()
                .join(machine)
                .join(".coordinator/results.jsonl");
            for line in std::fs::read_to_string(log).unwrap().lines() {
                let record: Value = serde_json::from_str(line).unwrap();
                if record["outcome"] == "stored" {
                    let file = (text(&record["fleet"]["machine"]), text(&record["path"]));
                    let is_known = counted.contains(&file) || told.contains(&file);
                    assert!(is_known, "a copy that is not reported: {line}");
                }
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn settings(store: &Path, more: &str) -> String {
    format!("jetstream {{ store_dir: {store:?}, {more} }}")
}

/// The records of a run log, as far as they are whole.
pub fn records(log: &Path) -> Vec<Value> {
    let log = std::fs::read_to_string(log).unwrap();
    let whole = log
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// When each URL of a run log was begun, in milliseconds.
pub fn started_ms(log: &Path) -> Vec<i64> {
    let started = |record: Value| {
        let at: jiff::Timestamp = text(&record["started"]).parse().unwrap();
        at.as_millisecond()
    };
    records(log).into_iter().map(started).collect()
}

/// The partition of each URL of a run log.
pub fn partitions(log: &Path) -> Vec<u64> {
    let partition = |record: Value| record["fleet"]["partition"].as_u64().unwrap();
    records(log).into_iter().map(partition).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn signal(child: &Child, signal: Signal) {
    rustix::process::kill_process(Pid::from_child(child), signal).unwrap();
}

/// A server that is ready, and its ports: for clients, and for those who ask how it is.
fn serve(program: &Path, folder: &Path, port: i32) -> (Child, [u16; 2]) {
    let mut server = Command::new(program)
        .args(["--addr", "127.0.0.1", "--http_port", "-1"])
        .args(["--port", &port.to_string()])
        .arg("--config")
        .arg(folder.join("nats.conf"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let mut ports = [0; 2];
    let said = [
        "Listening for client connections on ",
        "Starting http monitor on ",
    ];
    for line in lines.by_ref() {
        let line = line.unwrap();
        for (port, said) in ports.iter_mut().zip(said) {
            if let Some((_, address)) = line.split_once(said) {
                *port = address.rsplit(':').next().unwrap().trim().parse().unwrap();
            }
        }
        if line.contains("Server is ready") {
            break;
        }
    }
    // What it says from now on is of no interest, but must go somewhere.
    std::thread::spawn(move || lines.for_each(drop));
    assert!(!ports.contains(&0), "it says where it listens");
    (server, ports)
}

/// A member that runs.
pub struct Member {
    child: Child,
    log: PathBuf,
}

impl Member {
    /// Its run log.
    pub fn log(&self) -> PathBuf {
        self.log.clone()
    }

    /// How many URLs it has recorded.
    pub fn recorded(&self) -> usize {
        let log = std::fs::read(&self.log).unwrap_or_default();
        log.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Waits until it has ended, or something holds: whether it still runs then.
    pub fn runs_until(&mut self, mut holds: impl FnMut() -> bool) -> bool {
        wait(
            "the member's end, or more",
            || match self.child.try_wait().unwrap() {
                Some(_) => Some(false),
                None => holds().then_some(true),
            },
            || "neither".to_owned(),
        )
    }

    /// Waits until it has recorded so many.
    pub fn wait_for(&self, records: usize) {
        wait(
            "records",
            || (self.recorded() >= records).then_some(()),
            || format!("{} records", self.recorded()),
        );
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn stop(&self) {
        signal(&self.child, Signal::STOP);
    }

    pub fn go_on(&self) {
        signal(&self.child, Signal::CONT);
    }

    /// Waits for its end, which must be a good one; returns what it has said.
    pub fn finish(self) -> String {
        let (ended, said) = self.end();
        assert!(ended.success(), "{ended:?}: {said}");
        said
    }

    /// Waits for its end; returns how it was, and what it has said.
    pub fn end(mut self) -> (ExitStatus, String) {
        let ended = wait(
            "the member's end",
            || self.child.try_wait().unwrap(),
            || "it goes on".to_owned(),
        );
        let mut said = String::new();
        let stderr = self.child.stderr.take().unwrap();
        let stdout = self.child.stdout.take().unwrap();
        stderr.chain(stdout).read_to_string(&mut said).unwrap();
        (ended, said)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
