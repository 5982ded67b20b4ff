//! `--exec`: a program on each file, in every mode and on both engines.

mod ends;
mod files;
mod kills;
mod words;

use std::fs;

use crate::support::{Job, Process, Run};

/// Every way to run commands: processes with either engine, and the local modes.
const MODES: [&str; 6] = [
    "--workers 2",
    "--workers 2 -c 2",
    "--workers 1 -c 4 --engine async",
    "--mode threads --workers 2",
    "--mode async -c 4",
    "--mode sequential",
];

/// A mode of each kind, for slow tests.
const KINDS: [&str; 3] = ["--workers 1", "--mode threads", "--mode async"];

/// A run with a script on each file.
fn with_script(text: &str, options: &str) -> Run {
    Run::new()
        .script("script", text)
        .with("--exec ./script")
        .with(options)
}

/// Returns the lines of a file that a script wrote, or none without the file.
fn lines(run: &Run, name: &str) -> Vec<String> {
    let text = fs::read_to_string(run.path(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Returns the processes with this role, such as `runner`.
fn of_role(job: &Job, role: &str) -> Vec<Process> {
    let mut all = job.processes();
    all.retain(|process| process.role() == Some(role));
    all
}

/// Waits for a process with this argument that a command has started.
fn command(job: &Job, argument: &str) -> Process {
    job.wait_for(&format!("a process with {argument}"), || {
        let mut all = job.processes();
        all.retain(|process| process.arguments.iter().any(|a| a == argument));
        // Between fork and exec it has the arguments of its parent.
        all.into_iter().find(|process| {
            process
                .arguments
                .first()
                .is_some_and(|name| name == "sleep")
        })
    })
}
