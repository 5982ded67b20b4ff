//! Measures the time from the SIGKILL of a worker until the origin receives the next request for
//! the URL that it was downloading, as a distribution: `cargo bench --bench recovery`.
//!
//! It runs the chaos command with only this fault, 6 workers and tasks of about 12 ms. Both times
//! are taken outside the workers: just before the signal is sent, and when the origin has read the
//! next request for the same URL. The time therefore includes every step: the kernel ends the
//! process, the coordinator reaps it and reads its channel to the end, another worker receives the
//! task, resolves the host, connects and sends the request. Run it on an idle machine.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark tells what it measured"
)]

use std::process::{Command, ExitCode};

use serde_json::Value;

/// These take about 20 seconds and cause 500 deaths.
const ARGUMENTS: [&str; 7] = [
    "chaos",
    "--json",
    "--quiet",
    "--urls",
    "8000",
    "--faults",
    "kill=25/s",
];

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("recovery: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Box<dyn std::error::Error>> {
    let output = Command::new(env!("CARGO_BIN_EXE_coordinator"))
        .args(ARGUMENTS)
        .output()?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}; {}", String::from_utf8_lossy(&output.stderr)))?;
    println!(
        "{} workers, {} deaths of workers in {:.1} s; {}",
        report["workers"],
        report["worker_deaths"],
        report["elapsed_s"].as_f64().unwrap_or_default(),
        report["text"].as_str().unwrap_or_default()
    );
    let times = &report["redelivery"];
    println!("kill to redelivered and running, {} times:", times["count"]);
    for (name, key) in [
        ("median", "median_ms"),
        ("90 %", "p90_ms"),
        ("99 %", "p99_ms"),
        ("slowest", "slowest_ms"),
    ] {
        let time = times[key].as_f64().ok_or("nobody was killed")?;
        println!("  {name:<8} {time:8.2} ms");
    }
    Ok(())
}
