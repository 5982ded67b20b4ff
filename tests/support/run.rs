//! Runs of the program: starting, watching and ending them.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::Signal;
use tempfile::TempDir;

use super::log::{Log, Record};
use super::process::{MARK, Process};
use super::{wait, wait_until};

/// A folder with a list and an output folder, and the command to run there any number of times.
#[derive(Debug)]
pub struct Run {
    folder: TempDir,
    program: PathBuf,
    before: Vec<OsString>,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    mark: String,
}

impl Run {
    /// The built program in its own folder, without arguments: reads `urls.txt`, stores in
    /// `downloads`.
    pub fn new() -> Self {
        Self::of(env!("CARGO_BIN_EXE_coordinator"))
    }

    pub fn of(program: impl Into<PathBuf>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("coordinator-test-")
            .tempdir()
            .expect("a temporary folder");
        let mark = folder.path().display().to_string();
        Self {
            folder,
            program: program.into(),
            before: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            mark,
        }
    }

    /// Writes `urls.txt`.
    pub fn list<T: AsRef<str>>(self, urls: impl IntoIterator<Item = T>) -> Self {
        let lines: String = urls
            .into_iter()
            .map(|url| format!("{}\n", url.as_ref()))
            .collect();
        self.list_bytes(lines)
    }

    pub fn list_bytes(self, bytes: impl AsRef<[u8]>) -> Self {
        fs::write(self.path("urls.txt"), bytes).expect("the list can be written");
        self
    }

    /// Adds arguments that are separated by spaces.
    pub fn with(mut self, arguments: &str) -> Self {
        self.arguments
            .extend(arguments.split_whitespace().map(OsString::from));
        self
    }

    /// Adds one argument without splitting it.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Writes an executable sh(1) script into the folder.
    pub fn script(self, name: &str, text: &str) -> Self {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("the script can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode can be set");
        self
    }

    /// Removes all arguments.
    pub fn without_arguments(mut self) -> Self {
        self.arguments.clear();
        self
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Starts the program through another one, such as `sh -c 'ulimit -n 20; exec "$0" "$@"'`.
    pub fn through<T: Into<OsString>>(mut self, before: impl IntoIterator<Item = T>) -> Self {
        self.before = before.into_iter().map(Into::into).collect();
        self
    }

    /// Returns a path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the log in the default output folder, which depends on the arguments.
    pub fn log(&self) -> Log {
        let simulates = |argument: &OsString| argument.to_string_lossy().starts_with("--simulate");
        let output = match self.arguments.iter().any(simulates) {
            true => "simulated",
            false => "downloads",
        };
        Log {
            output: self.path(output),
        }
    }

    /// Returns the mark in the environment of the run's processes.
    pub fn mark(&self) -> String {
        self.mark.clone()
    }

    pub fn command(&self) -> Command {
        let mut words: Vec<OsString> = self.before.clone();
        words.push(self.program.clone().into());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(&self.arguments)
            .current_dir(self.folder.path())
            .env_remove("RUST_LOG")
            .env("no_proxy", "*")
            .env("XDG_CONFIG_HOME", self.path(".config"))
            .env(MARK, &self.mark)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it with captured output and no input.
    pub fn start(&self) -> Job {
        self.start_with(Stdio::null())
    }

    /// Starts it with input from [`Job::stdin`].
    pub fn start_fed(&self) -> Job {
        self.start_with(Stdio::piped())
    }

    fn start_with(&self, stdin: Stdio) -> Job {
        let mut command = self.command();
        command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Job::start(command, self.mark.clone(), self.log())
    }

    /// Runs it until it ends.
    pub fn finish(&self) -> Ended {
        self.start().finish()
    }

    /// Runs it until it ends, with more arguments for this time only.
    pub fn finish_with(&self, more: impl IntoIterator<Item = OsString>) -> Ended {
        let mut command = self.command();
        command
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Job::start(command, self.mark.clone(), self.log()).finish()
    }
}

/// The output of a program so far, which a thread reads.
#[derive(Clone, Debug, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub fn from(mut source: impl Read + Send + 'static) -> (Self, JoinHandle<()>) {
        let captured = Self::default();
        let buffer = captured.clone();
        let thread = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // Reading a terminal fails when its other end is closed.
            while let Ok(count @ 1..) = source.read(&mut chunk) {
                buffer.lock().extend_from_slice(&chunk[..count]);
            }
        });
        (captured, thread)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.lock().clone()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock()).into_owned()
    }
}

/// A running program. Dropping it kills the program and every process that it started.
#[derive(Debug)]
pub struct Job {
    child: Mutex<Child>,
    pid: u32,
    mark: String,
    log: Log,
    pub stdin: Option<ChildStdin>,
    stdout: Captured,
    stderr: Captured,
    readers: Vec<JoinHandle<()>>,
}

impl Job {
    pub fn start(mut command: Command, mark: String, log: Log) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let mut readers = Vec::new();
        let mut capture = |source: Option<Box<dyn Read + Send>>| match source {
            Some(source) => {
                let (captured, reader) = Captured::from(source);
                readers.push(reader);
                captured
            }
            None => Captured::default(),
        };
        let stdout = capture(child.stdout.take().map(|pipe| Box::new(pipe) as _));
        let stderr = capture(child.stderr.take().map(|pipe| Box::new(pipe) as _));
        Self {
            stdin: child.stdin.take(),
            pid: child.id(),
            child: Mutex::new(child),
            mark,
            log,
            stdout,
            stderr,
            readers,
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Describes the state of the run, for messages.
    pub fn seen(&self) -> String {
        format!(
            "seen so far: stdout:\n{}stderr:\n{}run log:\n{}processes: {:#?}",
            self.stdout.text(),
            self.stderr.text(),
            self.log.text(),
            Process::marked(&self.mark)
        )
    }

    pub fn wait_for<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        wait(what, look, || self.seen())
    }

    pub fn wait_until(&self, what: &str, holds: impl FnMut() -> bool) {
        wait_until(what, holds, || self.seen());
    }

    /// Waits for a whole line on standard error that contains `part`. Returns the line.
    pub fn wait_for_line(&self, part: &str) -> String {
        self.wait_for(&format!("a line with {part:?}"), || {
            let text = self.stderr();
            let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
            whole
                .lines()
                .find(|line| line.contains(part))
                .map(str::to_owned)
        })
    }

    /// Waits for a record of `url`. Returns the first.
    pub fn wait_for_record(&self, url: &str) -> Record {
        self.wait_for(&format!("a record of {url}"), || {
            self.log.of(url).into_iter().next()
        })
    }

    /// Returns the living processes of this run.
    pub fn processes(&self) -> Vec<Process> {
        Process::marked(&self.mark)
    }

    pub fn workers(&self) -> Vec<Process> {
        let mut all = self.processes();
        all.retain(|process| process.role() == Some("worker"));
        all
    }

    /// Waits for the worker of this slot and epoch.
    pub fn worker(&self, slot: u16, epoch: u32) -> Process {
        let (slot, epoch) = (slot.to_string(), epoch.to_string());
        self.wait_for(&format!("worker {slot}.{epoch}"), || {
            self.workers().into_iter().find(|process| {
                process.option("--slot") == Some(&slot) && process.option("--epoch") == Some(&epoch)
            })
        })
    }

    /// Returns the process of the program.
    pub fn process(&self) -> Process {
        Process::find(self.pid()).expect("the program runs")
    }

    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Writes to its standard input.
    pub fn feed(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("a job that is fed");
        stdin.write_all(text.as_bytes()).expect("it reads");
        stdin.flush().expect("it reads");
    }

    /// Kills it with SIGKILL, and waits until it is dead. Does not kill its children.
    pub fn kill(&self) {
        let mut child = self.child();
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
    }

    /// Waits until no process of the run is left.
    pub fn wait_until_alone(&self) {
        self.wait_until("every process of the run to be gone", || {
            self.processes().is_empty()
        });
    }

    /// Waits until it ends.
    pub fn finish(mut self) -> Ended {
        drop(self.stdin.take());
        let status = self.wait_for("the program to end", || {
            self.child().try_wait().expect("it can be waited for")
        });
        // Processes that inherited standard error must end first, or the readers would not.
        self.wait_until_alone();
        for reader in self.readers.drain(..) {
            reader.join().expect("reading does not panic");
        }
        Ended {
            status,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let children = self.processes();
        let _ = self.child().kill();
        let _ = self.child().wait();
        for process in children.into_iter().chain(self.processes()) {
            process.signal(Signal::KILL);
        }
    }
}

/// The exit status of a run and its output.
#[derive(Clone, Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Checks the exit code, and that nothing panicked.
    pub fn code(self, expected: i32) -> Self {
        let status = (self.status.code(), self.status.signal());
        assert_eq!(status, (Some(expected), None), "{}", self.text());
        assert!(!self.stderr.contains("panicked"), "{}", self.text());
        self
    }

    /// Checks that a line on standard error contains all `parts`. Returns the line.
    pub fn says(&self, parts: &[&str]) -> &str {
        self.stderr
            .lines()
            .find(|line| parts.iter().all(|part| line.contains(part)))
            .unwrap_or_else(|| panic!("no line with {parts:?}: {}", self.text()))
    }

    /// Returns the count in a row of the summary, or 0 if there is no such row.
    pub fn summary(&self, row: &str) -> u64 {
        // The summary of a run with nothing to do.
        if let Some(said) = self.stdout.strip_prefix("nothing to do: ") {
            let said = said.lines().next().unwrap_or_default();
            let mut parts = said.split(", ").filter_map(|part| part.split_once(' '));
            let part = parts.find(|(_, name)| name.split(" (").next() == Some(row));
            return part.map_or(0, |(count, _)| count.parse().expect("a count"));
        }
        let mut lines = self.stdout.lines();
        let rest = lines.find_map(|line| line.trim_start().strip_prefix(row));
        let count = rest.and_then(|rest| rest.split_whitespace().next());
        count.map_or(0, |count| {
            count
                .parse()
                .unwrap_or_else(|_| panic!("{row}: {}", self.text()))
        })
    }

    pub fn text(&self) -> String {
        format!(
            "{}; stdout:\n{}stderr:\n{}",
            self.status, self.stdout, self.stderr
        )
    }
}

/// Returns `count` URLs below `base`: `BASE/0`, `BASE/1`, ...
pub fn urls(base: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{base}/{n}")).collect()
}

/// Returns whether the file exists.
pub fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
