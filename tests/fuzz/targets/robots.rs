//! Fuzzes the parser of robots.txt, and its verdict on a path.

#![no_main]

#[path = "../checks/robots.rs"]
mod robots;

libfuzzer_sys::fuzz_target!(|data: &[u8]| robots::check(data));
