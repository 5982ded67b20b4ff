//! `--inject`: every fault, in real processes, and how the run handles it.

use std::collections::{BTreeMap, BTreeSet};

use lab::inject::Spec;
use protocol::{Epoch, SlotId, WorkerId};
use serde::Deserialize;

use crate::support::run::urls;
use crate::support::{Ended, Run, simulated_sha256};

const ORIGIN: &str = "size=2KiB,latency=1ms";
/// Each URL takes a while, so that signals can arrive in between.
const SLOW: &str = "size=2KiB,latency=20ms";
const ENGINES: [&str; 2] = ["--engine blocking", "--engine async"];

/// A run over a simulated list with these faults.
fn run(list: &[String], inject: &str, more: &str) -> Run {
    run_against(ORIGIN, list, inject, more)
}

/// Signals arrive at a fixed rate, however slow the machine is. With these options the run survives
/// workers that die before they did anything, and URLs that are hit many times.
const PATIENT: &str = "--restart-intensity 100000/1m --max-deliveries 1000";

fn run_against(origin: &str, list: &[String], inject: &str, more: &str) -> Run {
    Run::new()
        .list(list)
        .with("--parallel-max-host 0 --retry 0")
        .with(&format!("--simulate={origin} --inject {inject}"))
        .with(more)
}

/// Checks that each URL of `list` is stored once with the right bytes, and that the summary
/// mentions the faults.
fn all_stored(run: &Run, ended: &Ended, list: &[String]) {
    let log = run.log();
    for url in list {
        // The body does not depend on the latency.
        log.check(&log.one(url), &simulated_sha256(ORIGIN, url));
    }
    assert_eq!(log.files().len(), list.len());
    assert!(
        ended.stdout.contains("\nfaults were injected: --inject "),
        "{}",
        ended.text()
    );
}

/// Returns the number of deliveries of each URL.
fn deliveries(run: &Run) -> BTreeMap<String, u32> {
    let records = run.log().records().into_iter();
    records
        .map(|record| (record.url, record.deliveries))
        .collect()
}

/// A line of the journal.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Injected {
    time_us: i64,
    monotonic_ns: u64,
    fault: String,
    worker: Worker,
    pid: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Worker {
    slot: u16,
    epoch: u32,
}

/// Returns the journal of the default output folder.
fn journal(run: &Run) -> Vec<Injected> {
    let path = run.log().output.join(".coordinator/injected.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Checks that every URL is stored on both engines although `fault` hits each once.
fn each_url_survives(fault: &str, more: &str, death: &str) {
    each_of(10, fault, more, death);
}

fn each_of(count: usize, fault: &str, more: &str, death: &str) {
    let list = urls("https://a.example", count);
    for engine in ENGINES {
        let run = run(
            &list,
            &format!("{fault}=100%"),
            &format!("{engine} --workers 2 {more}"),
        );
        let ended = run.finish().code(0);
        all_stored(&run, &ended, &list);
        assert_eq!(
            ended.summary("worker deaths"),
            count as u64,
            "{}",
            ended.text()
        );
        ended.says(&["died with", death]);
        assert!(deliveries(&run).values().all(|&times| times == 2));
    }
}

#[test]
fn a_segfault_for_each_url_costs_a_delivery_each() {
    each_url_survives("segv", "", "signal 11 (SIGSEGV)");
}

#[test]
fn an_abort_for_each_url_costs_a_delivery_each() {
    each_url_survives("abort", "", "signal 6 (SIGABRT)");
}

#[test]
fn an_exit_with_code_0_for_each_url_costs_a_delivery_each() {
    each_url_survives("exit", "", "exit code 0");
}

#[test]
fn a_download_that_hangs_is_ended_with_its_lease() {
    each_url_survives("hang", "--lease-timeout 200ms", "signal 15 (SIGTERM)");
}

#[test]
fn garbage_from_a_worker_costs_a_delivery_each() {
    each_url_survives("garbage", "", "signal 9 (SIGKILL)");
}

#[test]
fn a_worker_that_eats_memory_dies_of_it_long_before_the_machine_does() {
    each_of(3, "eat", "", "out of memory");
}

#[test]
fn a_worker_that_eats_more_than_it_may_dies_of_its_limit() {
    let list = urls("https://a.example", 5);
    for engine in ENGINES {
        // The limit holds even if it is far above what the worker would allocate without one.
        for (limit, bytes) in [("100MB", 100_000_000), ("700MiB", 700 << 20)] {
            let more =
                format!("-v {engine} --workers 1 --max-deliveries 2 --worker-memory {limit}");
            let run = run(&list, "eat@/3", &more);
            let ended = run.finish().code(1);
            let record = run.log().one("https://a.example/3");
            assert_eq!(record.outcome, "quarantined", "{}", ended.text());
            let message = record.message();
            assert!(
                message.contains("out of memory (over --worker-memory)"),
                "{message}"
            );
            ended.says(&["more are refused at the limit of", &bytes.to_string()]);
            assert_eq!(run.log().count("stored"), 4, "{}", ended.text());
            assert_eq!(ended.summary("worker deaths"), 2, "{}", ended.text());
        }
    }
}

#[test]
fn a_poison_is_quarantined_and_its_neighbours_are_not() {
    let mut list = urls("https://a.example", 100);
    list.push("https://a.example/poison".to_owned());
    for engine in ENGINES {
        let more = format!("{engine} --workers 3 --concurrency 4");
        let run = run(&list, "segv@/poison", &more);
        let ended = run.finish().code(1);
        let log = run.log();
        assert_eq!(log.count("stored"), 100, "{}", ended.text());
        let poison = log.one("https://a.example/poison");
        assert_eq!(poison.outcome, "quarantined");
        assert!(poison.message().contains("SIGSEGV"), "{poison:?}");
    }
}

#[test]
fn the_same_seed_injects_the_same_faults() {
    let list = urls("https://a.example", 60);
    let hit = |spec: &str| {
        let run = run(&list, spec, "--workers 3");
        let ended = run.finish().code(0);
        all_stored(&run, &ended, &list);
        deliveries(&run)
    };
    let once = hit("segv=15%,exit=10%,seed=5");
    let count = once.values().filter(|&&times| times == 2).count();
    assert!((3..40).contains(&count), "{count} of 60");
    assert_eq!(hit("segv=15%,exit=10%,seed=5"), once);
    assert_ne!(hit("segv=15%,exit=10%,seed=6"), once);
}

/// Returns how many workers of slot 0 fail before one starts.
fn false_starts(spec: &str) -> u64 {
    let spec: Spec = spec.parse().unwrap();
    let faults = spec.start_faults().unwrap();
    let begins = |epoch| {
        let worker = WorkerId {
            slot: SlotId(0),
            epoch: Epoch(epoch),
        };
        faults.of(worker).is_none()
    };
    let first = (1..).find(|&epoch| begins(epoch)).unwrap();
    u64::from(first) - 1
}

#[test]
fn a_worker_that_never_connects_or_starts_is_replaced() {
    let list = urls("https://a.example", 10);
    for (spec, death) in [
        ("no-connect=50%,seed=4", "signal 15 (SIGTERM)"),
        ("no-start=50%,seed=4", "exit code 1"),
    ] {
        let more = "--workers 1 --start-timeout 1s --restart-intensity 1000/60s";
        let run = run(&list, spec, more);
        let ended = run.finish().code(0);
        all_stored(&run, &ended, &list);
        let expected = false_starts(spec);
        assert!(
            (1..4).contains(&expected),
            "choose another seed: {expected}"
        );
        // On a busy machine a healthy worker may be too late as well.
        let deaths = ended.summary("worker deaths");
        assert!(deaths >= expected, "{expected}: {}", ended.text());
        ended.says(&["worker 0.1", "died with", death, "running nothing"]);
    }
}

#[test]
fn workers_that_never_start_end_the_run_and_leave_the_list_to_the_next() {
    let list = urls("https://a.example", 5);
    let run = run(&list, "no-start=100%", "--restart-intensity 5/60s");
    let ended = run.finish().code(4);
    ended.says(&["the run gave up", "exit code 1"]);
    let next = run
        .without_arguments()
        .with(&format!("--simulate={ORIGIN}"));
    next.finish().code(0);
    assert_eq!(next.log().count("stored"), 5);
}

#[test]
fn workers_killed_at_random_lose_nothing_and_each_kill_is_in_the_journal() {
    let list = urls("https://a.example", 400);
    let more = format!("--workers 4 {PATIENT}");
    let run = run_against(SLOW, &list, "kill=20/s", &more);
    let ended = run.finish().code(0);
    all_stored(&run, &ended, &list);
    let journal = journal(&run);
    let deaths = ended.summary("worker deaths");
    assert!(deaths > 0, "{}", ended.text());
    for line in &journal {
        assert_eq!(line.fault, "kill");
        assert!(line.worker.slot < 4 && line.worker.epoch > 0 && line.pid > 1);
    }
    // The last signals may hit workers that were dismissed already, which is no death.
    let killed = |line: &Injected| {
        let worker = format!("worker {}.{}", line.worker.slot, line.worker.epoch);
        ended
            .stderr
            .contains(&format!("{worker} (pid {}) died with signal 9", line.pid))
    };
    // A worker that is dead but not yet reaped may be hit again.
    let killed: BTreeSet<_> = journal
        .iter()
        .filter(|line| killed(line))
        .map(|line| (line.worker.slot, line.worker.epoch))
        .collect();
    assert_eq!(killed.len() as u64, deaths);
    assert!(journal.is_sorted_by_key(|line| line.monotonic_ns));
    assert!(journal[0].time_us > 1_700_000_000_000_000);
    let signals = format!("; {} signals sent: ", journal.len());
    assert!(ended.stdout.contains(&signals), "{}", ended.text());
}

#[test]
fn workers_stopped_for_good_lose_their_leases_and_nothing_else() {
    let list = urls("https://a.example", 100);
    let more = format!("--workers 2 --lease-timeout 200ms {PATIENT}");
    let run = run_against(SLOW, &list, "stop=4/s", &more);
    let ended = run.finish().code(0);
    all_stored(&run, &ended, &list);
    assert!(ended.summary("worker deaths") > 0, "{}", ended.text());
    assert!(journal(&run).iter().all(|line| line.fault == "stop"));
}

#[test]
fn paused_workers_go_on_and_do_not_die_of_it() {
    let list = urls("https://a.example", 200);
    let run = run_against(SLOW, &list, "pause=20/s", "--workers 2");
    let ended = run.finish().code(0);
    all_stored(&run, &ended, &list);
    assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
    let journal = journal(&run);
    let count = |fault: &str| journal.iter().filter(|line| line.fault == fault).count();
    assert!(count("continue") > 0 && count("pause") >= count("continue"));
}

#[test]
fn all_workers_killed_at_once_lose_nothing_and_the_journal_goes_on_in_the_next_run() {
    let list = urls("https://a.example", 100);
    let more = format!("--workers 3 {PATIENT}");
    let run = run_against(SLOW, &list, "kill-all=5/s", &more);
    let ended = run.finish().code(0);
    all_stored(&run, &ended, &list);
    let first = journal(&run);
    assert!(first.iter().all(|line| line.fault == "kill-all"));
    let at_once = first
        .iter()
        .filter(|line| line.monotonic_ns == first[0].monotonic_ns);
    assert!(at_once.count() > 1, "{first:?}");
    let run = run.list(urls("https://b.example", 100));
    run.finish().code(0);
    let both = journal(&run);
    assert!(both.len() > first.len());
    assert!(both.is_sorted_by_key(|line| line.monotonic_ns));
}

#[test]
fn without_the_option_nothing_is_injected_and_nothing_is_said_of_it() {
    let list = urls("https://a.example", 5);
    let run = Run::new().list(&list).with(&format!("--simulate={ORIGIN}"));
    let ended = run.finish().code(0);
    assert!(!ended.stdout.contains("inject"), "{}", ended.text());
    assert!(
        !run.log()
            .output
            .join(".coordinator/injected.jsonl")
            .exists()
    );
}

#[test]
fn what_is_injected_is_told_at_the_start_of_a_verbose_run() {
    let list = urls("https://a.example", 2);
    let run = run(&list, "segv=0.5%,kill=0.001/s", "-v");
    let ended = run.finish().code(0);
    ended.says(&["faults will be injected", "segv=0.5%,kill=0.001/s,seed=1"]);
}

#[test]
fn a_crash_in_a_thread_ends_the_whole_run_and_the_next_one_finishes_it() {
    let list = urls("https://a.example", 20);
    for mode in ["threads", "async", "sequential"] {
        let more = format!("--mode {mode} --workers 2");
        let run = run(&list, "segv@/15", &more);
        let status = run.finish().status;
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(11), "{mode}: {status}");
        let next = run.without_arguments();
        let next = next.with(&format!("--simulate={ORIGIN} --mode {mode}"));
        next.finish().code(0);
        let stored: std::collections::BTreeSet<_> = next
            .log()
            .records()
            .into_iter()
            .map(|record| record.url)
            .collect();
        assert_eq!(stored.len(), list.len(), "{mode}");
    }
}

#[test]
fn what_cannot_be_injected_is_a_usage_error() {
    let table = [
        (
            "--inject oops=1%",
            "cannot inject `oops`: the faults are segv, abort",
        ),
        (
            "--inject segv=101%",
            "cannot use `101%` as segv: it takes a percentage",
        ),
        ("--inject kill=1", "cannot use `1` as kill: it takes a rate"),
        ("--inject kill@/x", "`kill` cannot be had for certain URLs"),
        ("--inject hang", "`hang` has no value"),
        (
            "--mode threads --inject kill=1/s",
            "--mode threads cannot be combined with --inject kill: that fault needs workers in processes",
        ),
        (
            "--mode async --inject garbage@/x",
            "--mode async cannot be combined with --inject garbage: that fault needs workers in processes",
        ),
        (
            "--mode sequential --inject no-connect=1%",
            "--mode sequential cannot be combined with --inject no-connect: that fault needs workers",
        ),
    ];
    for (arguments, expected) in table {
        let run = Run::new().list(["http://a.example/"]).with(arguments);
        run.finish().code(2).says(&[expected]);
    }
}
