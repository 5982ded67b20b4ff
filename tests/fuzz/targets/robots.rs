//! Fuzzes the reading of robots.txt, and what it says about a path.

#![no_main]

#[path = "../checks/robots.rs"]
mod robots;

libfuzzer_sys::fuzz_target!(|data: &[u8]| robots::check(data));
