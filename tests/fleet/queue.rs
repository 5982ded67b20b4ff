//! A real nats-server, and the program's `fleet` commands with it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::wait;

/// Path of the program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_coordinator");

/// Returns the path of the server: `NATS_SERVER`, or the one in `PATH`. Panics if there is none:
/// the tests are built only with the feature `fleet`, and must not pass without testing anything.
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

/// A nats-server with its own folder, which also holds the folders of members.
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

    /// Starts a server with the settings that `config` returns for its folder.
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

    /// Returns the address of the server's monitoring port.
    pub fn monitor(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor)
    }

    /// Runs `fleet status --watch` until the list is done.
    pub fn watch(&self) -> Child {
        self.command("status")
            .arg("--watch")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Kills the server and restarts it with its data on disk, on the same port.
    pub fn crash(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        let program = program();
        let port = i32::from(self.port);
        (self.server, [_, self.monitor]) = serve(&program, self.folder.path(), port);
    }

    /// Suspends the server.
    pub fn stop(&self) {
        signal(&self.server, Signal::STOP);
    }

    pub fn go_on(&self) {
        signal(&self.server, Signal::CONT);
    }

    /// Sends a request to a member that was started with `--listen unix:socket`, and returns the
    /// answer. Returns an empty text if the member does not listen.
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

    /// Writes a list of `urls` URLs on `hosts` hosts.
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

    /// Starts a feeder that reads the list from its standard input.
    pub fn feeder(&self) -> Child {
        self.command("feed")
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Starts a member. Its files are in the folder with its name.
    pub fn join(&self, machine: &str) -> Member {
        self.start_member(machine, &["--simulate=size=1KiB,latency=20ms"])
    }

    /// Starts a member that uses real servers instead of the built-in origin.
    pub fn join_for_real(&self, machine: &str) -> Member {
        self.start_member(machine, &[])
    }

    pub fn start_member(&self, machine: &str, arguments: &[&str]) -> Member {
        self.start_told(machine, &[&["--quiet"], arguments].concat())
    }

    /// Starts a member that prints its messages.
    pub fn start_told(&self, machine: &str, arguments: &[&str]) -> Member {
        self.start_in(machine, machine, arguments)
    }

    /// Starts a member that has its files in `folder`.
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

    /// Starts two members and waits until each owns half of the partitions, so that both get a
    /// share of what is fed later.
    pub fn two_members(&self) -> (Member, Member) {
        self.two_members_with(&["--simulate=size=1KiB,latency=20ms"])
    }

    /// Does the same with these options.
    pub fn two_members_with(&self, arguments: &[&str]) -> (Member, Member) {
        let members = self.members(&["a", "b"], arguments);
        let [a, b] = members.try_into().unwrap_or_else(|_| unreachable!("two"));
        (a, b)
    }

    /// Starts members and waits until all own the same number of partitions.
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

    /// Returns the time from the first to the last start of a download of these members, in
    /// milliseconds.
    pub fn span_ms(&self, machines: &[&str]) -> i64 {
        let logs = machines.iter().map(|machine| {
            let folder = self.folder().join(machine);
            folder.join(".coordinator/results.jsonl")
        });
        let started: Vec<_> = logs.flat_map(|log| started_ms(&log)).collect();
        started.iter().max().unwrap() - started.iter().min().unwrap()
    }

    /// Returns the output of `fleet results`.
    pub fn results(&self) -> Value {
        let told = self.run("results", &["--json"]);
        serde_json::from_slice(&told.stdout).unwrap_or_else(|error| panic!("{error}: {told:?}"))
    }

    /// Checks the members' files and the results: every URL of the list counts once, and there are
    /// no others. Shares no code with the fleet.
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

    /// Checks that every additional file is reported.
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

/// Returns the complete records of a run log.
pub fn records(log: &Path) -> Vec<Value> {
    let log = std::fs::read_to_string(log).unwrap();
    let whole = log
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Returns the start time of each URL in a run log, in milliseconds.
pub fn started_ms(log: &Path) -> Vec<i64> {
    let started = |record: Value| {
        let at: jiff::Timestamp = text(&record["started"]).parse().unwrap();
        at.as_millisecond()
    };
    records(log).into_iter().map(started).collect()
}

/// Returns the partition of each URL in a run log.
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

/// Starts a server, waits until it is ready, and returns it with its client and monitoring ports.
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
    // Later output is discarded, but the pipe must not fill up.
    std::thread::spawn(move || lines.for_each(drop));
    assert!(!ports.contains(&0), "it says where it listens");
    (server, ports)
}

/// A running member.
pub struct Member {
    child: Child,
    log: PathBuf,
}

impl Member {
    /// Returns the path of its run log.
    pub fn log(&self) -> PathBuf {
        self.log.clone()
    }

    /// Returns the number of URLs that it has recorded.
    pub fn recorded(&self) -> usize {
        let log = std::fs::read(&self.log).unwrap_or_default();
        log.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Waits until it has ended or `holds` returns true. Returns whether it still runs.
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

    /// Waits until it has recorded this many URLs.
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

    /// Waits until it exits, asserts that it succeeded, and returns its output.
    pub fn finish(self) -> String {
        let (ended, said) = self.end();
        assert!(ended.success(), "{ended:?}: {said}");
        said
    }

    /// Waits until it exits, and returns its exit status and output.
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
