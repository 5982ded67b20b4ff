//! Measures how fast lists are read, and how fast run logs are written, read, indexed and reported.
//!
//! Files go to the folder for temporary files. A memory file system excludes the disk:
//! `TMPDIR=/dev/shm cargo bench --bench lists`.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::fs::{self, File};
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use coordinator::folder::OwnFolder;
use coordinator::input::{self, UrlKey};
use coordinator::run::log::{Facts, LogReader, LogWriter, RESULTS, Record};
use coordinator::run::resume::{Detail, Index, IndexError, Source};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protocol::{Exchange, Failure, FailureKind, Severity, Stored, TaskId, Timestamp, Validators};

const LINES: u64 = 100_000;

/// Records in the log of the `results` benchmark: more than fit into the table that tracks them.
const RECORDS: u64 = 1_000_000;

fn url(n: u64) -> String {
    format!(
        "https://files.example.org/archive/{:03}/document-{n}.tar.gz",
        n % 997
    )
}

fn facts(n: u64) -> Facts {
    Facts {
        ticket: None,
        task: TaskId(n),
        url: url(n),
        path: format!("document-{n}-0123456789abcdef.tar.gz"),
        named: false,
        stored_as: None,
        range: None,
        checksums: Vec::new(),
        attempts: 1,
        deliveries: 1,
        worker: None,
        queue: Duration::from_micros(400),
        deaths: Vec::new(),
    }
}

fn record(n: u64) -> Record {
    let stored = Stored {
        exchange: Exchange {
            started: Timestamp(1_769_860_800_123_999),
            status: Some(200),
            ..Exchange::default()
        },
        bytes: n,
        sha256: [0xAB; 32],
        content_type: Some("text/plain".to_owned()),
        executed: None,
        validators: Validators::default(),
        modified: None,
        unchanged: false,
        suggested_name: None,
    };
    Record::stored(facts(n), stored)
}

fn failed(n: u64) -> Record {
    let failure = Failure {
        exchange: Exchange {
            started: Timestamp(1_769_860_800_123_999),
            status: Some(404),
            ..Exchange::default()
        },
        kind: FailureKind::Status,
        message: "the server answered 404 Not Found".to_owned(),
        severity: Severity::Permanent,
    };
    Record::failed(facts(n), failure)
}

fn load(results: &Path, folder: &Path) -> Result<Index, IndexError> {
    let source = Source {
        results: Some(File::open(results).unwrap()),
        path: results,
        folder: folder.to_owned(),
        kept: None,
    };
    let mut index = Index::load(source, Detail::Size)?;
    index.seal()?;
    Ok(index)
}

fn lists(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("urls.txt");
    let text: String = (0..LINES).map(|n| url(n) + "\n").collect();
    fs::write(&list, text).unwrap();
    let records: Vec<_> = (0..LINES).map(record).collect();
    let mut log = LogWriter::open(&OwnFolder::named(folder.path()).unwrap()).unwrap();
    for record in &records {
        log.append(record).unwrap();
    }
    log.flush().unwrap();
    drop(log);
    let results = folder.path().join(RESULTS);

    let options = std::sync::Arc::default();
    let mut group = c.benchmark_group("lists");
    group
        .throughput(Throughput::Elements(LINES))
        .sample_size(20);
    group.bench_function("list to targets", |b| {
        b.iter(|| {
            let lines = input::read(&input::Source::File(list.clone()), &options).unwrap();
            lines
                .map(|line| line.entry.unwrap().path.len())
                .sum::<usize>()
        });
    });
    group.bench_function("records written", |b| {
        b.iter(|| {
            let folder = tempfile::tempdir().unwrap();
            let mut log = LogWriter::open(&OwnFolder::named(folder.path()).unwrap()).unwrap();
            for record in &records {
                log.append(record).unwrap();
            }
            log.flush().unwrap();
        });
    });
    group.bench_function("briefs read", |b| {
        b.iter(|| {
            let mut reader = LogReader::open(&results).unwrap();
            let mut bytes = 0;
            while let Some(brief) = reader.next_brief() {
                bytes += brief.unwrap().bytes.unwrap();
            }
            bytes
        });
    });
    group.bench_function("index loaded", |b| {
        b.iter(|| load(&results, folder.path()).unwrap());
    });
    let index = load(&results, folder.path()).unwrap();
    let keys: Vec<_> = (0..LINES).map(|n| UrlKey::of(&url(n))).collect();
    group.bench_function("looked up", |b| {
        b.iter(|| {
            keys.iter()
                .filter(|key| black_box(index.state(key).unwrap()).is_some())
                .count()
        });
    });
    group.finish();
}

/// Measures the whole program, from its start to its end.
fn results(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join(".coordinator");
    fs::create_dir(&own).unwrap();
    let mut log = LogWriter::open(&OwnFolder::named(&own).unwrap()).unwrap();
    for n in 0..RECORDS {
        let record = if n % 50 == 0 { failed(n) } else { record(n) };
        log.append(&record).unwrap();
    }
    log.flush().unwrap();
    let mut group = c.benchmark_group("results");
    group
        .throughput(Throughput::Elements(RECORDS))
        .sample_size(10);
    for form in ["--json", "--failed", "--stored"] {
        group.bench_function(form, |b| {
            b.iter(|| {
                let status = Command::new(env!("CARGO_BIN_EXE_coordinator"))
                    .args(["results", form])
                    .arg(folder.path())
                    .stdout(Stdio::null())
                    .status();
                assert!(status.unwrap().success());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lists, results);
criterion_main!(benches);
