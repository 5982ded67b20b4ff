//! Fuzzes the scanner and the transfer with the answer of a server.

#![no_main]

#[path = "../checks/response.rs"]
mod response;

libfuzzer_sys::fuzz_target!(|data: &[u8]| response::check(data));
