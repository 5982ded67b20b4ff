//! Fuzzes how the coordinator reads a worker.

#![no_main]

#[path = "../checks/packets.rs"]
mod packets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| packets::check(data));
