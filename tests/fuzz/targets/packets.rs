//! Fuzzes the coordinator's reader for packets from workers.

#![no_main]

#[path = "../checks/packets.rs"]
mod packets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| packets::check(data));
