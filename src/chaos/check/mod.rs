//! The checker: what became of a list of URLs, found out from evidence alone.
//!
//! In the manner of Jepsen's queue checker: what was attempted, what was acknowledged, what is there
//! in the end. It reads the output folder, the lines of the run log, what the origin saw, and the
//! process table. It must not use any code or count of the run itself, nor change anything.

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

/// What the checker goes by.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    pub tasks: &'a [Task],
    /// How the origin answered.
    pub spec: &'a Spec,
    /// The output folder.
    pub output: &'a Path,
    /// The runs' folder for temporary files.
    pub tmp: &'a Path,
    /// What the origin saw.
    pub journal: &'a Path,
    /// When coordinators were killed, on the monotonic clock, in nanoseconds.
    pub killed_ns: &'a [u64],
    /// URLs that a worker was busy with when it died.
    pub died_with: &'a BTreeSet<String>,
    /// Processes of the runs that still live.
    pub processes: &'a [Process],
}

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Violation {
    /// A URL has no record, or its file is not there.
    Lost,
    /// A URL has two final records, or two files.
    Duplicated,
    /// A file under a final name is not whole.
    Torn,
    /// A file holds other bytes than its URL has, or its record says otherwise.
    WrongBytes,
    /// A URL is recorded as failed, though the origin answers for it in the end.
    Failed,
    /// A URL that is no poison is quarantined.
    InnocentQuarantined,
    /// A poison is not.
    PoisonSpared,
    /// A file is recorded that the origin never served to its end.
    NeverServed,
    /// A line of the run log is no record of a URL of the list.
    BadRecord,
    /// A process of a run still lives.
    Orphan,
    /// A file is left that belongs to nobody.
    Leftover,
    /// An owner whose time was over was heard.
    Unfenced,
    /// A host was asked more at once than it may be, and no change of owners explains it.
    OverLimit,
    /// A file of a URL whose outcome is another's, and nobody is told of it.
    Untold,
    /// The program tells otherwise of the whole than it is.
    Miscounted,
}

/// What became of the list.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// URLs of the list.
    pub urls: usize,
    /// Of these, the origin was asked for, or a record tells of.
    pub attempted: usize,
    /// Of these, a record says that they are stored.
    pub acknowledged: usize,
    /// Of these, the file is there with the right bytes.
    pub stored: usize,
    /// Of these, a worker or a coordinator died with them before.
    pub recovered: usize,
    /// Of the stored ones, the body came in parts: what was cut off was gone on with.
    pub resumed: usize,
    /// Poison URLs, all of which should be quarantined.
    pub poisons: usize,
    /// Poison URLs that are quarantined.
    pub quarantined: usize,
    /// Requests that the origin saw.
    pub requests: usize,
    /// Broken promises: how many, and some of them.
    pub violations: BTreeMap<Violation, Broken>,
}

/// How often a promise was broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Broken {
    pub count: usize,
    /// The first few, in words.
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
    /// All of them, in the order of the table.
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

    /// Those that only a fleet can break.
    #[cfg(feature = "fleet")]
    pub const OF_FLEET: [Self; 4] = [
        Self::Unfenced,
        Self::OverLimit,
        Self::Untold,
        Self::Miscounted,
    ];

    /// What it is called.
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
    /// Whether no promise was broken.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// How often this promise was broken.
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

/// Finds out what became of the list.
///
/// # Errors
///
/// If a part of the evidence is there and cannot be read.
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

/// What belongs to no record.
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

/// What a URL's file must hold.
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

/// One URL, and all that is known of it.
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

    /// The file of a URL that is recorded as stored.
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

    /// Whether a worker died with it, or a coordinator between two requests for it.
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
