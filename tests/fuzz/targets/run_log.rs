//! Fuzzes the reader of the run log, and its use by resume.

#![no_main]

#[path = "../checks/run_log.rs"]
mod run_log;

libfuzzer_sys::fuzz_target!(|data: &[u8]| run_log::check(data));
