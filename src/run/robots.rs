//! Decides which URLs robots.txt allows: the robots.txt of each scheme, host and port, and the
//! targets that wait for it.
//!
//! A worker fetches it with all the protection of a download, and stores it in a folder of the run.
//! This module reads it and does not trust it. Each place takes eight bytes in a disk map, and the
//! file if something is forbidden, so that ten million places take no more memory than one. This
//! module sends no requests and reports nothing: the shell does.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use protocol::robots::{
    MAX_ROBOTS, ROBOTS_PATH, RobotsRules, forbidden_by, robots_file, split_url,
};
use protocol::{Exchange, Failure, FailureKind, Known, Severity, Stored, TaskId};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::log::Layout;
use crate::disk_map::{DiskMap, DiskMapError, Key};
use crate::dispatch::Verdict;
use crate::folder::Folder;
use crate::input::{Target, UrlKey};

/// Maximum number of targets that wait, whatever their text: as many as the core would accept.
const MOST_HELD: usize = 65_536;

/// Maximum memory for parsed rules, in bytes. Targets of one place mostly come together.
const MOST_KEPT: usize = 8 << 20;

/// The first number of a task that is not from the input. Numbers up to twice that are exact for
/// every reader of JSON (RFC 8259 section 6).
const FIRST_ERRAND: u64 = 1 << 52;

/// A robots.txt that forbids everything. Workers get it where none can be fetched.
const FORBID_ALL: &str = "User-agent: *\nDisallow: /\n";

/// The rules of all places, and the targets that wait for them.
#[derive(Debug)]
pub(in crate::run) struct RobotsGate {
    folder: Folder,
    token: String,
    known: DiskMap<{ Standing::BYTES }>,
    kept: Kept,
    /// Targets whose robots.txt is being fetched, by origin.
    waiting: HashMap<String, Vec<Candidate>>,
    held: usize,
    errands: u64,
}

/// A target of the input that was accepted and that robots.txt may forbid.
#[derive(Debug)]
pub(in crate::run) struct Candidate {
    pub(in crate::run) task: TaskId,
    pub(in crate::run) target: Target,
    /// The file in place, if it may still be current.
    pub(in crate::run) known: Option<Box<Known>>,
}

/// What happens to a target.
#[derive(Debug)]
pub(in crate::run) enum Ruling {
    /// It may be fetched, this long after the one before it on its host.
    Allowed(Duration),
    /// It may not be fetched.
    Forbidden(Box<Failure>),
    /// The rules are not known yet.
    Unknown,
}

/// What is known of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::run) enum Standing {
    /// Everything is allowed, with this delay.
    Open(Duration),
    /// Its file says what is allowed, with this delay.
    Ruled(Duration),
    /// Nothing is allowed: its robots.txt cannot be fetched, for this reason, and with this status
    /// if there was a response.
    Unreachable(FailureKind, Option<u16>),
}

/// Parsed rules, by origin.
#[derive(Debug, Default)]
struct Kept {
    rules: HashMap<Rc<str>, Rc<RobotsRules>>,
    /// Their origins, the latest last.
    order: VecDeque<Rc<str>>,
    weight: usize,
}

impl RobotsGate {
    /// Creates the gate of a run that has not begun. The folder for robots.txt is empty. Temporary
    /// files, if any are needed, are created in `scratch`.
    pub(in crate::run) fn new(folder: Folder, scratch: PathBuf, token: String) -> Self {
        Self {
            folder,
            token,
            known: DiskMap::new(scratch),
            kept: Kept::default(),
            waiting: HashMap::new(),
            held: 0,
            errands: 0,
        }
    }

    /// Returns whether more of the input may be accepted.
    pub(in crate::run) const fn has_room(&self) -> bool {
        self.held < MOST_HELD
    }

    /// Returns the number of targets that wait.
    pub(in crate::run) const fn held(&self) -> usize {
        self.held
    }

    /// Decides what happens to `target`.
    ///
    /// # Errors
    ///
    /// Fails if the disk map cannot be read.
    pub(in crate::run) fn ruling(&mut self, target: &Target) -> Result<Ruling, DiskMapError> {
        let (origin, path) = split_url(&target.url);
        if self.waiting.contains_key(origin) {
            return Ok(Ruling::Unknown);
        }
        let Some(bytes) = self.known.get(&key(origin))? else {
            return Ok(Ruling::Unknown);
        };
        Ok(match Standing::from_bytes(bytes) {
            Standing::Open(delay) => Ruling::Allowed(delay),
            Standing::Ruled(delay) => self.judge(origin, path, delay),
            Standing::Unreachable(kind, status) => {
                let message = out_of_reach(origin, kind, status);
                Ruling::Forbidden(failure(FailureKind::RobotsUnreachable, message))
            }
        })
    }

    fn judge(&mut self, origin: &str, path: &str, delay: Duration) -> Ruling {
        let rules = match self.rules(origin) {
            Ok(rules) => rules,
            Err(error) => {
                let message = format!("cannot read {origin}{ROBOTS_PATH} back: {error}");
                return Ruling::Forbidden(failure(FailureKind::RobotsUnreachable, message));
            }
        };
        match rules.forbids(path) {
            None => Ruling::Allowed(delay),
            Some(rule) => {
                Ruling::Forbidden(failure(FailureKind::Robots, forbidden_by(origin, rule)))
            }
        }
    }

    /// Holds a target until the rules of its place are known. If nothing fetches them yet, returns
    /// a number and a target for that task.
    pub(in crate::run) fn hold(&mut self, candidate: Candidate) -> Option<(TaskId, Target)> {
        self.held += 1;
        let (origin, _) = split_url(&candidate.target.url);
        if let Some(waiting) = self.waiting.get_mut(origin) {
            waiting.push(candidate);
            return None;
        }
        let origin = origin.to_owned();
        let path = Layout::robots_path(&robots_file(&origin));
        let asked = candidate
            .target
            .beside(format!("{origin}{ROBOTS_PATH}"), path);
        self.waiting.insert(origin, vec![candidate]);
        let number = FIRST_ERRAND + self.errands;
        self.errands += 1;
        Some((TaskId(number), asked))
    }

    /// Processes the outcome of fetching `robots`, the robots.txt of a place. Returns the standing
    /// of the place and the targets that waited for it.
    ///
    /// # Errors
    ///
    /// Fails if the disk map cannot be written.
    pub(in crate::run) fn learn(
        &mut self,
        robots: &Target,
        verdict: &Verdict,
    ) -> Result<(Standing, Vec<Candidate>), DiskMapError> {
        let (origin, _) = split_url(&robots.url);
        let standing = self.standing(origin, verdict);
        self.known.insert(key(origin), standing.to_bytes())?;
        let waited = self.waiting.remove(origin).unwrap_or_default();
        self.held -= waited.len();
        Ok((standing, waited))
    }

    fn standing(&mut self, origin: &str, verdict: &Verdict) -> Standing {
        let standing = match verdict {
            Verdict::Done(stored) => self.read_new(origin, stored),
            Verdict::Failed(failure) => of_failure(failure),
            Verdict::Quarantined(_) => Standing::Unreachable(FailureKind::WorkerDied, None),
        };
        let name = robots_file(origin);
        let done = match standing {
            Standing::Open(_) => self.remove(&name),
            Standing::Ruled(_) => Ok(()),
            Standing::Unreachable(..) => self.remove(&name).and_then(|()| self.forbid_all(&name)),
        };
        if let Err(error) = done {
            // A redirect to this place is judged by the file that is there.
            tracing::warn!(%error, origin, "the file of a robots.txt stays as it is");
        }
        standing
    }

    fn read_new(&mut self, origin: &str, stored: &Stored) -> Standing {
        match self.rules(origin) {
            Ok(rules) if rules.allow_all() => Standing::Open(rules.crawl_delay()),
            Ok(rules) => Standing::Ruled(rules.crawl_delay()),
            Err(error) => {
                tracing::warn!(%error, origin, "a robots.txt that was stored cannot be read");
                Standing::Unreachable(FailureKind::Store, stored.exchange.status)
            }
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name).map_err(|(_, error)| error)
    }

    fn forbid_all(&self, name: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mode = Mode::RUSR | Mode::WUSR;
        self.folder
            .open(name, flags, mode)?
            .write_all(FORBID_ALL.as_bytes())
    }

    /// Returns the rules in the file of `origin`.
    fn rules(&mut self, origin: &str) -> io::Result<Rc<RobotsRules>> {
        if let Some(rules) = self.kept.get(origin) {
            return Ok(rules);
        }
        let mut text = Vec::new();
        let file = self.folder.read(&robots_file(origin));
        let file = file.map_err(io::Error::other)?.ok_or(Errno::NOENT)?;
        file.take(MAX_ROBOTS).read_to_end(&mut text)?;
        let rules = Rc::new(RobotsRules::parse(&text, &self.token));
        self.kept.insert(origin, Rc::clone(&rules));
        Ok(rules)
    }
}

impl Kept {
    fn get(&self, origin: &str) -> Option<Rc<RobotsRules>> {
        self.rules.get(origin).map(Rc::clone)
    }

    /// Keeps the rules of an origin that has none here.
    fn insert(&mut self, origin: &str, rules: Rc<RobotsRules>) {
        let origin: Rc<str> = origin.into();
        self.weight += origin.len() + rules.weight();
        self.order.push_back(Rc::clone(&origin));
        self.rules.insert(origin, rules);
        // The latest rules stay, however large they are.
        while self.weight > MOST_KEPT && self.order.len() > 1 {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            if let Some(rules) = self.rules.remove(&oldest) {
                self.weight -= oldest.len() + rules.weight();
            }
        }
    }
}

impl Standing {
    const BYTES: usize = 8;

    /// Delays are whole milliseconds, a minute at most.
    fn to_bytes(self) -> [u8; Self::BYTES] {
        let timed = |tag, delay: Duration| {
            let millis = u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
            let [a, b, c, d] = millis.to_be_bytes();
            [tag, a, b, c, d, 0, 0, 0]
        };
        match self {
            Self::Open(delay) => timed(0, delay),
            Self::Ruled(delay) => timed(1, delay),
            Self::Unreachable(kind, status) => {
                let kind = FailureKind::ALL.iter().position(|&other| other == kind);
                let kind = kind.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX);
                let [a, b] = status.unwrap_or(0).to_be_bytes();
                [2, kind, a, b, 0, 0, 0, 0]
            }
        }
    }

    fn from_bytes([tag, a, b, c, d, ..]: [u8; Self::BYTES]) -> Self {
        let delay = Duration::from_millis(u32::from_be_bytes([a, b, c, d]).into());
        match tag {
            0 => Self::Open(delay),
            1 => Self::Ruled(delay),
            _ => {
                let kind = FailureKind::ALL.get(usize::from(a)).copied();
                let status = Some(u16::from_be_bytes([b, c])).filter(|&status| status > 0);
                Self::Unreachable(kind.unwrap_or(FailureKind::Internal), status)
            }
        }
    }
}

/// Returns the standing that follows if robots.txt could not be fetched (RFC 9309 sections 2.3.1.2
/// to 2.3.1.4): if it does not exist, everything is allowed; if that is unknown, nothing is.
fn of_failure(failure: &Failure) -> Standing {
    let status = failure.exchange.status;
    match (failure.kind, status) {
        // 429 is no answer about robots.txt, and neither is 304, because the request had no
        // condition. 407 comes from a proxy, not from the server.
        (FailureKind::Status, Some(304 | 407 | 429)) => Standing::Unreachable(failure.kind, status),
        (FailureKind::Status, Some(300..=499))
        | (FailureKind::TooManyRedirects | FailureKind::BadRedirect, _) => {
            Standing::Open(Duration::ZERO)
        }
        (kind, status) => Standing::Unreachable(kind, status),
    }
}

fn out_of_reach(origin: &str, kind: FailureKind, status: Option<u16>) -> String {
    let why = match (kind, status) {
        (FailureKind::Status, Some(status)) => format!("status {status}"),
        (kind, _) => kind.to_string(),
    };
    format!(
        "{origin}{ROBOTS_PATH} is out of reach ({why}), and so nothing there is allowed for now"
    )
}

/// Returns the failure of a target that was not requested.
fn failure(kind: FailureKind, message: String) -> Box<Failure> {
    Box::new(Failure {
        exchange: Exchange::default(),
        kind,
        message,
        severity: Severity::Permanent,
    })
}

fn key(origin: &str) -> Key {
    *UrlKey::of(origin).as_bytes()
}

#[cfg(test)]
#[path = "robots_tests.rs"]
mod tests;
