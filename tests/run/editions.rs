//! Output folders of the first edition can be continued. `fixtures/README.md` describes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::origin::{addr, announcement};
use crate::support::run::Job;
use crate::support::{Ended, Run, sha256, simulated_sha256};

/// The origin's specification.
const SPEC: &str = "size=512..1KiB,latency=0ms";

const CHANGED: &str = "size=512..1KiB,latency=0ms,changed=50%";

/// URLs in the list of each fixture.
const COUNT: usize = 24;

/// A run in an output folder of the first edition, and its server.
struct Edition {
    run: Run,
    server: Run,
    /// The server's process. Dropping it kills the process.
    _job: Job,
    /// The run log before the run.
    log: String,
}

impl Edition {
    fn of(name: &str, spec: &str) -> Self {
        let server = Run::new().with("origin --journal journal --simulate");
        let server = server.arg(spec);
        let job = server.start();
        let proxy = addr(&announcement(&job), "http");
        let list = (1..=COUNT).map(|number| format!("http://a.example/{number}"));
        let run = Run::new()
            .list(list)
            .with(&format!("--workers 3 --proxy http://{proxy} --noproxy"))
            .arg("");
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run/fixtures");
        // Modification times matter, and so do modes, regardless of the umask.
        let unpacked = Command::new("tar")
            .args([
                "--extract",
                "--gzip",
                "--same-permissions",
                "--no-same-owner",
            ])
            .arg("--file")
            .arg(fixture.join(name))
            .arg("--directory")
            .arg(run.path(""))
            .status();
        assert!(unpacked.unwrap().success(), "{name}");
        let log = fs::read_to_string(run.path("downloads/.coordinator/results.jsonl")).unwrap();
        Self {
            run,
            server,
            _job: job,
            log,
        }
    }

    /// Returns the latest record of each URL.
    fn records(log: &str) -> BTreeMap<String, Value> {
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .map(|record: Value| (record["url"].as_str().unwrap().to_owned(), record))
            .collect()
    }

    fn recorded(&self) -> BTreeSet<String> {
        Self::records(&self.log).into_keys().collect()
    }

    /// Returns the requested URLs.
    fn asked(&self) -> Vec<String> {
        let journal = fs::read_to_string(self.server.path("journal")).unwrap_or_default();
        let lines = journal
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let mut asked: Vec<_> = lines
            .map(|seen: Value| format!("http://{}", seen["url"].as_str().unwrap()))
            .collect();
        asked.sort();
        asked
    }

    /// Returns the URLs without a record, in the order of [`asked`](Self::asked).
    fn rest(&self) -> Vec<String> {
        let recorded = self.recorded();
        let list = (1..=COUNT).map(|number| format!("http://a.example/{number}"));
        let rest: BTreeSet<_> = list.filter(|url| !recorded.contains(url)).collect();
        rest.into_iter().collect()
    }

    /// Finishes the run. Checks that the whole list is stored, and that new records follow the old.
    fn finish(&self, spec: &str) -> (Ended, BTreeMap<String, Value>) {
        let ended = self.run.finish().code(0);
        let log = self.run.log().text();
        let added = log.strip_prefix(&self.log).expect("the log goes on");
        let added = Self::records(added);
        let records = Self::records(&log);
        assert_eq!(records.len(), COUNT);
        for (url, record) in records {
            let path = record["path"].as_str().unwrap();
            let stored = fs::read(self.run.path("downloads").join(path)).unwrap();
            assert_eq!(sha256(&stored), simulated_sha256(spec, &url), "{record}");
        }
        assert_eq!(self.run.log().partials(), [""; 0]);
        (ended, added)
    }

    /// Checks that the modes were loose, and that only the first run reports it.
    fn is_tightened(&self, first: &Ended) {
        let told = "other users could look into";
        let count = |ended: &Ended| ended.stderr.matches(told).count();
        let again = self.run.finish().code(0);
        assert_eq!((count(first), count(&again)), (1, 0), "{}", first.text());
        for (name, wanted) in [("", 0o700), ("results.jsonl", 0o600), ("partial", 0o700)] {
            let path = self.run.path("downloads/.coordinator").join(name);
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, wanted, "{}", path.display());
        }
    }
}

#[test]
fn a_folder_that_was_left_by_a_killed_run_goes_on_without_what_is_recorded() {
    let edition = Edition::of("killed.tar.gz", SPEC);
    // Partial bodies are valid for one boot of the machine only: pretend that it was this one.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for name in edition.run.log().partials() {
        let path = edition
            .run
            .path("downloads/.coordinator/partial")
            .join(name);
        if path.to_str().unwrap().ends_with("~note") {
            let mut note: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            note["boot"] = boot.trim().into();
            fs::write(&path, note.to_string()).unwrap();
        }
    }
    let rest = edition.rest();
    assert_eq!(rest.len(), 7);
    let (ended, added) = edition.finish(SPEC);
    assert_eq!(edition.asked(), rest);
    assert!(added.keys().eq(&rest), "{added:#?}");
    ended.says(&[
        "2 partial bodies of an earlier version are dropped",
        "start over",
    ]);
    edition.is_tightened(&ended);
    assert_eq!(edition.asked(), rest, "all of it is recorded");
}

#[test]
fn a_folder_with_commands_runs_them_on_what_is_not_recorded_and_on_nothing_else() {
    let edition = Edition::of("command.tar.gz", SPEC);
    let ran = edition.run.path("ran");
    let script = format!("echo \"$COORDINATOR_URL\" >> '{}'", ran.display());
    let edition = Edition {
        run: edition
            .run
            .script("script", &script)
            .with("--exec ./script"),
        ..edition
    };
    let rest = edition.rest();
    assert_eq!(rest.len(), 14);
    let (ended, added) = edition.finish(SPEC);
    assert_eq!(
        edition.asked(),
        rest,
        "a file without a record counts for nothing"
    );
    assert!(added.keys().eq(&rest), "{added:#?}");
    let text = fs::read_to_string(ran).unwrap();
    let mut ran: Vec<_> = text.lines().collect();
    ran.sort();
    assert_eq!(ran, rest);
    edition.is_tightened(&ended);
}

#[test]
fn a_folder_in_which_a_refresh_was_killed_is_complete_and_can_be_refreshed() {
    let edition = Edition::of("refresh.tar.gz", CHANGED);
    assert_eq!(edition.rest(), [""; 0]);
    let ended = edition.run.finish().code(0);
    // The killed run had placed a new file for it, without a record.
    assert_eq!(edition.asked(), ["http://a.example/14"]);
    edition.is_tightened(&ended);
    // URLs that the killed run had checked are current.
    let seen: BTreeSet<_> = Edition::records(
        &edition
            .log
            .lines()
            .skip(COUNT)
            .fold(String::new(), |text, line| text + line + "\n"),
    )
    .into_keys()
    .collect();
    assert_eq!(seen.len(), 11);
    let edition = Edition {
        run: edition.run.with("--refresh"),
        ..edition
    };
    let (_, added) = edition.finish(CHANGED);
    assert_eq!(edition.asked().len(), 1 + COUNT);
    for (url, record) in &added {
        let current = record["outcome"] == "unchanged";
        assert!(current || !seen.contains(url), "{record}");
    }
    let changed = added
        .values()
        .filter(|record| record["outcome"] == "stored");
    assert!(changed.count() > 0, "{added:#?}");
}
