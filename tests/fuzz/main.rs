//! Regression tests from the fuzz targets: every file of each corpus goes through the same check as
//! under the fuzzer. There are no other checks here.

#![allow(clippy::unwrap_used, reason = "a test")]

mod checks {
    //! The bodies of the fuzz targets.
    pub mod frames;
    pub mod packets;
    pub mod response;
    pub mod robots;
    pub mod run_log;
    pub mod url_list;
}

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Checks every file of a corpus, and names those that fail.
fn check_corpus(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut files = 0;
    let mut failed = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::read(&path).unwrap();
        files += 1;
        if catch_unwind(AssertUnwindSafe(|| check(&data))).is_err() {
            failed.push(path);
        }
    }
    assert!(files >= 10, "{} holds {files} files", folder.display());
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn frames_of_the_corpus_keep_the_promises_of_the_codec() {
    check_corpus("frames", checks::frames::check);
}

#[test]
fn packets_of_the_corpus_are_whole_harmless_messages_or_none() {
    check_corpus("packets", checks::packets::check);
}

#[test]
fn answers_of_the_corpus_keep_the_promises_of_scanner_and_transfer() {
    check_corpus("response", checks::response::check);
}

#[test]
fn each_robots_txt_of_the_corpus_means_what_its_rules_say() {
    check_corpus("robots", checks::robots::check);
}

#[test]
fn run_logs_of_the_corpus_keep_the_promises_of_resume() {
    check_corpus("run_log", checks::run_log::check);
}

#[test]
fn lists_of_the_corpus_keep_the_promises_of_the_list_reader() {
    check_corpus("url_list", checks::url_list::check);
}
