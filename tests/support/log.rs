//! The run log as a user's tool reads it: lines of JSON with the documented keys.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// A line. An unknown key fails, so that no key is added without a change of the tests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub v: u32,
    pub task: u64,
    pub url: String,
    pub final_url: Option<String>,
    pub outcome: String,
    pub status: Option<u16>,
    pub path: Option<String>,
    pub bytes: Option<u64>,
    pub sha256: Option<String>,
    pub content_type: Option<String>,
    pub attempts: u32,
    pub deliveries: u32,
    pub worker: Option<Worker>,
    pub started: Option<String>,
    pub timing_ms: BTreeMap<String, f64>,
    pub error: Option<Problem>,
    pub out: Option<String>,
    pub deaths: Vec<TaskDeath>,
    pub exec: Option<Exec>,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    pub simulated: bool,
    pub md5: Option<String>,
    pub sha1: Option<String>,
    pub sha512: Option<String>,
    pub crc32c: Option<String>,
    pub range: Option<String>,
    pub suggested_name: Option<String>,
    pub server_named: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    pub left: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskDeath {
    pub worker: Worker,
    pub exit: String,
    pub phase: Option<String>,
}

/// A line of the log of deaths.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Death {
    pub v: u32,
    pub time: String,
    pub worker: Worker,
    pub exit: Exit,
    pub killed: Option<String>,
    pub running: Vec<RunningTask>,
    pub queued: usize,
    pub stderr: Vec<String>,
    pub peak_memory: Option<u64>,
    pub oom: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exit {
    pub signal: Option<i32>,
    pub code: Option<i32>,
    pub name: Option<String>,
    pub text: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningTask {
    pub task: u64,
    pub url: String,
    pub phase: Option<String>,
    pub bytes: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    pub slot: u16,
    pub pid: u32,
    pub epoch: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    pub kind: String,
    pub message: String,
}

impl Record {
    /// Returns the kind of failure, or an empty text.
    pub fn kind(&self) -> &str {
        self.error.as_ref().map_or("", |error| &error.kind)
    }

    /// Returns the message of the failure, or an empty text.
    pub fn message(&self) -> &str {
        self.error.as_ref().map_or("", |error| &error.message)
    }
}

/// An output folder.
#[derive(Clone, Debug)]
pub struct Log {
    pub output: PathBuf,
}

impl Log {
    pub fn path(&self) -> PathBuf {
        self.output.join(".coordinator/results.jsonl")
    }

    /// Returns the text so far, without a line that is still being written.
    pub fn text(&self) -> String {
        let mut text = fs::read_to_string(self.path()).unwrap_or_default();
        text.truncate(text.rfind('\n').map_or(0, |at| at + 1));
        text
    }

    /// Returns every record, in order. Skips lines that are not JSON.
    pub fn records(&self) -> Vec<Record> {
        let text = self.text();
        text.lines()
            .filter(|line| serde_json::from_str::<Value>(line).is_ok())
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("not a record as documented: {error}: {line}"))
            })
            .collect()
    }

    pub fn deaths_path(&self) -> PathBuf {
        self.output.join(".coordinator/deaths.jsonl")
    }

    /// Returns every whole line of the log of deaths, in order.
    pub fn deaths(&self) -> Vec<Death> {
        let mut text = fs::read_to_string(self.deaths_path()).unwrap_or_default();
        text.truncate(text.rfind('\n').map_or(0, |at| at + 1));
        text.lines()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("not a death as documented: {error}: {line}"))
            })
            .collect()
    }

    /// Returns the records of this URL.
    pub fn of(&self, url: &str) -> Vec<Record> {
        let mut records = self.records();
        records.retain(|record| record.url == url);
        records
    }

    /// Returns the only record of this URL.
    pub fn one(&self, url: &str) -> Record {
        let mut records = self.of(url);
        assert_eq!(records.len(), 1, "records of {url}: {records:#?}");
        records.remove(0)
    }

    /// Returns the number of records with this outcome.
    pub fn count(&self, outcome: &str) -> usize {
        let records = self.records();
        records.iter().filter(|r| r.outcome == outcome).count()
    }

    /// Returns the content of a record's file on disk.
    pub fn file(&self, record: &Record) -> Vec<u8> {
        let path = record.path.as_ref().expect("a record with a file");
        fs::read(self.output.join(path)).expect("the file of a record is there")
    }

    /// Checks that the file of a stored record has the recorded size and hash, and that the hash is
    /// `expected`.
    pub fn check(&self, record: &Record, expected: &str) {
        assert_eq!(record.outcome, "stored", "{record:#?}");
        let file = self.file(record);
        assert_eq!(record.bytes, Some(file.len() as u64), "{record:#?}");
        assert_eq!(record.sha256.as_deref(), Some(expected), "{record:#?}");
        assert_eq!(super::sha256(&file), expected, "{record:#?}");
    }

    /// Returns the names of the files in the folder for partial bodies.
    pub fn partials(&self) -> Vec<String> {
        let folder = self.output.join(".coordinator/partial");
        let mut all = Vec::new();
        for name in names(&folder) {
            // Each worker has its own folder there.
            match folder.join(&name).is_dir() {
                true => {
                    let inner = names(&folder.join(&name));
                    all.extend(inner.iter().map(|inner| format!("{name}/{inner}")));
                }
                false => all.push(name),
            }
        }
        all
    }

    /// Returns the names of the files in the output folder.
    pub fn files(&self) -> Vec<String> {
        let mut names = names(&self.output);
        names.retain(|name| name != ".coordinator");
        names
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}
