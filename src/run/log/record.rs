//! One line of the run log: its keys, their order, their form.
//!
//! The format is guaranteed to users who read the log with their own tools: keys are only ever
//! added, absent values are null, and [`FormatVersion`] is increased if a key changes its meaning.

use std::time::Duration;

use protocol::{
    Algorithm, ByteRange, Checksum, Epoch, Exchange, Failure, FailureKind, Phase, SlotId, Stored,
    TaskId, Timestamp, WorkerId,
};
use serde::{Deserialize, Serialize};

use super::form::{Digest, FormatVersion, Moment, RecordedExec};
use super::timing::RecordedTiming;
use crate::input::Ticket;

/// One finished task. Fields are in the order of the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of the format.
    pub v: FormatVersion,
    /// The task's number in the run that wrote the line.
    pub task: TaskId,
    /// Its normalised URL, which resume uses as the key.
    pub url: String,
    /// The URL after redirects, or the last mirror, if it differs.
    pub final_url: Option<String>,
    /// Its outcome.
    pub outcome: Outcome,
    /// Status of the last response.
    pub status: Option<u16>,
    /// The path of the file, relative to the output folder, if there is one.
    pub path: Option<String>,
    /// Size of the file.
    pub bytes: Option<u64>,
    /// SHA-256 of the file.
    pub sha256: Option<Digest>,
    /// `Content-Type` of the response.
    pub content_type: Option<String>,
    /// Number of attempts.
    pub attempts: u32,
    /// Number of deliveries: the first, and one for each death of its worker or expired lease.
    pub deliveries: u32,
    /// Its last worker.
    pub worker: Option<RecordedWorker>,
    /// When that worker started it.
    pub started: Option<Moment>,
    /// The time of each phase.
    pub timing_ms: RecordedTiming,
    /// The error, if it failed.
    pub error: Option<Problem>,
    /// The name that the list gave the file, relative to the output folder. Part of the key for
    /// resume.
    #[serde(default)]
    pub out: Option<String>,
    /// The workers that died while it ran in this run, at most the last [`MAX_DEATHS`]. Logs of
    /// earlier versions lack the key.
    #[serde(default)]
    pub deaths: Vec<RecordedDeath>,
    /// The file after the program of `--exec`, if it ran.
    #[serde(default)]
    pub exec: Option<RecordedExec>,
    /// The file's entity tag, as the server sent it, which `--refresh` uses.
    #[serde(default)]
    pub etag: Option<String>,
    /// Its `Last-Modified`, if that distinguishes its states.
    #[serde(default)]
    pub last_modified: Option<String>,
    /// Whether the run was simulated (`--simulate`), so that the file is not the one that the URL
    /// names. Logs of earlier versions lack the key, and count as real.
    #[serde(default)]
    pub simulated: bool,
    /// MD5 of the file, if the list had it. The same applies to the next three keys.
    #[serde(default)]
    pub md5: Option<String>,
    /// SHA-1 of the file.
    #[serde(default)]
    pub sha1: Option<String>,
    /// SHA-512 of the file.
    #[serde(default)]
    pub sha512: Option<String>,
    /// CRC-32C of the file.
    #[serde(default)]
    pub crc32c: Option<String>,
    /// The part of the resource that the list asked for, `first-last`. Part of the key for resume.
    #[serde(default)]
    pub range: Option<String>,
    /// The name for the file that the server suggested (`Content-Disposition`). Logs of earlier
    /// versions lack the key.
    #[serde(default)]
    pub suggested_name: Option<String>,
    /// Whether the file has that name (`--remote-header-name`), and not the one from its URL. Logs
    /// of earlier versions lack the key.
    #[serde(default)]
    pub server_named: bool,
    /// Where the task belongs in a fleet's list. Logs of earlier versions and logs of runs outside
    /// a fleet lack the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Ticket>,
}

/// Maximum number of deaths that are listed in a record, so that a line stays short.
pub const MAX_DEATHS: usize = 100;

/// A delivery that ended in the death of the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedDeath {
    /// The worker that died.
    pub worker: RecordedWorker,
    /// The cause of death, as text.
    pub exit: String,
    /// The phase of the task, if the worker had reported it.
    pub phase: Option<Phase>,
}

/// The outcome of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its file was downloaded and is in place.
    Stored,
    /// Its file was already in place, and the server says that it is still current.
    Unchanged,
    /// The list names the same URL earlier, and that task has the file.
    Duplicate,
    /// It failed permanently, or used all its attempts.
    Failed,
    /// It killed the allowed number of workers.
    Quarantined,
    /// Its body was not put in place, because its partition of a fleet was lost before: that is no
    /// outcome of the URL, which another member has, or this one later.
    Fenced,
}

impl Outcome {
    /// Returns whether the record says that a file is in place.
    #[must_use]
    pub const fn has_file(self) -> bool {
        match self {
            Self::Stored | Self::Unchanged => true,
            Self::Duplicate | Self::Failed | Self::Quarantined | Self::Fenced => false,
        }
    }
}

/// A worker, as named in the run log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedWorker {
    /// Its slot.
    pub slot: SlotId,
    /// Its process id. It is that of the coordinator if workers are not processes.
    pub pid: u32,
    /// Its epoch.
    pub epoch: Epoch,
}

impl RecordedWorker {
    /// Creates the entry of worker `id`, which runs as process `pid`.
    #[must_use]
    pub const fn new(id: WorkerId, pid: u32) -> Self {
        Self {
            slot: id.slot,
            pid,
            epoch: id.epoch,
        }
    }
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind of failure, from a closed list.
    pub kind: FailureKind,
    /// One line for people.
    pub message: String,
}

/// The facts that the coordinator knows about a task, whatever its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its number.
    pub task: TaskId,
    /// Its URL, normalised.
    pub url: String,
    /// The path for its file, relative to the output folder.
    pub path: String,
    /// Whether the list itself gives that path.
    pub named: bool,
    /// Its actual path, if that differs because its server suggested the name.
    pub stored_as: Option<Box<str>>,
    /// The part of the resource that the list asked for.
    pub range: Option<ByteRange>,
    /// The checksums that the list gives for the file.
    pub checksums: Vec<Checksum>,
    /// Where it belongs in a fleet's list.
    pub ticket: Option<Ticket>,
    /// Number of attempts.
    pub attempts: u32,
    /// Number of deliveries, including the first.
    pub deliveries: u32,
    /// Its last worker.
    pub worker: Option<RecordedWorker>,
    /// Time that it was ready before that worker started it.
    pub queue: Duration,
    /// The workers that died while it ran.
    pub deaths: Vec<RecordedDeath>,
}

impl Record {
    /// Creates the record of a task whose file is in place: stored now, or found to be current.
    #[must_use]
    pub fn stored(facts: Facts, stored: Stored) -> Self {
        let outcome = match stored.unchanged {
            true => Outcome::Unchanged,
            false => Outcome::Stored,
        };
        // A file in place has all these checksums, because they were verified.
        let listed = |algorithm| {
            let mut checksums = facts.checksums.iter();
            checksums
                .find(|checksum| checksum.algorithm == algorithm)
                .map(Checksum::hex)
        };
        Self {
            path: Some(facts.stored_as.as_deref().unwrap_or(&facts.path).to_owned()),
            server_named: facts.stored_as.is_some(),
            bytes: Some(stored.bytes),
            sha256: Some(Digest(stored.sha256)),
            md5: listed(Algorithm::Md5),
            sha1: listed(Algorithm::Sha1),
            sha512: listed(Algorithm::Sha512),
            crc32c: listed(Algorithm::Crc32c),
            content_type: stored.content_type,
            exec: stored.executed.map(RecordedExec::from),
            etag: stored.validators.etag,
            last_modified: stored.validators.last_modified,
            suggested_name: stored.suggested_name,
            ..Self::new(facts, outcome, stored.exchange)
        }
    }

    /// Creates the record of a task that failed. It has no file, and so no path.
    #[must_use]
    pub fn failed(facts: Facts, failure: Failure) -> Self {
        Self {
            error: Some(Problem {
                kind: failure.kind,
                message: failure.message,
            }),
            ..Self::new(facts, Outcome::Failed, failure.exchange)
        }
    }

    /// Creates the record of a task that killed the allowed number of workers. `message` says how
    /// the last one died.
    #[must_use]
    pub fn quarantined(facts: Facts, message: String) -> Self {
        Self {
            error: Some(Problem {
                kind: FailureKind::WorkerDied,
                message,
            }),
            ..Self::new(facts, Outcome::Quarantined, Exchange::default())
        }
    }

    /// Creates the record of a task that has the same URL as an earlier task, which has the file.
    #[must_use]
    pub fn duplicate(facts: Facts) -> Self {
        Self {
            path: Some(facts.path.clone()),
            ..Self::new(facts, Outcome::Duplicate, Exchange::default())
        }
    }

    /// Returns the record of a task whose body was not placed.
    #[must_use]
    pub fn fenced(facts: Facts, exchange: Exchange) -> Self {
        Self::new(facts, Outcome::Fenced, exchange)
    }

    /// Returns the checksum of the file by `algorithm`, if it is recorded.
    #[must_use]
    pub fn checksum(&self, algorithm: Algorithm) -> Option<Checksum> {
        let text = match algorithm {
            Algorithm::Md5 => self.md5.as_deref(),
            Algorithm::Sha1 => self.sha1.as_deref(),
            Algorithm::Sha256 => {
                return self.sha256.map(|Digest(digest)| Checksum {
                    algorithm,
                    digest: digest.into(),
                });
            }
            Algorithm::Sha512 => self.sha512.as_deref(),
            Algorithm::Crc32c => self.crc32c.as_deref(),
        };
        text.and_then(|text| Checksum::parse(algorithm, text))
    }

    fn new(facts: Facts, outcome: Outcome, exchange: Exchange) -> Self {
        Self {
            v: FormatVersion,
            task: facts.task,
            url: facts.url,
            final_url: exchange.final_url,
            outcome,
            status: exchange.status,
            path: None,
            bytes: None,
            sha256: None,
            content_type: None,
            attempts: facts.attempts,
            deliveries: facts.deliveries,
            worker: facts.worker,
            // The default value means that no exchange began.
            started: (exchange.started != Timestamp::default())
                .then(|| Moment::from(exchange.started)),
            timing_ms: RecordedTiming::new(facts.queue, &exchange.timing),
            error: None,
            out: facts.named.then_some(facts.path),
            deaths: facts.deaths,
            exec: None,
            etag: None,
            last_modified: None,
            md5: None,
            sha1: None,
            sha512: None,
            crc32c: None,
            range: facts.range.map(|range| range.to_string()),
            simulated: false,
            suggested_name: None,
            server_named: false,
            fleet: facts.ticket,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::option;
    use proptest::prelude::*;
    use protocol::{Timing, Validators};

    use super::super::form::Millis;
    use super::*;

    pub(in crate::run) fn facts(task: u64, url: &str) -> Facts {
        Facts {
            task: TaskId(task),
            url: url.into(),
            path: "b-ruqbcp5fgr3tvkvo.txt".into(),
            named: false,
            stored_as: None,
            range: None,
            ticket: None,
            checksums: Vec::new(),
            attempts: 1,
            deliveries: 2,
            worker: Some(RecordedWorker {
                slot: SlotId(2),
                pid: 4711,
                epoch: Epoch(1),
            }),
            queue: Duration::from_micros(400),
            deaths: Vec::new(),
        }
    }

    pub(in crate::run) fn stored(bytes: u64) -> Stored {
        Stored {
            exchange: Exchange {
                cookies: Vec::new(),
                started: Timestamp(1_769_860_800_123_999),
                timing: Timing {
                    resolve: Duration::from_nanos(100_999),
                    connect: Duration::from_micros(300),
                    tls: Duration::ZERO,
                    first_byte: Duration::from_micros(101_200),
                    body: Duration::from_millis(2),
                    store: Duration::from_micros(1),
                    exec: Duration::from_millis(3),
                },
                status: Some(200),
                final_url: Some("https://h/b".into()),
                spans: Vec::new(),
            },
            bytes,
            sha256: [0xAB; 32],
            content_type: Some("text/plain; charset=\"utf-8\"".into()),
            executed: Some(protocol::Executed { left: Some(bytes) }),
            validators: Validators {
                etag: Some("W/\"a\"".into()),
                last_modified: None,
            },
            modified: None,
            unchanged: false,
            suggested_name: None,
        }
    }

    pub(in crate::run) fn failure() -> Failure {
        Failure {
            exchange: Exchange::default(),
            kind: FailureKind::TooManyRedirects,
            message: "gave up\nat \u{1b}[1m\"h\"".into(),
            severity: protocol::Severity::Permanent,
        }
    }

    #[test]
    fn a_line_reads_as_documented() {
        let record = Record::stored(facts(17, "https://h/a"), stored(5120));
        let expected = concat!(
            r#"{"v":1,"task":17,"url":"https://h/a","final_url":"https://h/b","outcome":"stored","#,
            r#""status":200,"path":"b-ruqbcp5fgr3tvkvo.txt","bytes":5120,"sha256":""#,
            "abababababababababababababababababababababababababababababababab",
            r#"","content_type":"text/plain; charset=\"utf-8\"","attempts":1,"deliveries":2,"#,
            r#""worker":{"slot":2,"pid":4711,"epoch":1},"started":"2026-01-31T12:00:00.123Z","#,
            r#""timing_ms":{"queue":0.4,"resolve":0.1,"connect":0.3,"tls":0,"first_byte":101.2,"#,
            r#""body":2,"store":0.001,"exec":3},"error":null,"out":null,"deaths":[],"#,
            r#""exec":{"left":5120},"etag":"W/\"a\"","last_modified":null,"simulated":false,"md5":null,"sha1":null,"sha512":null,"crc32c":null,"range":null,"suggested_name":null,"server_named":false}"#,
        );
        assert_eq!(
            serde_json::to_string(&record).expect("it is JSON"),
            expected
        );
    }

    #[test]
    fn what_is_absent_is_null() {
        let mut facts = facts(18, "https://h/a");
        facts.worker = None;
        facts.queue = Duration::ZERO;
        let line = |record: &Record| serde_json::to_string(record).expect("it is JSON");
        let zero = r#""timing_ms":{"queue":0,"resolve":0,"connect":0,"tls":0,"first_byte":0,"body":0,"store":0,"exec":0}"#;
        let failed = format!(
            "{}{zero}{}",
            concat!(
                r#"{"v":1,"task":18,"url":"https://h/a","final_url":null,"outcome":"failed","#,
                r#""status":null,"path":null,"bytes":null,"sha256":null,"content_type":null,"#,
                r#""attempts":1,"deliveries":2,"worker":null,"started":null,"#,
            ),
            r#","error":{"kind":"too_many_redirects","message":"gave up\nat \u001b[1m\"h\""},"out":null,"deaths":[],"exec":null,"etag":null,"last_modified":null,"simulated":false,"md5":null,"sha1":null,"sha512":null,"crc32c":null,"range":null,"suggested_name":null,"server_named":false}"#,
        );
        assert_eq!(line(&Record::failed(facts.clone(), failure())), failed);
        let quarantined = line(&Record::quarantined(facts.clone(), "signal 9".into()));
        let end = concat!(
            r#","error":{"kind":"worker_died","message":"signal 9"},"out":null,"deaths":[],"#,
            r#""exec":null,"etag":null,"last_modified":null,"simulated":false,"md5":null,"sha1":null,"sha512":null,"crc32c":null,"range":null,"suggested_name":null,"server_named":false}"#
        );
        assert!(quarantined.contains(r#""outcome":"quarantined""#) && quarantined.ends_with(end));
        let duplicate = line(&Record::duplicate(facts));
        let path =
            r#""outcome":"duplicate","status":null,"path":"b-ruqbcp5fgr3tvkvo.txt","bytes":null"#;
        assert!(duplicate.contains(path), "{duplicate}");
    }

    #[test]
    fn logs_of_earlier_versions_lack_the_last_keys_and_read() {
        let mut facts = facts(1, "https://h/");
        let phases = [Phase::Requesting, Phase::Receiving, Phase::Storing];
        facts.deaths = phases
            .map(|phase| RecordedDeath {
                worker: facts.worker.expect("it has one"),
                exit: "signal 11 (SIGSEGV)".into(),
                phase: Some(phase),
            })
            .into();
        facts.deaths[0].phase = None;
        let record = Record::quarantined(facts, "signal 11".into());
        let line = serde_json::to_string(&record).expect("it is JSON");
        let worker = r#"{"worker":{"slot":2,"pid":4711,"epoch":1},"exit":"signal 11 (SIGSEGV)","#;
        let deaths = format!(
            r#","deaths":[{worker}"phase":null}},{worker}"phase":"receiving"}},{worker}"phase":"storing"}}],"exec":null,"etag":null,"last_modified":null,"simulated":false,"md5":null,"sha1":null,"sha512":null,"crc32c":null,"range":null,"suggested_name":null,"server_named":false}}"#
        );
        assert!(line.ends_with(&deaths), "{line}");
        let earlier = line.replace(&deaths, "}");
        let read: Record = serde_json::from_str(&earlier).expect("it reads");
        assert_eq!((&read.deaths[..], &read.etag), (&[][..], &None));
        assert!(!read.simulated, "what has no mark is real");
        assert_eq!(read.error, record.error);
    }

    #[test]
    fn every_kind_of_failure_has_its_documented_name() {
        for kind in FailureKind::ALL {
            let written = serde_json::to_string(&kind).expect("it is JSON");
            assert_eq!(written, format!("\"{}\"", kind.name()));
        }
    }

    #[test]
    fn another_version_is_refused() {
        let record = Record::duplicate(facts(1, "https://h/"));
        let line = serde_json::to_string(&record).expect("it is JSON");
        let error = serde_json::from_str::<Record>(&line.replace("\"v\":1", "\"v\":2"));
        let error = error.expect_err("version 2 is unknown").to_string();
        assert!(error.starts_with("version 2 of the run log"), "{error}");
    }

    prop_compose! {
        fn timing()(us in prop::array::uniform8(prop_oneof![0..3_000_000_u64, any::<u64>()])) -> RecordedTiming {
            let [queue, resolve, connect, tls, first_byte, body, store, exec] =
                us.map(|us| Millis::from(Duration::from_micros(us)));
            RecordedTiming { queue, resolve, connect, tls, first_byte, body, store, exec }
        }
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop::sample::select(vec![
            Outcome::Stored,
            Outcome::Unchanged,
            Outcome::Duplicate,
            Outcome::Failed,
            Outcome::Quarantined,
            Outcome::Fenced,
        ])
    }

    prop_compose! {
        fn worker()(slot: u16, pid: u32, epoch: u32) -> RecordedWorker {
            RecordedWorker::new(WorkerId { slot: SlotId(slot), epoch: Epoch(epoch) }, pid)
        }
    }

    prop_compose! {
        fn problem()(kind in prop::sample::select(&FailureKind::ALL), message: String) -> Problem {
            Problem { kind, message }
        }
    }

    prop_compose! {
        fn death()(worker in worker(), exit: String, phase in option::of(Just(Phase::Storing))) -> RecordedDeath {
            RecordedDeath { worker, exit, phase }
        }
    }

    prop_compose! {
        pub(in crate::run) fn any_record()(
            (task, url, final_url, outcome) in
                (any::<u64>(), any::<String>(), any::<Option<String>>(), outcome()),
            (status, path, bytes, sha256) in
                (any::<Option<u16>>(), any::<Option<String>>(), any::<Option<u64>>(), any::<Option<[u8; 32]>>()),
            (content_type, attempts, deliveries) in (any::<Option<String>>(), any::<u32>(), any::<u32>()),
            worker in option::of(worker()),
            started in any::<Option<i64>>(),
            timing_ms in timing(),
            (error, out) in (option::of(problem()), any::<Option<String>>()),
            deaths in prop::collection::vec(death(), 0..3),
            (etag, last_modified, left) in (any::<Option<String>>(), any::<Option<String>>(), any::<Option<Option<u64>>>()),
            (md5, sha1, sha512, crc32c, range) in any::<(Option<String>, Option<String>, Option<String>, Option<String>, Option<String>)>(),
            (simulated, server_named) in any::<(bool, bool)>(),
            suggested_name: Option<String>,
            fleet in option::of(ticket()),
        ) -> Record {
            Record {
                v: FormatVersion,
                task: TaskId(task),
                url, final_url, outcome, status, path, bytes,
                sha256: sha256.map(Digest),
                content_type, attempts, deliveries, worker,
                started: started.map(|micros| Moment::from(Timestamp(micros))),
                timing_ms, error, out, deaths, etag, last_modified, exec: left.map(|left| RecordedExec { left }),
                md5, sha1, sha512, crc32c, range, simulated, suggested_name, server_named,
                fleet,
            }
        }
    }

    prop_compose! {
        fn ticket()(run: String, machine: String, partition: u16, epoch: u64, task: u64) -> Ticket {
            Ticket { run, machine, partition, epoch, task }
        }
    }

    proptest! {
        #[test]
        fn any_record_is_one_line_and_reads_back(record in any_record()) {
            let line = serde_json::to_string(&record).expect("it is JSON");
            prop_assert!(!line.contains(['\n', '\r']));
            prop_assert_eq!(serde_json::from_str::<Record>(&line).expect("it reads back"), record);
        }
    }
}
