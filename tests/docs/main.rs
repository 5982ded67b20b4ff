//! Tests of the manual: its links have targets, and its commands run.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of a page only a few parts matter"
)]

mod book;
mod commands;
mod links;
mod pages;
#[path = "../support/mod.rs"]
mod support;
mod trades;
