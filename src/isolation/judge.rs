//! Plays one attempt in one column, and reports its effect.
//!
//! ```text
//!   run starts --> list begins --> bait is laid --> attempt --> look --> list ends --> run ends
//!                                  (all is set up)              |                      |
//!                                                         its effect          the harm to the run
//! ```

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use lab::origin::{Spec, body};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

use super::attempt::{Attempt, HeldBy, Then};
use super::column::Column;
use super::ground::BAIT;
use super::scene::{Scene, Stage};
use super::view::{Usage, View, lives};
use super::{IsolationError, Plan};
use crate::chaos::check::processes;
use crate::chaos::job::{Job, ending};

/// Time limits for setting up a run, playing an attempt, and ending a run.
const SET_UP_WITHIN: Duration = Duration::from_secs(30);
const PLAYED_WITHIN: Duration = Duration::from_secs(15);
const ENDED_WITHIN: Duration = Duration::from_secs(30);

/// How long an effect may take to become visible. Signals and sent data arrive later.
const SEEN_WITHIN: Duration = Duration::from_millis(100);

/// Time between two checks.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// Number of URLs before the attempt, and after it.
const FIRST: usize = 2;
const LAST: usize = 4;

/// Checks between two URLs for an attacker that waits for a task, and the most of these URLs.
const LOOKS_PER_URL: u32 = 8;
const MOST_URLS: usize = 200;

/// The observed effect of an attempt in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It had an effect, or harmed the run; in words.
    Effect(String),
    /// It had no effect, and the run continued unharmed.
    Nothing,
    /// It was not played, for this reason.
    Unplayed(&'static str),
    /// It is not known whether it was played, or whether it had an effect.
    Unknown,
}

/// The run's messages about its sandbox, for people.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// The mechanisms that are in force.
    pub sandbox: Option<String>,
    /// The mechanisms that are missing.
    pub lacks: Option<String>,
}

/// Plays `attempt` in `column`. Records in `in_force` what the run reports about its sandbox.
///
/// # Errors
///
/// Fails if the run cannot start or be watched.
pub fn judge(
    stage: &mut Stage,
    attempt: &Attempt,
    column: Column,
    plan: &Plan,
    in_force: &mut InForce,
) -> Result<Seen, IsolationError> {
    if let Some(reason) = attempt.unplayed(column) {
        return Ok(Seen::Unplayed(reason));
    }
    let mut scene = stage.scene()?;
    let spec = stage.spec;
    let mut trial = Trial::begin(attempt, column, &scene, plan).map_err(IsolationError::Run)?;
    let seen = trial.play(&mut scene, &spec);
    if column == Column::Processes {
        in_force.note(&scene.said());
    }
    // Whatever happened, no process may be left.
    drop(trial);
    end_all(&scene).map_err(IsolationError::Run)?;
    seen
}

/// A run, and the attempt in it.
struct Trial<'a> {
    attempt: &'a Attempt,
    column: Column,
    job: Job,
    stdin: Option<ChildStdin>,
    /// Number of URLs that the run was given.
    given: usize,
    own: PathBuf,
    /// The run has ended as it should.
    ended: bool,
}

/// The processes of the run, once everything is set up.
struct Cast {
    attacker: u32,
    sibling: Option<u32>,
    before: Usage,
}

impl<'a> Trial<'a> {
    fn begin(attempt: &'a Attempt, column: Column, scene: &Scene, plan: &Plan) -> io::Result<Self> {
        let mut job = Job::start(scene.command(attempt, column, plan), &scene.said())?;
        let folder = match column.has_processes() {
            true => "0-1",
            false => "local",
        };
        let stdin = job.stdin();
        Ok(Self {
            attempt,
            column,
            job,
            stdin,
            given: 0,
            own: scene.output().join(".coordinator/partial").join(folder),
            ended: false,
        })
    }

    fn play(&mut self, scene: &mut Scene, spec: &Spec) -> Result<Seen, IsolationError> {
        self.give(scene, FIRST).map_err(IsolationError::Run)?;
        let Some(cast) = self.set_up(scene).map_err(IsolationError::Run)? else {
            return Err(IsolationError::NoRun {
                attempt: self.attempt.id,
                column: self.column.title(),
                said: last_line(&scene.said()),
            });
        };
        scene
            .lay_bait(&self.own, cast.sibling)
            .map_err(IsolationError::Run)?;
        let played = self
            .wait_until_played(scene, &cast)
            .map_err(IsolationError::Run)?;
        let mut outlived = false;
        if self.attempt.then == Then::IsKilled {
            self.job.signal(Signal::KILL);
            self.wait(ENDED_WITHIN).map_err(IsolationError::Run)?;
            let left = processes::left(scene.folder()).map_err(IsolationError::Run)?;
            outlived = !left.is_empty();
        }
        let effect = self
            .look(scene, &cast, outlived)
            .map_err(IsolationError::Run)?;
        let harm = match self.attempt.then {
            Then::IsKilled => None,
            Then::Completes => self.complete(scene, spec).map_err(IsolationError::Run)?,
        };
        // Data that is passed on or stored can be checked only at the end.
        let view = self.view(scene, &cast, outlived, false);
        let late = self.attempt.held_by == HeldBy::Coordinator && (self.attempt.seen)(&view);
        let met = self.attempt.met.is_none_or(|words| view.said(words));
        Ok(match (effect, harm) {
            (_, Some(harm)) => Seen::Effect(harm),
            (Some(true), None) => Seen::Effect("seen".to_owned()),
            (_, None) if late => Seen::Effect("seen".to_owned()),
            (Some(false), None) if played && met => Seen::Nothing,
            (_, None) => Seen::Unknown,
        })
    }

    /// Gives the run `urls` more URLs.
    fn give(&mut self, scene: &Scene, urls: usize) -> io::Result<()> {
        let lines: String = (0..urls)
            .map(|n| scene.url(self.given + n) + "\n")
            .collect();
        self.given += urls;
        let Some(stdin) = &mut self.stdin else {
            return Ok(());
        };
        match stdin.write_all(lines.as_bytes()) {
            // The end of the run is detected elsewhere.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    /// Waits until the next check. Returns whether the run has ended.
    fn pause(&mut self) -> io::Result<bool> {
        let wait = Timespec::try_from(LOOK_EVERY).map_err(io::Error::other)?;
        match poll(
            &mut [PollFd::from_borrowed_fd(self.job.pidfd(), PollFlags::IN)],
            Some(&wait),
        ) {
            Ok(count) => Ok(count > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until the run has ended, and returns whether it has.
    fn wait(&mut self, within: Duration) -> io::Result<bool> {
        let until = Instant::now() + within;
        while !self.pause()? {
            if Instant::now() >= until {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until the attacker and the other worker exist and something is recorded. Returns
    /// `None` if the run ends before that, or after a time limit.
    fn set_up(&mut self, scene: &Scene) -> io::Result<Option<Cast>> {
        let until = Instant::now() + SET_UP_WITHIN;
        let log = scene.output().join(".coordinator/results.jsonl");
        while Instant::now() < until {
            let begun = self.own.is_dir() && fs::metadata(&log).is_ok_and(|log| log.len() > 0);
            let coordinator = self.job.pid();
            let workers = match (begun, self.column.has_processes()) {
                (false, _) => None,
                (true, false) => Some((coordinator, None)),
                (true, true) => workers(scene)?,
            };
            if let Some((attacker, sibling)) = workers {
                return Ok(Some(Cast {
                    attacker,
                    sibling,
                    before: Usage::of(coordinator),
                }));
            }
            if self.pause()? {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Waits until the attempt is played or the attacker is dead. Returns `false` after a time
    /// limit.
    fn wait_until_played(&mut self, scene: &Scene, cast: &Cast) -> io::Result<bool> {
        let until = Instant::now() + PLAYED_WITHIN;
        let mut looks = 0;
        while Instant::now() < until {
            let is_taken = !self.own.join(BAIT).exists();
            if is_taken || !lives(cast.attacker) || self.pause()? {
                return Ok(true);
            }
            looks += 1;
            let waits_for_task = self.attempt.held_by == HeldBy::Coordinator;
            if waits_for_task && looks % LOOKS_PER_URL == 0 && self.given < MOST_URLS {
                self.give(scene, 1)?;
            }
        }
        Ok(false)
    }

    fn view<'b>(
        &'b self,
        scene: &'b Scene,
        cast: &Cast,
        outlived: bool,
        bystander_is_dead: bool,
    ) -> View<'b> {
        View {
            scene,
            attacker: cast.attacker,
            coordinator: self.job.pid(),
            sibling: cast.sibling,
            own: &self.own,
            before: cast.before,
            outlived,
            bystander_is_dead,
            over: self.ended,
            blind: Cell::new(false),
        }
    }

    /// Returns whether the effect becomes visible soon, or `None` if it cannot be checked.
    fn look(&mut self, scene: &mut Scene, cast: &Cast, outlived: bool) -> io::Result<Option<bool>> {
        let until = Instant::now() + SEEN_WITHIN;
        loop {
            let is_dead = scene.bystander_is_dead();
            let view = self.view(scene, cast, outlived, is_dead);
            let (seen, blind) = ((self.attempt.seen)(&view), view.blind.get());
            if seen {
                return Ok(Some(true));
            }
            if Instant::now() >= until {
                return Ok((!blind).then_some(false));
            }
            self.pause()?;
            // `pause` returns at once after the run has ended. No event reports an effect on files
            // and processes of others.
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Lets the run finish. Returns the harm that it took, if any.
    fn complete(&mut self, scene: &Scene, spec: &Spec) -> io::Result<Option<String>> {
        let early = !lives(self.job.pid());
        self.give(scene, LAST)?;
        self.stdin = None;
        if !self.wait(ENDED_WITHIN)? {
            return Ok(Some("the run does not end".to_owned()));
        }
        self.ended = true;
        let status = self.job.finish()?.0;
        if early || status.code() != Some(0) {
            return Ok(Some(format!("the run ended: {}", ending(status))));
        }
        if let Some(harm) = self.harm_to_files(scene, spec)? {
            return Ok(Some(harm));
        }
        let left = processes::left(scene.folder())?;
        Ok(left.first().map(|left| format!("left behind: {left}")))
    }

    /// Returns what is wrong with the files or the run log, if anything is.
    fn harm_to_files(&self, scene: &Scene, spec: &Spec) -> io::Result<Option<String>> {
        let Ok(log) = fs::read(scene.output().join(".coordinator/results.jsonl")) else {
            return Ok(Some("the run log is gone".to_owned()));
        };
        let mut lines: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for line in log
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let Ok(record) = serde_json::from_slice::<Value>(line) else {
                return Ok(Some("a line of the run log is no record".to_owned()));
            };
            let url = record["url"].as_str().unwrap_or_default().to_owned();
            lines.entry(url).or_default().push(record);
        }
        for url in (0..self.given).map(|n| scene.url(n)) {
            let records = lines.remove(&url).unwrap_or_default();
            let [record] = &records[..] else {
                return Ok(Some(format!("{url} has {} records", records.len())));
            };
            let path = record["path"].as_str().unwrap_or_default();
            let file = fs::read(scene.output().join(path)).unwrap_or_default();
            let url = Url::parse(&url).map_err(io::Error::other)?;
            let right = body::sha256(spec, &body::identity(&url));
            if Sha256::digest(&file)[..] != right {
                return Ok(Some(format!("{url} has wrong bytes")));
            }
            if record["sha256"].as_str() != Some(&HEXLOWER.encode(&right)) {
                return Ok(Some(format!("{url} has a wrong record")));
            }
        }
        Ok(lines
            .keys()
            .next()
            .map(|url| format!("a record of '{url}', which nobody asked for")))
    }
}

/// Returns the attacker and the other worker, if both exist.
fn workers(scene: &Scene) -> io::Result<Option<(u32, Option<u32>)>> {
    let (mut attacker, mut sibling) = (None, None);
    for process in processes::of(scene.folder())? {
        let is = |words: &str| process.arguments.contains(words);
        if is(" worker --slot 0 --epoch 1 ") {
            attacker = Some(process.pid);
        } else if is(" worker --slot 1 --epoch 1 ") {
            sibling = Some(process.pid);
        }
    }
    Ok(attacker.and_then(|attacker| Some((attacker, Some(sibling?)))))
}

/// Kills the processes of the scene that are still alive.
fn end_all(scene: &Scene) -> io::Result<()> {
    // Repeats this, because a process may have started another one in between.
    for _ in 0..3 {
        let left = processes::of(scene.folder())?;
        if left.is_empty() {
            return Ok(());
        }
        for process in left {
            if let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) {
                // The process may already have ended.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        processes::left(scene.folder())?;
    }
    Ok(())
}

fn last_line(said: &Path) -> String {
    let text = fs::read(said).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    last.unwrap_or("it said nothing").to_owned()
}

impl InForce {
    /// Returns the version of Landlock that is in force, if any.
    pub fn landlock_abi(&self) -> Option<u32> {
        let (_, rest) = self.sandbox.as_ref()?.split_once("Landlock ABI ")?;
        rest.split(',').next()?.parse().ok()
    }

    /// Records the run's first report about its sandbox, from its output in `said`.
    fn note(&mut self, said: &Path) {
        if self.sandbox.is_some() {
            return;
        }
        let text = fs::read(said).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let behind = |mark: &str, until: &str| {
            let line = text.lines().find_map(|line| Some(line.split_once(mark)?.1));
            let part = line.map(|line| line.split(until).next().unwrap_or(line));
            part.map(str::to_owned)
        };
        self.sandbox = behind("sandbox: ", "; writes below");
        self.lacks = behind("cannot confine workers in full: ", " (--sandbox off");
    }
}
