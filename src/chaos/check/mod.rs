//! The checker: determines from evidence alone what happened to a list of URLs.
//!
//! It works like Jepsen's queue checker: what was attempted, what was acknowledged, what exists in
//! the end. It reads the output folder, the lines of the run log, the origin's journal and the
//! process table. It must not use any code or count of the run itself, or change anything.

mod files;
#[cfg(feature = "fleet")]
pub mod fleet;
mod journal;
pub mod processes;
mod records;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use lab::origin::{Spec, body};
use serde::Serialize;
use url::Url;

use super::plan::Task;

use files::{Found, Likeness};
use journal::{Delivery, Served};
use processes::Process;
use records::{Line, Records};

/// How many examples of each violation are kept.
const EXAMPLES: usize = 5;

/// The evidence that the checker uses.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    pub tasks: &'a [Task],
    /// The settings of the origin.
    pub spec: &'a Spec,
    /// The output folder.
    pub output: &'a Path,
    /// The runs' folder for temporary files.
    pub tmp: &'a Path,
    /// The journal of the origin.
    pub journal: &'a Path,
    /// When coordinators were killed, in nanoseconds on the monotonic clock.
    pub killed_ns: &'a [u64],
    /// URLs that a worker was working on when it died.
    pub died_with: &'a BTreeSet<String>,
    /// Processes of the runs that are still alive.
    pub processes: &'a [Process],
}

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Violation {
    /// A URL has no record, or its file does not exist.
    Lost,
    /// A URL has two final records, or two files.
    Duplicated,
    /// A file under a final name is not whole.
    Torn,
    /// A file does not have the bytes of its URL, or its record does not match it.
    WrongBytes,
    /// A URL is recorded as failed, although the origin serves it in the end.
    Failed,
    /// A URL that is not poison is quarantined.
    InnocentQuarantined,
    /// A poison URL is not quarantined.
    PoisonSpared,
    /// A file is recorded that the origin never served to the end.
    NeverServed,
    /// A line of the run log is not a record of a URL in the list.
    BadRecord,
    /// A process of a run is still alive.
    Orphan,
    /// A file is left over that belongs to no record.
    Leftover,
    /// The outcome of an owner with an outdated epoch was accepted.
    Unfenced,
    /// A host had more requests at once than allowed, and no change of owners explains it.
    OverLimit,
    /// A file whose URL has another member's outcome is missing from the program's report.
    Untold,
    /// The program's report does not match the evidence.
    Miscounted,
}

/// What happened to the list.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// URLs of the list.
    pub urls: usize,
    /// Of these, URLs that the origin was asked for, or that have a record.
    pub attempted: usize,
    /// Of these, URLs that are recorded as stored.
    pub acknowledged: usize,
    /// Of these, URLs whose file exists with the right bytes.
    pub stored: usize,
    /// Of these, URLs that a worker or a coordinator was working on when it died.
    pub recovered: usize,
    /// Of the stored ones, URLs with a body in parts, from a resumed download.
    pub resumed: usize,
    /// Poison URLs, all of which should be quarantined.
    pub poisons: usize,
    /// Poison URLs that are quarantined.
    pub quarantined: usize,
    /// Requests that the origin received.
    pub requests: usize,
    /// Broken promises: how often, and some examples.
    pub violations: BTreeMap<Violation, Broken>,
}

/// How often a promise was broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Broken {
    pub count: usize,
    /// Descriptions of the first few.
    pub examples: Vec<String>,
}

/// Why there are no findings.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}")]
pub struct Unreadable {
    pub path: String,
    pub source: io::Error,
}

impl Violation {
    /// All violations of a run, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::Lost,
        Self::Duplicated,
        Self::Torn,
        Self::WrongBytes,
        Self::Failed,
        Self::InnocentQuarantined,
        Self::PoisonSpared,
        Self::NeverServed,
        Self::BadRecord,
        Self::Orphan,
        Self::Leftover,
    ];

    /// Violations that only a fleet can have.
    #[cfg(feature = "fleet")]
    pub const OF_FLEET: [Self; 4] = [
        Self::Unfenced,
        Self::OverLimit,
        Self::Untold,
        Self::Miscounted,
    ];

    /// Returns the name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Torn => "torn",
            Self::WrongBytes => "wrong bytes",
            Self::Failed => "failed",
            Self::InnocentQuarantined => "innocents quarantined",
            Self::PoisonSpared => "poison not quarantined",
            Self::NeverServed => "stored but never served",
            Self::BadRecord => "bad records",
            Self::Orphan => "orphans",
            Self::Leftover => "leftovers",
            Self::Unfenced => "heard too late",
            Self::OverLimit => "hosts over their limit",
            Self::Untold => "copies not told of",
            Self::Miscounted => "told otherwise",
        }
    }
}

impl Findings {
    /// Returns whether no promise was broken.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Returns how often this promise was broken.
    #[must_use]
    pub fn count(&self, violation: Violation) -> usize {
        self.violations
            .get(&violation)
            .map_or(0, |broken| broken.count)
    }

    fn broken(&mut self, violation: Violation, example: String) {
        let broken = self.violations.entry(violation).or_default();
        broken.count += 1;
        if broken.examples.len() < EXAMPLES {
            broken.examples.push(example);
        }
    }
}

/// Checks what happened to the list.
///
/// # Errors
///
/// Fails if a part of the evidence exists but cannot be read.
pub fn check(evidence: &Evidence<'_>) -> Result<Findings, Unreadable> {
    let mut findings = Findings {
        urls: evidence.tasks.len(),
        ..Findings::default()
    };
    let records = records::read(&evidence.output.join(".coordinator/results.jsonl"))?;
    let served = journal::read(evidence.journal)?;
    findings.requests = served.values().map(|served| served.begun_ns.len()).sum();
    let mut found = files::list(evidence.output, evidence.tmp)?;
    for problem in &records.problems {
        findings.broken(Violation::BadRecord, problem.clone());
    }
    let known: BTreeSet<&str> = evidence
        .tasks
        .iter()
        .map(|task| task.url.as_str())
        .collect();
    for url in records
        .lines
        .keys()
        .filter(|url| !known.contains(url.as_str()))
    {
        findings.broken(Violation::BadRecord, format!("{url} is not in the list"));
    }
    let mut bodies = BTreeMap::new();
    for task in evidence.tasks {
        let identity = identity(&task.url);
        let body = Expected::new(evidence.spec, &identity);
        bodies.insert(body.sha256, task.url.as_str());
        let case = Case {
            evidence,
            task,
            body,
            lines: lines_of(&records, &task.url),
            served: served.get(&identity),
        };
        case.judge(&mut found, &mut findings);
    }
    strangers(evidence, &found, &bodies, &mut findings)?;
    for process in evidence.processes {
        findings.broken(Violation::Orphan, process.to_string());
    }
    Ok(findings)
}

/// Reports the files that belong to no record.
fn strangers(
    evidence: &Evidence<'_>,
    found: &Found,
    bodies: &BTreeMap<[u8; 32], &str>,
    findings: &mut Findings,
) -> Result<(), Unreadable> {
    for name in &found.files {
        let hash = files::sha256(&evidence.output.join(name))?;
        match bodies.get(&hash) {
            Some(url) => findings.broken(
                Violation::Duplicated,
                format!("{name} is another file of {url}"),
            ),
            None => findings.broken(Violation::Leftover, format!("{name} belongs to no record")),
        }
    }
    for path in &found.leftovers {
        findings.broken(Violation::Leftover, path.clone());
    }
    Ok(())
}

fn lines_of<'a>(records: &'a Records, url: &str) -> &'a [Line] {
    records.lines.get(url).map_or(&[], Vec::as_slice)
}

fn identity(url: &str) -> String {
    Url::parse(url).map_or_else(|_| url.to_owned(), |url| body::identity(&url))
}

/// What the file of a URL must contain.
struct Expected<'a> {
    spec: &'a Spec,
    identity: String,
    bytes: u64,
    sha256: [u8; 32],
}

impl<'a> Expected<'a> {
    fn new(spec: &'a Spec, identity: &str) -> Self {
        Self {
            spec,
            identity: identity.to_owned(),
            bytes: body::len(spec, identity),
            sha256: body::sha256(spec, identity),
        }
    }
}

/// A URL, with all evidence about it.
struct Case<'a> {
    evidence: &'a Evidence<'a>,
    task: &'a Task,
    body: Expected<'a>,
    lines: &'a [Line],
    served: Option<&'a Served>,
}

impl Case<'_> {
    fn judge(&self, found: &mut Found, findings: &mut Findings) {
        let url = &self.task.url;
        let poison = self.task.poison.is_some();
        findings.poisons += usize::from(poison);
        if self.served.is_some() || !self.lines.is_empty() {
            findings.attempted += 1;
        }
        let finals = self.lines.iter().filter(|line| line.is_final()).count();
        if finals > 1 {
            let text = format!("{url} has {finals} final records");
            findings.broken(Violation::Duplicated, text);
        }
        match self.lines.last() {
            Some(line) if line.is_stored() && !poison => self.judge_file(line, found, findings),
            Some(line) if line.outcome == "quarantined" && poison => findings.quarantined += 1,
            Some(line) if poison => {
                if let Some(path) = &line.path {
                    found.files.remove(path);
                }
                let text = format!("{url} is recorded as {}", line.outcome);
                findings.broken(Violation::PoisonSpared, text);
            }
            None if poison => {
                findings.broken(Violation::PoisonSpared, format!("{url} has no record"));
            }
            Some(line) if line.outcome == "quarantined" => {
                let text = format!("{url}: {}", line.problem());
                findings.broken(Violation::InnocentQuarantined, text);
            }
            Some(line) if line.outcome == "failed" => {
                findings.broken(Violation::Failed, format!("{url}: {}", line.problem()));
            }
            Some(line) => {
                let text = format!("{url} is recorded as {}", line.outcome);
                findings.broken(Violation::BadRecord, text);
            }
            None => findings.broken(Violation::Lost, format!("{url} has no record")),
        }
    }

    /// Checks the file of a URL that is recorded as stored.
    fn judge_file(&self, line: &Line, found: &mut Found, findings: &mut Findings) {
        let url = &self.task.url;
        findings.acknowledged += 1;
        let Some(path) = &line.path else {
            findings.broken(
                Violation::BadRecord,
                format!("{url} is stored without a file"),
            );
            return;
        };
        found.files.remove(path);
        let delivery = match self.served {
            Some(served) => served.delivery(self.body.bytes),
            None => Delivery::Never,
        };
        if delivery == Delivery::Never {
            findings.broken(Violation::NeverServed, url.clone());
        }
        let file = self.evidence.output.join(path);
        match files::compare(&file, self.body.spec, &self.body.identity) {
            Ok(Likeness::Same) if !line.agrees(self.body.bytes, &self.body.sha256) => {
                let text = format!("{path} of {url} is right, but its record is not");
                findings.broken(Violation::WrongBytes, text);
            }
            Ok(Likeness::Same) => {
                findings.stored += 1;
                findings.recovered += usize::from(self.was_recovered());
                findings.resumed += usize::from(delivery == Delivery::InParts);
            }
            Ok(Likeness::Beginning(bytes)) => {
                let text = format!("{path} of {url} ends after {bytes} of {}", self.body.bytes);
                findings.broken(Violation::Torn, text);
            }
            Ok(Likeness::OtherSize(bytes)) => {
                let text = format!("{path} of {url} has {bytes} bytes, not {}", self.body.bytes);
                findings.broken(Violation::Torn, text);
            }
            Ok(Likeness::Different) => {
                findings.broken(Violation::WrongBytes, format!("{path} of {url}"));
            }
            Err(error) => {
                findings.broken(Violation::Lost, format!("{path} of {url}: {error}"));
            }
        }
    }

    /// Returns whether a worker died with the URL, or a coordinator between two requests for it.
    fn was_recovered(&self) -> bool {
        let survived = |killed: &u64| {
            self.served.is_some_and(|served| {
                served.begun_ns.iter().any(|begun| begun < killed)
                    && served.begun_ns.iter().any(|begun| begun > killed)
            })
        };
        self.evidence.died_with.contains(&self.task.url)
            || self.evidence.killed_ns.iter().any(survived)
    }
}
