//! Measures the cost of a fleet, and the resources that its queue needs for a long list. Needs a
//! nats-server, in `PATH` or named by `NATS_SERVER`.
//!
//! ```text
//! cargo bench --features fleet --bench fleet -- members 20000
//! cargo bench --features fleet --bench fleet -- feed 1000000
//! ```
//!
//! `members` prints the files per second of one coordinator without a fleet, and of 1, 2 and 4
//! members. Each has two workers, with 16 downloads in flight. One origin with a latency of 20 ms
//! answers for 10,000 hosts. The rate counts from the first download that begins to the last.
//! `feed` prints the time, the size of the stream, and the peak memory of the feeder and of the
//! server.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark"
)]

#[path = "../tests/fleet/queue.rs"]
mod queue;
#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use queue::{PROGRAM, Queue};
use tempfile::NamedTempFile;

const HOSTS: usize = 10_000;
const MACHINES: [&str; 4] = ["a", "b", "c", "d"];

fn main() {
    let arguments: Vec<_> = std::env::args().filter(|word| word != "--bench").collect();
    let count = arguments.get(2).and_then(|count| count.parse().ok());
    match (arguments.get(1).map(String::as_str), count) {
        (Some("members"), Some(files)) => members(files),
        (Some("feed"), Some(urls)) => feed(urls),
        _ => println!("members FILES, or feed URLS: see benches/fleet.rs"),
    }
}

/// An origin for all members.
struct Origin {
    process: Child,
    /// The file with the origin's addresses.
    announcement: NamedTempFile,
}

impl Origin {
    fn start() -> Self {
        let mut process = Command::new(PROGRAM)
            .args(["origin", "--until-stdin-closes"])
            .args(["--simulate", "size=1KiB,latency=20ms"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let mut announcement = NamedTempFile::new().unwrap();
        announcement.write_all(line.as_bytes()).unwrap();
        Self {
            process,
            announcement,
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

fn members(files: usize) {
    let origin = Origin::start();
    let announcement = origin.announcement.path().to_str().unwrap();
    let options = ["--simulate-via", announcement, "--concurrency", "16"];
    let alone = alone(files, &options);
    println!("no fleet: {alone:.0} files/s");
    for count in [1, 2, 4] {
        let queue = Queue::start_safe();
        let machines = &MACHINES[..count];
        let members = queue.members(machines, &options);
        queue.feed(&queue.list(files, HOSTS));
        for member in members {
            member.finish();
        }
        let logs = machines.iter().map(|machine| {
            let folder = queue.folder().join(machine);
            folder.join(".coordinator/results.jsonl")
        });
        let rate = rate(logs.collect());
        let part = rate / alone * 100.0;
        println!("{count} members: {rate:.0} files/s, {part:.0} % of no fleet");
    }
}

/// Returns the files per second of one coordinator without a fleet.
fn alone(files: usize, options: &[&str]) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.txt");
    let lines = (0..files).map(|n| format!("http://h{}.test/{n}\n", n % HOSTS));
    std::fs::write(&list, lines.collect::<String>()).unwrap();
    let output = folder.path().join("out");
    let ended = Command::new(PROGRAM)
        .arg(&list)
        .arg("--output")
        .arg(&output)
        .args(["--workers", "2", "--quiet"])
        .args(options)
        .status()
        .unwrap();
    assert!(ended.success(), "{ended}");
    rate(vec![output.join(".coordinator/results.jsonl")])
}

#[allow(clippy::cast_precision_loss, reason = "a rate")]
fn rate(logs: Vec<PathBuf>) -> f64 {
    let mut started: Vec<_> = logs.iter().flat_map(|log| queue::started_ms(log)).collect();
    started.sort_unstable();
    let time = started[started.len() - 1] - started[0];
    started.len() as f64 * 1000.0 / time.max(1) as f64
}

fn feed(urls: usize) {
    let queue = Queue::start_safe();
    let begun = Instant::now();
    let mut feeder = queue.feeder();
    let mut peak = 0;
    let mut lines = BufWriter::new(feeder.stdin.take().unwrap());
    for n in 0..urls {
        let host = n % HOSTS;
        writeln!(lines, "https://h{host}.example/archive/document-{n}.tar.gz").unwrap();
        if n % 10_000 == 0 {
            peak = peak.max(peak_kib(feeder.id()));
        }
    }
    lines.flush().unwrap();
    peak = peak.max(peak_kib(feeder.id()));
    drop(lines);
    feeder.wait().unwrap();
    let time = begun.elapsed().as_secs_f64();
    let server = peak_kib(queue.server.id());
    println!("{urls} URLs fed in {time:.1} s");
    println!(
        "peak memory: feeder {} MiB, server {} MiB",
        peak / 1024,
        server / 1024
    );
    let told = queue.run("status", &[]);
    println!("{}", String::from_utf8(told.stdout).unwrap());
}

/// Returns the peak memory of a process, or 0 if it has ended.
fn peak_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|text| text.split_whitespace().next()?.parse().ok());
    peak.unwrap_or_default()
}
