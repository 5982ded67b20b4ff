//! Compares what happens in four pools when a job ends its process: this pool, procspawn's, and
//! Python's two. Each runs 100 jobs in 4 processes; job 50 crashes the first time it is started.
//!
//! For each pool, the program starts itself or a script and reads the outcomes from its output.
#![allow(clippy::print_stdout, clippy::wildcard_enum_match_arm)]

mod job;
mod with_pool;
mod with_procspawn;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use job::{CRASHES, JOBS, NOTES, now};
use rustix::process::{Pid, Signal, kill_process_group};

/// Maximum waits for the next answer. The wait for the last one, which is the crashed job's if it
/// is missing, is shorter.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_AT_LAST: Duration = Duration::from_secs(5);

/// Outcomes of the jobs of a pool.
#[derive(Default)]
struct Tally {
    done: BTreeSet<u64>,
    /// The pool hung: it waited for jobs that were lost.
    hangs: bool,
    /// Time from the crash until the job was started again.
    begun_again: Option<Duration>,
    /// Time from the crash until the answer.
    answered: Option<Duration>,
}

/// Runs `command` and evaluates what it prints about its jobs.
fn watch(mut command: Command) -> io::Result<Tally> {
    let folder = tempfile::tempdir()?;
    let notes = folder.path().join("notes");
    let program = command.get_program().to_owned();
    let mut child = command
        .env(NOTES, &notes)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| io::Error::other(format!("{}: {error}", program.display())))?;
    let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let (says, hears) = channel();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        lines.for_each(|line| drop(says.send((now(), line))));
    });
    let mut tally = Tally::default();
    let (mut answers, mut told) = (0, None);
    loop {
        let patience = if answers + 1 < JOBS {
            PATIENCE
        } else {
            PATIENCE_AT_LAST
        };
        match hears.recv_timeout(patience) {
            Ok((at, line)) => {
                let (number, answer) = line.split_once(' ').unwrap_or((&line, ""));
                let number = number.parse().map_err(io::Error::other)?;
                answers += 1;
                if number == CRASHES {
                    told = Some(at);
                }
                if !answer.starts_with("lost") {
                    tally.done.insert(number);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                tally.hangs = true;
                // The group includes the workers.
                if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
                    kill_process_group(group, Signal::KILL)?;
                }
                break;
            }
        }
    }
    child.wait()?;
    let _ = reader.join();
    let notes = fs::read_to_string(notes)?;
    let begun: Result<Vec<_>, _> = notes.lines().map(str::parse).collect();
    let mut begun = begun
        .map_err(io::Error::other)?
        .into_iter()
        .map(Duration::from_nanos);
    let crash = begun.next().unwrap_or_default();
    tally.begun_again = begun.next().map(|at| at.saturating_sub(crash));
    tally.answered = told.map(|at| at.saturating_sub(crash));
    Ok(tally)
}

/// Returns the command that starts this program with `pool`, the name of a Rust pool.
fn this(pool: &str) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(pool);
    Ok(command)
}

fn script(name: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/compare");
    let mut command = Command::new("python3");
    command.arg("-B").arg(folder.join(name));
    command
}

fn milliseconds(time: Option<Duration>) -> String {
    time.map_or("never".to_owned(), |time| {
        format!("{:.1} ms", time.as_secs_f64() * 1e3)
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    pool::init::<with_pool::Squares>();
    procspawn::init();
    match std::env::args().nth(1).as_deref() {
        Some("pool") => return with_pool::run(),
        Some("procspawn") => return with_procspawn::run(),
        _ => {}
    }
    println!(
        "| | done | lost | hung | the crashed job is begun again after | its caller is told after |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, command) in [
        ("this pool", this("pool")?),
        ("procspawn", this("procspawn")?),
        ("multiprocessing.Pool", script("with_multiprocessing.py")),
        ("concurrent.futures", script("with_futures.py")),
    ] {
        let tally = match watch(command) {
            Ok(tally) => tally,
            Err(error) => {
                println!("| {name} | not run: {error} | | | | |");
                continue;
            }
        };
        let missing = JOBS - tally.done.len() as u64;
        let (lost, hung) = if tally.hangs {
            (0, missing)
        } else {
            (missing, 0)
        };
        println!(
            "| {name} | {} | {lost} | {hung} | {} | {} |",
            tally.done.len(),
            milliseconds(tally.begun_again),
            milliseconds(tally.answered),
        );
    }
    Ok(())
}
