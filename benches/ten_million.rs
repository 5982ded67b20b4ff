//! Measures the cost of a long list: peak memory of the coordinator, time until the first download,
//! and time to resume when 99 of 100 URLs are already recorded.
//!
//! `cargo bench --bench ten_million -- 10000000`; without a number, the list has 100,000 lines. Ten
//! million take about twenty minutes and 7 GB in the folder for temporary files, mostly for the run
//! log. The built-in origin answers, and is not counted. Files that are already stored are hard
//! links, 60,000 to a file, so that there are enough inodes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark"
)]

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};

use coordinator::folder::OwnFolder;
use coordinator::input::UrlKey;
use coordinator::run::log::{Facts, LogReader, LogWriter, RESULTS, Record};
use protocol::{Exchange, Stored, TaskId, Timestamp, Validators};
use rustix::process::{Pid, Signal, kill_process};

const SIZE: u64 = 64;
const LINKS: u64 = 60_000;
const LOOK_EVERY: Duration = Duration::from_millis(100);

fn url(n: u64) -> String {
    format!(
        "https://h{}.example/archive/{:03}/document-{n}.tar.gz",
        n % 1000,
        n % 997
    )
}

/// Returns the path that `--naming hash` gives.
fn path(n: u64) -> String {
    let key = UrlKey::of(&url(n)).to_string();
    format!("{}/{key}.tar.gz", &key[..2])
}

fn record(n: u64) -> Record {
    let facts = Facts {
        ticket: None,
        task: TaskId(n),
        url: url(n),
        path: path(n),
        named: false,
        stored_as: None,
        range: None,
        checksums: Vec::new(),
        attempts: 1,
        deliveries: 1,
        worker: None,
        queue: Duration::from_micros(400),
        deaths: Vec::new(),
    };
    let stored = Stored {
        exchange: Exchange {
            started: Timestamp(1_769_860_800_123_999),
            status: Some(200),
            ..Exchange::default()
        },
        bytes: SIZE,
        sha256: [0xAB; 32],
        content_type: Some("application/octet-stream".to_owned()),
        executed: None,
        validators: Validators::default(),
        modified: None,
        unchanged: false,
        suggested_name: None,
    };
    Record {
        simulated: true,
        ..Record::stored(facts, stored)
    }
}

/// Writes a list of `lines` URLs. The first `stored` of them are stored and recorded in `output`.
fn generate(list: &Path, lines: u64, output: &Path, stored: u64) {
    let mut text = BufWriter::new(File::create(list).unwrap());
    (0..lines).for_each(|n| writeln!(text, "{}", url(n)).unwrap());
    text.flush().unwrap();
    let own = output.join(".coordinator");
    fs::create_dir_all(&own).unwrap();
    let mut log = LogWriter::open(&OwnFolder::named(&own).unwrap()).unwrap();
    let mut file = PathBuf::new();
    for n in 0..stored {
        let place = output.join(path(n));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        if n.is_multiple_of(LINKS) {
            fs::write(&place, [0; SIZE as usize]).unwrap();
            file = place;
        } else {
            fs::hard_link(&file, &place).unwrap();
        }
        log.append(&record(n)).unwrap();
    }
    log.flush().unwrap();
}

struct Measured {
    /// Time until the program started the first download.
    first: Duration,
    whole: Duration,
    /// `VmHWM` (proc_pid_status(5)) of the coordinator, in KiB.
    peak: u64,
    downloads: u64,
}

/// Runs the program on the list with the additional options `more`. With `briefly`, stops it after
/// the first record.
fn run(list: &Path, output: &Path, briefly: bool, more: &[&str]) -> Measured {
    let results = output.join(".coordinator").join(RESULTS);
    let before = fs::metadata(&results).map_or(0, |metadata| metadata.len());
    let (began, clock) = (SystemTime::now(), Instant::now());
    let mut child = Command::new(env!("CARGO_BIN_EXE_coordinator"))
        .arg(list)
        .arg("--output")
        .arg(output)
        .args(["--naming", "hash", "--quiet", "--parallel-max-host", "0"])
        .args(more)
        .arg(format!("--simulate=size={SIZE},latency=0ms"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    let (sender, ended) = channel();
    let waiter = std::thread::spawn(move || {
        let _ = sender.send(child.wait().unwrap());
    });
    let mut peak = 0;
    let status = loop {
        match ended.recv_timeout(LOOK_EVERY) {
            Ok(status) => break status,
            Err(RecvTimeoutError::Disconnected) => panic!("the waiter is gone"),
            Err(RecvTimeoutError::Timeout) => peak = peak_of(pid).unwrap_or(peak),
        }
        if briefly && fs::metadata(&results).is_ok_and(|metadata| metadata.len() > before) {
            let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            let _ = kill_process(pid, Signal::TERM);
        }
    };
    let whole = clock.elapsed();
    waiter.join().unwrap();
    assert!(briefly || status.success(), "{status}");
    let mut log = File::open(&results).unwrap();
    std::io::Seek::seek(&mut log, std::io::SeekFrom::Start(before)).unwrap();
    let (mut first, mut downloads) = (i64::MAX, 0);
    for record in LogReader::new(log) {
        first = first.min(record.unwrap().started.unwrap().as_millis());
        downloads += 1;
    }
    let first = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(first).unwrap());
    Measured {
        first: first.duration_since(began).unwrap_or_default(),
        whole,
        peak,
        downloads,
    }
}

fn peak_of(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn main() {
    let lines = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    let lines: u64 = lines.unwrap_or(100_000);
    let stored = lines - lines / 100;
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("urls.txt");
    let output = folder.path().join("downloads");
    let clock = Instant::now();
    generate(&list, lines, &output, stored);
    println!(
        "{lines} lines, {stored} of them recorded; generated in {:.0?}",
        clock.elapsed()
    );
    let tell = |what: &str, measured: &Measured| {
        println!(
            "{what}: first download after {:.2?}, {} downloads in {:.1?}, peak {:.1} MiB",
            measured.first,
            measured.downloads,
            measured.whole,
            measured.peak as f64 / 1024.0
        );
    };
    tell(
        "nothing recorded",
        &run(&list, &folder.path().join("fresh"), true, &[]),
    );
    tell("the rest", &run(&list, &output, false, &[]));
    tell("nothing left", &run_again(&list, &output, &[]));
    // Every record is read, and shows that its file was checked recently enough.
    let refresh = ["--refresh=36500d"];
    tell("nothing to check", &run_again(&list, &output, &refresh));
}

/// Runs the program when everything is stored, so that the list is only checked. Appends one more
/// URL, so that there is a first download.
fn run_again(list: &Path, output: &Path, more: &[&str]) -> Measured {
    let mut text = fs::OpenOptions::new().append(true).open(list).unwrap();
    writeln!(text, "https://last.example/{}", more.len()).unwrap();
    run(list, output, false, more)
}
