//! Checks the list of a fleet, from the messages of its queue, the folders of all members, and the
//! requests of each member to the origin.
//!
//! This module shares no code with the fleet.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::files::Found;
use super::journal::{self, Served};
use super::records::{self, Line};
use super::{Case, Evidence, Expected, Findings, Unreadable, Violation, files, identity};

/// How long a request may seem to continue after its client is gone, until the origin notices.
const NOTICED_NS: u64 = 200_000_000;

/// Most files that a killed member may leave without a record: the most in placement at once.
const LEFT_BY_A_DEATH: usize = 256;

/// The evidence that the checker uses.
#[derive(Debug)]
pub struct FleetEvidence<'a> {
    /// The evidence about each member.
    pub members: &'a [MemberEvidence<'a>],
    /// The messages with outcomes: sequence number, subject, payload.
    pub messages: &'a [(u64, &'a str, &'a [u8])],
    /// The program's report on the whole list (`fleet results --json`).
    pub told: &'a [u8],
    /// Limit of simultaneous downloads from one host.
    pub of_a_host: usize,
    /// Periods in which a partition may have had two members at work, in nanoseconds on the
    /// monotonic clock.
    pub disturbed_ns: &'a [(u64, u64)],
}

/// The evidence about a member.
#[derive(Debug)]
pub struct MemberEvidence<'a> {
    /// Its name.
    pub name: String,
    /// How often it ended before its work was done.
    pub deaths: usize,
    /// The same evidence as for a run without a fleet.
    pub own: Evidence<'a>,
}

/// What happened to the list.
#[derive(Debug, Default, Serialize)]
pub struct FleetFindings {
    /// The findings that a run without a fleet has too.
    #[serde(flatten)]
    pub common: Findings,
    /// Files in addition to the one that counts, from work that was done twice.
    pub copies: usize,
    /// Files that a member placed but could not record before another member did the same work.
    pub unrecorded: usize,
    /// Bodies that members did not place, because they had lost the lease on the partition.
    pub fenced: usize,
    /// How often a partition got a new owner.
    pub begun: usize,
    /// Requests above the limit of a host while ownership moved.
    pub excess: usize,
    /// URLs that count, by member.
    pub of: BTreeMap<String, usize>,
}

/// The head of a message with outcomes; only the fields that are needed.
#[derive(Deserialize)]
struct Head {
    kind: String,
    epoch: u64,
}

/// A line of a message with outcomes.
#[derive(Deserialize)]
struct Outcome {
    task: u64,
    record: Option<Counted>,
}

/// A record that counts, with its owner.
#[derive(Deserialize)]
struct Counted {
    #[serde(flatten)]
    line: Line,
    fleet: Option<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    machine: String,
}

/// The program's report; only the fields that are needed.
#[derive(Deserialize)]
struct Told {
    outcomes: BTreeMap<String, usize>,
    open: Option<usize>,
    redundant_files: Vec<ToldFile>,
}

#[derive(Deserialize)]
struct ToldFile {
    machine: String,
    path: String,
}

/// Checks what happened to the list.
///
/// # Errors
///
/// Fails if a part of the evidence exists but cannot be read.
pub fn check(evidence: &FleetEvidence<'_>) -> Result<FleetFindings, Unreadable> {
    let mut findings = FleetFindings::default();
    let Some(first) = evidence.members.first() else {
        return Ok(findings);
    };
    let tasks = first.own.tasks;
    findings.common.urls = tasks.len();
    let counted = count(evidence, &mut findings);
    let mut recorded = Vec::new();
    let (mut served, mut found): (Vec<BTreeMap<String, Served>>, Vec<Found>) = Default::default();
    for member in evidence.members {
        let seen = journal::read(member.own.journal)?;
        findings.common.requests += seen
            .values()
            .map(|served| served.begun_ns.len())
            .sum::<usize>();
        served.push(seen);
        found.push(files::list(member.own.output, member.own.tmp)?);
        let log = member.own.output.join(".coordinator/results.jsonl");
        let records = records::read(&log)?;
        for problem in &records.problems {
            let text = format!("{}: {problem}", member.name);
            findings.common.broken(Violation::BadRecord, text);
        }
        let mut urls = HashSet::new();
        for (url, lines) in records.lines {
            let fenced = lines.iter().filter(|line| line.outcome == "fenced").count();
            findings.fenced += fenced;
            // A fenced body has no file.
            if fenced < lines.len() {
                urls.insert(url);
            }
        }
        recorded.push(urls);
        for process in member.own.processes {
            findings
                .common
                .broken(Violation::Orphan, process.to_string());
        }
    }
    let known: HashSet<&str> = tasks.iter().map(|task| task.url.as_str()).collect();
    for url in counted.keys().filter(|url| !known.contains(url.as_str())) {
        let text = format!("{url} is not in the list");
        findings.common.broken(Violation::BadRecord, text);
    }
    let mut bodies = BTreeMap::new();
    for task in tasks {
        let id = identity(&task.url);
        let body = Expected::new(first.own.spec, &id);
        bodies.insert(body.sha256, task.url.as_str());
        let lines = counted.get(&task.url).map_or(&[][..], Vec::as_slice);
        if lines.len() > 1 {
            let text = format!("{} has {} outcomes that count", task.url, lines.len());
            findings.common.broken(Violation::Duplicated, text);
        }
        let (number, line) = match lines.first() {
            Some((number, line)) => (*number, std::slice::from_ref(line)),
            None => (0, &[][..]),
        };
        if let Some(member) = lines.first().map(|_| &evidence.members[number]) {
            *findings.of.entry(member.name.clone()).or_default() += 1;
        }
        let case = Case {
            evidence: &evidence.members[number].own,
            task,
            body,
            lines: line,
            served: served[number].get(&id),
        };
        case.judge(&mut found[number], &mut findings.common);
    }
    let told = match serde_json::from_slice::<Told>(evidence.told) {
        Ok(told) => told,
        Err(error) => {
            let text = format!("fleet results cannot be read: {error}");
            findings.common.broken(Violation::Miscounted, text);
            return Ok(findings);
        }
    };
    compare(&told, &counted, &mut findings);
    let names: HashSet<(&str, &str)> = told
        .redundant_files
        .iter()
        .map(|file| (file.machine.as_str(), file.path.as_str()))
        .collect();
    for ((member, found), recorded) in evidence.members.iter().zip(&found).zip(&recorded) {
        let mut unrecorded = 0;
        for path in &found.files {
            let place = format!("{}: {path}", member.name);
            match bodies.get(&files::sha256(&member.own.output.join(path))?) {
                Some(_) if names.contains(&(member.name.as_str(), path.as_str())) => {
                    findings.copies += 1;
                }
                Some(url) if !recorded.contains(*url) => unrecorded += 1,
                Some(url) => {
                    let text = format!("{place} is another file of {url}, and not told of");
                    findings.common.broken(Violation::Untold, text);
                }
                None => {
                    let text = format!("{place} belongs to no record");
                    findings.common.broken(Violation::Leftover, text);
                }
            }
        }
        if unrecorded > member.deaths * LEFT_BY_A_DEATH {
            let text = format!("{}: {unrecorded} files without a record", member.name);
            findings.common.broken(Violation::Leftover, text);
        }
        findings.unrecorded += unrecorded;
        for path in &found.leftovers {
            let text = format!("{}: {path}", member.name);
            findings.common.broken(Violation::Leftover, text);
        }
    }
    limits(evidence, &served, &mut findings);
    Ok(findings)
}

/// Returns the outcomes that count, by URL, each with the index of its member. For each task, the
/// first outcome in the chain of its partition counts.
fn count(
    evidence: &FleetEvidence<'_>,
    findings: &mut FleetFindings,
) -> BTreeMap<String, Vec<(usize, Line)>> {
    let mut owners: BTreeMap<&str, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut counted: BTreeMap<String, Vec<(usize, Line)>> = BTreeMap::new();
    for (sequence, subject, payload) in evidence.messages {
        let Some((_, partition)) = subject.split_once(".r.") else {
            continue;
        };
        let place = format!("message {sequence} ({subject})");
        let mut lines = payload.split(|byte| *byte == b'\n');
        let head = serde_json::from_slice::<Head>(lines.next().unwrap_or_default());
        let Ok(head) = head else {
            findings
                .common
                .broken(Violation::BadRecord, format!("{place} has no head"));
            continue;
        };
        if head.kind == "begin" {
            owners.insert(partition, *sequence);
            findings.begun += 1;
            continue;
        }
        if owners.get(partition) != Some(&head.epoch) {
            let text = format!("{place} is of epoch {}, which is over", head.epoch);
            findings.common.broken(Violation::Unfenced, text);
        }
        for line in lines.filter(|line| !line.is_empty()) {
            let outcome: Outcome = match serde_json::from_slice(line) {
                Ok(outcome) => outcome,
                Err(error) => {
                    let text = format!("{place}: {error}");
                    findings.common.broken(Violation::BadRecord, text);
                    continue;
                }
            };
            if !seen.insert((partition, outcome.task)) {
                let text = format!("{place}: task {} was done before", outcome.task);
                findings.common.broken(Violation::Duplicated, text);
                continue;
            }
            let whose = outcome.record.and_then(|record| {
                let machine = record.fleet?.machine;
                let of = |member: &MemberEvidence<'_>| member.name == machine;
                Some((evidence.members.iter().position(of)?, record.line))
            });
            match whose {
                Some((member, line)) => {
                    let url = line.url.clone();
                    counted.entry(url).or_default().push((member, line));
                }
                None => {
                    let text = format!("{place}: task {} is nobody's", outcome.task);
                    findings.common.broken(Violation::BadRecord, text);
                }
            }
        }
    }
    counted
}

/// Checks the program's report against the evidence.
fn compare(
    told: &Told,
    counted: &BTreeMap<String, Vec<(usize, Line)>>,
    findings: &mut FleetFindings,
) {
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for (_, line) in counted.values().flatten() {
        *outcomes.entry(line.outcome.clone()).or_default() += 1;
    }
    if told.outcomes != outcomes || told.open != Some(0) {
        let text = format!(
            "fleet results tells of {:?} and {:?} open, the queue holds {outcomes:?}",
            told.outcomes, told.open
        );
        findings.common.broken(Violation::Miscounted, text);
    }
}

/// A request: when it began and ended, and the index of its member.
type Request = (u64, u64, usize);

/// Checks how many simultaneous requests each host had, as recorded by the origins.
fn limits(
    evidence: &FleetEvidence<'_>,
    served: &[BTreeMap<String, Served>],
    findings: &mut FleetFindings,
) {
    let mut hosts: BTreeMap<&str, Vec<Request>> = BTreeMap::new();
    for (member, seen) in served.iter().enumerate() {
        for (url, served) in seen {
            let host = url.split('/').next().unwrap_or_default();
            let times = served.begun_ns.iter().zip(&served.ended_ns);
            let requests = times.map(|(begun, ended)| (*begun, *ended, member));
            hosts.entry(host).or_default().extend(requests);
        }
    }
    for (host, requests) in &mut hosts {
        requests.sort_unstable();
        for (at, &(begun, _, member)) in requests.iter().enumerate() {
            let together = requests[..at]
                .iter()
                .filter(|(_, ended, _)| *ended > begun.saturating_add(NOTICED_NS));
            let own = together
                .clone()
                .filter(|(_, _, other)| *other == member)
                .count()
                + 1;
            let all = together.count() + 1;
            if all <= evidence.of_a_host {
                continue;
            }
            let moved = evidence
                .disturbed_ns
                .iter()
                .any(|(from, to)| (*from..*to).contains(&begun));
            // Each member always keeps the limit, so only running downloads of old owners exceed
            // it.
            if own <= evidence.of_a_host && moved {
                findings.excess += 1;
            } else {
                let text = format!(
                    "{host} had {all} requests at once, {own} of them of {}",
                    evidence.members[member].name
                );
                findings.common.broken(Violation::OverLimit, text);
            }
        }
    }
}

/// The folders of a member, and related evidence, as owned values.
#[derive(Debug)]
pub struct MemberPlace {
    /// Its output folder.
    pub output: PathBuf,
    /// Its folder for temporary files.
    pub tmp: PathBuf,
    /// The journal of its origin.
    pub journal: PathBuf,
    /// URLs that a worker was working on when it died.
    pub died_with: BTreeSet<String>,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use data_encoding::HEXLOWER;
    use lab::origin::body::{self, Content};
    use lab::origin::{Seen, Spec};
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;
    use crate::chaos::plan::Task;

    /// A fleet of two members that has finished four URLs of one host without errors.
    struct Scene {
        folder: TempDir,
        spec: Spec,
        tasks: Vec<Task>,
        messages: Vec<(u64, String, Vec<u8>)>,
        journals: [Vec<Seen>; 2],
        told: Value,
        disturbed_ns: Vec<(u64, u64)>,
    }

    fn url(number: usize) -> String {
        format!("http://h.example/{number}")
    }

    impl Scene {
        fn new() -> Self {
            let mut scene = Self {
                folder: tempfile::tempdir().expect("a folder"),
                spec: "size=1000B,seed=5".parse().expect("a spec"),
                tasks: Vec::new(),
                messages: Vec::new(),
                journals: [Vec::new(), Vec::new()],
                told: json!({"outcomes": {"stored": 4}, "open": 0, "redundant_files": []}),
                disturbed_ns: Vec::new(),
            };
            for member in ["m0", "m1"] {
                for made in ["tmp", "downloads/.coordinator"] {
                    let folder = scene.folder.path().join(member).join(made);
                    fs::create_dir_all(folder).expect("writable");
                }
            }
            scene.tasks = (0..4)
                .map(|number| Task {
                    url: url(number),
                    poison: None,
                })
                .collect();
            scene.begin();
            for number in 0..4 {
                let member = number / 2;
                scene.download(member, number, number as u64 * 1_000_000_000);
                let epoch = if member == 0 { 1 } else { 4 };
                if number == 2 {
                    scene.begin();
                }
                scene.append(epoch, number, member);
            }
            scene
        }

        fn begin(&mut self) {
            self.message(json!({"kind": "begin", "epoch": 0}), None);
        }

        fn append(&mut self, epoch: u64, number: usize, member: usize) {
            let line = json!({"task": number, "record": self.record(member, number)});
            self.message(json!({"kind": "outcomes", "epoch": epoch}), Some(line));
        }

        fn message(&mut self, head: Value, line: Option<Value>) {
            let text = format!(
                "{head}\n{}",
                line.map_or_else(String::new, |line| line.to_string())
            );
            let sequence = self.messages.len() as u64 + 1;
            self.messages
                .push((sequence, "co.default.r.7".to_owned(), text.into_bytes()));
        }

        fn record(&self, member: usize, number: usize) -> Value {
            let hash = body::sha256(&self.spec, &format!("h.example/{number}"));
            json!({
                "url": url(number), "outcome": "stored", "path": format!("{number}.bin"), "bytes": 1000,
                "sha256": HEXLOWER.encode(&hash), "fleet": {"machine": format!("m{member}")},
            })
        }

        /// Adds the member's file, its record and a request of half a second from `begun_ns`.
        fn download(&mut self, member: usize, number: usize, begun_ns: u64) {
            let id = format!("h.example/{number}");
            let mut content = Content::new(&self.spec, &id);
            let bytes = content.next_chunk(1000).to_vec();
            let folder = self.folder.path().join(format!("m{member}/downloads"));
            fs::write(folder.join(format!("{number}.bin")), bytes).expect("writable");
            let log = folder.join(".coordinator/results.jsonl");
            let earlier = fs::read_to_string(&log).unwrap_or_default();
            let line = self.record(member, number);
            fs::write(log, format!("{earlier}{line}\n")).expect("writable");
            self.journals[member].push(Seen {
                url: id,
                method: "GET".to_owned(),
                begun_ns,
                ended_ns: begun_ns + 500_000_000,
                status: Some(200),
                bytes: 1000,
                complete: true,
                ..Seen::default()
            });
        }

        fn check(&self) -> FleetFindings {
            let died_with = BTreeSet::new();
            let places = ["m0", "m1"].map(|name| {
                let folder = self.folder.path().join(name);
                (
                    folder.join("downloads"),
                    folder.join("tmp"),
                    folder.join("journal.jsonl"),
                )
            });
            for (seen, (_, _, journal)) in self.journals.iter().zip(&places) {
                let lines = seen
                    .iter()
                    .map(|seen| serde_json::to_string(seen).expect("JSON") + "\n");
                fs::write(journal, lines.collect::<String>()).expect("writable");
            }
            let members: Vec<_> = places
                .iter()
                .enumerate()
                .map(|(number, (output, tmp, journal))| MemberEvidence {
                    name: format!("m{number}"),
                    deaths: 0,
                    own: Evidence {
                        tasks: &self.tasks,
                        spec: &self.spec,
                        output,
                        tmp,
                        journal,
                        killed_ns: &[],
                        died_with: &died_with,
                        processes: &[],
                    },
                })
                .collect();
            let messages: Vec<_> = self
                .messages
                .iter()
                .map(|(place, subject, text)| (*place, subject.as_str(), text.as_slice()))
                .collect();
            check(&FleetEvidence {
                members: &members,
                messages: &messages,
                told: self.told.to_string().as_bytes(),
                of_a_host: 1,
                disturbed_ns: &self.disturbed_ns,
            })
            .expect("readable")
        }

        /// Checks that exactly one promise is broken, once.
        fn is_broken(&self, violation: Violation) {
            let found = self.check().common.violations;
            let counts: Vec<_> = found
                .iter()
                .map(|(kind, broken)| (*kind, broken.count))
                .collect();
            assert_eq!(counts, [(violation, 1)], "{found:?}");
        }
    }

    #[test]
    fn a_fleet_with_nothing_wrong_is_clean() {
        let findings = Scene::new().check();
        assert!(findings.common.is_clean(), "{findings:?}");
        assert_eq!(
            (findings.common.stored, findings.begun, findings.copies),
            (4, 2, 0)
        );
        assert_eq!(
            findings.of,
            BTreeMap::from([("m0".to_owned(), 2), ("m1".to_owned(), 2)])
        );
    }

    #[test]
    fn an_owner_whose_time_is_over_must_not_be_heard() {
        let mut scene = Scene::new();
        let (_, _, text) = &mut scene.messages[4];
        *text = String::from_utf8_lossy(text)
            .replace("\"epoch\":4", "\"epoch\":1")
            .into_bytes();
        scene.is_broken(Violation::Unfenced);
    }

    #[test]
    fn a_task_has_one_outcome() {
        let mut scene = Scene::new();
        scene.append(4, 3, 1);
        scene.is_broken(Violation::Duplicated);
    }

    #[test]
    fn a_url_without_an_outcome_is_lost_and_its_file_a_copy_that_nobody_is_told_of() {
        let mut scene = Scene::new();
        scene.messages.pop();
        scene.told["outcomes"]["stored"] = 3.into();
        let found = scene.check().common;
        assert_eq!(
            (found.count(Violation::Lost), found.count(Violation::Untold)),
            (1, 1),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_done_twice_is_told_of() {
        let mut scene = Scene::new();
        scene.download(1, 0, 9_000_000_000);
        scene.is_broken(Violation::Untold);
        scene.told["redundant_files"] = json!([{"machine": "m1", "path": "0.bin"}]);
        let findings = scene.check();
        assert!(findings.common.is_clean(), "{findings:?}");
        assert_eq!(findings.copies, 1);
    }

    #[test]
    fn of_a_body_that_was_refused_there_is_no_file() {
        let mut scene = Scene::new();
        let log = scene
            .folder
            .path()
            .join("m1/downloads/.coordinator/results.jsonl");
        let mut lines = fs::read_to_string(&log).expect("readable");
        let fenced = json!({"url": url(0), "outcome": "fenced", "fleet": {"machine": "m1"}});
        lines.push_str(&format!("{fenced}\n"));
        fs::write(&log, &lines).expect("writable");
        let findings = scene.check();
        assert!(findings.common.is_clean(), "{findings:?}");
        assert_eq!(findings.fenced, 1);
        // Its file exists although no other record names it.
        scene.download(1, 0, 9_000_000_000);
        fs::write(&log, lines).expect("writable");
        scene.is_broken(Violation::Leftover);
    }

    #[test]
    fn hosts_are_asked_more_at_once_only_while_their_owner_changes() {
        let mut scene = Scene::new();
        scene.journals[1][0].begun_ns = scene.journals[0][1].begun_ns + 1_000_000;
        scene.is_broken(Violation::OverLimit);
        scene.disturbed_ns = vec![(1_000_000_000, 2_000_000_000)];
        let findings = scene.check();
        assert!(findings.common.is_clean(), "{findings:?}");
        assert_eq!(findings.excess, 1);
        // A single member must always keep to the limit.
        scene.journals[0][0].ended_ns = 1_400_000_000;
        assert_eq!(scene.check().common.count(Violation::OverLimit), 1);
    }

    #[test]
    fn the_program_tells_what_is_there() {
        let mut scene = Scene::new();
        scene.told["outcomes"]["stored"] = 5.into();
        scene.is_broken(Violation::Miscounted);
    }
}
