//! From the SIGKILL of a worker until the origin is asked again for what it was downloading, as a
//! distribution: `cargo bench --bench recovery`.
//!
//! It is the chaos command with this one fault, 6 workers and tasks of some 12 ms. Both ends are
//! seen from outside of the workers: the moment before the signal is sent, and the moment in which
//! the origin has read the next request for the same URL. So the time holds all of it: the kernel
//! ends the process, the coordinator reaps it and reads its channel to the end, another worker is
//! told, resolves the host, connects and asks. On a machine that is otherwise idle.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark tells what it measured"
)]

use std::process::{Command, ExitCode};

use serde_json::Value;

/// Some 20 seconds, and 500 deaths.
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
