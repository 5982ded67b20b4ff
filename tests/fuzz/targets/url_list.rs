//! Fuzzes the reader of URL lists.

#![no_main]

#[path = "../checks/url_list.rs"]
mod url_list;

libfuzzer_sys::fuzz_target!(|data: &[u8]| url_list::check(data));
