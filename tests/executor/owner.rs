//! A process that owns an executor, as a coordinator does, and follows its standard input.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use std::{env, fs, thread};

use coordinator::exec::{CommandOrder, Exec, Executor};
use rustix::process::Signal;

use crate::support::process::MARK;
use crate::support::{Process, Run, wait, wait_until};

/// The environment variable that makes this program an owner: the nice value, or empty.
const ROLE: &str = "COORDINATOR_TEST_OWNER";

/// The first argument of a runner.
const RUNNER: &str = "runner";

/// Returns whether this process was started as a runner.
pub fn is_runner() -> bool {
    // The tests may also be run with this word as a filter, but with fewer arguments.
    env::args().nth(1).as_deref() == Some(RUNNER) && env::args().len() > 4
}

/// Returns whether this process is to [`play`].
pub fn is_owner() -> bool {
    env::var_os(ROLE).is_some()
}

/// Follows the lines on standard input: `run NAME`, `stop`, `resume`, `abandon`. Prints the outcome
/// of each `run` as a line. Arguments: the folder of files, the time limit in milliseconds, the
/// command.
pub fn play() {
    let mut arguments = env::args().skip(1);
    let output = PathBuf::from(arguments.next().unwrap());
    let timeout = Duration::from_millis(arguments.next().unwrap().parse().unwrap());
    let words: Vec<_> = arguments.collect();
    let exec = Exec {
        program: words[0].clone().into(),
        words,
        timeout,
    };
    let nice = env::var(ROLE).unwrap().parse().ok();
    let executor = Executor::new(exec, output, nice);
    thread::scope(|scope| {
        for line in io::stdin().lines() {
            let line = line.unwrap();
            match line.split_once(' ') {
                Some(("run", name)) => {
                    let (executor, name) = (&executor, name.to_owned());
                    scope.spawn(move || {
                        let outcome = executor.run(&order(&name));
                        let mut stdout = io::stdout().lock();
                        writeln!(stdout, "{name}: {outcome:?}").unwrap();
                    });
                }
                _ => match line.as_str() {
                    "stop" => executor.stop(),
                    "resume" => executor.resume(),
                    "abandon" => executor.abandon(),
                    other => panic!("{other}"),
                },
            }
        }
    });
}

fn order(name: &str) -> CommandOrder {
    CommandOrder {
        path: name.to_owned(),
        url: format!("http://h/{name}"),
        bytes: 4,
        sha256: [0xAB; 32],
        content_type: None,
    }
}

/// An owner, and its folder with a script and a folder `files`.
pub struct Owner {
    run: Run,
    child: Child,
    stdin: Option<ChildStdin>,
    outcomes: Receiver<String>,
}

impl Owner {
    /// Starts an owner with a script for each file and a time limit.
    pub fn new(script: &str, timeout_ms: u32) -> Self {
        Self::of(script, timeout_ms, "", &[])
    }

    /// Starts an owner with a nice value, through another program.
    pub fn of(script: &str, timeout_ms: u32, nice: &str, through: &[&str]) -> Self {
        let run = Run::new().script("script", script);
        let files = run.path("files");
        fs::create_dir(&files).unwrap();
        let this = env::current_exe().unwrap();
        let mut words: Vec<_> = through.iter().map(PathBuf::from).collect();
        words.push(this);
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .arg(&files)
            .arg(timeout_ms.to_string())
            .arg(run.path("script"))
            .env(ROLE, nice)
            .env(MARK, run.mark())
            .current_dir(run.path("."))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().unwrap();
        let (say, outcomes) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                // The test may have ended.
                let _ = say.send(line.unwrap());
            }
        });
        Self {
            run,
            child,
            stdin,
            outcomes,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.run.path(name)
    }

    /// Runs the command on a new file.
    pub fn order(&mut self, name: &str) {
        fs::write(self.path("files").join(name), "body").unwrap();
        self.say(&format!("run {name}"));
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Returns the next outcome.
    pub fn outcome(&self) -> String {
        wait(
            "an outcome",
            || self.outcomes.try_recv().ok(),
            || format!("{:?}", self.processes()),
        )
    }

    pub fn process(&self) -> Process {
        Process::find(self.child.id()).unwrap()
    }

    pub fn processes(&self) -> Vec<Process> {
        Process::marked(&self.run.mark())
    }

    pub fn runners(&self) -> Vec<Process> {
        let mut all = self.processes();
        all.retain(|process| process.role() == Some(RUNNER));
        all
    }

    /// Waits for a `sleep` with this argument, which the script starts.
    pub fn sleeping(&self, argument: &str) -> Process {
        wait(
            "a command",
            || {
                let mut all = self.processes().into_iter();
                all.find(|process| process.arguments == ["sleep", argument])
            },
            || format!("{:?}", self.processes()),
        )
    }

    pub fn wait_until(&self, what: &str, holds: impl FnMut() -> bool) {
        wait_until(what, holds, || format!("{:?}", self.processes()));
    }

    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub fn touch(&self, name: impl AsRef<Path>) {
        fs::write(self.run.path(".").join(name), "").unwrap();
    }

    /// Kills only the owner, with SIGKILL.
    pub fn kill(&mut self) {
        self.process().signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    /// Waits until none of its processes is left.
    pub fn alone(&self) {
        self.wait_until("every process to be gone", || self.processes().is_empty());
    }

    /// Lets the owner exit, and waits until none of its processes is left.
    pub fn finish(mut self) {
        self.stdin = None;
        assert!(self.child.wait().unwrap().success());
        self.alone();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // A failed test may leave processes.
        for process in self.processes() {
            process.signal(Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
